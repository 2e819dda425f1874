//! Rotary position embedding (Su et al. 2021): pairs of channels are turned by an angle that grows with the position. Angles are made in
//! f64 and rounded once; positions may be fractions, and a head may be split over several axes, as Wan does over time, rows and columns.

use candle_core::{DType, Device, Error, Result, Tensor, bail};

use crate::card::Card;
use crate::{cpu, reference};

/// Which channels of a head form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// (0, 1), (2, 3), …
    Neighbours,
    /// (0, d/2), (1, d/2 + 1), …
    Halves,
}

/// Cosines and sines of l positions: two times (l, d / 2).
#[derive(Clone, Debug)]
pub struct RopeTable {
    pub(crate) cos: Tensor,
    pub(crate) sin: Tensor,
    pub(crate) pairing: Pairing,
}

/// Angles of one axis: position * theta^(-2 i / d) for i below d / 2.
fn angles(position: f64, d: usize, theta: f64) -> impl Iterator<Item = f64> {
    (0..d / 2).map(move |i| position * theta.powf(-2.0 * i as f64 / d as f64))
}

impl RopeTable {
    /// One axis over the whole head of `d` channels.
    pub fn line(positions: &[f64], d: usize, theta: f64, pairing: Pairing, device: &Device) -> Result<Self> {
        if d == 0 || !d.is_multiple_of(2) {
            bail!("a head of {d} channels has no pairs to turn");
        }
        let all = positions.iter().flat_map(|&p| angles(p, d, theta)).collect();
        Self::of(all, (positions.len(), d / 2), pairing, device)
    }

    /// One axis over the whole head of `d` channels, at positions that a net made: (l,), f32. Their angles are made in f32, where they lie.
    pub fn at(positions: &Tensor, d: usize, theta: f64, pairing: Pairing) -> Result<Self> {
        if d == 0 || !d.is_multiple_of(2) {
            bail!("a head of {d} channels has no pairs to turn");
        }
        let frequencies: Vec<f32> = angles(1.0, d, theta).map(|angle| angle as f32).collect();
        let frequencies = Tensor::from_vec(frequencies, (1, d / 2), positions.device())?;
        let angles = positions.to_dtype(DType::F32)?.unsqueeze(1)?.broadcast_mul(&frequencies)?; // (l, d / 2)
        Ok(Self { cos: angles.cos()?, sin: angles.sin()?, pairing })
    }

    /// Tokens of a grid of t x h x w in that order, neighbours paired; of the d / 2 pairs of a head (d / 6) turn with the row, as many
    /// with the column, the rest with the frame (Wan2.1, `rope_apply`).
    pub fn grid((t, h, w): (usize, usize, usize), d: usize, theta: f64, device: &Device) -> Result<Self> {
        if d < 6 || !d.is_multiple_of(2) {
            bail!("a head of {d} channels cannot be split over three axes");
        }
        let side = 2 * (d / 6);
        let time = d - 2 * side;
        let mut all = Vec::with_capacity(t * h * w * d / 2);
        for frame in 0..t {
            for row in 0..h {
                for column in 0..w {
                    all.extend(angles(frame as f64, time, theta));
                    all.extend(angles(row as f64, side, theta));
                    all.extend(angles(column as f64, side, theta));
                }
            }
        }
        Self::of(all, (t * h * w, d / 2), Pairing::Neighbours, device)
    }

    fn of(angles: Vec<f64>, shape: (usize, usize), pairing: Pairing, device: &Device) -> Result<Self> {
        let values = |f: fn(f64) -> f64| -> Vec<f32> { angles.iter().map(|&a| f(a) as f32).collect() };
        Ok(Self {
            cos: Tensor::from_vec(values(f64::cos), shape, device)?,
            sin: Tensor::from_vec(values(f64::sin), shape, device)?,
            pairing,
        })
    }

    /// x: (b, l, n, d) -> the same, in the dtype of x; turned in f32.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let (_, l, n, d) = x.dims4()?;
        self.check(l, d)?;
        if let Some(card) = Card::of(&[x]) {
            return card.rope(x, (&self.cos, &self.sin), self.pairing);
        }
        if !cpu::takes(x) || !cpu::takes(&self.cos) {
            return reference::turn(x, (&self.cos, &self.sin), self.pairing);
        }
        cpu::make(x.dims(), |y| {
            cpu::read(x, |x| {
                y.copy_from_slice(x);
                Ok(())
            })?;
            self.lend(|turn| turn.run(cpu::context()?, n * d, None, y).map_err(Error::wrap))
        })
    }

    /// That it has the positions and the pairs of l heads' rows of d channels.
    pub(crate) fn check(&self, l: usize, d: usize) -> Result<()> {
        if self.cos.dims() != [l, d / 2] || !d.is_multiple_of(2) {
            bail!(
                "a table of {:?} (positions, pairs) cannot turn {l} positions of {d} channels",
                self.cos.dims()
            );
        }
        Ok(())
    }

    pub(crate) fn is_on_cpu(&self) -> bool {
        cpu::takes(&self.cos)
    }

    /// For the CPU's kernels.
    pub(crate) fn lend<R>(&self, with: impl FnOnce(kernels::Turn) -> Result<R>) -> Result<R> {
        let dim = 2 * self.cos.dim(1)?;
        let pairs = match self.pairing {
            Pairing::Neighbours => kernels::Pairs::Neighbours,
            Pairing::Halves => kernels::Pairs::Halves,
        };
        cpu::lend(&self.cos, |cos| cpu::lend(&self.sin, |sin| with(kernels::Turn { cos, sin, dim, pairs })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(table: &RopeTable, d: usize, l: usize) -> Vec<f32> {
        let values: Vec<f32> = (0..l * d).map(|i| (i % d) as f32 + 1.0).collect();
        let x = Tensor::from_vec(values, (1, l, 1, d), &Device::Cpu).unwrap();
        table.apply(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn turns_pairs_by_position() {
        for (pairing, pairs) in [(Pairing::Neighbours, [(0, 1), (2, 3)]), (Pairing::Halves, [(0, 2), (1, 3)])]
        {
            let table = RopeTable::line(&[0.0, 2.5], 4, 10000.0, pairing, &Device::Cpu).unwrap();
            let got = turned(&table, 4, 2);
            assert_eq!(got[..4], [1.0, 2.0, 3.0, 4.0], "position 0 leaves everything");
            for (i, (a, b)) in pairs.into_iter().enumerate() {
                let angle = 2.5 * 10000f64.powf(-(i as f64) / 2.0);
                let (x, y) = ((a + 1) as f64, (b + 1) as f64);
                let want = [x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()];
                assert!((f64::from(got[4 + a]) - want[0]).abs() < 1e-6, "{pairing:?} {got:?}");
                assert!((f64::from(got[4 + b]) - want[1]).abs() < 1e-6, "{pairing:?} {got:?}");
            }
        }
    }

    #[test]
    fn a_grid_splits_a_head_of_128_as_wan_does() {
        let table = RopeTable::grid((2, 3, 4), 128, 10000.0, &Device::Cpu).unwrap();
        assert_eq!(table.cos.dims(), [24, 64]);
        let sin: Vec<Vec<f32>> = table.sin.to_vec2().unwrap();
        let token = &sin[(3 + 2) * 4 + 3]; // frame 1, row 2, column 3
        for (pair, angle) in [
            (0, 1.0f64),
            (21, 10000f64.powf(-42.0 / 44.0)),
            (22, 2.0),
            (42, 2.0 * 10000f64.powf(-40.0 / 42.0)),
            (43, 3.0),
            (63, 3.0 * 10000f64.powf(-40.0 / 42.0)),
        ] {
            assert!((f64::from(token[pair]) - angle.sin()).abs() < 1e-6, "pair {pair}");
        }
    }

    #[test]
    fn refuses_what_has_no_pairs() {
        assert!(RopeTable::line(&[0.0], 3, 10000.0, Pairing::Halves, &Device::Cpu).is_err());
        let table = RopeTable::line(&[0.0], 4, 10000.0, Pairing::Halves, &Device::Cpu).unwrap();
        assert!(table.apply(&Tensor::zeros((1, 2, 1, 4), DType::F32, &Device::Cpu).unwrap()).is_err());
    }
}
