//! A frame to RTMPose's input. MuseTalk gives it the whole frame as the box of a person; mmpose widens that by a quarter and to the shape of
//! the input, and warps it with OpenCV's `warpAffine`.

use candle_core::{Result, Tensor};

use pictures::warp::{self, Affine};
use pictures::{PictureError, Rgb, View};

/// mmpose's `GetBBoxCenterScale`
const WIDENED: f32 = 1.25;
/// Of ImageNet, red first, in steps of a byte.
const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
const DEVIATION: [f32; 3] = [58.395, 57.12, 57.375];

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

    /// From a pixel of the input to the frame. The inverse of what `getAffineTransform` makes of three points, as `warpAffine` inverts it.
    fn inverse(&self, input: (usize, usize)) -> Affine {
        let left = (f64::from(self.center[0]) - f64::from(self.scale[0]) * 0.5) as f32;
        let factor = input.0 as f64 * 0.5 / (f64::from(self.center[0]) - f64::from(left));
        let inverse = factor * (1.0 / (factor * factor));
        let middle = [input.0 as f64 * 0.5, input.1 as f64 * 0.5];
        let shift = |axis: usize| {
            let forward = middle[axis] - factor * f64::from(self.center[axis]);
            -inverse * forward
        };
        Affine([[inverse, 0.0, shift(0)], [0.0, inverse, shift(1)]])
    }
}

/// The region of a frame at the size of `input`; black outside the frame.
pub fn warp(
    frame: View<3>,
    region: &Region,
    input: (usize, usize),
) -> std::result::Result<Rgb, PictureError> {
    let mut crop = Rgb::blank(input)?;
    warp::warp(frame, &region.inverse(input), &mut crop.view_mut());
    Ok(crop)
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
        let view = View::new(&frame, (8, 6)).unwrap();
        let region = Region { center: [4.0, 3.0], scale: [8.0, 6.0] };
        assert_eq!(warp(view, &region, (8, 6)).unwrap().bytes(), frame);
        // half a pixel to the left: the mean of neighbours, and of black and the first column
        let region = Region { center: [3.5, 3.0], scale: [8.0, 6.0] };
        let moved = warp(view, &region, (8, 6)).unwrap().into_bytes();
        assert_eq!(moved[0], 0);
        assert_eq!(moved[3], (u16::from(frame[0]) + u16::from(frame[3])).div_ceil(2) as u8);
    }
}
