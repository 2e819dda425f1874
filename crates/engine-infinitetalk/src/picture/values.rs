//! Between bytes and the values of the nets. Reference: InfiniteTalk 0107cd9, `generate_infinitetalk` (in), `save_video_ffmpeg` (out).

use candle_core::{Device, Result, Tensor};
use pictures::Picture;

/// (1, 1, h, w, 3) on [-1, 1]
pub fn to_tensor(picture: &Picture<3>) -> Result<Tensor> {
    let values: [f32; 256] = std::array::from_fn(|byte| (byte as f32 / 255.0 - 0.5) * 2.0);
    let (w, h) = picture.size();
    let all: Vec<f32> = picture.bytes().iter().map(|&byte| values[usize::from(byte)]).collect();
    Tensor::from_vec(all, (1, 1, h, w, 3), &Device::Cpu)
}

/// Clipped and cut off, not rounded. Whoever calls has seen to it that all are numbers.
pub fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().map(|v| ((v + 1.0) / 2.0 * 255.0) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_cut_off_at_both_ends() {
        assert_eq!(to_bytes(&[-3.0, -1.0, 0.0, 0.999, 1.0, 7.0]), [0, 0, 127, 254, 255, 255]);
        let picture = Picture::<3>::new(vec![0, 128, 255], (1, 1)).unwrap();
        let values: Vec<f32> = to_tensor(&picture).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(values, [-1.0, (128f32 / 255.0 - 0.5) * 2.0, 1.0]);
    }
}
