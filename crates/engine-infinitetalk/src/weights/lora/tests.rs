//! What LoRA files change, and the ones that are refused.

use candle_core::{DType, Device};
use layers::weights::{Checkpoint, INT8};
use tempfile::TempDir;

use super::*;
use crate::weights::made::{Made, f32s, filled, i8s, net, weights, write};
use crate::weights::{Quantised, Quanto, Source};

const Q: &str = "diffusion_model.blocks.0.self_attn.q";

/// Rank 1: 0.5 times the outer product of (1, 2) and (1, 1, 1).
fn pair(module: &str) -> Vec<Made> {
    vec![
        filled(&format!("{module}.lora_down.weight"), &[1, 3], 0.5),
        f32s(&format!("{module}.lora_up.weight"), &[2, 1], &[1.0, 2.0]),
    ]
}

fn loras(folder: &TempDir, files: &[(&[Made], f64)], rules: Rules) -> std::result::Result<Loras, BadWeights> {
    let lora = |(i, (tensors, scale)): (usize, &(&[Made], f64))| {
        let path = write(folder.path(), &format!("lora{i}.safetensors"), tensors);
        Lora { path, scale: *scale }
    };
    Loras::open(&files.iter().enumerate().map(lora).collect::<Vec<_>>(), rules, &net())
}

fn refused(tensors: &[Made]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let said = loras(&folder, &[(tensors, 1.0)], Rules::AsWritten).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("lora0.safetensors"), "{said}");
    said
}

fn read(source: Source, key: &str, shape: &[usize]) -> Vec<f32> {
    let vb = source.into_builder(DType::F32, &Device::Cpu);
    vb.get(shape, key).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn several_files_add_up_with_their_own_scales() {
    let folder = tempfile::tempdir().unwrap();
    let base =
        || Source::of(Checkpoint::open(&write(folder.path(), "base.safetensors", &weights(1.0))).unwrap());
    let with_alpha = [pair(Q), vec![f32s(&format!("{Q}.alpha"), &[], &[0.5])]].concat_made();
    let sums = [
        filled(&format!("{Q}.diff_b"), &[2], 3.0),
        filled("diffusion_model.blocks.0.diff_m", &[1, 2, 2], 5.0),
        filled("diffusion_model.blocks.0.norm3.diff", &[2], 7.0),
    ];
    let all = [(&pair(Q)[..], 1.0), (&with_alpha[..], 2.0), (&sums[..], -1.0)];
    let merged = |key: &str, shape: &[usize]| {
        read(base().with(loras(&folder, &all, Rules::AsWritten).unwrap()), key, shape)
    };
    // 1 + 0.5 * (1, 2) and, with alpha / rank of a half, twice half of that again
    assert_eq!(merged("blocks.0.self_attn.q.weight", &[2, 3]), [2.0, 2.0, 2.0, 3.0, 3.0, 3.0]);
    assert_eq!(merged("blocks.0.self_attn.q.bias", &[2]), [-2.0; 2]);
    assert_eq!(merged("blocks.0.modulation", &[1, 2, 2]), [-4.0; 4]);
    assert_eq!(merged("blocks.0.norm3.weight", &[2]), [-6.0; 2]);
    assert_eq!(merged("blocks.0.norm3.bias", &[2]), [1.0; 2]);
}

/// Of test tensors, which are not `Clone`.
trait Joined {
    fn concat_made(self) -> Vec<Made>;
}

impl<const N: usize> Joined for [Vec<Made>; N] {
    fn concat_made(self) -> Vec<Made> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn the_official_rules_leave_out_what_the_official_program_does_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = [
        pair(Q),
        pair("blocks.0.norm3"),
        vec![
            f32s(&format!("{Q}.alpha"), &[], &[0.5]),
            filled("diffusion_model.blocks.0.diff_m", &[1, 2, 2], 5.0),
        ],
    ]
    .concat_made();
    let loras = loras(&folder, &[(&tensors, 1.0)], Rules::AsOfficial).unwrap();
    assert_eq!(loras.changed().collect::<Vec<_>>(), ["blocks.0.self_attn.q.weight"]);
    assert!(loras.warnings[0].message.contains("4 keys are left out"), "{:?}", loras.warnings);
    let base =
        Source::of(Checkpoint::open(&write(folder.path(), "base.safetensors", &weights(1.0))).unwrap());
    let merged = read(base.with(loras), "blocks.0.self_attn.q.weight", &[2, 3]);
    assert_eq!(merged, [1.5, 1.5, 1.5, 2.0, 2.0, 2.0]);
}

#[test]
fn a_file_of_another_model_is_refused_with_its_first_key() {
    let other = pair("diffusion_model.joint_blocks.3.x_block.attn.qkv");
    let said = refused(&other);
    assert!(said.contains("`diffusion_model.joint_blocks.3.x_block.attn.qkv.lora_down.weight`"), "{said}");
    let wide = [
        filled(&format!("{Q}.lora_down.weight"), &[1, 4], 1.0),
        filled(&format!("{Q}.lora_up.weight"), &[2, 1], 1.0),
    ];
    let said = refused(&wide);
    assert!(said.contains("[1, 4]") && said.contains("[2, 1]") && said.contains("[2, 3]"), "{said}");
    assert!(refused(&pair(Q)[..1]).contains("no counterpart"));
    let said = refused(&[filled(&format!("{Q}.diff_b"), &[3], 1.0)]);
    assert!(said.contains("is [3], which does not fit `blocks.0.self_attn.q.bias` [2]"), "{said}");
    assert!(
        refused(&[filled("diffusion_model.blocks.0.self_attn.q.diff_m", &[2], 1.0)])
            .contains("does not have")
    );
    assert!(refused(&[filled(&format!("{Q}.dora_scale"), &[2, 1], 1.0)]).contains("DoRA"));
    assert!(refused(&[f32s(&format!("{Q}.alpha"), &[], &[f32::NAN])]).contains("is NaN"));
    assert!(refused(&pair("lora_te_text_model_encoder_layers_0_mlp_fc1")).contains("nothing in it changes"));
}

#[test]
fn what_has_no_place_but_does_no_harm_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = [
        pair("lora_unet_blocks_0_self_attn_q"),
        pair("lora_te_text_model_encoder_layers_0_mlp_fc1"),
        vec![filled("diffusion_model.patch_embedding.diff", &[2, 1, 1, 1, 1], 1.0)],
    ]
    .concat_made();
    let loras = loras(&folder, &[(&tensors, 1.0)], Rules::AsWritten).unwrap();
    let told: Vec<&str> = loras.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("text-to-video") && told[0].contains("[2, 1, 1, 1, 1]"), "{told:?}");
    assert!(told[1].contains("text encoder only") && told[1].contains("lora_te_text_model"), "{told:?}");
    assert_eq!(loras.changed().collect::<Vec<_>>(), ["blocks.0.self_attn.q.weight"]);
}

#[test]
fn each_file_has_a_scale() {
    let files = [PathBuf::from("a"), PathBuf::from("b")];
    let said = Lora::pairs(&files, &[1.2]).unwrap_err();
    assert_eq!(said.to_string(), "1 LoRA scales were given for 2 LoRA files");
    assert!(said.remedy().contains("2 of them"));
    assert_eq!(Lora::pairs(&files, &[1.2, 0.5]).unwrap()[1], Lora { path: "b".into(), scale: 0.5 });
}

#[test]
fn a_convolution_is_changed_through_its_flat_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = [
        f32s("diffusion_model.patch_embedding.lora_down.weight", &[1, 3, 1, 1, 1], &[1.0, 2.0, 3.0]),
        f32s("diffusion_model.patch_embedding.lora_up.weight", &[2, 1, 1, 1, 1], &[1.0, 10.0]),
    ];
    let loras = loras(&folder, &[(&tensors, 1.0)], Rules::AsWritten).unwrap();
    let base =
        Source::of(Checkpoint::open(&write(folder.path(), "base.safetensors", &weights(0.0))).unwrap());
    let merged = read(base.with(loras), "patch_embedding.weight", &[2, 3, 1, 1, 1]);
    assert_eq!(merged, [1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
}

#[test]
fn peft_keeps_alpha_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let module = "base_model.model.blocks.0.self_attn.q";
    let tensors = [
        filled(&format!("{module}.lora_A.default.weight"), &[4, 3], 1.0),
        filled(&format!("{module}.lora_B.default.weight"), &[2, 4], 1.0),
    ];
    write(folder.path(), "adapter_model.safetensors", &tensors);
    let merged = |config: Option<&str>| {
        let path = folder.path().join("adapter_config.json");
        match config {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => drop(std::fs::remove_file(&path)),
        }
        let lora = Lora { path: folder.path().to_owned(), scale: 1.0 };
        let loras = Loras::open(&[lora], Rules::AsWritten, &net()).map_err(|error| error.to_string())?;
        let told = loras.warnings.len();
        let base =
            Source::of(Checkpoint::open(&write(folder.path(), "base.safetensors", &weights(0.0))).unwrap());
        Ok((read(base.with(loras), "blocks.0.self_attn.q.weight", &[2, 3])[0], told))
    };
    // 4 from the product; alpha / rank, alpha / sqrt(rank), an alpha of the module's own, none
    assert_eq!(merged(Some(r#"{"peft_type": "LORA", "lora_alpha": 8}"#)), Ok((8.0, 0)));
    assert_eq!(merged(Some(r#"{"peft_type": "LORA", "lora_alpha": 8, "use_rslora": true}"#)), Ok((16.0, 0)));
    let own = r#"{"peft_type": "LORA", "lora_alpha": 8, "alpha_pattern": {"self_attn.q": 2}}"#;
    assert_eq!(merged(Some(own)), Ok((2.0, 0)));
    assert_eq!(merged(None), Ok((4.0, 1)));
    for (config, said) in [
        (r#"{"peft_type": "LOHA", "lora_alpha": 8}"#, "the method is LOHA"),
        (r#"{"peft_type": "LORA", "lora_alpha": 8, "use_dora": true}"#, "the method is DoRA"),
        (r#"{"peft_type": "LORA", "lora_alpha": 8, "fan_in_fan_out": true}"#, "fan_in_fan_out"),
        (r#"{"peft_type": "LORA", "lora_alpha": 8, "alpha_pattern": {".*q": 2}}"#, "regular expression"),
        (r#"{"peft_type": "LORA"}"#, "lora_alpha"),
    ] {
        let error: String = merged(Some(config)).unwrap_err();
        assert!(error.contains(said) && error.contains("adapter_config.json"), "{error}");
    }
}

#[test]
fn a_quantised_layer_is_widened_where_a_lora_changes_it() {
    let folder = tempfile::tempdir().unwrap();
    let quantised = |name: &str| {
        [
            i8s(&format!("{name}.weight._data"), &[2, 3], &[2; 6]),
            filled(&format!("{name}.weight._scale"), &[2, 1], 0.5),
        ]
    };
    let layers = ["blocks.0.self_attn.q", "blocks.0.self_attn.k"];
    let path =
        write(folder.path(), "q.safetensors", &layers.map(|name| Vec::from(quantised(name))).concat_made());
    let map = folder.path().join("q.json");
    let entry = r#"{"weights": "qint8", "activations": "none"}"#;
    std::fs::write(&map, format!(r#"{{"{}": {entry}, "{}": {entry}}}"#, layers[0], layers[1])).unwrap();
    let loras = loras(&folder, &[(&pair(Q), 1.0)], Rules::AsWritten).unwrap();
    let source = Source::of(Quanto::open(&path, &map).unwrap()).with(loras).quantised(Quantised::Kept);
    let vb = source.into_builder(DType::F32, &Device::Cpu);
    let merged: Vec<f32> =
        vb.get((2, 3), "blocks.0.self_attn.q.weight").unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(merged, [1.5, 1.5, 1.5, 2.0, 2.0, 2.0]);
    let kept = |layer: &str| vb.pp(layer).contains_tensor(INT8.data);
    assert_eq!(layers.map(kept), [false, true]);
}
