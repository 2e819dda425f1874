//! What attention makes of its input: a linear layer split into heads, where a net has it with an RMS norm over all heads together and a turn by
//! position.

use candle_core::{DType, Error, Result, Tensor};

use crate::{Linear, RmsNorm, RopeTable, cpu};

/// Queries, keys or values.
#[derive(Clone, Copy)]
pub struct Projection<'a> {
    pub linear: &'a Linear,
    pub norm: Option<&'a RmsNorm>,
    pub turn: Option<&'a RopeTable>,
    pub heads: usize,
}

impl Projection<'_> {
    /// x: (b, l, i) -> (b, l, n, d)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, l, _) = x.dims3()?;
        if let Some(y) = self.in_one_pass(x)? {
            return y.reshape((b, l, self.heads, ()));
        }
        let y = self.linear.forward(x)?;
        let y = self.norm.map_or(Ok(y.clone()), |norm| norm.forward(&y))?.reshape((b, l, self.heads, ()))?;
        self.turn.map_or(Ok(y.clone()), |turn| turn.apply(&y))
    }

    /// On the CPU in f32: normed and turned where the layer wrote it.
    fn in_one_pass(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let Some(turn) = self.turn.filter(|turn| cpu::takes(x) && turn.is_on_cpu()) else { return Ok(None) };
        let Some(kernel) = self.linear.kernel() else { return Ok(None) };
        let gamma = match self.norm {
            Some(norm) if norm.weight().dtype() != DType::F32 => return Ok(None),
            Some(norm) => Some((cpu::owned(norm.weight())?, norm.eps())),
            None => None,
        };
        let (b, l, _) = x.dims3()?;
        let c = kernel.outputs();
        turn.check(l, c / self.heads)?;
        let y = cpu::make(&[b, l, c], |y| {
            cpu::read(x, |x| kernel.forward(x, y, kernels::Finish::default()))?;
            let norm = gamma.as_ref().map(|(gamma, eps)| kernels::Rms { gamma, eps: *eps as f32 });
            turn.lend(|turn| turn.run(cpu::context()?, c, norm, y).map_err(Error::wrap))
        });
        y.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::noise;
    use crate::{Pairing, reference};
    use candle_core::Device;

    #[test]
    fn is_layer_norm_and_turn_one_after_the_other() {
        let (heads, d) = (3, 16);
        let c = heads * d;
        let linear = Linear::new(noise(&[c, 24], 1), Some(noise(&[c], 2))).unwrap();
        let norm = RmsNorm::new(noise(&[c], 3), 1e-6);
        let x = noise(&[2, 12, 24], 4);
        let positions: Vec<f64> = (0..12).map(f64::from).collect();
        for table in [
            RopeTable::grid((2, 3, 2), d, 1e4, &Device::Cpu).unwrap(),
            RopeTable::line(&positions, d, 1e4, Pairing::Halves, &Device::Cpu).unwrap(),
        ] {
            for norm in [None, Some(&norm)] {
                let whole = Projection { linear: &linear, norm, turn: Some(&table), heads };
                let plain = Projection { norm: None, turn: None, ..whole };
                let y = plain.forward(&x).unwrap();
                let flat = y.reshape((2, 12, c)).unwrap();
                let y =
                    norm.map_or(y, |norm| norm.forward(&flat).unwrap().reshape((2, 12, heads, d)).unwrap());
                let want = reference::turn(&y, (&table.cos, &table.sin), table.pairing).unwrap();
                let apart = (whole.forward(&x).unwrap() - want).unwrap().abs().unwrap().max_all().unwrap();
                assert!(apart.to_scalar::<f32>().unwrap() < 2e-6, "{apart}");
            }
        }
        let short = RopeTable::line(&positions[..4], d, 1e4, Pairing::Neighbours, &Device::Cpu).unwrap();
        assert!(Projection { linear: &linear, norm: None, turn: Some(&short), heads }.forward(&x).is_err());
    }
}
