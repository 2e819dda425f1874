//! Power spectrum of 512 real samples. Our own radix-2 transform in f64, so that every machine hears the same numbers
//! (a library that picks its instructions by processor would not promise that); 100 of these a second cost nothing.

use std::f64::consts::TAU;

pub const SIZE: usize = 512;
const HALF: usize = SIZE / 2;
pub const BINS: usize = HALF + 1;

#[derive(Clone, Copy, Default)]
struct Complex {
    re: f64,
    im: f64,
}

impl Complex {
    fn turn(fraction: f64) -> Self {
        Self { re: (TAU * fraction).cos(), im: -(TAU * fraction).sin() }
    }

    fn times(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }

    fn plus(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }

    fn minus(self, other: Self) -> Self {
        Self { re: self.re - other.re, im: self.im - other.im }
    }
}

pub struct Fft {
    /// exp(-2 pi i k / 512)
    turns: Vec<Complex>,
    work: Vec<Complex>,
}

impl Fft {
    pub fn new() -> Self {
        let turns = (0..HALF).map(|k| Complex::turn(k as f64 / SIZE as f64)).collect();
        Self { turns, work: vec![Complex::default(); HALF] }
    }

    /// |X[k]|² for k in 0..=256; samples beyond those given are zero.
    pub fn power(&mut self, samples: &[f64], power: &mut [f64; BINS]) {
        // even samples as real, odd ones as imaginary parts: one transform of half the size
        let at = |i: usize| samples.get(i).copied().unwrap_or(0.0);
        for k in 0..HALF {
            let from = k.reverse_bits() >> (usize::BITS - HALF.trailing_zeros());
            self.work[k] = Complex { re: at(2 * from), im: at(2 * from + 1) };
        }
        self.transform();
        for (k, power) in power.iter_mut().enumerate() {
            let (z, mirrored) = (self.work[k % HALF], self.work[(HALF - k) % HALF]);
            let even = Complex { re: (z.re + mirrored.re) / 2.0, im: (z.im - mirrored.im) / 2.0 };
            let odd = Complex { re: (z.im + mirrored.im) / 2.0, im: (mirrored.re - z.re) / 2.0 };
            let turned =
                if k == HALF { Complex { re: -odd.re, im: -odd.im } } else { odd.times(self.turns[k]) };
            let x = even.plus(turned);
            *power = x.re * x.re + x.im * x.im;
        }
    }

    /// In place, input in bit-reversed order.
    fn transform(&mut self) {
        let mut span = 1;
        while span < HALF {
            let stride = SIZE / (2 * span);
            for start in (0..HALF).step_by(2 * span) {
                for k in 0..span {
                    let (a, b) =
                        (self.work[start + k], self.work[start + k + span].times(self.turns[k * stride]));
                    self.work[start + k] = a.plus(b);
                    self.work[start + k + span] = a.minus(b);
                }
            }
            span *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_definition() {
        let samples: Vec<f64> = (0..400).map(|i| ((i * i) % 97) as f64 / 97.0 - 0.4).collect();
        let mut power = [0.0; BINS];
        Fft::new().power(&samples, &mut power);
        for (k, &power) in power.iter().enumerate() {
            let (mut re, mut im) = (0.0, 0.0);
            for (i, x) in samples.iter().enumerate() {
                let turn = Complex::turn(((i * k) % SIZE) as f64 / SIZE as f64);
                re += x * turn.re;
                im += x * turn.im;
            }
            let expected = re * re + im * im;
            assert!((power - expected).abs() < 1e-9 * expected.max(1.0), "bin {k}: {power} {expected}");
        }
    }
}
