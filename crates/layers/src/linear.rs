//! A linear layer: y = x W^T + b, with W as checkpoints hold it, (out, in).

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Error, Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};
use half::{bf16, slice::HalfFloatSliceExt as _};
use kernels::{Finish, Weight, q8_0};

use crate::activation::Activation;
use crate::blend::add_each;
use crate::card::Card;
use crate::conv::Bias;
use crate::weights::{INT8, is_outline};
use crate::{cpu, reference};

#[derive(Clone)]
enum Held {
    Tensors { weight: Tensor, bias: Option<Tensor> },
    Kernel(Arc<kernels::Linear>),
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Tensors { weight, .. } => write!(f, "{:?}", weight.dtype()),
            Self::Kernel(kernel) => f.write_str(kernel.variant()),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Linear {
    held: Held,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    /// weight: (o, i), bias: (o,)
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let held = match pack(&weight, bias.as_ref())? {
            Some(kernel) => Held::Kernel(Arc::new(kernel)),
            None => Held::Tensors { weight, bias },
        };
        Ok(Self { held, inputs, outputs })
    }

    /// A weight that the source holds as whole numbers with a scale a row (`INT8`) stays so on the CPU: a quarter of the memory of f32, and the
    /// same values.
    pub fn load(inputs: usize, outputs: usize, bias: Bias, vb: VarBuilder) -> Result<Self> {
        let get_bias = || match bias {
            Bias::Yes => vb.get(outputs, "bias").map(Some),
            Bias::No => Ok(None),
        };
        if vb.device().is_cpu() && vb.contains_tensor(INT8.data) {
            let bits = vb.get_with_hints_dtype((outputs, inputs), INT8.data, Init::Const(0.0), DType::U8)?;
            let scales = vb.get_with_hints_dtype((outputs, 1), INT8.scale, Init::Const(0.0), DType::F32)?;
            return Self::of_int8([outputs, inputs], (&bits, &scales), get_bias()?);
        }
        Self::new(vb.get((outputs, inputs), "weight")?, get_bias()?)
    }

    /// bits: (o, i) of whole numbers in two's complement, scales: (o, 1)
    fn of_int8(
        [outputs, inputs]: [usize; 2],
        (bits, scales): (&Tensor, &Tensor),
        bias: Option<Tensor>,
    ) -> Result<Self> {
        let (ctx, bias) = (cpu::context_of_layer()?, bias.as_ref().map(cpu::owned).transpose()?);
        let scales = cpu::owned(scales)?;
        let kernel = cpu::lend(bits, |bits: &[u8]| {
            let values: Vec<i8> = bits.iter().map(|&bits| bits.cast_signed()).collect();
            let weight = Weight::Int8 { values: &values, scales: &scales };
            kernels::Linear::new(&ctx, [outputs, inputs], weight, bias).map_err(Error::wrap)
        })?;
        Ok(Self { held: Held::Kernel(Arc::new(kernel)), inputs, outputs })
    }

    /// As `load`, with the weight rounded to q8_0 (blocks of 32 whole numbers and a scale): about a quarter of the memory of f32 on the
    /// CPU. Elsewhere the rounded values are held in the weight's dtype. Refuses inputs that are no multiple of 32.
    pub fn load_q8_0(inputs: usize, outputs: usize, bias: Bias, vb: VarBuilder) -> Result<Self> {
        let weight = vb.get((outputs, inputs), "weight")?;
        let bias = match bias {
            Bias::Yes => Some(vb.get(outputs, "bias")?),
            Bias::No => None,
        };
        if is_outline(&weight) {
            return Self::new(weight, bias);
        }
        if !inputs.is_multiple_of(q8_0::BLOCK) {
            bail!("a q8_0 layer takes a multiple of {} inputs, not {inputs}; load it as it is", q8_0::BLOCK);
        }
        let values = cpu::owned(&weight.to_device(&Device::Cpu)?)?;
        let rounded = q8_0::quantize(&values).map_err(Error::wrap)?;
        if !weight.device().is_cpu() {
            let values = q8_0::dequantize(&rounded, values.len()).map_err(Error::wrap)?;
            let values = Tensor::from_vec(values, (outputs, inputs), weight.device())?;
            return Self::new(values.to_dtype(weight.dtype())?, bias);
        }
        let (ctx, bias) = (cpu::context_of_layer()?, bias.as_ref().map(cpu::owned).transpose()?);
        let kernel = kernels::Linear::new(&ctx, [outputs, inputs], Weight::Q8_0(&rounded), bias);
        Ok(Self { held: Held::Kernel(Arc::new(kernel.map_err(Error::wrap)?)), inputs, outputs })
    }

    /// Whether its keys were only asked for, so that it has no values to compute with.
    pub fn is_outline(&self) -> bool {
        matches!(&self.held, Held::Tensors { weight, .. } if is_outline(weight))
    }

    /// x: (…, inputs) -> (…, outputs)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.held {
            Held::Tensors { weight, bias } => match self.card(x) {
                Some(card) => card.linear(x, (weight, bias.as_ref()), None, None),
                None => reference::linear(x, weight, bias.as_ref()),
            },
            Held::Kernel(kernel) => {
                let x_f32 = x.to_dtype(DType::F32)?;
                self.write(kernel, &x_f32, Finish::default())?.to_dtype(x.dtype())
            }
        }
    }

    /// x: (…, inputs), addend: (…, outputs) -> the layer of x plus the addend
    pub fn forward_plus(&self, x: &Tensor, addend: &Tensor) -> Result<Tensor> {
        match &self.held {
            Held::Kernel(kernel) if cpu::takes(x) && cpu::takes(addend) => {
                cpu::lend(addend, |rows| self.write(kernel, x, Finish::residual(rows)))
            }
            Held::Tensors { weight, bias } if addend.dtype() == x.dtype() => match self.card(x) {
                Some(card) => card.linear(x, (weight, bias.as_ref()), None, Some(addend)),
                None => self.forward(x)? + addend,
            },
            _ => self.forward(x)? + addend,
        }
    }

    /// The same with something more for each clip. x: (g, …, inputs), addend: (g, …, outputs), added: (g, outputs)
    pub fn forward_plus_each(&self, x: &Tensor, addend: &Tensor, added: &Tensor) -> Result<Tensor> {
        let g = x.dim(0)?;
        if added.dims() != [g, self.outputs] || addend.dim(0)? != g {
            bail!("{:?} and {:?} cannot be added to a layer of {:?}", addend.dims(), added.dims(), x.dims());
        }
        match &self.held {
            Held::Kernel(kernel) if cpu::takes(x) && cpu::takes(addend) && g > 0 => {
                let mut biases = cpu::owned(added)?;
                if let Some(bias) = kernel.bias() {
                    for sum in biases.chunks_exact_mut(bias.len()) {
                        sum.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
                    }
                }
                cpu::make(addend.dims(), |y| {
                    cpu::lend(addend, |rows: &[f32]| {
                        cpu::read(x, |x| {
                            let (i, o) = (x.len() / g, rows.len() / g);
                            let clips = x.chunks_exact(i).zip(y.chunks_exact_mut(o));
                            let more = rows.chunks_exact(o).zip(biases.chunks_exact(self.outputs));
                            clips.zip(more).try_for_each(|((x, y), (rows, bias))| {
                                kernel.forward_biased(x, y, Some(bias), Finish::residual(rows))
                            })
                        })
                    })
                })
            }
            _ => add_each(&self.forward_plus(x, addend)?, added),
        }
    }

    /// The layer of x and an activation. x: (…, inputs) -> (…, outputs)
    pub fn forward_then(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        match &self.held {
            Held::Kernel(kernel) if cpu::takes(x) => self.write(kernel, x, Finish::act(activation.kernel())),
            Held::Tensors { weight, bias } => match self.card(x) {
                Some(card) => card.linear(x, (weight, bias.as_ref()), Some(activation), None),
                None => activation.forward(&self.forward(x)?),
            },
            Held::Kernel(_) => activation.forward(&self.forward(x)?),
        }
    }

    /// What computes it on the CPU, for operations that go on where it has written.
    pub(crate) fn kernel(&self) -> Option<&kernels::Linear> {
        match &self.held {
            Held::Kernel(kernel) => Some(kernel),
            Held::Tensors { .. } => None,
        }
    }

    /// Where x and the parameters are on one, all of one dtype.
    fn card(&self, x: &Tensor) -> Option<Card> {
        match &self.held {
            Held::Tensors { weight, bias: None } => Card::of(&[x, weight]),
            Held::Tensors { weight, bias: Some(bias) } => Card::of(&[x, weight, bias]),
            Held::Kernel(_) => None,
        }
    }

    fn write(&self, kernel: &kernels::Linear, x: &Tensor, finish: Finish) -> Result<Tensor> {
        let mut shape = x.dims().to_vec();
        match shape.last_mut() {
            Some(last) if *last == self.inputs => *last = self.outputs,
            _ => bail!("a linear layer of {} inputs was given {:?}", self.inputs, x.dims()),
        }
        cpu::make(&shape, |y| cpu::read(x, |x| kernel.forward(x, y, finish)))
    }
}

/// What the kernels make of f32 and bf16 on the CPU; bf16 stays bf16 in memory.
fn pack(weight: &Tensor, bias: Option<&Tensor>) -> Result<Option<kernels::Linear>> {
    let shape = weight.dims2()?.into();
    if !weight.device().is_cpu() || is_outline(weight) {
        return Ok(None);
    }
    let (ctx, bias) = (&cpu::context_of_layer()?, bias.map(cpu::owned).transpose()?);
    match weight.dtype() {
        DType::F32 => cpu::read(weight, |w| kernels::Linear::new(ctx, shape, Weight::F32(w), bias)).map(Some),
        DType::BF16 => cpu::read(weight, |w: &[bf16]| {
            kernels::Linear::new(ctx, shape, Weight::Bf16(w.reinterpret_cast()), bias)
        })
        .map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::noise;
    use std::collections::HashMap;

    #[test]
    fn whole_numbers_with_a_scale_a_row_stay_so() {
        let (inputs, outputs) = (45, 19);
        let steps: Vec<i8> = (0..outputs * inputs).map(|i| ((i * 37) % 256) as u8 as i8).collect();
        let scales: Vec<f32> = (0..outputs).map(|o| 3e-6 * (o + 1) as f32).collect();
        let values = steps.iter().enumerate().map(|(i, &q)| f32::from(q) * scales[i / inputs]).collect();
        let bits: Vec<u8> = steps.iter().map(|&q| q as u8).collect();
        let cpu = &Device::Cpu;
        let bias = ("bias".to_owned(), noise(&[outputs], 2));
        let plain = ("weight".to_owned(), Tensor::from_vec(values, (outputs, inputs), cpu).unwrap());
        let stored = [
            ("weight._data".to_owned(), Tensor::from_vec(bits, (outputs, inputs), cpu).unwrap()),
            ("weight._scale".to_owned(), Tensor::from_vec(scales, (outputs, 1), cpu).unwrap()),
        ];
        let of = |tensors: HashMap<String, Tensor>| {
            let vb = VarBuilder::from_tensors(tensors, DType::F32, cpu);
            Linear::load(inputs, outputs, Bias::Yes, vb).unwrap()
        };
        let exact = of(HashMap::from([bias.clone(), plain]));
        let held = of(stored.into_iter().chain([bias]).collect());
        let Held::Kernel(kernel) = &held.held else { panic!("a layer of the CPU's kernels") };
        assert_eq!(kernel.variant(), "linear-int8");
        let x = noise(&[3, inputs], 3);
        let flat = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(held.forward(&x).unwrap()), flat(exact.forward(&x).unwrap()));
    }

    #[test]
    fn a_layer_rounded_to_q8_0_is_near_the_one_in_f32() {
        let (inputs, outputs) = (96, 40);
        let tensors = HashMap::from([
            ("weight".to_owned(), noise(&[outputs, inputs], 1)),
            ("bias".to_owned(), noise(&[outputs], 2)),
        ]);
        let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let exact = Linear::load(inputs, outputs, Bias::Yes, vb.clone()).unwrap();
        let rounded = Linear::load_q8_0(inputs, outputs, Bias::Yes, vb.clone()).unwrap();
        let Held::Kernel(kernel) = &rounded.held else { panic!("a layer of the CPU's kernels") };
        assert_eq!(kernel.variant(), "linear-q8_0");
        assert!(kernel.weight_bytes() < outputs.next_multiple_of(16) * inputs * 4 / 3);
        let x = noise(&[2, 7, inputs], 3);
        let flat = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (got, want) = (flat(rounded.forward(&x).unwrap()), flat(exact.forward(&x).unwrap()));
        let power: f32 = want.iter().map(|w| w * w).sum();
        let error: f32 = got.iter().zip(&want).map(|(g, w)| (g - w).powi(2)).sum();
        // half a step of 1/127 of a block's peak, against values spread evenly: 0.0039 of their RMS
        let relative = (error / power).sqrt();
        assert!(relative > 1e-4 && relative < 8e-3, "{relative}");
        let odd = VarBuilder::zeros(DType::F32, &Device::Cpu);
        let error = Linear::load_q8_0(33, 8, Bias::No, odd).unwrap_err().to_string();
        assert!(error.contains("multiple of 32"), "{error}");
    }
}
