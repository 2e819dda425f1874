//! One session. Its maker sends the picture, waits for the video and decodes it. If nobody wants it any more, one `Stop` ends whatever the maker is at: a
//! wait, a socket, a decoder.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use contract::{
    Complaint, EngineError, Fps, FrameSink, FrameSource, Layout, Report, Size, Stage, Stop, Timing, Value,
    VideoFormat, Warning, Weights,
};
use media::{FramesSpec, Jpeg, MediaError, Scratch, Tools};
use stagehand::{Cue, Stagehand};
use tokio::sync::Notify;

use crate::call::{self, Video};
use crate::forms::Order;
use crate::remote::Remote;
use crate::settings::Wish;

/// Of the picture that is sent: nobody sees the difference.
const JPEG_QUALITY: u8 = 95;
/// Frames that a whole video may lack of what its header tells, or a fiftieth, where that is more: rates are rounded.
const SLACK: u64 = 2;

/// A checked act.
pub struct Take {
    pub picture: Box<dyn FrameSource>,
    pub wish: Wish,
}

/// What the maker says in the end.
struct Summary {
    frames: u64,
    picture: Size,
    timings: Vec<Timing>,
}

/// Runs in the session's own thread, until the take is complete.
pub fn run(
    remote: &Arc<Remote>,
    take: Take,
    mut out: Box<dyn FrameSink + Send>,
) -> Result<Report, EngineError> {
    let (wish, maker) = (take.wish.clone(), Arc::clone(remote));
    // stopped, it leaves at once, and removes what it has downloaded
    let made = stagehand::perform_to_the_end("huggingface-make", out.as_mut(), move |stage| {
        make(&maker, take, stage, stage.stop())
    });
    let Summary { frames, picture, timings } = made?;
    let mut settings = wish.report(picture);
    settings.insert(0, ("form".to_owned(), Value::Text(remote.form.name().to_owned())));
    // which bytes a provider computes with is not known here
    let weights = vec![Weights { name: remote.weights(), sha256: String::new(), embedded: false }];
    Ok(Report { frames, face: None, settings, measured: Vec::new(), weights, timings })
}

fn make(remote: &Remote, take: Take, stage: &Stagehand, stop: &Stop) -> Result<Summary, EngineError> {
    let begun = Instant::now();
    stage.tell(Cue::Stage(Stage::Preparing, 0, 1))?;
    let tools = Tools::find(&remote.means.tools)?;
    let (picture, size) = jpeg(take.picture)?;
    let scratch = Scratch::new().map_err(media)?;
    stage.tell(Cue::Stage(Stage::Preparing, 1, 1))?;
    let prepared = Instant::now();
    let order = Order { picture, parameters: take.wish.parameters(size) };
    let video = until(stop, |stopped| call::video(remote, order, scratch.path(), stage, stopped))?;
    let came = Instant::now();
    let frames = show(remote, (&tools, &video), &take.wish, (stage, stop))?;
    let timing = |stage, elapsed| Timing { stage, elapsed };
    let timings = vec![
        timing(Stage::Preparing, prepared - begun),
        timing(Stage::Denoising, came - prepared),
        timing(Stage::Decoding, came.elapsed()),
    ];
    Ok(Summary { frames, picture: size, timings })
}

fn jpeg(mut source: Box<dyn FrameSource>) -> Result<(Bytes, Size), EngineError> {
    let frame = source.next()?.ok_or_else(|| EngineError::Failed("the picture gives no frame".into()))?;
    let mut jpeg = Jpeg::new(JPEG_QUALITY).map_err(media)?;
    let bytes = jpeg.encode(&frame).map_err(media)?;
    Ok((Bytes::copy_from_slice(bytes), frame.size()))
}

/// Runs `work` in this thread; it is notified when the take is stopped.
fn until<T, F>(stop: &Stop, work: impl FnOnce(Arc<Notify>) -> F) -> Result<T, EngineError>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| EngineError::Failed(format!("no runtime: {error}")))?;
    let stopped = Arc::new(Notify::new());
    let breaker = {
        let stopped = Arc::clone(&stopped);
        stop.on_stop(move || stopped.notify_one())
    };
    let done = runtime.block_on(work(stopped));
    drop(breaker);
    // a name that is being looked up cannot be broken off, and nobody waits for it
    runtime.shutdown_background();
    done
}

/// Decodes the video in the cage, at its own frame rate; how many frames came out.
fn show(
    remote: &Remote,
    (tools, video): (&Tools, &Video),
    wish: &Wish,
    (stage, stop): (&Stagehand, &Stop),
) -> Result<u64, EngineError> {
    let limits = &remote.means.limits;
    stage.tell(Cue::Stage(Stage::Decoding, 0, 0))?;
    let unfit = |error| unreadable(video, error);
    let probe = media::probe(tools, &video.path, limits, stop).map_err(unfit)?;
    let told = match (&probe.video, &probe.audio) {
        (Some(told), _) => told,
        (None, Some(_)) => return Err(no_video(video, "only sound")),
        (None, None) => return Err(no_whole_video(video, "there is nothing in it").into()),
    };
    if probe.format.ends_with("_pipe") || probe.format == "ico" {
        return Err(no_video(video, &format!("a picture ({})", probe.format.trim_end_matches("_pipe"))));
    }
    let seconds = told.seconds.or(probe.seconds);
    if let Some(seconds) = seconds.filter(|seconds| *seconds > limits.clip_seconds) {
        let message =
            format!("the provider's video is {seconds:.1} s long, the limit is {:.1} s", limits.clip_seconds);
        return Err(
            Complaint::new("clip_too_long", message, "raise clip_seconds in the configuration").into()
        );
    }
    // the clip has the size it came with: what the probe lets through is not made smaller
    let spec = FramesSpec { layout: Layout::I420, longest: limits.picture_side };
    let mut source = media::frames(tools, &video.path, spec, limits, stop).map_err(unfit)?;
    let format = source.format();
    let fps = format.fps.ok_or_else(|| EngineError::Failed("the video has no frame rate".into()))?;
    // of the container, seconds are those of the longest stream: a sound may go on behind the picture
    let of_pictures = told.seconds.or_else(|| probe.seconds.filter(|_| probe.audio.is_none()));
    let expected = told.frames.or_else(|| of_pictures.map(|seconds| (seconds * fps.as_f64()).round() as u64));
    let most = (limits.clip_seconds * fps.as_f64()) as u64;
    let mut frames = 0;
    while let Some(frame) = source.next().map_err(|error| unreadable(video, error.into()))? {
        if frames == 0 {
            stage.tell(Cue::Begin(VideoFormat { size: format.size, layout: format.layout, fps }))?;
        }
        frames += 1;
        if frames > most {
            let message =
                format!("the provider's video has more than {most} frames, {:.1} s", limits.clip_seconds);
            return Err(
                Complaint::new("clip_too_long", message, "raise clip_seconds in the configuration").into()
            );
        }
        stage.tell(Cue::Frame(frame))?;
        stage.tell(Cue::Stage(Stage::Decoding, frames, expected.unwrap_or(0).max(frames)))?;
    }
    if let Some(expected) = expected.filter(|expected| frames + SLACK.max(expected / 50) < *expected) {
        let message = format!(
            "{} sent half a video: it should have {expected} frames, {frames} could be decoded",
            video.host
        );
        return Err(Complaint::new("answer_cut_off", message, AGAIN).into());
    }
    if let Some(warning) = shorter((wish.length, wish.fps), (frames, fps)) {
        stage.tell(Cue::Warning(warning))?;
    }
    Ok(frames)
}

const AGAIN: &str = "try again; if it stays so, the provider is at fault";

/// A take that is not as long as it was to be.
fn shorter((length, asked_fps): (u64, Fps), (frames, fps): (u64, Fps)) -> Option<Warning> {
    let (asked, came) = (asked_fps.seconds_at(length), fps.seconds_at(frames));
    let half_a_frame = fps.seconds_at(1) / 2.0;
    (came + half_a_frame < asked).then(|| {
        let message = format!(
            "the provider's clip is {came:.2} s long ({frames} frames at {fps} fps), {asked:.2} s were asked for"
        );
        Warning::new("shorter_than_asked", message)
    })
}

fn no_video(video: &Video, what: &str) -> EngineError {
    let message = format!("{} answered with {what} instead of a video", video.host);
    Complaint::new("answer_not_video", message, "choose a model that makes videos of pictures").into()
}

/// What the decoder has against a provider's file is not the user's mistake.
fn unreadable(video: &Video, error: MediaError) -> EngineError {
    match error {
        MediaError::Stopped => EngineError::Stopped,
        MediaError::Rejected(complaint)
            if matches!(complaint.code, "machine_failed" | "ffmpeg_broken" | "picture_too_large") =>
        {
            complaint.into()
        }
        MediaError::Rejected(complaint) => no_whole_video(video, &complaint.message).into(),
    }
}

fn no_whole_video(video: &Video, why: &str) -> Complaint {
    let message =
        format!("{} answered with {} bytes that are no whole video: {why}", video.host, video.bytes);
    Complaint::new("answer_unreadable", message, AGAIN)
}

fn media(error: MediaError) -> EngineError {
    match error {
        MediaError::Rejected(complaint) => complaint.into(),
        MediaError::Stopped => EngineError::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_that_is_shorter_than_asked_says_so_with_both_numbers() {
        let rows = [
            (32, 25, 7, Some("3.57 s long (25 frames at 7 fps), 4.00 s")),
            (32, 28, 7, None),
            (32, 200, 7, None),
            (8, 1, 25, Some("0.04 s long")),
        ];
        for (length, frames, fps, told) in rows {
            let warning = shorter((length, Fps::whole(8)), (frames, Fps::whole(fps)));
            match (warning, told) {
                (None, None) => {}
                (Some(warning), Some(told)) => assert!(warning.message.contains(told), "{}", warning.message),
                (warning, told) => panic!("{length} {frames} {fps}: {warning:?} instead of {told:?}"),
            }
        }
    }
}
