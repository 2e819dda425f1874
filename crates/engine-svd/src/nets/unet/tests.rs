//! What the golden cases do not show: epsilons, sizes that are no multiple, one item of two, refusals.

use std::cell::Cell;
use std::path::Path;

use golden::{CaseFile, Seeded, affine};
use layers::{LayerNorm, Probe};

use super::*;

/// The small net of the golden cases, its weights and its config.
fn small() -> Unet {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/svd/unet.safetensors");
    let cfg: UnetConfig = CaseFile::open(&path).unwrap().config().unwrap();
    Unet::load(&cfg, Seeded::new("public").builder(DType::F32, &Device::Cpu)).unwrap()
}

fn run(unet: &Unet, x: &Tensor, context: &Tensor, ids: &Tensor, timestep: f32) -> Tensor {
    let watch = Watch { stop: &|| false, probe: &Probe::off() };
    let clip = unet.clip(context, x.dim(1).unwrap(), ids).unwrap();
    let step = unet.step(timestep, &clip, &watch).unwrap();
    unet.forward(x, &step, &clip, &watch).unwrap()
}

/// Latents of two items at most, their contexts and their ids.
fn given([b, f, h, w]: [usize; 4]) -> [Tensor; 3] {
    let x = affine("odd", &format!("x.{h}x{w}"), &[b, f, 8, h, w], (0.0, 1.5)).unwrap();
    let context = affine("odd", "context", &[b, 1, 48], (0.0, 1.0)).unwrap();
    let ids = Tensor::new(&[[6f32, 127.0, 0.02], [11.0, 40.0, 0.1]], &Device::Cpu).unwrap();
    let ids = ids.narrow(0, 0, b).unwrap();
    [x.permute((0, 1, 3, 4, 2)).unwrap().contiguous().unwrap(), context, ids]
}

/// How large a signal of 1e-3 around nothing leaves a norm: its variance is as small as an epsilon, so this tells which one is used.
fn epsilon(norm: impl Fn(&Tensor) -> Result<Tensor>, channels: usize) -> f64 {
    let values: Vec<f32> = (0..channels * 8).map(|i| if i % 2 == 0 { 1e-3 } else { -1e-3 }).collect();
    let y = norm(&Tensor::from_vec(values, (1, 2, 2, 2, channels), &Device::Cpu).unwrap()).unwrap();
    // the gains are near 1, and one epsilon is ten times the other
    let strength = f64::from(y.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt());
    let (small, large) = (1e-3 / (1e-6f64 + 1e-6).sqrt(), 1e-3 / (1e-6f64 + 1e-5).sqrt());
    match strength {
        s if (s - small).abs() < 0.1 => 1e-6,
        s if (s - large).abs() < 0.05 => 1e-5,
        s => panic!("a strength of {s} is that of neither epsilon"),
    }
}

#[test]
fn every_norm_has_the_epsilon_it_has_in_diffusers() {
    let c = 64;
    let cfg = UnetConfig {
        block_out_channels: vec![c; 4],
        num_attention_heads: Levels::All(2),
        ..UnetConfig::img2vid_xt()
    };
    let unet = Unet::load(&cfg, Seeded::new("eps").builder(DType::F32, &Device::Cpu)).unwrap();
    let blocks = |want: f64, inputs: usize, blocks: &[&SpatioTemporalResBlock]| {
        for block in blocks {
            let [[norm1, norm2], temporal] = block.norms();
            assert_eq!(epsilon(|x| norm1.forward(x), inputs), want);
            for norm in [norm2].into_iter().chain(temporal) {
                assert_eq!(epsilon(|x| norm.forward(x), c), want);
            }
        }
    };
    for (level, block) in unet.down_blocks.iter().enumerate() {
        let want = if level < 3 { 1e-6 } else { 1e-5 };
        blocks(want, c, &block.resnets.iter().collect::<Vec<_>>());
    }
    blocks(1e-5, c, &[&unet.mid_block.first, &unet.mid_block.second]);
    for block in &unet.up_blocks {
        blocks(1e-6, 2 * c, &block.resnets.iter().collect::<Vec<_>>());
    }
    assert_eq!(unet.transformers().count(), 16);
    for transformer in unet.transformers() {
        let (group, layers): (&GroupNorm, [&LayerNorm; 5]) = transformer.norms();
        assert_eq!(epsilon(|x| group.forward(x), c), 1e-6);
        for norm in layers {
            assert_eq!(epsilon(|x| norm.forward(x), c), 1e-5);
        }
    }
    assert_eq!(epsilon(|x| unet.conv_norm_out.forward(x), c), 1e-5);
}

/// What diffusers 0.42.1 on PyTorch 2.15 gives: the length of the result, and six of its values from the first to the last, (b, f, c, h, w).
#[test]
fn sizes_that_are_no_multiple_give_what_diffusers_gives() {
    let unet = small();
    for (dims, norm, values) in [
        ([2, 3, 9, 13], 32.069_081, [-0.059_430, 0.530_338, -1.153_837, 0.572_526, -0.035_182, 0.098_038]),
        ([1, 2, 10, 12], 19.603_435, [0.194_101, -0.421_556, 0.063_197, 1.447_682, -0.121_369, 0.141_137]),
        ([1, 2, 20, 11], 25.595_285, [0.002_220, -0.401_529, 0.027_340, 0.372_852, 0.818_441, -0.030_228]),
        ([1, 1, 8, 8], 9.767_254, [-0.254_883, 0.644_129, -0.241_431, -0.047_430, 0.274_962, -0.340_725]),
        ([1, 5, 3, 2], 5.372_444, [0.303_263, 0.621_108, -0.322_702, 0.062_138, -0.300_549, -0.331_121]),
    ] {
        let [x, context, ids] = given(dims);
        let y = run(&unet, &x, &context, &ids, -0.75);
        let [b, f, h, w] = dims;
        assert_eq!(y.dims(), [b, f, h, w, 4]);
        let y = y.permute((0, 1, 4, 2, 3)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let length = y.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        // a map of one or two places makes much of little in its norms, and which variants are picked differs
        assert!((length - norm).abs() < 5e-5 * norm, "{dims:?}: {length}");
        for (i, want) in values.into_iter().enumerate() {
            let got = f64::from(y[i * (y.len() - 1) / 5]);
            assert!((got - want).abs() < 2e-4, "{dims:?}: value {i} is {got}, not {want}");
        }
    }
}

#[test]
fn one_item_gives_what_it_gives_beside_another() {
    let unet = small();
    let [x, context, ids] = given([2, 3, 8, 6]);
    let both = run(&unet, &x, &context, &ids, 1.1);
    for i in 0..2 {
        let one = |t: &Tensor| t.narrow(0, i, 1).unwrap();
        let alone = run(&unet, &one(&x).contiguous().unwrap(), &one(&context), &one(&ids), 1.1);
        let far = (one(&both) - alone).unwrap().abs().unwrap().max_all().unwrap();
        assert!(far.to_scalar::<f32>().unwrap() < 1e-5, "{far}");
    }
}

#[test]
fn ends_before_the_next_block_when_nobody_wants_it() {
    let unet = small();
    let [x, context, ids] = given([1, 1, 8, 8]);
    let (asked, probe) = (Cell::new(0), Probe::off());
    let stop = || asked.replace(asked.get() + 1) == 3;
    let watch = Watch { stop: &stop, probe: &probe };
    let clip = unet.clip(&context, 1, &ids).unwrap();
    let step = unet.step(0.5, &clip, &watch).unwrap();
    let said = unet.forward(&x, &step, &clip, &watch).unwrap_err();
    assert_eq!(said.to_string(), "stopped before down_blocks.0.resnets.1");
    assert_eq!(asked.get(), 4);
}

#[test]
fn names_the_block_that_gives_no_numbers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/svd/unet.safetensors");
    let cfg: UnetConfig = CaseFile::open(&path).unwrap().config().unwrap();
    let outline = layers::weights::Outline::new();
    Unet::load(&cfg, outline.builder()).unwrap();
    let seeded = Seeded::new("public");
    let broken = "up_blocks.1.attentions.2.proj_out.bias";
    let inventory = outline.inventory();
    let tensors = inventory.iter().map(|(key, shape)| {
        let tensor = seeded.tensor(key, shape, DType::F32, &Device::Cpu).unwrap();
        (key.to_owned(), if key == broken { (tensor * f64::NAN).unwrap() } else { tensor })
    });
    let vb = VarBuilder::from_tensors(tensors.collect(), DType::F32, &Device::Cpu);
    let unet = Unet::load(&cfg, vb).unwrap();
    let [x, context, ids] = given([1, 1, 8, 8]);
    let watch = Watch { stop: &|| false, probe: &Probe::off() };
    let clip = unet.clip(&context, 1, &ids).unwrap();
    let step = unet.step(0.5, &clip, &watch).unwrap();
    let said = unet.forward(&x, &step, &clip, &watch).unwrap_err().to_string();
    assert!(said.starts_with("up_blocks.1.attentions.2 gave values that are not finite"), "{said}");
}

#[test]
fn refuses_what_does_not_belong_together() {
    let unet = small();
    let [x, context, ids] = given([2, 3, 8, 8]);
    let two = Tensor::cat(&[&context, &context], 1).unwrap();
    let said = unet.clip(&two, 3, &ids).unwrap_err().to_string();
    assert!(said.contains("(b, 1, 48), not [2, 2, 48]"), "{said}");
    assert!(unet.clip(&context, 0, &ids).is_err());
    assert!(unet.clip(&context, 3, &ids.narrow(0, 0, 1).unwrap()).is_err());
    let watch = Watch { stop: &|| false, probe: &Probe::off() };
    let clip = unet.clip(&context, 2, &ids).unwrap();
    let step = unet.step(0.5, &clip, &watch).unwrap();
    let said = unet.forward(&x, &step, &clip, &watch).unwrap_err().to_string();
    assert!(said.contains("a clip of 2 times 2 frames"), "{said}");
}
