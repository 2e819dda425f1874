//! `talkie-worker-cuda kernels`: every heavy operation at the sizes of the real nets, timed on this card against its floor: what the card's memory and
//! its arithmetic allow, both measured in the same run (a copy of 1 GiB; a product of large matrices by cuBLAS).

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use contract::Complaint;
use layers::{
    Activation, CausalConv3d, Conv2d, Conv3dConfig, ConvConfig, GroupNorm, LayerNorm, Linear, Mask, Pairing,
    RmsNorm, RopeTable, attention, geglu,
};
use serde_json::json;

use crate::{device, say};

/// Seconds of one measurement; the shortest of three counts.
const MEASURED: f64 = 0.2;

/// Calls of one measurement at most.
const MOST_CALLS: f64 = 500.0;

const DTYPES: [DType; 2] = [DType::F32, DType::BF16];

/// What a card can do, in bytes and in operations a second.
struct Peaks {
    bytes: f64,
    flops: HashMap<&'static str, f64>,
}

/// One operation at one size, and what it must move and compute at least.
struct Operation {
    name: String,
    bytes: f64,
    flops: f64,
    run: Box<dyn Fn() -> Result<Tensor>>,
}

pub fn run(json: bool) -> std::result::Result<ExitCode, Complaint> {
    let card = layers::open_card(0).map_err(|error| device::no_card(&error))?;
    let failed = |error: candle_core::Error| {
        Complaint::new(
            "machine_failed",
            format!("the card failed: {error}"),
            "check nvidia-smi; its memory may be in use",
        )
    };
    let peaks = peaks(&card).map_err(failed)?;
    let mut rows = Vec::new();
    if !json {
        say::line(format_args!("memory {:.2} TB/s", peaks.bytes / 1e12))?;
        for dtype in DTYPES {
            say::line(format_args!("{} {:.1} TFLOP/s", dtype.as_str(), peaks.flops[dtype.as_str()] / 1e12))?;
        }
    }
    for dtype in DTYPES {
        for operation in operations(&card, dtype).map_err(failed)? {
            let seconds = time(&card, &operation.run).map_err(failed)?;
            let floor = (operation.bytes / peaks.bytes).max(operation.flops / peaks.flops[dtype.as_str()]);
            let ratio = seconds / floor;
            let (us, floor_us) = (seconds * 1e6, floor * 1e6);
            if json {
                rows.push(json!({ "operation": operation.name, "dtype": dtype.as_str(), "us": us, "floor_us": floor_us }));
            } else {
                let (name, dtype) = (&operation.name, dtype.as_str());
                say::line(format_args!(
                    "{dtype:<5} {name:<52} {us:>10.1} us  floor {floor_us:>10.1} us  x{ratio:.2}"
                ))?;
            }
        }
    }
    if json {
        say::line(json!({ "bytes_per_second": peaks.bytes, "flops": peaks.flops, "operations": rows }))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn peaks(card: &Device) -> Result<Peaks> {
    const GIB: usize = 1 << 30;
    let x = Tensor::zeros(GIB / 4, DType::F32, card)?;
    let bytes = 2.0 * GIB as f64 / time(card, &|| x.copy())?;
    let mut flops = HashMap::new();
    for dtype in DTYPES {
        let n = if dtype == DType::F32 { 4096 } else { 8192 };
        let x = Tensor::rand(-1f32, 1f32, (n, n), card)?.to_dtype(dtype)?;
        flops.insert(dtype.as_str(), 2.0 * (n as f64).powi(3) / time(card, &|| x.matmul(&x))?);
    }
    Ok(Peaks { bytes, flops })
}

/// Seconds of a call among many.
fn time(card: &Device, run: &dyn Fn() -> Result<Tensor>) -> Result<f64> {
    let measure = |calls: usize| -> Result<f64> {
        card.synchronize()?;
        let begin = Instant::now();
        for _ in 0..calls {
            run()?;
        }
        card.synchronize()?;
        Ok(begin.elapsed().as_secs_f64() / calls as f64)
    };
    measure(2)?; // kernels are compiled and algorithms picked
    let calls = (MEASURED / measure(1)?).clamp(1.0, MOST_CALLS) as usize;
    (0..3).try_fold(f64::INFINITY, |best, _| Ok(best.min(measure(calls)?)))
}

/// The sizes are those of the nets that move in: SD 1.5's UNet (batch 4) and VAE, Wan 2.1's VAE and 14B transformer at 480p.
fn operations(card: &Device, dtype: DType) -> Result<Vec<Operation>> {
    let mut all = Vec::new();
    for (b, side, inputs, outputs) in [
        (4, 32, 320, 320),
        (4, 16, 640, 640),
        (4, 8, 1280, 1280),
        (1, 64, 512, 512),
        (1, 256, 256, 256),
        (1, 256, 128, 128),
    ] {
        all.push(convolution((card, dtype), (b, side), (inputs, outputs))?);
    }
    all.push(clip_convolution((card, dtype), (1, 6, 60, 104), 384)?);
    for (shape, groups) in [([4, 32, 32, 320], 32), ([4, 8, 8, 1280], 32), ([1, 256, 256, 128], 32)] {
        all.push(group_norm((card, dtype), shape, groups)?);
    }
    for (rows, c) in [(4096, 320), (32_760, 5120)] {
        all.extend(rows_of((card, dtype), rows, c)?);
    }
    for (rows, inputs, outputs) in [(4096, 320, 320), (4096, 320, 2560), (32_760, 5120, 5120)] {
        all.push(product((card, dtype), rows, (inputs, outputs))?);
    }
    for (b, lq, lk, n, d) in [
        (4, 1024, 1024, 8, 40),
        (4, 1024, 50, 8, 40),
        (4, 256, 256, 8, 80),
        (1, 4096, 4096, 1, 512),
        (1, 8190, 8190, 40, 128),
    ] {
        all.push(attention_of((card, dtype), (b, lq, lk), (n, d))?);
    }
    Ok(all)
}

type Place<'a> = (&'a Device, DType);

fn noise((card, dtype): Place, shape: &[usize]) -> Result<Tensor> {
    Tensor::rand(-1f32, 1f32, shape, card)?.to_dtype(dtype)
}

fn builder((card, dtype): Place, tensors: Vec<(&str, Tensor)>) -> VarBuilder<'static> {
    let tensors: HashMap<_, _> = tensors.into_iter().map(|(name, t)| (name.to_owned(), t)).collect();
    VarBuilder::from_tensors(tensors, dtype, card)
}

/// Bytes of so many values.
fn bytes((_, dtype): Place, values: usize) -> f64 {
    (values * dtype.size_in_bytes()) as f64
}

fn convolution(place: Place, (b, side): (usize, usize), (i, o): (usize, usize)) -> Result<Operation> {
    let x = noise(place, &[b, side, side, i])?;
    let conv = Conv2d::new(noise(place, &[o, i, 3, 3])?, Some(noise(place, &[o])?), ConvConfig::square(3))?;
    Ok(Operation {
        name: format!("conv 3x3 {b}x{side}x{side}x{i} -> {o}"),
        bytes: bytes(place, b * side * side * (i + o) + 9 * i * o),
        flops: 2.0 * (b * side * side * 9 * i * o) as f64,
        run: Box::new(move || conv.forward(&x)),
    })
}

fn clip_convolution(place: Place, (b, t, h, w): (usize, usize, usize, usize), c: usize) -> Result<Operation> {
    let x = noise(place, &[b, t, h, w, c])?;
    let tensors = vec![("weight", noise(place, &[c, c, 3, 3, 3])?), ("bias", noise(place, &[c])?)];
    let conv = CausalConv3d::load(c, c, Conv3dConfig::cube(3, 3), builder(place, tensors))?;
    Ok(Operation {
        name: format!("conv 3x3x3 {b}x{t}x{h}x{w}x{c} -> {c}, {} frames out", t - 2),
        bytes: bytes(place, b * (2 * t - 2) * h * w * c + 27 * c * c),
        flops: 2.0 * (b * (t - 2) * h * w * 27 * c * c) as f64,
        run: Box::new(move || conv.valid(&x)),
    })
}

fn group_norm(place: Place, shape: [usize; 4], groups: usize) -> Result<Operation> {
    let c = shape[3];
    let x = noise(place, &shape)?;
    let tensors = vec![("weight", noise(place, &[c])?), ("bias", noise(place, &[c])?)];
    let norm = GroupNorm::load(groups, c, 1e-5, builder(place, tensors))?;
    Ok(Operation {
        name: format!("group norm + SiLU {shape:?}"),
        bytes: bytes(place, 2 * x.elem_count()),
        flops: 0.0,
        run: Box::new(move || norm.forward_silu(&x)),
    })
}

/// What goes over rows of c values.
fn rows_of(place: Place, rows: usize, c: usize) -> Result<Vec<Operation>> {
    let x = noise(place, &[1, rows, c])?;
    let moved = bytes(place, 2 * x.elem_count());
    let (layer, rms) = (LayerNorm::plain(1e-6), RmsNorm::new(noise(place, &[c])?, 1e-6));
    let positions: Vec<f64> = (0..rows).map(|p| p as f64).collect();
    let table = RopeTable::line(&positions, 40, 1e4, Pairing::Neighbours, place.0)?;
    let heads = x.reshape((1, rows, c / 40, 40))?;
    let [x_layer, x_rms, x_act, x_gate] = [(); 4].map(|()| x.clone());
    let operation = |name: &str, bytes: f64, run: Box<dyn Fn() -> Result<Tensor>>| Operation {
        name: format!("{name} {rows} x {c}"),
        bytes,
        flops: 0.0,
        run,
    };
    Ok(vec![
        operation("layer norm", moved, Box::new(move || layer.forward(&x_layer))),
        operation("RMS norm", moved, Box::new(move || rms.forward(&x_rms))),
        operation("GELU (tanh)", moved, Box::new(move || Activation::GeluTanh.forward(&x_act))),
        operation("GEGLU", moved * 0.75, Box::new(move || geglu(&x_gate))),
        operation("rope", moved, Box::new(move || table.apply(&heads))),
    ])
}

fn product(place: Place, rows: usize, (i, o): (usize, usize)) -> Result<Operation> {
    let x = noise(place, &[rows, i])?;
    let layer = Linear::new(noise(place, &[o, i])?, Some(noise(place, &[o])?))?;
    Ok(Operation {
        name: format!("linear {rows} x {i} -> {o}"),
        bytes: bytes(place, rows * (i + o) + i * o),
        flops: 2.0 * (rows * i * o) as f64,
        run: Box::new(move || layer.forward(&x)),
    })
}

fn attention_of(
    place: Place,
    (b, lq, lk): (usize, usize, usize),
    (n, d): (usize, usize),
) -> Result<Operation> {
    let (q, k, v) =
        (noise(place, &[b, lq, n, d])?, noise(place, &[b, lk, n, d])?, noise(place, &[b, lk, n, d])?);
    let scale = 1.0 / (d as f64).sqrt();
    Ok(Operation {
        name: format!("attention {b} x {lq} over {lk}, {n} heads of {d}"),
        bytes: bytes(place, 2 * b * (lq + lk) * n * d),
        flops: 4.0 * (b * lq * lk * n * d) as f64,
        run: Box::new(move || attention(&q, &k, &v, &Mask::Full, scale)),
    })
}
