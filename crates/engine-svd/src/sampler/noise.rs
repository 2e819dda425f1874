//! The noise of torch's CPU generator (2.15), so that a seed means here what it means to whoever calls diffusers with `torch.Generator("cpu")`: Mersenne
//! Twister seeded with the low 32 bits, uniforms of 24 bits, Box-Muller over blocks of sixteen. Draws follow each other.

use std::f32::consts::TAU;

use rand_mt::Mt;

/// Values that are made of as many uniforms, eight radii and eight angles.
const BLOCK: usize = 16;

pub struct Noise(Mt);

impl Noise {
    pub fn seeded(seed: u64) -> Self {
        Self(Mt::new(seed as u32))
    }

    /// `n` values of a standard normal distribution.
    ///
    /// # Panics
    /// Below 16 values, which torch draws in another way and nobody needs.
    pub fn normal(&mut self, n: usize) -> Vec<f32> {
        assert!(n >= BLOCK, "{n} values are fewer than a block of {BLOCK}");
        let mut values: Vec<f32> = (0..n).map(|_| self.uniform()).collect();
        let whole = n - n % BLOCK;
        values[..whole].chunks_exact_mut(BLOCK).for_each(box_muller);
        if whole < n {
            let last = &mut values[n - BLOCK..];
            last.iter_mut().for_each(|value| *value = self.uniform());
            box_muller(last);
        }
        values
    }

    /// On [0, 1).
    fn uniform(&mut self) -> f32 {
        (self.0.next_u32() & 0x00ff_ffff) as f32 / (1 << 24) as f32
    }
}

fn box_muller(block: &mut [f32]) {
    let (radii, angles) = block.split_at_mut(BLOCK / 2);
    for (first, second) in radii.iter_mut().zip(angles) {
        let radius = (-2.0 * (1.0 - *first).ln()).sqrt();
        let (sin, cos) = (TAU * *second).sin_cos();
        (*first, *second) = (radius * cos, radius * sin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.manual_seed(42); torch.randn(n)` of torch 2.15 on a CPU.
    #[test]
    fn as_torch_draws() {
        let close = |got: f32, expected: f32| assert!((got - expected).abs() < 2e-6, "{got} {expected}");
        let mut noise = Noise::seeded(42);
        let first = noise.normal(FIRST.len());
        first.iter().zip(FIRST).for_each(|(got, expected)| close(*got, expected));
        // what is drawn next goes on
        let next = noise.normal(16);
        next.iter().zip(NEXT).for_each(|(got, expected)| close(*got, expected));
    }

    #[test]
    fn only_the_low_half_of_a_seed_counts_as_in_torch() {
        assert_eq!(Noise::seeded(7).normal(16), Noise::seeded(7 | 1 << 40).normal(16));
        assert_ne!(Noise::seeded(7).normal(16), Noise::seeded(8).normal(16));
    }

    const FIRST: [f32; 37] = [
        1.926915,
        1.487284,
        0.9007172,
        -2.105521,
        0.6784185,
        -1.234545,
        -0.04306748,
        -1.604667,
        -0.7521353,
        1.648723,
        -0.3924786,
        -1.403607,
        -0.7278813,
        -0.5594302,
        -0.7688389,
        0.7624454,
        1.642317,
        -0.1595975,
        -0.4973975,
        0.4395893,
        -0.7581311,
        -0.424519,
        0.3057209,
        -0.7745925,
        0.03491234,
        0.321103,
        1.5736,
        -0.8454674,
        1.312308,
        2.122785,
        -1.234653,
        -0.4879139,
        -1.41806,
        0.8962683,
        0.04990539,
        2.266718,
        1.178951,
    ];

    const NEXT: [f32; 16] = [
        1.191369, -0.8140076, -0.7359928, -0.8371246, -0.92239, 1.811318, 0.1605649, 0.3672487, 1.844594,
        -1.184537, 1.383549, -1.202446, 0.7078122, -1.075886, 0.5356547, 1.175368,
    ];
}
