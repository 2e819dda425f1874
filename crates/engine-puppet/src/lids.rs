//! Blinks. The lid is skin grown from what surrounds the eye, with the portrait's own grain; the lashes are the portrait's
//! own, carried down with the lid's edge and turned over. Both are painted into the plate before it is warped, so that they
//! turn with the head.

use face::{EYE_X, EYE_Y, Face, Similarity};

use crate::curve::{bump, mix, smooth};
use crate::plate::{Plane, Plate};

/// Canonical px around the eye that a lid may touch.
const MARGIN: f32 = 12.0;

/// One eye's outline in canonical px.
#[derive(Clone, Copy)]
struct Outline {
    x: f32,
    half: f32,
    top: f32,
    bottom: f32,
    /// Height of the upper lashes above `top`.
    lashes: f32,
    /// How much darker than skin they are, 0..1.
    dark: f32,
    /// Canonical px a picture px, nearly.
    pixel: f32,
}

/// Skin above and below one eye, a column a canonical px, as Y, U, V.
struct Skin {
    first: f32,
    above: Vec<[f32; 3]>,
    below: Vec<[f32; 3]>,
}

/// One plane of one eye: the pixels that a lid can cover.
struct Patch {
    x: (usize, usize),
    y: (usize, usize),
    /// The portrait's own bytes.
    open: Vec<u8>,
    /// Skin where the lid will be.
    skin: Vec<f32>,
    /// Luma px per sample of this plane: 1 or 2.
    shrink: f32,
}

struct Lid {
    outline: Outline,
    /// Y, U, V.
    patches: [Patch; 3],
}

pub struct Lids {
    canon: Similarity,
    lids: [Lid; 2],
    closed: f32,
}

impl Outline {
    fn new(plate: &Plate, face: &Face, side: usize) -> Self {
        let eye = face.eyes[side];
        let half = (1.55 * (eye.lid_bottom - eye.lid_top)).clamp(19.0, 28.0);
        let mut outline = Self {
            x: EYE_X[side],
            half,
            top: eye.lid_top,
            bottom: eye.lid_bottom,
            lashes: 2.0,
            dark: 0.5,
            pixel: 0.85 * face.canon.scale(),
        };
        (outline.lashes, outline.dark) = outline.measure_lashes(plate, &face.canon.inverse());
        outline
    }

    /// How open the eye is at `x`: 1 at the pupil, 0 at the corners; then the lid edges there.
    fn edges(&self, x: f32) -> (f32, f32, f32) {
        let t = (x - self.x) / self.half;
        let a = (1.0 - t * t).max(0.0);
        (a, EYE_Y - (EYE_Y - self.top) * a, EYE_Y + (self.bottom - EYE_Y) * a)
    }

    /// How far above the lid's edge the dark of lashes and liner reaches, 1.5 to 6, and how dark it is, 0..1.
    fn measure_lashes(&self, plate: &Plate, back: &Similarity) -> (f32, f32) {
        let luma = |k: usize| -> f32 {
            let sum: f32 = (-4..=4)
                .map(|i| {
                    let x = self.x + i as f32 * 2.5;
                    let (px, py) = back.apply(x, self.edges(x).1 + 1.0 - 0.5 * k as f32);
                    plate.y.sample(px, py)
                })
                .sum();
            sum / 9.0
        };
        let profile: Vec<f32> = (0..22).map(luma).collect();
        let bright = profile[8..].iter().copied().fold(0.0f32, f32::max);
        let dark = profile[..10].iter().copied().fold(255.0f32, f32::min);
        let darkest = profile[..10].iter().position(|v| *v == dark).unwrap_or(0);
        let end = profile[darkest..].iter().position(|v| *v > mix(dark, bright, 0.7)).unwrap_or(8) + darkest;
        (
            (0.5 * end as f32 - 1.0).clamp(1.5, 6.0),
            1.0 - ((dark - 16.0) / (bright - 16.0).max(1.0)).clamp(0.0, 1.0),
        )
    }
}

impl Skin {
    fn new(plate: &Plate, canon: &Similarity, eye: &Outline) -> Self {
        let back = canon.inverse();
        let first = eye.x - eye.half - 8.0;
        let count = (2.0 * eye.half + 17.0) as usize;
        let look = |x: f32, y: f32| {
            let (px, py) = back.apply(x, y);
            plate.sample(px, py)
        };
        let below: Vec<[f32; 3]> = (0..count)
            .map(|i| {
                let x = first + i as f32;
                let y = eye.edges(x).2;
                mean(&[look(x, y + 4.5), look(x, y + 6.0), look(x, y + 7.5)])
            })
            .collect();
        let below = blurred(&below, 4);
        // above: lashes, crease and brow are not skin; what is nearly as bright as the skin below counts
        let above: Vec<[f32; 4]> = (0..count)
            .map(|i| {
                let x = first + i as f32;
                let top = eye.edges(x).1 - eye.lashes;
                let usual = below[i][0] - 16.0;
                let mut sum = [0.0; 4];
                for k in 0..6 {
                    let sample = look(x, top - 1.5 - 1.6 * k as f32);
                    let weight = 0.003 + smooth(0.45, 0.85, (sample[0] - 16.0) / usual.max(8.0));
                    for (s, v) in sum.iter_mut().zip([sample[0], sample[1], sample[2], 1.0]) {
                        *s += v * weight;
                    }
                }
                sum
            })
            .collect();
        let above = blurred(&above, 4).into_iter().map(|[y, u, v, w]| [y / w, u / w, v / w]).collect();
        Self { first, above, below }
    }

    /// Skin above and below at canonical `x`, channel `c`.
    fn at(&self, x: f32, c: usize) -> (f32, f32) {
        let f = (x - self.first).clamp(0.0, (self.above.len() - 2) as f32);
        let i = f as usize;
        let between = |list: &[[f32; 3]]| mix(list[i][c], list[i + 1][c], f - i as f32);
        (between(&self.above), between(&self.below))
    }
}

impl Lids {
    pub fn new(plate: &Plate, face: &Face) -> Self {
        let lids = [0, 1].map(|side| {
            let outline = Outline::new(plate, face, side);
            let skin = Skin::new(plate, &face.canon, &outline);
            let patches = [(&plate.y, 1.0), (&plate.u, 2.0), (&plate.v, 2.0)];
            let mut channel = 0;
            let patches = patches.map(|(plane, shrink)| {
                let patch = Patch::new(plane, (&face.canon, &outline), (&skin, channel), shrink);
                channel += 1;
                patch
            });
            Lid { outline, patches }
        });
        Self { canon: face.canon, lids, closed: 0.0 }
    }

    /// Paints the lids into the plate, or takes them out again at 0.
    pub fn close(&mut self, plate: &mut Plate, blink: f32) {
        if blink == self.closed {
            return;
        }
        self.closed = blink;
        for lid in &self.lids {
            let [luma, ..] = &lid.patches;
            for (patch, plane) in lid.patches.iter().zip([&mut plate.y, &mut plate.u, &mut plate.v]) {
                patch.paint(plane, luma, (&self.canon, &lid.outline), blink);
            }
        }
    }
}

impl Patch {
    fn new(
        plane: &Plane,
        (canon, eye): (&Similarity, &Outline),
        (skin, channel): (&Skin, usize),
        shrink: f32,
    ) -> Self {
        let back = canon.inverse();
        let (left, right) = (eye.x - eye.half - 3.0, eye.x + eye.half + 3.0);
        let (above, below) = (eye.top - MARGIN, eye.bottom + MARGIN);
        let corners = [
            back.apply(left, above),
            back.apply(right, above),
            back.apply(left, below),
            back.apply(right, below),
        ];
        let range = |pick: fn(&(f32, f32)) -> f32, end: usize| {
            let low = corners.iter().map(pick).fold(f32::MAX, f32::min) / shrink;
            let high = corners.iter().map(pick).fold(f32::MIN, f32::max) / shrink;
            (low.clamp(0.0, end as f32) as usize, (high + 2.0).clamp(0.0, end as f32) as usize)
        };
        let (x, y) = (range(|c| c.0, plane.width), range(|c| c.1, plane.height));
        let mut patch = Self { x, y, open: Vec::new(), skin: Vec::new(), shrink };
        for y in patch.y.0..patch.y.1 {
            patch.open.extend_from_slice(&plane.row(y)[patch.x.0..patch.x.1]);
            for x in patch.x.0..patch.x.1 {
                let (cx, cy) = patch.place(canon, x, y);
                let grain = if shrink == 1.0 { patch.grain(plane, &back, (cx, cy + 22.0)) } else { 0.0 };
                patch.skin.push(patch.lid(eye, (cx, cy), skin.at(cx, channel)) + grain);
            }
        }
        patch
    }

    /// Canonical place of a sample of this plane.
    fn place(&self, canon: &Similarity, x: usize, y: usize) -> (f32, f32) {
        let offset = 0.5 * (self.shrink - 1.0);
        canon.apply(x as f32 * self.shrink + offset, y as f32 * self.shrink + offset)
    }

    /// Lid skin: from the skin above to the skin below, round over the eyeball.
    fn lid(&self, eye: &Outline, (x, y): (f32, f32), (high, low): (f32, f32)) -> f32 {
        let (_, top, bottom) = eye.edges(x);
        let v = ((y - top + 2.0) / (bottom - top + 3.0).max(1.0)).clamp(0.0, 1.0);
        if self.shrink != 1.0 {
            return mix(high, low, 0.45 + 0.45 * v); // makeup and brows tint what is above more than what is below
        }
        let tone = mix(high, low, 0.75 * smooth(0.0, 1.0, v));
        let ball = (v - 0.5) / 0.28;
        let round = 0.025 * bump(ball * ball) - 0.06 * smooth(0.25, 0.0, v) - 0.05 * smooth(0.75, 1.0, v);
        16.0 + (tone - 16.0) * (1.0 + round)
    }

    /// The finest detail of the portrait at a place.
    fn grain(&self, plane: &Plane, back: &Similarity, at: (f32, f32)) -> f32 {
        let (px, py) = back.apply(at.0, at.1);
        let (px, py) = (px.round(), py.round());
        let mut mean = 0.0;
        for dy in [-2.0, 0.0, 2.0] {
            for dx in [-2.0, 0.0, 2.0] {
                mean += plane.sample(px + dx, py + dy);
            }
        }
        // in a small picture the finest detail is whole features, not grain
        let fine = smooth(2.8, 1.0, 1.0 / back.scale());
        (plane.sample(px, py) - mean / 9.0).clamp(-6.0, 6.0) * mix(0.35, 1.0, fine)
    }

    fn paint(&self, plane: &mut Plane, luma: &Patch, (canon, eye): (&Similarity, &Outline), blink: f32) {
        let width = self.x.1 - self.x.0;
        for (y, line) in (self.y.0..self.y.1).zip(self.open.chunks_exact(width.max(1))) {
            plane.row_mut(y)[self.x.0..self.x.1].copy_from_slice(line);
        }
        if blink <= 0.0 {
            return;
        }
        let back = canon.inverse();
        let soft = 0.8f32.max(0.6 * canon.scale() * self.shrink);
        let black = if self.shrink == 1.0 { 16.0 } else { 128.0 };
        for y in self.y.0..self.y.1 {
            for x in self.x.0..self.x.1 {
                let (cx, cy) = self.place(canon, x, y);
                let (open, top, bottom) = eye.edges(cx);
                if open <= 0.0 {
                    continue;
                }
                let inward = smooth(0.0, 0.28, open);
                let edge = top + blink * (bottom + 0.6 - top);
                let i = (y - self.y.0) * width + x - self.x.0;
                let start = top - eye.lashes;
                // the last of the eye white below the lashes goes with the last of the opening
                let rest = smooth(0.8, 1.0, blink) * smooth(bottom + 4.5, bottom + 1.5, cy);
                let lid = smooth(start - 2.5, start + 0.8, cy)
                    * smooth(edge + soft, edge - soft, cy).max(rest)
                    * inward;
                let mut value = mix(f32::from(self.open[i]), self.skin[i], lid);
                let lash = luma.lash((&back, eye), (cx, top, cy - edge), blink) * smooth(0.0, 0.55, open);
                // under the edge lies its shadow
                let shade = 0.16
                    * smooth(4.0, 0.5, cy - edge)
                    * smooth(-soft, soft, cy - edge)
                    * inward
                    * (1.0 - rest);
                let dark = (lash + shade * (1.0 - lash))
                    * smooth(0.0, 0.2, blink)
                    * if self.shrink == 1.0 { 1.0 } else { 0.5 };
                value = black + (value - black) * (1.0 - dark);
                plane.row_mut(y)[x] = (value + 0.5).clamp(0.0, 255.0) as u8;
            }
        }
    }

    /// How dark the lashes are `off` below the lid's moving edge, 0..1: the portrait's own, which point up on an open eye and
    /// down on a closed one.
    fn lash(&self, (back, eye): (&Similarity, &Outline), (x, top, off): (f32, f32, f32), blink: f32) -> f32 {
        let reach = eye.lashes + 2.0;
        if off.abs() > reach {
            return 0.0;
        }
        let over = smooth(0.45, 0.85, blink);
        let up =
            self.darkness(back, (x, top + off)) * smooth(-reach, -reach + 2.0, off) * smooth(2.0, 0.3, off);
        let down =
            self.darkness(back, (x, top - off)) * smooth(reach, reach - 2.0, off) * smooth(-2.0, -0.3, off);
        let width = eye.pixel.max(1.1);
        let line = 0.62 * eye.dark * (1.1 / width) * bump((off / width) * (off / width));
        mix(up, 0.95 * down, over).max(line)
    }

    /// How much darker than lid skin the open portrait is at a canonical place, 0..1. On the luma patch only.
    fn darkness(&self, back: &Similarity, at: (f32, f32)) -> f32 {
        let (px, py) = back.apply(at.0, at.1);
        let width = self.x.1 - self.x.0;
        let x = (px - self.x.0 as f32).clamp(0.0, width.saturating_sub(2) as f32);
        let y = (py - self.y.0 as f32).clamp(0.0, (self.y.1 - self.y.0).saturating_sub(2) as f32);
        let at = y as usize * width + x as usize;
        let (fx, fy) = (x - (x as usize) as f32, y - (y as usize) as f32);
        let px = |o: usize| f32::from(self.open[at + o]);
        let value = mix(mix(px(0), px(1), fx), mix(px(width), px(width + 1), fx), fy);
        let skin = self.skin[at].max(32.0);
        (1.0 - (value - 16.0) / (skin - 16.0)).clamp(0.0, 0.85)
    }
}

fn mean(samples: &[[f32; 3]; 3]) -> [f32; 3] {
    std::array::from_fn(|c| (samples[0][c] + samples[1][c] + samples[2][c]) / 3.0)
}

/// Three box blurs, nearly a Gaussian of sigma `radius`.
fn blurred<const N: usize>(values: &[[f32; N]], radius: i32) -> Vec<[f32; N]> {
    let mut now = values.to_vec();
    for _ in 0..3 {
        let last = now.len() as i32 - 1;
        now = (0..=last)
            .map(|i| {
                let mut sum = [0.0; N];
                for d in -radius..=radius {
                    let row = now[(i + d).clamp(0, last) as usize];
                    sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
                }
                sum.map(|s| s / (2 * radius + 1) as f32)
            })
            .collect();
    }
    now
}
