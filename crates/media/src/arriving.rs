//! A voice that is still being spoken: pieces of 16-bit mono as they come, as f32 at the rate that an engine wants. What comes
//! out is as long as what went in, to the sample, and lags behind it by the filter's few milliseconds.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;

use contract::{Complaint, SourceError, VoiceSource};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler};

/// Samples that are converted at a time: 20 ms.
const CHUNKS_A_SECOND: u32 = 50;

/// The first piece is the voice's own rate (`u32`, little endian, in Hz), then come pieces of s16le; an empty one is the end, and a
/// sender that is gone without it has hung up.
pub fn arriving(pieces: Receiver<Vec<u8>>, rate_hz: u32) -> Box<dyn VoiceSource> {
    let (conversion, ready) = (None, VecDeque::new());
    Box::new(Arriving { pieces, rate_hz, begun: false, conversion, ready, ended: false })
}

struct Arriving {
    pieces: Receiver<Vec<u8>>,
    rate_hz: u32,
    /// Its rate has come.
    begun: bool,
    conversion: Option<Conversion>,
    ready: VecDeque<f32>,
    ended: bool,
}

impl Arriving {
    fn begin(&mut self, told: &[u8]) -> Result<(), SourceError> {
        let from_hz = told.try_into().map_or(0, u32::from_le_bytes);
        if from_hz != self.rate_hz {
            self.conversion = Some(Conversion::new(from_hz, self.rate_hz)?);
        }
        self.begun = true;
        Ok(())
    }
}

impl VoiceSource for Arriving {
    fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    fn read(&mut self, out: &mut [f32]) -> Result<usize, SourceError> {
        while self.ready.is_empty() && !self.ended {
            let piece = self.pieces.recv().map_err(|_| SourceError::Stopped)?;
            self.ended = piece.is_empty();
            if !self.begun && !self.ended {
                self.begin(&piece)?;
                continue;
            }
            let samples = piece
                .chunks_exact(2)
                .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0);
            match &mut self.conversion {
                None => self.ready.extend(samples),
                Some(conversion) => {
                    conversion.push(samples, &mut self.ready)?;
                    if self.ended {
                        conversion.finish(&mut self.ready)?;
                    }
                }
            }
        }
        let n = out.len().min(self.ready.len());
        out.iter_mut().zip(self.ready.drain(..n)).for_each(|(out, sample)| *out = sample);
        Ok(n)
    }

    fn expected(&self) -> Option<u64> {
        None
    }

    fn arrives(&self) -> bool {
        true
    }
}

struct Conversion {
    filter: Fft<f32>,
    /// To a second: from, to.
    rates: (u64, u64),
    waiting: Vec<f32>,
    heard: u64,
    said: u64,
    /// Samples of the filter's own silence that are still to be left out.
    delay: usize,
}

impl Conversion {
    fn new(from_hz: u32, to_hz: u32) -> Result<Self, SourceError> {
        let chunk = (from_hz / CHUNKS_A_SECOND) as usize;
        let filter = Fft::new(from_hz as usize, to_hz as usize, chunk, 1, FixedSync::Input);
        let filter = filter.map_err(|error| {
            let what = format!("sound at {from_hz} Hz cannot be converted to {to_hz} Hz: {error}");
            let hint = "send it at 16000, 24000, 44100 or 48000 Hz";
            SourceError::Rejected(Complaint::new("bad_rate", what, hint))
        })?;
        let delay = filter.output_delay();
        let rates = (u64::from(from_hz), u64::from(to_hz));
        Ok(Self { filter, rates, waiting: Vec::new(), heard: 0, said: 0, delay })
    }

    fn push(
        &mut self,
        samples: impl Iterator<Item = f32>,
        out: &mut VecDeque<f32>,
    ) -> Result<(), SourceError> {
        let before = self.waiting.len();
        self.waiting.extend(samples);
        self.heard += (self.waiting.len() - before) as u64;
        let mut at = 0;
        while self.waiting.len() - at >= self.filter.input_frames_next() {
            at += self.convert(at, None, out)?;
        }
        self.waiting.drain(..at);
        Ok(())
    }

    /// What the filter still holds: silence pushes it out.
    fn finish(&mut self, out: &mut VecDeque<f32>) -> Result<(), SourceError> {
        let (from, to) = self.rates;
        let whole = (self.heard * to + from / 2) / from;
        let left = self.waiting.len();
        self.waiting.resize(left.max(self.filter.input_frames_next()), 0.0);
        let mut partial = left;
        while self.said < whole {
            self.convert(0, Some(partial), out)?;
            partial = 0;
        }
        let beyond = usize::try_from(self.said - whole).unwrap_or_default().min(out.len());
        out.truncate(out.len() - beyond);
        Ok(())
    }

    /// Samples of `waiting` that were used.
    fn convert(
        &mut self,
        at: usize,
        partial: Option<usize>,
        out: &mut VecDeque<f32>,
    ) -> Result<usize, SourceError> {
        let broken = |why: String| {
            SourceError::Rejected(Complaint::new(
                "internal",
                format!("the voice cannot be converted: {why}"),
                "",
            ))
        };
        let mut converted = vec![0.0; self.filter.output_frames_next()];
        let frames = converted.len();
        let (used, made) = {
            let input = InterleavedSlice::new(&self.waiting[at..], 1, self.waiting.len() - at)
                .map_err(|error| broken(error.to_string()))?;
            let mut output = InterleavedSlice::new_mut(&mut converted, 1, frames)
                .map_err(|error| broken(error.to_string()))?;
            let indexing = Indexing { partial_len: partial, ..Indexing::new() };
            let done = self.filter.process_into_buffer(&input, &mut output, Some(&indexing));
            done.map_err(|error| broken(error.to_string()))?
        };
        let skipped = self.delay.min(made);
        self.delay -= skipped;
        self.said += (made - skipped) as u64;
        out.extend(&converted[skipped..made]);
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;
    use std::sync::mpsc::channel;

    use super::*;

    fn tone(rate: u32, seconds: f32) -> Vec<u8> {
        let count = (rate as f32 * seconds) as u32;
        let sample = |n: u32| ((TAU * 440.0 * n as f32 / rate as f32).sin() * 20_000.0) as i16;
        (0..count).flat_map(|n| sample(n).to_le_bytes()).collect()
    }

    fn heard(rate: u32, piece: usize) -> Vec<f32> {
        let (send, receive) = channel();
        send.send(rate.to_le_bytes().to_vec()).unwrap();
        for piece in tone(rate, 1.5).chunks(piece) {
            send.send(piece.to_vec()).unwrap();
        }
        send.send(Vec::new()).unwrap();
        let mut voice = arriving(receive, 16_000);
        let (mut all, mut out) = (Vec::new(), [0.0; 1600]);
        loop {
            match voice.read(&mut out).unwrap() {
                0 => return all,
                n => all.extend_from_slice(&out[..n]),
            }
        }
    }

    #[test]
    fn every_rate_comes_out_as_long_and_in_time() {
        let reference = heard(16_000, 3200);
        assert_eq!(reference.len(), 24_000);
        for rate in [8_000, 11_025, 22_050, 24_000, 44_100, 48_000] {
            for piece in [2, 882, 50_000] {
                let voice = heard(rate, piece);
                // what was said in whole samples, to the nearest of ours
                let said = tone(rate, 1.5).len() as u64 / 2;
                let expected = (said * 16_000 + u64::from(rate) / 2) / u64::from(rate);
                assert_eq!(voice.len() as u64, expected, "{rate} Hz");
                let inner = 2_000..22_000;
                let off = voice[inner.clone()].iter().zip(&reference[inner]).map(|(a, b)| (a - b).abs());
                let worst = off.fold(0.0, f32::max);
                // the tone moves by at most 0.105 from one sample to the next: less is within a sample
                assert!(worst < 0.1, "{rate} Hz in pieces of {piece}: {worst}");
            }
        }
    }

    #[test]
    fn who_leaves_without_an_end_has_hung_up() {
        let (send, receive) = channel::<Vec<u8>>();
        send.send(16_000u32.to_le_bytes().to_vec()).unwrap();
        send.send(vec![0; 64]).unwrap();
        drop(send);
        let mut voice = arriving(receive, 16_000);
        assert_eq!(voice.read(&mut [0.0; 100]).unwrap(), 32);
        assert!(matches!(voice.read(&mut [0.0; 100]), Err(SourceError::Stopped)));
    }
}
