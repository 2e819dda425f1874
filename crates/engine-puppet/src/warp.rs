//! The pixel loops: for every row pair, where each target pixel comes from, the fetch, and the paint between the lips.
//! Rows and columns that nothing moves are not touched: `out` already holds the plate.

use face::Similarity;

use crate::cavity::{Cavity, Paint, Spot};
use crate::head::HeadField;
use crate::level::Level;
use crate::mouth::Mouth;
use crate::plate::{PAD, Plate};
use crate::sample::{STEPS, fetch};
use crate::tone::Tone;

/// One frame's motion over one plate.
pub struct Warp<'a> {
    pub level: Level,
    pub canon: Similarity,
    pub plate: &'a Plate,
    pub tone: &'a Tone,
    pub head: Option<HeadField>,
    pub mouth: Option<Mouth>,
}

/// Row buffers, kept between frames.
#[derive(Default)]
pub struct Rows {
    dx: [Vec<f32>; 2],
    dy: [Vec<f32>; 2],
    paint: [Vec<Paint>; 2],
    qx: Vec<i32>,
    qy: Vec<i32>,
}

/// A rectangle of pixels, half open.
#[derive(Clone, Copy, Debug)]
struct Area {
    x: (usize, usize),
    y: (usize, usize),
}

impl Warp<'_> {
    /// `out`: the plate's picture as I420, to be changed where something moves.
    pub fn draw(&self, rows: &mut Rows, out: &mut [u8]) {
        let (width, height) = (self.plate.y.width, self.plate.y.height);
        let mouth = self.mouth.as_ref().and_then(|shape| self.mouth_area(shape));
        let (luma, chroma) = out.split_at_mut(width * height);
        let (u, v) = chroma.split_at_mut(width * height / 4);
        for pair in 0..height / 2 {
            let y = pair * 2;
            let mut span = 0..0;
            if self.head.is_some() {
                span = join(
                    HeadField::span(&self.canon, y as f32, width),
                    HeadField::span(&self.canon, y as f32 + 1.0, width),
                );
            }
            let mouth = mouth.filter(|area| (area.y.0..area.y.1).contains(&y));
            if let Some(area) = mouth {
                span = join(span, area.x.0..area.x.1);
            }
            let span = span.start & !1..((span.end + 1) & !1).min(width);
            if span.is_empty() {
                continue;
            }
            let painted = self.displace(rows, (y, &span), mouth.map(|area| area.x));
            for k in 0..2 {
                self.luma_row(rows, (k, y + k, span.start), &mut luma[(y + k) * width..][span.clone()]);
            }
            let half = pair * (width / 2);
            let half = half + span.start / 2..half + span.end / 2;
            self.chroma_row(rows, (y, span.start), [&mut u[half.clone()], &mut v[half.clone()]]);
            if painted {
                paint_luma(&rows.paint[0], &mut luma[y * width..][span.clone()]);
                paint_luma(&rows.paint[1], &mut luma[(y + 1) * width..][span.clone()]);
                paint_chroma(&rows.paint, [&mut u[half.clone()], &mut v[half]]);
            }
        }
    }

    /// Fills the displacements (canonical px) of rows `y` and `y + 1`; says whether there is paint.
    fn displace(
        &self,
        rows: &mut Rows,
        (y, span): (usize, &std::ops::Range<usize>),
        mouth: Option<(usize, usize)>,
    ) -> bool {
        let mut painted = false;
        for k in 0..2 {
            let (dx, dy) = (&mut rows.dx[k], &mut rows.dy[k]);
            dx.clear();
            dx.resize(span.len(), 0.0);
            dy.clear();
            dy.resize(span.len(), 0.0);
            if let Some(head) = &self.head {
                head_row(self.level, head, (span.start, y + k), (dx, dy));
            }
            let paint = &mut rows.paint[k];
            paint.clear();
            if let (Some(shape), Some((x0, x1))) = (&self.mouth, mouth) {
                paint.resize(span.len(), Paint::default());
                let cavity = Cavity { mouth: shape, tone: self.tone, pixel: self.canon.scale() };
                let (from, to) = (x0.max(span.start) - span.start, x1.min(span.end) - span.start);
                let at = (span.start + from, y + k);
                let moved = (&mut dx[from..to], &mut dy[from..to]);
                painted |= mouth_row(&cavity, (&self.canon, at), moved, &mut paint[from..to]);
            }
        }
        painted
    }

    fn luma_row(&self, rows: &mut Rows, (k, y, x0): (usize, usize, usize), out: &mut [u8]) {
        let (ia, ib) = self.back();
        let Rows { dx, dy, qx, qy, .. } = rows;
        qx.clear();
        qy.clear();
        let steps = STEPS as f32;
        let line = (y + PAD) as f32;
        for (i, (dx, dy)) in dx[k].iter().zip(&dy[k]).enumerate() {
            let (mx, my) = (ia * dx - ib * dy, ib * dx + ia * dy);
            qx.push((((x0 + i + PAD) as f32 + mx) * steps + 0.5) as i32);
            qy.push(((line + my) * steps + 0.5) as i32);
        }
        fetch(self.level, &self.plate.y, (qx, qy), out);
    }

    fn chroma_row(&self, rows: &mut Rows, (y, x0): (usize, usize), out: [&mut [u8]; 2]) {
        let (ia, ib) = self.back();
        let Rows { dx, dy, qx, qy, .. } = rows;
        qx.clear();
        qy.clear();
        let steps = STEPS as f32;
        let line = (y / 2 + PAD) as f32;
        let mean = |d: &[Vec<f32>; 2], i: usize| 0.125 * ((d[0][i] + d[0][i + 1]) + (d[1][i] + d[1][i + 1]));
        for i in 0..out[0].len() {
            let (dx, dy) = (mean(dx, 2 * i), mean(dy, 2 * i));
            let (mx, my) = (ia * dx - ib * dy, ib * dx + ia * dy);
            qx.push((((x0 / 2 + i + PAD) as f32 + mx) * steps + 0.5) as i32);
            qy.push(((line + my) * steps + 0.5) as i32);
        }
        let [u, v] = out;
        fetch(self.level, &self.plate.u, (qx, qy), u);
        fetch(self.level, &self.plate.v, (qx, qy), v);
    }

    /// Linear part of canonical px -> picture px.
    fn back(&self) -> (f32, f32) {
        let back = self.canon.inverse();
        (back.a, back.b)
    }

    /// Picture px that the mouth can reach, even-sided; room is left for the head's sway.
    fn mouth_area(&self, shape: &Mouth) -> Option<Area> {
        let (x, y) = shape.reach();
        let sway = if self.head.is_some() { 10.0 } else { 1.0 };
        let back = self.canon.inverse();
        let corners = [
            back.apply(x.0 - sway, y.0 - sway),
            back.apply(x.1 + sway, y.0 - sway),
            back.apply(x.0 - sway, y.1 + sway),
            back.apply(x.1 + sway, y.1 + sway),
        ];
        let bounds = |pick: fn(&(f32, f32)) -> f32, end: usize| {
            let low = corners.iter().map(pick).fold(f32::MAX, f32::min).clamp(0.0, end as f32) as usize;
            let high = corners.iter().map(pick).fold(f32::MIN, f32::max).clamp(0.0, end as f32) as usize;
            (low & !1, ((high + 2) & !1).min(end))
        };
        let area = Area { x: bounds(|c| c.0, self.plate.y.width), y: bounds(|c| c.1, self.plate.y.height) };
        (area.x.0 < area.x.1 && area.y.0 < area.y.1).then_some(area)
    }
}

fn join(a: std::ops::Range<usize>, b: std::ops::Range<usize>) -> std::ops::Range<usize> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b,
        (_, true) => a,
        _ => a.start.min(b.start)..a.end.max(b.end),
    }
}

/// Adds the mouth's motion to displacements that already hold the head's.
#[inline(always)]
fn mouth_row(
    cavity: &Cavity<'_>,
    (canon, (x0, y)): (&Similarity, (usize, usize)),
    (dx, dy): (&mut [f32], &mut [f32]),
    paint: &mut [Paint],
) -> bool {
    let mut painted = false;
    for (i, ((dx, dy), paint)) in dx.iter_mut().zip(dy.iter_mut()).zip(paint).enumerate() {
        let (cx, cy) = canon.apply((x0 + i) as f32, y as f32);
        let (x, y) = (cx + *dx, cy + *dy);
        let origin = cavity.mouth.origin(x, y);
        *dx += origin.x - x;
        *dy += origin.y - y;
        let c = origin.column;
        if origin.level > c.upper - 1.0 && origin.level < c.lower + 1.0 && c.across < 1.0 {
            *paint = cavity.paint(Spot { x, y: origin.level, column: c });
            painted |= paint.alpha > 0.0;
        }
    }
    painted
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
    for i in 0..u.len() {
        let four = [paint[0][2 * i], paint[0][2 * i + 1], paint[1][2 * i], paint[1][2 * i + 1]];
        let alpha: f32 = four.iter().map(|p| p.alpha).sum::<f32>();
        if alpha > 0.0 {
            for (k, out) in [(1, &mut u[i]), (2, &mut v[i])] {
                let own = four.iter().map(|p| p.alpha * p.color[k]).sum::<f32>();
                *out = (f32::from(*out) * (1.0 - 0.25 * alpha) + 0.25 * own + 0.5) as u8;
            }
        }
    }
}

type Field<'a> = (&'a mut [f32], &'a mut [f32]);

fn head_row(level: Level, head: &HeadField, at: (usize, usize), (dx, dy): Field<'_>) {
    match level {
        Level::Portable => head.row(at, dx, dy),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level exists only where the CPU has these instructions
        Level::Avx2 => unsafe { head_row_avx2(head, at, dx, dy) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above
        Level::Avx512 => unsafe { head_row_avx512(head, at, dx, dy) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn head_row_avx2(head: &HeadField, at: (usize, usize), dx: &mut [f32], dy: &mut [f32]) {
    head.row(at, dx, dy);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn head_row_avx512(head: &HeadField, at: (usize, usize), dx: &mut [f32], dy: &mut [f32]) {
    head.row(at, dx, dy);
}
