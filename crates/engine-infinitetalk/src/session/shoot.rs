//! From what a session was given to frames: a still, a clip, or a clip scene after scene, chunk after chunk.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use contract::{Complaint, EngineError, Frame, Layout, Size, Stage, Stopped};
use pictures::Picture;
use stagehand::{Clock, Cue, Stagehand};

use super::fault::{asked, failed, net, sampled, unseen};
use super::inputs::Seen;
use crate::nets::clip_visual::ClipVisual;
use crate::nets::dit::Persons;
use crate::picture::{Fit, to_bytes, to_tensor};
use crate::sampler::plan::{ChunkPlan, ChunkShape};
use crate::sampler::{
    ChunkState, Condition, Film, Look, Nets, Noise, Progress, Prompt, SamplerError, Scene as FilmScene,
    Speech, Take as SamplerTake, Watcher,
};
use crate::scenes::Scenes;
use crate::settings::Options;

/// Where an earlier run of the take stopped: how many frames of earlier scenes are done, and the state of the scene that was being made, if a
/// chunk of it was done.
pub(super) struct Resumed {
    scene: u64,
    state: Option<ChunkState>,
}

impl Resumed {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, EngineError> {
        let damaged = |why: String| {
            EngineError::Rejected(Complaint::new(
                "bad_checkpoint",
                why,
                "remove the reel, and the take begins anew",
            ))
        };
        let (scene, state) = bytes
            .split_first_chunk()
            .ok_or_else(|| damaged("the state of the take ends too early".into()))?;
        let state = (!state.is_empty()).then(|| ChunkState::from_bytes(state)).transpose();
        Ok(Self {
            scene: u64::from_le_bytes(*scene),
            state: state.map_err(|error| damaged(error.to_string()))?,
        })
    }

    fn bytes(scene: u64, state: Option<&ChunkState>) -> Result<Vec<u8>, EngineError> {
        let mut bytes = scene.to_le_bytes().to_vec();
        if let Some(state) = state {
            bytes.extend(state.to_bytes().map_err(net)?);
        }
        Ok(bytes)
    }
}

/// Everything that frames are made of.
pub(super) struct Shoot<'a> {
    pub(super) looks: Looks<'a>,
    pub(super) prompt: Prompt,
    /// Of each person, of the whole take: (frames, layers, c)
    pub(super) features: Option<Vec<Tensor>>,
    pub(super) masks: Option<Persons>,
    pub(super) seed: u64,
    pub(super) options: &'a Options,
    pub(super) size: Size,
    /// Of the whole take.
    pub(super) frames: u64,
}

impl Shoot<'_> {
    /// One picture for all chunks. `seen`: called when CLIP has seen it.
    pub(super) fn still(
        mut self,
        plan: ChunkPlan,
        subject: &mut Seen,
        (resumed, clock): (Option<Resumed>, &mut Clock),
        seen: impl FnOnce(),
    ) -> Result<(), EngineError> {
        let mut fit = Fit::new(self.looks.target);
        let first = self.looks.tensor(&self.looks.picture(&mut fit, subject, 0)?)?;
        let condition = clock.time(Stage::Conditioning, || self.looks.condition(&first)).map_err(failed)?;
        // who keeps it out of memory does not want it to live on here
        self.looks.clip = None;
        seen();
        let take = self.take(plan, None)?;
        self.film(&take, FilmScene::Still(condition), (0, resumed.and_then(|resumed| resumed.state)), clock)
    }

    /// A clip, as it goes on.
    pub(super) fn moving(
        &self,
        plan: ChunkPlan,
        subject: &mut Seen,
        (resumed, clock): (Option<Resumed>, &mut Clock),
    ) -> Result<(), EngineError> {
        let mut fit = Fit::new(self.looks.target);
        let first = self.looks.tensor(&self.looks.picture(&mut fit, subject, 0)?)?;
        let mut conditions = |look: Look| {
            let frame = match look {
                Look::Source(at) => {
                    let seen = self.looks.picture(&mut fit, subject, at);
                    seen.and_then(|picture| self.looks.tensor(&picture)).map_err(sampled)?
                }
                Look::Picture(frame) => frame,
            };
            self.looks.condition(&frame)
        };
        let take = self.take(plan, None)?;
        let scene = FilmScene::Moving { first, condition: &mut conditions };
        self.film(&take, scene, (0, resumed.and_then(|resumed| resumed.state)), clock)
    }

    /// A clip, scene after scene.
    pub(super) fn scenes(
        &self,
        plan: ChunkPlan,
        subject: &mut Seen,
        (resumed, clock): (Option<Resumed>, &mut Clock),
    ) -> Result<(), EngineError> {
        let shape = plan.shape();
        let (done, mut state) = resumed.map_or((0, None), |resumed| (resumed.scene, resumed.state));
        let mut fit = Fit::new(self.looks.target);
        let mut scenes = Scenes::new(plan.frames(), (shape.frames() - shape.motion()) as u64);
        loop {
            let scene = clock.time(Stage::Preparing, || {
                scenes.next(|at| {
                    self.looks.stage.check()?;
                    self.looks.picture(&mut fit, subject, at)
                })
            })?;
            let Some(scene) = scene else { return Ok(()) };
            if scene.end <= done {
                continue;
            }
            let of = |at: u64| {
                let picture = scene.condition(at).ok_or_else(|| {
                    EngineError::Failed(format!("frame {at} of a scene was not kept: a bug in talkie"))
                })?;
                self.looks.tensor(picture)
            };
            let mut conditions = |look: Look| {
                let frame = match look {
                    Look::Source(at) => of(at).map_err(sampled)?,
                    Look::Picture(frame) => frame,
                };
                self.looks.condition(&frame)
            };
            let plan = ChunkPlan::new(shape, scene.end - scene.start, None).map_err(asked)?;
            let take = self.take(plan, Some(scene.start..scene.end))?;
            let filmed = FilmScene::Moving { first: of(0)?, condition: &mut conditions };
            self.film(&take, filmed, (scene.start, state.take()), clock)?;
            self.looks.stage.tell(Cue::Checkpoint(Resumed::bytes(scene.end, None)?))?;
        }
    }

    /// What is made of a scene, or of the whole.
    fn take(&self, plan: ChunkPlan, scene: Option<Range<u64>>) -> Result<SamplerTake, EngineError> {
        let of = |features: &Tensor| match &scene {
            None => Ok(features.clone()),
            Some(scene) => features.narrow(0, scene.start as usize, (scene.end - scene.start) as usize),
        };
        let speech = match &self.features {
            Some(features) => {
                let features =
                    features.iter().map(of).collect::<candle_core::Result<Vec<_>>>().map_err(net)?;
                Some(Speech::new(features, self.masks.clone()).map_err(failed)?)
            }
            None => None,
        };
        Ok(SamplerTake {
            plan,
            prompt: self.prompt.clone(),
            speech,
            // a scene's noise is not that of another
            noise: Noise::Seeded(self.seed.wrapping_add(scene.map_or(0, |scene| scene.start))),
            sampling: self.options.sampling().map_err(asked)?,
            drift: self.options.drift(),
        })
    }

    /// Chunk after chunk, each behind a state from which it can be gone on with.
    fn film<'s>(
        &'s self,
        take: &'s SamplerTake,
        scene: FilmScene<'s>,
        (start, state): (u64, Option<ChunkState>),
        clock: &mut Clock,
    ) -> Result<(), EngineError> {
        let stage = self.looks.stage;
        let made = start..start + take.plan.frames();
        let mut relay = Relay { stage, size: self.size, scene: made, frames: self.frames };
        let mut film = Film::new(self.looks.nets, take, scene, state).map_err(failed)?;
        loop {
            let exposed = clock.time(Stage::Denoising, || film.denoise(&mut relay)).map_err(failed)?;
            let Some(exposed) = exposed else { return Ok(()) };
            let last = exposed.chunk().last;
            clock.time(Stage::Decoding, || film.develop(exposed, &mut relay)).map_err(failed)?;
            if let (false, Some(state)) = (last, film.state()) {
                stage.tell(Cue::Checkpoint(Resumed::bytes(start, Some(state))?))?;
            }
        }
    }
}

/// From pictures to what a chunk knows of them.
pub(super) struct Looks<'a> {
    pub(super) nets: Nets<'a>,
    /// Until it is not needed any more.
    pub(super) clip: Option<Arc<ClipVisual>>,
    pub(super) shape: ChunkShape,
    pub(super) target: (usize, usize),
    pub(super) stage: &'a Stagehand,
}

impl Looks<'_> {
    /// What is seen when frame `at` of the take begins, in the take's size.
    fn picture(&self, fit: &mut Fit, subject: &mut Seen, at: u64) -> Result<Picture<3>, EngineError> {
        let mut picture =
            Picture::blank(self.target).map_err(|error| EngineError::Failed(error.to_string()))?;
        fit.fit(subject.footage.at(at).map_err(unseen)?, &mut picture);
        Ok(picture)
    }

    /// (1, 1, h, w, 3) on [-1, 1]
    fn tensor(&self, picture: &Picture<3>) -> Result<Tensor, EngineError> {
        to_tensor(picture).map_err(net)
    }

    fn condition(&self, frame: &Tensor) -> Result<Condition, SamplerError> {
        let seen = frame.squeeze(1)?.to_device(self.nets.vae.device())?; // (1, h, w, 3)
        let clip = self.clip.as_ref().expect("a picture that stands still is looked at once");
        let hidden = clip.forward(&seen.to_dtype(DType::F32)?)?;
        Condition::new(self.nets, frame, &hidden, self.shape, &|| self.stage.is_gone())
    }
}

/// The sampler's watcher.
struct Relay<'a> {
    stage: &'a Stagehand,
    size: Size,
    /// The frames that are being made, of so many.
    scene: Range<u64>,
    frames: u64,
}

impl Watcher for Relay<'_> {
    fn stopped(&self) -> bool {
        self.stage.is_gone()
    }

    fn progress(&mut self, at: Progress) -> Result<(), Stopped> {
        let Range { start, end } = self.scene;
        let (done, of) = match end - start == self.frames {
            true => (at.done(), at.of()),
            // scenes differ in their forwards: of a take of several, frames are told
            false => (start + (end - start) * at.done() / at.of().max(1), self.frames),
        };
        self.stage.tell(Cue::Stage(Stage::Denoising, done, of))
    }

    fn frame(&mut self, _: u64, frame: &[f32]) -> Result<(), Stopped> {
        let frame = Frame::new(self.size, Layout::Rgb24, to_bytes(frame))
            .expect("the sampler makes frames of the size it was given");
        self.stage.tell(Cue::Frame(frame))
    }
}
