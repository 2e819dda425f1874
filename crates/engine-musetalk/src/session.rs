//! One session in two threads. The driver loads, prepares the person, hears the voice and asks the device for faces, some frames ahead. The
//! painter, who owns the sink, waits for each face, lays it over its frame and puts the frame out; meanwhile it asks the sink whether
//! anybody still wants it. Batches, preparation, painting and encoding thus overlap, and nothing grows: the driver is as far ahead as the channel
//! between them is long.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use candle_core::Tensor;
use contract::{
    Complaint, EngineError, Fps, Frame, FrameSink, FrameSource, Layout, Length, Pcm, Report, Settings, Size,
    Stage, Stopped, Subject, Timing, VideoFormat, VoiceSource, Warning, Weights,
};

use crate::audio::RATE_HZ;
use crate::audio::ear::{Ear, Hearing, Plan};
use crate::audio::live::Pace;
use crate::avatar;
use crate::blend::Paster;
use crate::checkpoints::Nets;
use crate::device::{Coming, Device};
use crate::face_crop::SIDE;
use crate::mask::MaskRule;
use crate::material::{Maker, Material};
use crate::person::{Filmed, Person, Prepared, Shot};
use crate::roll::{Roll, Turning};
use crate::settings::{Options, Profile};
use crate::sight;
use crate::steady::Steadying;
use pictures::{View, ViewMut};

/// How often the sink is asked while nothing is ready.
const PATIENCE: Duration = Duration::from_millis(100);
/// Bytes of frames that wait for the painter.
const AHEAD: u64 = 512 << 20;
/// Half of the silence whose middle is what a closed mouth hears.
const SILENCE: usize = RATE_HZ as usize;

/// What all sessions of an engine share.
#[derive(Clone)]
pub struct Shared {
    pub nets: Arc<Nets>,
    pub device: Device,
    pub cache: Arc<avatar::Cache>,
}

/// A checked act.
pub struct Take {
    pub subject: Subject,
    pub voice: Box<dyn VoiceSource>,
    pub length: Length,
    pub fps: Fps,
    pub settings: Settings,
    /// What its user sent of them.
    pub sent: Settings,
    /// Frames that are made at a time, at most.
    pub batch: usize,
}

/// From the driver to the painter, in order.
enum Cue {
    Stage(Stage),
    Begin(VideoFormat),
    Warning(Warning),
    Frame(Box<Due>),
    Done(Box<Summary>),
}

/// A frame, and the face that is to be laid over it.
struct Due {
    frame: Arc<Frame>,
    face: Option<(Arc<Material>, Coming)>,
    /// Frames of the take, as far as that is known.
    of: Option<u64>,
}

struct Summary {
    settings: Vec<(String, contract::Value)>,
    weights: Vec<Weights>,
    timings: Vec<Timing>,
}

/// Runs in the session's own thread, until the take is complete.
pub fn run(shared: &Shared, take: Take, mut out: Box<dyn FrameSink + Send>) -> Result<Report, EngineError> {
    let (subject, card) = known(take.subject, &shared.nets)?;
    let size = match (&subject, &card) {
        (Subject::Avatar(_), Some(card)) => Size::new(card.width, card.height),
        (Subject::Picture(source) | Subject::Clip(source), _) => source.format().size,
        (Subject::Avatar(_), None) => unreachable!("an avatar has a card, or is refused"),
    };
    let (cues, coming) = sync_channel(ahead(take.batch, size));
    let take = Take { subject, ..take };
    let shared = shared.clone();
    std::thread::Builder::new()
        .name("musetalk-drive".into())
        .spawn(move || {
            if let Err(error) = drive(&shared, (take, card), &cues) {
                // a painter that has left needs no reason
                let _ = cues.send(Err(error));
            }
        })
        .map_err(|error| EngineError::Failed(format!("no thread could be started: {error}")))?;
    paint(&coming, out.as_mut())
}

/// Frames that wait for the painter: two batches, one that is being made and one that waits, as far as memory allows.
fn ahead(batch: usize, size: Size) -> usize {
    // an avatar's card may claim any size; that no frame has it is told when one comes
    let frame = u64::from(size.width).saturating_mul(3).saturating_mul(u64::from(size.height)).max(1);
    (2 * batch).min((AHEAD / frame) as usize).max(2)
}

type Cues = SyncSender<Result<Cue, EngineError>>;

fn tell(cues: &Cues, cue: Cue) -> Result<(), EngineError> {
    cues.send(Ok(cue)).map_err(|_| EngineError::Stopped)
}

fn drive(
    shared: &Shared,
    (take, card): (Take, Option<avatar::Card>),
    cues: &Cues,
) -> Result<(), EngineError> {
    let nets = &shared.nets;
    let _in_use = nets.in_use();
    let mut subject = take.subject;
    let settings = match &card {
        Some(card) => card.over(take.settings, &take.sent),
        None => take.settings,
    };
    let options = Options::parse(&settings, nets.files().usual_version())?;
    if let Some(card) = &card {
        card.check(&options, take.sent.sent.iter())?;
    }
    let prepared = card.is_some();
    let mut clock = Clock::default();
    tell(cues, Cue::Stage(Stage::Loading))?;
    let generator = clock.time(Stage::Loading, || nets.generator(options.version))?;
    let plan = plan(&options, take.fps);
    let silent = match options.profile == Profile::Default && options.silence {
        true => Some(clock.time(Stage::Loading, || silence(nets, &plan))?),
        false => None,
    };
    tell(cues, Cue::Stage(Stage::Preparing))?;
    let (frames, own) = opened(&mut subject, take.fps)?;
    let mut person = person(shared, (subject, frames), (card, &options))?;
    let mut ear = Ear::open(nets.whisper()?, take.voice, &plan)?;
    let mut walk = Walk { per_frame: own.as_f64() / take.fps.as_f64(), taken: 0, shot: None };
    let mut begun = false;
    for at in 0u64.. {
        if matches!(take.length, Length::Frames(frames) if at >= frames) {
            break;
        }
        let heard = clock.time(Stage::Conditioning, || ear.hear())?;
        let (context, speech) = match (heard, take.length) {
            (Some(heard), _) => (Some(heard.context), heard.speech),
            (None, Length::Voice) => break,
            (None, Length::Frames(_)) => (None, 0.0),
        };
        let context = clock.time(Stage::Conditioning, || mixed(context, silent.as_ref(), speech))?;
        let shot = clock.time(Stage::Preparing, || walk.to(at, person.as_mut()))?;
        if !begun {
            begun = true;
            let size = shot.frame.size();
            tell(cues, Cue::Begin(VideoFormat { size, layout: Layout::Rgb24, fps: take.fps }))?;
        }
        if let Some(warning) = person.warning() {
            tell(cues, Cue::Warning(warning))?;
        }
        let (batch, generator) = (options.batch_size, &generator);
        let ask = |material: &Arc<Material>, context| {
            (Arc::clone(material), shared.device.ask(generator, &material.latents, context, batch))
        };
        let face = shot.material.as_ref().zip(context).map(|(material, context)| ask(material, context));
        let of = match take.length {
            Length::Frames(frames) => Some(frames),
            Length::Voice => ear.expected_frames(),
        };
        tell(cues, Cue::Frame(Box::new(Due { frame: shot.frame, face, of })))?;
    }
    if let Some(warning) = person.remark() {
        tell(cues, Cue::Warning(warning))?;
    }
    let weights = match prepared {
        true => nets.files().of_faces(options.version)?,
        false => nets.files().used(&options)?,
    };
    let summary = Summary { settings: options.report(), weights, timings: clock.timings };
    tell(cues, Cue::Done(Box::new(summary)))
}

/// What is known of the subject before anything is loaded.
fn known(mut subject: Subject, nets: &Nets) -> Result<(Subject, Option<avatar::Card>), EngineError> {
    let card = match &mut subject {
        Subject::Avatar(source) => Some(avatar::open(source.as_mut(), &nets.files().vae.card.sha256)?),
        Subject::Picture(_) | Subject::Clip(_) => None,
    };
    Ok((subject, card))
}

/// The subject's frames and their own frame rate.
fn opened(subject: &mut Subject, fps: Fps) -> Result<(Option<Box<dyn FrameSource>>, Fps), EngineError> {
    Ok(match subject {
        Subject::Avatar(source) => {
            let frames = source.frames()?;
            let own = frames.format().fps.unwrap_or(fps);
            (Some(frames), own)
        }
        Subject::Clip(source) => (None, source.format().fps.unwrap_or(fps)),
        Subject::Picture(_) => (None, fps),
    })
}

fn person(
    shared: &Shared,
    (subject, frames): (Subject, Option<Box<dyn FrameSource>>),
    (card, options): (Option<avatar::Card>, &Options),
) -> Result<Box<dyn Person>, EngineError> {
    let turning = if options.profile == Profile::Default { Turning::Once } else { Turning::Twice };
    match (subject, frames, card) {
        (Subject::Avatar(source), Some(frames), Some(card)) => {
            let roll = Roll::new(frames, turning, Some(card.frames));
            Ok(Box::new(Prepared::new(roll, (source, card), Arc::clone(&shared.cache))))
        }
        (Subject::Picture(source) | Subject::Clip(source), _, _) => {
            let rule = match options.profile {
                Profile::Classic => MaskRule::classic(),
                Profile::Default | Profile::Strict => MaskRule::offline(options.parsing),
            };
            let maker = maker(&shared.nets, options, rule)?;
            Ok(Box::new(Filmed::new(Roll::new(source, turning, None), maker, steadying(options))))
        }
        (Subject::Avatar(_), _, _) => Err(EngineError::Failed("an avatar was not opened".into())),
    }
}

pub fn steadying(options: &Options) -> Steadying {
    if options.profile == Profile::Default { Steadying::Smooth } else { Steadying::None }
}

pub fn maker(nets: &Nets, options: &Options, rule: MaskRule) -> Result<Maker, EngineError> {
    let sight = sight::open(nets, options)?;
    let clipped = options.profile == Profile::Default;
    Maker::new(sight, (nets.encoder()?, nets.device().clone()), (rule, clipped))
}

fn plan(options: &Options, fps: Fps) -> Plan {
    Plan { hearing: options.profile.hearing(), fps, padding: options.padding, pace: Pace::default() }
}

/// What a mouth hears that is shut: the middle of two seconds of silence.
fn silence(nets: &Nets, plan: &Plan) -> Result<Tensor, EngineError> {
    let pcm = Pcm { rate_hz: RATE_HZ, samples: vec![0.0; 2 * SILENCE] };
    let plan = Plan { hearing: Hearing::Default, ..*plan };
    let mut ear = Ear::open(nets.whisper()?, Box::new(std::io::Cursor::new(pcm)), &plan)?;
    let middle = plan.fps.frames_in(SILENCE as u64, RATE_HZ);
    for _ in 0..middle {
        ear.hear()?;
    }
    let heard = ear.hear()?;
    Ok(heard.ok_or_else(|| EngineError::Failed("silence could not be heard".into()))?.context)
}

/// The voice's context where there is voice, silence's where there is none, and both in between: the mouth closes over some frames.
fn mixed(
    context: Option<Tensor>,
    silent: Option<&Tensor>,
    speech: f32,
) -> Result<Option<Tensor>, EngineError> {
    let mix = |context: Tensor, silent: &Tensor| {
        (context * f64::from(speech))? + (silent * f64::from(1.0 - speech))?
    };
    Ok(match (context, silent) {
        (Some(context), Some(silent)) if speech < 1.0 => Some(
            mix(context, silent).map_err(|error| EngineError::Failed(format!("hearing silence: {error}")))?,
        ),
        (None, Some(silent)) => Some(silent.clone()),
        (context, _) => context,
    })
}

/// From the take's frame rate to the person's own.
struct Walk {
    per_frame: f64,
    taken: u64,
    shot: Option<Shot>,
}

impl Walk {
    fn to(&mut self, at: u64, person: &mut dyn Person) -> Result<Shot, EngineError> {
        let due = (at as f64 * self.per_frame + 1e-6) as u64;
        loop {
            if let Some(shot) = self.shot.as_ref().filter(|_| self.taken > due) {
                return Ok(Shot { frame: Arc::clone(&shot.frame), material: shot.material.clone() });
            }
            self.shot = Some(person.next()?);
            self.taken += 1;
        }
    }
}

/// Time spent, by stage.
#[derive(Default)]
struct Clock {
    timings: Vec<Timing>,
}

impl Clock {
    fn time<T>(&mut self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.add(stage, begun.elapsed());
        done
    }

    fn add(&mut self, stage: Stage, elapsed: Duration) {
        match self.timings.iter_mut().find(|timing| timing.stage == stage) {
            Some(timing) => timing.elapsed += elapsed,
            None => self.timings.push(Timing { stage, elapsed }),
        }
    }
}

fn paint(cues: &Receiver<Result<Cue, EngineError>>, out: &mut dyn FrameSink) -> Result<Report, EngineError> {
    let mut paster = Paster::default();
    let mut clock = Clock::default();
    let mut now = (Stage::Loading, 0, 0);
    let mut size = None;
    loop {
        let waited = Instant::now();
        let cue = match cues.recv_timeout(PATIENCE) {
            Ok(cue) => cue?,
            Err(RecvTimeoutError::Timeout) => {
                out.stage(now.0, now.1, now.2)?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(EngineError::Failed(
                    "a thread of the session ended without a word (a panic)".into(),
                ));
            }
        };
        match cue {
            Cue::Stage(stage) => {
                now = (stage, 0, 0);
                out.stage(stage, 0, 0)?;
            }
            Cue::Begin(format) => {
                size = Some(format.size);
                out.begin(format)?;
            }
            Cue::Warning(warning) => out.warn(warning)?,
            Cue::Frame(due) => {
                let Due { frame, face, of } = *due;
                let frame = match face {
                    None => frame,
                    Some((material, coming)) => {
                        let face = awaited(coming, &now, out)?;
                        Arc::new(painted(&mut paster, frame, (&face, &material))?)
                    }
                };
                let frame = Arc::try_unwrap(frame).unwrap_or_else(|shared| Frame::clone(&shared));
                let frame = of_size(frame, size)?;
                clock.add(Stage::Rendering, waited.elapsed());
                out.frame(frame)?;
                let done = now.1 * u64::from(now.0 == Stage::Rendering) + 1;
                now = (Stage::Rendering, done, of.map_or(0, |of| of.max(done)));
                out.stage(now.0, now.1, now.2)?;
            }
            Cue::Done(summary) => {
                let Summary { settings, weights, mut timings } = *summary;
                timings.append(&mut clock.timings);
                let (frames, measured) = (now.1, Vec::new());
                return Ok(Report { frames, face: None, settings, measured, weights, timings });
            }
        }
    }
}

/// A clip does not change its size on the way.
fn of_size(frame: Frame, size: Option<Size>) -> Result<Frame, EngineError> {
    match size {
        Some(size) if size != frame.size() => {
            let message = format!("the clip changes its size from {size} to {}", frame.size());
            Err(Complaint::new("clip_damaged", message, "send another clip").into())
        }
        _ => Ok(frame),
    }
}

fn awaited(
    mut coming: Coming,
    now: &(Stage, u64, u64),
    out: &mut dyn FrameSink,
) -> Result<Vec<u8>, EngineError> {
    loop {
        match coming.within(PATIENCE) {
            Some(made) => return made,
            None => out.stage(now.0, now.1, now.2).map_err(|Stopped| EngineError::Stopped)?,
        }
    }
}

fn painted(
    paster: &mut Paster,
    frame: Arc<Frame>,
    (face, material): (&[u8], &Material),
) -> Result<Frame, EngineError> {
    let failed = |error: String| EngineError::Failed(format!("laying the face over its frame: {error}"));
    let size = frame.size();
    let mut bytes = Arc::try_unwrap(frame).map_or_else(|shared| shared.data().to_vec(), Frame::into_data);
    let face = View::new(face, (SIDE, SIDE)).map_err(|error| failed(error.to_string()))?;
    let sides = (size.width as usize, size.height as usize);
    let mut whole = ViewMut::new(&mut bytes, sides).map_err(|error| failed(error.to_string()))?;
    paster.paste(&mut whole, face, material.place, &material.mask);
    Frame::new(size, Layout::Rgb24, bytes).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_frames_wait_in_smaller_numbers() {
        assert_eq!(ahead(8, Size::new(1280, 720)), 16);
        let large = Size::new(3840, 2160);
        assert_eq!(ahead(64, large) as u64, AHEAD / (3 * 3840 * 2160));
        assert!((ahead(64, large) * Layout::Rgb24.bytes(large)) as u64 <= AHEAD);
        assert_eq!(ahead(1, Size::new(8192, 8192)), 2);
        assert_eq!(ahead(64, Size::new(u32::MAX, u32::MAX)), 2);
        assert_eq!(ahead(8, Size::new(0, 0)), 16);
    }
}
