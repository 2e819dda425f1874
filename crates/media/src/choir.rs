//! The decoders behind a sound track: one caged child for each file, all of them big-endian f32. Several are of one shape and are added up as
//! they come, or follow each other.

use contract::{Stop, Turns};

use crate::child::Child;
use crate::input::{Args, Input, Kind};
use crate::soundtrack::Track;
use crate::voice::Cut;
use crate::{Limits, MediaError, Tools};

pub(crate) struct Choir {
    pub(crate) decoders: Vec<Decoder>,
    pub(crate) turns: Turns,
}

pub(crate) struct Decoder {
    pub(crate) child: Child,
    input: Input,
    gave: bool,
    ended: bool,
}

/// What a decoder's header says.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) rate_hz: u32,
    pub(crate) channels: u32,
}

impl Decoder {
    /// `filter` decides the shape.
    pub(crate) fn start(
        tools: &Tools,
        (track, filter): (&Track, &str),
        limits: &Limits,
        stop: &Stop,
    ) -> Result<Self, MediaError> {
        let cut = Cut::new("audio", track.start, track.duration)?;
        let input = Input::open(&track.path, Kind::Sound, limits)?;
        let start = cut.start.to_string();
        let duration = cut.duration.unwrap_or(f64::MAX).min(limits.audio_seconds + 1.0).to_string();
        let mut before = vec!["-vn", "-sn", "-dn", "-threads", "1"];
        if cut.start > 0.0 {
            before.extend(["-ss", &start]);
        }
        before.extend(["-t", &duration]);
        let after = ["-map", "0:a:0", "-af", filter, "-c:a", "pcm_f32be", "-bitexact", "-f", "au", "pipe:1"];
        let child = input.decode(tools, Args { before: &before, after: &after }, limits, stop)?;
        Ok(Self { child, input, gave: false, ended: false })
    }

    fn read_header(&mut self, limits: &Limits) -> Result<Shape, MediaError> {
        let mut head = [0; 24];
        if self.child.fill(&mut head)? == head.len() && head.starts_with(b".snd") {
            let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let (offset, rate_hz, channels) = (word(4) as usize, word(16), word(20));
            let mut note = vec![0; offset.clamp(24, 4096) - 24];
            let whole = self.child.fill(&mut note)? == note.len();
            if whole && (8000..=48_000).contains(&rate_hz) && (1..=2).contains(&channels) {
                return Ok(Shape { rate_hz, channels });
            }
        }
        let exit = self.child.wait()?;
        if exit.stderr.contains("matches no streams") {
            return Err(MediaError::new("no_audio", "the file has no sound track", "send a file with sound"));
        }
        Err(self.input.refuse(&exit.stderr, limits))
    }

    fn read(&mut self, out: &mut [u8]) -> Result<usize, MediaError> {
        if self.ended {
            return Ok(0);
        }
        let read = self.child.fill(out)?;
        self.ended = read < out.len();
        self.gave |= read > 0;
        Ok(read)
    }
}

impl Choir {
    /// The one whose samples need not pass through this process.
    pub(crate) fn only(&self) -> Option<&Child> {
        match self.decoders.as_slice() {
            [only] => Some(&only.child),
            _ => None,
        }
    }

    pub(crate) fn shape(&mut self, limits: &Limits) -> Result<Shape, MediaError> {
        let mut shape = Shape { rate_hz: 48_000, channels: 2 };
        for decoder in &mut self.decoders {
            shape = decoder.read_header(limits)?;
        }
        Ok(shape)
    }

    /// Whole samples (`out` is as long as some of them); 0 is the end of all.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result<usize, MediaError> {
        match self.turns {
            Turns::InTurn => {
                for decoder in &mut self.decoders {
                    match decoder.read(out)? {
                        0 => {}
                        read => return Ok(read),
                    }
                }
                Ok(0)
            }
            Turns::Together => {
                let Some((first, others)) = self.decoders.split_first_mut() else { return Ok(0) };
                let mut longest = first.read(out)?;
                out[longest..].fill(0);
                let mut chunk = vec![0; out.len()];
                for other in others {
                    let read = other.read(&mut chunk)?;
                    add(out, &chunk[..read]);
                    longest = longest.max(read);
                }
                Ok(longest)
            }
        }
    }

    /// Always `Ok(false)`, "no longer decoding", or why it broke. `sent`: bytes that have come of all of them.
    pub(crate) fn ended(&mut self, sent: u64, limits: &Limits) -> Result<bool, MediaError> {
        let alone = self.decoders.len() == 1;
        for decoder in &mut self.decoders {
            let exit = decoder.child.wait()?;
            let silent = if alone { sent == 0 } else { !decoder.gave };
            if !exit.well() || silent {
                return Err(decoder.input.refuse(&exit.stderr, limits));
            }
        }
        Ok(false)
    }
}

/// Beyond full scale the encoder clips, as it does with a file that is too loud.
fn add(sum: &mut [u8], other: &[u8]) {
    for (sum, other) in sum.as_chunks_mut::<4>().0.iter_mut().zip(other.as_chunks::<4>().0) {
        *sum = (f32::from_be_bytes(*sum) + f32::from_be_bytes(*other)).to_be_bytes();
    }
}
