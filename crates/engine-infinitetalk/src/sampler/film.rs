//! A take, chunk by chunk: noise to latents, latents to frames, and what the next chunk needs of them. Frames leave as the decoder makes them, and
//! nothing here grows with the length of the video. Reference: InfiniteTalk 0107cd9, `generate_infinitetalk` (`wan/multitalk.py`).
//! Deviations: the last chunk is decoded only as far as the video goes; a cross-fade holds the end of a chunk back until the next one has
//! drawn it again. Wan's base, which hears nothing and knows of no motion frames, goes on from the last frame alone: it is the picture of the next chunk, whose
//! first frame it is. Refused: other ways of more than one chunk without speech.

use std::collections::VecDeque;

use candle_core::{DType, Device, Tensor};

use super::condition::{Condition, Prompt, Speech};
use super::denoise::{Denoiser, Heard};
use super::drift::{Anchor, ColourReference, Drift};
use super::guidance::Branch;
use super::noise::Noise;
use super::plan::{Chunk, ChunkPlan};
use super::sampling::Sampling;
use super::state::{ChunkState, Identity};
use super::teacache::relative_change;
use super::video::{Next, decode, encode};
use super::{Nets, Progress, SamplerError, Watcher};
use crate::picture::{ColourMatch, to_bytes};

/// Everything about a take that stays the same from chunk to chunk.
#[derive(Clone, Debug)]
pub struct Take {
    pub plan: ChunkPlan,
    pub prompt: Prompt,
    /// None: of Wan's base.
    pub speech: Option<Speech>,
    pub noise: Noise,
    pub sampling: Sampling,
    pub drift: Drift,
}

/// Where the picture of a chunk comes from.
pub enum Scene<'a> {
    /// One picture for all chunks.
    Still(Condition),
    Moving {
        /// The source's first frame: (1, 1, h, w, 3) on [-1, 1]
        first: Tensor,
        condition: &'a mut dyn FnMut(Look) -> Result<Condition, SamplerError>,
    },
}

/// What a condition is to be made of.
#[derive(Clone, Debug)]
pub enum Look {
    /// The source, where the video has this frame. From chunk to chunk it does not go back.
    Source(u64),
    /// This picture: (1, 1, h, w, 3) on [-1, 1]
    Picture(Tensor),
}

/// A chunk whose latents are there, but not its frames.
#[derive(Clone, Debug)]
pub struct Exposed {
    chunk: Chunk,
    latents: Tensor,
}

impl Exposed {
    pub fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    /// (c, t, h / 8, w / 8), f32
    pub fn latents(&self) -> &Tensor {
        &self.latents
    }
}

/// `denoise` and `develop` in turn, until there is no more to denoise; behind each `develop` the take can be left and gone on with later.
pub struct Film<'a> {
    nets: Nets<'a>,
    take: &'a Take,
    scene: Scene<'a>,
    sampling: Sampling,
    computed: Vec<bool>,
    silence: Option<Tensor>,
    colours: ColourMatch,
    identity: Identity,
    state: Option<ChunkState>,
}

impl<'a> Film<'a> {
    /// `state`: where an earlier run of the same take ended.
    pub fn new(
        nets: Nets<'a>,
        take: &'a Take,
        scene: Scene<'a>,
        state: Option<ChunkState>,
    ) -> Result<Self, SamplerError> {
        let shape = take.plan.shape();
        take.drift.check(shape)?;
        let mut sampling = take.sampling.clone();
        let silence = match &take.speech {
            Some(speech) if speech.frames() != take.plan.sound() => {
                return Err(SamplerError::Sound { planned: take.plan.sound(), frames: speech.frames() });
            }
            Some(speech) => Some(nets.dit.embed_audio(&speech.silence(shape)?)?),
            None if take.plan.chunks() > 1
                && !(take.drift.anchor == Anchor::Previous && shape.motion() == 1) =>
            {
                return Err(SamplerError::Deaf { frames: take.plan.frames(), most: shape.frames() });
            }
            None => {
                sampling.guidance = sampling.guidance.without_audio();
                None
            }
        };
        let negative = [Branch::DropText, Branch::Unconditioned];
        if take.prompt.negative.is_none() && sampling.guidance.branches().iter().any(|b| negative.contains(b))
        {
            return Err(SamplerError::NoNegative);
        }
        let first = match &scene {
            Scene::Still(condition) => &condition.frame,
            Scene::Moving { first, .. } => first,
        };
        let (_, _, height, width, _) = first.dims5()?;
        let seed = match take.noise {
            Noise::Seeded(seed) => seed,
            Noise::Given(_) => 0,
        };
        let identity = Identity::new(&take.plan, seed, (width, height));
        if let Some(state) = &state {
            state.check(&identity, &take.plan, take.drift.held())?;
        }
        let colours = ColourMatch::new(&pixels(first)?, take.drift.colour_strength)?;
        let computed = computed(nets, &sampling)?;
        Ok(Self { nets, take, scene, sampling, computed, silence, colours, identity, state })
    }

    /// What must be kept to go on behind the last finished chunk; None before there is one.
    pub fn state(&self) -> Option<&ChunkState> {
        self.state.as_ref()
    }

    /// For each step whether the net's blocks are run.
    pub fn computed(&self) -> &[bool] {
        &self.computed
    }

    /// The latents of the next chunk; None when there is none.
    pub fn denoise(&mut self, watcher: &mut dyn Watcher) -> Result<Option<Exposed>, SamplerError> {
        let plan = &self.take.plan;
        let Some(chunk) = plan.chunk(self.state.as_ref().map_or(0, ChunkState::next)) else {
            return Ok(None);
        };
        let look = self.look(&chunk)?;
        let condition = match &mut self.scene {
            Scene::Still(condition) => condition.clone(), // of handles
            Scene::Moving { condition, .. } => condition(look)?,
        };
        if self.take.drift.colour_reference == ColourReference::Anchor {
            self.colours = ColourMatch::new(&pixels(&condition.frame)?, self.take.drift.colour_strength)?;
        }
        let device = condition.latents.device();
        let motion = match (self.state.as_ref().and_then(|state| state.motion.as_ref()), &self.take.speech) {
            (Some(motion), Some(_)) => Some(motion.to_device(device)?),
            (None, Some(_)) => Some(condition.first_latent()?),
            (_, None) => None, // the base knows its picture from the condition alone
        };
        let speech = match (&self.take.speech, &self.silence) {
            (Some(speech), Some(silence)) => Some(Heard {
                speech: self.nets.dit.embed_audio(&speech.windows(plan, &chunk)?)?,
                silence,
                persons: speech.persons.as_ref(),
            }),
            _ => None,
        };
        let denoiser = Denoiser {
            dit: self.nets.dit,
            sampling: &self.sampling,
            computed: &self.computed,
            prompt: &self.take.prompt,
            condition: &condition,
            speech,
            motion: motion.as_ref(),
        };
        let noise = self.take.noise.of_chunk(chunk.index, condition.latent_shape()?, device)?;
        let at = Progress { chunk: chunk.index, chunks: plan.chunks(), ..Progress::default() };
        let latents = denoiser.run(noise, at, watcher)?;
        Ok(Some(Exposed { chunk, latents }))
    }

    /// What `chunk` is conditioned on, in a scene that moves.
    fn look(&self, chunk: &Chunk) -> Result<Look, SamplerError> {
        let last = self.state.as_ref().and_then(|state| state.held.last());
        let (width, height) = (self.identity.width as usize, self.identity.height as usize);
        Ok(match (self.take.drift.anchor, last) {
            (Anchor::Source, _) | (Anchor::Previous, None) => Look::Source(chunk.start),
            (Anchor::First, _) => Look::Source(0),
            (Anchor::Previous, Some(last)) => {
                let values = last.iter().map(|&byte| (f32::from(byte) / 255.0 - 0.5) * 2.0).collect();
                Look::Picture(Tensor::from_vec(values, (1, 1, height, width, 3), &Device::Cpu)?)
            }
        })
    }

    /// The frames of the chunk, handed to the watcher as they are made, and its end kept for the next one.
    pub fn develop(&mut self, exposed: Exposed, watcher: &mut dyn Watcher) -> Result<(), SamplerError> {
        let Exposed { chunk, latents } = exposed;
        let (shape, drift) = (self.take.plan.shape(), self.take.drift);
        let earlier = self.state.as_ref().map(|state| state.held.clone()).unwrap_or_default();
        let earlier = &earlier[earlier.len() - drift.cross_fade.min(earlier.len())..];
        // of this chunk: the first frame that leaves, how many of the last ones wait for the next chunk to fade in, and how many it needs
        let fade_from = chunk.fresh.start - earlier.len();
        let (waiting, held) = if chunk.last { (0, 0) } else { (drift.cross_fade, drift.held()) };
        let (mut motion, mut kept) = (VecDeque::new(), VecDeque::new());
        let mut at = 0;
        decode(self.nets.vae, &latents, &mut |mut frame| {
            if watcher.stopped() {
                return Err(SamplerError::Stopped);
            }
            self.colours.apply(&mut frame)?;
            if !chunk.last {
                keep(&mut motion, shape.motion(), || frame.clone());
                keep(&mut kept, held, || to_bytes(&frame));
            }
            if (fade_from..chunk.fresh.end - waiting).contains(&at) {
                if let Some(before) = earlier.get(at - fade_from) {
                    fade(&mut frame, before, drift.share(at - fade_from));
                }
                watcher.frame(chunk.start + at as u64, &frame)?;
            }
            at += 1;
            Ok(if at < chunk.fresh.end { Next::More } else { Next::Enough })
        })?;
        let motion =
            if chunk.last { None } else { Some(self.motion_latents(motion.into(), &|| watcher.stopped())?) };
        self.state =
            Some(ChunkState { identity: self.identity, next: chunk.index + 1, motion, held: kept.into() });
        Ok(())
    }

    /// (c, m, h / 8, w / 8), on the host
    fn motion_latents(&self, frames: Vec<Vec<f32>>, stop: &dyn Fn() -> bool) -> Result<Tensor, SamplerError> {
        let (width, height) = (self.identity.width as usize, self.identity.height as usize);
        let (first, behind) = frames.split_at(1);
        let pieces = std::iter::once(first).chain(behind.chunks(4));
        let pieces = pieces
            .map(|piece| Tensor::from_vec(piece.concat(), (1, piece.len(), height, width, 3), &Device::Cpu));
        Ok(encode(self.nets.vae, pieces, stop)?.to_device(&Device::Cpu)?)
    }
}

/// Interleaved RGB of (1, 1, h, w, 3).
fn pixels(frame: &Tensor) -> Result<Vec<f32>, SamplerError> {
    Ok(frame.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// For each step whether its blocks are run: all, or those that TeaCache does not skip.
fn computed(nets: Nets, sampling: &Sampling) -> Result<Vec<bool>, SamplerError> {
    let steps = sampling.schedule.steps();
    let Some(teacache) = sampling.teacache else { return Ok(vec![true; steps]) };
    let embedded = (0..steps)
        .map(|step| nets.dit.time_embedding(f64::from(sampling.schedule.timestep(step))))
        .collect::<candle_core::Result<Vec<_>>>()?;
    let changes = embedded
        .windows(2)
        .map(|pair| relative_change(&pair[0], &pair[1]))
        .collect::<candle_core::Result<Vec<_>>>()?;
    Ok(teacache.pattern(&changes))
}

/// The last `n` of what is pushed.
fn keep<T>(queue: &mut VecDeque<T>, n: usize, next: impl FnOnce() -> T) {
    if n == 0 {
        return;
    }
    if queue.len() == n {
        queue.pop_front();
    }
    queue.push_back(next());
}

/// `share` of `frame` over the bytes of the frame before, each taken for the middle of what is cut off to it.
fn fade(frame: &mut [f32], before: &[u8], share: f32) {
    for (value, &byte) in frame.iter_mut().zip(before) {
        let before = ((f32::from(byte) + 0.5) / 255.0 * 2.0 - 1.0).min(1.0);
        *value = before + share * (*value - before);
    }
}
