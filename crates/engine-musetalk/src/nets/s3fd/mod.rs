//! S3FD (Zhang et al. 2017), a face detector on a VGG-16 trunk, as in face-alignment's `sfd`, which MuseTalk carries. It takes frames at
//! their full size. `detect` makes boxes of its outputs.

pub mod detect;

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use layers::{Activation, Conv2d, ConvConfig, Padding, strictly};

use super::pool::max_pool_halving;

/// Taken off red, green and blue in that order. They are the means of blue, green and red, applied the wrong way round by the
/// reference, which the weights have to live with.
const MEANS: [f32; 3] = [104.0, 117.0, 123.0];
/// Added to the length of a pixel's channels before it is divided by it.
const LENGTH_EPS: f64 = 1e-10;

/// Convolutions of a block of the trunk, each 3x3; a pooling follows every block.
const TRUNK: [(usize, usize); 5] = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];

/// The six levels: what precedes them in a head's keys and its channels. The first three are normed.
const LEVELS: [(&str, usize); 6] = [
    ("conv3_3_norm", 256),
    ("conv4_3_norm", 512),
    ("conv5_3_norm", 512),
    ("fc7", 1024),
    ("conv6_2", 512),
    ("conv7_2", 256),
];

/// Raw outputs of a level.
pub struct Head {
    /// (b, h, w, 2): background, face
    pub conf: Tensor,
    /// (b, h, w, 4): the offset of the middle and the logarithm of the size, in units of `detect`'s prior
    pub loc: Tensor,
}

/// rgb: (b, h, w, 3) on [0, 255] -> what the net takes
pub fn normalise(rgb: &Tensor) -> Result<Tensor> {
    rgb.broadcast_sub(&Tensor::new(&MEANS, rgb.device())?.to_dtype(rgb.dtype())?)
}

#[derive(Debug)]
struct Predictor {
    conf: Conv2d,
    loc: Conv2d,
}

impl Predictor {
    fn load(level: usize, vb: &VarBuilder) -> Result<Self> {
        let (name, channels) = LEVELS[level];
        let head = |kind: &str, outputs: usize| {
            Conv2d::load(channels, outputs, ConvConfig::square(3), vb.pp(format!("{name}_mbox_{kind}")))
        };
        // the finest level has three guesses at the background
        Ok(Self { conf: head("conf", if level == 0 { 4 } else { 2 })?, loc: head("loc", 4)? })
    }

    fn forward(&self, x: &Tensor) -> Result<Head> {
        let conf = self.conf.forward(x)?;
        let conf = match conf.dim(3)? {
            4 => {
                let background = conf.narrow(3, 0, 3)?.max_keepdim(3)?;
                Tensor::cat(&[background, conf.narrow(3, 3, 1)?], 3)?
            }
            _ => conf,
        };
        Ok(Head { conf, loc: self.loc.forward(x)? })
    }
}

#[derive(Debug)]
pub struct S3fd {
    /// With their norms where their output is a level.
    trunk: Vec<(Vec<Conv2d>, Option<Tensor>)>,
    fc6: Conv2d,
    fc7: Conv2d,
    conv6: [Conv2d; 2],
    conv7: [Conv2d; 2],
    predictors: Vec<Predictor>,
}

/// Each pixel's channels over their length, times a weight per channel. x: (b, h, w, c)
fn l2_norm(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let length = (x.sqr()?.sum_keepdim(3)?.sqrt()? + LENGTH_EPS)?;
    x.broadcast_div(&length)?.broadcast_mul(weight)
}

impl S3fd {
    pub fn load(vb: VarBuilder) -> Result<Self> {
        // which of two boxes over one face stays is decided by scores that may be almost equal
        strictly(|| Self::load_layers(vb))
    }

    fn load_layers(vb: VarBuilder) -> Result<Self> {
        let (one, three) = (ConvConfig::square(1), ConvConfig::square(3));
        let conv = |name: &str, channels: (usize, usize), cfg: ConvConfig| {
            Conv2d::load(channels.0, channels.1, cfg, vb.pp(name))
        };
        let mut trunk = Vec::with_capacity(TRUNK.len());
        let mut inputs = 3;
        for (i, &(count, outputs)) in TRUNK.iter().enumerate() {
            let mut convs = Vec::with_capacity(count);
            for j in 0..count {
                convs.push(conv(&format!("conv{}_{}", i + 1, j + 1), (inputs, outputs), three)?);
                inputs = outputs;
            }
            let norm = match i.checked_sub(2) {
                Some(level) => Some(vb.pp(LEVELS[level].0).get(outputs, "weight")?),
                None => None,
            };
            trunk.push((convs, norm));
        }
        let halving = three.stride(2);
        Ok(Self {
            trunk,
            fc6: conv("fc6", (512, 1024), three.padding(Padding::even(3)))?,
            fc7: conv("fc7", (1024, 1024), one)?,
            conv6: [conv("conv6_1", (1024, 256), one)?, conv("conv6_2", (256, 512), halving)?],
            conv7: [conv("conv7_1", (512, 128), one)?, conv("conv7_2", (128, 256), halving)?],
            predictors: (0..LEVELS.len()).map(|level| Predictor::load(level, &vb)).collect::<Result<_>>()?,
        })
    }

    /// x: (b, h, w, 3), normalised -> heads with strides of 4, 8, 16, 32, 64 and 128 pixels
    pub fn forward(&self, x: &Tensor) -> Result<Vec<Head>> {
        let (_, h, w, _) = x.dims4()?;
        if h < 32 || w < 32 {
            bail!("a frame of {w}x{h} is too small for S3FD, which halves it five times; it needs 32x32");
        }
        let mut levels = Vec::with_capacity(LEVELS.len());
        let mut x = x.clone();
        for (convs, norm) in &self.trunk {
            for conv in convs {
                x = conv.forward_then(&x, Activation::Relu)?;
            }
            if let Some(weight) = norm {
                levels.push(l2_norm(&x, weight)?);
            }
            x = max_pool_halving(&x)?; // (b, h/2, w/2, c)
        }
        let x = self.fc6.forward_then(&x, Activation::Relu)?; // (b, h/32 + 4, w/32 + 4, 1024)
        let fc7 = self.fc7.forward_then(&x, Activation::Relu)?;
        let down = |convs: &[Conv2d; 2], x: &Tensor| {
            convs[1].forward_then(&convs[0].forward_then(x, Activation::Relu)?, Activation::Relu) // (b, h/2, w/2, c)
        };
        let conv6 = down(&self.conv6, &fc7)?;
        let conv7 = down(&self.conv7, &conv6)?;
        levels.extend([fc7, conv6, conv7]);
        self.predictors.iter().zip(&levels).map(|(predictor, level)| predictor.forward(level)).collect()
    }
}
