//! What a client may say of a take; the names are those of diffusers' `StableVideoDiffusionPipeline`, the defaults its own, but for `decode_chunk_size`: decoding
//! all frames at once takes more memory than most machines have.

use contract::{Complaint, Fps, Sent, SettingCard, Settings, Value};

use crate::picture::canvas::STEP;

/// The model is told how fast its frames follow each other; most of its films had this rate.
pub const FPS: Fps = Fps::whole(7);
/// What it was taught.
pub const FPS_RANGE: (f64, f64) = (5.0, 30.0);
/// Of a side, in pixels: below and beyond there is nothing to be seen in what the model makes.
pub const SIZES: (i64, i64) = (256, 1280);
/// Of a window. A single frame is no clip, and guidance that grows over frames has no second one to grow to.
const WINDOW: (i64, i64) = (2, 64);

#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Longer side of the take, in pixels, a multiple of 64.
    pub size: usize,
    /// Frames of a window.
    pub num_frames: usize,
    /// Frames a window has in common with the one before.
    pub overlap: usize,
    pub num_inference_steps: usize,
    /// Of the first frame of a window.
    pub min_guidance_scale: f64,
    /// Of the last.
    pub max_guidance_scale: f64,
    pub motion_bucket_id: usize,
    pub noise_aug_strength: f64,
    /// Frames that are decoded together, and see each other.
    pub decode_chunk_size: usize,
}

const NAMES: [&str; 9] = [
    "size",
    "num_frames",
    "overlap",
    "num_inference_steps",
    "min_guidance_scale",
    "max_guidance_scale",
    "motion_bucket_id",
    "noise_aug_strength",
    "decode_chunk_size",
];

impl Options {
    /// Where nobody says otherwise. `frames`: that the weights were trained for.
    pub fn usual(frames: usize) -> Self {
        Self {
            size: 1024,
            num_frames: frames,
            overlap: 4,
            num_inference_steps: 25,
            min_guidance_scale: 1.0,
            max_guidance_scale: 3.0,
            motion_bucket_id: 127,
            noise_aug_strength: 0.02,
            decode_chunk_size: 8,
        }
    }

    /// What `settings` say, and where they say nothing, these.
    pub fn with(&self, settings: &Settings) -> Result<Self, Complaint> {
        let sent = Sent::to("svd", settings, &NAMES)?;
        let whole =
            |name, default: usize, range| sent.whole(name, default as i64, range).map(|value| value as usize);
        let num_frames = whole("num_frames", self.num_frames, WINDOW)?;
        let size = whole("size", self.size, SIZES)?;
        let most = num_frames as i64;
        // of a short window, no more than leaves something new
        let overlap = self.overlap.min(num_frames / 2).max(1);
        Ok(Self {
            size: (size + STEP / 2) / STEP * STEP,
            num_frames,
            overlap: whole("overlap", overlap, (1, most - 1))?,
            num_inference_steps: whole("num_inference_steps", self.num_inference_steps, (1, 1000))?,
            min_guidance_scale: sent.real("min_guidance_scale", self.min_guidance_scale, (0.0, 100.0))?,
            max_guidance_scale: sent.real("max_guidance_scale", self.max_guidance_scale, (0.0, 100.0))?,
            motion_bucket_id: whole("motion_bucket_id", self.motion_bucket_id, (0, 255))?,
            noise_aug_strength: sent.real("noise_aug_strength", self.noise_aug_strength, (0.0, 1.0))?,
            decode_chunk_size: whole("decode_chunk_size", self.decode_chunk_size.min(num_frames), (1, most))?,
        })
    }

    /// The net computes two halves, with the picture and without it.
    pub fn is_guided(&self) -> bool {
        self.min_guidance_scale.max(self.max_guidance_scale) > 1.0
    }

    pub fn report(&self) -> Vec<(String, Value)> {
        let whole = |value: usize| Value::Int(value as i64);
        let values = [
            whole(self.size),
            whole(self.num_frames),
            whole(self.overlap),
            whole(self.num_inference_steps),
            Value::Float(self.min_guidance_scale),
            Value::Float(self.max_guidance_scale),
            whole(self.motion_bucket_id),
            Value::Float(self.noise_aug_strength),
            whole(self.decode_chunk_size),
        ];
        NAMES.into_iter().map(str::to_owned).zip(values).collect()
    }
}

/// With the defaults of `usual`.
pub fn cards(usual: &Options) -> Vec<SettingCard> {
    const HELP: [&str; 9] = [
        "longer side in pixels, 256 to 1280, to the nearest multiple of 64",
        "frames the model makes at once, 2 to 64; longer takes are chained",
        "frames over which one such clip is faded into the next",
        "denoising steps, 1 to 1000",
        "how closely a clip's first frame keeps to the picture",
        "the same of its last frame; both up to 1: half the work",
        "how much moves, 0 to 255",
        "noise on the picture, 0 to 1: more noise, more motion",
        "frames decoded together: fewer need less memory, and flicker more",
    ];
    let card = |((name, (_, default)), help)| SettingCard { name, default, help };
    NAMES.into_iter().zip(usual.report()).zip(HELP).map(card).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rows: &[(&str, Value)]) -> Result<Options, Complaint> {
        let sent = rows.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Options::usual(25).with(&Settings { sent })
    }

    #[test]
    fn what_is_left_out_is_usual() {
        assert_eq!(parse(&[]).unwrap(), Options::usual(25));
        let short = parse(&[("num_frames", Value::Int(2)), ("size", Value::Int(500))]).unwrap();
        assert_eq!((short.size, short.overlap, short.decode_chunk_size), (512, 1, 2));
        let own = Options { num_inference_steps: 4, ..Options::usual(14) };
        assert_eq!(own.with(&Settings::default()).unwrap(), own);
        assert_eq!(cards(&own)[3].default, Value::Int(4));
        assert_eq!((cards(&own)[3].name, cards(&own)[6].name), ("num_inference_steps", "motion_bucket_id"));
    }

    #[test]
    fn a_mistake_is_told_with_its_value_and_its_range() {
        let rows: [(&[(&str, Value)], &str); 7] = [
            (&[("size", Value::Int(100))], "size is 100, it must be a whole number from 256 to 1280"),
            (&[("num_frames", Value::Int(1))], "num_frames is 1, it must be a whole number from 2 to 64"),
            (&[("overlap", Value::Int(25))], "overlap is 25, it must be a whole number from 1 to 24"),
            (&[("num_inference_steps", Value::Int(0))], "num_inference_steps is 0"),
            (&[("max_guidance_scale", Value::Float(f64::NAN))], "max_guidance_scale is NaN"),
            (&[("decode_chunk_size", Value::Int(26))], "decode_chunk_size is 26"),
            (&[("steps", Value::Int(4))], "svd has no setting `steps`"),
        ];
        for (row, told) in rows {
            let message = parse(row).unwrap_err().message;
            assert!(message.contains(told), "{message}");
        }
    }
}
