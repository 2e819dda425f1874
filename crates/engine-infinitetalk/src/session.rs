//! One session. Its maker waits for its turn, hears the voices, looks at the subject, reads the prompt, and makes chunk after chunk.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use contract::{
    Complaint, EngineError, Fps, Frame, FrameSink, Layout, Length, Report, Size, Stage, Stopped, Subject,
    Timing, Turns, VideoFormat, VoiceSource, Weights,
};
use pictures::Picture;
use stagehand::{Clock, Cue, Stagehand};

use crate::audio::{self, Hearing, Limits, Speakers, Track};
use crate::model::{Encoder, Model};
use crate::nets::clip_visual::ClipVisual;
use crate::nets::dit::{Dit, DitError, Persons};
use crate::picture::{Fit, Footage, Geometry, PersonBox, PersonMasks, PictureError, to_bytes, to_tensor};
use crate::plan::Work;
use crate::sampler::guidance::Branch;
use crate::sampler::plan::{ChunkPlan, ChunkShape};
use crate::sampler::{
    Anchor, ChunkState, Condition, Film, Look, Nets, Noise, Progress, Prompt, SamplerError,
    Scene as FilmScene, Speech, Take as SamplerTake, Watcher,
};
use crate::scenes::Scenes;
use crate::settings::Options;
use crate::text::{NEGATIVE_PROMPT, Tokens};
use crate::weights::Files;

/// A checked act.
pub struct Take {
    pub subject: Subject,
    pub voices: Vec<Box<dyn VoiceSource>>,
    pub turns: Turns,
    pub prompt: String,
    pub length: Length,
    pub fps: Fps,
    pub seed: u64,
    pub options: Options,
    pub checkpoint: Option<Vec<u8>>,
    pub weights: Vec<Weights>,
}

/// What the maker says in the end.
struct Summary {
    frames: u64,
    timings: Vec<Timing>,
}

/// Runs in the session's own thread, until the take is complete.
pub fn run(
    model: &Arc<Model>,
    take: Take,
    mut out: Box<dyn FrameSink + Send>,
) -> Result<Report, EngineError> {
    let (settings, weights) = (take.options.report(), take.weights.clone());
    let model = Arc::clone(model);
    let make = move |stage: &Stagehand| make(&model, take, stage);
    let Summary { frames, timings } = stagehand::perform("infinitetalk-make", out.as_mut(), make)?;
    Ok(Report { frames, face: None, settings, measured: Vec::new(), weights, timings })
}

fn make(model: &Model, take: Take, stage: &Stagehand) -> Result<Summary, EngineError> {
    let mut clock = Clock::default();
    let persons = take.voices.len();
    let files = model.files(persons)?;
    stage.tell(Cue::Stage(Stage::Conditioning, 0, 0))?;
    // the inputs first: what cannot be used is told before anybody waits
    let speakers = clock.time(Stage::Conditioning, || listen(take.voices, take.turns, stage))?;
    let mut subject = Seen::open(take.subject)?;
    let options = &take.options;
    let shape = ChunkShape::new(options.frame_num, options.motion_frame).map_err(asked)?;
    let sound = speakers.as_ref().map_or(0, |speakers| audio::frames(speakers.persons()[0].len()) as u64);
    let plan = chunks(shape, sound, take.length, options)?;
    let target = options.resolution.bucket(subject.size());
    let size = Size::new(target.0 as u32, target.1 as u32);
    let masks = regions(options, subject.footage.natural(), target, persons, model.device())?;
    // a still whose chunks go on from each other is looked at anew as a clip is
    let moves = subject.moves || options.anchor == Anchor::Previous && plan.chunks() > 1;

    let _turn = model.turn().take(stage)?;
    let _in_use = model.in_use();
    stage.check()?;
    let work = Work {
        size,
        frame_num: options.frame_num,
        motion_frame: options.motion_frame,
        steps: options.steps,
        forwards_per_step: options.guidance().map_err(asked)?.branches().len(),
        persons,
        moves,
        fps: take.fps,
    };
    let (layout, short) = model.plan(files, &work)?;
    if let Some(warning) = short {
        stage.tell(Cue::Warning(warning))?;
    }
    stage.tell(Cue::Stage(Stage::Loading, 0, 0))?;
    let text = clock.time(Stage::Conditioning, || read(model, files, (&take.prompt, options), stage))?;
    model.encoded(&layout, Encoder::Text);
    stage.check()?;
    let features = match &speakers {
        Some(speakers) => Some(clock.time(Stage::Conditioning, || hear(model, files, speakers, stage))?),
        None => None,
    };
    model.encoded(&layout, Encoder::Voice);
    stage.check()?;
    let vae = clock.time(Stage::Loading, || model.vae(files))?;
    let clip = Some(clock.time(Stage::Loading, || model.clip(files))?);
    let (dit, warnings) = clock.time(Stage::Loading, || model.dit(files, persons, &layout))?;
    for warning in files.warnings.iter().cloned().chain(warnings) {
        stage.tell(Cue::Warning(warning))?;
    }
    let nets = Nets { dit: &dit, vae: &vae };
    let prompt = prompt(&dit, &text)?;
    drop(text);
    let frames = plan.frames();
    let shoot = Shoot {
        looks: Looks { nets, clip, shape, target, stage },
        prompt,
        features,
        masks,
        seed: take.seed,
        options,
        size,
        frames,
    };
    stage.tell(Cue::Begin(VideoFormat { size, layout: Layout::Rgb24, fps: take.fps }))?;
    let resumed = take.checkpoint.as_deref().map(Resumed::read).transpose()?;
    match (moves, options.scene_seg && subject.moves) {
        (false, _) => shoot
            .still(plan, &mut subject, (resumed, &mut clock), || model.encoded(&layout, Encoder::Picture))?,
        (true, false) => shoot.moving(plan, &mut subject, (resumed, &mut clock))?,
        (true, true) => shoot.scenes(plan, &mut subject, (resumed, &mut clock))?,
    }
    model.encoded(&layout, Encoder::Picture);
    Ok(Summary { frames, timings: clock.into_timings() })
}

/// Where an earlier run of the take stopped: how many frames of earlier scenes are done, and the state of the scene that was being made, if a
/// chunk of it was done.
struct Resumed {
    scene: u64,
    state: Option<ChunkState>,
}

impl Resumed {
    fn read(bytes: &[u8]) -> Result<Self, EngineError> {
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
struct Shoot<'a> {
    looks: Looks<'a>,
    prompt: Prompt,
    /// Of each person, of the whole take: (frames, layers, c)
    features: Option<Vec<Tensor>>,
    masks: Option<Persons>,
    seed: u64,
    options: &'a Options,
    size: Size,
    /// Of the whole take.
    frames: u64,
}

impl Shoot<'_> {
    /// One picture for all chunks. `seen`: called when CLIP has seen it.
    fn still(
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
    fn moving(
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
    fn scenes(
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

/// All voices, side by side; `None` where nobody speaks.
fn listen(
    voices: Vec<Box<dyn VoiceSource>>,
    turns: Turns,
    stage: &Stagehand,
) -> Result<Option<Speakers>, EngineError> {
    let mut tracks = Vec::new();
    for (at, voice) in voices.into_iter().enumerate() {
        let track = match Track::read(voice) {
            Ok(track) => Some(track),
            // a person who is silent has a voice of no samples
            Err(audio::AudioError::Empty) => None,
            Err(audio::AudioError::Source(error)) => return Err(error.into()),
            Err(error) => {
                return Err(Complaint::new("bad_audio", error.to_string(), "send another voice").into());
            }
        };
        if let Some(warning) = track.as_ref().and_then(|track| track.warning(at + 1)) {
            stage.tell(Cue::Warning(warning))?;
        }
        tracks.push(track);
    }
    let silent = || Complaint::new("no_audio", "the voice has no samples", "send another voice");
    Ok(match tracks.as_slice() {
        [] => None,
        [Some(only)] => Some(Speakers::one(only)),
        [Some(first), Some(second)] => Some(Speakers::two(first, second, turns)),
        [Some(first), None] => Some(Speakers::one_of_two(first, 0)),
        [None, Some(second)] => Some(Speakers::one_of_two(second, 1)),
        _ => return Err(silent().into()),
    })
}

/// As long as the voice, or as was asked for.
fn chunks(
    shape: ChunkShape,
    sound: u64,
    length: Length,
    options: &Options,
) -> Result<ChunkPlan, EngineError> {
    let limit = match length {
        Length::Frames(frames) => Some(frames),
        Length::Voice => None,
    };
    let limit = if options.clip { Some(limit.unwrap_or(u64::MAX).min(shape.frames() as u64)) } else { limit };
    if sound == 0 {
        // without a voice, and without a length, there is one chunk
        let frames = limit.unwrap_or(shape.frames() as u64);
        return Ok(ChunkPlan::new(shape, frames, None).map_err(asked)?);
    }
    Ok(ChunkPlan::new(shape, sound, limit).map_err(asked)?)
}

/// Where two persons are, as the net asks for it.
fn regions(
    options: &Options,
    (width, height): (usize, usize),
    target: (usize, usize),
    persons: usize,
    device: &Device,
) -> Result<Option<Persons>, EngineError> {
    if persons < 2 {
        return Ok(None);
    }
    let boxes = match options.persons.as_slice() {
        [first, second] => [*first, *second],
        _ => PersonBox::halves((width, height)),
    };
    let masks = PersonMasks::new(&boxes, &Geometry::new((width, height), target), STRIDE);
    let masks = masks
        .map_err(|error| Complaint::new("bad_setting", error.to_string(), "correct person1 and person2"))?;
    let masks = masks.to_tensor().and_then(|masks| masks.to_device(device)).map_err(net)?;
    Ok(Some(Persons::new(&masks).map_err(net)?))
}

/// Pixels of a latent place's side.
const STRIDE: usize = 8;

/// The prompt and what is not to be seen, as umT5 has them.
struct Text {
    prompt: Tensor,
    negative: Option<Tensor>,
}

fn read(
    model: &Model,
    files: &Files,
    (prompt, options): (&str, &Options),
    stage: &Stagehand,
) -> Result<Text, EngineError> {
    let prompts = model.prompts(files)?;
    let umt5 = model.umt5(files)?;
    let rows = |text: &str, what: &str| -> Result<Tensor, EngineError> {
        let tokens: Tokens = prompts
            .read(text)
            .map_err(|error| Complaint::new("bad_prompt", error.to_string(), "write another prompt"))?;
        if let Some(warning) = tokens.warning(what) {
            stage.tell(Cue::Warning(warning))?;
        }
        stage.check()?;
        let ids = Tensor::from_vec(tokens.ids, (1, ()), model.device()).map_err(net)?;
        umt5.forward(&ids).and_then(|rows| rows.squeeze(0)).map_err(net) // (l, c)
    };
    let negative =
        options.negative_prompt.as_deref().filter(|text| !text.is_empty()).unwrap_or(NEGATIVE_PROMPT);
    let guidance = options.guidance().map_err(asked)?;
    let without = [Branch::DropText, Branch::Unconditioned];
    let guided = guidance.branches().iter().any(|branch| without.contains(branch));
    Ok(Text {
        prompt: rows(prompt, "prompt")?,
        negative: if guided { Some(rows(negative, "negative prompt")?) } else { None },
    })
}

fn prompt(dit: &Dit, text: &Text) -> Result<Prompt, EngineError> {
    Prompt::new(dit, &text.prompt, text.negative.as_ref()).map_err(failed)
}

/// What wav2vec 2.0 makes of every frame, for each person: (frames, layers, c)
fn hear(
    model: &Model,
    files: &Files,
    speakers: &Speakers,
    stage: &Stagehand,
) -> Result<Vec<Tensor>, EngineError> {
    let ear = model.ear(files)?;
    let mut features = Vec::new();
    for samples in speakers.persons() {
        stage.check()?;
        let mut hearing = Hearing::new(&ear, model.device(), samples, Limits::default());
        if let Some(warning) = hearing.warning() {
            stage.tell(Cue::Warning(warning))?;
        }
        features.push(hearing.features(&|| stage.is_gone()).map_err(net)?);
    }
    Ok(features)
}

/// The subject, whether it moves or not.
struct Seen {
    footage: Footage,
    size: (usize, usize),
    moves: bool,
}

impl Seen {
    fn open(subject: Subject) -> Result<Self, EngineError> {
        let (source, moves) = match subject {
            Subject::Picture(source) => (source, false),
            Subject::Clip(source) => (source, true),
            Subject::Avatar(_) => {
                let message = "an avatar was given, infinitetalk takes a picture or a clip";
                return Err(Complaint::new("unsupported", message, "give the picture or clip itself").into());
            }
        };
        let mut footage = Footage::new(source).map_err(unseen)?;
        let first = footage.at(0).map_err(unseen)?;
        let size = first.size();
        Ok(Self { footage, size, moves })
    }

    fn size(&self) -> (usize, usize) {
        self.size
    }
}

/// From pictures to what a chunk knows of them.
struct Looks<'a> {
    nets: Nets<'a>,
    /// Until it is not needed any more.
    clip: Option<Arc<ClipVisual>>,
    shape: ChunkShape,
    target: (usize, usize),
    stage: &'a Stagehand,
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

fn net(error: candle_core::Error) -> EngineError {
    EngineError::Failed(error.to_string())
}

fn unseen(error: PictureError) -> EngineError {
    match error {
        PictureError::Source(error) => error.into(),
        error => Complaint::new("bad_picture", error.to_string(), "send another picture or clip").into(),
    }
}

/// What was asked for cannot be sampled.
fn asked(error: SamplerError) -> Complaint {
    Complaint::new("bad_setting", error.to_string(), "correct it, or leave it out")
}

/// An error of the subject on its way through the sampler.
fn sampled(error: EngineError) -> SamplerError {
    SamplerError::Scene(Box::new(error))
}

fn failed(error: SamplerError) -> EngineError {
    match error {
        SamplerError::Stopped => EngineError::Stopped,
        SamplerError::Scene(error) => match error.downcast::<EngineError>() {
            Ok(error) => *error,
            Err(error) => EngineError::Failed(error.to_string()),
        },
        SamplerError::NotFinite { .. } | SamplerError::Dit(DitError::NotFinite { .. }) => {
            let hint = "`talkie models check infinitetalk` says which file is wrong";
            EngineError::Rejected(Complaint::new("wrong_weights", error.to_string(), hint))
        }
        error => EngineError::Failed(error.to_string()),
    }
}
