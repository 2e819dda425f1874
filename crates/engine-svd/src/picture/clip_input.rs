//! What CLIP sees of a picture: blurred as much as it will shrink, brought to a square whatever its shape, normalised. Reference: diffusers
//! 0.42.1, `_resize_with_antialiasing` and `StableVideoDiffusionPipeline._encode_image`; torch's bicubic interpolation. Nothing is clamped,
//! and the blur mirrors the picture at its edges, so that a side needs more pixels than half of the blur is long.

use candle_core::{Device, Result, Tensor, bail};
use pictures::View;

use crate::weights::Normalisation;

/// Slope of torch's cubic.
const A: f32 = -0.75;

const CHANNELS: usize = 3;

/// -> (1, side, side, 3) on about [0, 1]
pub fn resized(picture: View<'_, CHANNELS>, side: usize) -> Result<Tensor> {
    let (_, height) = picture.size();
    let plane = Plane::narrowed(picture, side)?.blurred_down(&kernel(height, side))?.sampled_down(side);
    let values = plane.values.into_iter().map(|value| (value + 1.0) / 2.0).collect();
    Tensor::from_vec(values, (1, side, side, CHANNELS), &Device::Cpu)
}

/// resized: (.., 3) on [0, 1] -> the same, as CLIP was trained
pub fn normalised(resized: &Tensor, by: Normalisation) -> Result<Tensor> {
    let of = |values: [f32; 3]| Tensor::new(&values, resized.device());
    resized.broadcast_sub(&of(by.mean)?)?.broadcast_div(&of(by.std)?)
}

/// A Gaussian as wide as the shrinking asks for; an odd number of weights, of sum 1.
fn kernel(length: usize, side: usize) -> Vec<f32> {
    let factor = length as f64 / side as f64;
    let sigma = ((factor - 1.0) / 2.0).max(0.001);
    let taps = ((4.0 * sigma).max(3.0) as usize) | 1;
    let weight = |i: usize| {
        let x = i as f32 - (taps / 2) as f32;
        (-x * x / (2.0 * (sigma * sigma) as f32)).exp()
    };
    let weights: Vec<f32> = (0..taps).map(weight).collect();
    let sum: f32 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Rows of pixels of three values.
struct Plane {
    values: Vec<f32>,
    width: usize,
    height: usize,
}

impl Plane {
    /// On [-1, 1], each row blurred and brought to `width`: what is in memory is as wide as that, however large the picture. The reference blurs
    /// both ways first, which is the same but for the order of sums.
    fn narrowed(picture: View<'_, CHANNELS>, width: usize) -> Result<Self> {
        let (from, height) = picture.size();
        let kernel = kernel(from, width);
        let (reach, row) = (kernel.len() / 2, from * CHANNELS);
        reaches(from, reach)?;
        let taps: Vec<_> = (0..width).map(|place| cubic(place, width, from)).collect();
        let (mut padded, mut blurred) = (vec![0.0; row + 2 * reach * CHANNELS], vec![0.0; row]);
        let mut values = Vec::with_capacity(height * width * CHANNELS);
        for bytes in picture.rows() {
            for (at, pixel) in padded.chunks_exact_mut(CHANNELS).enumerate() {
                let x = mirrored(at, reach, from);
                for (value, &byte) in pixel.iter_mut().zip(&bytes[x * CHANNELS..][..CHANNELS]) {
                    *value = f32::from(byte) / 255.0 * 2.0 - 1.0;
                }
            }
            blurred.fill(0.0);
            for (tap, &weight) in kernel.iter().enumerate() {
                add(&padded[tap * CHANNELS..][..row], weight, &mut blurred);
            }
            for (places, weights) in &taps {
                for channel in 0..CHANNELS {
                    let parts = places.iter().zip(weights);
                    values.push(parts.map(|(&x, &weight)| blurred[x * CHANNELS + channel] * weight).sum());
                }
            }
        }
        Ok(Self { values, width, height })
    }

    fn blurred_down(self, kernel: &[f32]) -> Result<Self> {
        let (reach, row) = (kernel.len() / 2, self.width * CHANNELS);
        reaches(self.height, reach)?;
        let mut values = vec![0.0; self.values.len()];
        for (y, to) in values.chunks_exact_mut(row).enumerate() {
            for (tap, &weight) in kernel.iter().enumerate() {
                let y = mirrored(y + tap, reach, self.height);
                add(&self.values[y * row..][..row], weight, to);
            }
        }
        Ok(Self { values, ..self })
    }

    fn sampled_down(self, side: usize) -> Self {
        let row = self.width * CHANNELS;
        let mut values = vec![0.0; side * row];
        for (place, to) in values.chunks_exact_mut(row).enumerate() {
            let (places, weights) = cubic(place, side, self.height);
            for (y, weight) in places.into_iter().zip(weights) {
                add(&self.values[y * row..][..row], weight, to);
            }
        }
        Self { values, width: self.width, height: side }
    }
}

fn reaches(length: usize, reach: usize) -> Result<()> {
    if length <= reach {
        bail!("a side of {length} pixels cannot be blurred over {reach} of its neighbours");
    }
    Ok(())
}

fn add(from: &[f32], weight: f32, to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from * weight);
}

/// Place `at` of a row that is longer by `reach` on either side; the edge itself is not repeated.
fn mirrored(at: usize, reach: usize, length: usize) -> usize {
    if at < reach {
        reach - at
    } else if at - reach < length {
        at - reach
    } else {
        2 * (length - 1) - (at - reach)
    }
}

/// The four pixels around place `at` of `side`, and their weights; the first and the last place are those of the picture.
fn cubic(at: usize, side: usize, length: usize) -> ([usize; 4], [f32; 4]) {
    let scale = if side > 1 { (length - 1) as f32 / (side - 1) as f32 } else { 0.0 };
    let place = scale * at as f32;
    let first = place.floor();
    let t = place - first;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let places = std::array::from_fn(|tap| (first as usize + tap).saturating_sub(1).min(length - 1));
    (places, [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use pictures::Picture;

    #[test]
    fn a_picture_that_grows_is_not_blurred() {
        let blur = kernel(100, 224);
        assert_eq!((blur.len(), blur[1]), (3, 1.0));
        assert_eq!(kernel(1024, 224).len(), 7);
        assert_eq!(kernel(576, 224).len(), 3);
        assert!((kernel(4000, 224).iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn edges_are_mirrored_and_corners_stay() {
        let places: Vec<usize> = (0..9).map(|at| mirrored(at, 2, 5)).collect();
        assert_eq!(places, [2, 1, 0, 1, 2, 3, 4, 3, 2]);
        let (places, weights) = cubic(223, 224, 300);
        assert_eq!(places, [298, 299, 299, 299]);
        assert!((weights[1] - 1.0).abs() < 1e-4, "{weights:?}");
        assert_eq!(cubic(0, 224, 1).0, [0; 4]);
    }

    #[test]
    fn one_colour_stays_what_it_is() {
        let picture = Picture::new([10, 200, 255].repeat(40 * 300), (300, 40)).unwrap();
        let small = resized(picture.view(), 16).unwrap();
        let values: Vec<f32> = small.flatten_all().unwrap().to_vec1().unwrap();
        for pixel in values.chunks_exact(3) {
            for (value, expected) in pixel.iter().zip([10.0f32, 200.0, 255.0]) {
                assert!((value - expected / 255.0).abs() < 1e-5, "{pixel:?}");
            }
        }
        let flat = Picture::new([0; 30].to_vec(), (10, 1)).unwrap();
        let said = resized(flat.view(), 8).unwrap_err().to_string();
        assert!(said.contains("side of 1 pixels"), "{said}");
    }
}
