//! Sizes of the DiT, under the names of Wan's `config.json`, and how it is to be held in memory.

use candle_core::{DType, Result, bail};
use layers::weights::Outline;
use serde::Deserialize;

use super::Dit;
use super::block::Block;

/// Values of CLIP's last hidden state, which the picture's embedding takes (`MLPProj(1280, dim)`).
pub const CLIP_DIM: usize = 1280;

/// Of wav2vec 2.0 base: a hidden state of each of its layers (`AudioProjModel(blocks=12, channels=768)`).
pub const SPEECH_LAYERS: usize = 12;
pub const SPEECH_CHANNELS: usize = 768;

/// What the official code divides by beside the norm over channels; `nn.LayerNorm`'s own where it gives none.
pub(super) const LAYER_NORM_EPS: f64 = 1e-5;

/// Rows and columns of latents that make one token; one frame each (`patch_size = (1, 2, 2)`).
pub const PATCH: usize = 2;

/// Whether the net hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// with the audio modules of InfiniteTalk
    #[default]
    InfiniteTalk,
    /// the base alone: a picture and a prompt
    WanI2v,
}

#[derive(Clone, Debug, Deserialize)]
pub struct DitConfig {
    pub model_type: String,
    pub dim: usize,
    pub ffn_dim: usize,
    pub freq_dim: usize,
    pub in_dim: usize,
    pub out_dim: usize,
    pub num_heads: usize,
    pub num_layers: usize,
    pub text_len: usize,
    pub eps: f64,
    /// not in Wan's file, where it is umT5's width
    #[serde(default = "text_dim")]
    pub text_dim: usize,
    /// of the audio projection
    #[serde(default = "intermediate_dim")]
    pub intermediate_dim: usize,
    /// width of an audio token
    #[serde(default = "output_dim")]
    pub output_dim: usize,
    /// audio tokens of a person in a latent frame
    #[serde(default = "context_tokens")]
    pub context_tokens: usize,
    /// audio frames around a video frame
    #[serde(default = "audio_window")]
    pub audio_window: usize,
    /// video frames in a latent frame
    #[serde(default = "vae_scale")]
    pub vae_scale: usize,
    #[serde(skip)]
    pub variant: Variant,
}

fn text_dim() -> usize {
    4096
}

fn intermediate_dim() -> usize {
    512
}

fn output_dim() -> usize {
    768
}

fn context_tokens() -> usize {
    32
}

fn audio_window() -> usize {
    5
}

fn vae_scale() -> usize {
    4
}

impl DitConfig {
    /// Wan2.1-I2V-14B with InfiniteTalk's audio modules.
    pub fn infinitetalk_14b() -> Self {
        Self {
            model_type: "i2v".into(),
            dim: 5120,
            ffn_dim: 13_824,
            freq_dim: 256,
            in_dim: 36,
            out_dim: 16,
            num_heads: 40,
            num_layers: 40,
            text_len: 512,
            eps: 1e-6,
            text_dim: text_dim(),
            intermediate_dim: intermediate_dim(),
            output_dim: output_dim(),
            context_tokens: context_tokens(),
            audio_window: audio_window(),
            vae_scale: vae_scale(),
            variant: Variant::InfiniteTalk,
        }
    }

    /// Wan2.1-I2V-14B alone.
    pub fn wan_i2v_14b() -> Self {
        Self { variant: Variant::WanI2v, ..Self::infinitetalk_14b() }
    }

    pub fn check(&self) -> Result<()> {
        if self.model_type != "i2v" {
            bail!("model_type `{}` is not known: only `i2v` takes a picture", self.model_type);
        }
        if self.num_heads == 0 || !self.dim.is_multiple_of(self.num_heads) {
            bail!("dim {} cannot be split into num_heads {}", self.dim, self.num_heads);
        }
        let head = self.head_dim();
        if head < 6 || !head.is_multiple_of(2) {
            bail!("a head of {head} channels (dim / num_heads) cannot turn over three axes");
        }
        if self.freq_dim == 0 || !self.freq_dim.is_multiple_of(2) {
            bail!("freq_dim is even and not 0, unlike {}", self.freq_dim);
        }
        if self.num_layers == 0 {
            bail!("num_layers is 0, but must be at least 1");
        }
        if self.audio_window.is_multiple_of(2) || self.vae_scale < 2 {
            bail!(
                "audio_window is odd and vae_scale at least 2, unlike {} and {}",
                self.audio_window,
                self.vae_scale
            );
        }
        Ok(())
    }

    pub fn head_dim(&self) -> usize {
        self.dim / self.num_heads
    }

    /// Parameters of one block.
    pub fn block_parameters(&self) -> Result<usize> {
        let outline = Outline::new();
        Block::load(self, &Loading::default(), outline.builder())?;
        Ok(count(&outline))
    }

    /// Parameters outside of blocks, which always stay.
    pub fn other_parameters(&self) -> Result<usize> {
        let (outline, how) = (Outline::new(), Loading { residency: Residency::NONE, ..Loading::default() });
        Dit::load(self, &how, outline.builder())?;
        Ok(count(&outline))
    }
}

fn count(outline: &Outline) -> usize {
    outline.inventory().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// How the weights of blocks are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// in the dtype of their source: f32 or bf16 on a CPU, where bf16 stays bf16
    #[default]
    Plain,
    /// the linear layers rounded to blocks of 32 whole numbers and a scale
    Q8_0,
}

/// How many blocks stay in memory; the others are loaded when their turn comes, one ahead, and dropped after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residency {
    pub resident_blocks: usize,
}

impl Residency {
    pub const ALL: Self = Self { resident_blocks: usize::MAX };
    pub const NONE: Self = Self { resident_blocks: 0 };

    /// What `--num_persistent_param_in_dit` asks for: a number of parameters that stay. The official code counts them off in the order of
    /// the modules, those before the blocks first. Here what is not in a block always stays, so only blocks are counted.
    pub fn of_persistent_parameters(cfg: &DitConfig, parameters: usize) -> Result<Self> {
        Ok(Self { resident_blocks: (parameters / cfg.block_parameters()?).min(cfg.num_layers) })
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Loading {
    /// What flows between the layers. f32: everything is computed in f32, whatever the weights are held in. bf16: rounded where the official
    /// code rounds, which takes weights in bf16.
    pub activations: DType,
    pub form: Form,
    pub residency: Residency,
}

impl Default for Loading {
    fn default() -> Self {
        Self { activations: DType::F32, form: Form::Plain, residency: Residency::ALL }
    }
}

impl Loading {
    /// All there, in the dtype of the weights.
    pub fn of(activations: DType) -> Self {
        Self { activations, ..Self::default() }
    }

    pub fn check(&self) -> Result<()> {
        match self.activations {
            DType::F32 | DType::BF16 => Ok(()),
            other => bail!("the DiT computes in f32 or bf16, not in {other:?}, which overflows"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_the_released_files() {
        assert_eq!(DitConfig::wan_i2v_14b().block_parameters().unwrap(), 403_838_464);
        let cfg = DitConfig::infinitetalk_14b();
        assert_eq!(cfg.block_parameters().unwrap(), 403_838_464 + 60_323_840);
        assert_eq!(cfg.other_parameters().unwrap() + 40 * cfg.block_parameters().unwrap(), 18_882_046_784);
    }

    #[test]
    fn persistent_parameters_become_blocks() {
        let cfg = DitConfig::infinitetalk_14b();
        let blocks = |n| Residency::of_persistent_parameters(&cfg, n).unwrap().resident_blocks;
        assert_eq!(blocks(0), 0);
        assert_eq!(blocks(464_162_303), 0);
        assert_eq!(blocks(464_162_304), 1);
        assert_eq!(blocks(7_000_000_000), 15);
        assert_eq!(blocks(usize::MAX), 40);
    }

    #[test]
    fn reads_the_published_file() {
        let text = r#"{"_class_name": "WanModel", "_diffusers_version": "0.30.0", "dim": 5120, "eps": 1e-06, "ffn_dim": 13824,
            "freq_dim": 256, "in_dim": 36, "model_type": "i2v", "num_heads": 40, "num_layers": 40, "out_dim": 16, "text_len": 512}"#;
        let cfg: DitConfig = serde_json::from_str(text).unwrap();
        assert_eq!(format!("{cfg:?}"), format!("{:?}", DitConfig::infinitetalk_14b()));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let cfg = DitConfig::infinitetalk_14b;
        let said = |cfg: DitConfig| cfg.check().unwrap_err().to_string();
        assert!(cfg().check().is_ok());
        assert!(said(DitConfig { model_type: "t2v".into(), ..cfg() }).contains("`t2v`"));
        assert!(said(DitConfig { num_heads: 33, ..cfg() }).contains("num_heads 33"));
        assert!(said(DitConfig { num_heads: 1024, ..cfg() }).contains("head of 5"));
        assert!(said(DitConfig { freq_dim: 255, ..cfg() }).contains("255"));
        assert!(said(DitConfig { num_layers: 0, ..cfg() }).contains("num_layers"));
        assert!(said(DitConfig { audio_window: 4, ..cfg() }).contains("4"));
        assert!(Loading::of(DType::F16).check().unwrap_err().to_string().contains("F16"));
    }
}
