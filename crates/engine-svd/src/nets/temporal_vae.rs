//! SVD's VAE (`AutoencoderKLTemporalDecoder` of diffusers 0.42.1): pictures are encoded as by the VAE of Stable Diffusion, latents are
//! decoded several frames at a time, so that neighbours agree. The frames of one call see each other and nothing else: a clip that is
//! decoded in chunks has their size in its result. Neither the scaling factor nor the chunks are applied here.

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use encoders::kl_vae::{KlEncoder, KlVaeConfig, SpatialAttention};
use golden::{Case, CaseError, Given, Net, Outputs, Registry, every};
use layers::weights::{Inventory, Outline};
use layers::{Conv2d, ConvConfig, FrameConv, GroupNorm, Probe, upsample_nearest};

use super::res_block::{Counts, ResBlockSize, SpatioTemporalResBlock, each_frame, frame_by_frame};
use super::watch::{Outcome, Watch};

/// Of the norm before the last convolution, and of everything within a frame (diffusers, `TemporalDecoder`).
const NORM_EPS: f64 = 1e-6;
/// Of norms over several frames (`SpatioTemporalResBlock`'s `temporal_eps`).
const TEMPORAL_EPS: f64 = 1e-5;

/// vae/config.json of stabilityai/stable-video-diffusion-img2vid-xt, which is Stable Diffusion's but for the decoder's blocks.
pub fn svd() -> KlVaeConfig {
    KlVaeConfig { up_block_types: Vec::new(), ..KlVaeConfig::sd() }
}

#[derive(Debug)]
struct UpBlock {
    resnets: Vec<SpatioTemporalResBlock>,
    /// All levels but the last.
    upsampler: Option<Conv2d>,
}

#[derive(Debug)]
pub struct TemporalDecoder {
    conv_in: Conv2d,
    mid_first: SpatioTemporalResBlock,
    mid_attention: SpatialAttention,
    mid_second: SpatioTemporalResBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    time_conv_out: FrameConv,
}

impl TemporalDecoder {
    /// vb: where the file's `decoder.` is; there is no `post_quant_conv`
    pub fn load(cfg: &KlVaeConfig, vb: VarBuilder) -> Result<Self> {
        cfg.check()?;
        if !cfg.up_block_types.is_empty() {
            bail!("up_block_types is {:?}, but a temporal decoder has none", cfg.up_block_types);
        }
        let (widths, groups, vb) = (&cfg.block_out_channels, cfg.norm_num_groups, vb.pp("decoder"));
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let (three, mid) = (ConvConfig::square(3), vb.pp("mid_block"));
        let resnet = |channels: (usize, usize), vb: VarBuilder| {
            let (eps, counts) = ((NORM_EPS, TEMPORAL_EPS), Counts::Temporal);
            let size = ResBlockSize { channels, groups, eps, time: None, counts };
            SpatioTemporalResBlock::load(&size, vb)
        };
        let mut up_blocks = Vec::with_capacity(widths.len());
        let mut inputs = last;
        for (level, &outputs) in widths.iter().rev().enumerate() {
            let vb = vb.pp("up_blocks").pp(level);
            let mut resnets = Vec::with_capacity(cfg.layers_per_block + 1);
            for i in 0..=cfg.layers_per_block {
                resnets.push(resnet((inputs, outputs), vb.pp("resnets").pp(i))?);
                inputs = outputs;
            }
            let upsampler = (level + 1 < widths.len())
                .then(|| Conv2d::load(outputs, outputs, three, vb.pp("upsamplers.0.conv")))
                .transpose()?;
            up_blocks.push(UpBlock { resnets, upsampler });
        }
        Ok(Self {
            conv_in: Conv2d::load(cfg.latent_channels, last, three, vb.pp("conv_in"))?,
            mid_first: resnet((last, last), mid.pp("resnets.0"))?,
            mid_attention: SpatialAttention::load(last, groups, mid.pp("attentions.0"))?,
            mid_second: resnet((last, last), mid.pp("resnets.1"))?,
            up_blocks,
            conv_norm_out: GroupNorm::load(groups, first, NORM_EPS, vb.pp("conv_norm_out"))?,
            conv_out: Conv2d::load(first, cfg.out_channels, three, vb.pp("conv_out"))?,
            time_conv_out: FrameConv::load(cfg.out_channels, cfg.out_channels, vb.pp("time_conv_out"))?,
        })
    }

    /// z: (b, f, h, w, 4), the scaling factor taken off -> (b, f, 8h, 8w, 3), about on [-1, 1]
    pub fn forward(&self, z: &Tensor, watch: &Watch) -> Outcome<Tensor> {
        let part =
            |name: &str, run: &dyn Fn() -> Result<Tensor>| watch.part(|| format!("decoder.{name}"), run);
        let x = part("conv_in", &|| each_frame(z, |z| self.conv_in.forward(z)))?; // (b, f, h, w, c)
        let x = part("mid_block.resnets.0", &|| self.mid_first.forward(&x, None))?;
        let x = part("mid_block.attentions.0", &|| frame_by_frame(&x, |x| self.mid_attention.forward(x)))?;
        let mut x = part("mid_block.resnets.1", &|| self.mid_second.forward(&x, None))?;
        for (level, block) in self.up_blocks.iter().enumerate() {
            for (i, resnet) in block.resnets.iter().enumerate() {
                x = part(&format!("up_blocks.{level}.resnets.{i}"), &|| resnet.forward(&x, None))?;
            }
            if let Some(conv) = &block.upsampler {
                let up = |x: &Tensor| conv.forward(&upsample_nearest(x, 2)?);
                x = part(&format!("up_blocks.{level}.upsamplers.0"), &|| frame_by_frame(&x, up))?; // (b, f, 2h, 2w, c)
            }
        }
        let out = |x: &Tensor| self.conv_out.forward(&self.conv_norm_out.forward_silu(x)?);
        part("conv_out", &|| self.time_conv_out.forward(&frame_by_frame(&x, out)?)) // (b, f, 8h, 8w, 3)
    }
}

pub fn register(registry: &mut Registry) {
    registry.cases.push(&TemporalVaeCase);
    registry.nets.push(Net { inventory: "svd_vae", unused: &[], outline });
}

fn outline() -> Result<Inventory> {
    let (cfg, outline) = (svd(), Outline::new());
    KlEncoder::load(&cfg, outline.builder())?;
    TemporalDecoder::load(&cfg, outline.builder())?;
    Ok(outline.inventory())
}

struct TemporalVaeCase;

impl Case for TemporalVaeCase {
    fn components(&self) -> &[&str] {
        &["AutoencoderKLTemporalDecoder"]
    }

    fn run(&self, given: &Given) -> std::result::Result<Outputs, CaseError> {
        let cfg: KlVaeConfig = given.config()?;
        let channels_first = |x: &Tensor| x.permute((0, 3, 1, 2))?.contiguous();
        let image = given.float_input("in.image")?.permute((0, 2, 3, 1))?.contiguous()?; // (1, h, w, 3)
        let posterior = KlEncoder::load(&cfg, given.weights()?)?.forward(&image)?;
        let mut outputs = Outputs::new();
        outputs.out("mode", channels_first(&posterior.mean)?);
        outputs.out("logvar", channels_first(&posterior.logvar)?);
        // all frames are one chunk
        let latents = given.float_input("in.latents")?.permute((0, 2, 3, 1))?.contiguous()?.unsqueeze(0)?;
        let watch = Watch { stop: &|| false, probe: &Probe::off() };
        let decoder = TemporalDecoder::load(&cfg, given.weights()?)?;
        let decoded = decoder.forward(&latents, &watch)?.squeeze(0)?; // (f, 8h, 8w, 3)
        let thinned = every(2, &every(2, &decoded, 1)?, 2)?;
        outputs.out("decoded_sub2", channels_first(&thinned)?);
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn tiny() -> KlVaeConfig {
        KlVaeConfig {
            block_out_channels: vec![4, 8],
            layers_per_block: 1,
            norm_num_groups: 2,
            down_block_types: vec!["DownEncoderBlock2D".into(); 2],
            ..svd()
        }
    }

    fn decoder() -> TemporalDecoder {
        let vb = golden::Seeded::new("tiny").builder(DType::F32, &Device::Cpu);
        TemporalDecoder::load(&tiny(), vb).unwrap()
    }

    /// How large a signal of 1e-3 around nothing leaves a norm: its variance is as small as an epsilon, so this tells which one is used.
    fn strength(norm: &GroupNorm, channels: usize) -> f32 {
        let values: Vec<f32> = (0..channels * 8).map(|i| if i % 2 == 0 { 1e-3 } else { -1e-3 }).collect();
        let x = Tensor::from_vec(values, (1, 2, 2, 2, channels), &Device::Cpu).unwrap();
        let y = norm.forward(&x).unwrap();
        y.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt()
    }

    #[test]
    fn the_epsilons_of_frames_of_time_and_of_the_end_differ() {
        let vb = golden::Seeded::new("tiny").builder(DType::F32, &Device::Cpu);
        let cfg = KlVaeConfig { block_out_channels: vec![8, 8], ..tiny() };
        let decoder = TemporalDecoder::load(&cfg, vb).unwrap();
        let resnets = decoder.up_blocks.iter().flat_map(|block| &block.resnets);
        for resnet in resnets.chain([&decoder.mid_first, &decoder.mid_second]) {
            let [spatial, temporal] = resnet.norms();
            for (norms, want) in [(spatial, 0.707), (temporal, 0.3015)] {
                for norm in norms {
                    let strength = strength(norm, 8);
                    assert!((strength - want).abs() < 0.1, "{strength}"); // 1e-3 / sqrt(1e-6 + eps)
                }
            }
        }
        let strength = strength(&decoder.conv_norm_out, 8);
        assert!((strength - 0.707).abs() < 0.1, "{strength}");
    }

    fn decoded(decoder: &TemporalDecoder, z: &Tensor) -> Tensor {
        decoder.forward(z, &Watch { stop: &|| false, probe: &Probe::off() }).unwrap()
    }

    fn distance(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
    }

    #[test]
    fn frames_of_a_call_see_each_other_and_clips_do_not() {
        let (decoder, seeded) = (decoder(), golden::Seeded::new("latents"));
        let z = seeded.tensor("z", &[2, 3, 2, 2, 4], DType::F32, &Device::Cpu).unwrap();
        let both = decoded(&decoder, &z);
        assert_eq!(both.dims(), [2, 3, 4, 4, 3]);
        let second = decoded(&decoder, &z.narrow(0, 1, 1).unwrap());
        assert!(distance(&both.narrow(0, 1, 1).unwrap(), &second) < 1e-5);
        let shorter = decoded(&decoder, &z.narrow(1, 0, 2).unwrap());
        assert!(distance(&both.narrow(1, 0, 1).unwrap(), &shorter.narrow(1, 0, 1).unwrap()) > 1e-3);
    }

    #[test]
    fn ends_before_the_next_part_when_nobody_wants_it_and_names_the_part_that_broke() {
        let (decoder, asked) = (decoder(), std::cell::Cell::new(0));
        let z = Tensor::ones((1, 2, 2, 2, 4), DType::F32, &Device::Cpu).unwrap();
        let stop = || asked.replace(asked.get() + 1) == 3;
        let said = decoder.forward(&z, &Watch { stop: &stop, probe: &Probe::off() }).unwrap_err();
        assert_eq!(said.to_string(), "stopped before decoder.mid_block.resnets.1");
        assert_eq!(asked.get(), 4);
        let broken = (z * f64::NAN).unwrap();
        let said = decoder.forward(&broken, &Watch { stop: &|| false, probe: &Probe::off() }).unwrap_err();
        assert!(said.to_string().starts_with("decoder.conv_in gave values that are not finite"), "{said}");
    }

    #[test]
    fn refuses_the_blocks_of_another_decoder() {
        let vb = golden::Seeded::new("tiny").builder(DType::F32, &Device::Cpu);
        let said = TemporalDecoder::load(&KlVaeConfig::sd(), vb).unwrap_err().to_string();
        assert!(said.contains("UpDecoderBlock2D"), "{said}");
    }
}
