//! The 3D causal VAE of Wan 2.1 (Wan team 2025, section 4.1): video to latents of 16 channels, 8 times smaller in each direction and 4
//! times in time, and back. A clip goes through in pieces (1 frame, then 4 at a time; 1 latent at a time) and what the convolutions
//! remember between pieces is a value of the caller, so that memory does not grow with its length. Reference: Wan2.1 9737cba,
//! `wan/modules/vae.py`. Deviations: a channel norm divides by sqrt(|x|^2 + 1e-24) instead of max(|x|, 1e-12). Refused:
//! attention outside the middle (`attn_scales`), frames that do not fill a piece.

mod block;
mod decoder;
mod encoder;
mod verify;

use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use layers::{CausalConv3d, Conv3dConfig};
use serde::Deserialize;

pub use block::Memory;
use decoder::Decoder;
use encoder::Encoder;
pub use verify::register;

/// Of each latent channel, over the training clips (`WanVAE.__init__`).
const MEAN: [f32; 16] = [
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632,
    -0.1922, -0.9497, 0.2503, -0.2921,
];
const DEVIATION: [f32; 16] = [
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382,
    1.1253, 2.8251, 1.9160,
];

/// The arguments of the reference's `WanVAE_`, in its spelling.
#[derive(Clone, Debug, Deserialize)]
pub struct WanVaeConfig {
    pub dim: usize,
    pub z_dim: usize,
    pub dim_mult: Vec<usize>,
    pub num_res_blocks: usize,
    pub attn_scales: Vec<f64>,
    pub temperal_downsample: Vec<bool>,
}

impl WanVaeConfig {
    /// Wan2.1_VAE.pth
    pub fn wan_2_1() -> Self {
        Self {
            dim: 96,
            z_dim: 16,
            dim_mult: vec![1, 2, 4, 4],
            num_res_blocks: 2,
            attn_scales: Vec::new(),
            temperal_downsample: vec![false, true, true],
        }
    }

    pub fn check(&self) -> Result<()> {
        if self.z_dim != MEAN.len() {
            bail!("z_dim is {}, but statistics are known of {} latent channels", self.z_dim, MEAN.len());
        }
        if self.dim_mult.is_empty() || self.temperal_downsample.len() + 1 != self.dim_mult.len() {
            bail!(
                "temperal_downsample has one entry less than dim_mult, not {} for {}",
                self.temperal_downsample.len(),
                self.dim_mult.len()
            );
        }
        let halves = self.dim_mult.iter().skip(1).all(|m| (m * self.dim).is_multiple_of(2));
        if self.dim == 0 || self.num_res_blocks == 0 || self.dim_mult.contains(&0) || !halves {
            bail!(
                "dim {} times dim_mult {:?} in num_res_blocks {} makes no net",
                self.dim,
                self.dim_mult,
                self.num_res_blocks
            );
        }
        if !self.attn_scales.is_empty() {
            bail!("attn_scales is {:?}, but only a net without is known", self.attn_scales);
        }
        Ok(())
    }

    /// The widths of the encoder's stages, the first one's input before them.
    fn widths(&self) -> Vec<usize> {
        std::iter::once(1).chain(self.dim_mult.iter().copied()).map(|m| m * self.dim).collect()
    }

    /// Frames of video that one latent frame stands for, the first one excepted.
    fn frames_per_latent(&self) -> usize {
        1 << self.temperal_downsample.iter().filter(|&&halved| halved).count()
    }
}

#[derive(Clone, Debug)]
pub struct WanVae {
    encoder: Encoder,
    conv1: CausalConv3d,
    conv2: CausalConv3d,
    decoder: Decoder,
    mean: Tensor,    // (z,)
    inverse: Tensor, // (z,), 1 / deviation
    frames: usize,
}

impl WanVae {
    pub fn load(cfg: &WanVaeConfig, vb: VarBuilder) -> Result<Self> {
        cfg.check()?;
        let z = cfg.z_dim;
        let inverse: Vec<f32> = DEVIATION.iter().map(|deviation| 1.0 / deviation).collect();
        let channels = |values: &[f32]| Tensor::new(values, vb.device())?.to_dtype(vb.dtype());
        Ok(Self {
            encoder: Encoder::load(cfg, vb.pp("encoder"))?,
            conv1: CausalConv3d::load(2 * z, 2 * z, Conv3dConfig::cube(1, 1), vb.pp("conv1"))?,
            conv2: CausalConv3d::load(z, z, Conv3dConfig::cube(1, 1), vb.pp("conv2"))?,
            decoder: Decoder::load(cfg, vb.pp("decoder"))?,
            mean: channels(&MEAN)?,
            inverse: channels(&inverse)?,
            frames: cfg.frames_per_latent(),
        })
    }

    pub fn dtype(&self) -> DType {
        self.mean.dtype()
    }

    pub fn device(&self) -> &Device {
        self.mean.device()
    }

    /// The means of the normalised latents. video: (b, 1 + 4 n, h, w, 3) on [-1, 1] -> (b, 1 + n, h / 8, w / 8, z)
    pub fn encode(&self, video: &Tensor) -> Result<Tensor> {
        let t = video.dim(1)?;
        if t % self.frames != 1 % self.frames {
            bail!("a clip to encode has 1 + {} n frames, not {t}", self.frames);
        }
        let mut memory = Memory::new();
        let mut latents = vec![self.encode_piece(&video.narrow(1, 0, 1)?, &mut memory)?];
        for from in (1..t).step_by(self.frames) {
            latents.push(self.encode_piece(&video.narrow(1, from, self.frames)?, &mut memory)?);
        }
        Tensor::cat(&latents, 1)
    }

    /// The next latent frame: of the first frame of a clip (with a new memory), then of 4 frames at a time.
    /// frames: (b, 1 or 4, h, w, 3) -> (b, 1, h / 8, w / 8, z)
    pub fn encode_piece(&self, frames: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let t = frames.dim(1)?;
        let wanted = if memory.is_new() { 1 } else { self.frames };
        if t != wanted {
            bail!("the next piece to encode has {wanted} frames, not {t}");
        }
        let moments = self.conv1.valid(&self.encoder.forward(frames, memory)?)?; // (b, 1, h / 8, w / 8, 2 z)
        let mean = moments.narrow(4, 0, self.mean.dim(0)?)?; // what lies behind is the logarithm of the variance
        mean.broadcast_sub(&self.mean)?.broadcast_mul(&self.inverse)
    }

    /// latents: (b, 1 + n, h, w, z) -> (b, 1 + 4 n, 8 h, 8 w, 3), not yet clamped to [-1, 1]
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let mut memory = Memory::new();
        let pieces = (0..latents.dim(1)?)
            .map(|i| self.decode_piece(&latents.narrow(1, i, 1)?, &mut memory))
            .collect::<Result<Vec<_>>>()?;
        Tensor::cat(&pieces, 1)
    }

    /// What the next latent frame holds: 1 frame for the first of a clip (with a new memory), then 4.
    /// latent: (b, 1, h, w, z) -> (b, 1 or 4, 8 h, 8 w, 3), not yet clamped to [-1, 1]
    pub fn decode_piece(&self, latent: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let t = latent.dim(1)?;
        if t != 1 {
            bail!("latents are decoded one frame at a time, not {t}");
        }
        let z = latent.broadcast_div(&self.inverse)?.broadcast_add(&self.mean)?;
        self.decoder.forward(&self.conv2.valid(&z)?, memory)
    }
}

/// A causal convolution that keeps the size of its frames: (3, 3, 3).
fn cube(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<CausalConv3d> {
    CausalConv3d::load(inputs, outputs, Conv3dConfig::cube(3, 3), vb)
}

/// x: (b, t, h, w, c) as a batch of pictures through `frame`, and back.
fn each_frame(x: &Tensor, frame: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let (b, t, h, w, c) = x.dims5()?;
    let y = frame(&x.reshape((b * t, h, w, c))?)?; // (b * t, h', w', o)
    let (_, h, w, o) = y.dims4()?;
    y.reshape((b, t, h, w, o))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> WanVaeConfig {
        WanVaeConfig { dim: 4, num_res_blocks: 1, ..WanVaeConfig::wan_2_1() }
    }

    fn net() -> WanVae {
        WanVae::load(&tiny(), golden::Seeded::new("tiny").builder(DType::F32, &Device::Cpu)).unwrap()
    }

    fn zeros(shape: [usize; 5]) -> Tensor {
        Tensor::zeros(&shape, DType::F32, &Device::Cpu).unwrap()
    }

    #[test]
    fn a_clip_and_its_latents() {
        let (net, video) = (net(), zeros([2, 9, 16, 24, 3]));
        let latents = net.encode(&video).unwrap();
        assert_eq!(latents.dims(), [2, 3, 2, 3, 16]);
        let decoded = net.decode(&latents).unwrap();
        assert_eq!(decoded.dims(), [2, 9, 16, 24, 3]);
        let values: Vec<f32> = decoded.flatten_all().unwrap().to_vec1().unwrap();
        assert!(values.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn a_channel_norm_of_nothing_is_nothing() {
        let vb = golden::Seeded::new("norm").builder(DType::F32, &Device::Cpu);
        let norm = block::channel_norm(&[96, 1, 1, 1], vb).unwrap();
        let y = norm.forward(&zeros([1, 1, 1, 1, 96])).unwrap();
        assert!(y.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|&v| v == 0.0));
        let faint = norm.forward(&(zeros([1, 1, 1, 1, 96]) + 1e-9).unwrap()).unwrap();
        let plain = norm.forward(&(zeros([1, 1, 1, 1, 96]) + 1.0).unwrap()).unwrap();
        let difference = (faint - plain).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-3, "an epsilon shows at a norm of 1e-8");
    }

    #[test]
    fn refuses_pieces_that_do_not_fit() {
        let net = net();
        let mut memory = Memory::new();
        let said = |result: Result<Tensor>| result.unwrap_err().to_string();
        assert!(said(net.encode(&zeros([1, 8, 16, 16, 3]))).contains("1 + 4 n frames, not 8"));
        assert!(
            said(net.encode_piece(&zeros([1, 4, 16, 16, 3]), &mut memory)).contains("has 1 frames, not 4")
        );
        net.encode_piece(&zeros([1, 1, 16, 16, 3]), &mut memory).unwrap();
        assert!(
            said(net.encode_piece(&zeros([1, 1, 16, 16, 3]), &mut memory)).contains("has 4 frames, not 1")
        );
        let two = zeros([1, 2, 2, 2, 16]);
        assert!(said(net.decode_piece(&two, &mut Memory::new())).contains("one frame at a time, not 2"));
    }

    #[test]
    fn refuses_other_nets() {
        let said = |cfg: WanVaeConfig| cfg.check().unwrap_err().to_string();
        assert!(tiny().check().is_ok());
        assert!(said(WanVaeConfig { z_dim: 4, ..tiny() }).contains("z_dim is 4"));
        assert!(said(WanVaeConfig { temperal_downsample: vec![true], ..tiny() }).contains("1 for 4"));
        assert!(said(WanVaeConfig { attn_scales: vec![0.5], ..tiny() }).contains("[0.5]"));
        assert!(said(WanVaeConfig { dim: 3, dim_mult: vec![1; 4], ..tiny() }).contains("dim 3"));
    }
}
