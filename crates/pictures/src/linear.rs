//! OpenCV's `resize` with `INTER_LINEAR`, which smooths nothing when it shrinks: weights of 11 bits across and down, sums cut to 16 bits
//! between. Shrinking both sides to exact halves is the mean of four pixels there, and so it is here.

use std::ops::Range;

use super::{Level, Rect, View, ViewMut, leveled};

/// `INTER_RESIZE_COEF_SCALE`
const ONE: f32 = 2048.0;

/// Two source places around one of the result's, and their weights.
#[derive(Clone, Copy, Debug)]
struct Tap {
    at: [u32; 2],
    weights: [i16; 2],
}

/// Tables and rows for resizes of one size to another; other sizes make them anew in the memory they have.
#[derive(Debug)]
pub struct Linear {
    level: Level,
    /// Source and result of the tables.
    sizes: Option<[(usize, usize); 2]>,
    across: Vec<Tap>,
    down: Vec<Tap>,
    /// Source rows that are resized across, and which they are.
    lines: [(Option<u32>, Vec<i16>); 2],
    row: Vec<u8>,
}

impl Default for Linear {
    fn default() -> Self {
        Self::new(Level::best())
    }
}

impl Linear {
    pub fn new(level: Level) -> Self {
        Self {
            level,
            sizes: None,
            across: Vec::new(),
            down: Vec::new(),
            lines: Default::default(),
            row: Vec::new(),
        }
    }

    pub fn resize<const C: usize>(&mut self, from: View<C>, to: &mut ViewMut<C>) {
        let size = to.size();
        self.rows(from, size, Rect::of(size), |y, row| to.row_mut(y).copy_from_slice(row));
    }

    /// The rows of `window` in a result of `size`, one after the other, with their places in the result. What lies outside is not computed.
    pub fn rows<const C: usize>(
        &mut self,
        from: View<C>,
        size: (usize, usize),
        window: Rect,
        mut each: impl FnMut(usize, &[u8]),
    ) {
        let window = window.meet(&Rect::of(size));
        if window.is_empty() {
            return;
        }
        let (columns, rows) =
            (window.x1 as usize..window.x2 as usize, window.y1 as usize..window.y2 as usize);
        self.row.resize(columns.len() * C, 0);
        if from.size() == size {
            rows.for_each(|y| each(y, &from.row(y)[columns.start * C..columns.end * C]));
        } else if from.size() == (2 * size.0, 2 * size.1) {
            for y in rows {
                let pairs = |y: usize| &from.row(y)[columns.start * 2 * C..columns.end * 2 * C];
                mean_of_four::<C>(self.level, [pairs(2 * y), pairs(2 * y + 1)], &mut self.row);
                each(y, &self.row);
            }
        } else {
            self.prepare(from.size(), size);
            self.lines.iter_mut().for_each(|line| line.0 = None);
            for y in rows {
                let tap = self.down[y];
                let [upper, lower] = tap.at.map(|source| self.line(from, source, &columns));
                let lines = [&self.lines[upper].1[..], &self.lines[lower].1[..]];
                mix(self.level, lines, tap.weights, &mut self.row);
                each(y, &self.row);
            }
        }
    }

    fn prepare(&mut self, from: (usize, usize), to: (usize, usize)) {
        if self.sizes == Some([from, to]) {
            return;
        }
        let limit = |tap: (i32, f32), n: usize| {
            let (at, share) = tap;
            // beside the first and the last pixel there is nothing to mix with
            if at < 0 || at >= n as i32 - 1 { (at.clamp(0, n as i32 - 1), 0.0) } else { (at, share) }
        };
        taps(&mut self.across, from.0, to.0, limit);
        // down, rows that do not exist are taken as the nearest, with their weights
        taps(&mut self.down, from.1, to.1, |tap, _| tap);
        self.sizes = Some([from, to]);
    }

    /// Which of the two lines holds the source row.
    fn line<const C: usize>(&mut self, from: View<C>, source: u32, columns: &Range<usize>) -> usize {
        if let Some(held) = self.lines.iter().position(|line| line.0 == Some(source)) {
            return held;
        }
        // rows come in order, so the smaller one is done with
        let slot = usize::from(self.lines[0].0 > self.lines[1].0);
        let (of, values) = &mut self.lines[slot];
        *of = Some(source);
        values.resize(columns.len() * C + SPARE, 0);
        stretch::<C>(self.level, from.row(source as usize), &self.across[columns.clone()], values);
        slot
    }
}

fn taps(taps: &mut Vec<Tap>, from: usize, to: usize, limit: impl Fn((i32, f32), usize) -> (i32, f32)) {
    let scale = 1.0 / (to as f64 / from as f64);
    taps.clear();
    taps.extend((0..to).map(|i| {
        let place = ((i as f64 + 0.5) * scale - 0.5) as f32;
        let (at, share) = limit((place.floor() as i32, place - place.floor()), from);
        let weight = |share: f32| (share * ONE).round_ties_even() as i16;
        let inside = |at: i32| at.clamp(0, from as i32 - 1) as u32;
        Tap { at: [inside(at), inside(at + 1)], weights: [weight(1.0 - share), weight(share)] }
    }));
}

/// Entries of a line beyond its end, which may be written to.
const SPARE: usize = 1;

leveled! {
    /// A source row across, in sixteenths of the 11 bits. out: with `SPARE` entries beyond its end
    fn stretch<const C: usize>(row: &[u8], taps: &[Tap], out: &mut [i16]) {
        let mix = |left: u8, right: u8, weights: [i16; 2]| {
            ((i32::from(left) * i32::from(weights[0]) + i32::from(right) * i32::from(weights[1])) >> 4) as i16
        };
        let mut done = 0;
        if C == 3 {
            // a pixel and the byte after it make a vector; what follows overwrites the fourth
            for tap in taps {
                let [Some(left), Some(right)] = tap.at.map(|at| row[at as usize * 3..].first_chunk::<4>()) else {
                    break;
                };
                let out: &mut [i16; 4] = (&mut out[done * 3..][..4]).try_into().expect("cut to four entries");
                for i in 0..4 {
                    out[i] = mix(left[i], right[i], tap.weights);
                }
                done += 1;
            }
        }
        for (tap, out) in taps[done..].iter().zip(out[done * C..].chunks_exact_mut(C)) {
            let [left, right] = tap.at.map(|at| &row[at as usize * C..][..C]);
            for (out, (&left, &right)) in out.iter_mut().zip(left.iter().zip(right)) {
                *out = mix(left, right, tap.weights);
            }
        }
    }
}

leveled! {
    /// Two lines to a row of the result.
    fn mix(lines: [&[i16]; 2], weights: [i16; 2], out: &mut [u8]) {
        let part = |value: i16, weight: i16| ((i32::from(value) * i32::from(weight)) >> 16) as i16;
        for (out, (&upper, &lower)) in out.iter_mut().zip(lines[0].iter().zip(lines[1])) {
            *out = ((part(upper, weights[0]) + part(lower, weights[1]) + 2) >> 2) as u8;
        }
    }
}

leveled! {
    /// Two source rows to one of half their length.
    fn mean_of_four<const C: usize>(rows: [&[u8]; 2], out: &mut [u8]) {
        let pairs = rows[0].chunks_exact(2 * C).zip(rows[1].chunks_exact(2 * C));
        for (out, (upper, lower)) in out.chunks_exact_mut(C).zip(pairs) {
            for (c, out) in out.iter_mut().enumerate() {
                let sum = [upper[c], upper[C + c], lower[c], lower[C + c]].map(u16::from).iter().sum::<u16>();
                *out = ((sum + 2) >> 2) as u8;
            }
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
        Linear::new(level).resize(from.view(), &mut out.view_mut());
        out
    }

    #[test]
    fn as_opencv_resizes() {
        let check = |from: Plane, size: (usize, usize), expect: &[u8]| {
            assert_eq!(resized(Level::best(), &from, size).bytes(), expect, "{:?} to {size:?}", from.size());
        };
        let rows =
            [17, 21, 35, 50, 54, 74, 81, 109, 137, 144, 142, 143, 149, 154, 156, 199, 187, 142, 97, 86];
        check(pattern(2, 3), (5, 4), &rows);
        check(pattern(4, 3), (1, 1), &[152]);
        check(pattern(1, 1), (3, 2), &[17; 6]);
        check(pattern(4, 2), (2, 1), &[94, 113]); // halves
        check(pattern(4, 3), (4, 3), pattern(4, 3).bytes());
    }

    /// One byte of the result by itself, without tables, lines or vectors.
    fn plainly(from: &Picture<3>, size: (usize, usize), [x, y, c]: [usize; 3]) -> u8 {
        let (w, h) = from.size();
        let tap = |i: usize, from: usize, to: usize| {
            let place = ((i as f64 + 0.5) * (1.0 / (to as f64 / from as f64)) - 0.5) as f32;
            (place.floor(), place - place.floor())
        };
        let (mut at_x, mut share_x) = tap(x, w, size.0);
        let (at_y, share_y) = tap(y, h, size.1);
        if at_x < 0.0 || at_x >= (w - 1) as f32 {
            (at_x, share_x) = (at_x.clamp(0.0, (w - 1) as f32), 0.0);
        }
        let weight = |share: f32| (share * 2048.0).round_ties_even() as i32;
        let line = |y: f32| {
            let y = y.clamp(0.0, (h - 1) as f32) as usize;
            let value = |x: f32| i32::from(from.view().row(y)[(x as usize).min(w - 1) * 3 + c]);
            (value(at_x) * weight(1.0 - share_x) + value(at_x + 1.0) * weight(share_x)) >> 4
        };
        let part = |line: i32, weight: i32| (line * weight) >> 16;
        ((part(line(at_y), weight(1.0 - share_y)) + part(line(at_y + 1.0), weight(share_y)) + 2) >> 2) as u8
    }

    #[test]
    fn every_level_and_window_is_the_plain_resize() {
        for (i, [from, to]) in [
            [(1, 1), (5, 3)],
            [(2, 1), (70, 2)],
            [(7, 9), (3, 4)],
            [(40, 33), (93, 71)],
            [(61, 35), (17, 90)],
        ]
        .into_iter()
        .enumerate()
        {
            let picture = noise::<3>(from, i as u64);
            let expect: Vec<u8> = (0..to.0 * to.1 * 3)
                .map(|i| plainly(&picture, to, [i / 3 % to.0, i / 3 / to.0, i % 3]))
                .collect();
            let expect = Picture::<3>::new(expect, to).unwrap();
            for level in [Level::PORTABLE, Level::best()] {
                assert_eq!(resized(level, &picture, to), expect, "{level:?} {from:?} to {to:?}");
                let window = Rect::new(1, 1, to.0 as i32 - 1, 5);
                let mut linear = Linear::new(level);
                linear.rows(picture.view(), to, window, |y, row| {
                    assert_eq!(row, &expect.view().row(y)[3..(to.0 - 1) * 3]);
                });
            }
        }
    }

    #[test]
    fn halves_are_means() {
        let picture = noise::<3>((34, 10), 3);
        for level in [Level::PORTABLE, Level::best()] {
            let half = resized(level, &picture, (17, 5));
            for (i, &got) in half.bytes().iter().enumerate() {
                let (x, y, c) = (i / 3 % 17, i / 51, i % 3);
                let value =
                    |dx: usize, dy: usize| u16::from(picture.view().row(2 * y + dy)[(2 * x + dx) * 3 + c]);
                let sum = value(0, 0) + value(1, 0) + value(0, 1) + value(1, 1);
                assert_eq!(u16::from(got), (sum + 2) / 4, "{x} {y} {c}");
            }
        }
    }
}
