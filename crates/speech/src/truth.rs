//! What the mouth ought to do, 100 times a second, from phonemes with times: the labels VisNet learns, and the truth that
//! `score` measures against. Reference: `tools/visnet/labels.py`; format of the file: `tools/visnet/README.md`.

use crate::viseme::Viseme;

/// Frames per second of the targets.
pub const FRAMES_PER_SECOND: f64 = 100.0;

/// Seconds from the first sample; closures are where the lips close (nothing is to be shifted).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phoneme {
    pub start: f64,
    pub end: f64,
    pub viseme: Viseme,
}

/// Frame i is at i · 10 ms; every number 0..1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Targets {
    pub viseme: Viseme,
    pub jaw: f32,
    pub wide: f32,
    pub round: f32,
    pub close: f32,
    pub labiodental: f32,
}

/// What a viseme asks for, and how strongly, in the manner of Cohen and Massaro's dominance functions.
struct Ask {
    jaw: f64,
    wide: f64,
    round: f64,
    jaw_weight: f64,
    lip_weight: f64,
}

const fn ask(jaw: f64, wide: f64, round: f64, jaw_weight: f64, lip_weight: f64) -> Ask {
    Ask { jaw, wide, round, jaw_weight, lip_weight }
}

fn ask_of(viseme: Viseme) -> Ask {
    match viseme {
        Viseme::Sil => ask(0.00, 0.00, 0.00, 1.0, 1.00),
        Viseme::PP => ask(0.12, 0.00, 0.10, 1.2, 0.30),
        Viseme::FF => ask(0.18, 0.10, 0.00, 1.2, 0.60),
        Viseme::TH => ask(0.25, 0.10, 0.00, 0.6, 0.30),
        Viseme::DD => ask(0.22, 0.10, 0.00, 0.5, 0.15),
        Viseme::KK => ask(0.28, 0.00, 0.00, 0.3, 0.10),
        Viseme::CH => ask(0.15, 0.00, 0.70, 1.0, 1.00),
        Viseme::SS => ask(0.12, 0.45, 0.00, 1.2, 0.60),
        Viseme::RR => ask(0.25, 0.00, 0.50, 0.6, 0.70),
        Viseme::AA => ask(1.00, 0.15, 0.00, 1.2, 0.80),
        Viseme::E => ask(0.55, 0.45, 0.00, 1.0, 0.80),
        Viseme::I => ask(0.30, 0.75, 0.00, 1.0, 1.00),
        Viseme::O => ask(0.65, 0.00, 0.75, 1.1, 1.10),
        Viseme::U => ask(0.30, 0.00, 1.00, 1.0, 1.30),
    }
}

/// Co-articulation, in frames: how far a phoneme reaches into its neighbours.
const SIGMA_JAW: f64 = 3.0;
const SIGMA_LIPS: f64 = 5.0;
const SIGMA_CLOSE: f64 = 1.5;
const SIGMA_LABIODENTAL: f64 = 2.0;

/// Targets for `seconds` of sound, `floor(seconds · 100) + 1` of them; phonemes in order, what they leave out is silence.
pub fn targets(phonemes: &[Phoneme], seconds: f64) -> Vec<Targets> {
    let n = (seconds.max(0.0) * FRAMES_PER_SECOND) as usize + 1;
    let mut visemes = vec![Viseme::Sil; n];
    let row = |fill: f64| vec![fill; n];
    let (mut jaw, mut wide, mut round) = (row(0.0), row(0.0), row(0.0));
    let (mut jaw_weight, mut lip_weight) = (row(1e-6), row(1e-6));
    let (mut close, mut labiodental) = (row(0.0), row(0.0));
    for phoneme in phonemes {
        // to the nearest frame, ties to even: so does Python's round
        let frame = |seconds: f64| (seconds.max(0.0) * FRAMES_PER_SECOND).round_ties_even() as usize;
        let first = frame(phoneme.start);
        let last = frame(phoneme.end).max(first + 1);
        let ask = ask_of(phoneme.viseme);
        for i in first..last.min(n) {
            visemes[i] = phoneme.viseme;
            jaw[i] += ask.jaw * ask.jaw_weight;
            jaw_weight[i] += ask.jaw_weight;
            wide[i] += ask.wide * ask.lip_weight;
            round[i] += ask.round * ask.lip_weight;
            lip_weight[i] += ask.lip_weight;
            match phoneme.viseme {
                Viseme::PP => close[i] = 1.0,
                Viseme::FF => labiodental[i] = 1.0,
                _ => {}
            }
        }
    }
    let jaw = blend(&jaw, &jaw_weight, SIGMA_JAW);
    let (wide, round) = (blend(&wide, &lip_weight, SIGMA_LIPS), blend(&round, &lip_weight, SIGMA_LIPS));
    let (close, labiodental) = (smooth(&close, SIGMA_CLOSE), smooth(&labiodental, SIGMA_LABIODENTAL));
    (0..n)
        .map(|i| Targets {
            viseme: visemes[i],
            jaw: jaw[i] as f32,
            wide: wide[i] as f32,
            round: round[i] as f32,
            close: (close[i] * 1.3).min(1.0) as f32,
            labiodental: (labiodental[i] * 1.2).min(1.0) as f32,
        })
        .collect()
}

fn blend(asked: &[f64], weight: &[f64], sigma: f64) -> Vec<f64> {
    smooth(asked, sigma).iter().zip(smooth(weight, sigma)).map(|(a, w)| a / w).collect()
}

/// Gaussian of 3 sigma either side; the ends are continued.
fn smooth(x: &[f64], sigma: f64) -> Vec<f64> {
    let reach = (3.0 * sigma) as i64;
    let kernel: Vec<f64> = (-reach..=reach).map(|k| (-0.5 * (k as f64 / sigma).powi(2)).exp()).collect();
    let sum: f64 = kernel.iter().sum();
    let last = x.len() as i64 - 1;
    (0..=last)
        .map(|i| {
            let near = (-reach..=reach).map(|k| x[(i + k).clamp(0, last) as usize]);
            near.zip(&kernel).map(|(x, k)| x * k).sum::<f64>() / sum
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tests/data/truth.tsv`: phonemes (start, end, viseme), then what `tools/visnet/labels.py` made of them (viseme, five numbers).
    #[test]
    fn equals_the_labels_of_the_training() {
        let mut phonemes = Vec::new();
        let mut expected = Vec::new();
        for line in include_str!("../tests/data/truth.tsv").lines() {
            let cells: Vec<&str> = line.split('\t').collect();
            let number = |i: usize| cells[i].parse::<f64>().unwrap();
            match cells.len() {
                3 => phonemes.push(Phoneme {
                    start: number(0),
                    end: number(1),
                    viseme: Viseme::from_name(cells[2]).unwrap(),
                }),
                6 => expected.push((Viseme::from_name(cells[0]).unwrap(), [1, 2, 3, 4, 5].map(number))),
                n => panic!("{n} cells"),
            }
        }
        let targets = targets(&phonemes, phonemes.last().unwrap().end);
        assert_eq!(targets.len(), expected.len());
        for (i, (t, (viseme, heads))) in targets.iter().zip(&expected).enumerate() {
            assert_eq!(t.viseme, *viseme, "frame {i}");
            let got = [t.jaw, t.wide, t.round, t.close, t.labiodental];
            for (a, b) in got.iter().zip(heads) {
                assert!((f64::from(*a) - b).abs() < 2e-5, "frame {i}: {got:?} {heads:?}");
            }
        }
    }

    #[test]
    fn a_closure_stands_out_and_nothing_said_is_a_closed_mouth() {
        let said = |start, end, viseme| Phoneme { start, end, viseme };
        let list = [said(0.1, 0.3, Viseme::AA), said(0.3, 0.38, Viseme::PP), said(0.38, 0.6, Viseme::AA)];
        let targets = targets(&list, 1.0);
        assert_eq!(targets.len(), 101);
        assert!(targets[34].close > 0.95 && targets[34].jaw < 0.5 && targets[20].jaw > 0.9);
        assert!(targets[20].close < 0.01 && targets[95].jaw < 0.01);
    }
}
