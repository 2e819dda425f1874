//! Our side of `benches/nets` for MuseTalk's nets, at full size with seeded weights: `vae_decode SIDE`, `vae_encode SIDE`, `unet BATCH SIDE`. Results are channels last.

#[path = "../../../benches/nets/side.rs"]
mod side;

use candle_core::{DType, Device, Result, Tensor, bail};
use encoders::kl_vae::{KlDecoder, KlEncoder, KlVaeConfig};
use engine_musetalk::nets::unet::{Unet, UnetConfig};
use golden::{Seeded, affine};
use layers::Probe;
use side::Job;

/// Middle and reach of the seeded inputs.
const UNIT: (f64, f64) = (0.0, 1.0);

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
    side::serve(job)
}
