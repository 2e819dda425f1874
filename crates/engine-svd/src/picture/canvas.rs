//! The size of a take, and what of the user's picture is in it. Sides are multiples of 64, the longer one as asked for, the shorter one as near to
//! the picture's shape as such steps allow; the picture is cut around its middle to exactly that shape, so that nothing in it is
//! stretched, and resized as Pillow's LANCZOS does. Refused: pictures with a side below 64 pixels.

use candle_core::{Device, Result, Tensor};
use contract::{Complaint, Warning};
use pictures::pillow::{Filter, Pillow};
use pictures::{Picture, Rect, View};

/// Steps in which sides are chosen: eight latents, so that every level of the UNet halves evenly.
pub const STEP: usize = 64;
/// Of a picture's shorter side, in pixels.
pub const LEAST: usize = 64;
/// A side is at least this part of the other.
const NARROWEST: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// (width, height) of the take.
    pub size: (usize, usize),
    /// Of the picture.
    cut: Rect,
    /// Of the picture: (width, height).
    from: (usize, usize),
}

impl Canvas {
    /// For a picture of `from` (width, height). `longest`: of the take's sides, a multiple of 64.
    pub fn new(from: (usize, usize), longest: usize) -> std::result::Result<Self, Complaint> {
        let (width, height) = from;
        if width.min(height) < LEAST {
            let message = format!(
                "the picture is {width}x{height}; its shorter side must have at least {LEAST} pixels"
            );
            return Err(Complaint::new("picture_too_small", message, "send a larger picture"));
        }
        let short = (longest * width.min(height)) as f64 / width.max(height) as f64;
        let short = (short / STEP as f64).round() as usize * STEP;
        let short = short.max((longest / NARROWEST).next_multiple_of(STEP)).min(longest);
        let size = if width >= height { (longest, short) } else { (short, longest) };
        // the largest part of that shape
        let (wide, high) = (width * size.1, height * size.0);
        let part = if wide > high {
            ((height * size.0) as f64 / size.1 as f64, height as f64)
        } else {
            (width as f64, (width * size.1) as f64 / size.0 as f64)
        };
        let part = ((part.0.round() as usize).clamp(1, width), (part.1.round() as usize).clamp(1, height));
        let (x, y) = ((width - part.0) / 2, (height - part.1) / 2);
        let cut = Rect::new(x as i32, y as i32, (x + part.0) as i32, (y + part.1) as i32);
        Ok(Self { size, cut, from })
    }

    /// Of a picture that loses much, or that has too little to show.
    pub fn warnings(&self) -> Vec<Warning> {
        let (width, height) = self.from;
        let kept = (self.cut.width() as usize, self.cut.height() as usize);
        let mut warnings = Vec::new();
        if 5 * kept.0 * kept.1 < 4 * width * height {
            let message = format!(
                "of the picture of {width}x{height} the middle {}x{} is shown: a take is at most {NARROWEST} times as long as it is wide",
                kept.0, kept.1
            );
            warnings.push(Warning::new("picture_cut", message));
        }
        if 2 * kept.0 < self.size.0 {
            let message = format!(
                "the picture of {width}x{height} is enlarged to {}x{}: a larger one, or a smaller size, shows more",
                self.size.0, self.size.1
            );
            warnings.push(Warning::new("picture_small", message));
        }
        warnings
    }

    /// What of the picture is in the take, in the picture's own pixels.
    pub fn part<'a>(&self, picture: View<'a, 3>) -> View<'a, 3> {
        picture.cut(self.cut).unwrap_or(picture)
    }
}

/// -> (1, h, w, 3) on [-1, 1]; size: (width, height)
pub fn painted(picture: View<'_, 3>, size: (usize, usize)) -> Result<Tensor> {
    let mut resized = Picture::scratch();
    Pillow::new(Filter::Lanczos).resize(picture, size, Rect::of(size), &mut resized);
    to_tensor(resized.view())
}

/// -> (1, h, w, 3) on [-1, 1]
pub fn to_tensor(picture: View<'_, 3>) -> Result<Tensor> {
    let values = picture.rows().flatten().map(|&byte| f32::from(byte) / 255.0 * 2.0 - 1.0).collect();
    Tensor::from_vec(values, (1, picture.height(), picture.width(), 3), &Device::Cpu)
}

/// (.., 3) on about [-1, 1] -> bytes, halves to even
pub fn to_bytes(frame: &Tensor) -> Result<Vec<u8>> {
    let values: Vec<f32> = frame.flatten_all()?.to_vec1()?;
    let byte = |value: f32| ((value * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
    Ok(values.into_iter().map(byte).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_the_shape_in_steps_of_64() {
        for (from, longest, size, part) in [
            ((1920, 1080), 1024, (1024, 576), (1920, 1080)),
            ((1080, 1920), 1024, (576, 1024), (1080, 1920)),
            ((800, 500), 512, (512, 320), (800, 500)),
            ((640, 480), 768, (768, 576), (640, 480)),
            ((500, 500), 512, (512, 512), (500, 500)),
            ((1000, 701), 512, (512, 384), (935, 701)),
            ((64, 64), 1024, (1024, 1024), (64, 64)),
            ((8000, 500), 1024, (1024, 256), (2000, 500)), // a panorama
            ((70, 3000), 512, (128, 512), (70, 280)),
        ] {
            let canvas = Canvas::new(from, longest).unwrap();
            assert_eq!(canvas.size, size, "{from:?}");
            assert_eq!((canvas.cut.width() as usize, canvas.cut.height() as usize), part, "{from:?}");
            let side = (canvas.cut.x1 + canvas.cut.x2 - from.0 as i32).abs();
            assert!(side <= 1, "in the middle: {:?}", canvas.cut);
        }
    }

    #[test]
    fn what_is_lost_or_missing_is_told() {
        let codes = |from, longest| {
            let warnings = Canvas::new(from, longest).unwrap().warnings();
            warnings.into_iter().map(|warning| warning.code.to_owned()).collect::<Vec<_>>()
        };
        assert!(codes((1920, 1080), 1024).is_empty());
        assert_eq!(codes((8000, 600), 1024), ["picture_cut"]);
        assert_eq!(codes((100, 100), 512), ["picture_small"]);
        for small in [(1, 1), (63, 900)] {
            let complaint = Canvas::new(small, 512).unwrap_err();
            assert_eq!(complaint.code, "picture_too_small");
            assert!(complaint.message.contains(&format!("{}x{}", small.0, small.1)), "{complaint}");
        }
    }

    #[test]
    fn bytes_come_back() {
        let picture = Picture::new((0..=255).flat_map(|v| [v, 255 - v, 7]).collect(), (16, 16)).unwrap();
        let tensor = painted(picture.view(), (16, 16)).unwrap();
        assert_eq!(to_bytes(&tensor).unwrap(), picture.bytes());
        let beyond = Tensor::new(&[-3f32, 1.01, f32::NAN], &Device::Cpu).unwrap();
        assert_eq!(to_bytes(&beyond).unwrap()[..2], [0, 255]);
    }
}
