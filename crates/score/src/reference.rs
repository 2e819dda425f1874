//! What the mouth should do: from phonemes with times, or, second best, from what this program's own net hears in the sound.

use speech::truth::{Phoneme, Targets, targets};
use speech::{Viseme, Visemes};

use crate::scores::{Heard, SyncReference};
use crate::sync::{REFERENCE_HZ, Reference};

/// All targets together below this: the mouth rests.
const REST: f32 = 0.05;
/// The net is sure of silence.
const SURE: f32 = 0.9;
/// Its jaw below this while it is.
const REST_JAW: f32 = 0.12;
/// A mouth needs this long to come to rest: the net's silences lose it at both ends, in 10 ms.
const SETTLING: usize = 10;
/// A closure by the net: its certainty above this ...
const SHUT: f32 = 0.5;
/// ... for so long, in 10 ms.
const CLOSURE_LENGTHS: std::ops::RangeInclusive<usize> = 3..=25;

pub fn of_truth(phonemes: &[Phoneme], seconds: f64) -> Heard {
    let targets = targets(phonemes, seconds);
    let rests =
        |t: &Targets| t.viseme == Viseme::Sil && t.jaw + t.wide + t.round + t.close + t.labiodental < REST;
    let closures = phonemes.iter().filter(|p| p.viseme == Viseme::PP).map(|p| (p.start + p.end) / 2.0);
    let reference = Reference {
        opening: targets.iter().map(|t| t.jaw * (1.0 - t.close)).collect(),
        closures: closures.collect(),
        silent: targets.iter().map(rests).collect(),
    };
    Heard { reference, source: SyncReference::Truth }
}

/// `heard` at 100 Hz.
pub fn of_net(heard: &[Visemes]) -> Heard {
    let certainty = |v: &Visemes| v.close.max(v.probability(Viseme::PP));
    // where the net begins to believe in a closure, and where it is sure: the renderer's own ramp
    let close = |v: &Visemes| ((certainty(v) - 0.25) / 0.40).clamp(0.0, 1.0);
    let shut: Vec<bool> = heard.iter().map(|v| certainty(v) > SHUT).collect();
    let quiet: Vec<bool> =
        heard.iter().map(|v| v.probability(Viseme::Sil) > SURE && v.jaw < REST_JAW).collect();
    let reference = Reference {
        opening: heard.iter().map(|v| v.jaw * (1.0 - close(v))).collect(),
        closures: centres(&shut),
        silent: (0..quiet.len())
            .map(|i| {
                quiet[i.saturating_sub(SETTLING)..(i + SETTLING + 1).min(quiet.len())].iter().all(|q| *q)
            })
            .collect(),
    };
    Heard { reference, source: SyncReference::Visnet }
}

/// Middles of the runs that are as long as a closure, seconds.
fn centres(shut: &[bool]) -> Vec<f64> {
    let mut centres = Vec::new();
    let mut start = 0;
    for run in shut.chunk_by(|a, b| a == b) {
        if run[0] && CLOSURE_LENGTHS.contains(&run.len()) {
            centres.push((start as f64 + (run.len() - 1) as f64 / 2.0) / REFERENCE_HZ);
        }
        start += run.len();
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closures_lie_in_the_middle_of_p_b_m() {
        let phoneme = |start, end, viseme| Phoneme { start, end, viseme };
        let said = [
            phoneme(0.0, 0.6, Viseme::Sil),
            phoneme(0.6, 0.7, Viseme::PP),
            phoneme(0.7, 0.9, Viseme::AA),
            phoneme(0.9, 1.6, Viseme::Sil),
        ];
        let heard = of_truth(&said, 1.6);
        assert_eq!(heard.reference.closures.len(), 1);
        assert!((heard.reference.closures[0] - 0.65).abs() < 1e-9);
        assert!(heard.reference.opening[80] > 0.7 && heard.reference.opening[65] < 0.05);
        assert!(heard.reference.silent[20] && heard.reference.silent[140], "far from speech");
        assert!(
            !heard.reference.silent[57] && !heard.reference.silent[92],
            "the mouth is still moving there"
        );
    }

    #[test]
    fn the_net_is_believed_where_it_is_sure() {
        let said = |viseme: Viseme, jaw: f32, close: f32| {
            let mut v = Visemes { jaw, close, ..Visemes::default() };
            v.probabilities[viseme as usize] = 1.0;
            v
        };
        let mut heard = vec![said(Viseme::Sil, 0.0, 0.0); 40];
        heard.extend(vec![said(Viseme::PP, 0.3, 0.9); 8]);
        heard.extend(vec![said(Viseme::AA, 0.9, 0.0); 20]);
        let reference = of_net(&heard).reference;
        assert_eq!(reference.closures, vec![0.435]);
        assert_eq!((reference.opening[44], reference.opening[60]), (0.0, 0.9));
        assert!(reference.silent[10] && !reference.silent[35]);
    }
}
