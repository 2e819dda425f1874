//! `Act`: the decoded inputs handed to an engine. It pulls its inputs, it does not hold them.

use crate::{Fps, FrameSource, Landmarks, Settings, SourceError, Turns, VoiceSource};

/// Who is to speak.
pub enum Subject {
    /// One still picture.
    Picture(Box<dyn FrameSource>),
    /// A clip; the engine animates every frame of it.
    Clip(Box<dyn FrameSource>),
    /// A person prepared earlier by `Engine::prepare`.
    Avatar(Box<dyn AvatarSource>),
}

/// The parts an engine wrote when it prepared an avatar, by name.
pub trait AvatarSource: Send {
    /// The frames of the person's own picture or clip, from the start, as the engine's card wants them.
    fn frames(&mut self) -> Result<Box<dyn FrameSource>, SourceError>;
    fn part(&mut self, name: &str) -> Result<Vec<u8>, SourceError>;
}

/// How long the take becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// As long as the longest voice, or all of them where they speak in turn, to the nearest frame.
    Voice,
    /// This many frames, whatever the voice does.
    Frames(u64),
}

/// Everything an engine needs for one take.
pub struct Act {
    pub subject: Subject,
    /// One voice per person, in the order of the persons; empty: the engine idles, if it can.
    pub voices: Vec<Box<dyn VoiceSource>>,
    pub turns: Turns,
    pub prompt: Option<String>,
    pub length: Length,
    /// Frame rate of the take.
    pub fps: Fps,
    /// Equal acts with equal seeds give equal frames.
    pub seed: u64,
    pub settings: Settings,
    /// The user's own landmarks, in pixels of the user's picture (`SourceFormat::natural`).
    pub landmarks: Option<Landmarks>,
    /// State of an earlier, interrupted run, as that run gave it to `FrameSink::checkpoint`.
    pub checkpoint: Option<Vec<u8>>,
}
