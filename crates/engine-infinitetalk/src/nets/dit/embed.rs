//! What enters the DiT, each made into rows of its width: patches of latents, the time, the prompt, the picture.

use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use layers::{Activation, Bias, LayerNorm, Linear, strictly};

use super::config::{CLIP_DIM, DitConfig, LAYER_NORM_EPS, Loading, PATCH};

/// Tokens of latents by frames, rows and columns.
pub(super) type Grid = (usize, usize, usize);

/// A convolution whose steps are as long as its kernel: a linear layer of each patch.
#[derive(Clone, Debug)]
pub(super) struct PatchEmbedding {
    linear: Linear,
    channels: usize,
    activations: DType,
}

impl PatchEmbedding {
    pub fn load(cfg: &DitConfig, how: &Loading, vb: VarBuilder) -> Result<Self> {
        let weight = vb.get((cfg.dim, cfg.in_dim, 1, PATCH, PATCH), "weight")?;
        let weight = weight.reshape((cfg.dim, cfg.in_dim * PATCH * PATCH))?;
        let linear = Linear::new(weight, Some(vb.get(cfg.dim, "bias")?))?;
        Ok(Self { linear, channels: cfg.in_dim, activations: how.activations })
    }

    /// latents and condition: together (in_dim, t, h, w) -> (1, t * h/2 * w/2, c), and how the tokens lie
    pub fn forward(&self, latents: &Tensor, condition: &Tensor) -> Result<(Tensor, Grid)> {
        let condition = condition.to_dtype(latents.dtype())?;
        let x = Tensor::cat(&[latents, &condition], 0)?;
        let (c, t, h, w) = x.dims4()?;
        if c != self.channels {
            bail!("latents and their condition have {} channels together, not {c}", self.channels);
        }
        if h == 0 || w == 0 || !h.is_multiple_of(PATCH) || !w.is_multiple_of(PATCH) {
            bail!("latents of {h}x{w} cannot be cut into patches of {PATCH}x{PATCH}");
        }
        let (h, w) = (h / PATCH, w / PATCH);
        let patches = x
            .reshape((c, t, h, PATCH, w, PATCH))?
            .permute((1, 2, 4, 0, 3, 5))? // (t, h, w, c, 2, 2)
            .reshape((1, t * h * w, c * PATCH * PATCH))?
            .to_dtype(self.activations)?;
        Ok((self.linear.forward(&patches)?, (t, h, w)))
    }
}

/// In f32 with the weights as they are held, whatever the activations are, and always exactly: the skip pattern of TeaCache hangs on it.
#[derive(Clone, Debug)]
pub(super) struct TimeEmbedding {
    first: Linear,
    second: Linear,
    projection: Linear,
    frequencies: usize,
    dim: usize,
}

impl TimeEmbedding {
    pub fn load(cfg: &DitConfig, vb: VarBuilder) -> Result<Self> {
        let c = cfg.dim;
        let embedding = vb.pp("time_embedding");
        strictly(|| {
            Ok(Self {
                first: Linear::load(cfg.freq_dim, c, Bias::Yes, embedding.pp(0))?,
                second: Linear::load(c, c, Bias::Yes, embedding.pp(2))?,
                projection: Linear::load(c, 6 * c, Bias::Yes, vb.pp("time_projection.1"))?,
                frequencies: cfg.freq_dim / 2,
                dim: c,
            })
        })
    }

    /// t: 1000 (noise) to 0 -> e: (1, c), what the head needs, and e0: (6, c), what the blocks need; f32
    pub fn forward(&self, t: f64, device: &Device) -> Result<(Tensor, Tensor)> {
        let half = self.frequencies;
        let angle = |i: usize| t * 10_000f64.powf(-(i as f64) / half as f64);
        let waves: Vec<f32> = (0..half)
            .map(|i| angle(i).cos() as f32)
            .chain((0..half).map(|i| angle(i).sin() as f32))
            .collect();
        let waves = Tensor::from_vec(waves, (1, 2 * half), device)?;
        let e = self.second.forward(&self.first.forward_then(&waves, Activation::Silu)?)?;
        let e0 = self.projection.forward(&Activation::Silu.forward(&e)?)?; // (1, 6c)
        Ok((e, e0.reshape((6, self.dim))?))
    }
}

/// Of the prompt's umT5 rows.
#[derive(Clone, Debug)]
pub(super) struct TextEmbedding {
    first: Linear,
    second: Linear,
    length: usize,
    activations: DType,
}

impl TextEmbedding {
    pub fn load(cfg: &DitConfig, how: &Loading, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            first: Linear::load(cfg.text_dim, cfg.dim, Bias::Yes, vb.pp(0))?,
            second: Linear::load(cfg.dim, cfg.dim, Bias::Yes, vb.pp(2))?,
            length: cfg.text_len,
            activations: how.activations,
        })
    }

    /// rows: (l, text) of l tokens -> (1, text_len, c); what is missing is made of zeros, as the net was trained
    pub fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let (l, _) = rows.dims2()?;
        if l > self.length {
            bail!("a prompt of {l} tokens is too long: the limit is {}", self.length);
        }
        let rows = rows.to_dtype(self.activations)?.pad_with_zeros(0, 0, self.length - l)?.unsqueeze(0)?;
        self.second.forward(&self.first.forward_then(&rows, Activation::GeluTanh)?)
    }
}

/// Of what CLIP sees (`MLPProj`).
#[derive(Clone, Debug)]
pub(super) struct PictureEmbedding {
    norm: LayerNorm,
    first: Linear,
    second: Linear,
    last_norm: LayerNorm,
    activations: DType,
}

impl PictureEmbedding {
    pub fn load(cfg: &DitConfig, how: &Loading, vb: VarBuilder) -> Result<Self> {
        let norms = vb.to_dtype(how.activations);
        let norm = |c, i| LayerNorm::load(c, LAYER_NORM_EPS, Bias::Yes, norms.pp(i));
        Ok(Self {
            norm: norm(CLIP_DIM, 0)?,
            first: Linear::load(CLIP_DIM, CLIP_DIM, Bias::Yes, vb.pp(1))?,
            second: Linear::load(CLIP_DIM, cfg.dim, Bias::Yes, vb.pp(3))?,
            last_norm: norm(cfg.dim, 4)?,
            activations: how.activations,
        })
    }

    /// x: (1, 257, 1280) -> (1, 257, c)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.norm.forward(&x.to_dtype(self.activations)?)?;
        self.last_norm.forward(&self.second.forward(&self.first.forward_then(&x, Activation::Gelu)?)?)
    }
}
