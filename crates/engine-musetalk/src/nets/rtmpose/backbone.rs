//! CSPNeXt (Lyu et al. 2022, RTMDet), P5, without a neck: only its last stage is returned.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use layers::{Conv2d, ConvConfig};

use super::{ConvModule, RtmposeConfig};
use crate::nets::pool::{global_mean, max_pool_around};

/// Of `SPPBottleneck`.
const POOLS: [usize; 3] = [5, 9, 13];

struct Stage {
    inputs: usize,
    outputs: usize,
    blocks: usize,
    last: bool,
}

/// P5 at a widen_factor and a deepen_factor of 1. The last stage pools and has no identity in its blocks.
const STAGES: [Stage; 4] = [
    Stage { inputs: 64, outputs: 128, blocks: 3, last: false },
    Stage { inputs: 128, outputs: 256, blocks: 6, last: false },
    Stage { inputs: 256, outputs: 512, blocks: 6, last: false },
    Stage { inputs: 512, outputs: 1024, blocks: 3, last: true },
];

/// Channels of the picture the backbone makes, at a widen_factor of 1.
pub const OUTPUTS: usize = STAGES[3].outputs;

/// Spatial pyramid pooling.
#[derive(Debug)]
struct SppBottleneck {
    conv1: ConvModule,
    conv2: ConvModule,
}

impl SppBottleneck {
    fn load(channels: usize, vb: VarBuilder) -> Result<Self> {
        let (one, mid) = (ConvConfig::square(1), channels / 2);
        Ok(Self {
            conv1: ConvModule::load(one, (channels, mid), vb.pp("conv1"))?,
            conv2: ConvModule::load(one, (mid * (1 + POOLS.len()), channels), vb.pp("conv2"))?,
        })
    }

    /// x: (b, h, w, c) -> the same
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut all = vec![self.conv1.forward(x)?];
        for kernel in POOLS {
            all.push(max_pool_around(&all[0], kernel, 1)?);
        }
        self.conv2.forward(&Tensor::cat(&all, 3)?)
    }
}

#[derive(Debug)]
struct CspNextBlock {
    conv1: ConvModule,
    depthwise_conv: ConvModule,
    pointwise_conv: ConvModule,
    identity: bool,
}

impl CspNextBlock {
    fn load(channels: usize, identity: bool, vb: VarBuilder) -> Result<Self> {
        let (same, conv2) = ((channels, channels), vb.pp("conv2"));
        let five = ConvConfig::square(5).groups(channels);
        Ok(Self {
            conv1: ConvModule::load(ConvConfig::square(3), same, vb.pp("conv1"))?,
            depthwise_conv: ConvModule::load(five, same, conv2.pp("depthwise_conv"))?,
            pointwise_conv: ConvModule::load(ConvConfig::square(1), same, conv2.pp("pointwise_conv"))?,
            identity,
        })
    }

    /// x: (b, h, w, c) -> the same
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.depthwise_conv.forward(&self.conv1.forward(x)?)?;
        let y = self.pointwise_conv.forward(&y)?;
        if self.identity { y + x } else { Ok(y) }
    }
}

#[derive(Debug)]
struct CspLayer {
    main_conv: ConvModule,
    short_conv: ConvModule,
    blocks: Vec<CspNextBlock>,
    attention: Conv2d,
    final_conv: ConvModule,
}

impl CspLayer {
    fn load(cfg: &RtmposeConfig, stage: &Stage, vb: VarBuilder) -> Result<Self> {
        let (one, channels) = (ConvConfig::square(1), cfg.width(stage.outputs));
        let mid = channels / 2;
        let blocks = (0..cfg.depth(stage.blocks))
            .map(|i| CspNextBlock::load(mid, !stage.last, vb.pp("blocks").pp(i)))
            .collect::<Result<_>>()?;
        Ok(Self {
            main_conv: ConvModule::load(one, (channels, mid), vb.pp("main_conv"))?,
            short_conv: ConvModule::load(one, (channels, mid), vb.pp("short_conv"))?,
            blocks,
            attention: Conv2d::load(2 * mid, 2 * mid, one, vb.pp("attention").pp("fc"))?,
            final_conv: ConvModule::load(one, (2 * mid, channels), vb.pp("final_conv"))?,
        })
    }

    /// x: (b, h, w, c) -> the same
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let short = self.short_conv.forward(x)?; // (b, h, w, c / 2)
        let mut main = self.main_conv.forward(x)?;
        for block in &self.blocks {
            main = block.forward(&main)?;
        }
        let both = Tensor::cat(&[main, short], 3)?; // (b, h, w, c)
        let gate = hard_sigmoid(&self.attention.forward(&global_mean(&both)?)?)?; // (b, 1, 1, c)
        self.final_conv.forward(&both.broadcast_mul(&gate)?)
    }
}

/// relu6(x + 3) / 6
fn hard_sigmoid(x: &Tensor) -> Result<Tensor> {
    (x + 3.0)?.clamp(0.0, 6.0)? / 6.0
}

#[derive(Debug)]
pub struct CspNext {
    stem: [ConvModule; 3],
    stages: Vec<(ConvModule, Option<SppBottleneck>, CspLayer)>,
}

impl CspNext {
    pub fn load(cfg: &RtmposeConfig, vb: VarBuilder) -> Result<Self> {
        let (three, halving) = (ConvConfig::square(3), ConvConfig::square(3).stride(2));
        let (half, first) = (cfg.width(32), cfg.width(64));
        let stem = vb.pp("stem");
        let stage = |(i, stage): (usize, &Stage)| {
            let vb = vb.pp(format!("stage{}", i + 1));
            let (inputs, outputs) = (cfg.width(stage.inputs), cfg.width(stage.outputs));
            let conv = ConvModule::load(halving, (inputs, outputs), vb.pp(0))?;
            let spp = match stage.last {
                true => Some(SppBottleneck::load(outputs, vb.pp(1))?),
                false => None,
            };
            Ok((conv, spp, CspLayer::load(cfg, stage, vb.pp(if stage.last { 2 } else { 1 }))?))
        };
        Ok(Self {
            stem: [
                ConvModule::load(halving, (3, half), stem.pp(0))?,
                ConvModule::load(three, (half, half), stem.pp(1))?,
                ConvModule::load(three, (half, first), stem.pp(2))?,
            ],
            stages: STAGES.iter().enumerate().map(stage).collect::<Result<_>>()?,
        })
    }

    /// x: (b, h, w, 3) -> (b, h/32, w/32, 1024)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for conv in &self.stem {
            x = conv.forward(&x)?; // (b, h/2, w/2, c)
        }
        for (conv, spp, csp) in &self.stages {
            x = conv.forward(&x)?; // (b, h/2, w/2, c)
            if let Some(spp) = spp {
                x = spp.forward(&x)?;
            }
            x = csp.forward(&x)?;
        }
        Ok(x)
    }
}
