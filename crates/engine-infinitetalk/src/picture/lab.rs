//! sRGB to CIE L*a*b* (D65, 2 degrees) and back, many pixels at a time, with the numbers of scikit-image 0.26 (`skimage.color`). What it does with
//! powers is done here with square roots and polynomials, which are vector code: at most 6e-7 from the power each, on their whole range.
//! What is not a number stays so.

use pictures::leveled;

/// Pixels that are converted at a time.
pub const BLOCK: usize = 16;

/// L*, a*, b* of a block, each by itself.
pub type Lab = [[f32; BLOCK]; 3];

/// `xyz_from_rgb`, its rows divided by the white point (0.95047, 1, 1.08883).
const TO_WHITE: [[f32; 3]; 3] = [
    [0.433_946_36, 0.376_213_87, 0.189_825_03],
    [0.212_671, 0.715_16, 0.072_169],
    [0.017_756_675, 0.109_468_88, 0.872_704_6],
];

/// The inverse of `xyz_from_rgb`, its columns times the white point.
const FROM_WHITE: [[f32; 3]; 3] = [
    [3.079_98, -1.537_151_5, -0.542_821_3],
    [-0.921_247_8, 1.875_99, 0.045_247_342],
    [0.052_890_446, -0.204_041_34, 1.151_232],
];

/// s^4.8, of s = sqrt((c + 0.055) / 1.055): the curve of sRGB above its straight part. Within 2.9e-7.
const DECODE: [f32; 7] = [
    0.000_378_970_6,
    -0.005_231_204,
    0.031_333_514,
    -0.111_279_4,
    0.312_242_18,
    0.807_914_44,
    -0.035_358_604,
];

/// s^(4/3), of the fourth root s: the cube root. Within 4.0e-7.
const CUBE_ROOT: [f32; 8] = [
    -0.008_722_532,
    0.439_807_86,
    1.157_938_7,
    -1.321_175_5,
    1.378_923_8,
    -0.981_353,
    0.409_843_24,
    -0.075_262_71,
];

/// 1.055 s^(5/3) - 0.055, of the fourth root s: the inverse of `DECODE`. Within 6.0e-7.
const ENCODE: [f32; 8] = [
    -0.058_446_594,
    0.123_575_92,
    1.461_525_7,
    -1.155_895_5,
    1.209_150_2,
    -0.898_412_94,
    0.394_713_3,
    -0.076_210_3,
];

/// Coefficients from the lowest power on.
#[inline(always)]
fn polynomial<const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

#[inline(always)]
fn fourth_root(x: f32) -> f32 {
    x.sqrt().sqrt()
}

/// c: on [0, 1]
#[inline(always)]
fn decoded(c: f32) -> f32 {
    let curve = polynomial(&DECODE, ((c + 0.055) * (1.0 / 1.055)).sqrt());
    if c > 0.040_45 { curve } else { c * (1.0 / 12.92) }
}

/// The other way round, clipped to [0, 1].
#[inline(always)]
fn encoded(v: f32) -> f32 {
    let v = v.clamp(0.0, 1.0);
    let curve = polynomial(&ENCODE, fourth_root(v));
    if v > 0.003_130_8 { curve } else { v * 12.92 }
}

/// t: a share of the white point's X, Y or Z
#[inline(always)]
fn compressed(t: f32) -> f32 {
    let root = polynomial(&CUBE_ROOT, fourth_root(t));
    if t > 0.008_856 { root } else { t * 7.787 + 16.0 / 116.0 }
}

/// The other way round.
#[inline(always)]
fn expanded(f: f32) -> f32 {
    if f > 0.206_896_6 { f * f * f } else { (f - 16.0 / 116.0) * (1.0 / 7.787) }
}

#[inline(always)]
fn product(m: &[[f32; 3]; 3], [x, y, z]: [f32; 3]) -> [f32; 3] {
    m.map(|row| row[0] * x + row[1] * y + row[2] * z)
}

/// A value of the nets, on [-1, 1], to [0, 1]; what lies beyond is clipped.
#[inline(always)]
pub fn unit(v: f32) -> f32 {
    ((v + 1.0) * 0.5).clamp(0.0, 1.0)
}

#[inline(always)]
fn to_lab(rgb: [f32; 3]) -> [f32; 3] {
    let [x, y, z] = product(&TO_WHITE, rgb.map(|v| decoded(unit(v)))).map(compressed);
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

#[inline(always)]
fn from_lab([l, a, b]: [f32; 3]) -> [f32; 3] {
    let y = (l + 16.0) * (1.0 / 116.0);
    let (x, z) = (a * (1.0 / 500.0) + y, (y - b * (1.0 / 200.0)).max(0.0));
    product(&FROM_WHITE, [x, y, z].map(expanded)).map(encoded)
}

leveled! {
    /// rgb: whole blocks of interleaved pixels on [-1, 1]; lab: a block for each
    pub fn blocks_to_lab(rgb: &[f32], lab: &mut [Lab]) {
        for (rgb, lab) in rgb.chunks_exact(3 * BLOCK).zip(lab) {
            for i in 0..BLOCK {
                let [l, a, b] = to_lab([rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]]);
                (lab[0][i], lab[1][i], lab[2][i]) = (l, a, b);
            }
        }
    }
}

/// What becomes of L*, a*, b*, and how much of that is taken; the rest is what was there.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub scale: [f32; 3],
    pub shift: [f32; 3],
    /// 0 to 1
    pub strength: f32,
}

leveled! {
    /// Each L*, a*, b* changed, back to pixels on [-1, 1].
    pub fn blocks_from_lab(lab: &[Lab], change: Change, rgb: &mut [f32]) {
        let Change { scale, shift, strength } = change;
        for (lab, rgb) in lab.iter().zip(rgb.chunks_exact_mut(3 * BLOCK)) {
            for i in 0..BLOCK {
                let made = from_lab(std::array::from_fn(|c| lab[c][i] * scale[c] + shift[c]));
                for c in 0..3 {
                    let was = unit(rgb[3 * i + c]);
                    rgb[3 * i + c] = (was * (1.0 - strength) + made[c] * strength) * 2.0 - 1.0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pictures::Level;

    const NONE: Change = Change { scale: [1.0; 3], shift: [0.0; 3], strength: 1.0 };

    /// The definition, in f64 with powers.
    fn exact(rgb: [f32; 3]) -> [f64; 3] {
        let linear = rgb.map(|v| {
            let c = ((f64::from(v) + 1.0) / 2.0).clamp(0.0, 1.0);
            if c > 0.04045 { ((c + 0.055) / 1.055).powf(2.4) } else { c / 12.92 }
        });
        let rows = [
            ([0.412453, 0.357580, 0.180423], 0.95047),
            ([0.212671, 0.715160, 0.072169], 1.0),
            ([0.019334, 0.119193, 0.950227], 1.08883),
        ];
        let [x, y, z] = rows.map(|(row, white): ([f64; 3], f64)| {
            let t = row.iter().zip(linear).map(|(m, v)| m * v).sum::<f64>() / white;
            if t > 0.008856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 }
        });
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    /// A lattice of colours, its steps falling beside the bends of both curves.
    fn colours() -> Vec<f32> {
        let value = |i: usize| (i as f32 / 19.0) * 2.2 - 1.1;
        (0..8000).flat_map(|i| [value(i / 400), value(i / 20 % 20), value(i % 20)]).collect()
    }

    #[test]
    fn is_what_the_powers_give_and_comes_back() {
        let mut rgb = colours();
        let before: Vec<f32> = rgb.iter().map(|&v| v.clamp(-1.0, 1.0)).collect();
        let mut lab = vec![Lab::default(); rgb.len() / 3 / BLOCK];
        blocks_to_lab(Level::best(), &rgb, &mut lab);
        for (i, pixel) in rgb.chunks_exact(3).enumerate() {
            let want = exact(pixel.try_into().unwrap());
            for (c, want) in want.into_iter().enumerate() {
                let got = f64::from(lab[i / BLOCK][c][i % BLOCK]);
                assert!((got - want).abs() < 1e-3, "{pixel:?}: {c} is {got}, not {want}");
            }
        }
        blocks_from_lab(Level::best(), &lab, NONE, &mut rgb);
        let farthest = rgb.iter().zip(&before).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(farthest < 1e-4, "{farthest}");
    }

    #[test]
    fn every_level_gives_the_same_bits() {
        let rgb = colours();
        let change = Change { scale: [1.1, 0.9, 1.2], shift: [-3.0, 2.0, 1.0], strength: 0.7 };
        let there_and_back = |level: Level| {
            let (mut lab, mut out) = (vec![Lab::default(); rgb.len() / 3 / BLOCK], rgb.clone());
            blocks_to_lab(level, &rgb, &mut lab);
            blocks_from_lab(level, &lab, change, &mut out);
            out.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(there_and_back(Level::PORTABLE), there_and_back(Level::best()));
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let mut rgb = vec![f32::NAN; 3 * BLOCK];
        let mut lab = [Lab::default()];
        blocks_to_lab(Level::best(), &rgb, &mut lab);
        blocks_from_lab(Level::best(), &lab, NONE, &mut rgb);
        assert!(rgb.iter().all(|v| v.is_nan()));
    }
}
