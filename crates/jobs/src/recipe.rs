//! The one story of a job: inputs are opened and checked, the engine makes frames of them, the encoder makes a take of
//! the frames, and the take appears under its name only when it is complete.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use contract::{Act, Engine, Stage, Stop};
use media::{Content, Limits, Mp4Options, Mp4Sink, Tools, Tts};
use store::{Draft, Existing};

use crate::crew::LiveForm;
use crate::live::{self, Packets};
use crate::preview::Previews;
use crate::reel::{Reel, ReelPlace};
use crate::resolve::{self, Locals};
use crate::take::{self, PhaseTiming};
use crate::{Event, Fault, Take, TakeSpec, Watcher, inputs, pieces, reel};

/// What every job on this machine works with.
pub struct Studio {
    pub tools: Tools,
    pub limits: Limits,
    pub tts: Tts,
}

/// Where a take is written.
pub enum Target {
    /// A complete file under this name, or nothing. `reel`: where the pieces of a long take are kept until it is complete, if the engine
    /// can go on behind a piece.
    File { path: PathBuf, existing: Existing, reel: Option<ReelPlace> },
    /// A fragmented MP4, written as it is made.
    Stream(Box<dyn Write + Send>),
    /// Packets of a live session.
    Live(LiveForm, Packets),
}

/// A take of files of this machine.
pub fn make(
    studio: &Studio,
    engine: &dyn Engine,
    (spec, target): (TakeSpec, Target),
    watcher: &Arc<dyn Watcher>,
    stop: &Stop,
) -> Result<Take, Fault> {
    inputs::keep_apart(&spec, &target)?;
    let locals = resolve::named(&spec)?;
    let reel = match &target {
        Target::File { reel, .. } => reel.clone(),
        Target::Stream(_) | Target::Live(..) => None,
    };
    let take = film(studio, engine, (spec, locals, target), watcher, stop)?;
    reel.iter().for_each(reel::remove);
    Ok(take)
}

/// A take of inputs that are here. Its reel stays: whoever asked removes it when the take is safe.
pub fn film(
    studio: &Studio,
    engine: &dyn Engine,
    (spec, locals, target): (TakeSpec, Locals, Target),
    watcher: &Arc<dyn Watcher>,
    stop: &Stop,
) -> Result<Take, Fault> {
    let begun = Instant::now();
    let card = engine.card();
    let (draft, place) = match &target {
        Target::File { path, existing, reel } => (Some(Draft::create(path, *existing)?), reel.clone()),
        Target::Stream(_) | Target::Live(..) => (None, None),
    };
    let place = place.filter(|_| card.resumes);
    let reel = place.as_ref().map(|place| {
        let name = reel::name_of(&spec, &locals, card, studio, stop)?;
        Reel::open(place, name, spec.seed).map_err(Fault::from)
    });
    let mut reel = reel.transpose()?;
    let said = reel.as_ref().and_then(Reel::speech);
    let is_said = said.is_some();
    let mut inputs = inputs::open(studio, card, (&spec, locals, said), stop)?;
    if let (Some(reel), Some(speech), false) = (&mut reel, &inputs.speech, is_said) {
        reel.keep_speech(speech)?;
    }
    let checkpoint = reel.as_ref().and_then(|reel| reel.state().map(<[u8]>::to_vec));
    if let Some(reel) = reel.as_ref().filter(|_| checkpoint.is_some()) {
        inputs.warnings.push(reel.remark());
    }
    for warning in &inputs.warnings {
        watcher.event(&Event::Warning(warning.clone().into()));
    }
    let opened = Instant::now();

    let comment =
        format!("made by talkie {}, engine {}, seed {}", env!("CARGO_PKG_VERSION"), card.name, spec.seed);
    let finish = Finish { sound: inputs.soundtrack, crf: spec.crf, content: inputs.content, comment };
    let is_encoded = !matches!(target, Target::Live(LiveForm::Jpeg { .. }, _));
    let write = match (reel, draft.as_ref()) {
        (Some(reel), Some(draft)) => {
            pieces::write(studio, (reel, draft.path()), finish, Arc::clone(watcher), stop)
        }
        (_, draft) => write(studio, (target, draft), finish, Arc::clone(watcher), stop),
    };
    let (sink, writer) = take::open(write, watcher, stop);
    let act = Act {
        subject: inputs.subject,
        voices: inputs.voices,
        turns: inputs.turns,
        prompt: spec.prompt,
        length: inputs.length,
        fps: inputs.fps,
        seed: spec.seed,
        settings: spec.settings,
        landmarks: spec.landmarks,
        checkpoint,
    };
    let report = engine.start(act, Box::new(sink)).and_then(|session| session.wait());
    let rendered = Instant::now();
    watcher.event(&Event::Stage { stage: Stage::Finishing, done: 0, of: 0, eta: None });
    // an encoder that broke stops the engine: then its own error is the true one
    let (report, seen) = match (report, writer.finish()) {
        (Ok(report), Ok(seen)) => (report, seen),
        (Err(contract::EngineError::Stopped), Err(fault)) => return Err(fault),
        (Err(error), _) => return Err(error.into()),
        (Ok(_), Err(fault)) => return Err(fault),
    };
    let format = seen.format.ok_or_else(|| Fault::failed("engine_failed", "the engine put out no frame"))?;
    if let Some(draft) = draft {
        draft.commit()?;
    }
    let done = Instant::now();

    let timing = |phase: &str, elapsed| PhaseTiming { phase: phase.to_owned(), elapsed };
    let mut timings = vec![timing("opening", opened - begun)];
    if let Some(speech) = &inputs.speech {
        timings.push(timing("speaking", speech.elapsed()));
    }
    timings.extend(report.timings.iter().map(|t| timing(t.stage.name(), t.elapsed)));
    timings.push(timing("finishing", done - rendered));
    timings.push(timing("total", done - begun));
    Ok(Take {
        duration_s: format.fps.seconds_at(report.frames),
        frames: report.frames,
        fps: format.fps,
        size: if is_encoded { media::encoded(format.size) } else { format.size },
        engine: card.name.to_owned(),
        weights: report.weights,
        seed: spec.seed,
        face: report.face,
        settings: report.settings,
        measured: report.measured,
        speech: inputs
            .speech
            .as_ref()
            .map(|spoken| (spoken.backend().name().to_owned(), spoken.voice().to_owned())),
        warnings: inputs.warnings.into_iter().chain(seen.warnings).map(Into::into).collect(),
        timings,
        encoder: studio.tools.encoder()?.name().to_owned(),
        first_frame_s: seen.first_frame.map(|at| (at - opened).as_secs_f64()),
    })
}

/// How the take is encoded.
pub struct Finish {
    pub sound: Option<media::Soundtrack>,
    pub crf: u8,
    pub content: Content,
    pub comment: String,
}

/// What the writer's thread does with the frames.
fn write(
    studio: &Studio,
    (target, draft): (Target, Option<&Draft>),
    finish: Finish,
    watcher: Arc<dyn Watcher>,
    stop: &Stop,
) -> take::Write {
    let (tools, limits, stop) = (studio.tools.clone(), studio.limits.clone(), stop.clone());
    let path = draft.map(|draft| draft.path().to_owned());
    Box::new(move |format, frames| {
        let Finish { sound, crf, content, comment } = finish;
        let options = Mp4Options { sound, crf, content, comment: Some(comment), ..Mp4Options::new(format) };
        let mut mp4 = match target {
            Target::Live(LiveForm::Jpeg { pace, quality }, out) => {
                return live::jpegs(&out, (pace, quality), format, frames);
            }
            Target::Live(LiveForm::Mp4, out) => {
                Mp4Sink::stream(&tools, Box::new(out), options, &limits, &stop)?
            }
            Target::Stream(out) => Mp4Sink::stream(&tools, out, options, &limits, &stop)?,
            Target::File { path: name, .. } => {
                Mp4Sink::file(&tools, &path.unwrap_or(name), options, &limits, &stop)?
            }
        };
        let mut previews = Previews::new(watcher, 0);
        while let Some(frame) = frames.next()? {
            previews.see(&frame);
            mp4.frame(&frame)?;
        }
        mp4.finish()
    })
}
