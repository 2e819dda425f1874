//! One session. Its maker looks at the picture, waits for its turn, and makes window after window: the first of the user's picture, each further one of a
//! frame near the end of the one before. What CLIP saw of the user's picture counts for all of them.

use std::collections::VecDeque;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use contract::{
    Complaint, EngineError, Fps, Frame, FrameSink, FrameSource, Layout, Report, Size, Stage, Stopped, Value,
    VideoFormat, Warning, Weights,
};
use pictures::{Picture, View};
use stagehand::{Clock, Cue, Stagehand};

use crate::model::{Model, Work};
use crate::picture::canvas::{self, Canvas};
use crate::picture::clip_input;
use crate::picture::consistency::{Likeness, Look};
use crate::sampler::noise::Noise;
use crate::sampler::schedule::Schedule;
use crate::sampler::{SamplerError, Sampling, Watcher, decode};
use crate::settings::Options;
use crate::windows::{Windows, faded};

/// Below it, against the first frame, a take has become another picture: structure of two unrelated ones is about 0.1.
const UNLIKE_STRUCTURE: f64 = 0.15;
/// In levels of 255: a cast that everybody sees.
const UNLIKE_COLOUR: f64 = 25.0;
/// Pixels of a latent place's side.
const STRIDE: usize = 8;

/// A checked act.
pub struct Take {
    pub picture: Box<dyn FrameSource>,
    pub frames: u64,
    pub fps: Fps,
    pub seed: u64,
    pub options: Options,
    pub warnings: Vec<Warning>,
    pub weights: Vec<Weights>,
}

/// Runs in the session's own thread, until the take is complete.
pub fn run(
    model: &Arc<Model>,
    take: Take,
    mut out: Box<dyn FrameSink + Send>,
) -> Result<Report, EngineError> {
    let model = Arc::clone(model);
    stagehand::perform("svd-make", out.as_mut(), move |stage| make(&model, take, stage))
}

fn make(model: &Model, take: Take, stage: &Stagehand) -> Result<Report, EngineError> {
    let Take { picture, frames, fps, seed, options, warnings, weights } = take;
    let mut clock = Clock::default();
    stage.tell(Cue::Stage(Stage::Preparing, 0, 0))?;
    // the inputs first: what cannot be used is told before anybody waits
    let natural = picture.format().natural;
    let picture = only(picture)?;
    let windows = Windows::new(frames, options.num_frames, options.overlap)?;
    let canvas = Canvas::new(picture.size(), options.size).map_err(|refused| as_sent(refused, natural))?;
    for warning in warnings.into_iter().chain(canvas.warnings()) {
        stage.tell(Cue::Warning(warning))?;
    }
    let part = canvas.part(picture.view());
    let (width, height) = canvas.size;

    let _turn = model.turn().take(stage)?;
    let _in_use = model.in_use();
    stage.check()?;
    stage.tell(Cue::Stage(Stage::Loading, 0, 0))?;
    let work = Work::of(canvas.size, &options);
    model.make_room(&work)?;
    let _kept =
        model.device().is_cpu().then(|| layers::keep_free(model.bytes(&work))).transpose().map_err(net)?;
    let encoder = clock.time(Stage::Loading, || model.image_encoder())?;
    stage.check()?;
    let embedding = clock.time(Stage::Conditioning, || {
        let seen = clip_input::resized(part, encoder.vision().image_size())?;
        let pixels = clip_input::normalised(&seen, model.preprocessor())?;
        let pixels = pixels.to_device(model.device())?.to_dtype(model.dtype())?;
        encoder.forward(&pixels)?.to_dtype(DType::F32)
    });
    let embedding = embedding.map_err(net)?;
    drop(encoder);
    model.has_seen(&work)?;
    let vae = clock.time(Stage::Loading, || model.vae_encoder())?;
    stage.check()?;
    let unet = clock.time(Stage::Loading, || model.unet())?;
    stage.check()?;
    let decoder = clock.time(Stage::Loading, || model.decoder())?;
    stage.check()?;

    let sampling = Sampling {
        schedule: Schedule::new(model.sigmas(), options.num_inference_steps),
        guidance: (options.min_guidance_scale, options.max_guidance_scale),
        frames: options.num_frames,
        fps: fps.as_f64(),
        motion_bucket_id: options.motion_bucket_id as f64,
        noise_aug_strength: options.noise_aug_strength,
    };
    let size = Size::new(width as u32, height as u32);
    stage.tell(Cue::Begin(VideoFormat { size, layout: Layout::Rgb24, fps }))?;
    let mut noise = Noise::seeded(seed);
    let mut draw = |shape: [usize; 4]| {
        // torch draws channels first
        let [n, h, w, c] = shape;
        let values = noise.normal(n * h * w * c);
        Tensor::from_vec(values, (n, c, h, w), model.device())?.permute((0, 2, 3, 1))?.contiguous()
    };
    let mut film = Film::new(stage, size, options.overlap);
    let mut shown = canvas::painted(part, canvas.size).map_err(net)?;
    for window in 0..windows.count() {
        let known = clock.time(Stage::Conditioning, || {
            let noise = draw([1, height, width, 3])?;
            sampling.condition(&vae, (&shown.to_device(model.device())?, &noise), &embedding)
        });
        let known = known.map_err(failed)?;
        stage.check()?;
        let start = draw([options.num_frames, height / STRIDE, width / STRIDE, 4]).map_err(net)?;
        let mut steps = Steps { stage, window, windows: windows.count(), steps: sampling.schedule.steps() };
        steps.tell(0)?;
        let latents = clock
            .time(Stage::Denoising, || sampling.sample(&unet, &known, &start, &mut steps))
            .map_err(failed)?;
        let out = windows.out(window);
        let last = window + 1 == windows.count();
        let wanted = if last { out.end } else { options.num_frames };
        let mut at = 0;
        clock
            .time(Stage::Decoding, || {
                decode(
                    &decoder,
                    (&latents, model.dtype(), options.decode_chunk_size),
                    &|| stage.is_gone(),
                    |chunk| {
                        stage
                            .tell(Cue::Stage(Stage::Decoding, at as u64, wanted as u64))
                            .map_err(Unmade::from)?;
                        for frame in
                            0..chunk.dim(0).map_err(SamplerError::from)?.min(wanted.saturating_sub(at))
                        {
                            let bytes = canvas::to_bytes(&chunk.get(frame).map_err(SamplerError::from)?);
                            film.add(bytes.map_err(SamplerError::from)?, at, out.contains(&at))?;
                            at += 1;
                        }
                        if at < wanted { Ok(()) } else { Err(Unmade::Complete) }
                    },
                )
            })
            .or_else(|end| if let Unmade::Complete = end { Ok(()) } else { Err(end) })?;
        film.looked();
        if let Some(next) = film.next() {
            shown = canvas::to_tensor(next).map_err(net)?;
        }
    }
    let likeness = film.likeness.unwrap_or(Likeness { structure: 1.0, colour: 0.0 });
    if let Some(warning) = unlike(likeness) {
        stage.tell(Cue::Warning(warning))?;
    }
    let mut settings = options.report();
    settings
        .extend([("width", width), ("height", height)].map(|(name, v)| (name.into(), Value::Int(v as i64))));
    let measured = [
        ("windows", Value::Int(windows.count() as i64)),
        ("window_frames", Value::Int(options.num_frames as i64)),
        ("overlap_frames", Value::Int(options.overlap as i64)),
        ("structure", Value::Float(rounded(likeness.structure))),
        ("colour_difference", Value::Float(rounded(likeness.colour))),
    ];
    let measured = measured.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Report { frames, face: None, settings, measured, weights, timings: clock.into_timings() })
}

/// The one frame of a still.
fn only(mut source: Box<dyn FrameSource>) -> Result<Picture<3>, EngineError> {
    let frame = source.next()?.ok_or_else(|| {
        EngineError::from(Complaint::new("bad_picture", "the picture has no frame", "send another picture"))
    })?;
    let Size { width, height } = frame.size();
    let picture = Picture::new(frame.into_data(), (width as usize, height as usize));
    picture.map_err(|error| Complaint::new("bad_picture", error.to_string(), "send another picture").into())
}

/// A picture that was scaled down while it was decoded is not the one that the user knows.
fn as_sent(refused: Complaint, natural: Size) -> Complaint {
    let message = format!("{} (it was sent as {natural})", refused.message);
    Complaint { message, ..refused }
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn unlike(Likeness { structure, colour }: Likeness) -> Option<Warning> {
    (structure < UNLIKE_STRUCTURE || colour > UNLIKE_COLOUR).then(|| {
        let message = format!(
            "the take has gone far from its first frame: structure {structure:.2} of 1, colours {colour:.0} of 255 off; a shorter take, less motion_bucket_id or another seed may keep closer"
        );
        Warning::new("drifted", message)
    })
}

/// Frames on their way out: those that a window has in common with the next wait for it.
struct Film<'a> {
    stage: &'a Stagehand,
    size: Size,
    overlap: usize,
    /// Of the window before, those that this one has too.
    old: VecDeque<Vec<u8>>,
    /// Of this window, those that the next one will have too.
    kept: VecDeque<Vec<u8>>,
    first: Option<Look>,
    last: Option<Vec<u8>>,
    /// The least of all windows' ends.
    likeness: Option<Likeness>,
}

impl<'a> Film<'a> {
    fn new(stage: &'a Stagehand, size: Size, overlap: usize) -> Self {
        let (old, kept) = (VecDeque::new(), VecDeque::new());
        Self { stage, size, overlap, old, kept, first: None, last: None, likeness: None }
    }

    /// Frame `at` of a window; `out`: it is not one that waits for the next window.
    fn add(&mut self, frame: Vec<u8>, at: usize, out: bool) -> Result<(), Unmade> {
        let frame = match self.old.pop_front() {
            Some(old) => faded(&old, &frame, (at, self.overlap)),
            None => frame,
        };
        if !out {
            self.kept.push_back(frame);
            return Ok(());
        }
        if self.first.is_none() {
            self.first = Some(self.look(&frame));
        }
        let shown = Frame::new(self.size, Layout::Rgb24, frame.clone());
        self.last = Some(frame);
        self.stage.tell(Cue::Frame(shown.expect("the decoder makes frames of the size it was asked for")))?;
        Ok(())
    }

    fn look(&self, frame: &[u8]) -> Look {
        Look::at(frame, (self.size.width as usize, self.size.height as usize))
    }

    /// A window has ended: how far has it gone?
    fn looked(&mut self) {
        self.old = std::mem::take(&mut self.kept);
        if let (Some(first), Some(last)) = (&self.first, &self.last) {
            let now = first.likeness(&self.look(last));
            self.likeness = Some(self.likeness.map_or(now, |least| Likeness {
                structure: least.structure.min(now.structure),
                colour: least.colour.max(now.colour),
            }));
        }
    }

    /// With what the next window begins.
    fn next(&self) -> Option<View<'_, 3>> {
        let size = (self.size.width as usize, self.size.height as usize);
        self.old.front().and_then(|frame| View::new(frame, size).ok())
    }
}

/// Why a window's frames end before the decoder's do.
enum Unmade {
    /// The take needs no more of them.
    Complete,
    Failed(SamplerError),
}

impl From<SamplerError> for Unmade {
    fn from(error: SamplerError) -> Self {
        Unmade::Failed(error)
    }
}

impl From<Stopped> for Unmade {
    fn from(_: Stopped) -> Self {
        Unmade::Failed(SamplerError::Stopped)
    }
}

impl From<Unmade> for EngineError {
    fn from(end: Unmade) -> Self {
        match end {
            Unmade::Complete => EngineError::Failed("a complete window was taken for a failure".into()),
            Unmade::Failed(error) => failed(error),
        }
    }
}

/// The sampler's watcher.
struct Steps<'a> {
    stage: &'a Stagehand,
    window: u64,
    windows: u64,
    steps: usize,
}

impl Steps<'_> {
    fn tell(&self, done: usize) -> Result<(), Stopped> {
        let steps = self.steps as u64;
        let done = self.window * steps + done as u64;
        self.stage.tell(Cue::Stage(Stage::Denoising, done, self.windows * steps))
    }
}

impl Watcher for Steps<'_> {
    fn stopped(&self) -> bool {
        self.stage.is_gone()
    }

    fn stepped(&mut self, step: usize, _: &Tensor) -> Result<(), Stopped> {
        self.tell(step + 1)
    }
}

fn net(error: candle_core::Error) -> EngineError {
    EngineError::Failed(error.to_string())
}

fn failed(error: SamplerError) -> EngineError {
    match error {
        SamplerError::Stopped => EngineError::Stopped,
        SamplerError::NotFinite { .. } => {
            let hint = "`talkie models check svd` says which file is wrong";
            EngineError::Rejected(Complaint::new("wrong_weights", error.to_string(), hint))
        }
        SamplerError::Net(error) => net(error),
    }
}
