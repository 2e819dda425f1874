//! Lips against phoneme truth, on voices VisNet never heard (`tools/visnet/heldout.py`). Needs python3 and libespeak-ng, which
//! `make test` installs; without them it says so and measures nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use contract::Fps;
use speech::truth::{Phoneme, Targets, targets};
use speech::{Latency, Lips, MouthPose, RATE_HZ, Viseme};

struct Heldout {
    samples: Vec<f32>,
    phonemes: Vec<Phoneme>,
    seconds: f64,
}

fn make(folder: &Path) -> Heldout {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/visnet/heldout.py");
    let made = Command::new("python3")
        .arg(tool)
        .arg(folder)
        .output()
        .expect("python3, which scripts/setup.sh installs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let wav = std::fs::read(folder.join("speech.wav")).unwrap();
    let rate_hz = u32::from_le_bytes(wav[24..28].try_into().unwrap());
    let pcm: Vec<f32> =
        wav[44..].as_chunks().0.iter().map(|&b| f32::from(i16::from_le_bytes(b)) / 32768.0).collect();
    let truth: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("phonemes.json")).unwrap()).unwrap();
    let phonemes = truth["phonemes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| Phoneme {
            start: entry["start"].as_f64().unwrap(),
            end: entry["end"].as_f64().unwrap(),
            viseme: Viseme::from_name(entry["viseme"].as_str().unwrap()).unwrap(),
        })
        .collect();
    let seconds = truth["duration"].as_f64().unwrap();
    Heldout { samples: resampled(&pcm, rate_hz), phonemes, seconds }
}

/// Windowed sinc, 16 zero crossings either side; one row of weights for each place between two samples.
fn resampled(pcm: &[f32], rate_hz: u32) -> Vec<f32> {
    let divisor = gcd(rate_hz, RATE_HZ);
    let (from, to) = ((rate_hz / divisor) as usize, (RATE_HZ / divisor) as usize);
    let cut = (to as f64 / from as f64).min(1.0) * 0.95;
    let reach = (16.0 / cut) as usize;
    let weight = |phase: usize, tap: usize| {
        let x = tap as f64 - reach as f64 - phase as f64 / to as f64;
        let turn = std::f64::consts::PI * x;
        let sinc = if x.abs() < 1e-9 { 1.0 } else { (turn * cut).sin() / (turn * cut) };
        (sinc * cut * (0.5 + 0.5 * (turn / (reach + 1) as f64).cos())) as f32
    };
    let rows: Vec<Vec<f32>> =
        (0..to).map(|phase| (0..=2 * reach).map(|tap| weight(phase, tap)).collect()).collect();
    let padded = [vec![0.0; reach], pcm.to_vec(), vec![0.0; reach + 1]].concat();
    (0..pcm.len() * to / from)
        .map(|i| rows[i * from % to].iter().zip(&padded[i * from / to..]).map(|(w, x)| w * x).sum())
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn poses(sound: &[f32], fps: Fps) -> Vec<MouthPose> {
    let mut lips = Lips::new(fps, Latency::File);
    sound.chunks(4096).for_each(|piece| lips.push(piece));
    lips.finish();
    std::iter::from_fn(|| lips.next()).collect()
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let n = a.len().min(b.len()) as f64;
    let mean = |x: &[f32]| x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (f64::from(x) - ma, f64::from(y) - mb);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    ab / (aa * bb).sqrt()
}

/// Best correlation over ±150 ms and its lag in ms, by a parabola; positive: `heard` is late. Both at 100 Hz.
fn best_lag(heard: &[f32], truth: &[f32]) -> (f64, f64) {
    const REACH: usize = 15;
    let n = heard.len().min(truth.len());
    let r: Vec<f64> = (0..=2 * REACH)
        .map(|k| correlation(&heard[k..n - 2 * REACH + k], &truth[REACH..n - REACH]))
        .collect();
    let k = (1..2 * REACH).max_by(|&a, &b| r[a].total_cmp(&r[b])).unwrap();
    let bend = 0.5 * (r[k - 1] - r[k + 1]) / (r[k - 1] - 2.0 * r[k] + r[k + 1]);
    (r[k], (k as f64 - REACH as f64 + bend) * 10.0)
}

/// Share of closures at whose middle, ±20 ms, some frame of a 25 fps video has the mouth nearly shut.
fn closures_hit(poses: &[MouthPose], middles: &[f64], shift: f64) -> f64 {
    let open: Vec<f32> = poses.iter().map(|pose| pose.jaw * (1.0 - pose.close)).collect();
    let mut sorted = open.clone();
    sorted.sort_by(f32::total_cmp);
    let (low, high) = (sorted[open.len() / 20], sorted[open.len() * 19 / 20]);
    let length = open.len() as f64 / 25.0;
    let hit = |&middle: &f64| {
        let t = (middle + shift).rem_euclid(length);
        let (from, to) = (((t - 0.02) * 25.0).ceil().max(0.0) as usize, ((t + 0.02) * 25.0).floor() as usize);
        (from..=to.min(open.len() - 1)).any(|i| (open[i] - low) / (high - low) < 0.15)
    };
    middles.iter().filter(|middle| hit(middle)).count() as f64 / middles.len() as f64
}

#[test]
fn unknown_voices_move_the_lips_as_they_should() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("heldout");
    let heldout = make(&folder);
    let truth = targets(&heldout.phonemes, heldout.seconds);
    let fine = poses(&heldout.samples, Fps::whole(100));
    let heard = |value: fn(&MouthPose) -> f32| fine.iter().map(value).collect::<Vec<f32>>();
    let true_of = |value: fn(&Targets) -> f32| truth.iter().map(value).collect::<Vec<f32>>();
    let (open_r, open_lag) =
        best_lag(&heard(|pose| pose.jaw * (1.0 - pose.close)), &true_of(|t| t.jaw * (1.0 - t.close)));
    let (jaw_r, jaw_lag) = best_lag(&heard(|pose| pose.jaw), &true_of(|t| t.jaw));
    let (close_r, close_lag) = best_lag(&heard(|pose| pose.close), &true_of(|t| t.close));
    let (ff_r, ff_lag) = best_lag(&heard(|pose| pose.labiodental), &true_of(|t| t.labiodental));
    let (wide_r, wide_lag) = best_lag(&heard(|pose| pose.wide), &true_of(|t| t.wide));
    let (round_r, round_lag) = best_lag(&heard(|pose| pose.round), &true_of(|t| t.round));
    println!(
        "open {open_r:.3} at {open_lag:.1} ms, jaw {jaw_r:.3} at {jaw_lag:.1}, close {close_r:.3} at {close_lag:.1}"
    );
    println!(
        "labiodental {ff_r:.3} at {ff_lag:.1}, wide {wide_r:.3} at {wide_lag:.1}, round {round_r:.3} at {round_lag:.1}"
    );

    let video = poses(&heldout.samples, Fps::whole(25));
    let middles: Vec<f64> = heldout
        .phonemes
        .iter()
        .filter(|phoneme| phoneme.viseme == Viseme::PP)
        .map(|phoneme| (phoneme.start + phoneme.end) / 2.0)
        .collect();
    let hit = closures_hit(&video, &middles, 0.0);
    let control: f64 =
        (1..20).map(|k| closures_hit(&video, &middles, 3.1 + 5.77 * f64::from(k))).sum::<f64>() / 19.0;
    println!("{} closures, hit {hit:.3}, control {control:.3}", middles.len());
    let silent: Vec<f32> = video
        .iter()
        .enumerate()
        .filter(|(i, _)| {
            let near = (i * 4).saturating_sub(8)..(i * 4 + 8).min(truth.len());
            truth[near].iter().all(|t| t.viseme == Viseme::Sil)
        })
        .map(|(_, pose)| pose.jaw)
        .collect();
    let silent_jaw = silent.iter().sum::<f32>() / silent.len() as f32;
    println!("{} silent frames, mean jaw {silent_jaw:.3}", silent.len());

    assert!(middles.len() >= 100 && heldout.seconds >= 120.0);
    assert!(open_r > 0.85 && open_lag.abs() < 10.0);
    assert!(close_r > 0.85 && close_lag.abs() < 10.0);
    assert!(hit > 0.90 && hit - control > 0.50);
    assert!(silent_jaw < 0.05);
}
