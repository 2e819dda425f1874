//! The voice of a session, pulled in small pieces while it may still be arriving, as mouth poses: one a frame.

use contract::{Fps, SourceError, VoiceSource, Warning};
use speech::{Latency, Lips, MouthPose};

use crate::engine::VOICE_RATE_HZ;

/// Samples a pull: 100 ms.
const PIECE: usize = VOICE_RATE_HZ as usize / 10;
/// Below this peak a voice is silence, dB of full scale.
const SILENCE_DB: f32 = -60.0;
/// Share of a pose that is left one frame later when the voice has ended.
const FADE: f32 = 0.55;

pub struct Voice {
    source: Box<dyn VoiceSource>,
    lips: Lips,
    fps: Fps,
    samples: u64,
    ended: bool,
    last: MouthPose,
}

impl Voice {
    pub fn new(source: Box<dyn VoiceSource>, fps: Fps) -> Self {
        let latency = if source.arrives() { Latency::Live } else { Latency::File };
        let lips = Lips::new(fps, latency);
        Self { source, lips, fps, samples: 0, ended: false, last: MouthPose::default() }
    }

    /// The next frame's pose; after the end the mouth comes to rest.
    pub fn next(&mut self) -> Result<MouthPose, SourceError> {
        loop {
            if let Some(pose) = self.lips.next() {
                self.last = pose;
                return Ok(pose);
            }
            if self.ended {
                self.last = fading(self.last);
                return Ok(self.last);
            }
            self.pull()?;
        }
    }

    /// How many frames the voice lasts; `None` until its end is known.
    pub fn frames(&self) -> Option<u64> {
        self.ended.then(|| self.fps.frames_in(self.samples, VOICE_RATE_HZ))
    }

    /// How many frames it will come to, as far as anyone can tell before its end.
    pub fn expected_frames(&self) -> Option<u64> {
        self.frames().or_else(|| Some(self.fps.frames_in(self.source.expected()?, VOICE_RATE_HZ)))
    }

    /// Once the voice has ended: what is wrong with it.
    pub fn warning(&self) -> Option<Warning> {
        if !self.ended || self.lips.heard_speech() {
            return None;
        }
        let peak = self.lips.peak_db();
        Some(if peak < SILENCE_DB {
            Warning::new(
                "silent_audio",
                format!("the audio is silent (peak {peak:.0} dB): the mouth stays shut"),
            )
        } else {
            Warning::new("no_speech", "no speech was heard in the audio: the mouth hardly moves")
        })
    }

    fn pull(&mut self) -> Result<(), SourceError> {
        let mut piece = [0.0; PIECE];
        match self.source.read(&mut piece)? {
            0 => {
                self.lips.finish();
                self.ended = true;
            }
            n => {
                self.samples += n as u64;
                self.lips.push(&piece[..n]);
            }
        }
        Ok(())
    }
}

fn fading(pose: MouthPose) -> MouthPose {
    let fade = |v: f32| if v > 0.02 { v * FADE } else { 0.0 };
    MouthPose {
        jaw: fade(pose.jaw),
        wide: fade(pose.wide),
        round: fade(pose.round),
        close: fade(pose.close),
        labiodental: fade(pose.labiodental),
        tongue: fade(pose.tongue),
        stress: fade(pose.stress),
    }
}
