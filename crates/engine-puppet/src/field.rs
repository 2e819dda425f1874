//! Where every pixel comes from. Away from the lips the motion is smooth, so it is computed at the nodes of a coarse grid
//! and interpolated; in the zone around the opening, where both lips part, it is computed for every pixel.

use face::Similarity;

use crate::cavity::{Cavity, Paint, Spot};
use crate::head::{HeadField, head_row};
use crate::level::{Level, leveled};
use crate::mouth::Mouth;

/// Pixels, half open, even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    pub x: (usize, usize),
    pub y: (usize, usize),
}

impl Area {
    /// The pixels that a canonical rectangle covers in a picture of `size`; `None` if it lies outside.
    pub fn covering(
        (x, y): ((f32, f32), (f32, f32)),
        canon: &Similarity,
        size: (usize, usize),
    ) -> Option<Self> {
        let back = canon.inverse();
        let corners =
            [back.apply(x.0, y.0), back.apply(x.1, y.0), back.apply(x.0, y.1), back.apply(x.1, y.1)];
        let bounds = |pick: fn(&(f32, f32)) -> f32, end: usize| {
            let low = corners.iter().map(pick).fold(f32::MAX, f32::min).clamp(0.0, end as f32) as usize;
            let high = corners.iter().map(pick).fold(f32::MIN, f32::max).clamp(0.0, end as f32) as usize;
            (low & !1, ((high + 2) & !1).min(end))
        };
        let area = Self { x: bounds(|c| c.0, size.0), y: bounds(|c| c.1, size.1) };
        (area.x.0 < area.x.1 && area.y.0 < area.y.1).then_some(area)
    }
}

/// What moves a picture in one frame.
pub struct Movers<'a> {
    pub level: Level,
    pub canon: Similarity,
    /// Picture size, px.
    pub size: (usize, usize),
    pub head: Option<&'a HeadField>,
    pub cavity: Option<Cavity<'a>>,
}

/// Displacements on a grid, in picture px; buffers are kept between frames.
#[derive(Default)]
pub struct Field {
    /// Pixels a cell: 1, 2 or 4, so that a cell stays below 3 canonical px.
    cell: usize,
    origin: (usize, usize),
    /// Nodes a row.
    across: usize,
    dx: Vec<f32>,
    dy: Vec<f32>,
    mouth: Option<Area>,
    zone: Option<Area>,
}

/// Two rows of displacements and paint, from column `x0` on.
#[derive(Default)]
pub struct RowPair {
    pub dx: [Vec<f32>; 2],
    pub dy: [Vec<f32>; 2],
    pub paint: [Vec<Paint>; 2],
    /// Columns of `paint`, relative to the row's start; empty where nothing is painted.
    pub painted: std::ops::Range<usize>,
    nodes: [Vec<f32>; 2],
}

impl Field {
    /// Computes the nodes.
    pub fn update(&mut self, movers: &Movers<'_>) {
        let scale = movers.canon.scale();
        self.cell = if scale < 0.7 {
            4
        } else if scale < 1.4 {
            2
        } else {
            1
        };
        let sway = if movers.head.is_some() { 10.0 } else { 1.0 };
        let grown =
            |((x0, x1), (y0, y1)): ((f32, f32), (f32, f32))| ((x0 - sway, x1 + sway), (y0 - sway, y1 + sway));
        let area = |rect| Area::covering(rect, &movers.canon, movers.size);
        let mouth = movers.cavity.as_ref().map(|cavity| cavity.mouth);
        self.mouth = mouth.and_then(|mouth| area(grown(mouth.reach())));
        self.zone = mouth.and_then(|mouth| area(grown(mouth.zone())));
        let head = movers.head.and_then(|_| area(HeadField::REACH));
        let Some(whole) = union(head, self.mouth) else {
            self.across = 0;
            return;
        };
        let cell = self.cell;
        self.origin = (whole.x.0, whole.y.0);
        self.across = (whole.x.1 - whole.x.0).div_ceil(cell) + 1;
        let down = (whole.y.1 - whole.y.0).div_ceil(cell) + 1;
        self.dx.resize(self.across * down, 0.0);
        self.dy.resize(self.across * down, 0.0);
        let rows = self.dx.chunks_exact_mut(self.across).zip(self.dy.chunks_exact_mut(self.across));
        for (j, (dx, dy)) in rows.enumerate() {
            let y = (whole.y.0 + j * cell) as f32;
            head_row(movers.level, movers.head, (whole.x.0 as f32, y, cell as f32), dx, dy);
            if let (Some(mouth), Some(area)) = (mouth, self.mouth)
                && (area.y.0 as f32..=(area.y.1 + cell) as f32).contains(&y)
            {
                let from = (area.x.0 - whole.x.0) / cell;
                let to = ((area.x.1 - whole.x.0).div_ceil(cell) + 1).min(self.across);
                let at = ((whole.x.0 + from * cell) as f32, y, cell as f32);
                mouth_nodes(
                    movers.level,
                    mouth,
                    Line { canon: &movers.canon, at },
                    &mut dx[from..to],
                    &mut dy[from..to],
                );
            }
            to_pixels(movers.level, &movers.canon, dx, dy);
        }
    }

    /// Columns that move in rows `y` and `y + 1`.
    pub fn span(&self, movers: &Movers<'_>, y: usize) -> std::ops::Range<usize> {
        let mut span = 0..0;
        if movers.head.is_some() {
            let of = |y: usize| HeadField::span(&movers.canon, y as f32, movers.size.0);
            span = join(of(y), of(y + 1));
            // an edge solved for in f32 may lie a pixel before the nodes
            span = span.start.max(self.origin.0)..span.end.max(self.origin.0);
        }
        if let Some(area) = self.mouth.filter(|area| (area.y.0..area.y.1).contains(&y)) {
            span = join(span, area.x.0..area.x.1);
        }
        span.start & !1..((span.end + 1) & !1).min(movers.size.0)
    }

    /// Fills displacements and paint of rows `y` and `y + 1` over `span`.
    pub fn rows(&self, movers: &Movers<'_>, (y, span): (usize, &std::ops::Range<usize>), out: &mut RowPair) {
        let RowPair { dx, dy, paint, painted, nodes } = out;
        *painted = 0..0;
        let zone = self.zone.filter(|zone| (zone.y.0..zone.y.1).contains(&y));
        for k in 0..2 {
            for (values, out) in [(&self.dx, &mut dx[k]), (&self.dy, &mut dy[k])] {
                self.interpolate(movers.level, (y + k, span), (values, &mut nodes[0]), out);
            }
            let (Some(zone), Some(cavity)) = (zone, &movers.cavity) else { continue };
            let (from, to) =
                (zone.x.0.max(span.start) - span.start, zone.x.1.min(span.end).max(span.start) - span.start);
            if from >= to {
                continue;
            }
            *painted = from..to;
            let (dx, dy) = (&mut dx[k][from..to], &mut dy[k][from..to]);
            let at = ((span.start + from) as f32, (y + k) as f32, 1.0);
            head_row(movers.level, movers.head, at, dx, dy);
            paint[k].clear();
            paint[k].resize(to - from, Paint::default());
            let line = Line { canon: &movers.canon, at };
            mouth_pixels(movers.level, cavity, line, (dx, dy), &mut paint[k]);
            to_pixels(movers.level, &movers.canon, dx, dy);
        }
    }

    fn interpolate(
        &self,
        level: Level,
        (y, span): (usize, &std::ops::Range<usize>),
        (values, nodes): (&[f32], &mut Vec<f32>),
        out: &mut Vec<f32>,
    ) {
        let cell = self.cell;
        let j = (y - self.origin.1) / cell;
        let f = ((y - self.origin.1) % cell) as f32 / cell as f32;
        let first = (span.start - self.origin.0) / cell;
        let last = (span.end - self.origin.0).div_ceil(cell) + 1;
        let (above, below) =
            (&values[j * self.across..], &values[(j + usize::from(f > 0.0)) * self.across..]);
        nodes.resize(last - first, 0.0);
        between(level, &above[first..last], &below[first..last], f, nodes);
        // whole cells first, then what the span leaves of them
        let skip = span.start - self.origin.0 - first * cell;
        out.resize((last - first - 1) * cell, 0.0);
        match cell {
            4 => spread4(level, nodes, out),
            2 => spread2(level, nodes, out),
            _ => out.iter_mut().zip(nodes.iter()).for_each(|(out, node)| *out = *node),
        }
        if skip > 0 {
            out.copy_within(skip.., 0);
        }
        out.truncate(span.len());
    }
}

/// Points along a row of the picture: x of the first, y, distance, in picture px.
#[derive(Clone, Copy)]
struct Line<'a> {
    canon: &'a Similarity,
    at: (f32, f32, f32),
}

impl Line<'_> {
    /// Canonical place of the `i`th point.
    #[inline(always)]
    fn place(&self, i: usize) -> (f32, f32) {
        let (x0, y, step) = self.at;
        self.canon.apply(x0 + i as f32 * step, y)
    }
}

leveled! {
    fn to_pixels(canon: &Similarity, dx: &mut [f32], dy: &mut [f32]) {
        let Similarity { a, b, .. } = canon.inverse();
        for (dx, dy) in dx.iter_mut().zip(dy) {
            (*dx, *dy) = (a * *dx - b * *dy, b * *dx + a * *dy);
        }
    }
}

leveled! {
    fn between(above: &[f32], below: &[f32], f: f32, out: &mut [f32]) {
        for ((out, a), b) in out.iter_mut().zip(above).zip(below) {
            *out = a + (b - a) * f;
        }
    }
}

leveled! {
    fn spread4(nodes: &[f32], out: &mut [f32]) {
        for (out, pair) in out.chunks_exact_mut(4).zip(nodes.windows(2)) {
            let step = (pair[1] - pair[0]) * 0.25;
            out[0] = pair[0];
            out[1] = pair[0] + step;
            out[2] = pair[0] + step * 2.0;
            out[3] = pair[0] + step * 3.0;
        }
    }
}

leveled! {
    fn spread2(nodes: &[f32], out: &mut [f32]) {
        for (out, pair) in out.chunks_exact_mut(2).zip(nodes.windows(2)) {
            out[0] = pair[0];
            out[1] = pair[0] + (pair[1] - pair[0]) * 0.5;
        }
    }
}

leveled! {
    /// Adds the mouth's motion to displacements that already hold the head's.
    fn mouth_nodes(mouth: &Mouth, line: Line<'_>, dx: &mut [f32], dy: &mut [f32]) {
        for (i, (dx, dy)) in dx.iter_mut().zip(dy.iter_mut()).enumerate() {
            let (x, y) = line.place(i);
            let (x, y) = (x + *dx, y + *dy);
            let origin = mouth.origin(x, y);
            *dx += origin.x - x;
            *dy += origin.y - y;
        }
    }
}

leveled! {
    /// The same for neighbouring pixels, with the paint between the lips.
    fn mouth_pixels(
        cavity: &Cavity<'_>,
        line: Line<'_>,
        moved: (&mut [f32], &mut [f32]),
        paint: &mut [Paint],
    ) {
        for (i, ((dx, dy), paint)) in moved.0.iter_mut().zip(moved.1.iter_mut()).zip(paint).enumerate() {
            let (x, y) = line.place(i);
            let (x, y) = (x + *dx, y + *dy);
            let origin = cavity.mouth.origin(x, y);
            *dx += origin.x - x;
            *dy += origin.y - y;
            let c = origin.column;
            if origin.level > c.upper - 1.0 && origin.level < c.lower + 1.0 && c.across < 1.0 {
                *paint = cavity.paint(Spot { x, y: origin.level, column: c });
            }
        }
    }
}

fn union(a: Option<Area>, b: Option<Area>) -> Option<Area> {
    match (a, b) {
        (Some(a), Some(b)) => {
            Some(Area { x: (a.x.0.min(b.x.0), a.x.1.max(b.x.1)), y: (a.y.0.min(b.y.0), a.y.1.max(b.y.1)) })
        }
        (a, b) => a.or(b),
    }
}

fn join(a: std::ops::Range<usize>, b: std::ops::Range<usize>) -> std::ops::Range<usize> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b,
        (_, true) => a,
        _ => a.start.min(b.start)..a.end.max(b.end),
    }
}
