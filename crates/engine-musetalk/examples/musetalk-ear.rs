//! Measures how a voice is heard, with seeded weights of full size and Whisper's own (sinusoidal) positions: `THREADS PCM`, the second a file of
//! 16-bit mono samples at 16 kHz without a header (`ffmpeg -i voice.wav -f s16le -ac 1 -ar 16000 PCM`). Prints what the spectrogram and the
//! encoder cost in CPU time, how far the features of shorter and overlapping encodings are from one of 30 s, and how far neighbouring frames are.

use std::io::Cursor;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use contract::{Fps, Pcm, SourceError, VoiceSource};
use engine_musetalk::audio::ear::{Ear, Hearing, Plan};
use engine_musetalk::audio::live::Pace;
use engine_musetalk::audio::mel::{BANDS, ceiling, scaled, segment};
use engine_musetalk::audio::windows::Padding;
use engine_musetalk::nets::whisper::{LastState, WhisperConfig, WhisperEncoder};
use golden::Seeded;
use layers::kernels::Config;

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const STATES: usize = 5;

/// CPU time of the process, in milliseconds: on a machine that others use too, the clock tells more about them.
fn cpu_ms() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 * 1e3 + t.tv_nsec as f64 * 1e-6
}

/// What the positions of the encoder are.
#[derive(Clone, Copy, Debug)]
enum Positions {
    /// As in the released file: sines, then cosines.
    Sinusoids,
    /// Zeros: what differs then is the sound around alone.
    None,
}

struct Weights {
    seeded: Seeded,
    positions: Positions,
}

impl SimpleBackend for Weights {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        if !name.ends_with("embed_positions.weight") {
            return SimpleBackend::get(&self.seeded, shape, name, init, dtype, device);
        }
        let (length, channels) = shape.dims2()?;
        let half = channels / 2;
        let angle = |p: usize, k: usize| p as f64 * (-(10_000f64.ln()) / (half - 1) as f64 * k as f64).exp();
        let value = |p: usize, c: usize| match self.positions {
            Positions::None => 0.0,
            Positions::Sinusoids if c < half => angle(p, c).sin() as f32,
            Positions::Sinusoids => angle(p, c - half).cos() as f32,
        };
        let values = (0..length).flat_map(|p| (0..channels).map(move |c| (p, c))).map(|(p, c)| value(p, c));
        Tensor::from_iter(values, device)?.reshape((length, channels))
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.seeded.get_unchecked(name, dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.seeded.contains_tensor(name)
    }
}

fn whisper(positions: Positions) -> Result<Arc<WhisperEncoder>> {
    let weights = Weights { seeded: Seeded::new("bench_whisper"), positions };
    let vb = VarBuilder::from_backend(Box::new(weights), DType::F32, Device::Cpu);
    Ok(Arc::new(WhisperEncoder::load(&WhisperConfig::tiny(), vb)?))
}

/// A recording that is heard as if it were spoken.
struct Spoken(Cursor<Pcm>);

impl VoiceSource for Spoken {
    fn rate_hz(&self) -> u32 {
        self.0.rate_hz()
    }

    fn read(&mut self, out: &mut [f32]) -> std::result::Result<usize, SourceError> {
        self.0.read(out)
    }

    fn expected(&self) -> Option<u64> {
        None
    }

    fn arrives(&self) -> bool {
        true
    }
}

/// The contexts of all frames at 25 a second, and the CPU time they took in milliseconds. Says how much of the voice is silence.
fn hear(
    whisper: &Arc<WhisperEncoder>,
    voice: Box<dyn VoiceSource>,
    hearing: Hearing,
    pace: Pace,
) -> Outcome<(Vec<Tensor>, f64)> {
    let plan = Plan { hearing, fps: Fps::whole(25), padding: Padding::default(), pace };
    let begin = cpu_ms();
    let mut ear = Ear::open(whisper.clone(), voice, &plan)?;
    let mut contexts = Vec::new();
    let mut speech = 0.0;
    while let Some(heard) = ear.hear()? {
        contexts.push(heard.context);
        speech += heard.speech;
    }
    print!("  [speech in {:.1} % of the frames]", 100.0 * speech / contexts.len() as f32);
    Ok((contexts, cpu_ms() - begin))
}

/// ||a - b|| / ||a|| of each state, over the frames of both.
fn distances(a: &[Tensor], b: &[Tensor]) -> Result<[f64; STATES]> {
    let (mut apart, mut size) = ([0f64; STATES], [0f64; STATES]);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a.to_vec2::<f32>()?, b.to_vec2::<f32>()?);
        for (token, (a, b)) in a.iter().zip(&b).enumerate() {
            for (&a, &b) in a.iter().zip(b) {
                apart[token % STATES] += f64::from(a - b).powi(2);
                size[token % STATES] += f64::from(a).powi(2);
            }
        }
    }
    Ok(std::array::from_fn(|state| (apart[state] / size[state]).sqrt()))
}

/// Distances from each frame to the next.
fn steps(contexts: &[Tensor]) -> Result<Vec<f64>> {
    let step = |pair: &[Tensor]| -> Result<f64> {
        let apart = (&pair[0] - &pair[1])?.sqr()?.sum_all()?;
        Ok(f64::from(apart.to_scalar::<f32>()?).sqrt())
    };
    contexts.windows(2).map(step).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |max, &v| v.max(max))
}

fn show(values: [f64; STATES]) -> String {
    values.map(|v| format!("{v:.3}")).join(" ")
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().collect();
    layers::configure(Config { threads: args[1].parse()?, ..Config::default() })?;
    let samples: Vec<f32> = std::fs::read(&args[2])?
        .chunks_exact(2)
        .map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0)
        .collect();
    let pcm = Pcm { rate_hz: 16_000, samples };
    println!("{:.1} s of sound", pcm.seconds());

    let thirty = &pcm.samples[..pcm.samples.len().min(480_000)];
    let begin = cpu_ms();
    let frames = segment(thirty, 3000);
    println!("log-mel of {:.1} s: {:.1} ms", thirty.len() as f64 / 16e3, cpu_ms() - begin);

    let encoder = whisper(Positions::Sinusoids)?;
    for positions in [1500, 1000, 600, 400, 300, 200] {
        let mel = scaled(&frames[..2 * positions], ceiling(&frames));
        let mel = Tensor::from_vec(mel, (1, 2 * positions, BANDS), &Device::Cpu)?;
        let mut times = Vec::new();
        for _ in 0..7 {
            let begin = cpu_ms();
            encoder.forward(&mel, LastState::Normed)?;
            times.push(cpu_ms() - begin);
        }
        times[1..].sort_by(f64::total_cmp);
        // the best: whoever shares the machine only adds
        println!(
            "encoder of {positions} positions: first {:.1} ms, then {:.1} ms at best",
            times[0], times[1]
        );
    }

    let file = || Box::new(Cursor::new(pcm.clone()));
    let spoken = || Box::new(Spoken(Cursor::new(pcm.clone())));
    for positions in [Positions::Sinusoids, Positions::None] {
        println!("positions: {positions:?}; distances of the five states");
        let encoder = whisper(positions)?;
        let (strict, ms) = hear(&encoder, file(), Hearing::Strict, Pace::default())?;
        println!("  strict took {ms:.0} ms");
        let (whole, ms) = hear(&encoder, file(), Hearing::Default, Pace::default())?;
        println!("  default took {ms:.0} ms, from strict: {}", show(distances(&strict, &whole)?));
        let usual = mean(&steps(&whole)?);
        if pcm.seconds() > 35.0 {
            println!(
                "  largest step from frame to frame where encodings meet, of the mean one: strict {:.2}, default {:.2}",
                largest(&steps(&strict)?[742..758]) / usual,
                largest(&steps(&whole)?[617..633]) / usual
            );
        }
        for (positions, margin) in [(300, 0), (300, 1), (300, 5), (200, 1), (400, 1), (600, 1)] {
            let pace = Pace::new(positions, 10, margin).ok_or("no such pace")?;
            let (live, ms) = hear(&encoder, spoken(), Hearing::Default, pace)?;
            let jitter = steps(&live)?;
            println!(
                "  live, {positions} positions, margin {margin}: {} from the file's; steps {:.2} of the file's, the largest {:.2} \
                 (the file's {:.2}); {:.1} ms a chunk of 200 ms",
                show(distances(&whole, &live)?),
                mean(&jitter) / usual,
                largest(&jitter) / usual,
                largest(&steps(&whole)?) / usual,
                ms / (pcm.seconds() * 5.0)
            );
        }
    }
    Ok(())
}
