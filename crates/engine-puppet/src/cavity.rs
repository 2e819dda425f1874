//! What is seen between parted lips: throat, tongue, both rows of teeth and the wet inner rims of the lips, painted in the
//! portrait's own colours and at its own sharpness. Upper teeth are fixed to the skull, tongue and lower teeth to the jaw.

use contract::Yuv;

use crate::curve::{bump, mix, smooth};
use crate::mouth::Mouth;
use crate::tone::Tone;

/// Edges between teeth, from the middle outwards, in half mouth widths.
const TOOTH_EDGES: [f32; 7] = [0.0, 0.26, 0.47, 0.64, 0.78, 0.90, 1.2];
/// How much shorter than the middle ones, canonical px.
const TOOTH_SHORTER: [f32; 6] = [0.0, 0.75, 0.15, 0.7, 1.0, 1.3];
/// No two teeth have the same brightness; viewer's left, then right.
const TOOTH_SHADE: [[f32; 6]; 2] =
    [[1.0, 0.955, 0.90, 0.86, 0.80, 0.74], [0.985, 0.965, 0.885, 0.87, 0.79, 0.75]];

/// One painted point.
#[derive(Clone, Copy, Debug, Default)]
pub struct Paint {
    pub alpha: f32,
    pub color: Yuv,
}

/// Where a point is in the mouth.
#[derive(Clone, Copy)]
pub struct Spot {
    /// Canonical x, after the head's turn but before the lips' stretch.
    pub x: f32,
    pub y: f32,
    pub column: crate::mouth::Column,
}

pub struct Cavity<'a> {
    pub mouth: &'a Mouth,
    pub tone: &'a Tone,
    /// Width of one picture pixel, canonical px.
    pub pixel: f32,
}

impl Cavity<'_> {
    pub fn paint(&self, spot: Spot) -> Paint {
        let Spot { x, y, column: c } = spot;
        let hw = self.mouth.half_width;
        let height = (c.lower - c.upper).max(1e-3);
        let (below_upper, above_lower) = (y - c.upper, c.lower - y);
        let edge = (self.tone.blur * self.pixel).max(0.9);
        let inside = ((below_upper.min(above_lower) + 0.3 * edge) / (1.4 * edge)).clamp(0.0, 1.0);
        let corner = ((1.0 - c.across) / 0.14).clamp(0.0, 1.0);
        let mut alpha = inside * corner * smooth(0.5, 2.2, height);
        if alpha <= 0.0 {
            return Paint::default();
        }
        let t = (x - self.mouth.center.0) / hw;
        let across = c.across.min(1.0);
        let tone = self.tone;

        // throat, a little warmer toward the lower lip
        let mut color = tone.cavity;
        blend(&mut color, tone.tongue, 0.16 * smooth(0.45 * hw, 0.0, above_lower));

        // tongue: rides on the jaw, its tip rises for t d n l th
        let tip = self.mouth.tongue * 0.5 * self.mouth.gap;
        let (across_tongue, rise) =
            (t / 0.66, (above_lower - tip + 0.03 * hw) / (0.20 * hw + 0.22 * self.mouth.gap));
        let tongue = across_tongue * across_tongue + rise * rise;
        let shine = 0.66 + 0.34 * smooth(1.0, 0.1, tongue);
        let mut flesh = shaded(tone.tongue, shine);
        // the furrow along its middle
        flesh = shaded(flesh, 1.0 - 0.10 * bump((t / 0.07) * (t / 0.07)));
        blend(&mut color, flesh, 0.85 * smooth(1.15, 0.6, tongue));

        // lower teeth peep over the lip when the jaw is low
        let peep = smooth(0.34 * hw, 0.62 * hw, self.mouth.gap) * 0.35;
        if peep > 0.0 {
            let rim = 0.085 * hw * (1.0 - 0.5 * across * across);
            let row = smooth(rim + 0.7 * edge, rim - 0.5 * edge, above_lower) * smooth(0.62, 0.3, t.abs());
            blend(&mut color, shaded(tone.tooth, 0.62 * self.seam(t * 1.45)), row * peep);
        }

        if self.mouth.own_teeth < 1.0 {
            let (shade, shorter) = self.tooth(t);
            let fall = 0.14 * hw * (1.0 - 0.55 * across * across) - shorter;
            // hidden lips show no more than two thirds of teeth
            let bottom = (c.gum - 0.35 * self.mouth.raised + fall)
                .min(c.upper + mix(0.66, 0.96, self.mouth.bite) * height);
            let row = smooth(bottom + 0.75 * edge, bottom - 0.65 * edge, y) * smooth(1.0, 0.62, across);
            let round = 0.76 + 0.24 * smooth(0.0, 0.16 * hw, below_upper);
            let tip_light = 1.0 - 0.07 * smooth(bottom - 2.2, bottom, y);
            let depth = mix(0.58, 1.0, smooth(1.0, 7.5, height).max(0.6 * self.mouth.bite))
                * (1.0 - 0.42 * across * across);
            blend(
                &mut color,
                shaded(tone.tooth, shade * round * tip_light * depth),
                row * (1.0 - self.mouth.own_teeth),
            );
        }

        // the upper lip's shadow, the corners' darkness, the lower lip's shade
        let dark = (0.46 + 0.54 * smooth(0.0, 0.15 * hw, below_upper))
            * (0.55 + 0.45 * smooth(1.0, 0.5, across))
            * (0.80 + 0.20 * smooth(0.0, 0.10 * hw, above_lower));
        color = shaded(color, dark);

        // wet inner rims: lips do not end at a knife's edge
        let low = smooth(0.075 * hw, 0.0, above_lower) * smooth(1.0, 5.0, height);
        blend(&mut color, shaded(tone.lip, 0.62), 0.45 * low);
        let high = smooth(0.045 * hw, 0.0, below_upper) * smooth(1.0, 5.0, height);
        blend(&mut color, shaded(tone.lip, 0.42), 0.6 * high);

        if c.source_gap > 0.0 {
            // what the source shows between its lips stays where it is; only what lies below it is painted
            let keep = smooth(-0.4, -2.0, y - (c.lower_at - 1.0)) * smooth(0.3, 1.8, c.source_gap) * corner;
            let shadow = 0.40 * smooth(0.10 * hw, 0.0, below_upper) * smooth(0.5, 3.0, c.upper - c.upper_at);
            blend(&mut color, tone.cavity, keep);
            alpha *= mix(1.0, shadow, keep);
        }
        Paint { alpha, color }
    }

    /// Brightness and shortness of the upper tooth at `t`.
    fn tooth(&self, t: f32) -> (f32, f32) {
        let at = t.abs();
        let side = usize::from(t > 0.0);
        let i = TOOTH_EDGES[1..].iter().position(|&e| at < e).unwrap_or(5);
        let middle = 0.5 * (TOOTH_EDGES[i] + TOOTH_EDGES[i + 1]);
        let half = 0.5 * (TOOTH_EDGES[i + 1] - TOOTH_EDGES[i]);
        let q = ((at - middle) / half).clamp(-1.0, 1.0);
        let q2 = q * q;
        // rounded: darker and shorter toward its own edges
        let shade = TOOTH_SHADE[side][i] * (1.0 - 0.05 * q2) * self.seam(t);
        (shade, TOOTH_SHORTER[i] + 0.55 * q2 * q2)
    }

    /// The dark line between two teeth, as visible as the pixel size lets it be.
    fn seam(&self, t: f32) -> f32 {
        let at = t.abs();
        let hw = self.mouth.half_width;
        let nearest = TOOTH_EDGES.iter().map(|e| (at - e).abs()).fold(f32::MAX, f32::min) * hw;
        let width = (0.45 * self.tone.blur * self.pixel).max(0.42);
        let line = nearest / width;
        1.0 - 0.26 * (0.42 / width) * bump(line * line)
    }
}

#[inline(always)]
fn blend(color: &mut Yuv, over: Yuv, alpha: f32) {
    for (c, o) in color.iter_mut().zip(over) {
        *c += (o - *c) * alpha;
    }
}

/// Less light: luma toward black, chroma toward grey.
#[inline(always)]
pub fn shaded([y, u, v]: Yuv, light: f32) -> Yuv {
    [16.0 + (y - 16.0) * light, 128.0 + (u - 128.0) * light, 128.0 + (v - 128.0) * light]
}
