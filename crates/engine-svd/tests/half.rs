//! The UNet in f16, which its published files are in: as far from the f32 result as PyTorch's f16 is, twice that at most.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use engine_svd::nets::Watch;
use engine_svd::nets::unet::{Unet, UnetConfig};
use golden::{CaseFile, Seeded, affine};
use layers::Probe;

/// Relative L2 of PyTorch's f16 run (goldens/svd/unet_bf16, `measured_fp16_rel_l2_to_f32`).
const PYTORCH: f64 = 2.85e-3;

fn wide(x: &Tensor) -> Tensor {
    x.to_dtype(DType::F32).unwrap()
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let length =
        |x: &Tensor| f64::from(x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sqrt();
    length(&(a - b).unwrap()) / length(b)
}

#[test]
fn f16_is_no_farther_from_f32_than_f16_must_be() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/svd/unet_bf16.safetensors");
    let file = CaseFile::open(&file).unwrap();
    let cfg: UnetConfig = file.config().unwrap();
    let half = |x: Tensor| x.to_dtype(DType::F16).unwrap();
    let x = affine("public", "input.svd.sample", &[2, 4, 8, 8, 16], (0.0, 1.5)).unwrap();
    let x = half(x.permute((0, 1, 3, 4, 2)).unwrap().contiguous().unwrap());
    let context = half(affine("public", "input.svd.embeds", &[2, 1, 48], (0.0, 1.0)).unwrap());
    let ids = half(file.tensor("in.added_time_ids").unwrap());
    let timestep = file.tensor("in.timestep").unwrap().to_scalar::<f32>().unwrap();
    let unet = Unet::load(&cfg, Seeded::new("public").builder(DType::F16, &Device::Cpu)).unwrap();
    let watch = Watch { stop: &|| false, probe: &Probe::off() };
    let clip = unet.clip(&context, 4, &ids).unwrap();
    let step = unet.step(timestep, &clip, &watch).unwrap();
    let pred = unet.forward(&x, &step, &clip, &watch).unwrap();
    assert_eq!(pred.dtype(), DType::F16);
    let pred = wide(&pred.permute((0, 1, 4, 2, 3)).unwrap());
    let from_f32 = distance(&pred, &wide(&file.tensor("probe.f32_pred").unwrap()));
    let from_pytorch = distance(&pred, &wide(&file.tensor("probe.fp16_pred").unwrap()));
    println!("{from_f32:e} from f32, {from_pytorch:e} from PyTorch's f16");
    assert!(from_f32 < 2.0 * PYTORCH && from_pytorch < 3.0 * PYTORCH, "{from_f32:e} {from_pytorch:e}");
}
