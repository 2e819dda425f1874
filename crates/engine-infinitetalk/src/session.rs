//! One session. Its maker waits for its turn, hears the voices, looks at the subject, reads the prompt, and makes chunk after chunk.

mod fault;
mod inputs;
mod shoot;

use std::sync::Arc;

use contract::{
    EngineError, Fps, FrameSink, Layout, Length, Report, Size, Stage, Subject, Timing, Turns, VideoFormat,
    VoiceSource, Weights,
};
use stagehand::{Clock, Cue, Stagehand};

use crate::audio;
use crate::model::{Encoder, Model};
use crate::plan::Work;
use crate::sampler::plan::ChunkShape;
use crate::sampler::{Anchor, Nets};
use crate::settings::Options;
use fault::asked;
use inputs::{Seen, chunks, hear, listen, prompt, read, regions};
use shoot::{Looks, Resumed, Shoot};

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
