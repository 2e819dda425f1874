//! Our side of `benches/nets` for Wan's VAE, at full size with seeded weights. `THREADS PROFILE` configure the kernels; then a
//! line `wan_decode LATENT_FRAMES SIDE` loads the net and runs it once, `go N` runs it N times and prints the CPU
//! time of each run in milliseconds, `out FILE` writes the last result as f32 values, channels last.

use std::io::{BufRead, Write};

use candle_core::{DType, Device, Result, Tensor, bail};
use engine_infinitetalk::nets::wan_vae::{WanVae, WanVaeConfig};
use golden::{Seeded, affine};
use layers::kernels::{Config, Profile};

/// The allocator of the programs that users run.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// CPU time of the process, in milliseconds.
fn cpu_ms() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 * 1e3 + t.tv_nsec as f64 * 1e-6
}

type Job = Box<dyn Fn() -> Result<Tensor>>;

fn job(line: &[&str]) -> Result<Job> {
    match *line {
        ["wan_decode", latents, side] => {
            let number = |text: &str| text.parse::<usize>().map_err(candle_core::Error::wrap);
            let (latents, side) = (number(latents)?, number(side)?);
            let vb = Seeded::new("bench_wan").builder(DType::F32, &Device::Cpu);
            let net = WanVae::load(&WanVaeConfig::wan_2_1(), vb)?;
            let shape = [1, latents, side, side, 16];
            let z = affine("bench", "z", &shape, (0.0, 1.0))?;
            Ok(Box::new(move || net.decode(&z)))
        }
        _ => bail!("known is `wan_decode LATENT_FRAMES SIDE`, not {line:?}"),
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let profile = match args[2].as_str() {
        "fast" => Profile::Fast,
        _ => Profile::Strict,
    };
    layers::configure(Config { threads: args[1].parse()?, profile, ..Config::default() })?;
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
