//! Our side of `benches/nets` for Stable Video Diffusion's nets, at full size with seeded weights: `svd_unet BATCH FRAMES HEIGHT WIDTH` and `svd_decode FRAMES HEIGHT
//! WIDTH`, in latents. Results are channels last.

#[path = "../../../benches/nets/side.rs"]
mod side;

use candle_core::{DType, Device, Result, Tensor, bail};
use engine_svd::nets::Watch;
use engine_svd::nets::temporal_vae::{TemporalDecoder, svd};
use engine_svd::nets::unet::{Unet, UnetConfig};
use golden::{Seeded, affine};
use layers::Probe;
use side::Job;

/// Middle and reach of the seeded inputs.
const UNIT: (f64, f64) = (0.0, 1.0);
/// A step in the middle of a schedule of 25.
const TIMESTEP: f32 = 0.5;

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
    side::serve(job)
}
