//! A drawn face whose mouth does as it is told, and speech for it: the material of this room's tests.

use contract::{Frame, Layout, Size};
use face::Similarity;
use speech::Viseme;
use speech::truth::{Phoneme, Targets, targets};

use crate::geometry::Geometry;

pub const FPS: f64 = 25.0;
const SIDE: usize = 384;
/// Picture px a canonical px.
const SCALE: f32 = 0.6;
const MOUTH: (f32, f32) = (96.0, 136.0);
const HALF_WIDTH: f32 = 30.0;
/// Canonical px of gap at opening 1.
const WIDEST: f32 = 20.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teeth {
    /// A dark cavity.
    Hidden,
    /// White from lip to lip, as cartoons have them.
    Bright,
}

/// What a frame shows.
#[derive(Clone, Copy, Debug)]
pub struct Pose {
    /// 0..1
    pub opening: f32,
    /// Canonical px.
    pub head: (f32, f32),
    /// Grey levels.
    pub light: f32,
    /// Picture px by which the wall has moved.
    pub wall: f32,
    pub teeth: Teeth,
}

impl Default for Pose {
    fn default() -> Self {
        Self { opening: 0.0, head: (0.0, 0.0), light: 0.0, wall: 0.0, teeth: Teeth::Hidden }
    }
}

pub fn geometry() -> Geometry {
    Geometry { canon: to_picture().inverse(), mouth: MOUTH }
}

fn to_picture() -> Similarity {
    Similarity { a: SCALE, b: 0.0, tx: 192.0 - SCALE * 96.0, ty: 180.0 - SCALE * 96.0 }
}

/// Draws poses; what does not move with the mouth is drawn once a head position.
pub struct Actor {
    still: Option<(Pose, Vec<u8>)>,
    noise: u32,
}

impl Actor {
    pub fn new() -> Self {
        Self { still: None, noise: 1 }
    }

    pub fn draw(&mut self, pose: Pose) -> Frame {
        let mut data = match &self.still {
            Some((p, data)) if (p.head, p.light, p.wall) == (pose.head, pose.light, pose.wall) => {
                data.clone()
            }
            _ => {
                let data = blank(pose);
                self.still = Some((pose, data.clone()));
                data
            }
        };
        paint(&mut data, pose, [96.0 - 45.0, 120.0, 96.0 + 45.0, 205.0]);
        // a grain of one grey level, like a codec's
        for value in &mut data[..SIDE * SIDE] {
            self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = value.saturating_add((self.noise >> 31) as u8);
        }
        Frame::new(Size::new(SIDE as u32, SIDE as u32), Layout::I420, data).unwrap()
    }
}

fn blank(pose: Pose) -> Vec<u8> {
    let mut data = vec![128; SIDE * SIDE * 3 / 2];
    paint(&mut data, pose, [-400.0, -400.0, 600.0, 600.0]);
    data
}

/// Paints the canonical rectangle (left, top, right, bottom), where it lies in the picture.
fn paint(data: &mut [u8], pose: Pose, [left, top, right, bottom]: [f32; 4]) {
    let map = to_picture();
    let back = map.inverse();
    let (x0, y0) = map.apply(left, top);
    let (x1, y1) = map.apply(right, bottom);
    let clip = |v: f32| (v.clamp(0.0, SIDE as f32) as usize) & !1;
    let (luma, chroma) = data.split_at_mut(SIDE * SIDE);
    for y in clip(y0)..clip(y1) {
        for x in clip(x0)..clip(x1) {
            let (cx, cy) = back.apply(x as f32, y as f32);
            let (grey, red) =
                colour(cx - pose.head.0, cy - pose.head.1, (x as f32 - pose.wall, y as f32), &pose);
            luma[y * SIDE + x] = (16.0 + (grey + pose.light) * 219.0 / 255.0).clamp(16.0, 235.0) as u8;
            if x % 2 == 0 && y % 2 == 0 {
                chroma[SIDE * SIDE / 4 + y / 2 * SIDE / 2 + x / 2] = (128.0 + red) as u8;
            }
        }
    }
}

/// Grey 0..255 and Cr - 128 at a place of the head; `wall` is the place in the picture behind it.
fn colour(x: f32, y: f32, wall: (f32, f32), pose: &Pose) -> (f32, f32) {
    let jaw = 0.6 * WIDEST * pose.opening * ((y - 130.0) / 40.0).clamp(0.0, 1.0);
    let head = ((x - 96.0) / 78.0).powi(2) + ((y - jaw - 85.0) / 108.0).powi(2);
    if head > 1.0 {
        return (110.0 + 40.0 * (wall.0 * 0.31).sin() * (wall.1 * 0.23).sin(), 0.0);
    }
    if let Some(mouth) = mouth(x, y, pose) {
        return mouth;
    }
    let spot =
        |px: f32, py: f32, rx: f32, ry: f32| (-(((x - px) / rx).powi(2) + ((y - py) / ry).powi(2))).exp();
    let mut grey = 185.0 - 45.0 * head * head;
    for eye in [56.0, 136.0] {
        grey += 45.0 * spot(eye, 50.0, 15.0, 7.0)
            - 190.0 * spot(eye, 50.0, 6.0, 6.0)
            - 90.0 * spot(eye, 30.0, 16.0, 3.0);
    }
    grey -= 80.0 * (spot(89.0, 98.0, 4.0, 2.5) + spot(103.0, 98.0, 4.0, 2.5))
        + 25.0 * spot(106.0, 75.0, 5.0, 22.0);
    // the fold under the lip, the chin's light and its edge go with the jaw
    let below = y - jaw;
    grey -= 35.0 * spot(96.0, 154.0 + jaw, 14.0, 3.5) - 22.0 * spot(96.0, 168.0 + jaw, 12.0, 8.0);
    grey -= 40.0 * ((below - 178.0) / 8.0).clamp(0.0, 1.0);
    (grey, 14.0)
}

fn mouth(x: f32, y: f32, pose: &Pose) -> Option<(f32, f32)> {
    let t = (x - MOUTH.0) / HALF_WIDTH;
    if t.abs() >= 1.0 {
        return None;
    }
    let profile = 1.0 - t * t;
    let gap = WIDEST * pose.opening * profile;
    let (upper, lower) = (MOUTH.1 - 0.22 * gap, MOUTH.1 + 0.78 * gap);
    let edge = |distance: f32| distance.clamp(0.0, 1.0);
    if y > upper - 6.0 * profile && y < lower + 8.0 * profile {
        let lip = 125.0 - 55.0 * (-((y - if y < upper { upper } else { lower }) / 1.2).powi(2)).exp();
        let inside = match pose.teeth {
            Teeth::Hidden => 28.0,
            Teeth::Bright => 235.0,
        };
        let share = edge(y - upper + 0.5) * edge(lower - y + 0.5) * edge(gap);
        let red = 34.0 * (1.0 - share) + if pose.teeth == Teeth::Bright { 0.0 } else { 8.0 * share };
        return Some((lip * (1.0 - share) + inside * share, red));
    }
    None
}

/// Speech of `seconds`: syllables, a third of their consonants bilabial, with pauses.
pub struct Speech {
    pub phonemes: Vec<Phoneme>,
    pub seconds: f64,
    pub targets: Vec<Targets>,
}

impl Speech {
    pub fn new(seconds: f64) -> Self {
        let mut state = 11u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24)
        };
        let mut phonemes: Vec<Phoneme> = Vec::new();
        let mut at = 0.0;
        let mut say = |viseme, length: f64| {
            let end = (at + length).min(seconds);
            if end > at {
                phonemes.push(Phoneme { start: at, end, viseme });
            }
            at = end;
            at < seconds
        };
        let consonants = [Viseme::PP, Viseme::DD, Viseme::SS, Viseme::PP, Viseme::KK, Viseme::FF];
        let vowels = [Viseme::AA, Viseme::E, Viseme::O, Viseme::I, Viseme::AA];
        say(Viseme::Sil, 0.5);
        loop {
            for _ in 0..4 + (random() * 6.0) as usize {
                say(consonants[(random() * 6.0) as usize], 0.07 + 0.05 * random());
                say(vowels[(random() * 5.0) as usize], 0.09 + 0.12 * random());
            }
            if !say(Viseme::Sil, 0.35 + 0.5 * random()) {
                break;
            }
        }
        let targets = targets(&phonemes, seconds);
        Self { phonemes, seconds, targets }
    }

    pub fn frames(&self) -> usize {
        (self.seconds * FPS) as usize
    }

    /// What a good engine opens at each frame: the truth, never losing a closure between two frames.
    pub fn followed(&self, delay: f64) -> Vec<f32> {
        (0..self.frames())
            .map(|i| {
                let at = ((i as f64 / FPS - delay).max(0.0) * 100.0).round() as usize;
                let near = &self.targets[at.saturating_sub(2)..(at + 3).min(self.targets.len())];
                let close = near.iter().map(|t| t.close).fold(0.0, f32::max);
                self.targets[at.min(self.targets.len() - 1)].jaw * (1.0 - close)
            })
            .collect()
    }

    /// What a flapper opens: how loud the voice is; b and m are voiced.
    pub fn loudness(&self) -> Vec<f32> {
        let level = |at: f64| {
            let said = self.phonemes.iter().find(|p| p.start <= at && at < p.end);
            match said.map(|p| p.viseme) {
                None | Some(Viseme::Sil) => 0.0,
                Some(Viseme::PP) => 0.6,
                Some(Viseme::SS | Viseme::FF | Viseme::KK) => 0.35,
                Some(Viseme::DD) => 0.55,
                Some(_) => 1.0,
            }
        };
        let around = [-0.04, -0.02, 0.0, 0.02, 0.04];
        (0..self.frames())
            .map(|i| around.iter().map(|d| level(i as f64 / FPS + d)).sum::<f32>() / around.len() as f32)
            .collect()
    }

    /// Whether frame `i` is well inside a pause.
    pub fn pauses_at(&self, i: usize) -> bool {
        let at = i as f64 / FPS;
        self.phonemes.iter().any(|p| p.viseme == Viseme::Sil && p.start + 0.06 < at && at < p.end - 0.06)
    }
}
