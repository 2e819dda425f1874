//! Lips from the outside: a synthetic talker (pulses through three resonators) and what its sound must do to a mouth.

use contract::{Fps, Pcm};
use speech::{Latency, Lips, MouthPose, RATE_HZ, Viseme, analyse};

/// (duration s, formants Hz, amplitude); no formants: silence, one formant under 400 Hz: a nasal murmur.
type Sound = (f64, [f64; 3], f64);

const AH: [f64; 3] = [730.0, 1090.0, 2440.0];
const MURMUR: [f64; 3] = [260.0, 1050.0, 2200.0];
const NOTHING: [f64; 3] = [0.0; 3];

/// A voice of 120 Hz; formants glide over 20 ms from one sound to the next.
fn talk(sounds: &[Sound]) -> Vec<f32> {
    let rate = f64::from(RATE_HZ);
    let (mut out, mut state) = (Vec::new(), [[0.0f64; 2]; 3]);
    let (mut formants, mut amplitude, mut phase, mut seed) = (AH, 0.0, 0.0, 1u32);
    for &(duration, target, loudness) in sounds {
        for _ in 0..(duration * rate).round() as usize {
            if loudness > 0.0 {
                formants = std::array::from_fn(|i| formants[i] + (target[i] - formants[i]) / (0.008 * rate));
            }
            amplitude += (loudness - amplitude) / (0.004 * rate);
            phase += (120.0 + 15.0 * (out.len() as f64 / rate * 3.0).sin()) / rate;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase -= pulse;
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let breath = f64::from(seed >> 8) / f64::from(1u32 << 24) - 0.5;
            let source = amplitude * (pulse + 0.004 * breath);
            let mut sum = 0.0;
            for (i, (state, hz)) in state.iter_mut().zip(formants).enumerate() {
                let radius = (-std::f64::consts::PI * (70.0 + 40.0 * i as f64) / rate).exp();
                let turn = 2.0 * radius * (std::f64::consts::TAU * hz / rate).cos();
                let y = source + turn * state[0] - radius * radius * state[1];
                *state = [y, state[0]];
                sum += y * [1.0, 0.6, 0.3][i];
            }
            out.push((0.06 * sum) as f32);
        }
    }
    out
}

fn mama(times: usize) -> Vec<f32> {
    let mut sounds = vec![(0.3, NOTHING, 0.0)];
    for _ in 0..times {
        sounds.extend([(0.11, MURMUR, 0.35), (0.2, AH, 1.0)]);
    }
    sounds.push((0.5, NOTHING, 0.0));
    talk(&sounds)
}

/// Seconds of the middles of the closures of `mama`.
fn closures(times: usize) -> Vec<f64> {
    (0..times).map(|i| 0.3 + 0.31 * i as f64 + 0.055).collect()
}

fn noise(seconds: f64, rms: f32) -> Vec<f32> {
    let mut seed = 7u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1u32 << 24) as f32 - 0.5
    };
    (0..(seconds * f64::from(RATE_HZ)) as usize).map(|_| rms * 12f32.sqrt() * next()).collect()
}

fn drain(lips: &mut Lips) -> Vec<MouthPose> {
    std::iter::from_fn(|| lips.next()).collect()
}

fn poses_in_pieces(sound: &[f32], fps: Fps, latency: Latency, piece: usize) -> Vec<MouthPose> {
    let mut lips = Lips::new(fps, latency);
    let mut out = Vec::new();
    for piece in sound.chunks(piece) {
        lips.push(piece);
        out.extend(drain(&mut lips));
    }
    lips.finish();
    out.extend(drain(&mut lips));
    out
}

fn poses(sound: &[f32], fps: Fps) -> Vec<MouthPose> {
    poses_in_pieces(sound, fps, Latency::File, usize::MAX)
}

#[test]
fn the_size_of_the_pieces_changes_no_bit() {
    let sound = mama(6);
    for latency in [Latency::File, Latency::Live] {
        let whole = poses_in_pieces(&sound, Fps::whole(25), latency, usize::MAX);
        for piece in [1, 159, 160, 161, 4096] {
            assert!(poses_in_pieces(&sound, Fps::whole(25), latency, piece) == whole, "{latency:?} {piece}");
        }
    }
    let voice = |samples| Pcm { rate_hz: RATE_HZ, samples };
    assert_eq!(analyse(&voice(sound.clone())).unwrap().len(), sound.len() / 160 + 1);
}

#[test]
fn one_pose_a_frame_until_the_voice_ends() {
    for (samples, num, den, expected) in [
        (16_000, 25, 1, 25),
        (16_001, 25, 1, 26),
        (15_999, 25, 1, 25),
        (1, 25, 1, 1),
        (0, 25, 1, 0),
        (160_160, 30_000, 1001, 300),
        (16_000, 1, 1, 1),
        (32_000, 1, 1, 2),
        (16_000, 120, 1, 120),
        (16_000, 24_000, 1001, 24),
    ] {
        let fps = Fps::new(num, den).unwrap();
        assert_eq!(poses(&vec![0.1; samples], fps).len(), expected, "{samples} samples at {fps}");
    }
}

#[test]
fn no_closure_is_lost_at_any_frame_rate_and_the_mouth_opens_between() {
    let sound = mama(12);
    for (num, den) in [(12, 1), (24_000, 1001), (25, 1), (30, 1), (60, 1), (120, 1)] {
        let fps = Fps::new(num, den).unwrap();
        let poses = poses(&sound, fps);
        // the first syllables teach the ear its speaker
        for (i, centre) in closures(12).into_iter().enumerate().skip(1) {
            let near = |from: f64, to: f64| {
                let index = |t: f64| (t * fps.as_f64()).round() as usize;
                &poses[index(from)..=index(to)]
            };
            let shut = near(centre - 0.02, centre + 0.02).iter().any(|pose| pose.close > 0.9);
            assert!(shut, "closure {i} at {fps}");
            if fps.as_f64() < 23.0 {
                continue; // frames 83 ms apart do not show every vowel
            }
            let open =
                near(centre + 0.13, centre + 0.18).iter().any(|pose| pose.jaw > 0.5 && pose.close < 0.1);
            assert!(open, "vowel {i} at {fps}");
        }
    }
}

#[test]
fn poses_are_neither_early_nor_late() {
    let sound = mama(20);
    let poses = poses(&sound, Fps::whole(100));
    let shut: Vec<f32> = poses.iter().map(|pose| pose.jaw * (1.0 - pose.close)).collect();
    // how far the mouth is open, against the sound's own design, shifted
    let score = |shift: i64| -> f32 {
        let open = |frame: usize| {
            let t = frame as f64 / 100.0 - 0.3 - shift as f64 / 100.0;
            if t > 0.0 && t < 6.2 && t % 0.31 > 0.11 { 1.0f32 } else { -1.0 }
        };
        shut.iter().enumerate().map(|(frame, &value)| value * open(frame)).sum()
    };
    let best = (-15..=15).max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap();
    assert!(best.abs() <= 2, "the poses are best at {} ms", best * 10);
}

#[test]
fn silence_and_a_room_keep_the_mouth_shut() {
    let hum = |i: usize| 0.05 * (i as f32 * 50.0 * std::f32::consts::TAU / RATE_HZ as f32).sin();
    let rows = [
        ("digital silence", vec![0.0; 64_000]),
        ("hiss of a sound card", noise(4.0, 4e-4)),
        ("a fan", noise(4.0, 0.01)),
        ("a waterfall", noise(4.0, 0.2)),
        ("mains", (0..64_000).map(hum).collect()),
    ];
    for (name, sound) in rows {
        let mut lips = Lips::new(Fps::whole(25), Latency::File);
        lips.push(&sound);
        lips.finish();
        for pose in drain(&mut lips) {
            assert_eq!((pose.jaw, pose.close, pose.round), (0.0, 0.0, 0.0), "{name}");
        }
        assert!(!lips.heard_speech(), "{name}");
    }
    let mut lips = Lips::new(Fps::whole(25), Latency::File);
    assert_eq!(lips.peak_db(), -100.0);
    lips.push(&mama(6));
    lips.finish();
    assert!(lips.heard_speech() && lips.peak_db() > -30.0, "{}", lips.peak_db());
}

#[test]
fn between_sentences_the_gate_shuts() {
    let mut sound = mama(10);
    let speech = sound.len();
    sound.extend(vec![0.0; 48_000]);
    sound.extend(mama(4));
    for (sample, room) in sound.iter_mut().zip(noise(20.0, 6e-4)) {
        *sample += room;
    }
    let poses = poses(&sound, Fps::whole(25));
    let pause = (speech / 640)..((speech + 48_000) / 640);
    for pose in &poses[pause] {
        assert!(pose.jaw < 0.05 && pose.close < 0.05, "{pose:?}");
    }
}

#[test]
fn a_voice_is_heard_through_noise() {
    let mut sound = mama(12);
    for (sample, room) in sound.iter_mut().zip(noise(20.0, 0.01)) {
        *sample += room;
    }
    let poses = poses(&sound, Fps::whole(25));
    let mean = poses.iter().map(|pose| pose.jaw).sum::<f32>() / poses.len() as f32;
    assert!(mean > 0.3, "{mean}");
}

#[test]
fn a_quiet_voice_moves_the_mouth_like_a_loud_one() {
    let loud = mama(12);
    let jaw = |sound: &[f32]| {
        let poses = poses(sound, Fps::whole(25));
        poses.iter().map(|pose| pose.jaw).sum::<f32>() / poses.len() as f32
    };
    let expected = jaw(&loud);
    for gain in [0.1, 0.3, 3.0] {
        let scaled: Vec<f32> = loud.iter().map(|x| x * gain).collect();
        let got = jaw(&scaled);
        assert!((got - expected).abs() < 0.12 * expected, "gain {gain}: {got} against {expected}");
    }
}

#[test]
fn broken_samples_do_no_harm() {
    let mut sound = mama(6);
    for (i, sample) in sound.iter_mut().enumerate() {
        match i % 1009 {
            0 => *sample = f32::NAN,
            1 => *sample = f32::INFINITY,
            2 => *sample = f32::NEG_INFINITY,
            3 => *sample = 1e30,
            _ => {}
        }
    }
    let healthy = |pose: &MouthPose| {
        [pose.jaw, pose.wide, pose.round, pose.close, pose.labiodental, pose.tongue, pose.stress]
            .iter()
            .all(|x| (0.0..=1.0).contains(x))
    };
    assert!(poses(&sound, Fps::whole(25)).iter().all(healthy));
    let clipped: Vec<f32> = mama(6).iter().map(|x| (x * 50.0).clamp(-1.0, 1.0)).collect();
    assert!(poses(&clipped, Fps::whole(25)).iter().all(healthy));
}

#[test]
fn live_answers_come_within_a_quarter_of_a_second() {
    let mut lips = Lips::new(Fps::whole(25), Latency::Live);
    let (sound, mut pushed, mut taken) = (mama(6), 0, 0);
    for piece in sound.chunks(160) {
        lips.push(piece);
        pushed += piece.len();
        taken += drain(&mut lips).len();
        let late = pushed as f64 / f64::from(RATE_HZ) - taken as f64 / 25.0;
        assert!(late <= 0.25, "{late} s behind after {pushed} samples");
    }
}

#[test]
fn another_sample_rate_is_refused() {
    let voice = Pcm { rate_hz: 44_100, samples: vec![0.0; 100] };
    assert_eq!(analyse(&voice).unwrap_err().to_string(), "sound at 44100 Hz was given, 16000 Hz is needed");
}

/// An m is heard as one, whatever else is uncertain about a synthetic talker.
#[test]
fn the_network_hears_bilabials() {
    let heard = analyse(&Pcm { rate_hz: RATE_HZ, samples: mama(10) }).unwrap();
    let at = |t: f64| heard[(t * 100.0).round() as usize];
    for centre in closures(10).into_iter().skip(1) {
        let (shut, open) = (at(centre), at(centre + 0.155));
        assert!(shut.probability(Viseme::PP) > 0.4 && shut.close > 0.4, "{centre}: {shut:?}");
        assert!(open.probability(Viseme::AA) > 0.4 && open.jaw > 0.5, "{centre}: {open:?}");
    }
}
