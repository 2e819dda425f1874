//! The voice of a session: pulled from its source while it may still be arriving, it comes out as what each video frame hears, in order. Equal
//! voices give equal answers, whatever pieces their source gives them in. Memory does not grow with the voice, but for the profile `classic`.

use std::sync::Arc;

use candle_core::Tensor;
use contract::{Complaint, EngineError, Fps, VoiceSource};

use super::features::Encoder;
use super::listener::Listener;
use super::live::{Live, Pace};
use super::mel::BANDS;
use super::overlapped::Overlapped;
use super::segments::Segments;
use super::silence::{Gate, Start};
use super::whole::Whole;
use super::windows::{Centred, Classic, Padding, Strict};
use super::{RATE_HZ, SEGMENT_ROWS};
use crate::nets::whisper::{LastState, WhisperEncoder};

/// Whose numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// MuseTalk 0a89dec's, with its segments and its frame rates.
    Strict,
    /// The same at 25 frames a second and up to 30 s; beyond, what is better. The only one for a voice that is being spoken.
    Default,
    /// MuseTalk 058f7dd's, before 1.5. It takes no paddings.
    Classic,
}

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub hearing: Hearing,
    pub fps: Fps,
    pub padding: Padding,
    /// Of a voice that is being spoken.
    pub pace: Pace,
}

/// What one video frame hears.
#[derive(Clone, Debug)]
pub struct Heard {
    /// (tokens, c), a token for each state of each row, without positions, in the encoder's dtype and on its device: (50, 384) with paddings of 2.
    pub context: Tensor,
    /// 1: the voice is there, 0: silence; between, a slope.
    pub speech: f32,
}

pub struct Ear {
    voice: Box<dyn VoiceSource>,
    listener: Box<dyn Listener>,
    gate: Gate,
    piece: Vec<f32>,
    samples: u64,
    ended: bool,
    fps: Fps,
    next: u64,
    /// Of the next frame, when its gate was known before its window.
    speech: Option<f32>,
}

fn failed(error: candle_core::Error) -> EngineError {
    EngineError::Failed(format!("hearing the voice: {error}"))
}

impl Ear {
    pub fn open(
        whisper: Arc<WhisperEncoder>,
        voice: Box<dyn VoiceSource>,
        plan: &Plan,
    ) -> Result<Self, EngineError> {
        let rate = voice.rate_hz();
        if rate != RATE_HZ {
            return Err(EngineError::Failed(format!(
                "the voice comes at {rate} Hz, Whisper hears {RATE_HZ} Hz"
            )));
        }
        let (mels, positions) = (whisper.mels(), whisper.positions());
        if (mels, positions) != (BANDS, SEGMENT_ROWS) {
            return Err(EngineError::Failed(format!(
                "a Whisper of {mels} mels and {positions} positions was loaded, MuseTalk's has {BANDS} and {SEGMENT_ROWS}"
            )));
        }
        if voice.arrives() && plan.hearing != Hearing::Default {
            return Err(Complaint::new(
                "unsupported",
                "a voice that is being spoken was given, the profiles strict and classic need it whole",
                "choose the profile default",
            )
            .into());
        }
        let last = match plan.hearing {
            Hearing::Strict | Hearing::Default => LastState::Normed,
            Hearing::Classic => LastState::Raw,
        };
        let encoder = Encoder { whisper, last };
        let listener: Box<dyn Listener> = match plan.hearing {
            Hearing::Strict => {
                Box::new(Segments::new(encoder, Strict::new(plan.fps, plan.padding)?).map_err(failed)?)
            }
            Hearing::Classic => Box::new(Whole::new(encoder, Classic::new(plan.fps)).map_err(failed)?),
            Hearing::Default => {
                let windows = Centred::new(plan.fps, plan.padding)?;
                if voice.arrives() {
                    Box::new(Live::new(encoder, windows, plan.pace).map_err(failed)?)
                } else {
                    Box::new(Overlapped::new(encoder, windows).map_err(failed)?)
                }
            }
        };
        let start = if voice.arrives() { Start::Guess } else { Start::Settled };
        Ok(Self {
            piece: vec![0.0; listener.piece()],
            voice,
            listener,
            gate: Gate::new(plan.fps, start),
            samples: 0,
            ended: false,
            fps: plan.fps,
            next: 0,
            speech: None,
        })
    }

    /// What the next frame hears; None when the voice is over. Blocks while the voice is awaited.
    pub fn hear(&mut self) -> Result<Option<Heard>, EngineError> {
        loop {
            let there = self.next < self.listener.frames(self.samples);
            if self.ended && !there {
                return Ok(None);
            }
            if there {
                if self.speech.is_none() {
                    self.speech = self.gate.answer();
                }
                if let Some(speech) = self.speech
                    && let Some(context) = self.listener.window(self.next).map_err(failed)?
                {
                    self.next += 1;
                    self.speech = None;
                    return Ok(Some(Heard { context, speech }));
                }
            }
            self.pull()?;
        }
    }

    /// How many frames the voice lasts; None until its end is known.
    pub fn frames(&self) -> Option<u64> {
        self.ended.then(|| self.listener.frames(self.samples))
    }

    /// How many frames it will come to, as far as anyone can tell before its end.
    pub fn expected_frames(&self) -> Option<u64> {
        self.frames().or_else(|| Some(self.fps.frames_in(self.voice.expected()?, RATE_HZ)))
    }

    fn pull(&mut self) -> Result<(), EngineError> {
        if self.ended {
            return Err(EngineError::Failed(format!("frame {} of the voice has no sound", self.next)));
        }
        let mut filled = 0;
        while filled < self.piece.len() {
            match self.voice.read(&mut self.piece[filled..])? {
                0 => {
                    self.ended = true;
                    break;
                }
                n => filled += n,
            }
        }
        let sound = &mut self.piece[..filled];
        for sample in sound.iter_mut().filter(|sample| !sample.is_finite()) {
            *sample = 0.0; // an accident of a file must not silence the 30 s around it
        }
        self.samples += filled as u64;
        self.gate.push(sound);
        self.listener.push(sound).map_err(failed)?;
        if self.ended {
            self.gate.finish();
            self.listener.finish().map_err(failed)?;
            if self.listener.frames(self.samples) == 0 {
                return Err(too_short(self.samples, self.fps).into());
            }
        }
        Ok(())
    }
}

fn too_short(samples: u64, fps: Fps) -> Complaint {
    let ms = samples * 1000 / u64::from(RATE_HZ);
    Complaint::new(
        "audio_too_short",
        format!("the audio is {ms} ms long, too short for one frame at {fps} frames a second"),
        "send a longer file",
    )
}
