//! The official layout, as `talkie models seed --scale tiny` writes it: found, opened and read; and every way in which it can be wrong, refused
//! with the file's name.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use contract::{Complaint, Stop};
use engine_infinitetalk::weights::{
    BadWeights, Base, DitFiles, Files, Form, Lora, Named, Persons, Quantised, Rules, Umt5Files, Wish,
};
use golden::Seeded;
use models::{Catalogue, Scale, seed};
use tempfile::TempDir;

/// A seeded model in a folder of its own.
struct Model {
    folder: TempDir,
}

impl Model {
    fn tiny() -> Self {
        Self::of(&["infinitetalk"])
    }

    fn of(sets: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::built_in();
        let names: Vec<String> = sets.iter().map(|&name| name.to_owned()).collect();
        let selection = catalogue.select_smaller(&names).unwrap();
        seed(&selection.files, ("public", Scale::Tiny), folder.path(), &Stop::new(), &mut |_| {}).unwrap();
        Self { folder }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn base(&self, name: &str) -> PathBuf {
        self.at("Wan2.1-I2V-14B-480P").join(name)
    }

    fn shard(&self, number: usize) -> PathBuf {
        self.base(&format!("diffusion_pytorch_model-{number:05}-of-00007.safetensors"))
    }

    fn index(&self) -> PathBuf {
        self.base("diffusion_pytorch_model.safetensors.index.json")
    }

    fn wish(&self) -> Wish {
        Wish {
            ckpt_dir: Named::new(self.at("Wan2.1-I2V-14B-480P"), "--ckpt_dir"),
            infinitetalk_dir: Some(Named::new(self.at("InfiniteTalk"), "--infinitetalk_dir")),
            persons: Persons::One,
            wav2vec_dir: Some(Named::new(self.at("chinese-wav2vec2-base"), "--wav2vec_dir")),
            dit_path: None,
            quant_dir: None,
            loras: Vec::new(),
            lora_rules: Rules::AsWritten,
        }
    }

    fn find(&self) -> Result<Files, BadWeights> {
        Files::find(&self.wish())
    }

    /// Why the DiT cannot be opened.
    fn refused(&self) -> String {
        said(self.find().and_then(|files| files.dit(&form()).map(drop)))
    }
}

/// What a user is told; it names what to do.
fn said<T>(refused: Result<T, BadWeights>) -> String {
    let complaint = Complaint::from(refused.map(drop).expect_err("it was taken"));
    assert!(!complaint.hint.is_empty(), "{complaint}");
    complaint.message
}

fn form() -> Form {
    Form { dtype: DType::F32, device: Device::Cpu, quantised: Quantised::Widened }
}

/// A tensor of an opened net is the seeded one, rounded as it is stored.
fn is_seeded(vb: &VarBuilder, key: &str, shape: &[usize], stored: DType) {
    let want = Seeded::new("public").tensor(key, shape, stored, &Device::Cpu).unwrap();
    let have = vb.get(shape, key).unwrap();
    let values = |t: Tensor| t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values(have), values(want), "{key}");
}

#[test]
fn a_seeded_model_opens_as_the_released_one_would() {
    let model = Model::tiny();
    let files = model.find().unwrap();
    let DitFiles::Plain { base: Base::Indexed { shards, .. }, audio: Some(audio) } = &files.dit else {
        panic!("{:?}", files.dit)
    };
    assert_eq!(shards.len(), 7);
    assert!(audio.ends_with("single/infinitetalk.safetensors"));
    let parts: Vec<&str> = files.of_weights().iter().map(|file| file.part).collect();
    assert_eq!(parts[7..], ["audio", "umt5", "clip", "vae", "wav2vec2"]);
    assert!(
        files.tokenizer.join("tokenizer.json").is_file() && files.tokenizer.join("spiece.model").is_file()
    );

    let dit = files.dit(&form()).unwrap();
    assert_eq!((dit.config.dim, dit.config.num_layers, dit.config.context_tokens), (256, 2, 8));
    is_seeded(&dit.weights, "blocks.1.self_attn.q.weight", &[256, 256], DType::F32);
    is_seeded(&dit.weights, "audio_proj.proj2.weight", &[16, 16], DType::F32);
    let umt5 = files.umt5(&form()).unwrap();
    assert_eq!((umt5.config.encoder_layers, umt5.config.num_heads, umt5.config.dim_ffn), (2, 4, 160));
    assert_eq!(umt5.config.dim, dit.config.text_dim);
    is_seeded(&umt5.weights, "token_embedding.weight", &[600, 64], DType::BF16);
    let clip = files.clip(&form()).unwrap();
    assert_eq!(
        (clip.config.num_hidden_layers, clip.config.num_attention_heads, clip.config.image_size),
        (2, 16, 224)
    );
    is_seeded(&clip.weights, "visual.pos_embedding", &[1, 257, 1280], DType::F16);
    let vae = files.vae(&form()).unwrap();
    assert_eq!(vae.config.dim, 8);
    is_seeded(&vae.weights, "decoder.conv1.weight", &[32, 16, 3, 3, 3], DType::F32);
    let wav2vec = files.wav2vec.as_ref().unwrap().open(&form()).unwrap();
    assert_eq!(wav2vec.config.conv_dim, [32; 7]);
    is_seeded(&wav2vec.weights, "wav2vec2.feature_projection.layer_norm.weight", &[32], DType::F16);
    // one that hears something else
    let preprocessor = model.at("chinese-wav2vec2-base/preprocessor_config.json");
    for (text, said) in [
        ("{}", "do_normalize is true"),
        (r#"{"do_normalize": false, "sampling_rate": 8000}"#, "sampling_rate is 8000, only 16000"),
        ("[", "preprocessor_config.json is not"),
    ] {
        std::fs::write(&preprocessor, text).unwrap();
        let error = files.wav2vec.as_ref().unwrap().open(&form()).map(drop).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn the_other_person_the_base_alone_and_shards_without_an_index() {
    let model = Model::tiny();
    let two = Files::find(&Wish { persons: Persons::Two, ..model.wish() }).unwrap();
    assert!(
        matches!(&two.dit, DitFiles::Plain { audio: Some(path), .. } if path.ends_with("multi/infinitetalk.safetensors"))
    );
    let file = Named::new(model.at("InfiniteTalk/multi/infinitetalk.safetensors"), "--infinitetalk_dir");
    let named = Files::find(&Wish { infinitetalk_dir: Some(file), ..model.wish() }).unwrap();
    assert_eq!(named.dit, two.dit);

    let alone = Files::find(&Wish { infinitetalk_dir: None, wav2vec_dir: None, ..model.wish() }).unwrap();
    let dit = alone.dit(&form()).unwrap();
    assert!(!dit.weights.contains_tensor("audio_proj.norm.weight"));
    is_seeded(&dit.weights, "head.head.bias", &[64], DType::F32);

    std::fs::remove_file(model.index()).unwrap();
    let files = model.find().unwrap();
    assert!(
        matches!(&files.dit, DitFiles::Plain { base: Base::Shards { shards, .. }, .. } if shards.len() == 7)
    );
    is_seeded(&files.dit(&form()).unwrap().weights, "head.head.bias", &[64], DType::F32);
    std::fs::remove_file(model.shard(5)).unwrap();
    let message = model.refused();
    assert!(message.starts_with("--ckpt_dir leads to") && message.contains("00005-of-00007"), "{message}");
}

#[test]
fn shards_that_are_missing_cut_off_or_mixed_up_are_refused() {
    let model = Model::tiny();
    let whole = std::fs::read(model.shard(3)).unwrap();
    let index = std::fs::read_to_string(model.index()).unwrap();
    assert!(model.find().unwrap().dit(&form()).is_ok());

    std::fs::remove_file(model.shard(3)).unwrap();
    let message = model.refused();
    assert!(message.contains("00003-of-00007") && message.contains("index.json names"), "{message}");

    std::fs::write(model.shard(3), &whole[..whole.len() - 4]).unwrap();
    let message = model.refused();
    assert!(message.contains("00003-of-00007") && message.contains("damaged"), "{message}");

    std::fs::copy(model.shard(4), model.shard(3)).unwrap();
    let message = model.refused();
    assert!(message.contains("lies in diffusion_pytorch_model-00003-of-00007"), "{message}");

    std::fs::copy(model.base("../InfiniteTalk/single/infinitetalk.safetensors"), model.shard(3)).unwrap();
    let message = model.refused();
    assert!(
        message.contains("00003-of-00007") && message.contains("which the index does not name"),
        "{message}"
    );

    std::fs::write(model.shard(3), &whole).unwrap();
    std::fs::write(model.index(), index.replace("00003-of", "00013-of")).unwrap();
    let message = model.refused();
    assert!(message.contains("00013-of-00007") && message.contains("no such file"), "{message}");

    std::fs::write(model.index(), index.replace("blocks.0.ffn.0.bias", "blocks.0.ffn.9.bias")).unwrap();
    let message = model.refused();
    assert!(message.contains("ffn.0.bias") || message.contains("ffn.9.bias"), "{message}");

    std::fs::write(model.index(), &index[..index.len() / 2]).unwrap();
    assert!(model.refused().contains("is not an index of shards"));
}

#[test]
fn a_file_of_another_model_is_refused_with_the_first_difference() {
    let model = Model::tiny();
    let config = std::fs::read_to_string(model.base("config.json")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(config.contains(from), "{from}");
        std::fs::write(model.base("config.json"), config.replace(from, to)).unwrap();
        model.refused()
    };
    let message = with("\"ffn_dim\": 512", "\"ffn_dim\": 640");
    assert!(message.contains("`blocks.0.ffn.0.weight` is [512, 256], expected [640, 256]"), "{message}");
    assert!(message.contains("-of-00007.safetensors is not"), "{message}");
    let message = with("\"num_layers\": 2", "\"num_layers\": 3");
    assert!(message.contains("`blocks.2.") && message.contains("is missing"), "{message}");
    let message = with("\"num_layers\": 2", "\"num_layers\": 1");
    assert!(message.contains("`blocks.1.") && message.contains("but not in"), "{message}");
    assert!(with("\"num_heads\": 2", "\"num_heads\": 3").contains("num_heads 3"));
    assert!(with("{", "[").contains("config.json is not"));
    std::fs::write(model.base("config.json"), &config).unwrap();

    // umT5 in the place of CLIP, the VAE in the place of umT5
    let (umt5, clip, vae) = (
        model.base("models_t5_umt5-xxl-enc-bf16.pth"),
        model.base("models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"),
        model.base("Wan2.1_VAE.pth"),
    );
    std::fs::copy(&umt5, &clip).unwrap();
    std::fs::copy(&vae, &umt5).unwrap();
    let files = model.find().unwrap();
    let message = said(files.clip(&form()).map(drop));
    assert!(
        message.contains("vit-huge-14.pth is not CLIP's vision tower: `visual.cls_embedding` is missing"),
        "{message}"
    );
    let message = said(files.umt5(&form()).map(drop));
    assert!(message.contains("`token_embedding.weight` is missing"), "{message}");
    let half = std::fs::read(&vae).unwrap();
    std::fs::write(&vae, &half[..half.len() / 2]).unwrap();
    assert!(said(files.vae(&form()).map(drop)).contains("Wan2.1_VAE.pth"));
    std::fs::remove_file(&vae).unwrap();
    let message = said(model.find());
    assert!(message.contains("--ckpt_dir leads to") && message.contains("Wan2.1_VAE.pth"), "{message}");
}

#[test]
fn a_path_that_is_wrong_is_named_with_its_flag() {
    let model = Model::tiny();
    let nowhere = |by: &str| Named::new(model.at("nowhere"), by);
    for (wish, by) in [
        (Wish { ckpt_dir: nowhere("CKPT_DIR"), ..model.wish() }, "CKPT_DIR leads to"),
        (
            Wish { infinitetalk_dir: Some(nowhere("INFINITETALK_DIR")), ..model.wish() },
            "INFINITETALK_DIR leads to",
        ),
        (Wish { wav2vec_dir: Some(nowhere("WAV2VEC_DIR")), ..model.wish() }, "WAV2VEC_DIR leads to"),
        (Wish { dit_path: Some(nowhere("--dit_path")), ..model.wish() }, "--dit_path leads to"),
        (Wish { quant_dir: Some(nowhere("--quant_dir")), ..model.wish() }, "--quant_dir leads to"),
        (
            Wish { loras: vec![Lora { path: model.at("nowhere"), scale: 1.0 }], ..model.wish() },
            "the LoRA leads to",
        ),
    ] {
        let message = said(Files::find(&wish));
        assert!(message.starts_with(by) && message.contains("nowhere"), "{message}");
    }
}

fn goldens(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/infinitetalk").join(name)
}

#[test]
fn a_quantised_model_is_whole_by_itself() {
    for (kind, step) in [("int8", 1.0 / 254.0), ("fp8", 1.0 / 16.0)] {
        // without the base's shards, as it is fetched
        let model = Model::of(&[&format!("infinitetalk-{kind}")]);
        assert!(!model.index().exists());
        let file = format!("InfiniteTalk/quant_models/infinitetalk_single_{kind}.safetensors");
        let quant_dir = Some(Named::new(model.at(&file), "--quant_dir"));
        let wish = Wish { infinitetalk_dir: None, quant_dir, ..model.wish() };
        let files = Files::find(&wish).unwrap();
        assert_eq!(matches!(files.umt5, Umt5Files::Quantised(_)), kind == "fp8");
        assert_eq!(files.warnings.len(), usize::from(kind == "int8"), "{:?}", files.warnings);
        let (key, shape) = ("blocks.1.ffn.2.weight", [256, 512]);
        let plain = Seeded::new("public").tensor(key, &shape, DType::F32, &Device::Cpu).unwrap();
        let peak = plain.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        let dit = files.dit(&form()).unwrap();
        let error =
            (dit.weights.get(&shape, key).unwrap() - &plain).unwrap().abs().unwrap().max_all().unwrap();
        let error = error.to_scalar::<f32>().unwrap() / peak;
        assert!(error > 0.1 * step && error < 1.01 * step, "{kind}: {error} of the peak");
        is_seeded(&dit.weights, "patch_embedding.weight", &[256, 36, 1, 2, 2], DType::F32);
        let kept = files.dit(&Form { quantised: Quantised::Kept, ..form() }).unwrap();
        assert_eq!(kept.weights.contains_tensor("blocks.1.ffn.2.weight._data"), kind == "int8");
        assert_eq!(files.umt5(&form()).unwrap().config.encoder_layers, 2);

        let folder = model.at("InfiniteTalk/quant_models");
        let map = folder.join(format!("infinitetalk_single_{kind}.json"));
        let text = std::fs::read_to_string(&map).unwrap();
        std::fs::write(&map, text.replace("head.head", "head.tail")).unwrap();
        let message = said(files.dit(&form()).map(drop));
        assert!(
            message.contains(&format!("{kind}.json names `head.tail`, but the file has no")),
            "{message}"
        );
        std::fs::remove_file(&map).unwrap();
        let message = said(Files::find(&wish));
        assert!(
            message.contains("--quant_dir leads to") && message.contains(&format!("{kind}.json")),
            "{message}"
        );
    }
}

#[test]
fn some_layers_are_no_model_and_umt5_in_int8_is_taken_where_it_lies() {
    let model = Model::tiny();
    let quant_dir =
        Some(Named::new(goldens("quanto_int8/infinitetalk_tiny_int8.safetensors"), "--quant_dir"));
    let files = Files::find(&Wish { quant_dir, ..model.wish() }).unwrap();
    let umt5 = files.umt5(&Form { quantised: Quantised::Kept, ..form() }).unwrap();
    assert_eq!(umt5.config.vocab_size, 96);
    assert!(umt5.weights.contains_tensor("blocks.0.attn.q.weight._data"));
    let message = said(files.dit(&form()).map(drop));
    assert!(
        message.contains("tiny_int8.safetensors is not the DiT") && message.contains("is missing"),
        "{message}"
    );
}

#[test]
fn a_lora_is_merged_into_the_model_it_was_made_for() {
    let model = Model::tiny();
    let lora = |name: &str| Wish {
        loras: vec![Lora { path: goldens("lora_peft").join(name), scale: 1.0 }],
        ..model.wish()
    };
    let dit = Files::find(&lora("kohya_underscore.safetensors")).unwrap().dit(&form()).unwrap();
    let (key, shape) = ("blocks.0.self_attn.q.weight", [256, 256]);
    let plain = Seeded::new("public").tensor(key, &shape, DType::F32, &Device::Cpu).unwrap();
    let change = (dit.weights.get(&shape, key).unwrap() - plain).unwrap().sqr().unwrap().sum_all().unwrap();
    assert!(change.to_scalar::<f32>().unwrap() > 1e-3);
    is_seeded(&dit.weights, "blocks.1.self_attn.q.weight", &shape, DType::F32);
    let other = lora("../../musetalk/whisper_encoder.safetensors");
    let message = said(Files::find(&other).and_then(|files| files.dit(&form()).map(drop)));
    assert!(message.contains("whisper_encoder.safetensors is no LoRA for this model"), "{message}");
}
