//! SVD's VAE (`AutoencoderKLTemporalDecoder` of diffusers 0.42.1): pictures are encoded as by the VAE of Stable Diffusion, latents are
//! decoded several frames at a time, so that neighbours agree. The frames of one call see each other and nothing else: a clip that is
//! decoded in chunks has their size in its result. Neither the scaling factor nor the chunks are applied here.

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use encoders::kl_vae::{KlEncoder, KlVaeConfig, ResnetBlock, SpatialAttention};
use golden::{Case, CaseError, Given, Net, Outputs, Registry, every};
use layers::weights::{Inventory, Outline};
use layers::{CausalConv3d, Conv2d, Conv3dConfig, ConvConfig, GroupNorm, upsample_nearest};

/// Of the norm before the last convolution, and of everything within a frame (diffusers, `TemporalDecoder`).
const NORM_EPS: f64 = 1e-6;
/// Of norms over several frames (`SpatioTemporalResBlock`'s `temporal_eps`).
const TEMPORAL_EPS: f64 = 1e-5;

/// vae/config.json of stabilityai/stable-video-diffusion-img2vid-xt, which is Stable Diffusion's but for the decoder's blocks.
pub fn svd() -> KlVaeConfig {
    KlVaeConfig { up_block_types: Vec::new(), ..KlVaeConfig::sd() }
}

/// Three frames to one, within each pixel; there are zeros before the first frame and after the last.
#[derive(Debug)]
struct FrameConv(CausalConv3d);

impl FrameConv {
    fn load(channels: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self(CausalConv3d::load(channels, channels, Conv3dConfig::cube(3, 1), vb)?))
    }

    /// x: (b, f, h, w, c) -> the same
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.valid(&x.pad_with_zeros(1, 1, 1)?)
    }
}

/// `TemporalResnetBlock` without a time embedding: its norms and convolutions run over frames.
#[derive(Debug)]
struct TemporalResnetBlock {
    norm1: GroupNorm,
    conv1: FrameConv,
    norm2: GroupNorm,
    conv2: FrameConv,
}

impl TemporalResnetBlock {
    fn load(channels: usize, groups: usize, vb: VarBuilder) -> Result<Self> {
        let norm = |name: &str| GroupNorm::load(groups, channels, TEMPORAL_EPS, vb.pp(name));
        Ok(Self {
            norm1: norm("norm1")?,
            conv1: FrameConv::load(channels, vb.pp("conv1"))?,
            norm2: norm("norm2")?,
            conv2: FrameConv::load(channels, vb.pp("conv2"))?,
        })
    }

    /// x: (b, f, h, w, c) -> the same
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.conv1.forward(&self.norm1.forward_silu(x)?)?;
        x + self.conv2.forward(&self.norm2.forward_silu(&y)?)?
    }
}

/// A block within frames, one over frames, and a learned mixture of the two.
#[derive(Debug)]
struct SpatioTemporalResBlock {
    spatial: ResnetBlock,
    temporal: TemporalResnetBlock,
    /// What the temporal block counts; the UNet's count the other way round.
    share: Tensor, // (1,)
}

impl SpatioTemporalResBlock {
    fn load((inputs, outputs): (usize, usize), groups: usize, vb: VarBuilder) -> Result<Self> {
        let mix_factor = vb.get(1, "time_mixer.mix_factor")?;
        Ok(Self {
            spatial: ResnetBlock::load((inputs, outputs), groups, vb.pp("spatial_res_block"))?,
            temporal: TemporalResnetBlock::load(outputs, groups, vb.pp("temporal_res_block"))?,
            share: candle_nn::ops::sigmoid(&mix_factor)?,
        })
    }

    /// x: (b, f, h, w, i) -> (b, f, h, w, o)
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let spatial = each_frame(x, |x| self.spatial.forward(x))?; // (b, f, h, w, o)
        let temporal = self.temporal.forward(&spatial)?;
        let rest = self.share.affine(-1.0, 1.0)?;
        spatial.broadcast_mul(&rest)? + temporal.broadcast_mul(&self.share)?
    }
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
        let mid_resnet =
            |i: usize| SpatioTemporalResBlock::load((last, last), groups, mid.pp("resnets").pp(i));
        let mut up_blocks = Vec::with_capacity(widths.len());
        let mut inputs = last;
        for (level, &outputs) in widths.iter().rev().enumerate() {
            let vb = vb.pp("up_blocks").pp(level);
            let mut resnets = Vec::with_capacity(cfg.layers_per_block + 1);
            for i in 0..=cfg.layers_per_block {
                let vb = vb.pp("resnets").pp(i);
                resnets.push(SpatioTemporalResBlock::load((inputs, outputs), groups, vb)?);
                inputs = outputs;
            }
            let upsampler = (level + 1 < widths.len())
                .then(|| Conv2d::load(outputs, outputs, three, vb.pp("upsamplers.0.conv")))
                .transpose()?;
            up_blocks.push(UpBlock { resnets, upsampler });
        }
        Ok(Self {
            conv_in: Conv2d::load(cfg.latent_channels, last, three, vb.pp("conv_in"))?,
            mid_first: mid_resnet(0)?,
            mid_attention: SpatialAttention::load(last, groups, mid.pp("attentions.0"))?,
            mid_second: mid_resnet(1)?,
            up_blocks,
            conv_norm_out: GroupNorm::load(groups, first, NORM_EPS, vb.pp("conv_norm_out"))?,
            conv_out: Conv2d::load(first, cfg.out_channels, three, vb.pp("conv_out"))?,
            time_conv_out: FrameConv::load(cfg.out_channels, vb.pp("time_conv_out"))?,
        })
    }

    /// z: (b, f, h, w, 4), the scaling factor taken off -> (b, f, 8h, 8w, 3), about on [-1, 1]
    pub fn forward(&self, z: &Tensor) -> Result<Tensor> {
        let x = each_frame(z, |z| self.conv_in.forward(z))?; // (b, f, h, w, c)
        let x = self.mid_first.forward(&x)?;
        let x = each_frame(&x, |x| self.mid_attention.forward(x))?;
        let mut x = self.mid_second.forward(&x)?;
        for block in &self.up_blocks {
            for resnet in &block.resnets {
                x = resnet.forward(&x)?;
            }
            if let Some(conv) = &block.upsampler {
                x = each_frame(&x, |x| conv.forward(&upsample_nearest(x, 2)?))?; // (b, f, 2h, 2w, c)
            }
        }
        let x = each_frame(&x, |x| self.conv_out.forward(&self.conv_norm_out.forward_silu(x)?))?; // (b, f, 8h, 8w, 3)
        self.time_conv_out.forward(&x)
    }
}

/// x: (b, f, h, w, c) as a batch of pictures through `frame`, and back.
fn each_frame(x: &Tensor, frame: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let (b, f, h, w, c) = x.dims5()?;
    let y = frame(&x.reshape((b * f, h, w, c))?)?; // (b * f, h', w', o)
    let (_, h, w, o) = y.dims4()?;
    y.reshape((b, f, h, w, o))
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
        let decoded = TemporalDecoder::load(&cfg, given.weights()?)?.forward(&latents)?.squeeze(0)?; // (f, 8h, 8w, 3)
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
    fn the_epsilons_of_time_and_of_the_end_differ() {
        let decoder = decoder();
        for norm in [&decoder.mid_first.temporal.norm1, &decoder.mid_second.temporal.norm2] {
            let strength = strength(norm, 8);
            assert!((strength - 0.3015).abs() < 0.05, "{strength}"); // 1e-3 / sqrt(1e-6 + 1e-5)
        }
        let strength = strength(&decoder.conv_norm_out, 4);
        assert!((strength - 0.707).abs() < 0.1, "{strength}"); // 1e-3 / sqrt(1e-6 + 1e-6)
    }

    #[test]
    fn frames_of_a_call_see_each_other_and_clips_do_not() {
        let (decoder, seeded) = (decoder(), golden::Seeded::new("latents"));
        let z = seeded.tensor("z", &[2, 3, 2, 2, 4], DType::F32, &Device::Cpu).unwrap();
        let distance = |a: &Tensor, b: &Tensor| {
            (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
        };
        let both = decoder.forward(&z).unwrap();
        assert_eq!(both.dims(), [2, 3, 4, 4, 3]);
        let second = decoder.forward(&z.narrow(0, 1, 1).unwrap()).unwrap();
        assert!(distance(&both.narrow(0, 1, 1).unwrap(), &second) < 1e-5);
        let shorter = decoder.forward(&z.narrow(1, 0, 2).unwrap()).unwrap();
        assert!(distance(&both.narrow(1, 0, 1).unwrap(), &shorter.narrow(1, 0, 1).unwrap()) > 1e-3);
    }

    #[test]
    fn refuses_the_blocks_of_another_decoder() {
        let vb = golden::Seeded::new("tiny").builder(DType::F32, &Device::Cpu);
        let said = TemporalDecoder::load(&KlVaeConfig::sd(), vb).unwrap_err().to_string();
        assert!(said.contains("UpDecoderBlock2D"), "{said}");
    }
}
