//! The UNet of Stable Video Diffusion (Blattmann et al. 2023): `UNetSpatioTemporalConditionModel` of diffusers 0.42.1. Deviations, all of them exact: cross attention, whose
//! context has one token, is a vector a clip; what a time adds goes into the norms behind it; mixtures of a residual block and what it adds
//! are shares of what is added. Net only: neither guidance, nor the schedule, nor the scale of the latents.

mod condition;
mod config;
mod eps;
mod transformer;
mod verify;

use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use layers::{Conv2d, ConvConfig, GroupNorm, upsample_nearest, upsample_nearest_to};

use self::condition::{TimestepMlp, TransformerClip};
use self::config::{ADDED_IDS, Kind, NORM_GROUPS};
use self::transformer::Transformer;
use super::res_block::{Counts, ResBlockSize, ResTime, SpatioTemporalResBlock, each_frame};
use super::watch::{Outcome, Watch};
pub use condition::{ClipCondition, StepCondition};
pub use config::{Levels, UnetConfig};
pub use verify::register;

#[derive(Debug)]
struct DownBlock {
    resnets: Vec<SpatioTemporalResBlock>,
    /// As many as resnets, or none.
    attentions: Vec<Transformer>,
    /// All levels but the last.
    downsampler: Option<Conv2d>,
}

#[derive(Debug)]
struct MidBlock {
    first: SpatioTemporalResBlock,
    attention: Transformer,
    second: SpatioTemporalResBlock,
}

#[derive(Debug)]
struct UpBlock {
    resnets: Vec<SpatioTemporalResBlock>,
    /// As many as resnets, or none.
    attentions: Vec<Transformer>,
    /// All levels but the last.
    upsampler: Option<Conv2d>,
}

#[derive(Debug)]
pub struct Unet {
    time_embedding: TimestepMlp,
    add_embedding: TimestepMlp,
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    context: usize,
    dtype: DType,
    device: Device,
}

impl Unet {
    pub fn load(cfg: &UnetConfig, vb: VarBuilder) -> Result<Self> {
        let plan = cfg.plan()?;
        let levels = plan.widths.len();
        let (first, last, three) = (plan.widths[0], plan.widths[levels - 1], ConvConfig::square(3));
        let embedding = 4 * first;
        let resnet = |channels: (usize, usize), eps: f64, vb: VarBuilder| {
            let (time, counts) = (Some(embedding), Counts::Spatial);
            let size = ResBlockSize { channels, groups: NORM_GROUPS, eps: (eps, eps), time, counts };
            SpatioTemporalResBlock::load(&size, vb)
        };
        let transformer = |level: usize, vb: VarBuilder| {
            Transformer::load((plan.widths[level], plan.heads[level], plan.context), vb)
        };

        let mut down_blocks = Vec::with_capacity(levels);
        // what the way up gets as its skips, in the order of the way down
        let mut skips = vec![first];
        let mut inputs = first;
        for (level, (&outputs, &kind)) in plan.widths.iter().zip(&plan.down).enumerate() {
            let vb = vb.pp("down_blocks").pp(level);
            let (mut resnets, mut attentions) = (Vec::new(), Vec::new());
            for i in 0..plan.layers {
                resnets.push(resnet((inputs, outputs), eps::down(kind), vb.pp("resnets").pp(i))?);
                if kind == Kind::Attends {
                    attentions.push(transformer(level, vb.pp("attentions").pp(i))?);
                }
                inputs = outputs;
                skips.push(outputs);
            }
            let halve = three.stride(2);
            let downsampler = (level + 1 < levels)
                .then(|| Conv2d::load(outputs, outputs, halve, vb.pp("downsamplers.0.conv")))
                .transpose()?;
            if downsampler.is_some() {
                skips.push(outputs);
            }
            down_blocks.push(DownBlock { resnets, attentions, downsampler });
        }

        let mid = vb.pp("mid_block");
        let mid_block = MidBlock {
            first: resnet((last, last), eps::MIDDLE, mid.pp("resnets.0"))?,
            attention: transformer(levels - 1, mid.pp("attentions.0"))?,
            second: resnet((last, last), eps::MIDDLE, mid.pp("resnets.1"))?,
        };

        let mut up_blocks = Vec::with_capacity(levels);
        for (i, &kind) in plan.up.iter().enumerate() {
            let (level, vb) = (levels - 1 - i, vb.pp("up_blocks").pp(i));
            let outputs = plan.widths[level];
            let (mut resnets, mut attentions) = (Vec::new(), Vec::new());
            for j in 0..=plan.layers {
                let skip = skips.pop().expect("one was pushed for each resnet of the way up");
                resnets.push(resnet((inputs + skip, outputs), eps::UP, vb.pp("resnets").pp(j))?);
                if kind == Kind::Attends {
                    attentions.push(transformer(level, vb.pp("attentions").pp(j))?);
                }
                inputs = outputs;
            }
            let upsampler = (level > 0)
                .then(|| Conv2d::load(outputs, outputs, three, vb.pp("upsamplers.0.conv")))
                .transpose()?;
            up_blocks.push(UpBlock { resnets, attentions, upsampler });
        }

        let embed =
            |inputs: usize, name: &str| TimestepMlp::load((inputs, embedding, embedding), vb.pp(name));
        Ok(Self {
            time_embedding: embed(first, "time_embedding")?,
            add_embedding: embed(cfg.projection_class_embeddings_input_dim, "add_embedding")?,
            conv_in: Conv2d::load(cfg.in_channels, first, three, vb.pp("conv_in"))?,
            down_blocks,
            mid_block,
            up_blocks,
            conv_norm_out: GroupNorm::load(NORM_GROUPS, first, eps::OUT, vb.pp("conv_norm_out"))?,
            conv_out: Conv2d::load(first, cfg.out_channels, three, vb.pp("conv_out"))?,
            context: plan.context,
            dtype: vb.dtype(),
            device: vb.device().clone(),
        })
    }

    /// What its latents are to be in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Once a clip. context: (b, 1, k), of each item; added_ids: (b, 3), the frame rate less one, the motion bucket and the
    /// noise augmentation
    pub fn clip(&self, context: &Tensor, frames: usize, added_ids: &Tensor) -> Result<ClipCondition> {
        let (batch, tokens, width) = context.dims3()?;
        if tokens != 1 || width != self.context {
            bail!("the UNet is told of a picture by (b, 1, {}), not {:?}", self.context, context.dims());
        }
        if frames == 0 || added_ids.dims() != [batch, ADDED_IDS] {
            bail!(
                "{frames} frames and ids of {:?} are no clip; it has 1 frame at least, and ids of ({batch}, {ADDED_IDS})",
                added_ids.dims()
            );
        }
        let context = context.to_device(&self.device)?.to_dtype(self.dtype)?.squeeze(1)?;
        let transformers = self.transformers().map(|block| block.clip(&context, frames));
        Ok(ClipCondition {
            batch,
            frames,
            added: self.add_embedding.forward(added_ids)?, // (b, e)
            transformers: transformers.collect::<Result<_>>()?,
        })
    }

    /// Once a step. timestep: a quarter of the logarithm of sigma
    pub fn step(&self, timestep: f32, clip: &ClipCondition, watch: &Watch) -> Result<StepCondition> {
        let time = Tensor::full(timestep, (1, 1), &Device::Cpu)?;
        let time = self.time_embedding.forward(&time)?.repeat((clip.batch, 1))?; // (b, e)
        watch.probe.note("time_embedding", &time);
        watch.probe.note("add_embedding", &clip.added);
        let emb = (time + &clip.added)?.silu()?;
        let resnets = self.resnets().map(|block| block.time(&emb)).collect::<Result<_>>()?;
        Ok(StepCondition { resnets, batch: clip.batch })
    }

    /// x: (b, f, h, w, 8), latents that were scaled for their sigma and the picture's -> what changes them, (b, f, h, w, 4)
    pub fn forward(
        &self,
        x: &Tensor,
        step: &StepCondition,
        clip: &ClipCondition,
        watch: &Watch,
    ) -> Outcome<Tensor> {
        self.check(x, step, clip)?;
        let mut way = Way { times: step.resnets.iter(), clips: clip.transformers.iter(), watch };
        let mut x = way.part("conv_in", x, |x| each_frame(x, |x| self.conv_in.forward(x)))?; // (b, f, h, w, c)
        watch.probe.note("conv_in", &x);
        let mut skips = vec![x.clone()];
        for (level, block) in self.down_blocks.iter().enumerate() {
            for (i, resnet) in block.resnets.iter().enumerate() {
                x =
                    way.layer(format_args!("down_blocks.{level}"), i, (resnet, block.attentions.get(i)), &x)?;
                skips.push(x.clone());
            }
            if let Some(conv) = &block.downsampler {
                let name = format_args!("down_blocks.{level}.downsamplers.0");
                x = way.part(name, &x, |x| each_frame(x, |x| conv.forward(x)))?; // (b, f, h/2, w/2, c)
                skips.push(x.clone());
            }
            watch.probe.note(&format!("down{level}"), &x);
        }

        let MidBlock { first, attention, second } = &self.mid_block;
        x = way.layer("mid_block", 0, (first, Some(attention)), &x)?;
        x = way.layer("mid_block", 1, (second, None), &x)?;
        watch.probe.note("mid", &x);

        for (level, block) in self.up_blocks.iter().enumerate() {
            for (i, resnet) in block.resnets.iter().enumerate() {
                let skip = skips.pop().expect("one was pushed for each resnet of the way up");
                x = Tensor::cat(&[x, skip], 4)?;
                x = way.layer(format_args!("up_blocks.{level}"), i, (resnet, block.attentions.get(i)), &x)?;
            }
            if let Some(conv) = &block.upsampler {
                let (_, _, h, w, _) = skips.last().expect("the next level has skips of its own").dims5()?;
                let name = format_args!("up_blocks.{level}.upsamplers.0");
                x = way.part(name, &x, |x| each_frame(x, |x| conv.forward(&upsampled(x, (h, w))?)))?;
            }
            watch.probe.note(&format!("up{level}"), &x);
        }
        let out = |x: &Tensor| self.conv_out.forward(&self.conv_norm_out.forward_silu(x)?);
        way.part("conv_out", &x, |x| each_frame(x, out)) // (b, f, h, w, 4)
    }

    fn check(&self, x: &Tensor, step: &StepCondition, clip: &ClipCondition) -> Result<()> {
        let (b, f, h, w, _) = x.dims5()?;
        if (b, f) != (clip.batch, clip.frames) || step.batch != b || h == 0 || w == 0 {
            bail!(
                "latents of {:?} do not belong to a clip of {} times {} frames and a step of {}",
                x.dims(),
                clip.batch,
                clip.frames,
                step.batch
            );
        }
        Ok(())
    }

    /// In the order of the forward.
    fn resnets(&self) -> impl Iterator<Item = &SpatioTemporalResBlock> {
        let down = self.down_blocks.iter().flat_map(|block| &block.resnets);
        let mid = [&self.mid_block.first, &self.mid_block.second];
        down.chain(mid).chain(self.up_blocks.iter().flat_map(|block| &block.resnets))
    }

    /// In the order of the forward.
    fn transformers(&self) -> impl Iterator<Item = &Transformer> {
        let down = self.down_blocks.iter().flat_map(|block| &block.attentions);
        let up = self.up_blocks.iter().flat_map(|block| &block.attentions);
        down.chain([&self.mid_block.attention]).chain(up)
    }
}

/// A forward on its way: what the blocks that are still to come are told.
struct Way<'a> {
    times: std::slice::Iter<'a, Option<ResTime>>,
    clips: std::slice::Iter<'a, TransformerClip>,
    watch: &'a Watch<'a>,
}

impl Way<'_> {
    fn part(
        &self,
        name: impl std::fmt::Display,
        x: &Tensor,
        run: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Outcome<Tensor> {
        self.watch.part(|| name.to_string(), || run(x))
    }

    /// A residual block and the transformer behind it, if there is one. x: (b, f, h, w, i) -> (b, f, h, w, o)
    fn layer(
        &mut self,
        block: impl std::fmt::Display,
        i: usize,
        (resnet, transformer): (&SpatioTemporalResBlock, Option<&Transformer>),
        x: &Tensor,
    ) -> Outcome<Tensor> {
        let time = self.times.next().expect("a step has a time for each resnet").as_ref();
        let y = self.part(format_args!("{block}.resnets.{i}"), x, |x| resnet.forward(x, time))?;
        self.watch.probe.note(&format!("{block}.resnets.{i}"), &y);
        let Some(transformer) = transformer else { return Ok(y) };
        let clip = self.clips.next().expect("a clip has a condition for each transformer");
        let y = self.part(format_args!("{block}.attentions.{i}"), &y, |y| transformer.forward(y, clip))?;
        self.watch.probe.note(&format!("{block}.attentions.{i}"), &y);
        Ok(y)
    }
}

/// x: (b, h, w, c) -> twice as large, or of a size that is no multiple, as the skip it meets.
fn upsampled(x: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    let (_, h, w, _) = x.dims4()?;
    if (height, width) == (2 * h, 2 * w) {
        upsample_nearest(x, 2)
    } else {
        upsample_nearest_to(x, height, width)
    }
}

#[cfg(test)]
mod tests;
