//! `Tone`: the portrait's own colours and sharpness, from which everything painted is mixed.

use contract::{Rgb, Yuv, rgb_to_yuv, yuv_to_rgb};
use face::{Face, Similarity};

use crate::curve::{mix, smooth};
use crate::plate::Plate;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tone {
    pub skin: Yuv,
    pub lip: Yuv,
    pub tooth: Yuv,
    pub tongue: Yuv,
    pub cavity: Yuv,
    /// Width of the portrait's own edges, picture px.
    pub blur: f32,
}

impl Tone {
    pub fn measure(plate: &Plate, face: &Face) -> Self {
        let back = face.canon.inverse();
        let skin = median(plate, &back, (60..132, 75..115));
        let (cx, hw) = (face.mouth.center_x, face.mouth.half_width);
        let line = face.mouth.lower.get(face.mouth.lower.len() / 2).copied().unwrap_or(136.0);
        let (lx, ly) = (cx as i32, line as i32);
        let reach = (hw * 0.35) as i32;
        let lip = median(plate, &back, (lx - reach..lx + reach, ly + 2..ly + 8));
        Self {
            skin,
            lip,
            tooth: rgb_to_yuv(tooth(yuv_to_rgb(skin))),
            tongue: rgb_to_yuv(tongue(yuv_to_rgb(skin), yuv_to_rgb(lip))),
            cavity: rgb_to_yuv(cavity(yuv_to_rgb(skin))),
            blur: edge_width(plate, &back),
        }
    }

    /// A step from `self` to `next`, so that the colours of a clip do not flicker.
    pub fn toward(&self, next: &Tone, step: f32) -> Self {
        let blend = |a: Yuv, b: Yuv| std::array::from_fn(|k| mix(a[k], b[k], step));
        Self {
            skin: blend(self.skin, next.skin),
            lip: blend(self.lip, next.lip),
            tooth: blend(self.tooth, next.tooth),
            tongue: blend(self.tongue, next.tongue),
            cavity: blend(self.cavity, next.cavity),
            blur: mix(self.blur, next.blur, step),
        }
    }
}

/// Median of each channel over a canonical rectangle, every second column and row.
fn median(plate: &Plate, back: &Similarity, area: (std::ops::Range<i32>, std::ops::Range<i32>)) -> Yuv {
    let mut values: [Vec<f32>; 3] = Default::default();
    for y in area.1.step_by(2) {
        for x in area.0.clone().step_by(2) {
            let (px, py) = back.apply(x as f32, y as f32);
            let at = plate.sample(px, py);
            for (list, v) in values.iter_mut().zip(at) {
                list.push(v);
            }
        }
    }
    values.map(|mut list| {
        list.sort_by(f32::total_cmp);
        list.get(list.len() / 2).copied().unwrap_or(128.0)
    })
}

fn lightness(skin: Rgb) -> f32 {
    let luma = (rgb_to_yuv(skin)[0] - 16.0) / 219.0;
    luma.clamp(0.0, 1.0).sqrt() // near CIE lightness
}

/// Ivory under the portrait's own light: the more the skin is coloured (candle light, varnish), the more the teeth are.
fn tooth(skin: Rgb) -> Rgb {
    let high = skin[0].max(skin[1]).max(skin[2]).max(1.0);
    let low = skin[0].min(skin[1]).min(skin[2]);
    let saturation = 1.0 - low / high;
    let white = (0.30 + 0.70 * lightness(skin) / 0.86).clamp(0.3, 1.0);
    let own = 0.28 + 0.5 * ((saturation - 0.35) / 0.35).clamp(0.0, 1.0);
    let gain = (225.0 / high).min(1.25);
    let ivory = [241.0, 229.0, 211.0];
    let tint = [0.97, 1.03, 1.06];
    std::array::from_fn(|k| {
        (mix(ivory[k] * white, skin[k] * gain * tint[k], own) * (0.98 - 0.20 * (own - 0.28))).min(235.0)
    })
}

fn tongue(skin: Rgb, lip: Rgb) -> Rgb {
    let light = 0.30 + 0.62 * lightness(skin);
    let flesh = [158.0, 78.0, 80.0];
    std::array::from_fn(|k| mix(flesh[k] * light, lip[k] * 0.72, 0.45))
}

fn cavity(skin: Rgb) -> Rgb {
    [skin[0] * 0.15 + 9.0, skin[1] * 0.085 + 2.0, skin[2] * 0.10 + 3.0]
}

/// How wide this portrait's sharpest detail is, from the energy of its luma steps over one and two pixels.
fn edge_width(plate: &Plate, back: &Similarity) -> f32 {
    let (x0, y0) = back.apply(30.0, 25.0);
    let (x1, y1) = back.apply(160.0, 170.0);
    let plane = &plate.y;
    let clip = |v: f32, end: usize| (v.max(0.0) as usize).min(end.saturating_sub(3));
    let (xa, xb) = (clip(x0.min(x1), plane.width), clip(x0.max(x1), plane.width));
    let (ya, yb) = (clip(y0.min(y1), plane.height), clip(y0.max(y1), plane.height));
    let (mut one, mut two) = (1u64, 1u64);
    for y in (ya..yb).step_by(2) {
        let row = plane.row(y);
        for x in xa..xb {
            one += u64::from(row[x].abs_diff(row[x + 1])).pow(2);
            two += u64::from(row[x].abs_diff(row[x + 2])).pow(2);
        }
    }
    let ratio = two as f32 / one as f32; // 1 for noise .. 4 for a ramp
    0.75 + 0.45 * smooth(2.6, 3.4, ratio) + 1.0 * smooth(3.3, 3.95, ratio)
}
