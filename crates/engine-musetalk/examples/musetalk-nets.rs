//! Our side of `benches/nets` for MuseTalk's nets, at full size with seeded weights. `THREADS PROFILE` configure the kernels; then a
//! line `vae_decode SIDE`, `vae_encode SIDE` or `unet BATCH SIDE` loads a net and runs it once, `go N` runs it N times and prints the CPU
//! time of each run in milliseconds, `out FILE` writes the last result as f32 values, channels last.

use std::io::{BufRead, Write};

use candle_core::{DType, Device, Result, Tensor, bail};
use encoders::kl_vae::{KlDecoder, KlEncoder, KlVaeConfig};
use engine_musetalk::nets::unet::{Unet, UnetConfig};
use golden::{Seeded, affine};
use layers::Probe;
use layers::kernels::{Config, Profile};

/// The allocator of the programs that users run.
#[global_allocator]
static ALLOCATOR: allocator::MiMalloc = allocator::MiMalloc;

/// CPU time of the process, in milliseconds.
fn cpu_ms() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 * 1e3 + t.tv_nsec as f64 * 1e-6
}

/// Middle and reach of the seeded inputs.
const UNIT: (f64, f64) = (0.0, 1.0);

type Job = Box<dyn Fn() -> Result<Tensor>>;

/// Seeded values on [-1, 1): (b, side, side, c), the same as the peer's (b, c, side, side).
fn picture(key: &str, [b, side, c]: [usize; 3]) -> Result<Tensor> {
    affine("bench", key, &[b, c, side, side], UNIT)?.permute((0, 2, 3, 1))?.contiguous()
}

fn job(line: &[&str]) -> Result<Job> {
    let vb = |salt: &str| Seeded::new(salt).builder(DType::F32, &Device::Cpu);
    let number = |text: &str| text.parse::<usize>().map_err(candle_core::Error::wrap);
    match *line {
        ["vae_decode", side] => {
            let net = KlDecoder::load(&KlVaeConfig::sd(), vb("bench_vae"))?;
            let z = picture("z", [1, number(side)?, 4])?;
            Ok(Box::new(move || net.forward(&z)))
        }
        ["vae_encode", side] => {
            let net = KlEncoder::load(&KlVaeConfig::sd(), vb("bench_vae"))?;
            let x = picture("x", [1, number(side)?, 3])?;
            Ok(Box::new(move || Ok(net.forward(&x)?.mean)))
        }
        ["unet", batch, side] => {
            let net = Unet::load(&UnetConfig::musetalk(), vb("bench_unet"))?;
            let batch = number(batch)?;
            let latents = picture("latents", [batch, number(side)?, 8])?;
            let audio = affine("bench", "audio", &[batch, 50, 384], UNIT)?;
            Ok(Box::new(move || net.forward(&latents, &audio, &Probe::off())))
        }
        _ => bail!("known are `vae_decode SIDE`, `vae_encode SIDE` and `unet BATCH SIDE`, not {line:?}"),
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let profile = match args[2].as_str() {
        "fast" => Profile::Fast,
        _ => Profile::Strict,
    };
    layers::configure(Config { threads: args[1].parse()?, profile, ..Config::default() })?;
    let _steps = layers::Steps::begin(); // as in a take
    let mut current: Option<Job> = None;
    let mut last = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), &current) {
            (["go", runs], Some(run)) => {
                for _ in 0..runs.parse::<usize>()? {
                    let start = cpu_ms();
                    last = Some(run()?);
                    print!("{:.3} ", cpu_ms() - start);
                }
                println!();
            }
            (["out", file], _) => {
                let values: Vec<f32> = last.as_ref().ok_or("nothing ran")?.flatten_all()?.to_vec1()?;
                std::fs::write(file, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
                println!("written");
            }
            (words, _) => {
                drop(current.take()); // its weights go before the next ones come
                let run = job(words)?;
                let start = cpu_ms();
                last = Some(run()?);
                println!("first {:.0} ms", cpu_ms() - start);
                current = Some(run);
            }
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
