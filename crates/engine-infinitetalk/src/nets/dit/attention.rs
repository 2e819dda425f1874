//! What the tokens of a video see of each other, and of the prompt and the picture.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use layers::{Bias, Linear, Mask, Projection, RmsNorm, RopeTable, attention};

use super::config::{DitConfig, Form, Loading};
use super::persons::Persons;

/// A layer of a block, its weights in the form they are to be held in.
pub(super) fn linear([inputs, outputs]: [usize; 2], how: &Loading, vb: VarBuilder) -> Result<Linear> {
    match how.form {
        Form::Plain => Linear::load(inputs, outputs, Bias::Yes, vb),
        Form::Q8_0 => Linear::load_q8_0(inputs, outputs, Bias::Yes, vb),
    }
}

/// What logits are multiplied with.
pub(super) fn scale(head_dim: usize) -> f64 {
    (head_dim as f64).powf(-0.5)
}

#[derive(Clone, Debug)]
pub(super) struct SelfAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    norm_q: RmsNorm,
    norm_k: RmsNorm,
    heads: usize,
}

impl SelfAttention {
    pub fn load(cfg: &DitConfig, how: &Loading, vb: VarBuilder) -> Result<Self> {
        let c = cfg.dim;
        let square = |name: &str| linear([c, c], how, vb.pp(name));
        let norms = vb.to_dtype(how.activations);
        Ok(Self {
            q: square("q")?,
            k: square("k")?,
            v: square("v")?,
            o: square("o")?,
            norm_q: RmsNorm::load(c, cfg.eps, norms.pp("norm_q"))?,
            norm_k: RmsNorm::load(c, cfg.eps, norms.pp("norm_k"))?,
            heads: cfg.num_heads,
        })
    }

    /// x: (1, l, c) -> the same, and with persons how much each token looks at each of them: (3, l)
    pub fn forward(
        &self,
        x: &Tensor,
        rope: &RopeTable,
        persons: Option<&Persons>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (b, l, c) = x.dims3()?;
        let d = c / self.heads;
        let turned = |linear, norm| {
            Projection { linear, norm: Some(norm), turn: Some(rope), heads: self.heads }.forward(x)
        };
        let (q, k) = (turned(&self.q, &self.norm_q)?, turned(&self.k, &self.norm_k)?); // (1, l, n, d)
        let v = self.v.forward(x)?.reshape((b, l, self.heads, d))?;
        let map = persons.map(|persons| persons.map(&q, &k)).transpose()?;
        let y = attention(&q, &k, &v, &Mask::Full, scale(d))?;
        Ok((self.o.forward(&y.reshape((b, l, c))?)?, map))
    }
}

/// Prompt and picture each have a softmax of their own; the two answers are added.
#[derive(Clone, Debug)]
pub(super) struct CrossAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    k_img: Linear,
    v_img: Linear,
    o: Linear,
    norm_q: RmsNorm,
    norm_k: RmsNorm,
    norm_k_img: RmsNorm,
    heads: usize,
}

impl CrossAttention {
    pub fn load(cfg: &DitConfig, how: &Loading, vb: VarBuilder) -> Result<Self> {
        let c = cfg.dim;
        let square = |name: &str| linear([c, c], how, vb.pp(name));
        let norms = vb.to_dtype(how.activations);
        let norm = |name: &str| RmsNorm::load(c, cfg.eps, norms.pp(name));
        Ok(Self {
            q: square("q")?,
            k: square("k")?,
            v: square("v")?,
            k_img: square("k_img")?,
            v_img: square("v_img")?,
            o: square("o")?,
            norm_q: norm("norm_q")?,
            norm_k: norm("norm_k")?,
            norm_k_img: norm("norm_k_img")?,
            heads: cfg.num_heads,
        })
    }

    /// x: (1, l, c), text: (1, text_len, c), picture: (1, 257, c) -> what x sees of both, plus `addend`: (1, l, c)
    pub fn forward_plus(&self, x: &Tensor, [text, picture]: [&Tensor; 2], addend: &Tensor) -> Result<Tensor> {
        let (b, l, c) = x.dims3()?;
        let d = c / self.heads;
        let heads = |x: Tensor| x.reshape((b, (), self.heads, d)); // (1, l, n, d)
        let q = heads(self.norm_q.forward(&self.q.forward(x)?)?)?;
        let seen = |k: &Linear, norm: &RmsNorm, v: &Linear, of: &Tensor| {
            let (k, v) = (heads(norm.forward(&k.forward(of)?)?)?, heads(v.forward(of)?)?);
            attention(&q, &k, &v, &Mask::Full, scale(d))?.reshape((b, l, c))
        };
        let of_picture = seen(&self.k_img, &self.norm_k_img, &self.v_img, picture)?;
        let of_text = seen(&self.k, &self.norm_k, &self.v, text)?;
        self.o.forward_plus(&(of_text + of_picture)?, addend)
    }
}
