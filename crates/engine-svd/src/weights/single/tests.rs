//! The rules against the inventories of the published files, written here the other way round; and a small single file, written, loaded, and compared with the
//! same model in diffusers' folders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::IndexOp;
use encoders::clip_vision::{ClipVisionConfig, ClipVisionWithProjection};
use encoders::kl_vae::{KlEncoder, KlVaeConfig};
use golden::Seeded;
use layers::weights::{Dtype, Outline};
use safetensors::tensor::TensorView;
use serde_json::json;

use super::*;
use crate::nets::temporal_vae::{self, TemporalDecoder};
use crate::nets::unet::{Levels, Unet, UnetConfig};
use crate::weights::{Configs, Files, Normalisation, SigmaRange, Variant};

/// diffusers' name of a tensor to the original one and how it was held.
fn original(part: Part, name: &str) -> (String, Form) {
    let parts: Vec<&str> = name.split('.').collect();
    match part {
        Part::Unet => (format!("model.diffusion_model.{}", original_unet(&parts)), Form::Plain),
        Part::Vae => original_vae(&parts),
        Part::ImageEncoder => {
            let (key, form) = original_clip(&parts);
            (format!("conditioner.embedders.0.open_clip.model.visual.{key}"), form)
        }
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap()
}

fn original_unet(parts: &[&str]) -> String {
    let index = |linear: &str| if linear == "linear_1" { 0 } else { 2 };
    let of_layer = |kind: &str, rest: &[&str]| match kind {
        "resnets" => original_half(rest),
        _ => match rest {
            ["temporal_transformer_blocks", rest @ ..] => format!("time_stack.{}", rest.join(".")),
            ["time_pos_embed", linear, leaf] => format!("time_pos_embed.{}.{leaf}", index(linear)),
            rest => rest.join("."),
        },
    };
    match parts {
        ["time_embedding", linear, leaf] => format!("time_embed.{}.{leaf}", index(linear)),
        ["add_embedding", linear, leaf] => format!("label_emb.0.{}.{leaf}", index(linear)),
        ["conv_in", leaf] => format!("input_blocks.0.0.{leaf}"),
        ["conv_norm_out", leaf] => format!("out.0.{leaf}"),
        ["conv_out", leaf] => format!("out.2.{leaf}"),
        ["down_blocks", block, "downsamplers", "0", "conv", leaf] => {
            format!("input_blocks.{}.0.op.{leaf}", 3 * number(block) + 3)
        }
        ["down_blocks", block, kind, layer, rest @ ..] => {
            let module = usize::from(*kind == "attentions");
            let entry = 3 * number(block) + number(layer) + 1;
            format!("input_blocks.{entry}.{module}.{}", of_layer(kind, rest))
        }
        ["mid_block", "attentions", "0", rest @ ..] => {
            format!("middle_block.1.{}", of_layer("attentions", rest))
        }
        ["mid_block", "resnets", i, rest @ ..] => {
            format!("middle_block.{}.{}", 2 * number(i), of_layer("resnets", rest))
        }
        ["up_blocks", block, "upsamplers", "0", "conv", leaf] => {
            // behind the transformers, which the first level does not have
            let module = if *block == "0" { 1 } else { 2 };
            format!("output_blocks.{}.{module}.conv.{leaf}", 3 * number(block) + 2)
        }
        ["up_blocks", block, kind, layer, rest @ ..] => {
            let module = usize::from(*kind == "attentions");
            let entry = 3 * number(block) + number(layer);
            format!("output_blocks.{entry}.{module}.{}", of_layer(kind, rest))
        }
        other => panic!("{other:?}"),
    }
}

fn original_half(rest: &[&str]) -> String {
    let [half, module, leaf] = rest else { return rest.join(".") }; // time_mixer.mix_factor
    let module = match *module {
        "norm1" => "in_layers.0",
        "conv1" => "in_layers.2",
        "time_emb_proj" => "emb_layers.1",
        "norm2" => "out_layers.0",
        "conv2" => "out_layers.3",
        "conv_shortcut" => "skip_connection",
        other => panic!("{other}"),
    };
    match *half {
        "spatial_res_block" => format!("{module}.{leaf}"),
        _ => format!("time_stack.{module}.{leaf}"),
    }
}

fn original_vae(parts: &[&str]) -> (String, Form) {
    let temporal = parts[0] == "decoder";
    let prefix = match parts[0] {
        "decoder" => "first_stage_model.decoder.",
        "encoder" => "conditioner.embedders.3.encoder.encoder.",
        _ => return (format!("conditioner.embedders.3.encoder.{}", parts.join(".")), Form::Plain),
    };
    let block = |rest: &[&str]| match rest {
        ["time_mixer", "mix_factor"] => "mix_factor".to_owned(),
        ["temporal_res_block", ..] => original_half(rest),
        ["spatial_res_block", "conv_shortcut", leaf] | ["conv_shortcut", leaf] => {
            format!("nin_shortcut.{leaf}")
        }
        ["spatial_res_block", rest @ ..] => rest.join("."),
        rest => rest.join("."),
    };
    let mut form = Form::Plain;
    let key = match &parts[1..] {
        ["conv_norm_out", leaf] => format!("norm_out.{leaf}"),
        ["time_conv_out", leaf] => format!("conv_out.time_mix_conv.{leaf}"),
        ["mid_block", "resnets", i, rest @ ..] => format!("mid.block_{}.{}", number(i) + 1, block(rest)),
        ["mid_block", "attentions", "0", module, rest @ ..] => {
            let leaf = rest[rest.len() - 1];
            if *module != "group_norm" && leaf == "weight" {
                form = Form::Squeezed;
            }
            let names =
                [("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out", "proj_out")];
            let (_, name) = names.iter().find(|(theirs, _)| theirs == module).unwrap();
            format!("mid.attn_1.{name}.{leaf}")
        }
        ["up_blocks", level, "resnets", i, rest @ ..] => {
            format!("up.{}.block.{i}.{}", 3 - number(level), block(rest))
        }
        ["up_blocks", level, "upsamplers", "0", "conv", leaf] => {
            format!("up.{}.upsample.conv.{leaf}", 3 - number(level))
        }
        ["down_blocks", level, "resnets", i, rest @ ..] => format!("down.{level}.block.{i}.{}", block(rest)),
        ["down_blocks", level, "downsamplers", "0", "conv", leaf] => {
            format!("down.{level}.downsample.conv.{leaf}")
        }
        rest => rest.join("."),
    };
    assert!(temporal || !key.contains("time"), "{parts:?}");
    (format!("{prefix}{key}"), form)
}

fn original_clip(parts: &[&str]) -> (String, Form) {
    let key = match parts {
        ["visual_projection", "weight"] => return ("proj".into(), Form::Transposed),
        [_, "embeddings", "class_embedding"] => "class_embedding".into(),
        [_, "embeddings", "position_embedding", _] => "positional_embedding".into(),
        [_, "embeddings", "patch_embedding", leaf] => format!("conv1.{leaf}"),
        [_, "pre_layrnorm", leaf] => format!("ln_pre.{leaf}"),
        [_, "post_layernorm", leaf] => format!("ln_post.{leaf}"),
        [_, "encoder", "layers", n, rest @ ..] => {
            let rest = match rest {
                ["layer_norm1", leaf] => format!("ln_1.{leaf}"),
                ["layer_norm2", leaf] => format!("ln_2.{leaf}"),
                ["mlp", "fc1", leaf] => format!("mlp.c_fc.{leaf}"),
                ["mlp", "fc2", leaf] => format!("mlp.c_proj.{leaf}"),
                ["self_attn", "out_proj", leaf] => format!("attn.out_proj.{leaf}"),
                ["self_attn", projection, leaf] => {
                    let third = ["q_proj", "k_proj", "v_proj"].iter().position(|p| p == projection).unwrap();
                    return (format!("transformer.resblocks.{n}.attn.in_proj_{leaf}"), Form::Third(third));
                }
                other => panic!("{other:?}"),
            };
            format!("transformer.resblocks.{n}.{rest}")
        }
        other => panic!("{other:?}"),
    };
    (key, Form::Plain)
}

const PARTS: [Part; 3] = [Part::Unet, Part::Vae, Part::ImageEncoder];

#[test]
fn the_names_of_the_published_files_are_reached_each_by_one_tensor() {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/keys");
    for (part, file, count, stored) in [
        (Part::Unet, "svd_unet", 1428, 1428),
        (Part::Vae, "svd_vae", 374, 374),
        (Part::ImageEncoder, "svd_image_encoder", 520, 392), // three tensors in one, twice a layer
    ] {
        let text = std::fs::read_to_string(keys.join(format!("{file}.json"))).unwrap();
        let inventory = Inventory::from_json(&text).unwrap();
        let (mut originals, mut reached) = (BTreeSet::new(), BTreeSet::new());
        for (name, _) in inventory.iter() {
            let (key, form) = original(part, name);
            let Known::Tensors(found) = known(&key) else { panic!("`{key}` of `{name}` is not known") };
            let named = Named { part, name: name.to_owned(), form };
            assert!(found.contains(&named), "`{key}` is {found:?}, not {named:?}");
            originals.insert(key);
        }
        for key in &originals {
            let Known::Tensors(found) = known(key) else { unreachable!("seen above") };
            for Named { name, .. } in found {
                assert!(inventory.iter().any(|(known, _)| known == name), "`{key}` leads to `{name}`");
                assert!(reached.insert(name.clone()), "two tensors are `{name}`");
            }
        }
        assert_eq!((inventory.len(), reached.len(), originals.len()), (count, count, stored), "{file}");
    }
    let of_first_stage = |name: &str| name.replace("conditioner.embedders.3.encoder.", "first_stage_model.");
    let text = std::fs::read_to_string(keys.join("svd_vae.json")).unwrap();
    let inventory = Inventory::from_json(&text).unwrap();
    let spare = inventory.iter().filter(|(name, _)| name.starts_with("encoder.")).filter(|(name, _)| {
        let (key, form) = original(Part::Vae, name);
        let named = Named { part: Part::Vae, name: (*name).to_owned(), form };
        known(&of_first_stage(&key)) == Known::SpareEncoder(named)
    });
    assert_eq!(spare.count(), 106);
}

#[test]
fn other_keys_are_passed_over_or_refused() {
    for key in [
        "conditioner.embedders.0.open_clip.model.token_embedding.weight",
        "conditioner.embedders.0.open_clip.model.logit_scale",
        "conditioner.embedders.3.encoder.decoder.conv_in.weight",
        "conditioner.embedders.3.encoder.post_quant_conv.weight",
        "denoiser.sigmas",
    ] {
        assert_eq!(known(key), Known::Unused, "{key}");
    }
    for key in [
        "model.diffusion_model.input_blocks.3.1.norm.weight", // a level's end has no transformer
        "model.diffusion_model.input_blocks.12.0.in_layers.0.weight",
        "model.diffusion_model.output_blocks.1.1.conv.weight",
        "model.diffusion_model.input_blocks.1.0.in_layers.1.weight",
        "first_stage_model.decoder.up.4.block.0.norm1.weight",
        "first_stage_model.decoder.mid.block_3.norm1.weight",
        "conditioner.embedders.3.encoder.encoder.mid.attn_1.w.weight",
        "conditioner.embedders.0.open_clip.model.visual.transformer.resblocks.x.ln_1.weight",
    ] {
        assert_eq!(known(key), Known::Strange, "{key}");
    }
}

fn tiny() -> Configs {
    Configs {
        unet: UnetConfig {
            block_out_channels: vec![32; 4],
            num_attention_heads: Levels::All(2),
            cross_attention_dim: Levels::All(16),
            addition_time_embed_dim: 8,
            projection_class_embeddings_input_dim: 24,
            ..UnetConfig::img2vid()
        },
        vae: KlVaeConfig { block_out_channels: vec![32; 4], ..temporal_vae::svd() },
        image_encoder: ClipVisionConfig {
            hidden_size: 16,
            intermediate_size: 24,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            patch_size: 4,
            image_size: 8,
            projection_dim: 16,
            ..ClipVisionConfig::vit_h_14()
        },
        preprocessor: Normalisation::CLIP,
        schedule: SigmaRange::SVD,
    }
}

/// What the nets of `tiny` ask for.
fn asked(part: Part) -> Inventory {
    let (outline, configs) = (Outline::new(), tiny());
    match part {
        Part::Unet => drop(Unet::load(&configs.unet, outline.builder()).unwrap()),
        Part::Vae => {
            KlEncoder::load(&configs.vae, outline.builder()).unwrap();
            TemporalDecoder::load(&configs.vae, outline.builder()).unwrap();
        }
        Part::ImageEncoder => {
            drop(ClipVisionWithProjection::load(&configs.image_encoder, outline.builder()).unwrap());
        }
    }
    outline.inventory()
}

fn value(part: Part, name: &str, shape: &[usize]) -> Tensor {
    let seeded = Seeded::new(match part {
        Part::Unet => "unet",
        Part::Vae => "vae",
        Part::ImageEncoder => "image_encoder",
    });
    seeded.tensor(name, shape, DType::F32, &Device::Cpu).unwrap()
}

type Tensors = BTreeMap<String, Tensor>;

fn write(path: &Path, tensors: &Tensors) {
    let bytes: Vec<(&String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(key, tensor)| {
            let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            (key, tensor.dims().to_vec(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(key, shape, bytes)| (key, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// The tensors of the tiny model as the original program holds them.
fn single() -> Tensors {
    let mut tensors = Tensors::new();
    let mut thirds = BTreeMap::<String, [Option<Tensor>; 3]>::new();
    for part in PARTS {
        for (name, shape) in asked(part).iter() {
            let (key, form) = original(part, name);
            let tensor = value(part, name, shape);
            match form {
                Form::Plain => drop(tensors.insert(key, tensor)),
                Form::Squeezed => {
                    drop(tensors.insert(key, tensor.unsqueeze(2).unwrap().unsqueeze(3).unwrap()));
                }
                Form::Transposed => drop(tensors.insert(key, tensor.t().unwrap().contiguous().unwrap())),
                Form::Third(i) => thirds.entry(key).or_default()[i] = Some(tensor),
            }
        }
    }
    for (key, parts) in thirds {
        tensors.insert(key, Tensor::cat(&parts.map(Option::unwrap), 0).unwrap());
    }
    let unused = Tensor::zeros((3, 2), DType::F32, &Device::Cpu).unwrap();
    tensors.insert("conditioner.embedders.0.open_clip.model.text_projection".into(), unused);
    tensors
}

/// The same model in diffusers' layout.
fn folders(at: &Path, ending: &str) -> PathBuf {
    let configs = tiny();
    for (part, folder, stem) in [
        (Part::Unet, "unet", "diffusion_pytorch_model"),
        (Part::Vae, "vae", "diffusion_pytorch_model"),
        (Part::ImageEncoder, "image_encoder", "model"),
    ] {
        let of = |(name, shape): (&str, &[usize])| (name.to_owned(), value(part, name, shape));
        write(&at.join(folder).join(format!("{stem}{ending}")), &asked(part).iter().map(of).collect());
    }
    let (unet, clip) = (&configs.unet, &configs.image_encoder);
    let files = [
        (
            "unet/config.json",
            json!({
                "_class_name": unet.class_name, "in_channels": 8, "out_channels": 4, "down_block_types": unet.down_block_types,
                "up_block_types": unet.up_block_types, "block_out_channels": unet.block_out_channels, "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 24, "layers_per_block": 2, "cross_attention_dim": 16,
                "num_attention_heads": 2, "num_frames": 14
            }),
        ),
        (
            "vae/config.json",
            json!({
                "_class_name": "AutoencoderKLTemporalDecoder", "in_channels": 3, "out_channels": 3, "latent_channels": 4,
                "block_out_channels": configs.vae.block_out_channels, "layers_per_block": 2, "scaling_factor": 0.18215,
                "down_block_types": configs.vae.down_block_types, "force_upcast": true
            }),
        ),
        (
            "image_encoder/config.json",
            json!({
                "hidden_size": clip.hidden_size, "intermediate_size": clip.intermediate_size, "num_hidden_layers": 2,
                "num_attention_heads": 2, "patch_size": 4, "image_size": 8, "projection_dim": 16, "hidden_act": "gelu"
            }),
        ),
        (
            "scheduler/scheduler_config.json",
            json!({
                "_class_name": "EulerDiscreteScheduler", "prediction_type": "v_prediction", "timestep_type": "continuous",
                "use_karras_sigmas": true, "sigma_min": 0.002, "sigma_max": 700.0
            }),
        ),
        (
            "feature_extractor/preprocessor_config.json",
            json!({ "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "do_resize": true }),
        ),
    ];
    for (name, config) in files {
        let path = at.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, config.to_string()).unwrap();
    }
    at.to_owned()
}

fn weights(files: &Files, part: Part, dtype: DType) -> VarBuilder<'static> {
    match part {
        Part::Unet => files.unet(dtype, &Device::Cpu).unwrap().weights,
        Part::Vae => files.vae(dtype, &Device::Cpu).unwrap().weights,
        Part::ImageEncoder => files.image_encoder(dtype, &Device::Cpu).unwrap().weights,
    }
}

fn values(vb: &VarBuilder, name: &str, shape: &[usize]) -> Vec<f32> {
    let tensor = vb.get(shape, name).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(tensor.dims(), shape, "{name}");
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_single_file_holds_what_the_folders_hold() {
    let at = tempfile::tempdir().unwrap();
    let (one, many) =
        (at.path().join("svd_xt.safetensors"), folders(&at.path().join("many"), ".safetensors"));
    write(&one, &single());
    let one = Files::single(&one, tiny()).unwrap();
    let many = Files::diffusers(&many, Variant::Fp16).unwrap(); // which is not there, so that the other is taken
    assert_eq!(many.configs().unet, tiny().unet);
    assert_eq!(many.configs().schedule, SigmaRange::SVD);
    for part in PARTS {
        for dtype in [DType::F32, DType::BF16] {
            let (one, many) = (weights(&one, part, dtype), weights(&many, part, dtype));
            for (name, shape) in asked(part).iter() {
                let got = values(&one, name, shape);
                assert_eq!(got, values(&many, name, shape), "{name}");
                if dtype == DType::F32 {
                    let want = value(part, name, shape).flatten_all().unwrap().to_vec1::<f32>().unwrap();
                    assert_eq!(got, want, "{name}");
                }
            }
        }
    }
    // and the nets come out of it
    let opened = one.unet(DType::F32, &Device::Cpu).unwrap();
    Unet::load(&opened.config, opened.weights).unwrap();
}

#[test]
fn the_spare_encoder_serves_where_there_is_no_other() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("svd.safetensors");
    let spare = |key: &String| key.replace("conditioner.embedders.3.encoder.", "first_stage_model.");
    let own = single();
    let moved: Tensors = own
        .iter()
        .filter(|(key, _)| !key.contains("quant_conv"))
        .map(|(key, tensor)| (spare(key), tensor.clone()))
        .collect();
    write(&path, &moved);
    let vb = Files::single(&path, tiny()).unwrap().vae(DType::F32, &Device::Cpu).unwrap().weights;
    let conv = vb.get((8, 8, 1, 1), "quant_conv.weight").unwrap();
    assert_eq!(conv.i((3, 3, 0, 0)).unwrap().to_scalar::<f32>().unwrap(), 1.0);
    assert_eq!(conv.sum_all().unwrap().to_scalar::<f32>().unwrap(), 8.0);
    assert_eq!(values(&vb, "quant_conv.bias", &[8]), [0.0; 8]);
    let want = value(Part::Vae, "encoder.conv_in.weight", &[32, 3, 3, 3]);
    let want = want.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values(&vb, "encoder.conv_in.weight", &[32, 3, 3, 3]), want);
    // where both are, the one that made the condition in the training is taken
    let mut both = own.clone();
    both.extend(moved.into_iter().map(|(key, tensor)| {
        let other = key.starts_with("first_stage_model.encoder.");
        (key, if other { (tensor * 2.0).unwrap() } else { tensor })
    }));
    write(&path, &both);
    let vb = Files::single(&path, tiny()).unwrap().vae(DType::F32, &Device::Cpu).unwrap().weights;
    assert_eq!(values(&vb, "encoder.conv_in.weight", &[32, 3, 3, 3]), want);
}

#[test]
fn what_is_not_the_model_is_refused_by_name() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("svd.safetensors");
    let said = |tensors: &Tensors| {
        write(&path, tensors);
        let files = Files::single(&path, tiny()).unwrap();
        files.unet(DType::F32, &Device::Cpu).map(drop).unwrap_err().to_string()
    };
    let own = single();
    let key = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_q.weight";
    let mut missing = own.clone();
    missing.remove(key);
    let error = said(&missing);
    assert!(
        error.contains("`down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q.weight` is missing"),
        "{error}"
    );
    // without an effect, but not of this net
    let mut wrong = own.clone();
    wrong.insert(key.into(), Tensor::zeros((32, 16), DType::F32, &Device::Cpu).unwrap());
    let error = said(&wrong);
    assert!(error.contains("attn2.to_q.weight` is [32, 16], expected [32, 32]"), "{error}");
    let mut strange = own.clone();
    strange.insert("model.diffusion_model.extra.weight".into(), own[key].clone());
    let error = said(&strange);
    assert!(error.contains("`model.diffusion_model.extra.weight` is in it"), "{error}");
    assert!(Files::single(&at.path().join("none.safetensors"), tiny()).is_err());
    let three = Configs { vae: KlVaeConfig { layers_per_block: 1, ..tiny().vae }, ..tiny() };
    assert!(Files::single(&path, three).unwrap_err().to_string().contains("4 levels of 2 layers"));
}

#[test]
fn folders_that_are_not_the_model_are_refused_by_name() {
    let at = tempfile::tempdir().unwrap();
    let folder = folders(at.path(), ".fp16.safetensors");
    let error = |what: &str| {
        let error = Files::diffusers(&folder, Variant::Full).map(drop).unwrap_err().to_string();
        assert!(error.contains(what), "{error}, not {what}");
    };
    let files = Files::diffusers(&folder, Variant::Full).unwrap(); // only the other one is there
    assert!(files.of_weights()[0].path.ends_with("unet/diffusion_pytorch_model.fp16.safetensors"));
    std::fs::copy(files.of_weights()[0].path, folder.join("unet/diffusion_pytorch_model.safetensors"))
        .unwrap();
    let both = |variant| Files::diffusers(&folder, variant).unwrap().of_weights()[0].path.to_owned();
    assert!(both(Variant::Full).ends_with("diffusion_pytorch_model.safetensors"));
    assert!(both(Variant::Fp16).ends_with("diffusion_pytorch_model.fp16.safetensors"));
    let change = |name: &str, key: &str, value: serde_json::Value| {
        let path = folder.join(name);
        let before = std::fs::read(&path).unwrap();
        let mut config: serde_json::Value = serde_json::from_slice(&before).unwrap();
        config[key] = value;
        std::fs::write(&path, config.to_string()).unwrap();
        move || std::fs::write(&path, before).unwrap()
    };
    for (name, key, value, what) in [
        ("scheduler/scheduler_config.json", "use_karras_sigmas", json!(false), "use_karras_sigmas is false"),
        ("feature_extractor/preprocessor_config.json", "image_std", json!([1, 0, 1]), "image_std is"),
        ("vae/config.json", "_class_name", json!("AutoencoderKL"), "_class_name is AutoencoderKL"),
        ("unet/config.json", "in_channels", json!("eight"), "the config of SVD's UNet"),
        ("unet/config.json", "cross_attention_dim", json!(20), "cross_attention_dim is All(20)"),
        ("unet/config.json", "num_attention_heads", json!(3), "num_attention_heads has 3"),
    ] {
        let back = change(name, key, value);
        error(what);
        back();
    }
    let preprocessor = || Files::diffusers(&folder, Variant::Full).unwrap().configs().preprocessor;
    assert_eq!(preprocessor(), Normalisation { mean: [0.5; 3], std: [0.25; 3] });
    std::fs::remove_file(folder.join("feature_extractor/preprocessor_config.json")).unwrap();
    assert_eq!(preprocessor(), Normalisation::CLIP);
    // a net of other widths than its weights
    let back = change("unet/config.json", "block_out_channels", json!([32, 32, 32, 64]));
    let files = Files::diffusers(&folder, Variant::Full).unwrap();
    let said = files.unet(DType::F32, &Device::Cpu).map(drop).unwrap_err().to_string();
    assert!(said.contains("is not the UNet of its config.json"), "{said}");
    back();
    std::fs::remove_file(folder.join("image_encoder/model.fp16.safetensors")).unwrap();
    error("image_encoder/model.safetensors, nor");
    std::fs::remove_file(folder.join("scheduler/scheduler_config.json")).unwrap();
    error("there is no");
}

#[test]
fn a_name_tells_the_frames() {
    assert_eq!(Configs::named(Path::new("/x/svd_xt.safetensors")).unet.num_frames, 25);
    assert_eq!(Configs::named(Path::new("/xt/svd.safetensors")).unet.num_frames, 14);
}
