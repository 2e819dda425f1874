//! OpenCV's `resize` with `INTER_LANCZOS4`: eight pixels across and eight down, whatever the scale, with weights of 11 bits and one
//! rounding at the end. Beyond the borders the last pixel goes on.

use super::{Level, View, ViewMut, leveled};

/// Pixels that a pixel of the result is made of, in a row.
const TAPS: usize = 8;
/// Those before the one it lies on.
const BEFORE: usize = 3;
/// How far taps reach over either border.
const MARGIN: usize = 4;
/// `INTER_RESIZE_COEF_BITS`
const BITS: u32 = 11;

/// The first of eight source places, counted from `MARGIN` before the border, and their weights.
#[derive(Clone, Copy, Debug)]
struct Tap {
    first: u32,
    weights: [i16; TAPS],
}

/// Tables and rows for resizes of one size to another; other sizes make them anew in the memory they have.
#[derive(Debug)]
pub struct Lanczos {
    level: Level,
    sizes: Option<[(usize, usize); 2]>,
    across: Vec<Tap>,
    down: Vec<Tap>,
    /// A source row with its margins, channel after channel.
    padded: Vec<i16>,
    /// Source rows that are resized across: row `y` in line `y % TAPS`, if it says so.
    lines: [(Option<usize>, Vec<i32>); TAPS],
}

impl Default for Lanczos {
    fn default() -> Self {
        Self::new(Level::best())
    }
}

impl Lanczos {
    pub(crate) fn new(level: Level) -> Self {
        Self {
            level,
            sizes: None,
            across: Vec::new(),
            down: Vec::new(),
            padded: Vec::new(),
            lines: Default::default(),
        }
    }

    pub fn resize<const C: usize>(&mut self, from: View<C>, to: &mut ViewMut<C>) {
        let size = to.size();
        if self.sizes != Some([from.size(), size]) {
            taps(&mut self.across, from.width(), size.0);
            taps(&mut self.down, from.height(), size.1);
            self.sizes = Some([from.size(), size]);
        }
        self.lines.iter_mut().for_each(|line| line.0 = None);
        for y in 0..size.1 {
            let tap = self.down[y];
            let source = |i: usize| (tap.first as usize + i).saturating_sub(MARGIN).min(from.height() - 1);
            for i in 0..TAPS {
                self.hold(from, source(i), size.0);
            }
            let lines: [&[i32]; TAPS] = std::array::from_fn(|i| &self.lines[source(i) % TAPS].1[..]);
            mix(self.level, lines, &tap.weights, to.row_mut(y));
        }
    }

    /// Resizes a source row across, unless it is.
    fn hold<const C: usize>(&mut self, from: View<C>, source: usize, width: usize) {
        let (of, values) = &mut self.lines[source % TAPS];
        if of.replace(source) == Some(source) {
            return;
        }
        let length = from.width() + 2 * MARGIN;
        self.padded.resize(length * C, 0);
        let row = from.row(source);
        for (c, plane) in self.padded.chunks_exact_mut(length).enumerate() {
            let value = |x: usize| i16::from(row[x * C + c]);
            let (before, rest) = plane.split_at_mut(MARGIN);
            let (middle, after) = rest.split_at_mut(from.width());
            before.fill(value(0));
            middle.iter_mut().enumerate().for_each(|(x, v)| *v = value(x));
            after.fill(value(from.width() - 1));
        }
        values.resize(width * C, 0);
        for (c, plane) in self.padded.chunks_exact(length).enumerate() {
            stretch::<C>(self.level, plane, &self.across, &mut values[c..]);
        }
    }
}

fn taps(taps: &mut Vec<Tap>, from: usize, to: usize) {
    let scale = 1.0 / (to as f64 / from as f64);
    taps.clear();
    taps.extend((0..to).map(|i| {
        let place = ((i as f64 + 0.5) * scale - 0.5) as f32;
        let at = place.floor();
        let first = at as i32 - BEFORE as i32 + MARGIN as i32;
        Tap { first: first as u32, weights: weights(place - at) }
    }));
}

/// `interpolateLanczos4`: sin(pi d) sin(pi d / 4) / d^2 at the distances d of eight pixels, over their sum.
fn weights(share: f32) -> [i16; TAPS] {
    const S45: f64 = std::f64::consts::FRAC_1_SQRT_2;
    /// The sine of the sum of two angles, of which the second grows by eighths of a turn.
    const TURNS: [[f64; 2]; TAPS] = [
        [1.0, 0.0],
        [-S45, -S45],
        [0.0, 1.0],
        [S45, -S45],
        [-1.0, 0.0],
        [S45, S45],
        [0.0, -1.0],
        [-S45, S45],
    ];
    let quarter = std::f64::consts::PI * 0.25;
    let (sine, cosine) = (-f64::from(share + BEFORE as f32) * quarter).sin_cos();
    let raw: [f32; TAPS] = std::array::from_fn(|i| {
        let distance = share + BEFORE as f32 - i as f32;
        if distance.abs() < 1e-6 {
            return 1e30; // on a pixel, which then is all there is
        }
        let y = -f64::from(distance) * quarter;
        ((TURNS[i][0] * sine + TURNS[i][1] * cosine) / (y * y)) as f32
    });
    let whole = 1.0 / raw.iter().sum::<f32>();
    raw.map(|weight| (weight * whole * (1 << BITS) as f32).round_ties_even() as i16)
}

leveled! {
    /// One channel of a padded row across, into every C-th value.
    fn stretch<const C: usize>(plane: &[i16], taps: &[Tap], out: &mut [i32]) {
        for (out, tap) in out.iter_mut().step_by(C).zip(taps) {
            let pixels = &plane[tap.first as usize..][..TAPS];
            *out = pixels.iter().zip(&tap.weights).map(|(&p, &w)| i32::from(p) * i32::from(w)).sum();
        }
    }
}

leveled! {
    /// Eight lines to a row of the result.
    fn mix(lines: [&[i32]; TAPS], weights: &[i16; TAPS], out: &mut [u8]) {
        let lines = lines.map(|line| &line[..out.len()]);
        for (x, out) in out.iter_mut().enumerate() {
            let mut sum = 1 << (2 * BITS - 1);
            for (line, &weight) in lines.iter().zip(weights) {
                sum += line[x] * i32::from(weight);
            }
            *out = (sum >> (2 * BITS)).clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::{noise, pattern};
    use crate::{Picture, Plane};

    fn resized<const C: usize>(level: Level, from: &Picture<C>, size: (usize, usize)) -> Picture<C> {
        let mut out = Picture::blank(size).unwrap();
        Lanczos::new(level).resize(from.view(), &mut out.view_mut());
        out
    }

    #[test]
    fn as_opencv_resizes() {
        let rows = [8, 5, 38, 123, 184, 34, 49, 85, 131, 157, 79, 123, 167, 145, 111, 105, 167, 214, 153, 85];
        assert_eq!(resized(Level::best(), &pattern(3, 2), (5, 4)).bytes(), rows);
        let one = Plane::new(vec![200], (1, 1)).unwrap();
        assert_eq!(resized(Level::best(), &one, (3, 2)).bytes(), [200; 6]);
        assert_eq!(resized(Level::best(), &pattern(6, 5), (6, 5)), pattern(6, 5));
    }

    #[test]
    fn the_weights_of_a_place_between_two_pixels_are_even() {
        let weights = weights(0.5);
        assert!((0..TAPS).all(|i| weights[i] == weights[TAPS - 1 - i]), "{weights:?}");
        assert_eq!(super::weights(0.0), [0, 0, 0, 2048, 0, 0, 0, 0]);
    }

    #[test]
    fn every_level_is_the_plain_resize() {
        for (i, [from, to]) in
            [[(1, 1), (4, 3)], [(2, 3), (90, 5)], [(50, 41), (19, 16)], [(31, 27), (66, 70)]]
                .into_iter()
                .enumerate()
        {
            let picture = noise::<3>(from, i as u64);
            let plainly = |i: usize| {
                let (x, y, c) = (i / 3 % to.0, i / 3 / to.0, i % 3);
                let tap = |i: usize, from: usize, to: usize| {
                    let place = ((i as f64 + 0.5) * (1.0 / (to as f64 / from as f64)) - 0.5) as f32;
                    (place.floor() as i32, weights(place - place.floor()))
                };
                let ((at_x, across), (at_y, down)) = (tap(x, from.0, to.0), tap(y, from.1, to.1));
                let mut sum = 1 << 21;
                for (j, down) in down.iter().enumerate() {
                    let y = (at_y + j as i32 - 3).clamp(0, from.1 as i32 - 1) as usize;
                    for (i, across) in across.iter().enumerate() {
                        let x = (at_x + i as i32 - 3).clamp(0, from.0 as i32 - 1) as usize;
                        let value = i32::from(picture.view().row(y)[x * 3 + c]);
                        sum += value * i32::from(*across) * i32::from(*down);
                    }
                }
                (sum >> 22).clamp(0, 255) as u8
            };
            let expect: Vec<u8> = (0..to.0 * to.1 * 3).map(plainly).collect();
            for level in [Level::PORTABLE, Level::best()] {
                assert_eq!(resized(level, &picture, to).bytes(), expect, "{level:?} {from:?} to {to:?}");
            }
        }
    }
}
