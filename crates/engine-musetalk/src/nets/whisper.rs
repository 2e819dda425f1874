//! The encoder of Whisper (Radford et al. 2022), as in transformers 4.39.2 (`WhisperEncoder`): a log-mel spectrogram to the hidden states after
//! every block, which MuseTalk takes all of. The decoder is not loaded.

use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use layers::{Activation, Bias, Conv1d, ConvConfig, LayerNorm, Linear, Mask, attention};
use serde::Deserialize;

/// Of every layer norm (PyTorch's default).
const NORM_EPS: f64 = 1e-5;

/// Keys of the released file that are not loaded.
pub const UNUSED: &[&str] = &["model.decoder."];

/// The names of config.json, as far as the encoder goes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct WhisperConfig {
    pub d_model: usize,
    pub encoder_layers: usize,
    pub encoder_attention_heads: usize,
    pub encoder_ffn_dim: usize,
    pub num_mel_bins: usize,
    /// Half the frames of a spectrogram.
    pub max_source_positions: usize,
    #[serde(default = "gelu")]
    pub activation_function: String,
}

fn gelu() -> String {
    "gelu".into()
}

impl WhisperConfig {
    /// openai/whisper-tiny
    pub fn tiny() -> Self {
        Self {
            d_model: 384,
            encoder_layers: 4,
            encoder_attention_heads: 6,
            encoder_ffn_dim: 1536,
            num_mel_bins: 80,
            max_source_positions: 1500,
            activation_function: gelu(),
        }
    }

    pub fn check(&self) -> Result<()> {
        let heads = self.encoder_attention_heads;
        if heads == 0 || !self.d_model.is_multiple_of(heads) {
            bail!("d_model {} cannot be split over {heads} heads (encoder_attention_heads)", self.d_model);
        }
        if self.encoder_layers == 0 || self.max_source_positions == 0 {
            bail!(
                "an encoder of {} blocks (encoder_layers) and {} positions (max_source_positions) encodes nothing",
                self.encoder_layers,
                self.max_source_positions
            );
        }
        Activation::named(&self.activation_function)?;
        Ok(())
    }
}

/// Which form the last hidden state has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastState {
    /// After the final layer norm, as transformers returns it and MuseTalk since 1.5 uses it.
    Normed,
    /// As the last block left it: MuseTalk's code before 1.5, on OpenAI's implementation.
    Raw,
}

#[derive(Debug)]
struct EncoderLayer {
    self_attn_layer_norm: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    final_layer_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    activation: Activation,
}

impl EncoderLayer {
    fn load(cfg: &WhisperConfig, vb: VarBuilder) -> Result<Self> {
        let (d, ffn) = (cfg.d_model, cfg.encoder_ffn_dim);
        let attn = vb.pp("self_attn");
        let norm = |name: &str| LayerNorm::load(d, NORM_EPS, Bias::Yes, vb.pp(name));
        let proj = |name: &str, bias: Bias| Linear::load(d, d, bias, attn.pp(name));
        Ok(Self {
            self_attn_layer_norm: norm("self_attn_layer_norm")?,
            q_proj: proj("q_proj", Bias::Yes)?,
            k_proj: proj("k_proj", Bias::No)?,
            v_proj: proj("v_proj", Bias::Yes)?,
            out_proj: proj("out_proj", Bias::Yes)?,
            final_layer_norm: norm("final_layer_norm")?,
            fc1: Linear::load(d, ffn, Bias::Yes, vb.pp("fc1"))?,
            fc2: Linear::load(ffn, d, Bias::Yes, vb.pp("fc2"))?,
            heads: cfg.encoder_attention_heads,
            activation: Activation::named(&cfg.activation_function)?,
        })
    }

    /// x: (b, l, c) -> the same
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, l, c) = x.dims3()?;
        let (n, d) = (self.heads, c / self.heads);
        let y = self.self_attn_layer_norm.forward(x)?;
        let head = |linear: &Linear| linear.forward(&y)?.reshape((b, l, n, d)); // (b, l, n, d)
        let (q, k, v) = (head(&self.q_proj)?, head(&self.k_proj)?, head(&self.v_proj)?);
        let y = attention(&q, &k, &v, &Mask::Full, (d as f64).powf(-0.5))?.reshape((b, l, c))?;
        let x = (x + self.out_proj.forward(&y)?)?;
        let y = self.activation.forward(&self.fc1.forward(&self.final_layer_norm.forward(&x)?)?)?; // (b, l, ffn)
        x + self.fc2.forward(&y)?
    }
}

#[derive(Debug)]
pub struct WhisperEncoder {
    conv1: Conv1d,
    conv2: Conv1d,
    embed_positions: Tensor,
    layers: Vec<EncoderLayer>,
    layer_norm: LayerNorm,
    mels: usize,
}

impl WhisperEncoder {
    /// vb: where the file's `model.encoder.` is
    pub fn load(cfg: &WhisperConfig, vb: VarBuilder) -> Result<Self> {
        cfg.check()?;
        let (vb, d, three) = (vb.pp("model").pp("encoder"), cfg.d_model, ConvConfig::square(3));
        Ok(Self {
            conv1: Conv1d::load(cfg.num_mel_bins, d, three, vb.pp("conv1"))?,
            conv2: Conv1d::load(d, d, three.stride(2), vb.pp("conv2"))?,
            embed_positions: vb.pp("embed_positions").get((cfg.max_source_positions, d), "weight")?,
            layers: (0..cfg.encoder_layers)
                .map(|i| EncoderLayer::load(cfg, vb.pp("layers").pp(i)))
                .collect::<Result<_>>()?,
            layer_norm: LayerNorm::load(d, NORM_EPS, Bias::Yes, vb.pp("layer_norm"))?,
            mels: cfg.num_mel_bins,
        })
    }

    /// Channels of a spectrogram.
    pub fn mels(&self) -> usize {
        self.mels
    }

    /// Half the frames of the longest spectrogram.
    pub fn positions(&self) -> usize {
        self.embed_positions.dims()[0]
    }

    /// (states, channels) of what it gives for a position.
    pub fn width(&self) -> (usize, usize) {
        (self.layers.len() + 1, self.embed_positions.dims()[1])
    }

    pub fn device(&self) -> &Device {
        self.embed_positions.device()
    }

    pub fn dtype(&self) -> DType {
        self.embed_positions.dtype()
    }

    /// mel: (b, frames, mels), of at most twice as many frames as positions -> one state more than blocks, each (b, ceil(frames / 2), c):
    /// before the first block and after each. Whisper was trained with all of its positions; fewer cost less.
    pub fn forward(&self, mel: &Tensor, last: LastState) -> Result<Vec<Tensor>> {
        let x = Activation::Gelu.forward(&self.conv1.forward(mel)?)?; // (b, frames, c)
        let x = Activation::Gelu.forward(&self.conv2.forward(&x)?)?; // (b, frames / 2, c)
        let positions = x.dim(1)?;
        if positions > self.positions() {
            bail!(
                "a spectrogram has at most {} frames, not {}; longer sound is encoded in parts",
                2 * self.positions(),
                mel.dim(1)?
            );
        }
        let mut states = vec![x.broadcast_add(&self.embed_positions.narrow(0, 0, positions)?)?];
        for layer in &self.layers {
            states.push(layer.forward(&states[states.len() - 1])?);
        }
        let x = states.pop().expect("the state before the first block is there");
        states.push(match last {
            LastState::Normed => self.layer_norm.forward(&x)?,
            LastState::Raw => x,
        });
        Ok(states)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use golden::Seeded;

    /// How large a signal of 1e-3 around nothing leaves a norm: its variance is as small as an epsilon, so this tells which one is used.
    fn strength(norm: impl Fn(&Tensor) -> Result<Tensor>, shape: &[usize]) -> f32 {
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|i| if i % 2 == 0 { 1e-3 } else { -1e-3 }).collect();
        let y = norm(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap();
        y.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt()
    }

    fn small() -> WhisperConfig {
        WhisperConfig {
            d_model: 32,
            encoder_layers: 2,
            encoder_attention_heads: 2,
            encoder_ffn_dim: 64,
            num_mel_bins: 8,
            max_source_positions: 6,
            ..WhisperConfig::tiny()
        }
    }

    fn encoder() -> WhisperEncoder {
        WhisperEncoder::load(&small(), Seeded::new("whisper").builder(DType::F32, &Device::Cpu)).unwrap()
    }

    #[test]
    fn only_the_last_state_is_normed() {
        let encoder = encoder();
        let mel =
            Tensor::arange(0f32, 96.0, &Device::Cpu).unwrap().sin().unwrap().reshape((1, 12, 8)).unwrap();
        let normed = encoder.forward(&mel, LastState::Normed).unwrap();
        let raw = encoder.forward(&mel, LastState::Raw).unwrap();
        let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!((normed.len(), raw.len()), (3, 3));
        for i in 0..2 {
            assert_eq!(flat(&normed[i]), flat(&raw[i]));
        }
        assert_ne!(flat(&normed[2]), flat(&raw[2]));
        assert_eq!(flat(&normed[2]), flat(&encoder.layer_norm.forward(&raw[2]).unwrap()));
    }

    #[test]
    fn shorter_sound_takes_the_first_positions_and_longer_is_refused() {
        let encoder = encoder();
        let mel = |frames| Tensor::zeros((1, frames, 8), DType::F32, &Device::Cpu).unwrap();
        let (short, long) = (
            encoder.forward(&mel(8), LastState::Normed).unwrap(),
            encoder.forward(&mel(12), LastState::Normed).unwrap(),
        );
        let rows = |x: &Tensor, n| x.get(0).unwrap().narrow(0, 0, n).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(short[0].dims(), [1, 4, 32]);
        assert_eq!(rows(&short[0], 4), rows(&long[0], 4), "the same positions were added");
        let error = encoder.forward(&mel(14), LastState::Normed).unwrap_err().to_string();
        assert!(error.contains("12 frames, not 14"), "{error}");
    }

    #[test]
    fn norms_have_an_epsilon_of_1e_5() {
        let encoder = encoder();
        let layer = &encoder.layers[0];
        for norm in [&encoder.layer_norm, &layer.self_attn_layer_norm, &layer.final_layer_norm] {
            let strength = strength(|x| norm.forward(x), &[1, 6, 32]);
            let want = 1e-3 / f32::sqrt(1e-6 + 1e-5);
            assert!((strength - want).abs() < 0.05, "{strength} {want}");
        }
    }
}
