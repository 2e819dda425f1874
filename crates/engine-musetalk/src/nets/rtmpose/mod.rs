//! RTMPose-l for the whole body (Jiang et al. 2023) with the weights of DWPose (Yang et al. 2023): 133 points of a person, of which MuseTalk
//! takes the 68 of the face. As in mmpose 1.1.0 (`rtmpose-l_8xb32-270e_coco-ubody-wholebody-384x288`). `crop` makes its input of
//! a frame, `points` makes points of its output.

mod backbone;
pub mod crop;
mod head;
pub mod points;

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use layers::{Activation, BatchNorm, Conv2d, ConvConfig, strictly};

use backbone::CspNext;
use head::SimccHead;

/// Of mmcv's batch norms; the config gives none.
const BATCH_NORM_EPS: f64 = 1e-5;
/// The backbone halves a picture five times.
const REDUCTION: usize = 32;

/// Keys of the released file's `state_dict` that are not loaded.
pub const UNUSED: &[&str] = &[".num_batches_tracked"];

/// The names of mmpose's config.
#[derive(Clone, Debug, PartialEq)]
pub struct RtmposeConfig {
    pub deepen_factor: f64,
    pub widen_factor: f64,
    /// Width and height in pixels.
    pub input_size: (usize, usize),
    /// Points.
    pub out_channels: usize,
    /// Bins per pixel.
    pub simcc_split_ratio: usize,
}

impl RtmposeConfig {
    /// dw-ll_ucoco_384.pth
    pub fn dwpose() -> Self {
        Self {
            deepen_factor: 1.0,
            widen_factor: 1.0,
            input_size: (288, 384),
            out_channels: 133,
            simcc_split_ratio: 2,
        }
    }

    pub fn check(&self) -> Result<()> {
        let (w, h) = self.input_size;
        if w == 0 || h == 0 || !w.is_multiple_of(REDUCTION) || !h.is_multiple_of(REDUCTION) {
            bail!("input_size must be a multiple of {REDUCTION}, not {w}x{h}");
        }
        if self.widen_factor * 64.0 < 2.0 || self.deepen_factor <= 0.0 {
            bail!(
                "widen_factor {} and deepen_factor {} leave nothing of the net",
                self.widen_factor,
                self.deepen_factor
            );
        }
        if self.out_channels == 0 || self.simcc_split_ratio == 0 {
            bail!(
                "{} points (out_channels) of {} bins per pixel (simcc_split_ratio) are none",
                self.out_channels,
                self.simcc_split_ratio
            );
        }
        Ok(())
    }

    /// Channels that are `full` at a widen_factor of 1.
    fn width(&self, full: usize) -> usize {
        (full as f64 * self.widen_factor) as usize
    }

    /// Blocks that are `full` at a deepen_factor of 1; Python rounds halves to even.
    fn depth(&self, full: usize) -> usize {
        ((full as f64 * self.deepen_factor).round_ties_even() as usize).max(1)
    }
}

/// `ConvModule`: a convolution with its batch norm folded in, then SiLU.
#[derive(Debug)]
struct ConvModule(Conv2d);

impl ConvModule {
    fn load(cfg: ConvConfig, channels: (usize, usize), vb: VarBuilder) -> Result<Self> {
        let norm = BatchNorm { eps: BATCH_NORM_EPS, vb: vb.pp("bn") };
        Ok(Self(Conv2d::load_normed(channels, cfg.without_bias(), vb.pp("conv"), norm)?))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward_then(x, Activation::Silu)
    }
}

#[derive(Debug)]
pub struct Rtmpose {
    backbone: CspNext,
    head: SimccHead,
}

/// How likely each point is in each column and in each row.
pub struct Simcc {
    /// (b, points, w * bins per pixel)
    pub x: Tensor,
    /// (b, points, h * bins per pixel)
    pub y: Tensor,
}

impl Rtmpose {
    /// vb: where the file's `backbone.` and `head.` are, inside `state_dict`
    pub fn load(cfg: &RtmposeConfig, vb: VarBuilder) -> Result<Self> {
        cfg.check()?;
        // the place of a point is the greatest of values that may be almost equal
        strictly(|| {
            Ok(Self {
                backbone: CspNext::load(cfg, vb.pp("backbone"))?,
                head: SimccHead::load(cfg, vb.pp("head"))?,
            })
        })
    }

    /// x: (b, h, w, 3), as `crop::normalise` makes it
    pub fn forward(&self, x: &Tensor) -> Result<Simcc> {
        self.head.forward(&self.backbone.forward(x)?)
    }

    /// The mean of the picture and of its mirror image, turned back (mmpose's `flip_test`): what the published results are made with.
    pub fn forward_with_mirror(&self, x: &Tensor) -> Result<Simcc> {
        let (plain, mirrored) = (self.forward(x)?, self.forward(&x.flip(&[2])?)?);
        let mirrored = points::unmirrored(&mirrored)?;
        Ok(Simcc { x: ((plain.x + mirrored.x)? * 0.5)?, y: ((plain.y + mirrored.y)? * 0.5)? })
    }
}
