//! Speech in the DiT: windows of wav2vec's hidden states become a few tokens for each latent frame, and the tokens of a frame look at those
//! of the same frame. Reference: InfiniteTalk 0107cd9, `wan/modules/multitalk_model.py` (`AudioProjModel`) and `wan/modules/attention.py`
//! (`SingleStreamMultiAttention`).

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::VarBuilder;
use layers::{Activation, Bias, LayerNorm, Linear, Mask, Projection, attention};

use super::attention::{linear, scale};
use super::config::{DitConfig, LAYER_NORM_EPS, Loading, SPEECH_CHANNELS, SPEECH_LAYERS};
use super::embed::Grid;
use super::persons::Turns;

#[derive(Clone, Debug)]
pub(super) struct AudioProjection {
    proj1: Linear,
    proj1_vf: Linear,
    proj2: Linear,
    proj3: Linear,
    norm: LayerNorm,
    window: usize,
    vae_scale: usize,
    tokens: usize,
    activations: DType,
}

impl AudioProjection {
    pub fn load(cfg: &DitConfig, how: &Loading, vb: VarBuilder) -> Result<Self> {
        let (wide, frame) = (cfg.intermediate_dim, SPEECH_LAYERS * SPEECH_CHANNELS);
        let linear = |name: &str, inputs, outputs| Linear::load(inputs, outputs, Bias::Yes, vb.pp(name));
        let norm = vb.to_dtype(how.activations).pp("norm");
        Ok(Self {
            proj1: linear("proj1", cfg.audio_window * frame, wide)?,
            proj1_vf: linear("proj1_vf", (cfg.audio_window + cfg.vae_scale - 1) * frame, wide)?,
            proj2: linear("proj2", wide, wide)?,
            proj3: linear("proj3", wide, cfg.context_tokens * cfg.output_dim)?,
            norm: LayerNorm::load(cfg.output_dim, LAYER_NORM_EPS, Bias::Yes, norm)?,
            window: cfg.audio_window,
            vae_scale: cfg.vae_scale,
            tokens: cfg.context_tokens,
            activations: how.activations,
        })
    }

    /// windows: (p, frames, window, 12, 768) of p persons, frames = 1 + scale * g -> (1, 1 + g, tokens * p, output)
    pub fn forward(&self, windows: &Tensor) -> Result<Tensor> {
        let (p, frames, window, layers, channels) = windows.dims5()?;
        if (window, layers, channels) != (self.window, SPEECH_LAYERS, SPEECH_CHANNELS) {
            bail!(
                "windows of speech are (persons, frames, {}, {SPEECH_LAYERS}, {SPEECH_CHANNELS}), not {:?}",
                self.window,
                windows.dims()
            );
        }
        let scale = self.vae_scale;
        if p == 0 || frames % scale != 1 {
            bail!("{frames} frames of speech are not 1 and a multiple of {scale}");
        }
        let groups = frames / scale;
        let windows = windows.to_dtype(self.activations)?.reshape((p, frames, window, layers * channels))?;
        let first = windows.narrow(1, 0, 1)?.flatten_from(2)?; // (p, 1, window * 12 * 768)
        let first = self.proj1.forward_then(&first.contiguous()?, Activation::Relu)?; // (p, 1, wide)
        let mut parts = vec![first];
        if groups > 0 {
            let later = windows.narrow(1, 1, frames - 1)?.reshape((p, groups, scale, window, ()))?;
            // what lies before the group, its own frames, what lies behind it: each once
            let (frame, middle) = (|i: usize| later.narrow(2, i, 1)?.squeeze(2), window / 2); // (p, g, window, 12 * 768)
            let mut own = vec![frame(0)?.narrow(2, 0, middle + 1)?];
            for i in 1..scale - 1 {
                own.push(frame(i)?.narrow(2, middle, 1)?);
            }
            own.push(frame(scale - 1)?.narrow(2, middle, window - middle)?);
            let later = Tensor::cat(&own, 2)?.flatten_from(2)?; // (p, g, (window + scale - 1) * 12 * 768)
            parts.push(self.proj1_vf.forward_then(&later, Activation::Relu)?);
        }
        let x = self.proj2.forward_then(&Tensor::cat(&parts, 1)?, Activation::Relu)?; // (p, 1 + g, wide)
        let x = self.proj3.forward(&x)?.reshape((p, 1 + groups, self.tokens, ()))?; // (p, 1 + g, tokens, output)
        let x = self.norm.forward(&x)?;
        // persons behind each other in the tokens of a frame
        x.transpose(0, 1)?.reshape((1, 1 + groups, p * self.tokens, ()))
    }
}

#[derive(Clone, Debug)]
pub(super) struct AudioCrossAttention {
    q_linear: Linear,
    kv_linear: Linear,
    proj: Linear,
    heads: usize,
}

impl AudioCrossAttention {
    pub fn load(cfg: &DitConfig, how: &Loading, vb: VarBuilder) -> Result<Self> {
        let c = cfg.dim;
        Ok(Self {
            q_linear: linear([c, c], how, vb.pp("q_linear"))?,
            kv_linear: linear([cfg.output_dim, 2 * c], how, vb.pp("kv_linear"))?,
            proj: linear([c, c], how, vb.pp("proj"))?,
            heads: cfg.num_heads,
        })
    }

    /// x: (1, t * h * w, c), audio: (1, t, tokens, output), turns: where two persons are heard -> what x hears, plus `addend`: (1, t * h * w, c)
    pub fn forward_plus(
        &self,
        x: &Tensor,
        (audio, (t, h, w)): (&Tensor, Grid),
        turns: Option<&Turns>,
        addend: &Tensor,
    ) -> Result<Tensor> {
        let (_, l, c) = x.dims3()?;
        let (n, d) = (self.heads, c / self.heads);
        let tokens = audio.dim(2)?;
        let turn = turns.map(|turns| &turns.queries);
        let q = Projection { linear: &self.q_linear, norm: None, turn, heads: n }.forward(x)?; // (1, l, n, d)
        let kv = self.kv_linear.forward(audio)?.reshape((t, tokens, 2, n, d))?;
        let (k, v) = (kv.narrow(2, 0, 1)?.squeeze(2)?, kv.narrow(2, 1, 1)?.squeeze(2)?); // (t, tokens, n, d)
        let k = turns.map_or(Ok(k.clone()), |turns| turns.keys.apply(&k))?;
        let q = q.reshape((t, h * w, n, d))?; // every frame looks at its own tokens
        let y = attention(&q, &k, &v, &Mask::Full, scale(d))?;
        self.proj.forward_plus(&y.reshape((1, l, c))?, addend)
    }
}
