//! Between a face in its frame and the VAE: cut out and brought to 256x256 with `INTER_LANCZOS4`, to numbers, and from numbers to bytes.
//! Reference: `VAE.preprocess_img` and `decode_latents` of `musetalk/models/vae.py` at 0a89dec. The nets want red first.

use pictures::lanczos::Lanczos;
use pictures::{Level, Rect, Rgb, View, leveled};

/// Of the pictures that the nets take and give.
pub const SIDE: usize = 256;

/// A byte as the VAE takes it, on [-1, 1].
const NORMALISED: [f32; 256] = {
    let mut table = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as f32 / 255.0 - 0.5) / 0.5;
        byte += 1;
    }
    table
};

/// Cuts faces out, in memory that it keeps.
#[derive(Debug)]
pub struct FaceCropper {
    lanczos: Lanczos,
    face: Rgb,
}

impl Default for FaceCropper {
    fn default() -> Self {
        Self { lanczos: Lanczos::default(), face: Rgb::scratch() }
    }
}

impl FaceCropper {
    /// What of `place` is inside the frame, stretched to (256, 256), as numpy cuts it; None where nothing is.
    pub fn crop(&mut self, frame: View<3>, place: Rect) -> Option<View<'_, 3>> {
        let part = frame.cut(place)?;
        self.face.reshape((SIDE, SIDE));
        self.lanczos.resize(part, &mut self.face.view_mut());
        Some(self.face.view())
    }
}

/// What the VAE takes for the reference. out: (h, w, 3)
pub fn to_numbers(face: View<3>, out: &mut [f32]) {
    let width = face.width() * 3;
    for (row, out) in face.rows().zip(out.chunks_exact_mut(width)) {
        out.iter_mut().zip(row).for_each(|(out, &byte)| *out = NORMALISED[usize::from(byte)]);
    }
}

/// The same with the lower half black, where the mouth is to be made anew.
pub fn to_masked_numbers(face: View<3>, out: &mut [f32]) {
    let upper = Rect::new(0, 0, face.width() as i32, (face.height() / 2) as i32);
    let bytes = upper.height() as usize * face.width() * 3;
    if let Some(upper) = face.cut(upper) {
        to_numbers(upper, &mut out[..bytes]);
    }
    out[bytes..].fill(NORMALISED[0]);
}

/// What the VAE gives, on [-1, 1], to bytes, rounded as numpy does, halves to the even; what is no number becomes black.
pub fn to_bytes(numbers: &[f32], out: &mut [u8]) {
    to_bytes_on(Level::best(), numbers, out);
}

leveled! {
    fn to_bytes_on(numbers: &[f32], out: &mut [u8]) {
        /// At this size the steps between floats are whole, and their lowest bits are the number.
        const WHOLE: f32 = (1 << 23) as f32;
        for (out, &number) in out.iter_mut().zip(numbers) {
            let steps = (number * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0;
            *out = (steps + WHOLE).to_bits() as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::noise;

    #[test]
    fn bytes_are_rounded_to_the_even() {
        let numbers: Vec<f32> = (-40_000..40_000).map(|i| i as f32 / 32_000.0).collect();
        let expect: Vec<u8> = numbers
            .iter()
            .map(|&v| ((v * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8)
            .collect();
        for level in [Level::PORTABLE, Level::best()] {
            let mut out = vec![9; numbers.len()];
            to_bytes_on(level, &numbers, &mut out);
            assert_eq!(out, expect);
        }
        let mut odd = [7; 4];
        to_bytes(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0], &mut odd);
        assert_eq!(odd, [0, 255, 0, 128]); // 127.5
    }

    #[test]
    fn numbers_come_back_as_the_same_bytes() {
        let face: Rgb = noise((16, 9), 4);
        let (mut numbers, mut back) = (vec![0.0; 16 * 9 * 3], vec![0; 16 * 9 * 3]);
        to_numbers(face.view(), &mut numbers);
        to_bytes(&numbers, &mut back);
        assert_eq!(back, face.bytes());
        let whole = numbers.clone();
        to_masked_numbers(face.view(), &mut numbers);
        let upper = 16 * 4 * 3;
        assert_eq!(numbers[..upper], whole[..upper]);
        assert!(numbers[upper..].iter().all(|&v| v == -1.0));
    }

    #[test]
    fn a_face_that_leaves_the_frame_is_stretched() {
        let frame: Rgb = noise((300, 280), 5);
        let mut cropper = FaceCropper::default();
        let inside = cropper.crop(frame.view(), Rect::new(44, 24, 300, 280)).unwrap().to_picture();
        assert_eq!(inside, frame.view().cut(Rect::new(44, 24, 300, 280)).unwrap().to_picture());
        let beyond = cropper.crop(frame.view(), Rect::new(44, 24, 340, 999)).unwrap().to_picture();
        assert_eq!(beyond, inside);
        assert!(cropper.crop(frame.view(), Rect::new(300, 24, 340, 80)).is_none());
    }
}
