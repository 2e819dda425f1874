//! The pixel loops: the fetch of every moved pixel, and the paint between the lips. Rows and columns that nothing moves are
//! not touched: `out` already holds the plate.

use crate::cavity::Paint;
use crate::field::{Field, Movers, RowPair};
use crate::level::leveled;
use crate::plate::{PAD, Plane, Plate};
use crate::sample::{STEPS, fetch};

/// Buffers, kept between frames.
#[derive(Default)]
pub struct Warp {
    field: Field,
    rows: RowPair,
    qx: Vec<i32>,
    qy: Vec<i32>,
}

impl Warp {
    /// `out`: the plate's picture as I420, to be changed where something moves.
    pub fn draw(&mut self, movers: &Movers<'_>, plate: &Plate, out: &mut [u8]) {
        let (width, height) = movers.size;
        self.field.update(movers);
        let (luma, chroma) = out.split_at_mut(width * height);
        let (u, v) = chroma.split_at_mut(width * height / 4);
        for y in (0..height).step_by(2) {
            let span = self.field.span(movers, y);
            if span.is_empty() {
                continue;
            }
            self.field.rows(movers, (y, &span), &mut self.rows);
            for k in 0..2 {
                let (dx, dy) = (&self.rows.dx[k], &self.rows.dy[k]);
                positions(
                    movers.level,
                    Frame::new(&plate.y, (span.start, y + k)),
                    (dx, dy),
                    &mut self.qx,
                    &mut self.qy,
                );
                let row = &mut luma[(y + k) * width..][span.clone()];
                fetch(movers.level, &plate.y, (&self.qx, &self.qy), row);
            }
            let half = y / 2 * (width / 2);
            let half = half + span.start / 2..half + span.end / 2;
            let (dx, dy) = (&self.rows.dx, &self.rows.dy);
            block_positions(
                movers.level,
                Frame::new(&plate.u, (span.start / 2, y / 2)),
                (dx, dy),
                &mut self.qx,
                &mut self.qy,
            );
            fetch(movers.level, &plate.u, (&self.qx, &self.qy), &mut u[half.clone()]);
            fetch(movers.level, &plate.v, (&self.qx, &self.qy), &mut v[half.clone()]);
            let painted = self.rows.painted.clone();
            if !painted.is_empty() {
                let x0 = span.start + painted.start;
                for k in 0..2 {
                    paint_luma(&self.rows.paint[k], &mut luma[(y + k) * width + x0..]);
                }
                let half = y / 2 * (width / 2) + x0 / 2;
                paint_chroma(&self.rows.paint, [&mut u[half..], &mut v[half..]]);
            }
        }
    }
}

/// Positions are rounded by adding this, which pushes the fraction out of an f32's mantissa; unlike a cast, every lane of a
/// vector unit does it in one step.
const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23

/// Rounds to the nearest whole number; for magnitudes below 2^22.
#[inline(always)]
fn rounded(v: f32) -> i32 {
    (v + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32
}

/// Where rows start in the padded plane, and how far positions may go, in 1/64 px.
#[derive(Clone, Copy)]
struct Frame {
    at: (usize, usize),
    end: (i32, i32),
}

impl Frame {
    fn new(plane: &Plane, at: (usize, usize)) -> Self {
        Self { at, end: ((plane.width + PAD) as i32 * STEPS, (plane.height + PAD) as i32 * STEPS) }
    }

    #[inline(always)]
    fn x(&self, i: usize, moved: f32) -> i32 {
        rounded(((self.at.0 + PAD + i) as f32 + moved) * STEPS as f32).clamp(STEPS, self.end.0)
    }

    #[inline(always)]
    fn y(&self, moved: f32) -> i32 {
        rounded(((self.at.1 + PAD) as f32 + moved) * STEPS as f32).clamp(STEPS, self.end.1)
    }
}

leveled! {
    /// Source positions of a row in 1/64 px of the padded plane.
    fn positions(frame: Frame, moved: (&[f32], &[f32]), qx: &mut Vec<i32>, qy: &mut Vec<i32>) {
        qx.resize(moved.0.len(), 0);
        qy.resize(moved.0.len(), 0);
        for (i, (q, dx)) in qx.iter_mut().zip(moved.0).enumerate() {
            *q = frame.x(i, *dx);
        }
        for (q, dy) in qy.iter_mut().zip(moved.1) {
            *q = frame.y(*dy);
        }
    }
}

leveled! {
    /// The same for chroma: each 2x2 block moves by the mean of its four pixels.
    fn block_positions(
        frame: Frame,
        moved: (&[Vec<f32>; 2], &[Vec<f32>; 2]),
        qx: &mut Vec<i32>,
        qy: &mut Vec<i32>,
    ) {
        let count = moved.0[0].len() / 2;
        qx.resize(count, 0);
        qy.resize(count, 0);
        let pairs = moved.0[0].chunks_exact(2).zip(moved.0[1].chunks_exact(2));
        for (i, (q, (a, b))) in qx.iter_mut().zip(pairs).enumerate() {
            *q = frame.x(i, eighth(a, b));
        }
        let pairs = moved.1[0].chunks_exact(2).zip(moved.1[1].chunks_exact(2));
        for (q, (a, b)) in qy.iter_mut().zip(pairs) {
            *q = frame.y(eighth(a, b));
        }
    }
}

/// A quarter of the four is their mean, half of that is the mean in chroma samples.
#[inline(always)]
fn eighth(a: &[f32], b: &[f32]) -> f32 {
    0.125 * ((a[0] + a[1]) + (b[0] + b[1]))
}

fn paint_luma(paint: &[Paint], out: &mut [u8]) {
    for (out, p) in out.iter_mut().zip(paint) {
        if p.alpha > 0.0 {
            let v = f32::from(*out);
            *out = (v + (p.color[0] - v) * p.alpha + 0.5) as u8;
        }
    }
}

/// Alpha and colour averaged over each 2x2 block.
fn paint_chroma(paint: &[Vec<Paint>; 2], out: [&mut [u8]; 2]) {
    let [u, v] = out;
    for i in 0..paint[0].len() / 2 {
        let four = [paint[0][2 * i], paint[0][2 * i + 1], paint[1][2 * i], paint[1][2 * i + 1]];
        let alpha: f32 = four.iter().map(|p| p.alpha).sum();
        if alpha > 0.0 {
            for (k, out) in [(1, &mut u[i]), (2, &mut v[i])] {
                let own: f32 = four.iter().map(|p| p.alpha * p.color[k]).sum();
                *out = (f32::from(*out) * (1.0 - 0.25 * alpha) + 0.25 * own + 0.5) as u8;
            }
        }
    }
}
