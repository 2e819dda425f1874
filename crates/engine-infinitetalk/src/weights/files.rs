//! Where InfiniteTalk's files lie: the folders of the official program, each named by a flag or a variable, to the files of each net.
//! Only names are looked at here; what is in a file is checked when it is opened.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use contract::Warning;
use serde::Deserialize;

use super::error::BadWeights;
use super::lora::{Lora, Rules};

const STEM: &str = "diffusion_pytorch_model";
const INDEX: &str = "diffusion_pytorch_model.safetensors.index.json";
const UMT5: &str = "models_t5_umt5-xxl-enc-bf16.pth";
const CLIP: &str = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth";
const VAE: &str = "Wan2.1_VAE.pth";
const TOKENIZER: &str = "google/umt5-xxl";

/// A path, and the flag or variable that named it.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    pub path: PathBuf,
    pub by: String,
}

impl Named {
    pub fn new(path: impl Into<PathBuf>, by: impl Into<String>) -> Self {
        Self { path: path.into(), by: by.into() }
    }

    /// A file in the folder.
    fn file(&self, name: &str) -> Result<PathBuf, BadWeights> {
        self.is_file(self.path.join(name))
    }

    fn is_file(&self, path: PathBuf) -> Result<PathBuf, BadWeights> {
        if path.is_file() {
            return Ok(path);
        }
        let why = if path.exists() { "which is no file" } else { "and there is no such file" };
        Err(self.no(path, why))
    }

    fn no(&self, path: PathBuf, why: impl Into<String>) -> BadWeights {
        BadWeights::NotThere { by: self.by.clone(), path, why: why.into() }
    }
}

/// Whose audio modules, where `infinitetalk_dir` names a folder that has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persons {
    One,
    Two,
}

impl Persons {
    fn folder(self) -> &'static str {
        match self {
            Self::One => "single",
            Self::Two => "multi",
        }
    }
}

/// The paths of the official command line.
#[derive(Clone, Debug)]
pub struct Wish {
    /// `Wan2.1-I2V-14B-480P`
    pub ckpt_dir: Named,
    /// `infinitetalk.safetensors`, or `InfiniteTalk` with `single/` and `multi/`. Without it: Wan alone.
    pub infinitetalk_dir: Option<Named>,
    pub persons: Persons,
    /// `chinese-wav2vec2-base`
    pub wav2vec_dir: Option<Named>,
    /// One file in place of the base's shards.
    pub dit_path: Option<Named>,
    /// A quantised DiT in place of base and audio modules; umT5 is looked for beside it.
    pub quant_dir: Option<Named>,
    pub loras: Vec<Lora>,
    pub lora_rules: Rules,
}

/// Weights of optimum-quanto, and the map that names their layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    pub weights: PathBuf,
    pub map: PathBuf,
}

/// The base of the DiT.
#[derive(Clone, Debug, PartialEq)]
pub enum Base {
    /// Shards, as their index names them.
    Indexed {
        index: PathBuf,
        shards: Vec<PathBuf>,
    },
    /// Shards by the official names, without an index.
    Shards {
        folder: PathBuf,
        shards: Vec<PathBuf>,
    },
    One(PathBuf),
}

#[derive(Clone, Debug, PartialEq)]
pub enum DitFiles {
    /// The audio modules lie over the base; Wan alone has none.
    Plain {
        base: Base,
        audio: Option<PathBuf>,
    },
    Quantised(Pair),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Umt5Files {
    Plain(PathBuf),
    Quantised(Pair),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Wav2VecFiles {
    pub config: PathBuf,
    pub preprocessor: PathBuf,
    pub weights: PathBuf,
}

/// Every file there is to a model.
#[derive(Clone, Debug)]
pub struct Files {
    /// The DiT's `config.json`.
    pub config: PathBuf,
    pub dit: DitFiles,
    pub umt5: Umt5Files,
    /// `google/umt5-xxl`, with `tokenizer.json`.
    pub tokenizer: PathBuf,
    pub clip: PathBuf,
    pub vae: PathBuf,
    pub wav2vec: Option<Wav2VecFiles>,
    pub loras: Vec<Lora>,
    pub lora_rules: Rules,
    pub warnings: Vec<Warning>,
}

/// A file of weights, for a report.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightsFile<'a> {
    /// `dit`, `audio`, `umt5`, `clip`, `vae`, `wav2vec2`, `lora`
    pub part: &'static str,
    pub path: &'a Path,
}

impl Files {
    pub fn find(wish: &Wish) -> Result<Self, BadWeights> {
        let base = &wish.ckpt_dir;
        if !base.path.is_dir() {
            return Err(base.no(base.path.clone(), "and there is no such folder"));
        }
        let mut warnings = Vec::new();
        let pair = wish.quant_dir.as_ref().map(pair).transpose()?;
        let (dit, umt5) = match pair {
            Some(dit) => {
                let (umt5, warning) = umt5_beside(&dit, base)?;
                warnings.extend(warning);
                (DitFiles::Quantised(dit), umt5)
            }
            None => {
                let audio =
                    wish.infinitetalk_dir.as_ref().map(|named| audio(named, wish.persons)).transpose()?;
                let base_files = match &wish.dit_path {
                    Some(one) => Base::One(one.is_file(one.path.clone())?),
                    None => find_base(base)?,
                };
                (DitFiles::Plain { base: base_files, audio }, Umt5Files::Plain(base.file(UMT5)?))
            }
        };
        warnings.extend(if wish.persons == Persons::Two { of_one(&dit) } else { None });
        base.file(&format!("{TOKENIZER}/tokenizer.json"))?;
        let lora = |lora: &Lora| {
            let path = Named::new(&lora.path, "the LoRA").is_file(lora.file())?;
            Ok(Lora { path, scale: lora.scale })
        };
        Ok(Self {
            config: base.file("config.json")?,
            dit,
            umt5,
            tokenizer: base.path.join(TOKENIZER),
            clip: base.file(CLIP)?,
            vae: base.file(VAE)?,
            wav2vec: wish.wav2vec_dir.as_ref().map(wav2vec).transpose()?,
            loras: wish.loras.iter().map(lora).collect::<Result<_, BadWeights>>()?,
            lora_rules: wish.lora_rules,
            warnings,
        })
    }

    /// The files that hold weights, in the order in which the official program opens them.
    pub fn of_weights(&self) -> Vec<WeightsFile<'_>> {
        let mut all = Vec::new();
        let mut add = |part, path| all.push(WeightsFile { part, path });
        match &self.dit {
            DitFiles::Quantised(pair) => add("dit", pair.weights.as_path()),
            DitFiles::Plain { base, audio } => {
                match base {
                    Base::Indexed { shards, .. } | Base::Shards { shards, .. } => {
                        shards.iter().for_each(|shard| add("dit", shard));
                    }
                    Base::One(path) => add("dit", path),
                }
                audio.iter().for_each(|path| add("audio", path));
            }
        }
        match &self.umt5 {
            Umt5Files::Plain(path) | Umt5Files::Quantised(Pair { weights: path, .. }) => add("umt5", path),
        }
        add("clip", &self.clip);
        add("vae", &self.vae);
        self.wav2vec.iter().for_each(|files| add("wav2vec2", &files.weights));
        self.loras.iter().for_each(|lora| add("lora", &lora.path));
        all
    }
}

/// Where a file was named for both: weights for one person and for two have the same keys and shapes, only their names tell them apart.
fn of_one(dit: &DitFiles) -> Option<Warning> {
    let path = match dit {
        DitFiles::Quantised(pair) => &pair.weights,
        DitFiles::Plain { audio, .. } => audio.as_ref()?,
    };
    let mut names = path.iter().rev().take(2).map(|name| name.to_string_lossy());
    let message = format!(
        "two persons are to speak by {}, whose name does not say `multi`: weights trained for one cannot tell two apart",
        path.display()
    );
    (!names.any(|name| name.contains("multi"))).then(|| Warning::new("weights_of_one_person", message))
}

/// A quantised checkpoint and its map, which has the same name with another ending.
fn pair(named: &Named) -> Result<Pair, BadWeights> {
    let weights = named.is_file(named.path.clone())?;
    if weights.extension().is_none_or(|ending| ending != "safetensors") {
        return Err(named.no(weights, "which is no .safetensors"));
    }
    let map = named.is_file(weights.with_extension("json"))?;
    Ok(Pair { weights, map })
}

/// `t5_int8` or `t5_fp8` beside the DiT, by the DiT's own kind; the released int8 one was missing for long, so without it the base's is used.
fn umt5_beside(dit: &Pair, base: &Named) -> Result<(Umt5Files, Option<Warning>), BadWeights> {
    let kind = super::quanto::kind_of(&dit.map)?.name();
    let weights = dit.weights.with_file_name(format!("t5_{kind}.safetensors"));
    let map = dit.weights.with_file_name(format!("t5_map_{kind}.json"));
    if weights.is_file() && map.is_file() {
        return Ok((Umt5Files::Quantised(Pair { weights, map }), None));
    }
    let plain = base.file(UMT5)?;
    let absent = if weights.is_file() { &map } else { &weights };
    let message = format!("there is no {}: umT5 is taken from {}", absent.display(), plain.display());
    Ok((Umt5Files::Plain(plain), Some(Warning::new("umt5_not_quantised", message))))
}

fn audio(named: &Named, persons: Persons) -> Result<PathBuf, BadWeights> {
    if !named.path.is_dir() {
        return named.is_file(named.path.clone());
    }
    let inside = named.path.join("infinitetalk.safetensors"); // the folder of one of the two
    if inside.is_file() {
        Ok(inside)
    } else {
        named.file(&format!("{}/infinitetalk.safetensors", persons.folder()))
    }
}

fn wav2vec(named: &Named) -> Result<Wav2VecFiles, BadWeights> {
    let newer = named.path.join("model.safetensors");
    Ok(Wav2VecFiles {
        config: named.file("config.json")?,
        preprocessor: named.file("preprocessor_config.json")?,
        weights: if newer.is_file() { newer } else { named.file("pytorch_model.bin")? },
    })
}

/// The index, the shards by name, or one file.
fn find_base(named: &Named) -> Result<Base, BadWeights> {
    let folder = &named.path;
    let index = folder.join(INDEX);
    if index.is_file() {
        let shards = indexed(&index)?;
        let shards = shards
            .iter()
            .map(|name| named.is_file(folder.join(name)).map_err(|error| by_index(error, &index)));
        return Ok(Base::Indexed { shards: shards.collect::<Result<_, _>>()?, index });
    }
    let one = folder.join(format!("{STEM}.safetensors"));
    if one.is_file() {
        return Ok(Base::One(one));
    }
    let total = shard_total(folder).unwrap_or(7); // of the released model, to name what is missing
    let shard = |number| named.file(&format!("{STEM}-{number:05}-of-{total:05}.safetensors"));
    Ok(Base::Shards { folder: folder.clone(), shards: (1..=total).map(shard).collect::<Result<_, _>>()? })
}

fn by_index(error: BadWeights, index: &Path) -> BadWeights {
    match error {
        BadWeights::NotThere { by, path, why } => {
            BadWeights::NotThere { by, path, why: format!("{why}, which {} names", index.display()) }
        }
        other => other,
    }
}

/// The files that an index names, each once.
fn indexed(index: &Path) -> Result<BTreeSet<String>, BadWeights> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let wrong = |why: String| BadWeights::NotThat { path: index.to_owned(), what: "an index of shards", why };
    let text = std::fs::read(index).map_err(|error| wrong(error.to_string()))?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    match index.weight_map.values().find(|name| name.contains('/') || *name == "..") {
        Some(name) => Err(wrong(format!("`{name}` is not a plain file name"))),
        None => Ok(index.weight_map.into_values().collect()),
    }
}

/// Of how many files there are shards here.
fn shard_total(folder: &Path) -> Option<usize> {
    let names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| {
            name.to_str()?
                .strip_prefix(STEM)?
                .strip_suffix(".safetensors")?
                .rsplit_once("-of-")?
                .1
                .parse()
                .ok()
        })
        .max()
}
