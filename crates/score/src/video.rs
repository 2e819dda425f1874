//! A video file scored: the thin layer between `media` and the measures. Frames stream; only numbers are kept.

use std::path::Path;

use contract::{Complaint, Frame, FrameSource, Layout, Stop};
use face::{Detector, Face};
use media::{FramesSpec, Limits, MediaError, PictureSpec, Tools, VoiceSpec};

use crate::geometry::Geometry;
use crate::meter::{Measured, Meter, Original, colour};
use crate::reference::{of_net, of_truth};
use crate::scores::{Heard, Scores};
use crate::truth::Truth;

/// Longest side at which pictures are looked at, px.
const LONGEST: u32 = 1280;
/// Narrowest face, px.
const MIN_FACE: u32 = 32;
/// Frames at the start of a video in which a face is looked for, and how many are passed over between two looks.
const FIRST_FRAMES: u64 = 125;
const BETWEEN_LOOKS: u64 = 5;
/// A difference of length between voice and video that deserves a note, seconds.
const LENGTHS_DIFFER: f64 = 0.25;
/// What the net hears.
const RATE_HZ: u32 = 16_000;

/// What is to be scored, and against what.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub video: &'a Path,
    /// The voice it should follow; `None`: its own sound track.
    pub audio: Option<&'a Path>,
    /// Goes before any sound.
    pub truth: Option<&'a Truth>,
    /// The picture it was made of.
    pub portrait: Option<&'a Path>,
}

/// Scores a video. `no_face` where neither its first seconds nor, if given, the portrait show one.
pub fn score(tools: &Tools, request: &Request, limits: &Limits, stop: &Stop) -> Result<Scores, MediaError> {
    let spec = FramesSpec { layout: Layout::I420, longest: LONGEST };
    let mut frames = media::frames(tools, request.video, spec, limits, stop)?;
    let portrait = request.portrait.map(|path| portrait(tools, path, limits, stop)).transpose()?;
    let measured = measured(frames.as_mut(), portrait.as_ref())?;
    let fps = frames.format().fps.map_or(25.0, |fps| fps.as_f64());
    let heard = heard(tools, request, limits, stop)?;
    let mut scores = Scores::of(&measured, fps, heard.as_ref());
    if let Some(heard) = &heard {
        let (picture, voice) = (scores.frames as f64 / fps, heard.seconds());
        if (picture - voice).abs() > LENGTHS_DIFFER {
            scores.note(format!("the video lasts {picture:.2} s, the voice {voice:.2} s"));
        }
    }
    Ok(scores)
}

/// A portrait and the face in it.
struct Portrait {
    frame: Frame,
    face: Face,
}

fn portrait(tools: &Tools, path: &Path, limits: &Limits, stop: &Stop) -> Result<Portrait, MediaError> {
    let spec = PictureSpec { layout: Layout::I420, longest: LONGEST };
    let mut picture = media::picture(tools, path, spec, limits, stop)?;
    let frame = picture.source.next()?.expect("a still has one frame");
    let found = face::find(&mut Detector::new(), &frame, 1.0, MIN_FACE)
        .map_err(|c| Complaint { message: format!("the portrait: {}", c.message), ..c })?;
    Ok(Portrait { frame, face: found.face })
}

/// Runs the meter over all frames.
fn measured(frames: &mut dyn FrameSource, portrait: Option<&Portrait>) -> Result<Measured, MediaError> {
    let (first, face, before) = first_face(frames)?;
    let original = portrait.map(|portrait| Original {
        luma: colour(&portrait.frame).luma,
        to_picture: portrait.face.canon.inverse(),
    });
    let mut meter = Meter::new(&first, Geometry::of(&face), original);
    meter.take(&first);
    while let Some(frame) = frames.next()? {
        meter.take(&frame);
    }
    Ok(meter.finish(before))
}

/// The first frame with a face, the face, and how many frames came before.
fn first_face(frames: &mut dyn FrameSource) -> Result<(Frame, Face, usize), MediaError> {
    let mut detector = Detector::new();
    let mut passed = 0;
    let mut complaint = None;
    while let Some(frame) = frames.next()? {
        if passed % BETWEEN_LOOKS == 0 {
            match face::find(&mut detector, &frame, 1.0, MIN_FACE) {
                Ok(found) => return Ok((frame, found.face, passed as usize)),
                Err(c) => complaint = Some(c),
            }
        }
        passed += 1;
        if passed >= FIRST_FRAMES {
            break;
        }
    }
    let complaint = complaint.unwrap_or_else(|| {
        Complaint::new("no_frames", "the video has no frames", "send a video with a picture")
    });
    Err(MediaError::Rejected(Complaint {
        message: format!("in the first {passed} frames of the video: {}", complaint.message),
        ..complaint
    }))
}

fn heard(
    tools: &Tools,
    request: &Request,
    limits: &Limits,
    stop: &Stop,
) -> Result<Option<Heard>, MediaError> {
    if let Some(truth) = request.truth {
        return Ok(Some(of_truth(&truth.phonemes, truth.seconds)));
    }
    let spec = VoiceSpec { rate_hz: RATE_HZ, start: None, duration: None };
    let pcm = match media::audio(tools, request.audio.unwrap_or(request.video), spec, limits, stop) {
        // a silent film is scored for its picture
        Err(MediaError::Rejected(c)) if request.audio.is_none() && c.code == "no_audio" => return Ok(None),
        result => result?,
    };
    let visemes = speech::analyse(&pcm).expect("the sound was asked for at the net's rate");
    Ok(Some(of_net(&visemes)))
}

#[cfg(test)]
mod tests {
    use contract::{Fps, Size, VideoFormat};
    use media::{Mp4Options, Mp4Sink, Scratch, ToolPaths};

    use super::*;
    use crate::actor::{Actor, Pose, Speech};
    use crate::gates::Bar;

    fn tools() -> Tools {
        Tools::find(&ToolPaths::default()).unwrap()
    }

    fn film(path: &Path, frames: impl Iterator<Item = Frame>) {
        let mut frames = frames.peekable();
        let size = frames.peek().unwrap().size();
        let format = VideoFormat { size, layout: Layout::I420, fps: Fps::whole(25) };
        let mut sink =
            Mp4Sink::file(&tools(), path, Mp4Options::new(format), &Limits::default(), &Stop::new()).unwrap();
        for frame in frames {
            sink.frame(&frame).unwrap();
        }
        sink.finish().unwrap();
    }

    /// The frame without its outer `margin` px, as a PPM.
    fn print(frame: &Frame, margin: usize) -> Vec<u8> {
        let planes = frame.planes().unwrap();
        let (width, height) = (frame.size().width as usize, frame.size().height as usize);
        let mut ppm = format!("P6\n{} {}\n255\n", width - 2 * margin, height - 2 * margin).into_bytes();
        for y in margin..height - margin {
            for x in margin..width - margin {
                let chroma = y / 2 * (width / 2) + x / 2;
                let yuv = [planes.y[y * width + x], planes.u[chroma], planes.v[chroma]].map(f32::from);
                ppm.extend(contract::yuv_to_rgb(yuv).map(|v| v.round().clamp(0.0, 255.0) as u8));
            }
        }
        ppm
    }

    #[test]
    fn a_film_is_scored_from_its_file() {
        let speech = Speech::new(12.0);
        let folder = Scratch::new().unwrap();
        let (video, picture) = (folder.file("film.mp4"), folder.file("portrait.ppm"));
        let mut actor = Actor::new();
        let frames =
            speech.followed(0.0).into_iter().map(|opening| actor.draw(Pose { opening, ..Pose::default() }));
        film(&video, frames);
        // the portrait shows less of the wall
        std::fs::write(&picture, print(&Actor::new().draw(Pose::default()), 40)).unwrap();
        let truth = Truth { phonemes: speech.phonemes.clone(), seconds: speech.seconds };
        let request = Request { video: &video, audio: None, truth: Some(&truth), portrait: Some(&picture) };
        let (tools, limits, stop) = (tools(), Limits::default(), Stop::new());
        let scores = score(&tools, &request, &limits, &stop).unwrap();
        let failed: Vec<_> =
            scores.gates(Bar::PuppetHeldOut).into_iter().filter(|gate| !gate.passed).collect();
        assert!(failed.is_empty() && scores.frames == 300, "{failed:#?} {scores:#?}");

        let silent = score(&tools, &Request { truth: None, ..request }, &limits, &stop).unwrap();
        assert_eq!((silent.sync_r, silent.closures), (None, None));
        assert!(silent.upper_face_psnr_db.is_some() && !silent.notes.is_empty(), "{silent:#?}");
    }

    #[test]
    fn a_film_without_a_face_is_refused() {
        let folder = Scratch::new().unwrap();
        let video = folder.file("wall.mp4");
        let wall = Frame::new(Size::new(128, 96), Layout::I420, vec![120; 128 * 96 * 3 / 2]).unwrap();
        film(&video, std::iter::repeat_n(wall, 8));
        let request = Request { video: &video, audio: None, truth: None, portrait: None };
        let error = score(&tools(), &request, &Limits::default(), &Stop::new()).unwrap_err();
        let MediaError::Rejected(complaint) = error else { panic!("{error}") };
        assert!(complaint.code == "no_face" && complaint.message.contains("first 8 frames"), "{complaint}");
    }
}
