//! Our side of `benches/nets` for Stable Video Diffusion's nets, at full size with seeded weights. `THREADS PROFILE` configure the kernels; then a line
//! `svd_unet BATCH FRAMES HEIGHT WIDTH` or `svd_decode FRAMES HEIGHT WIDTH`, in latents, loads a net and runs it once, `go N` runs it N times and prints the CPU
//! time of each run in milliseconds, `out FILE` writes the last result as f32 values, channels last.

use std::io::{BufRead, Write};

use candle_core::{DType, Device, Result, Tensor, bail};
use engine_svd::nets::Watch;
use engine_svd::nets::temporal_vae::{TemporalDecoder, svd};
use engine_svd::nets::unet::{Unet, UnetConfig};
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
/// A step in the middle of a schedule of 25.
const TIMESTEP: f32 = 0.5;

type Job = Box<dyn Fn() -> Result<Tensor>>;

/// Seeded values on [-1, 1): (b, f, h, w, c), the same as the peer's (b, f, c, h, w).
fn clip(key: &str, [b, f, h, w, c]: [usize; 5]) -> Result<Tensor> {
    affine("bench", key, &[b, f, c, h, w], UNIT)?.permute((0, 1, 3, 4, 2))?.contiguous()
}

fn job(line: &[&str]) -> Result<Job> {
    let vb = |salt: &str| Seeded::new(salt).builder(DType::F32, &Device::Cpu);
    let Some((net, numbers)) = line.split_first() else { bail!("a line names a net") };
    let numbers: Vec<usize> = numbers
        .iter()
        .map(|number| number.parse().map_err(candle_core::Error::wrap))
        .collect::<Result<_>>()?;
    match (*net, numbers.as_slice()) {
        ("svd_unet", &[b, f, h, w]) => {
            let unet = Unet::load(&UnetConfig::img2vid_xt(), vb("bench_svd_unet"))?;
            let x = clip("latents", [b, f, h, w, 8])?;
            let context = affine("bench", "context", &[b, 1, 1024], UNIT)?;
            let ids = Tensor::new(&[6f32, 127.0, 0.02], &Device::Cpu)?.repeat((b, 1))?;
            Ok(Box::new(move || {
                let watch = Watch { stop: &|| false, probe: &Probe::off() };
                let clip = unet.clip(&context, f, &ids)?;
                let step = unet.step(TIMESTEP, &clip, &watch)?;
                unet.forward(&x, &step, &clip, &watch).map_err(candle_core::Error::wrap)
            }))
        }
        ("svd_decode", &[f, h, w]) => {
            let decoder = TemporalDecoder::load(&svd(), vb("bench_svd_vae"))?;
            let z = clip("z", [1, f, h, w, 4])?;
            Ok(Box::new(move || {
                let watch = Watch { stop: &|| false, probe: &Probe::off() };
                decoder.forward(&z, &watch).map_err(candle_core::Error::wrap)
            }))
        }
        _ => bail!(
            "known are `svd_unet BATCH FRAMES HEIGHT WIDTH` and `svd_decode FRAMES HEIGHT WIDTH`, not {line:?}"
        ),
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
