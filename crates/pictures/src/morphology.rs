//! OpenCV's `dilate` and `erode` of bytes with any element, anchored in its middle. Pixels outside the picture do not count.

use super::{Level, PictureError, Plane, leveled};

/// Neighbours of a pixel that count, side by side in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    dy: i32,
    /// Of the first and the last.
    dx: [i32; 2],
}

impl Run {
    /// The largest power of two of pixels that fits in, as its exponent.
    fn power(self) -> usize {
        ((self.dx[1] - self.dx[0] + 1) as u32).ilog2() as usize
    }
}

/// Which neighbours count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    size: (usize, usize),
    runs: Vec<Run>,
}

impl Element {
    /// By rows from above: the first pixel and how many count. width: odd, as is the number of rows
    pub fn of_rows(width: usize, rows: &[(usize, usize)]) -> Result<Self, PictureError> {
        let size = (width, rows.len());
        if width.is_multiple_of(2) || rows.len().is_multiple_of(2) {
            return Err(PictureError::Kernel(size));
        }
        let [middle_x, middle_y] = [width, rows.len()].map(|side| (side / 2) as i32);
        let run = |(y, &(first, count)): (usize, &(usize, usize))| {
            let last = (first + count).min(width);
            (first < last).then(|| Run {
                dy: y as i32 - middle_y,
                dx: [first as i32 - middle_x, last as i32 - 1 - middle_x],
            })
        };
        Ok(Self { size, runs: rows.iter().enumerate().filter_map(run).collect() })
    }

    /// `MORPH_ELLIPSE`
    pub fn ellipse(width: usize, height: usize) -> Result<Self, PictureError> {
        let (c, r) = ((width / 2) as f64, (height / 2) as f64);
        let row = |y: usize| {
            let dy = y as f64 - r;
            let across = if r == 0.0 { 0.0 } else { ((r * r - dy * dy) * (1.0 / (r * r))).sqrt() };
            let reach = (c * across).round_ties_even();
            ((c - reach) as usize, 2 * reach as usize + 1)
        };
        Self::of_rows(width, &(0..height).map(row).collect::<Vec<_>>())
    }

    /// One where a neighbour counts.
    pub fn picture(&self) -> Result<Plane, PictureError> {
        let mut plane = Plane::blank(self.size)?;
        let (middle_x, middle_y) = ((self.size.0 / 2) as i32, (self.size.1 / 2) as i32);
        let mut view = plane.view_mut();
        for run in &self.runs {
            let [first, last] = run.dx.map(|dx| (dx + middle_x) as usize);
            view.row_mut((run.dy + middle_y) as usize)[first..=last].fill(1);
        }
        Ok(plane)
    }
}

/// Planes for an operation on pictures of any size.
#[derive(Debug)]
pub struct Morphology {
    level: Level,
    /// Row by row, with margins: the greatest of 1, 2, 4, … pixels that begin at each.
    greatest: Vec<Vec<u8>>,
}

impl Default for Morphology {
    fn default() -> Self {
        Self::new(Level::best())
    }
}

impl Morphology {
    pub(crate) fn new(level: Level) -> Self {
        Self { level, greatest: Vec::new() }
    }

    /// Every pixel becomes the greatest of those that count.
    pub fn dilate(&mut self, plane: &mut Plane, element: &Element) {
        self.grow(plane, element, 0);
    }

    /// Every pixel becomes the least of those that count.
    pub fn erode(&mut self, plane: &mut Plane, element: &Element) {
        // the least is the greatest of what is missing
        self.grow(plane, element, u8::MAX);
    }

    /// Dilates `plane ^ mask`.
    fn grow(&mut self, plane: &mut Plane, element: &Element, mask: u8) {
        let (width, height) = plane.size();
        let margin = |reach: Option<i32>| reach.unwrap_or(0).max(0) as usize;
        let before = margin(element.runs.iter().map(|run| -run.dx[0]).max());
        let after = margin(element.runs.iter().map(|run| run.dx[1]).max());
        let stride = before + width + after;
        let powers = element.runs.iter().map(|run| run.power() + 1).max().unwrap_or(1);
        self.greatest.resize_with(self.greatest.len().max(powers), Vec::new);
        self.greatest.iter_mut().take(powers).for_each(|rows| rows.resize(stride * height, 0));
        for (row, padded) in plane.view().rows().zip(self.greatest[0].chunks_exact_mut(stride)) {
            padded[..before].fill(0);
            padded[before + width..].fill(0);
            padded[before..][..width].iter_mut().zip(row).for_each(|(to, &from)| *to = from ^ mask);
        }
        for power in 1..powers {
            let [narrow, wide] = &mut self.greatest[power - 1..=power] else { unreachable!("two of them") };
            let by = 1 << (power - 1);
            for (wide, narrow) in wide.chunks_exact_mut(stride).zip(narrow.chunks_exact(stride)) {
                // what would begin so near the end that it leaves the row is never asked for
                let n = stride.saturating_sub(by);
                wide[..n].copy_from_slice(&narrow[..n]);
                raise(self.level, &mut wide[..n], &narrow[by.min(stride)..]);
            }
        }
        for (y, out) in plane.view_mut().bytes.chunks_exact_mut(width).enumerate() {
            out.fill(0);
            for run in &element.runs {
                let source = y as i32 + run.dy;
                if !(0..height as i32).contains(&source) {
                    continue;
                }
                let row = &self.greatest[run.power()][source as usize * stride..][..stride];
                let begins = [run.dx[0], run.dx[1] + 1 - (1 << run.power())];
                let [first, last] = begins.map(|dx| &row[(before as i32 + dx) as usize..][..width]);
                raise(self.level, out, first);
                if begins[0] != begins[1] {
                    raise(self.level, out, last);
                }
            }
            out.iter_mut().for_each(|v| *v ^= mask);
        }
    }
}

leveled! {
    /// Each becomes the greater of both.
    fn raise(values: &mut [u8], others: &[u8]) {
        values.iter_mut().zip(others).for_each(|(value, &other)| *value = (*value).max(other));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::{noise, pattern};

    #[test]
    fn as_opencv_does() {
        // larger than the picture, in no way even, and with nothing in its middle
        let element = Element::of_rows(7, &[(0, 2), (0, 0), (6, 1), (0, 0), (3, 1)]).unwrap();
        let mut plane = pattern(4, 3);
        Morphology::default().dilate(&mut plane, &element);
        assert_eq!(plane.bytes(), [199, 86, 47, 82, 88, 0, 0, 0, 82, 0, 17, 54]);
        let mut plane = pattern(4, 3);
        Morphology::default().erode(&mut plane, &element);
        assert_eq!(plane.bytes(), [94, 86, 47, 82, 88, 255, 255, 255, 82, 255, 17, 17]);
    }

    #[test]
    fn elements() {
        let sums = |element: Element| -> Vec<u32> {
            let rows = element.picture().unwrap();
            rows.view().rows().map(|row| row.iter().map(|&v| u32::from(v)).sum()).collect()
        };
        assert_eq!(sums(Element::ellipse(35, 3).unwrap()), [1, 35, 1]);
        assert_eq!(sums(Element::ellipse(5, 5).unwrap()), [1, 5, 5, 5, 1]);
        assert_eq!(sums(Element::ellipse(3, 1).unwrap()), [1]);
        let even = Element::ellipse(4, 3).unwrap_err().to_string();
        assert_eq!(even, "a kernel of 4x3 has no middle; both sides must be odd");
    }

    #[test]
    fn every_level_is_the_plain_maximum() {
        for (i, size) in [(1, 1), (2, 30), (70, 3), (90, 50)].into_iter().enumerate() {
            let rows: Vec<(usize, usize)> = (0..21).map(|y| (y % 5, (y * 7) % 37)).collect();
            let element = Element::of_rows(41, &rows).unwrap();
            let plane = noise::<1>(size, i as u64);
            let around = |i: usize| {
                let (x, y) = ((i % size.0) as i32, (i / size.0) as i32);
                let (plane, rows) = (plane.view(), &rows);
                (0..21).flat_map(move |j| {
                    let (first, count) = rows[j as usize];
                    (first as i32..(first + count) as i32).filter_map(move |i| {
                        let (x, y) = (x + i - 20, y + j - 10);
                        let inside = (0..size.0 as i32).contains(&x) && (0..size.1 as i32).contains(&y);
                        inside.then(|| plane.row(y as usize)[x as usize])
                    })
                })
            };
            let n = size.0 * size.1;
            let greatest: Vec<u8> = (0..n).map(|i| around(i).max().unwrap_or(0)).collect();
            let least: Vec<u8> = (0..n).map(|i| around(i).min().unwrap_or(255)).collect();
            for level in [Level::PORTABLE, Level::best()] {
                let (mut grown, mut shrunk) = (plane.clone(), plane.clone());
                let mut morphology = Morphology::new(level);
                morphology.dilate(&mut grown, &element);
                morphology.erode(&mut shrunk, &element);
                assert_eq!(grown.bytes(), greatest, "{level:?} {size:?}");
                assert_eq!(shrunk.bytes(), least, "{level:?} {size:?}");
            }
        }
    }
}
