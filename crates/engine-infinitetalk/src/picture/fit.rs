//! A picture made as large as it must be to fill a bucket, and what is too much cut off on both sides. Pictures with Pillow's antialiased
//! bilinear filter, masks by the nearest pixel, as PyTorch's `interpolate`. Reference: InfiniteTalk 0107cd9, `resize_and_centercrop`.

use pictures::pillow::{Filter, Pillow};
use pictures::{Picture, Rect, View};

/// The sizes of one fit, each `(width, height)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    source: (usize, usize),
    target: (usize, usize),
    resized: (usize, usize),
}

impl Geometry {
    /// Neither size is empty.
    pub fn new(source: (usize, usize), target: (usize, usize)) -> Self {
        // in the reference's order of f64 operations: rounding decides about the last pixel
        let scale = (target.1 as f64 / source.1 as f64).max(target.0 as f64 / source.0 as f64);
        let side = |length: usize| (scale * length as f64).ceil() as usize;
        Self { source, target, resized: (side(source.0), side(source.1)) }
    }

    pub fn source(&self) -> (usize, usize) {
        self.source
    }

    pub fn target(&self) -> (usize, usize) {
        self.target
    }

    /// What is kept of the resized picture.
    fn window(&self) -> Rect {
        let [x, y] = self.corner().map(|v| v as i32);
        Rect::new(x, y, x + self.target.0 as i32, y + self.target.1 as i32)
    }

    /// Its left and its top. A half is rounded to the even pixel.
    fn corner(&self) -> [usize; 2] {
        let half =
            |resized: usize, target: usize| ((resized - target) as f64 / 2.0).round_ties_even() as usize;
        [half(self.resized.0, self.target.0), half(self.resized.1, self.target.1)]
    }

    /// For masks: the source column of each target column, and the source row of each target row.
    pub fn nearest(&self) -> [Vec<usize>; 2] {
        let [left, top] = self.corner();
        let along = |from: usize, resized: usize, first: usize, count: usize| {
            let all = nearest(from, resized);
            all[first..first + count].to_vec()
        };
        [
            along(self.source.0, self.resized.0, left, self.target.0),
            along(self.source.1, self.resized.1, top, self.target.1),
        ]
    }
}

/// PyTorch's `interpolate(mode="nearest")` along one side: which of `from` places each of `to` shows, in f32 as there.
pub fn nearest(from: usize, to: usize) -> Vec<usize> {
    let scale = from as f32 / to as f32;
    (0..to).map(|i| ((i as f32 * scale) as usize).min(from - 1)).collect()
}

/// Fits pictures of any size into one.
#[derive(Debug)]
pub struct Fit {
    target: (usize, usize),
    pillow: Pillow,
}

impl Fit {
    /// target: (width, height)
    pub fn new(target: (usize, usize)) -> Self {
        Self { target, pillow: Pillow::new(Filter::Bilinear) }
    }

    /// `to` becomes a picture of the target's size.
    pub fn fit(&mut self, from: View<3>, to: &mut Picture<3>) {
        let geometry = Geometry::new(from.size(), self.target);
        self.pillow.resize(from, geometry.resized, geometry.window(), to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_is_cut_on_both_sides() {
        let geometry = Geometry::new((200, 33), (64, 32));
        assert_eq!(geometry.resized, (194, 32));
        assert_eq!(geometry.window(), Rect::new(65, 0, 129, 32));
        // 5 / 2 and 7 / 2 go to even pixels
        assert_eq!(Geometry::new((105, 100), (100, 100)).corner(), [2, 0]);
        assert_eq!(Geometry::new((107, 100), (100, 100)).corner(), [4, 0]);
    }

    #[test]
    fn extreme_pictures_fill_their_bucket() {
        for source in [(1, 1), (1, 5000), (5000, 1), (641, 640)] {
            let from = Picture::<3>::blank(source).unwrap();
            let mut to = Picture::blank((1, 1)).unwrap();
            Fit::new((640, 320)).fit(from.view(), &mut to);
            assert_eq!(to.size(), (640, 320), "{source:?}");
            let [columns, rows] = Geometry::new(source, (640, 320)).nearest();
            assert_eq!((columns.len(), rows.len()), (640, 320), "{source:?}");
        }
    }
}
