//! Two persons' voices side by side, each as long as both. Reference: InfiniteTalk 0107cd9, `audio_prepare_multi`. Deviation: voices that
//! sound together need not be of one length; the shorter is followed by silence.

use contract::Turns;

use super::Track;

/// Samples at 16 kHz of each person, all of one length.
#[derive(Clone, Debug, PartialEq)]
pub struct Speakers {
    persons: Vec<Vec<f32>>,
}

impl Speakers {
    pub fn one(track: &Track) -> Self {
        Self { persons: vec![track.samples().to_vec()] }
    }

    pub fn two(first: &Track, second: &Track, turns: Turns) -> Self {
        let (first, second) = (first.samples(), second.samples());
        let silence = |samples: usize| vec![0.0; samples];
        let persons = match turns {
            Turns::Together => {
                let longest = first.len().max(second.len());
                [first, second].map(|voice| [voice, &silence(longest - voice.len())].concat())
            }
            Turns::InTurn => {
                [[first, &silence(second.len())].concat(), [&silence(first.len()), second].concat()]
            }
        };
        Self { persons: persons.into() }
    }

    /// Two persons of whom one says nothing: the official path `None`. speaks: 0 or 1
    pub fn one_of_two(track: &Track, speaks: usize) -> Self {
        let mut persons = vec![vec![0.0; track.samples().len()]; 2];
        persons[speaks].copy_from_slice(track.samples());
        Self { persons }
    }

    pub fn persons(&self) -> &[Vec<f32>] {
        &self.persons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Pcm;

    /// Too quiet to be normalised.
    fn track(samples: &[f32]) -> Track {
        let samples = samples.iter().map(|v| v * 1e-6).collect();
        Track::read(Box::new(std::io::Cursor::new(Pcm { rate_hz: 16_000, samples }))).unwrap()
    }

    fn heard(speakers: &Speakers) -> Vec<Vec<i32>> {
        let whole = |voice: &Vec<f32>| voice.iter().map(|v| (v * 1e6).round() as i32).collect();
        speakers.persons().iter().map(whole).collect()
    }

    #[test]
    fn voices_are_of_one_length() {
        let (long, short) = (track(&[1.0, 2.0, 3.0]), track(&[5.0, 7.0]));
        let together = Speakers::two(&long, &short, Turns::Together);
        assert_eq!(heard(&together), [[1, 2, 3], [5, 7, 0]]);
        let turns = Speakers::two(&long, &short, Turns::InTurn);
        assert_eq!(heard(&turns), [[1, 2, 3, 0, 0], [0, 0, 0, 5, 7]]);
        let silent = Speakers::one_of_two(&short, 1);
        assert_eq!(heard(&silent), [[0, 0], [5, 7]]);
        assert_eq!(heard(&Speakers::one(&short)), [[5, 7]]);
    }
}
