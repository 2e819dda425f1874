//! Our side of `benches/nets` for InfiniteTalk's nets, at full width with seeded weights; `KNOWN` lists them.

#[path = "../../../benches/nets/side.rs"]
mod side;

use candle_core::{DType, Device, Error, Result, Tensor, bail};
use candle_nn::VarBuilder;
use encoders::clip_vision::ClipVisionConfig;
use engine_infinitetalk::nets::clip_visual::ClipVisual;
use engine_infinitetalk::nets::dit::{Dit, DitConfig, Loading, Pass, Step, Watch};
use engine_infinitetalk::nets::umt5::{Umt5Config, Umt5Encoder};
use engine_infinitetalk::nets::wan_vae::{WanVae, WanVaeConfig};
use engine_infinitetalk::nets::wav2vec2::{Wav2Vec2, Wav2Vec2Config};
use golden::{Seeded, affine};
use layers::Probe;
use side::Job;

const KNOWN: &str = "wan_decode LATENT_FRAMES SIDE, wan_encode FRAMES SIDE, dit BLOCKS WIDTH LATENT_FRAMES LATENT_SIDE, umt5 LAYERS TOKENS, \
     clip LAYERS SIDE, wav2vec2 SECONDS";

fn weights(salt: &str) -> VarBuilder<'static> {
    Seeded::new(salt).builder(DType::F32, &Device::Cpu)
}

fn given(key: &str, shape: &[usize]) -> Result<Tensor> {
    affine("bench", key, shape, (0.0, 1.0))
}

fn job(line: &[&str]) -> Result<Job> {
    let (Some(net), Ok(numbers)) = (
        line.first(),
        line.iter().skip(1).map(|n| n.parse()).collect::<std::result::Result<Vec<usize>, _>>(),
    ) else {
        bail!("known are {KNOWN}, not {line:?}")
    };
    match (*net, numbers.as_slice()) {
        ("wan_decode", &[latents, side]) => {
            let net = WanVae::load(&WanVaeConfig::wan_2_1(), weights("bench_wan"))?;
            let z = given("z", &[1, latents, side, side, 16])?;
            Ok(Box::new(move || net.decode(&z)))
        }
        ("wan_encode", &[frames, side]) => {
            let net = WanVae::load(&WanVaeConfig::wan_2_1(), weights("bench_wan"))?;
            let video = given("video", &[1, frames, side, side, 3])?;
            Ok(Box::new(move || net.encode(&video)))
        }
        ("dit", &[blocks, width, frames, side]) => dit(blocks, width, (frames, side)),
        ("umt5", &[layers, tokens]) => {
            let cfg = Umt5Config { vocab_size: 1024, encoder_layers: layers, ..Umt5Config::xxl() };
            let net = Umt5Encoder::load(&cfg, weights("bench_umt5"))?;
            let ids: Vec<u32> = (0..tokens as u32).map(|i| i * 37 % 1000 + 2).collect();
            let ids = Tensor::from_vec(ids, (1, tokens), &Device::Cpu)?;
            Ok(Box::new(move || net.forward(&ids)))
        }
        ("clip", &[layers, side]) => {
            // Wan uses all layers but the last
            let cfg = ClipVisionConfig { num_hidden_layers: layers + 1, ..ClipVisionConfig::vit_h_14() };
            let net = ClipVisual::load(&cfg, weights("bench_clip"))?;
            let frame = given("frame", &[1, side, side, 3])?;
            Ok(Box::new(move || net.forward(&frame)))
        }
        ("wav2vec2", &[seconds]) => {
            let net = Wav2Vec2::load(&Wav2Vec2Config::base(), weights("bench_wav2vec2"))?;
            let speech = given("speech", &[1, seconds * 16_000])?;
            Ok(Box::new(move || net.forward(&speech, seconds * 25, &Probe::off())))
        }
        _ => bail!("known are {KNOWN}, not {line:?}"),
    }
}

/// The base alone, as diffusers has it: the peer knows no speech. Prompt and picture are embedded in every run, as there.
fn dit(blocks: usize, width: usize, (frames, side): (usize, usize)) -> Result<Job> {
    let (dim, ffn_dim, num_heads) = (width, 4 * width, width / 128);
    let cfg = DitConfig { dim, ffn_dim, num_heads, num_layers: blocks, ..DitConfig::wan_i2v_14b() };
    let net = Dit::load(&cfg, &Loading::default(), weights("bench_dit"))?;
    let latents = given("latents", &[16, frames, side, side])?;
    let condition = given("condition", &[20, frames, side, side])?;
    let (rows, hidden) = (given("text", &[512, 4096])?, given("picture", &[1, 257, 1280])?);
    Ok(Box::new(move || {
        let text = net.embed_text(&rows).map_err(Error::wrap)?;
        let picture = net.embed_picture(&hidden).map_err(Error::wrap)?;
        let step = Step {
            latents: &latents,
            condition: &condition,
            timestep: 937.5,
            text: &text,
            picture: &picture,
            audio: None,
            persons: None,
        };
        let watch = Watch { stop: &|| false, probe: &Probe::off() };
        Ok(net.forward(&step, Pass::Whole, &watch).map_err(Error::wrap)?.velocity)
    }))
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    side::serve(job)
}
