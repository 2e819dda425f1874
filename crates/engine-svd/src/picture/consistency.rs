//! How far a take has gone from its first frame: structure as the SSIM (Wang et al. 2004) of blocks of 8x8 of the luma, 1 where nothing moved; colour as the mean
//! difference of the colours of a grid of 4x4 regions, in levels of 255. What moves lowers the first a little and leaves the second;
//! a chain of windows that falls apart shows in both.

/// Side of a block, in pixels.
const BLOCK: usize = 8;
/// Regions along a side.
const GRID: usize = 4;
/// SSIM's constants for values up to 255.
const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likeness {
    /// -1 to 1.
    pub structure: f64,
    /// 0 to 255.
    pub colour: f64,
}

/// Of luma: mean, and the values less it.
type Block = (f64, [f64; BLOCK * BLOCK]);

/// What of a frame is compared.
pub struct Look {
    blocks: Vec<Block>,
    /// Mean red, green and blue of each region.
    regions: [[f64; 3]; GRID * GRID],
}

impl Look {
    /// rgb: rows of pixels; size: (width, height), at least 8 each
    pub fn at(rgb: &[u8], (width, height): (usize, usize)) -> Self {
        let luma = |x: usize, y: usize| {
            let pixel = &rgb[(y * width + x) * 3..][..3];
            0.299 * f64::from(pixel[0]) + 0.587 * f64::from(pixel[1]) + 0.114 * f64::from(pixel[2])
        };
        let mut blocks = Vec::with_capacity((width / BLOCK) * (height / BLOCK));
        for top in (0..height / BLOCK).map(|row| row * BLOCK) {
            for left in (0..width / BLOCK).map(|column| column * BLOCK) {
                let values: [f64; BLOCK * BLOCK] =
                    std::array::from_fn(|i| luma(left + i % BLOCK, top + i / BLOCK));
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                blocks.push((mean, values.map(|value| value - mean)));
            }
        }
        let mut sums = [[0.0; 3]; GRID * GRID];
        let mut counts = [0.0; GRID * GRID];
        for (i, pixel) in rgb.chunks_exact(3).enumerate() {
            let (x, y) = (i % width, i / width);
            let region = y * GRID / height * GRID + x * GRID / width;
            counts[region] += 1.0;
            sums[region].iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let regions = std::array::from_fn(|at| sums[at].map(|sum| sum / f64::max(counts[at], 1.0)));
        Self { blocks, regions }
    }

    /// Of a frame of the same size.
    pub fn likeness(&self, other: &Self) -> Likeness {
        let ssim = |((mean, a), (other_mean, b)): (&Block, &Block)| {
            let product = |a: &[f64; 64], b: &[f64; 64]| {
                a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / (a.len() - 1) as f64
            };
            let means = (2.0 * mean * other_mean + C1) / (mean * mean + other_mean * other_mean + C1);
            means * (2.0 * product(a, b) + C2) / (product(a, a) + product(b, b) + C2)
        };
        let structure =
            self.blocks.iter().zip(&other.blocks).map(ssim).sum::<f64>() / self.blocks.len() as f64;
        let pairs = self.regions.as_flattened().iter().zip(other.regions.as_flattened());
        let colour = pairs.map(|(a, b)| (a - b).abs()).sum::<f64>() / (GRID * GRID * 3) as f64;
        Likeness { structure, colour }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (usize, usize) = (64, 40);

    fn textured(shift: usize, brighter: u8) -> Look {
        let value = |i: usize| {
            let (x, y) = (i % SIZE.0 + shift, i / SIZE.0);
            ((x * x * 7 + y * 31 + x * y) % 160) as u8 + brighter
        };
        let bytes: Vec<u8> = (0..SIZE.0 * SIZE.1).flat_map(|i| [value(i), value(i) / 2, 40]).collect();
        Look::at(&bytes, SIZE)
    }

    #[test]
    fn a_frame_is_like_itself_and_less_like_others() {
        let first = textured(0, 0);
        let same = first.likeness(&first);
        assert!((same.structure - 1.0).abs() < 1e-9 && same.colour == 0.0, "{same:?}");
        let moved = first.likeness(&textured(3, 0));
        assert!(moved.structure < 0.7 && moved.colour < 8.0, "{moved:?}");
        let brighter = first.likeness(&textured(0, 60));
        assert!(brighter.structure > moved.structure && brighter.colour > 25.0, "{brighter:?}");
        let grey = first.likeness(&Look::at(&vec![128; SIZE.0 * SIZE.1 * 3], SIZE));
        assert!(grey.structure < 0.2, "{grey:?}");
    }
}
