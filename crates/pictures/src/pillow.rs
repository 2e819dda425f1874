//! Pillow's `resize` with `BILINEAR`, `BICUBIC` and `LANCZOS`: filters that widen as the picture shrinks, with weights of 22 bits, along one side and
//! then, from bytes, along the other. A side that keeps its length is not filtered. Pillow 13 goes down first where that saves more; 10 always
//! goes across first.

use std::f64::consts::PI;
use std::ops::Range;

use super::{Level, Picture, Rect, View, leveled};

/// `PRECISION_BITS`: 32 less 8 for a byte and 2 for sums beyond it.
const BITS: u32 = 22;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    Bilinear,
    Bicubic,
    Lanczos,
}

impl Filter {
    /// How far it reaches, in pixels of the smaller picture.
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    fn at(self, distance: f64) -> f64 {
        /// The slope at a distance of one pixel.
        const A: f64 = -0.5;
        let x = distance.abs();
        match self {
            Filter::Bilinear if x < 1.0 => 1.0 - x,
            Filter::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Filter::Lanczos if x < 3.0 => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// The source pixels of each place along one side, and their weights.
#[derive(Debug, Default)]
struct Side {
    /// Where they begin, and how many they are.
    spans: Vec<(u32, u32)>,
    /// `most` for each place.
    weights: Vec<i32>,
    most: usize,
}

impl Side {
    fn prepare(&mut self, filter: Filter, from: usize, to: usize) {
        let scale = from as f64 / to as f64;
        let widened = scale.max(1.0);
        let support = filter.support() * widened;
        self.most = support.ceil() as usize * 2 + 1;
        self.spans.clear();
        self.weights.clear();
        self.weights.resize(to * self.most, 0);
        let mut exact = vec![0.0; self.most];
        for (place, weights) in self.weights.chunks_exact_mut(self.most).enumerate() {
            let middle = (place as f64 + 0.5) * scale;
            let first = (middle - support + 0.5).max(0.0) as usize;
            let last = ((middle + support + 0.5) as usize).min(from);
            let exact = &mut exact[..last - first];
            for (i, weight) in exact.iter_mut().enumerate() {
                *weight = filter.at(((i + first) as f64 - middle + 0.5) * (1.0 / widened));
            }
            let whole: f64 = exact.iter().sum();
            for (weight, &exact) in weights.iter_mut().zip(exact.iter()) {
                let share = if whole != 0.0 { exact / whole } else { exact };
                *weight = (share * f64::from(1 << BITS) + 0.5f64.copysign(share)) as i32;
            }
            self.spans.push((first as u32, (last - first) as u32));
        }
    }

    fn at(&self, place: usize) -> (usize, &[i32]) {
        let (first, count) = self.spans[place];
        (first as usize, &self.weights[place * self.most..][..count as usize])
    }
}

/// Some places of the result along one side, made of a source that begins with the pixel `origin`.
struct Part<'a> {
    /// None where the side keeps its length.
    side: Option<&'a Side>,
    places: Range<usize>,
    origin: usize,
}

impl<'a> Part<'a> {
    fn new(side: &'a Side, lengths: (usize, usize), places: Range<usize>) -> Self {
        Self { side: (lengths.0 != lengths.1).then_some(side), places, origin: 0 }
    }

    /// The source pixels that it needs.
    fn span(&self) -> Range<usize> {
        let Some(side) = self.side else { return self.places.clone() };
        let (last, weights) = side.at(self.places.end - 1);
        side.at(self.places.start).0..last + weights.len()
    }

    /// The same of a source that begins where its span does.
    fn cut(self) -> Self {
        Self { origin: self.span().start, ..self }
    }
}

/// Tables and rows for resizes of one size to another; other sizes make them anew.
#[derive(Debug)]
pub struct Pillow {
    level: Level,
    filter: Filter,
    sizes: Option<[(usize, usize); 2]>,
    across: Side,
    down: Side,
    between: Vec<u8>,
    padded: Vec<u8>,
    sums: Vec<i32>,
}

impl Pillow {
    pub fn new(filter: Filter) -> Self {
        Self::on(Level::best(), filter)
    }

    pub(crate) fn on(level: Level, filter: Filter) -> Self {
        Self {
            level,
            filter,
            sizes: None,
            across: Side::default(),
            down: Side::default(),
            between: Vec::new(),
            padded: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// `window` of a result of `size`, as far as it is inside; `to` takes its size. What lies outside is not computed. Where nothing is
    /// inside, `to` stays as it is.
    pub fn resize<const C: usize>(
        &mut self,
        from: View<C>,
        size: (usize, usize),
        window: Rect,
        to: &mut Picture<C>,
    ) {
        let window = window.meet(&Rect::of(size));
        if window.is_empty() {
            return;
        }
        let (w, h) = from.size();
        if self.sizes != Some([from.size(), size]) {
            self.across.prepare(self.filter, w, size.0);
            self.down.prepare(self.filter, h, size.1);
            self.sizes = Some([from.size(), size]);
        }
        let across = Part::new(&self.across, (w, size.0), window.x1 as usize..window.x2 as usize);
        let down = Part::new(&self.down, (h, size.1), window.y1 as usize..window.y2 as usize);
        let [columns, rows] = [&across, &down].map(|part| part.places.len());
        to.reshape((columns, rows));
        let (x, y) = (across.span(), down.span());
        let needed = Rect::new(x.start as i32, y.start as i32, x.end as i32, y.end as i32);
        let from = from.cut(needed).expect("a place of the result is made of pixels of the source");
        let (across, down) = (across.cut(), down.cut());
        // down first where that loses more than twice as many rows as the other loses columns
        let down_first = size.1 < h && h - size.1 > 2 * w.saturating_sub(size.0);
        let between = if down_first { (from.width(), rows) } else { (columns, from.height()) };
        self.between.resize(between.0 * between.1 * C, 0);
        if down_first {
            filter_down(self.level, from, &down, (&mut self.sums, &mut self.between));
        } else {
            filter_across(self.level, from, &across, (&mut self.padded, &mut self.between));
        }
        let (width, height) = between;
        let half = View::<C> { bytes: &self.between, width, height, stride: width * C };
        if down_first {
            filter_across(self.level, half, &across, (&mut self.padded, &mut to.bytes));
        } else {
            filter_down(self.level, half, &down, (&mut self.sums, &mut to.bytes));
        }
    }
}

fn filter_across<const C: usize>(
    level: Level,
    from: View<C>,
    part: &Part,
    (padded, out): (&mut Vec<u8>, &mut [u8]),
) {
    let bytes = part.places.len() * C;
    for (row, out) in from.rows().zip(out.chunks_exact_mut(bytes)) {
        let Some(side) = part.side else {
            out.copy_from_slice(row);
            continue;
        };
        padded.clear();
        padded.extend_from_slice(row);
        padded.push(0);
        stretch::<C>(level, padded, side, part, out);
    }
}

fn filter_down<const C: usize>(
    level: Level,
    from: View<C>,
    part: &Part,
    (sums, out): (&mut Vec<i32>, &mut [u8]),
) {
    let bytes = from.width() * C;
    for (place, out) in part.places.clone().zip(out.chunks_exact_mut(bytes)) {
        let Some(side) = part.side else {
            out.copy_from_slice(from.row(place - part.origin));
            continue;
        };
        let (first, weights) = side.at(place);
        sums.clear();
        sums.resize(bytes, 1 << (BITS - 1));
        for (i, &weight) in weights.iter().enumerate() {
            add(level, from.row(first - part.origin + i), weight, sums);
        }
        cut(level, sums, out);
    }
}

#[inline(always)]
fn byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

leveled! {
    /// A source row across. row: with one byte beyond its end
    fn stretch<const C: usize>(row: &[u8], side: &Side, part: &Part, out: &mut [u8]) {
        let spans = &side.spans[part.places.clone()];
        let weights = side.weights[part.places.start * side.most..].chunks_exact(side.most);
        let mut start = 0;
        for (&(first, count), weights) in spans.iter().zip(weights) {
            let (first, count) = (first as usize - part.origin, count as usize);
            let (row, weights) = (&row[first * C..], &weights[..count]);
            let mut sums = [1 << (BITS - 1); 4];
            if C == 3 {
                // a pixel and the byte after it make a vector; what follows overwrites the fourth
                let row = &row[..count * 3 + 1];
                for (pixel, &weight) in row.windows(4).step_by(3).zip(weights) {
                    let pixel: [u8; 4] = pixel.try_into().expect("windows of four bytes");
                    sums = std::array::from_fn(|lane| sums[lane] + i32::from(pixel[lane]) * weight);
                }
            } else {
                for (pixel, &weight) in row.chunks_exact(C).zip(weights) {
                    for (sum, &value) in sums.iter_mut().zip(pixel) {
                        *sum += i32::from(value) * weight;
                    }
                }
            }
            let out = &mut out[start..];
            match out.first_chunk_mut::<4>() {
                Some(out) if C == 3 => *out = sums.map(byte),
                _ => out.iter_mut().take(C).zip(sums).for_each(|(out, sum)| *out = byte(sum)),
            }
            start += C;
        }
    }
}

leveled! {
    fn add(line: &[u8], weight: i32, sums: &mut [i32]) {
        sums.iter_mut().zip(line).for_each(|(sum, &value)| *sum += i32::from(value) * weight);
    }
}

leveled! {
    fn cut(sums: &[i32], out: &mut [u8]) {
        out.iter_mut().zip(sums).for_each(|(out, &sum)| *out = byte(sum));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Plane;
    use crate::pattern::{noise, pattern};

    fn resized<const C: usize>(mut pillow: Pillow, from: &Picture<C>, size: (usize, usize)) -> Picture<C> {
        let mut out = Picture::scratch();
        pillow.resize(from.view(), size, Rect::of(size), &mut out);
        out
    }

    #[test]
    fn as_pillow_resizes() {
        let check = |filter: Filter, from: Plane, size: (usize, usize), expect: &[u8]| {
            let got = resized(Pillow::new(filter), &from, size);
            assert_eq!(got.bytes(), expect, "{filter:?} {:?} to {size:?}", from.size());
        };
        let rows = [54, 116, 130, 63, 116, 125, 100, 116, 106, 137, 116, 87, 146, 116, 82];
        check(Filter::Bilinear, pattern(6, 2), (3, 5), &rows);
        check(Filter::Bicubic, pattern(3, 9), (4, 2), &[104, 122, 138, 141, 147, 118, 104, 114]); // down first
        let rows = [31, 128, 97, 149, 123, 117, 152, 54, 146, 120, 207, 166];
        check(Filter::Bicubic, pattern(5, 4), (3, 4), &rows); // across only
        check(Filter::Bicubic, pattern(1, 1), (2, 3), &[17; 6]);
        let rows = [30, 120, 139, 59, 120, 123, 100, 121, 102, 140, 121, 81, 169, 121, 65];
        check(Filter::Lanczos, pattern(6, 2), (3, 5), &rows);
        check(Filter::Lanczos, pattern(3, 9), (4, 2), &[101, 119, 140, 142, 150, 120, 103, 117]);
        let rows = [106, 109, 129, 129, 146, 133, 131, 110, 112, 77, 101, 122];
        check(Filter::Lanczos, pattern(9, 7), (4, 3), &rows);
        check(Filter::Bilinear, pattern(4, 3), (4, 3), pattern(4, 3).bytes());
    }

    #[test]
    fn levels_and_windows_agree() {
        for (i, [from, to]) in [
            [(1, 3), (9, 2)],
            [(50, 41), (19, 16)],
            [(31, 27), (66, 70)],
            [(20, 90), (25, 31)], // down first
            [(40, 40), (13, 40)],
        ]
        .into_iter()
        .enumerate()
        {
            let (rgb, plane) = (noise::<3>(from, i as u64), noise::<1>(from, i as u64));
            for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
                let whole = resized(Pillow::on(Level::PORTABLE, filter), &rgb, to);
                assert_eq!(resized(Pillow::new(filter), &rgb, to), whole, "{filter:?} {from:?} to {to:?}");
                let one = resized(Pillow::on(Level::PORTABLE, filter), &plane, to);
                assert_eq!(resized(Pillow::new(filter), &plane, to), one, "{filter:?} {from:?} to {to:?}");
                let window = Rect::new(2, -4, to.0 as i32 - 3, to.1 as i32 - 1);
                let mut part = Picture::scratch();
                Pillow::new(filter).resize(rgb.view(), to, window, &mut part);
                assert_eq!(part, whole.view().cut(window).unwrap().to_picture());
            }
        }
    }

    #[test]
    fn a_window_beside_the_result_changes_nothing() {
        let mut out = pattern(2, 2);
        Pillow::new(Filter::Bicubic).resize(pattern(5, 5).view(), (9, 9), Rect::new(9, 0, 12, 9), &mut out);
        assert_eq!(out, pattern(2, 2));
    }
}
