//! `EngineCard`: what an engine is and what a dialect may promise of it.

use crate::{Fps, Layout, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    Cuda,
    /// Somebody else's: inputs leave this machine.
    Remote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    Picture,
    Clip,
    Avatar,
}

/// The numbers an engine computes with, and how a take names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// `visnet-1`, `musetalk-v15`, …
    pub name: String,
    /// sha256 of the bytes, hex; empty where they are not on this machine.
    pub sha256: String,
    /// They are part of the program; nothing is to be downloaded.
    pub embedded: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SettingCard {
    pub name: &'static str,
    pub default: Value,
    /// What it does, its unit and its range.
    pub help: &'static str,
}

#[derive(Clone, Debug, PartialEq)]
pub struct EngineCard {
    pub name: &'static str,
    /// One line for `talkie engines`.
    pub summary: &'static str,
    pub device: Device,
    pub weights: Vec<Weights>,
    pub subjects: Vec<SubjectKind>,
    /// What does not belong to the person keeps the source's pixels: most of a take stands still.
    pub keeps_background: bool,
    /// It can make a take without a voice.
    pub idles: bool,
    /// Most voices, each of a person of its own.
    pub persons: u32,
    /// What is written to it steers the take.
    pub reads_prompt: bool,
    /// It gives states (`FrameSink::checkpoint`) from which it can go on after a crash.
    pub resumes: bool,
    /// Layout in which it wants its frames.
    pub source_layout: Layout,
    /// Longest side in which it wants its frames; larger sources are scaled down while decoding.
    pub source_longest: u32,
    /// Sample rate at which it wants its voices.
    pub voice_rate_hz: u32,
    pub default_fps: Fps,
    /// Frame rates it accepts, inclusive, in frames per second.
    pub fps_range: (f64, f64),
    /// Longest side it puts out, in pixels.
    pub max_longest: u32,
    /// Width of the smallest face it accepts, in pixels of the user's picture.
    pub min_face: u32,
    /// Memory one session takes, in MiB, roughly.
    pub memory_mib: u32,
    pub settings: Vec<SettingCard>,
}
