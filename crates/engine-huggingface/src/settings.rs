//! What is asked of the model, by the names that the task `image-to-video` and Stable Video Diffusion's pipeline have for it. Only what was
//! given is sent: the model's own defaults hold for the rest. Refuses values out of range; what a model makes of the others is its affair.

use contract::{Act, Complaint, Fps, Length, Sent, SettingCard, Size, Value};
use serde_json::{Map, json};

/// Longest sides, px.
pub const SIDES: (i64, i64) = (64, 1920);
/// Sides are multiples of this, px: what the usual models compute with.
const SNAP: f64 = 64.0;
const FRAMES: (i64, i64) = (1, 1000);
const STEPS: (i64, i64) = (1, 1000);
const GUIDANCE: (f64, f64) = (0.0, 100.0);
/// `motion_bucket_id` of Stable Video Diffusion.
const MOTION: (i64, i64) = (0, 255);
const NOISE: (f64, f64) = (0.0, 10.0);
/// Providers keep seeds as signed 32-bit numbers.
const SEED_BITS: u64 = 0x7fff_ffff;

const NAMES: [&str; 7] = [
    "size",
    "num_frames",
    "guidance_scale",
    "num_inference_steps",
    "motion_bucket_id",
    "noise_aug_strength",
    "negative_prompt",
];

pub fn cards() -> Vec<SettingCard> {
    let own = || Value::Text("the model's own".into());
    let card = |name, help| SettingCard { name, default: own(), help };
    vec![
        card(
            "size",
            "longest side that is asked for, 64 to 1920 px, in steps of 64; what comes is the provider's choice",
        ),
        card(
            "num_frames",
            "frames that are asked for, 1 to 1000; else as many as the length needs, at most huggingface.max_frames",
        ),
        card("guidance_scale", "how closely the picture and the prompt are followed, 0 to 100"),
        card("num_inference_steps", "denoising steps, 1 to 1000"),
        card("motion_bucket_id", "how much moves, 0 to 255 (Stable Video Diffusion)"),
        card(
            "noise_aug_strength",
            "noise on the picture before it is animated, 0 to 10 (Stable Video Diffusion)",
        ),
        card("negative_prompt", "what is not to be seen, where the model reads a text"),
    ]
}

/// What a take asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    pub prompt: Option<String>,
    pub negative_prompt: Option<String>,
    pub longest: Option<u32>,
    /// That are asked for: no more than the model makes, unless a request names them.
    pub frames: u64,
    /// That the take should have.
    pub length: u64,
    pub fps: Fps,
    pub seed: u64,
    pub guidance_scale: Option<f64>,
    pub steps: Option<i64>,
    pub motion_bucket_id: Option<i64>,
    pub noise_aug_strength: Option<f64>,
}

impl Wish {
    /// `most`: frames of one clip, where that is known.
    pub fn of(act: &Act, most: Option<u64>) -> Result<Self, Complaint> {
        let length = match act.length {
            Length::Frames(frames) => frames,
            Length::Voice => {
                let message = "the take is to be as long as its voice, and huggingface makes silent clips";
                return Err(Complaint::new("no_length", message, "give a length: --seconds"));
            }
        };
        let sent = Sent::to("huggingface", &act.settings, &NAMES)?;
        let whole = |name: &str, range| sent.has(name).then(|| sent.whole(name, 0, range)).transpose();
        let real = |name: &str, range| sent.has(name).then(|| sent.real(name, 0.0, range)).transpose();
        let prompt = act.prompt.as_deref().map(str::trim).filter(|prompt| !prompt.is_empty());
        let frames = whole("num_frames", FRAMES)?.map(|frames| frames as u64);
        Ok(Self {
            prompt: prompt.map(str::to_owned),
            negative_prompt: sent.text("negative_prompt"),
            longest: whole("size", SIDES)?.map(|px| px as u32),
            frames: frames.unwrap_or_else(|| length.clamp(1, most.unwrap_or(u64::MAX))),
            length,
            fps: act.fps,
            seed: act.seed & SEED_BITS,
            guidance_scale: real("guidance_scale", GUIDANCE)?,
            steps: whole("num_inference_steps", STEPS)?,
            motion_bucket_id: whole("motion_bucket_id", MOTION)?,
            noise_aug_strength: real("noise_aug_strength", NOISE)?,
        })
    }

    /// `picture`: the size of the picture that goes with them.
    pub fn parameters(&self, picture: Size) -> Map<String, serde_json::Value> {
        let mut all = Map::new();
        let mut put = |name: &str, value: Option<serde_json::Value>| {
            if let Some(value) = value {
                all.insert(name.to_owned(), value);
            }
        };
        put("prompt", self.prompt.as_ref().map(|text| json!(text)));
        put("negative_prompt", self.negative_prompt.as_ref().map(|text| json!(text)));
        put("num_frames", Some(json!(self.frames)));
        put("fps", Some(rate(self.fps)));
        put("seed", Some(json!(self.seed)));
        put("guidance_scale", self.guidance_scale.map(|scale| json!(scale)));
        put("num_inference_steps", self.steps.map(|steps| json!(steps)));
        put("motion_bucket_id", self.motion_bucket_id.map(|bucket| json!(bucket)));
        put("noise_aug_strength", self.noise_aug_strength.map(|strength| json!(strength)));
        put(
            "target_size",
            self.longest.map(|longest| {
                let Size { width, height } = target(picture, longest);
                json!({ "width": width, "height": height })
            }),
        );
        all
    }

    /// As the report shows them.
    pub fn report(&self, picture: Size) -> Vec<(String, Value)> {
        let value = |value: serde_json::Value| match value {
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => Value::Int(whole),
                None => Value::Float(number.as_f64().unwrap_or_default()),
            },
            serde_json::Value::Object(size) => Value::Text(format!("{}x{}", size["width"], size["height"])),
            serde_json::Value::String(text) => Value::Text(text),
            other => Value::Text(other.to_string()),
        };
        self.parameters(picture).into_iter().map(|(name, sent)| (name, value(sent))).collect()
    }
}

/// A whole number where it is one.
fn rate(fps: Fps) -> serde_json::Value {
    if fps.den() == 1 { json!(fps.num()) } else { json!(fps.as_f64()) }
}

/// The picture's shape with the longest side that was asked for.
fn target(picture: Size, longest: u32) -> Size {
    let scale = f64::from(longest) / f64::from(picture.longest().max(1));
    let side = |px: u32| ((f64::from(px) * scale / SNAP).round().max(1.0) * SNAP) as u32;
    Size::new(side(picture.width), side(picture.height))
}

#[cfg(test)]
mod tests {
    use contract::{Frame, FrameSource, Layout, Settings, SourceError, SourceFormat, Subject, Turns};

    use super::*;

    struct NoPicture;

    impl FrameSource for NoPicture {
        fn format(&self) -> SourceFormat {
            let size = Size::new(2, 2);
            SourceFormat { size, natural: size, layout: Layout::I420, fps: None }
        }

        fn next(&mut self) -> Result<Option<Frame>, SourceError> {
            Ok(None)
        }
    }

    fn act(length: Length, sent: &[(&str, Value)]) -> Act {
        Act {
            subject: Subject::Picture(Box::new(NoPicture)),
            voices: Vec::new(),
            turns: Turns::Together,
            prompt: Some(" wave ".into()),
            length,
            fps: Fps::whole(8),
            seed: (7 << 31) | 42,
            settings: Settings {
                sent: sent.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            },
            landmarks: None,
            checkpoint: None,
        }
    }

    #[test]
    fn only_what_was_given_is_sent() {
        let wish = Wish::of(&act(Length::Frames(32), &[]), Some(25)).unwrap();
        let sent = wish.parameters(Size::new(512, 512));
        assert_eq!(
            serde_json::Value::Object(sent),
            json!({ "prompt": "wave", "num_frames": 25, "fps": 8, "seed": 42 })
        );
        assert_eq!(wish.length, 32);
        let all = [
            ("size", Value::Int(1024)),
            ("num_frames", Value::Text("49".into())),
            ("guidance_scale", Value::Float(3.5)),
            ("num_inference_steps", Value::Int(25)),
            ("motion_bucket_id", Value::Int(127)),
            ("noise_aug_strength", Value::Float(0.02)),
            ("negative_prompt", Value::Text("blur".into())),
        ];
        let wish = Wish::of(&act(Length::Frames(32), &all), Some(25)).unwrap();
        assert_eq!(
            serde_json::Value::Object(wish.parameters(Size::new(1280, 720))),
            json!({
                "prompt": "wave", "negative_prompt": "blur", "num_frames": 49, "fps": 8, "seed": 42,
                "guidance_scale": 3.5, "num_inference_steps": 25, "motion_bucket_id": 127,
                "noise_aug_strength": 0.02, "target_size": { "width": 1024, "height": 576 }
            })
        );
        let report = wish.report(Size::new(1280, 720));
        assert!(report.contains(&("target_size".to_owned(), Value::Text("1024x576".into()))), "{report:?}");
        assert!(report.contains(&("seed".to_owned(), Value::Int(42))), "{report:?}");
        assert_eq!(all.len(), NAMES.len());
        assert_eq!(cards().iter().map(|card| card.name).collect::<Vec<_>>(), NAMES);
    }

    #[test]
    fn what_cannot_be_asked_for_is_told_with_its_range() {
        let rows = [
            (("size", Value::Int(63)), "64 to 1920"),
            (("num_frames", Value::Int(0)), "1 to 1000"),
            (("num_frames", Value::Text("abc".into())), "1 to 1000"),
            (("guidance_scale", Value::Float(f64::NAN)), "0 to 100"),
            (("motion_bucket_id", Value::Int(256)), "0 to 255"),
            (("crop", Value::Text("face".into())), "no setting"),
        ];
        for (sent, told) in rows {
            let complaint = Wish::of(&act(Length::Frames(8), std::slice::from_ref(&sent)), None).unwrap_err();
            assert!(complaint.message.contains(told), "{sent:?}: {complaint}");
        }
        assert_eq!(Wish::of(&act(Length::Voice, &[]), None).unwrap_err().code, "no_length");
    }

    #[test]
    fn a_target_keeps_the_pictures_shape() {
        let rows = [
            ((512, 512), 768, (768, 768)),
            ((1920, 1080), 1024, (1024, 576)),
            ((100, 4000), 512, (64, 512)),
            ((2, 2), 100, (128, 128)),
        ];
        for ((width, height), longest, expected) in rows {
            let size = target(Size::new(width, height), longest);
            assert_eq!((size.width, size.height), expected, "{width}x{height}");
        }
    }
}
