//! Bins to points of the frame, as mmpose's `SimCCLabel` decodes them without refinement: a point lies on a bin, so a frame of 1920 pixels
//! knows it to 4.2 pixels.

use candle_core::{DType, Result, Tensor};

use super::{RtmposeConfig, Simcc, crop::Region};

/// The points of the face among the 133 of the whole body, in the order of iBUG.
pub const FACE: std::ops::Range<usize> = 23..91;

/// Points of COCO-WholeBody that change places in a mirror: body and feet in pairs, the face by its own symmetry, the hands with one another.
fn mirrored(point: usize) -> usize {
    match point {
        1..=16 => ((point - 1) ^ 1) + 1,
        17..=19 => point + 3,
        20..=22 => point - 3,
        23..=90 => 23 + mirrored_in_face(point - 23),
        91..=111 => point + 21,
        112..=132 => point - 21,
        _ => point,
    }
}

/// Of the 68 points of iBUG.
fn mirrored_in_face(point: usize) -> usize {
    match point {
        0..=16 => 16 - point,            // jaw
        17..=26 => 43 - point,           // brows
        31..=35 => 66 - point,           // nostrils
        36..=39 | 42..=45 => 81 - point, // eyes: upper half
        40 | 41 | 46 | 47 => 87 - point, // eyes: lower half
        48..=54 => 102 - point,          // lips, outside, upper half
        55..=59 => 114 - point,          // lips, outside, lower half
        60..=64 => 124 - point,          // lips, inside, upper half
        65..=67 => 132 - point,          // lips, inside, lower half
        _ => point,                      // the bridge of the nose
    }
}

/// What a mirrored picture gave, as if it had not been mirrored.
pub fn unmirrored(simcc: &Simcc) -> Result<Simcc> {
    let order = |n: usize| Tensor::from_iter((0..n).map(|p| mirrored(p) as u32), simcc.x.device());
    let points = order(simcc.x.dim(1)?)?;
    Ok(Simcc { x: simcc.x.index_select(&points, 1)?.flip(&[2])?, y: simcc.y.index_select(&points, 1)? })
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The most likely bins.
    pub bins: [usize; 2],
    /// In pixels of the frame.
    pub place: [f32; 2],
    /// The smaller of the two bins' values; it is no probability.
    pub score: f32,
}

/// The points of the first picture of the batch.
pub fn decode(cfg: &RtmposeConfig, simcc: &Simcc, region: &Region) -> Result<Vec<Point>> {
    let rows = |x: &Tensor| x.get(0)?.to_dtype(DType::F32)?.to_vec2::<f32>();
    let sides = [cfg.input_size.0 as f64, cfg.input_size.1 as f64];
    let points = rows(&simcc.x)?.into_iter().zip(rows(&simcc.y)?).map(|(x, y)| {
        let (best_x, best_y) = (most(&x), most(&y));
        let bins = [best_x.0, best_y.0];
        let score = best_x.1.min(best_y.1);
        let place = [0, 1].map(|axis| {
            // mmpose marks a point it does not believe in with a bin of -1, and scales it all the same
            let bin = if score > 0.0 { bins[axis] as f32 } else { -1.0 };
            let in_input = f64::from(bin / cfg.simcc_split_ratio as f32);
            let (scale, center) = (f64::from(region.scale[axis]), f64::from(region.center[axis]));
            (in_input / sides[axis] * scale + center - 0.5 * scale) as f32
        });
        Point { bins, place, score }
    });
    Ok(points.collect())
}

/// Where the first of the largest values is, and that value.
fn most(values: &[f32]) -> (usize, f32) {
    values
        .iter()
        .copied()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, value| if value.1 > best.1 { value } else { best })
}

/// The face's points as whole pixels, cut off towards zero as numpy does.
pub fn face(points: &[Point]) -> Vec<[i32; 2]> {
    points.iter().take(FACE.end).skip(FACE.start).map(|point| point.place.map(|v| v as i32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_mirror_turned_twice_changes_nothing() {
        for point in 0..133 {
            assert_eq!(mirrored(mirrored(point)), point, "{point}");
        }
        let alone: Vec<usize> = (0..133).filter(|&p| mirrored(p) == p).collect();
        // nose; chin, bridge of the nose and its tip, the middles of both lips
        assert_eq!(alone, [0, 31, 50, 51, 52, 53, 56, 74, 80, 85, 89]);
        for (left, right) in [(1, 2), (15, 16), (17, 20), (59, 68), (62, 65), (64, 69), (91, 112), (111, 132)]
        {
            assert_eq!(mirrored(left), right);
        }
    }

    #[test]
    fn a_bin_is_half_a_pixel_of_the_input() {
        let cfg = RtmposeConfig { input_size: (4, 4), out_channels: 2, ..RtmposeConfig::dwpose() };
        let rows = |peak: usize, value: f32| (0..8).map(move |i| if i == peak { value } else { -2.0 });
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, (1, 2, 8), &Device::Cpu).unwrap();
        let simcc = Simcc {
            x: tensor(rows(3, 5.0).chain(rows(1, -1.0)).collect()),
            y: tensor(rows(6, 4.0).chain(rows(2, 3.0)).collect()),
        };
        let region = Region { center: [50.0, 60.0], scale: [40.0, 40.0] };
        let points = decode(&cfg, &simcc, &region).unwrap();
        assert_eq!(points[0], Point { bins: [3, 6], place: [45.0, 70.0], score: 4.0 });
        assert_eq!(points[1], Point { bins: [1, 2], place: [25.0, 35.0], score: -1.0 });
    }
}
