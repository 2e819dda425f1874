//! `Mouth`: where both lips are in one frame, and which source pixel belongs under each target pixel of the lower face.
//! All lengths are canonical px (pupils 80 px apart); `hw` is half the width of the mouth.

use face::MouthLine;
use speech::MouthPose;

use crate::curve::{bump, mix, smooth};

/// Columns a canonical px.
const PER_PX: f32 = 2.0;
/// Reach of the table to either side of the mouth's centre, in `hw`.
const REACH: f32 = 2.75;

/// The mouth in one source column.
#[derive(Clone, Copy, Debug, Default)]
pub struct Column {
    /// Inner edges of the lips in the source.
    pub upper_at: f32,
    pub lower_at: f32,
    /// The same edges in the frame to be drawn.
    pub upper: f32,
    pub lower: f32,
    /// How far chin and jaw drop here.
    pub chin: f32,
    /// 0 in the middle of the opening, 1 at its corners, more beyond.
    pub across: f32,
    /// Teeth hang from here, whatever the lips do.
    pub gum: f32,
    /// Height of the opening in the source.
    pub source_gap: f32,
}

/// The shape of the mouth for one frame.
pub struct Mouth {
    pub center: (f32, f32),
    pub half_width: f32,
    /// Opening in the middle.
    pub gap: f32,
    /// How far the upper lip is raised in the middle.
    pub raised: f32,
    pub tongue: f32,
    /// Lower lip at the upper teeth, 0..1.
    pub bite: f32,
    /// 0: teeth are painted; 1: the source shows its own opening.
    pub own_teeth: f32,
    narrow: f32,
    press: f32,
    corner: f32,
    x0: f32,
    columns: Vec<Column>,
}

/// Where a target point comes from.
#[derive(Clone, Copy)]
pub struct Origin {
    pub x: f32,
    pub y: f32,
    /// The height to paint at; differs from the target's where the lips are pressed or stretched.
    pub level: f32,
    pub column: Column,
}

/// How speech and the source's own opening meet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opening {
    /// 0: the source's own opening stays as it is; 1: speech decides.
    pub hold: f32,
    /// Share of the source's opening that is left when speech shuts the mouth.
    pub rest: f32,
    /// Whether the lips part at all. Where the mouth was not found they do not; only the jaw moves.
    pub parts: bool,
    pub gum: Gum,
}

impl Mouth {
    /// Amplitudes in `pose` are final: `0` everywhere is the source itself, if its mouth is shut.
    pub fn new(line: &MouthLine, pose: &MouthPose, opening: Opening) -> Self {
        let hw = line.half_width;
        let cx = line.center_x;
        let open_at = line.upper.iter().zip(&line.lower).map(|(u, l)| l - u).fold(0.0f32, f32::max);
        let close = pose.close;
        let bite = if opening.parts { pose.labiodental * (1.0 - close) } else { 0.0 };
        let jaw = pose.jaw * (1.0 - 0.85 * close) * (1.0 - 0.55 * bite);
        let spoken = 0.72 * hw * jaw * (1.0 - close);
        let floor = opening.rest * open_at * (1.0 - close);
        let gap = mix(open_at, spoken.max(floor), opening.hold);
        let raise = if opening.parts { 0.22 * (gap - open_at) + 2.4 * bite } else { 0.0 };
        let chin = 0.62 * (gap - open_at) + 1.2 * jaw;
        let opened = (jaw * 1.3).min(1.0);
        let aperture = (0.62 + 0.30 * opened + 0.07 * pose.wide - 0.08 * pose.round).clamp(0.5, 0.95);
        let curve = Curve::new(line);
        let (upper, lower, _) = curve.at(cx);
        let mut mouth = Self {
            center: (
                cx,
                line.upper.iter().zip(&line.lower).map(|(u, l)| 0.5 * (u + l)).sum::<f32>()
                    / line.upper.len().max(1) as f32,
            ),
            half_width: hw,
            gap,
            raised: raise,
            tongue: pose.tongue,
            bite,
            own_teeth: smooth(1.0, 5.0, lower - upper),
            narrow: 1.0 / (1.0 + 0.10 * pose.wide - 0.20 * pose.round - 0.05 * jaw) - 1.0,
            press: 0.09 * close + 0.16 * bite - 0.12 * pose.round * (1.0 - 0.5 * jaw),
            corner: 1.5 * pose.wide - 0.08 * (gap - open_at),
            x0: cx - REACH * hw,
            columns: Vec::new(),
        };
        let count = (2.0 * REACH * hw * PER_PX) as usize + 2;
        for i in 0..count {
            let x = mouth.x0 + i as f32 / PER_PX;
            let (upper_at, lower_at, chord) = curve.at(x);
            let t = (x - cx) / hw;
            let across = t.abs() / aperture;
            let a2 = (across * across).min(1.0);
            // between an ellipse and a rounded box: full lips part over most of their width, then meet quickly
            let profile = (1.0 - a2 * (0.62 + 0.38 * a2)) * mix(0.86, 1.0, smooth(1.0, 0.6, across));
            let source_gap = lower_at - upper_at;
            // where the lips meet: of an opening the upper lip makes a fifth, the jaw the rest
            let seam = upper_at + 0.22 * source_gap;
            let wanted = (spoken * profile).max(opening.rest * source_gap * (1.0 - close));
            let height = if opening.parts { mix(source_gap, wanted, opening.hold) } else { 0.0 };
            // a smile's line is an arc; opened, both lips stretch toward its chord, or the mouth becomes a V
            let sag = (seam - chord).clamp(-4.0, 6.0) * profile * jaw * (1.0 - close);
            let sag = if opening.parts { sag } else { 0.0 };
            let upper = seam - 0.22 * height - 2.4 * bite * profile - 0.20 * sag;
            let lower = seam + 0.78 * height - 0.4 * bite * profile - 0.55 * sag;
            let side = ((t.abs() - 0.3) / 1.15).max(0.0);
            mouth.columns.push(Column {
                upper_at,
                lower_at,
                upper,
                lower: lower.max(upper),
                chin: chin * bump(side * side),
                across,
                gum: opening.gum.at(t),
                source_gap,
            });
        }
        mouth
    }

    /// The rectangle outside of which nothing moves: x and y ranges.
    pub fn reach(&self) -> ((f32, f32), (f32, f32)) {
        let (cx, cy) = self.center;
        let hw = self.half_width;
        ((cx - 2.7 * hw, cx + 2.7 * hw), (cy - 2.4 * hw, cy + 3.5 * hw))
    }

    /// The rectangle around the opening in which the lips part.
    pub fn zone(&self) -> ((f32, f32), (f32, f32)) {
        let (cx, cy) = self.center;
        let hw = self.half_width;
        let (top, bottom) =
            self.columns.iter().filter(|c| c.across < 1.0).fold((cy, cy), |(top, bottom), c| {
                (top.min(c.upper.min(c.upper_at)), bottom.max(c.lower.max(c.lower_at)))
            });
        ((cx - 1.2 * hw, cx + 1.2 * hw), (top - 0.25 * hw, bottom + 0.25 * hw))
    }

    pub fn column(&self, x: f32) -> Column {
        let at = ((x - self.x0) * PER_PX).clamp(0.0, (self.columns.len() - 2) as f32);
        let i = at as usize;
        let f = at - i as f32;
        let (a, b) = (&self.columns[i], &self.columns[i + 1]);
        Column {
            upper_at: mix(a.upper_at, b.upper_at, f),
            lower_at: mix(a.lower_at, b.lower_at, f),
            upper: mix(a.upper, b.upper, f),
            lower: mix(a.lower, b.lower, f),
            chin: mix(a.chin, b.chin, f),
            across: mix(a.across, b.across, f),
            gum: mix(a.gum, b.gum, f),
            source_gap: mix(a.source_gap, b.source_gap, f),
        }
    }

    #[inline(always)]
    pub fn origin(&self, x: f32, y: f32) -> Origin {
        let hw = self.half_width;
        let (u, v) = (x - self.center.0, y - self.center.1);
        let (ru, rv) = (u / (1.67 * hw), v / (1.0 * hw));
        let near = bump(ru * ru + rv * rv);
        let xs = self.center.0 + u * (1.0 + self.narrow * near);
        // corners rise with a smile and give way to the jaw
        let tu = (u.abs() - 0.95 * hw) / (0.62 * hw);
        let tv = v / (0.8 * hw);
        let ys = y + v * self.press * near + self.corner * bump(tu * tu + tv * tv);
        let c = self.column(xs);
        let top = c.upper_at - 0.95 * hw;
        let moved = if ys <= c.upper {
            (c.upper - c.upper_at) * smooth(top, c.upper - 0.10 * hw, ys)
        } else if ys >= c.lower {
            let lip = 1.0 - smooth(0.0, 0.75 * hw, ys - c.lower);
            let drop = (c.lower - c.lower_at) * lip + c.chin * (1.0 - lip);
            drop * (1.0 - smooth(self.center.1 + 1.45 * hw, self.center.1 + 3.45 * hw, ys))
        } else {
            ys - ys.clamp(c.upper_at + 0.5, (c.lower_at - 0.5).max(c.upper_at + 0.5))
        };
        Origin { x: xs, y: ys - moved, level: ys, column: c }
    }
}

/// Where the upper teeth hang: a parabola over `t`, the distance from the mouth's middle in half widths. Fixed to the skull,
/// so it follows a clip's mouth line only slowly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gum {
    pub level: f32,
    pub tilt: f32,
    pub arch: f32,
}

impl Gum {
    /// Fitted to the line where the lips meet.
    pub fn of(line: &MouthLine) -> Self {
        let curve = Curve::new(line);
        let at = |t: f32| {
            let (upper, lower, _) = curve.at(line.center_x + t * line.half_width);
            mix(upper, lower, 0.22)
        };
        // the middles of three thirds carry a parabola as well as a least-squares fit would, and no notch of the line moves it
        let mean = |from: f32| (0..9).map(|i| at(from + i as f32 * 0.06)).sum::<f32>() / 9.0;
        let (left, middle, right) = (mean(-0.84), mean(-0.24), mean(0.36));
        let arch = 0.5 * (left + right) - middle;
        Self {
            level: middle - 0.06 * arch,
            tilt: 0.5 * (right - left) / 0.6,
            arch: (arch / 0.36).clamp(-5.0, 5.0),
        }
    }

    pub fn toward(&self, next: &Gum, step: f32) -> Self {
        Self {
            level: mix(self.level, next.level, step),
            tilt: mix(self.tilt, next.tilt, step),
            arch: mix(self.arch, next.arch, step),
        }
    }

    pub fn at(&self, t: f32) -> f32 {
        let t = t.clamp(-1.0, 1.0);
        self.level + t * (self.tilt + t * self.arch)
    }
}

/// The source's mouth line, continued beyond its ends.
struct Curve<'a> {
    line: &'a MouthLine,
    ends: (f32, f32),
}

impl<'a> Curve<'a> {
    fn new(line: &'a MouthLine) -> Self {
        let first = line.upper.first().copied().unwrap_or(0.0);
        let last = line.upper.last().copied().unwrap_or(0.0);
        Self { line, ends: (first, last) }
    }

    /// Upper edge, lower edge, and the chord between the corners.
    fn at(&self, x: f32) -> (f32, f32, f32) {
        let n = self.line.upper.len();
        if n < 2 {
            return (self.ends.0, self.ends.0, self.ends.0);
        }
        let at = (x - self.line.x0).clamp(0.0, (n - 1) as f32);
        let i = (at as usize).min(n - 2);
        let f = at - i as f32;
        let upper = mix(self.line.upper[i], self.line.upper[i + 1], f);
        let lower = mix(self.line.lower[i], self.line.lower[i + 1], f).max(upper);
        (upper, lower, mix(self.ends.0, self.ends.1, at / (n - 1) as f32))
    }
}
