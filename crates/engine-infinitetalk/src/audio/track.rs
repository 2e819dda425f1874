//! One person's voice as the nets hear it: all of it at 16 kHz, at -23 LUFS. The whole is needed before its first frame is heard, because its
//! loudness is that of the whole: 64 kB a second. Reference: InfiniteTalk 0107cd9, `loudness_norm`. Refused: a voice without a sample.

use contract::{VoiceSource, Warning};

use super::loudness::Meter;
use super::resample::resampled;
use super::{AudioError, FPS, RATE_HZ};

/// What a voice is brought to, in LUFS.
const TARGET: f64 = -23.0;
/// Samples that are read at a time: a second.
const PIECE: usize = RATE_HZ as usize;

#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    samples: Vec<f32>,
    /// As it came; none where there is nothing to hear.
    lufs: Option<f64>,
}

impl Track {
    /// Reads a voice of any rate to its end.
    pub fn read(voice: Box<dyn VoiceSource>) -> Result<Self, AudioError> {
        let mut voice = resampled(voice)?;
        let (mut samples, mut piece, mut meter) = (Vec::new(), vec![0.0; PIECE], Meter::default());
        while let n @ 1.. = voice.read(&mut piece)? {
            meter.push(&piece[..n]);
            samples.extend_from_slice(&piece[..n]);
        }
        if samples.is_empty() {
            return Err(AudioError::Empty);
        }
        let lufs = meter.lufs();
        if let Some(lufs) = lufs {
            let gain = 10f64.powf((TARGET - lufs) / 20.0);
            samples.iter_mut().for_each(|sample| *sample = (f64::from(*sample) * gain) as f32);
        }
        Ok(Self { samples, lufs })
    }

    /// Normalised.
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// Before it was normalised, in LUFS; none where there is nothing to hear.
    pub fn lufs(&self) -> Option<f64> {
        self.lufs
    }

    /// What the user should know. person: counted from one
    pub fn warning(&self, person: usize) -> Option<Warning> {
        let seconds = self.samples.len() as f64 / f64::from(RATE_HZ);
        let text = format!(
            "the voice of person {person} is silent ({seconds:.2} s, nothing of it above -70 LUFS); the mouth will rest"
        );
        self.lufs.is_none().then(|| Warning::new("silent_audio", text))
    }
}

/// Frames of video that so many samples are heard in, as the reference counts them; at least one.
pub fn frames(samples: usize) -> usize {
    ((samples as f64 / f64::from(RATE_HZ) * FPS as f64) as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Pcm;

    fn track(samples: Vec<f32>) -> Result<Track, AudioError> {
        Track::read(Box::new(std::io::Cursor::new(Pcm { rate_hz: 16_000, samples })))
    }

    #[test]
    fn a_voice_is_brought_to_23_below() {
        let quiet: Vec<f32> = (0..40_000).map(|i| 0.01 * (i as f32 * 0.3).sin()).collect();
        let made = track(quiet).unwrap();
        assert_eq!(made.warning(1), None);
        let again = track(made.samples.clone()).unwrap();
        assert!((again.lufs.unwrap() - TARGET).abs() < 1e-3, "{again:?}");
    }

    #[test]
    fn silence_stays_silence_and_is_told() {
        let silent = track(vec![0.0; 24_000]).unwrap();
        assert_eq!((silent.samples(), silent.lufs()), (&[0.0; 24_000][..], None));
        assert_eq!(
            silent.warning(2).unwrap().message,
            "the voice of person 2 is silent (1.50 s, nothing of it above -70 LUFS); the mouth will rest"
        );
        assert_eq!(track(Vec::new()).unwrap_err().to_string(), "a voice without a sample cannot be heard");
    }

    #[test]
    fn frames_are_cut_off() {
        assert_eq!([0, 1, 640, 1279, 1280, 170_905].map(frames), [1, 1, 1, 1, 2, 267]);
    }
}
