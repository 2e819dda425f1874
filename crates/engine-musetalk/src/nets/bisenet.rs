//! BiSeNet (Yu et al. 2018) on a ResNet-18 trunk, trained on CelebAMask-HQ: which of 19 parts of a head every pixel belongs to.
//! As in MuseTalk's `face_parsing`; of its three outputs only the first is made, so `conv_out16` and `conv_out32` are not loaded.
//! Batch norms are folded into the convolutions before them.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use candle_nn::ops::sigmoid;
use layers::{Activation, BatchNorm, Conv2d, ConvConfig, Padding, Probe, strictly, upsample_nearest_to};

use super::pool::{global_mean, max_pool_around, resize_aligned};

/// PyTorch's default, which every batch norm here has.
const BATCH_NORM_EPS: f64 = 1e-5;
/// Of ImageNet, red first, as the trunk was trained on.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// Keys of the released file that are not loaded.
pub const UNUSED: &[&str] = &["conv_out16.", "conv_out32.", ".num_batches_tracked"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BisenetConfig {
    pub n_classes: usize,
}

impl BisenetConfig {
    /// 79999_iter.pth
    pub fn celeb_a_mask() -> Self {
        Self { n_classes: 19 }
    }

    pub fn check(&self) -> Result<()> {
        if self.n_classes == 0 {
            candle_core::bail!("a face parser needs at least one class (n_classes), not 0");
        }
        Ok(())
    }
}

/// rgb: (b, h, w, 3) on [0, 255] -> what the net takes
pub fn normalise(rgb: &Tensor) -> Result<Tensor> {
    let row = |values: &[f32; 3]| Tensor::new(values, rgb.device())?.to_dtype(rgb.dtype());
    (rgb / 255.0)?.broadcast_sub(&row(&MEAN)?)?.broadcast_div(&row(&DEVIATION)?)
}

/// A convolution and the batch norm after it.
fn normed(cfg: ConvConfig, channels: (usize, usize), conv: VarBuilder, norm: VarBuilder) -> Result<Conv2d> {
    let norm = BatchNorm { eps: BATCH_NORM_EPS, vb: norm };
    Conv2d::load_normed(channels, cfg.without_bias(), conv, norm)
}

/// `ConvBNReLU`
#[derive(Debug)]
struct ConvRelu(Conv2d);

impl ConvRelu {
    fn load(kernel: usize, channels: (usize, usize), vb: VarBuilder) -> Result<Self> {
        Ok(Self(normed(ConvConfig::square(kernel), channels, vb.pp("conv"), vb.pp("bn"))?))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward_then(x, Activation::Relu)
    }
}

#[derive(Debug)]
struct BasicBlock {
    conv1: Conv2d,
    conv2: Conv2d,
    downsample: Option<Conv2d>,
}

impl BasicBlock {
    fn load((inputs, outputs): (usize, usize), stride: usize, vb: VarBuilder) -> Result<Self> {
        let three = ConvConfig::square(3);
        let down = vb.pp("downsample");
        let downsample = match inputs == outputs && stride == 1 {
            true => None,
            false => {
                let one = ConvConfig::square(1).stride(stride);
                Some(normed(one, (inputs, outputs), down.pp(0), down.pp(1))?)
            }
        };
        Ok(Self {
            conv1: normed(three.stride(stride), (inputs, outputs), vb.pp("conv1"), vb.pp("bn1"))?,
            conv2: normed(three, (outputs, outputs), vb.pp("conv2"), vb.pp("bn2"))?,
            downsample,
        })
    }

    /// x: (b, h, w, i) -> (b, h / stride, w / stride, o)
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.conv2.forward(&self.conv1.forward_then(x, Activation::Relu)?)?;
        match &self.downsample {
            Some(conv) => (conv.forward(x)? + y)?.relu(),
            None => (x + y)?.relu(),
        }
    }
}

#[derive(Debug)]
struct Resnet18 {
    conv1: Conv2d,
    layers: [[BasicBlock; 2]; 4],
}

impl Resnet18 {
    fn load(vb: VarBuilder) -> Result<Self> {
        let layer = |name: &str, channels: (usize, usize), stride: usize| -> Result<[BasicBlock; 2]> {
            let vb = vb.pp(name);
            Ok([
                BasicBlock::load(channels, stride, vb.pp(0))?,
                BasicBlock::load((channels.1, channels.1), 1, vb.pp(1))?,
            ])
        };
        let seven = ConvConfig::square(7).stride(2).padding(Padding::even(3));
        Ok(Self {
            conv1: normed(seven, (3, 64), vb.pp("conv1"), vb.pp("bn1"))?,
            layers: [
                layer("layer1", (64, 64), 1)?,
                layer("layer2", (64, 128), 2)?,
                layer("layer3", (128, 256), 2)?,
                layer("layer4", (256, 512), 2)?,
            ],
        })
    }

    /// x: (b, h, w, 3) -> at 1/8 (128 channels), 1/16 (256) and 1/32 (512)
    fn forward(&self, x: &Tensor) -> Result<[Tensor; 3]> {
        let x = max_pool_around(&self.conv1.forward_then(x, Activation::Relu)?, 3, 2)?; // (b, h/4, w/4, 64)
        let step = |x: &Tensor, blocks: &[BasicBlock; 2]| blocks[1].forward(&blocks[0].forward(x)?);
        let x = step(&x, &self.layers[0])?;
        let feat8 = step(&x, &self.layers[1])?; // (b, h/8, w/8, 128)
        let feat16 = step(&feat8, &self.layers[2])?; // (b, h/16, w/16, 256)
        let feat32 = step(&feat16, &self.layers[3])?; // (b, h/32, w/32, 512)
        Ok([feat8, feat16, feat32])
    }
}

#[derive(Debug)]
struct AttentionRefinement {
    conv: ConvRelu,
    conv_atten: Conv2d,
}

impl AttentionRefinement {
    fn load(inputs: usize, vb: VarBuilder) -> Result<Self> {
        let one = ConvConfig::square(1);
        Ok(Self {
            conv: ConvRelu::load(3, (inputs, 128), vb.pp("conv"))?,
            conv_atten: normed(one, (128, 128), vb.pp("conv_atten"), vb.pp("bn_atten"))?,
        })
    }

    /// x: (b, h, w, i) -> (b, h, w, 128)
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let feat = self.conv.forward(x)?;
        let atten = sigmoid(&self.conv_atten.forward(&global_mean(&feat)?)?)?; // (b, 1, 1, 128)
        feat.broadcast_mul(&atten)
    }
}

#[derive(Debug)]
struct ContextPath {
    resnet: Resnet18,
    arm16: AttentionRefinement,
    arm32: AttentionRefinement,
    conv_head32: ConvRelu,
    conv_head16: ConvRelu,
    conv_avg: ConvRelu,
}

impl ContextPath {
    fn load(vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            resnet: Resnet18::load(vb.pp("resnet"))?,
            arm16: AttentionRefinement::load(256, vb.pp("arm16"))?,
            arm32: AttentionRefinement::load(512, vb.pp("arm32"))?,
            conv_head32: ConvRelu::load(3, (128, 128), vb.pp("conv_head32"))?,
            conv_head16: ConvRelu::load(3, (128, 128), vb.pp("conv_head16"))?,
            conv_avg: ConvRelu::load(1, (512, 128), vb.pp("conv_avg"))?,
        })
    }

    /// x: (b, h, w, 3) -> the trunk at 1/8 and the context at 1/8, each (b, h/8, w/8, 128)
    fn forward(&self, x: &Tensor, probe: &Probe) -> Result<(Tensor, Tensor)> {
        let [feat8, feat16, feat32] = self.resnet.forward(x)?;
        probe.note("feat8", &feat8);
        let grown = |x: &Tensor, like: &Tensor| upsample_nearest_to(x, like.dim(1)?, like.dim(2)?);
        let avg = self.conv_avg.forward(&global_mean(&feat32)?)?; // (b, 1, 1, 128)
        let sum32 = self.arm32.forward(&feat32)?.broadcast_add(&avg)?; // (b, h/32, w/32, 128)
        let up32 = self.conv_head32.forward(&grown(&sum32, &feat16)?)?; // (b, h/16, w/16, 128)
        let sum16 = (self.arm16.forward(&feat16)? + &up32)?;
        let up16 = self.conv_head16.forward(&grown(&sum16, &feat8)?)?; // (b, h/8, w/8, 128)
        probe.note("cp8", &up16);
        probe.note("cp16", &up32);
        Ok((feat8, up16))
    }
}

#[derive(Debug)]
struct FeatureFusion {
    convblk: ConvRelu,
    conv1: Conv2d,
    conv2: Conv2d,
}

impl FeatureFusion {
    fn load(vb: VarBuilder) -> Result<Self> {
        let one = ConvConfig::square(1);
        Ok(Self {
            convblk: ConvRelu::load(1, (256, 256), vb.pp("convblk"))?,
            conv1: Conv2d::load(256, 64, one.without_bias(), vb.pp("conv1"))?,
            conv2: Conv2d::load(64, 256, one.without_bias(), vb.pp("conv2"))?,
        })
    }

    /// two times (b, h, w, 128) -> (b, h, w, 256)
    fn forward(&self, spatial: &Tensor, context: &Tensor) -> Result<Tensor> {
        let feat = self.convblk.forward(&Tensor::cat(&[spatial, context], 3)?)?;
        let atten = self.conv1.forward_then(&global_mean(&feat)?, Activation::Relu)?;
        let atten = sigmoid(&self.conv2.forward(&atten)?)?; // (b, 1, 1, 256)
        feat.broadcast_mul(&atten)? + &feat
    }
}

#[derive(Debug)]
pub struct Bisenet {
    cp: ContextPath,
    ffm: FeatureFusion,
    conv: ConvRelu,
    conv_out: Conv2d,
}

impl Bisenet {
    pub fn load(cfg: &BisenetConfig, vb: VarBuilder) -> Result<Self> {
        cfg.check()?;
        // the class of a pixel is the greatest of values that may be almost equal
        strictly(|| {
            let (out, one) = (vb.pp("conv_out"), ConvConfig::square(1).without_bias());
            Ok(Self {
                cp: ContextPath::load(vb.pp("cp"))?,
                ffm: FeatureFusion::load(vb.pp("ffm"))?,
                conv: ConvRelu::load(3, (256, 256), out.pp("conv"))?,
                conv_out: Conv2d::load(256, cfg.n_classes, one, out.pp("conv_out"))?,
            })
        })
    }

    /// x: (b, h, w, 3), normalised -> logits (b, h, w, classes)
    pub fn forward(&self, x: &Tensor, probe: &Probe) -> Result<Tensor> {
        let (_, h, w, _) = x.dims4()?;
        let (feat8, context) = self.cp.forward(x, probe)?;
        let fused = self.ffm.forward(&feat8, &context)?; // (b, h/8, w/8, 256)
        probe.note("ffm", &fused);
        let logits = self.conv_out.forward(&self.conv.forward(&fused)?)?; // (b, h/8, w/8, classes)
        resize_aligned(&logits, h, w)
    }
}
