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
    pub motion_bucket_id: f64,
    pub noise_aug_strength: f64,
    /// Frames that are decoded together, and see each other.
    pub decode_chunk_size: usize,
}

/// Of the frames that both have: as few as a fade needs to be soft.
fn overlap(num_frames: usize) -> usize {
    (num_frames / 2).clamp(1, 4)
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

const DEFAULT_SIZE: i64 = 1024;
const STEPS: i64 = 25;
const GUIDANCE: (f64, f64) = (1.0, 3.0);
const MOTION: i64 = 127;
const NOISE: f64 = 0.02;
const CHUNK: i64 = 8;

impl Options {
    /// `frames`: that the weights were trained for.
    pub fn parse(settings: &Settings, frames: usize) -> Result<Self, Complaint> {
        if let Some(preset) = &settings.preset {
            let message = format!("svd has no preset `{preset}`");
            return Err(Complaint::new("unknown_preset", message, "leave it out"));
        }
        let sent = Sent::to("svd", settings, &NAMES)?;
        let whole = |name, default, range| sent.whole(name, default, range).map(|value| value as usize);
        let num_frames = whole("num_frames", frames as i64, WINDOW)?;
        let size = whole("size", DEFAULT_SIZE, SIZES)?;
        let most = num_frames as i64;
        Ok(Self {
            size: (size + STEP / 2) / STEP * STEP,
            num_frames,
            overlap: whole("overlap", overlap(num_frames) as i64, (1, most - 1))?,
            num_inference_steps: whole("num_inference_steps", STEPS, (1, 1000))?,
            min_guidance_scale: sent.real("min_guidance_scale", GUIDANCE.0, (0.0, 100.0))?,
            max_guidance_scale: sent.real("max_guidance_scale", GUIDANCE.1, (0.0, 100.0))?,
            motion_bucket_id: sent.whole("motion_bucket_id", MOTION, (0, 255))? as f64,
            noise_aug_strength: sent.real("noise_aug_strength", NOISE, (0.0, 1.0))?,
            decode_chunk_size: whole("decode_chunk_size", CHUNK.min(most), (1, most))?,
        })
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
            Value::Int(self.motion_bucket_id as i64),
            Value::Float(self.noise_aug_strength),
            whole(self.decode_chunk_size),
        ];
        NAMES.into_iter().map(str::to_owned).zip(values).collect()
    }
}

/// `frames`: that the weights were trained for.
pub fn cards(frames: usize) -> Vec<SettingCard> {
    let card = |name, default, help| SettingCard { name, default, help };
    let of_frames = |value: usize| Value::Int(value as i64);
    vec![
        card(
            "size",
            Value::Int(DEFAULT_SIZE),
            "longer side in pixels, 256 to 1280, to the nearest multiple of 64",
        ),
        card(
            "num_frames",
            of_frames(frames),
            "frames the model makes at once, 2 to 64; longer takes are chained",
        ),
        card("overlap", of_frames(overlap(frames)), "frames over which one such clip is faded into the next"),
        card("num_inference_steps", Value::Int(STEPS), "denoising steps, 1 to 1000"),
        card(
            "min_guidance_scale",
            Value::Float(GUIDANCE.0),
            "how closely a clip's first frame keeps to the picture",
        ),
        card(
            "max_guidance_scale",
            Value::Float(GUIDANCE.1),
            "the same of its last frame; up to 1: half the work",
        ),
        card("motion_bucket_id", Value::Int(MOTION), "how much moves, 0 to 255"),
        card(
            "noise_aug_strength",
            Value::Float(NOISE),
            "noise on the picture, 0 to 1: more noise, more motion",
        ),
        card(
            "decode_chunk_size",
            Value::Int(CHUNK),
            "frames decoded together: fewer need less memory, and flicker more",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rows: &[(&str, Value)]) -> Result<Options, Complaint> {
        let sent = rows.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Options::parse(&Settings { preset: None, sent }, 25)
    }

    #[test]
    fn what_is_left_out_is_official() {
        let plain = parse(&[]).unwrap();
        assert_eq!((plain.size, plain.num_frames, plain.num_inference_steps), (1024, 25, 25));
        assert_eq!((plain.min_guidance_scale, plain.max_guidance_scale), (1.0, 3.0));
        assert_eq!(
            (plain.motion_bucket_id, plain.noise_aug_strength, plain.decode_chunk_size),
            (127.0, 0.02, 8)
        );
        let short = parse(&[("num_frames", Value::Int(2)), ("size", Value::Int(500))]).unwrap();
        assert_eq!((short.size, short.overlap, short.decode_chunk_size), (512, 1, 2));
        let names: Vec<_> = short.report().into_iter().map(|(name, _)| name).collect();
        let cards: Vec<_> = cards(25).into_iter().map(|card| card.name.to_owned()).collect();
        assert_eq!(names, cards);
        for (card, (_, value)) in super::cards(25).iter().zip(plain.report()) {
            assert_eq!(card.default, value, "{}", card.name);
        }
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
