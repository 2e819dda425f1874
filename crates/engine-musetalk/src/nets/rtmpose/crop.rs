//! A frame to RTMPose's input. MuseTalk gives it the whole frame as the box of a person; mmpose widens that by a quarter and to the shape of
//! the input, and warps it with OpenCV's `warpAffine`, whose arithmetic in whole numbers is followed bit by bit.

use candle_core::{Result, Tensor, bail};

/// mmpose's `GetBBoxCenterScale`
const WIDENED: f32 = 1.25;
/// Of ImageNet, red first, in steps of a byte.
const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
const DEVIATION: [f32; 3] = [58.395, 57.12, 57.375];

/// OpenCV's fixed point: places to 1/1024 of a pixel, rounded to 1/32 for the weights, which have 15 bits.
const PLACE: f64 = 1024.0;
const PLACE_TO_STEP: i64 = 5;
const STEPS: i64 = 32;
const WEIGHT_BITS: i64 = 15;

/// The part of a frame the net sees; f32 as in numpy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    pub center: [f32; 2],
    /// Width and height in pixels of the frame.
    pub scale: [f32; 2],
}

impl Region {
    /// Around a whole frame, in the shape of `input` (width, height).
    pub fn of_frame((w, h): (usize, usize), input: (usize, usize)) -> Self {
        let (w, h) = (w as f32, h as f32);
        let aspect = (input.0 as f64 / input.1 as f64) as f32;
        let (sw, sh) = (w * WIDENED, h * WIDENED);
        let scale = if sw > sh * aspect { [sw, sw / aspect] } else { [sh * aspect, sh] };
        Self { center: [w * 0.5, h * 0.5], scale }
    }

    /// From a pixel of the input to the frame: a factor and what is added to columns and rows. The inverse of what `getAffineTransform`
    /// makes of three points, as `warpAffine` inverts it.
    fn inverse(&self, input: (usize, usize)) -> (f64, [f64; 2]) {
        let left = (f64::from(self.center[0]) - f64::from(self.scale[0]) * 0.5) as f32;
        let factor = input.0 as f64 * 0.5 / (f64::from(self.center[0]) - f64::from(left));
        let inverse = factor * (1.0 / (factor * factor));
        let middle = [input.0 as f64 * 0.5, input.1 as f64 * 0.5];
        let shift = |axis: usize| {
            let forward = middle[axis] - factor * f64::from(self.center[axis]);
            -inverse * forward
        };
        (inverse, [shift(0), shift(1)])
    }
}

/// frame: rows of three bytes a pixel, size (width, height) -> the same for `input`; black outside the frame
pub fn warp(frame: &[u8], size: (usize, usize), region: &Region, input: (usize, usize)) -> Result<Vec<u8>> {
    let (w, h) = size;
    if w == 0 || h == 0 || frame.len() != w * h * 3 {
        bail!("a frame of {w}x{h} has {} bytes, not {}", w * h * 3, frame.len());
    }
    let (factor, shift) = region.inverse(input);
    let place = |v: f64| (v * PLACE).round_ties_even() as i64;
    let half = PLACE as i64 / STEPS / 2;
    let pixel = |x: i64, y: i64, channel: usize| {
        let inside = (0..w as i64).contains(&x) && (0..h as i64).contains(&y);
        if inside { i64::from(frame[(y as usize * w + x as usize) * 3 + channel]) } else { 0 }
    };
    let mut out = Vec::with_capacity(input.0 * input.1 * 3);
    for row in 0..input.1 {
        let y = (place(factor * row as f64 + shift[1]) + half) >> PLACE_TO_STEP;
        let (y, below) = (y.div_euclid(STEPS), y.rem_euclid(STEPS));
        for column in 0..input.0 {
            let x = (place(shift[0]) + half + place(factor * column as f64)) >> PLACE_TO_STEP;
            let (x, beside) = (x.div_euclid(STEPS), x.rem_euclid(STEPS));
            let weight = |share: i64| share << (WEIGHT_BITS - 10);
            for channel in 0..3 {
                let sum = pixel(x, y, channel) * weight((STEPS - beside) * (STEPS - below))
                    + pixel(x + 1, y, channel) * weight(beside * (STEPS - below))
                    + pixel(x, y + 1, channel) * weight((STEPS - beside) * below)
                    + pixel(x + 1, y + 1, channel) * weight(beside * below);
                out.push(((sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS) as u8);
            }
        }
    }
    Ok(out)
}

/// rgb: (b, h, w, 3) on [0, 255] -> what the net takes
pub fn normalise(rgb: &Tensor) -> Result<Tensor> {
    let row = |values: &[f32; 3]| Tensor::new(values, rgb.device())?.to_dtype(rgb.dtype());
    rgb.broadcast_sub(&row(&MEAN)?)?.broadcast_div(&row(&DEVIATION)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_has_the_shape_of_the_input() {
        let wide = Region::of_frame((1920, 1080), (288, 384));
        assert_eq!(wide, Region { center: [960.0, 540.0], scale: [2400.0, 3200.0] });
        let tall = Region::of_frame((1080, 1920), (288, 384));
        assert_eq!(tall, Region { center: [540.0, 960.0], scale: [1800.0, 2400.0] });
    }

    #[test]
    fn a_region_of_the_size_of_the_input_is_copied() {
        let frame: Vec<u8> = (0..8 * 6 * 3).map(|i| (i * 7 % 256) as u8).collect();
        let region = Region { center: [4.0, 3.0], scale: [8.0, 6.0] };
        assert_eq!(warp(&frame, (8, 6), &region, (8, 6)).unwrap(), frame);
        // half a pixel to the left: the mean of neighbours, and of black and the first column
        let region = Region { center: [3.5, 3.0], scale: [8.0, 6.0] };
        let moved = warp(&frame, (8, 6), &region, (8, 6)).unwrap();
        assert_eq!(moved[0], 0);
        assert_eq!(moved[3], (u16::from(frame[0]) + u16::from(frame[3])).div_ceil(2) as u8);
        assert!(warp(&frame, (7, 6), &region, (8, 6)).is_err());
    }
}
