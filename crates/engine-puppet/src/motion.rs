//! Motion that no voice asks for: sway, breath, blinks; and nods and brows on stress. All of it follows from seed and time.

use contract::Fps;

use crate::curve::wave;
use crate::pose::HeadPose;

/// Seconds from the start of a blink: closed by, still closed at, open again by.
const BLINK: [f64; 3] = [0.085, 0.135, 0.29];
/// Seconds between blinks.
const BLINK_PAUSE: (f64, f64) = (2.2, 5.5);
/// One blink in ten is a double one, this much later.
const DOUBLE_PAUSE: (f64, f64) = (0.36, 0.5);

/// What moves by itself in one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Motion {
    pub head: HeadPose,
    pub blink: f32,
    pub brow: f32,
    pub gaze: (f32, f32),
}

/// The stream of motions, one a frame.
pub struct Motions {
    fps: Fps,
    random: Random,
    /// Phases of the sways' sines.
    phases: [f64; 16],
    frame: u64,
    /// Start of the blink that is next or going on.
    blink_at: f64,
    stress: Stress,
    eyes: Eyes,
}

impl Motions {
    pub fn new(seed: u64, fps: Fps) -> Self {
        let mut random = Random(seed ^ 0x7a1c_1e5e_ed00_0001);
        let phases = std::array::from_fn(|_| random.next());
        let blink_at = random.between((0.9, 2.4));
        let eyes = Eyes { random: Random(random.0 ^ 0x5eed), ..Eyes::default() };
        Self { fps, random, phases, frame: 0, blink_at, stress: Stress::default(), eyes }
    }

    /// `stress`: 0..1, how loud the voice is against its own level.
    pub fn next(&mut self, stress: f32) -> Motion {
        let t = self.fps.seconds_at(self.frame);
        self.frame += 1;
        let accent = self.stress.next(stress, 1.0 / self.fps.as_f64() as f32);
        let sway = |base: f64, k: usize| -> f32 {
            let [a, b, c] = [self.phases[k], self.phases[k + 1], self.phases[k + 2]];
            ((wave(base * t + a) + wave(base * 1.73 * t + b) / 1.7 + wave(base * 2.91 * t + c) / 2.9) / 1.6)
                as f32
        };
        let breath = wave(0.24 * t + self.phases[15]) as f32;
        let head = HeadPose {
            yaw: 0.044 * sway(0.11, 0),
            pitch: 0.026 * sway(0.09, 3) + 0.045 * accent,
            roll: 0.011 * sway(0.07, 6),
            shift: (0.75 * sway(0.083, 9), 0.6 * sway(0.061, 12) + 0.4 * breath),
        };
        let brow = (1.6 * accent).clamp(0.0, 1.0);
        let gaze = self.eyes.next(t, 1.0 / self.fps.as_f64());
        Motion { head, blink: self.blink(t), brow, gaze }
    }

    fn blink(&mut self, t: f64) -> f32 {
        if t > self.blink_at + BLINK[2] {
            let double = self.random.next() < 0.1;
            self.blink_at += self.random.between(if double { DOUBLE_PAUSE } else { BLINK_PAUSE });
        }
        let since = t - self.blink_at;
        let [shut, hold, open] = BLINK;
        let raw = if since < 0.0 || since > open {
            0.0
        } else if since < shut {
            since / shut
        } else if since < hold {
            1.0
        } else {
            1.0 - (since - hold) / (open - hold)
        };
        (raw * raw * (3.0 - 2.0 * raw)) as f32
    }
}

/// Loudness against its own last second, smoothed: what a speaker nods to.
#[derive(Default)]
struct Stress {
    fast: f32,
    slow: f32,
}

impl Stress {
    fn next(&mut self, stress: f32, dt: f32) -> f32 {
        self.fast += (stress - self.fast) * (dt / (0.11 + dt));
        self.slow += (stress - self.slow) * (dt / (0.9 + dt));
        self.fast - self.slow
    }
}

/// Small jumps of the eyes: still for a while, then elsewhere within two frames; every second one looks straight again.
#[derive(Default)]
struct Eyes {
    random: Random,
    jump_at: f64,
    aim: (f32, f32),
    now: (f32, f32),
}

impl Eyes {
    fn next(&mut self, t: f64, dt: f64) -> (f32, f32) {
        if t >= self.jump_at {
            self.jump_at = t + self.random.between((0.5, 2.6));
            let away = self.aim == (0.0, 0.0);
            let reach =
                |random: &mut Random, end: f64| if away { random.between((-end, end)) as f32 } else { 0.0 };
            self.aim = (reach(&mut self.random, 1.0), reach(&mut self.random, 0.4));
        }
        let pace = (dt / (0.018 + dt)) as f32;
        self.now.0 += (self.aim.0 - self.now.0) * pace;
        self.now.1 += (self.aim.1 - self.now.1) * pace;
        self.now
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Default)]
struct Random(u64);

impl Random {
    /// 0..1
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, (low, high): (f64, f64)) -> f64 {
        low + (high - low) * self.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(seed: u64, fps: Fps) -> Vec<Motion> {
        let mut motions = Motions::new(seed, fps);
        (0..(fps.as_f64() * 60.0) as usize).map(|i| motions.next(((i / 20) % 2) as f32)).collect()
    }

    #[test]
    fn equal_seeds_move_equally_and_others_do_not() {
        let fps = Fps::whole(25);
        assert_eq!(minute(1, fps), minute(1, fps));
        assert_ne!(minute(1, fps), minute(2, fps));
    }

    #[test]
    fn eyes_blink_as_often_as_people_do_and_always_shut() {
        for fps in [Fps::whole(12), Fps::whole(25), Fps::whole(60)] {
            let motions = minute(3, fps);
            let blinks = motions.windows(2).filter(|w| w[0].blink == 0.0 && w[1].blink > 0.0).count();
            assert!((10..=28).contains(&blinks), "{blinks} at {fps}");
            if fps != Fps::whole(12) {
                let shut = motions.iter().filter(|m| m.blink > 0.97).count();
                assert!(shut >= blinks, "{shut} of {blinks} at {fps}");
            }
        }
    }

    #[test]
    fn nothing_jumps() {
        for pair in minute(9, Fps::whole(25)).windows(2) {
            let (a, b) = (pair[0].head, pair[1].head);
            assert!((a.yaw - b.yaw).abs() < 0.006 && (a.pitch - b.pitch).abs() < 0.03, "{a:?} {b:?}");
            assert!((a.shift.1 - b.shift.1).abs() < 0.2);
        }
    }
}
