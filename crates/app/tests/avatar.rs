//! An avatar is measured once; a take of it is the take of the clip or picture itself, frame by frame.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use contract::{
    Act, AvatarSink, AvatarSource, Engine, EngineError, Frame, FrameSink, FrameSource, Layout, Length,
    Settings, SourceError, Stage, Stop, Stopped, Subject, VideoFormat, Warning,
};
use engine_puppet::Puppet;
use media::{ClipSpec, Limits, PictureSpec, ToolPaths, Tools};

const CLIP: ClipSpec = ClipSpec { layout: Layout::I420, longest: 512, fps: None };
const PICTURE: PictureSpec = PictureSpec { layout: Layout::I420, longest: 512 };

struct Sink(mpsc::Sender<Frame>);

impl FrameSink for Sink {
    fn begin(&mut self, _: VideoFormat) -> Result<(), Stopped> {
        Ok(())
    }
    fn stage(&mut self, _: Stage, _: u64, _: u64) -> Result<(), Stopped> {
        Ok(())
    }
    fn frame(&mut self, frame: Frame) -> Result<(), Stopped> {
        self.0.send(frame).map_err(|_| Stopped)
    }
    fn warn(&mut self, _: Warning) -> Result<(), Stopped> {
        Ok(())
    }
    fn checkpoint(&mut self, _: &[u8]) -> Result<(), Stopped> {
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Parts(HashMap<String, Vec<u8>>);

impl AvatarSink for Parts {
    fn part(&mut self, name: &str, bytes: &[u8]) -> Result<(), Stopped> {
        self.0.insert(name.to_owned(), bytes.to_owned());
        Ok(())
    }
}

struct Avatar(Parts, Option<Box<dyn FrameSource>>);

impl AvatarSource for Avatar {
    fn frames(&mut self) -> Result<Box<dyn FrameSource>, SourceError> {
        Ok(self.1.take().expect("it is asked once"))
    }
    fn part(&mut self, name: &str) -> Result<Vec<u8>, SourceError> {
        Ok(self.0.0[name].clone())
    }
}

fn play(subject: Subject, frames: u64) -> Result<Vec<Frame>, EngineError> {
    let act = Act {
        subject,
        voices: Vec::new(),
        prompt: None,
        length: Length::Frames(frames),
        fps: contract::Fps::whole(25),
        seed: 3,
        settings: Settings::default(),
        landmarks: None,
        turns: contract::Turns::Together,
        checkpoint: None,
    };
    let (sender, drawn) = mpsc::channel();
    Puppet::new().start(act, Box::new(Sink(sender)))?.wait()?;
    Ok(drawn.iter().collect())
}

fn portrait() -> PathBuf {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
    let names = ["portrait.jpg", "portrait.png", "portrait.webp"];
    names.map(|name| assets.join(name)).into_iter().find(|path| path.exists()).expect("the sample is there")
}

/// 24 frames of the portrait, shaken a little, so that there is something to follow.
fn clip(folder: &Path) -> PathBuf {
    let path = folder.join("clip.mp4");
    let shake = "scale=400:-2,crop=384:384:8+6*sin(n/4):4+4*cos(n/5)";
    let run = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-loop", "1", "-r", "25", "-i"])
        .arg(portrait())
        .args(["-vf", shake, "-frames:v", "24", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-g", "12"])
        .arg(&path)
        .status();
    assert!(run.unwrap().success());
    path
}

#[test]
fn a_take_of_an_avatar_is_the_take_of_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let tools = Tools::find(&ToolPaths::default()).unwrap();
    let (limits, stop, path) = (Limits::default(), Stop::new(), clip(folder.path()));
    let bouncing = || media::clip(&tools, &path, CLIP, &limits, &stop).unwrap().source;
    let still = || media::picture(&tools, &portrait(), PICTURE, &limits, &stop).unwrap().source;
    let once = media::clip_once(&tools, &path, CLIP, &limits, &stop).unwrap().source;

    let rows =
        [(once, Subject::Clip(bouncing()), bouncing(), 24), (still(), Subject::Picture(still()), still(), 5)];
    for (mut source, itself, again, frames) in rows {
        let mut parts = Parts::default();
        Puppet::new().prepare(source.as_mut(), &Settings::default(), &mut parts).unwrap();
        let expected = play(itself, frames).unwrap();
        let made = play(Subject::Avatar(Box::new(Avatar(parts, Some(again)))), frames).unwrap();
        assert_eq!(made.len(), expected.len());
        let first = made.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(first, None, "the first frame that differs");
    }
}

#[test]
fn an_avatar_goes_on_past_the_end_of_its_clip() {
    let folder = tempfile::tempdir().unwrap();
    let tools = Tools::find(&ToolPaths::default()).unwrap();
    let (limits, stop, path) = (Limits::default(), Stop::new(), clip(folder.path()));
    let mut once = media::clip_once(&tools, &path, CLIP, &limits, &stop).unwrap().source;
    let mut parts = Parts::default();
    Puppet::new().prepare(once.as_mut(), &Settings::default(), &mut parts).unwrap();
    let frames = media::clip(&tools, &path, CLIP, &limits, &stop).unwrap().source;
    let avatar = Avatar(parts.clone(), Some(frames));
    assert_eq!(play(Subject::Avatar(Box::new(avatar)), 60).unwrap().len(), 60);

    let other = media::picture(&tools, &portrait(), PICTURE, &limits, &stop).unwrap().source;
    match play(Subject::Avatar(Box::new(Avatar(parts, Some(other)))), 1) {
        Err(EngineError::Rejected(complaint)) => assert_eq!(complaint.code, "avatar_damaged"),
        _ => panic!("a track of another source was used"),
    }
}
