//! What a session hears of a voice: the same however its source gives it, in the right number, soon enough, and little of it kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{DType, Device, Tensor};
use contract::{EngineError, Pcm, SourceError, VoiceSource};
use engine_musetalk::audio::ear::{Ear, Heard, Hearing, Plan};
use engine_musetalk::audio::live::Pace;
use engine_musetalk::audio::windows::{Centred, Padding};
use engine_musetalk::nets::whisper::{WhisperConfig, WhisperEncoder};
use golden::Seeded;

fn loaded(weights: Seeded) -> Arc<WhisperEncoder> {
    let cfg = WhisperConfig {
        d_model: 8,
        encoder_layers: 2,
        encoder_attention_heads: 1,
        encoder_ffn_dim: 8,
        ..WhisperConfig::tiny()
    };
    Arc::new(WhisperEncoder::load(&cfg, weights.builder(DType::F32, &Device::Cpu)).unwrap())
}

/// Whisper's spectrogram and positions, and little behind them.
fn whisper() -> Arc<WhisperEncoder> {
    loaded(Seeded::new("ear"))
}

/// The same without positions.
fn unplaced() -> Arc<WhisperEncoder> {
    loaded(Seeded::new("ear").scaled("model.encoder.embed_positions.weight", 0.0))
}

/// On [-1, 1), the same every time.
fn noise() -> impl Iterator<Item = f32> {
    let mut state = 1u32;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// Syllables of noise with pauses.
fn sound(samples: usize) -> Vec<f32> {
    let loud = |i: usize| if i / 40_000 % 3 == 2 { 0.0 } else { 0.2 * ((i / 16) as f32 * 0.03).sin().abs() };
    noise().take(samples).enumerate().map(|(i, v)| v * loud(i)).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    File,
    Spoken,
}

/// A voice that comes in pieces, and how much of it was read.
struct Voice {
    sound: Vec<f32>,
    at: usize,
    pieces: Vec<usize>,
    reads: usize,
    kind: Kind,
    read: Arc<AtomicU64>,
}

impl Voice {
    fn new(sound: Vec<f32>, pieces: &[usize], kind: Kind) -> Self {
        Self { sound, at: 0, pieces: pieces.to_vec(), reads: 0, kind, read: Arc::default() }
    }
}

impl VoiceSource for Voice {
    fn rate_hz(&self) -> u32 {
        16_000
    }

    fn read(&mut self, out: &mut [f32]) -> Result<usize, SourceError> {
        let piece = self.pieces[self.reads % self.pieces.len()];
        self.reads += 1;
        let n = piece.min(out.len()).min(self.sound.len() - self.at);
        out[..n].copy_from_slice(&self.sound[self.at..self.at + n]);
        self.at += n;
        self.read.fetch_add(n as u64, Ordering::SeqCst);
        Ok(n)
    }

    fn expected(&self) -> Option<u64> {
        Some(self.sound.len() as u64)
    }

    fn arrives(&self) -> bool {
        self.kind == Kind::Spoken
    }
}

fn plan(hearing: Hearing, fps: &str) -> Plan {
    Plan { hearing, fps: fps.parse().unwrap(), padding: Padding::default(), pace: Pace::default() }
}

fn all(mut ear: Ear) -> Vec<Heard> {
    let mut heard = Vec::new();
    while let Some(frame) = ear.hear().unwrap() {
        heard.push(frame);
    }
    assert_eq!(ear.frames(), Some(heard.len() as u64));
    assert!(ear.hear().unwrap().is_none(), "the end stays the end");
    heard
}

fn hear(voice: Voice, plan: &Plan) -> Vec<Heard> {
    all(Ear::open(whisper(), Box::new(voice), plan).unwrap())
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn distance(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt()
}

#[test]
fn pieces_do_not_matter() {
    for (hearing, kind, seconds) in [
        (Hearing::Strict, Kind::File, 33),
        (Hearing::Default, Kind::File, 53),
        (Hearing::Classic, Kind::File, 33),
        (Hearing::Default, Kind::Spoken, 12),
    ] {
        let plan = plan(hearing, "29.97");
        let sound = sound(seconds * 16_000 + 1234);
        let want = hear(Voice::new(sound.clone(), &[usize::MAX], kind), &plan);
        for pieces in [&[160][..], &[1, 999, 7, 16_001]] {
            let got = hear(Voice::new(sound.clone(), pieces, kind), &plan);
            assert_eq!(got.len(), want.len());
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert_eq!(got.speech, want.speech, "{hearing:?} frame {i}");
                assert_eq!(values(&got.context), values(&want.context), "{hearing:?} frame {i}");
            }
        }
    }
}

#[test]
fn takes_are_as_long_as_their_profile_says() {
    for (hearing, kind, samples, fps, frames) in [
        (Hearing::Strict, Kind::File, 501_920, "29.97", 909),
        (Hearing::Default, Kind::File, 501_920, "29.97", 940),
        (Hearing::Default, Kind::File, 480_000, "25", 750),
        (Hearing::Strict, Kind::File, 480_000, "25", 750),
        (Hearing::Default, Kind::File, 480_039, "25", 750),
        (Hearing::Default, Kind::File, 480_040, "25", 750), // the first encoding is full without its end
        (Hearing::Default, Kind::File, 480_320, "25", 751), // one row more than it holds
        (Hearing::Default, Kind::File, 800_040, "25", 1250),
        (Hearing::Default, Kind::File, 800_000, "12", 600),
        (Hearing::Default, Kind::File, 20_000, "60", 75),
        (Hearing::Default, Kind::Spoken, 100_000, "23.976", 150),
        (Hearing::Default, Kind::Spoken, 3_200, "25", 5),
        (Hearing::Default, Kind::Spoken, 96_000, "25", 150), // the buffer moves on with the last piece
        (Hearing::Default, Kind::Spoken, 99_199, "25", 155),
        (Hearing::Default, Kind::File, 0, "25", 1),
        (Hearing::Default, Kind::Spoken, 0, "25", 1),
        (Hearing::Classic, Kind::File, 16_000, "25", 27),
    ] {
        let plan = plan(hearing, fps);
        let heard = hear(Voice::new(sound(samples), &[5_000], kind), &plan);
        assert_eq!(heard.len(), frames, "{hearing:?} {samples} {fps}");
        assert!(heard.iter().all(|h| h.context.dims() == [30, 8]), "10 rows of 3 states");
    }
}

#[test]
fn up_to_30_s_the_default_is_the_official_one() {
    let sound = sound(25 * 16_000);
    let strict = hear(Voice::new(sound.clone(), &[4_000], Kind::File), &plan(Hearing::Strict, "25"));
    let default = hear(Voice::new(sound, &[4_000], Kind::File), &plan(Hearing::Default, "25"));
    assert_eq!(strict.len(), default.len());
    for (i, (a, b)) in strict.iter().zip(&default).enumerate() {
        assert_eq!(values(&a.context), values(&b.context), "frame {i}");
    }
}

#[test]
fn both_ends_are_zeros_and_paddings_are_kept() {
    let mut plan = plan(Hearing::Default, "25");
    plan.padding = Padding::new(1, 3).unwrap();
    for hearing in [Hearing::Strict, Hearing::Default] {
        plan.hearing = hearing;
        let heard = hear(Voice::new(sound(16_000), &[4_000], Kind::File), &plan);
        let rows = |frame: usize| -> Vec<bool> {
            values(&heard[frame].context).chunks(3 * 8).map(|row| row.iter().any(|&v| v != 0.0)).collect()
        };
        let expected =
            |zeros: std::ops::Range<usize>| (0..10).map(|i| !zeros.contains(&i)).collect::<Vec<_>>();
        assert_eq!(rows(0), expected(0..2), "{hearing:?}");
        assert_eq!(rows(1), expected(0..0), "{hearing:?}");
        assert_eq!(rows(24), expected(4..10), "{hearing:?}");
    }
}

/// Largest step from one frame to the next around a moment, and the usual one.
fn steps(heard: &[Heard], around: usize) -> (f32, f32) {
    let step = |i: usize| distance(&heard[i].context, &heard[i + 1].context);
    let largest = (around - 10..around + 10).map(step).fold(0.0, f32::max);
    let usual = (around - 200..around - 100).map(step).sum::<f32>() / 100.0;
    (largest, usual)
}

#[test]
fn nothing_jumps_where_encodings_meet() {
    // a steady sound, and no positions in the net: a step is then the encodings' doing alone
    let whisper = unplaced();
    // louder from 30 s on, so that the segments of the strict profile differ
    let sound: Vec<f32> = (0..40 * 16_000)
        .map(|i| {
            (i as f32 * 0.3).sin() * if i < 35 * 16_000 { 0.05 } else { 0.5 }
                + (i % 100 * (i % 100) % 17) as f32 * 1e-3
        })
        .collect();
    let heard = |hearing| {
        let voice = Voice::new(sound.clone(), &[16_000], Kind::File);
        all(Ear::open(whisper.clone(), Box::new(voice), &plan(hearing, "25")).unwrap())
    };
    let (strict, _) = steps(&heard(Hearing::Strict), 30 * 25);
    let (default, usual) = steps(&heard(Hearing::Default), 25 * 25);
    println!("strict {strict}, default {default}, usual {usual}");
    assert!(strict > 5.0 * usual, "the official segments meet with a jump: {strict} {usual}");
    assert!(default < 0.25 * strict, "half a second of frames shares the difference: {default} {strict}");
}

#[test]
fn a_spoken_frame_waits_for_no_more_than_its_latency() {
    for fps in ["12", "25", "29.97", "60"] {
        let plan = plan(Hearing::Default, fps);
        let windows = Centred::new(plan.fps, plan.padding).unwrap();
        let latency = plan.pace.latency(windows);
        assert!(latency <= 0.351, "{latency}");
        let voice = Voice::new(sound(12 * 16_000), &[320], Kind::Spoken);
        let read = voice.read.clone();
        let mut ear = Ear::open(whisper(), Box::new(voice), &plan).unwrap();
        let mut longest = 0.0f64;
        for frame in 0.. {
            let Some(_) = ear.hear().unwrap() else { break };
            let waited = read.load(Ordering::SeqCst) as f64 / 16_000.0 - plan.fps.seconds_at(frame);
            assert!(waited <= latency + 1e-9, "frame {frame} at {fps}: {waited} s");
            longest = longest.max(waited);
        }
        assert!(
            longest > latency - 0.06,
            "the latency that is stated is the one there is: {longest} {latency}"
        );
    }
}

#[test]
fn a_spoken_voice_is_at_its_place() {
    // the first state without positions depends on the sound nearby alone, so it is the same from any buffer that holds that sound
    let whisper = unplaced();
    let sound: Vec<f32> = sound(20 * 16_000).iter().zip(noise()).map(|(v, n)| v + 0.02 * n).collect();
    let heard = |kind| {
        let voice = Voice::new(sound.clone(), &[3_000], kind);
        all(Ear::open(whisper.clone(), Box::new(voice), &plan(Hearing::Default, "25")).unwrap())
    };
    let (file, spoken) = (heard(Kind::File), heard(Kind::Spoken));
    assert_eq!(file.len(), spoken.len());
    let first_states =
        |heard: &Heard| values(&heard.context.reshape((10, 3, 8)).unwrap().narrow(1, 0, 1).unwrap());
    let largest = |heard: &Heard| values(&heard.context).iter().fold(0f32, |max, v| max.max(v.abs()));
    for (i, (a, b)) in file.iter().zip(&spoken).enumerate() {
        let apart =
            first_states(a).iter().zip(first_states(b)).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
        assert!(apart < 1e-5 * largest(a), "frame {i}: {apart}");
    }
    assert!(distance(&file[100].context, &file[101].context) > 0.1, "frames are told apart");
}

#[test]
fn silence_is_told_with_the_frames() {
    let sound = [vec![0.0; 32_000], sound(32_000), vec![0.0; 32_000]].concat();
    for (hearing, kind) in
        [(Hearing::Default, Kind::File), (Hearing::Default, Kind::Spoken), (Hearing::Strict, Kind::File)]
    {
        let heard = hear(Voice::new(sound.clone(), &[777], kind), &plan(hearing, "25"));
        let speech: Vec<f32> = heard.iter().map(|h| h.speech).collect();
        assert!(
            speech[..45].iter().all(|&s| s == 0.0) && speech[52..98].iter().all(|&s| s == 1.0),
            "{speech:?}"
        );
        assert!(speech[115..].iter().all(|&s| s == 0.0), "{speech:?}");
    }
}

#[test]
fn what_cannot_be_heard_is_told() {
    let open = |kind, hearing, fps: &str| {
        let voice = Voice::new(sound(500), &[500], kind);
        let mut ear = Ear::open(whisper(), Box::new(voice), &plan(hearing, fps))?;
        ear.hear().map(|_| ())
    };
    for (kind, hearing, fps, code) in [
        (Kind::Spoken, Hearing::Strict, "25", "unsupported"),
        (Kind::Spoken, Hearing::Classic, "25", "unsupported"),
        (Kind::File, Hearing::Strict, "50", "bad_fps"),
        (Kind::File, Hearing::Default, "61", "bad_fps"),
        (Kind::File, Hearing::Strict, "25", "audio_too_short"),
    ] {
        let Err(EngineError::Rejected(complaint)) = open(kind, hearing, fps) else {
            panic!("{hearing:?} {fps}")
        };
        assert_eq!(complaint.code, code);
    }
    let voice = std::io::Cursor::new(Pcm { rate_hz: 48_000, samples: vec![0.0; 100] });
    let plan = plan(Hearing::Default, "25");
    assert!(matches!(Ear::open(whisper(), Box::new(voice), &plan), Err(EngineError::Failed(_))));
}

#[test]
fn a_broken_sample_harms_its_own_moment_only() {
    let mut sound = sound(32_000);
    sound[8_000] = f32::NAN;
    sound[8_001] = f32::INFINITY;
    let heard = hear(Voice::new(sound, &[4_000], Kind::File), &plan(Hearing::Default, "25"));
    assert!(heard.iter().all(|h| values(&h.context).iter().all(|v| v.is_finite())));
}

#[test]
fn frames_are_foretold() {
    let voice = Voice::new(sound(16_000), &[4_000], Kind::File);
    let ear = Ear::open(whisper(), Box::new(voice), &plan(Hearing::Default, "30")).unwrap();
    assert_eq!((ear.frames(), ear.expected_frames()), (None, Some(30)));
}
