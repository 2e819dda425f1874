//! InfiniteTalk's files as they lie on this machine: where the configuration or the variables of the original server say, else in the models folder
//! or the hub's cache; and what whoever runs the machine wants of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contract::{Complaint, Weights};
use engine_infinitetalk::plan::Numbers;
use engine_infinitetalk::presets::Trained;
use engine_infinitetalk::settings::{Apg, Defaults};
use engine_infinitetalk::weights::{Files, Lora, Named, Persons, Rules, Wish};
use engine_infinitetalk::{InfiniteTalk, Setup};
use models::Places;

use crate::config::Config;
use crate::device::Device;
use crate::serve::originals::Originals;
use crate::serve::settings::InfiniteTalkSettings;
use crate::weights::Shelf;

/// The engines `infinitetalk` and `wan-i2v`, or why there is none of them: which file is missing and how to get it.
pub struct Engines {
    pub infinitetalk: Result<InfiniteTalk, Complaint>,
    pub wan_i2v: Result<InfiniteTalk, Complaint>,
}

/// The outer error: a mistake in the configuration. Files that are not there leave an engine out.
pub fn engines(
    places: &Places,
    originals: &Originals,
    (config, device): (&Config, &Device),
) -> Result<Engines, Complaint> {
    let settings = &config.infinitetalk;
    let wants = Wants { shelf: Shelf::new(places), originals, settings };
    let defaults = defaults(originals, settings)?;
    let memory = memory(settings, device)?;
    let make = |one: &Wish, two: Option<&Wish>| -> Result<InfiniteTalk, Complaint> {
        let files = Files::find(one)?;
        let two = two.map(|two| Files::find(two).map_err(Complaint::from));
        let trained = match &settings.trained {
            Some(_) => defaults.trained,
            None => files
                .of_weights()
                .iter()
                .map(|file| trained_of(file.path))
                .find(|t| *t != Trained::Base)
                .unwrap_or_default(),
        };
        let setup = Setup {
            one: files,
            two,
            device: device.clone(),
            numbers: numbers(settings)?,
            memory_bytes: memory,
            persistent_parameters: persistent(originals, settings)?,
            idle_unload: config.compute.idle_unload(),
        };
        let weights = wants.cards(&setup)?;
        InfiniteTalk::new(setup, weights, Defaults { trained, ..defaults })
    };
    let one = wants.wish(Persons::One)?;
    let two = wants.wish(Persons::Two)?;
    let infinitetalk = match (&one, &two) {
        (Ok(one), Ok(two)) => make(one, Some(two)),
        (Ok(one), Err(_)) => make(one, None),
        (Err(why), _) => Err(why.clone()),
    };
    let alone = wants.base()?.and_then(|base| make(&base, None));
    Ok(Engines { infinitetalk, wan_i2v: alone })
}

struct Wants<'a> {
    shelf: Shelf<'a>,
    originals: &'a Originals,
    settings: &'a InfiniteTalkSettings,
}

impl Wants<'_> {
    /// The configuration's, then the variable's, then what lies in its usual place.
    fn place(
        &self,
        (configured, key): (&Option<PathBuf>, &str),
        variable: &str,
        usual: impl FnOnce() -> Option<PathBuf>,
    ) -> Option<Named> {
        if let Some(path) = configured {
            return Some(Named::new(path.clone(), format!("infinitetalk.{key}")));
        }
        if let Some(path) = self.originals.text(variable) {
            return Some(Named::new(path, variable));
        }
        usual().map(|path| Named::new(path, "the models folder"))
    }

    /// Of the base alone, which hears nothing. The outer error: a mistake. The inner one: there are no such files.
    fn base(&self) -> Result<Result<Wish, Complaint>, Complaint> {
        let settings = self.settings;
        let ckpt = self.place((&settings.ckpt_dir, "ckpt_dir"), "CKPT_DIR", || {
            self.folder("wan-i2v-480p", "config.json").or_else(|| self.folder("wan-vae", "Wan2.1_VAE.pth"))
        });
        let Some(ckpt_dir) = ckpt else {
            return Ok(Err(Complaint::new(
                "no_weights",
                "wan-i2v needs Wan's folder (CKPT_DIR), and it is not here",
                "talkie models pull wan-i2v; `talkie models path wan-i2v` shows what is where",
            )));
        };
        if !ckpt_dir.path.exists() {
            return Ok(Err(nothing_there(&ckpt_dir)));
        }
        let named = settings.dit_path.clone().map(|path| Named::new(path, "infinitetalk.dit_path"));
        // one file that was fetched in place of the shards is used where there are no shards
        let fetched = || {
            let path =
                self.shelf.path("wan-i2v-480p-distilled", "wan2.1_i2v_480p_lightx2v_4step.safetensors");
            path.filter(|_| !has_shards(&ckpt_dir.path)).map(|path| Named::new(path, "the models folder"))
        };
        let dit_path = named.or_else(fetched);
        Ok(Ok(Wish {
            ckpt_dir,
            infinitetalk_dir: None,
            persons: Persons::One,
            wav2vec_dir: None,
            dit_path,
            quant_dir: None,
            loras: self.loras()?,
            lora_rules: Rules::AsWritten,
        }))
    }

    /// With the modules that hear so many persons.
    fn wish(&self, persons: Persons) -> Result<Result<Wish, Complaint>, Complaint> {
        let settings = self.settings;
        let base = self.base()?;
        let component = match persons {
            Persons::One => "infinitetalk-single",
            Persons::Two => "infinitetalk-multi",
        };
        let audio = self.place((&settings.infinitetalk_dir, "infinitetalk_dir"), "INFINITETALK_DIR", || {
            self.shelf.path(component, "infinitetalk.safetensors")
        });
        let ear = self.place((&settings.wav2vec_dir, "wav2vec_dir"), "WAV2VEC_DIR", || {
            self.folder("wav2vec2", "config.json")
                .or_else(|| self.folder("chinese-wav2vec2-base", "config.json"))
        });
        // quantised files that were fetched are used where there is nothing better
        let whole = audio.is_some()
            && base.as_ref().is_ok_and(|base| base.dit_path.is_some() || has_shards(&base.ckpt_dir.path));
        let quantised = self.place((&settings.quant_dir, "quant_dir"), "QUANT_DIR", || {
            let kinds = ["fp8", "int8"].into_iter().filter(|_| persons == Persons::One && !whole);
            kinds.into_iter().find_map(|kind| {
                let name = format!("infinitetalk_single_{kind}.safetensors");
                self.shelf.path(&format!("infinitetalk-single-{kind}"), &name)
            })
        });
        for named in [&audio, &ear, &quantised].into_iter().flatten() {
            if !named.path.exists() {
                return Ok(Err(nothing_there(named)));
            }
        }
        match (base, ear, audio.is_some() || quantised.is_some()) {
            // a path that was named and is not there is told as it is
            (Err(why), ..) if why.code != "no_weights" => Ok(Err(why)),
            (Ok(base), Some(ear), true) => Ok(Ok(Wish {
                infinitetalk_dir: audio,
                persons,
                wav2vec_dir: Some(ear),
                quant_dir: quantised,
                ..base
            })),
            _ => Ok(Err(Complaint::new(
                "no_weights",
                "infinitetalk needs Wan's folder (CKPT_DIR), InfiniteTalk's audio modules (INFINITETALK_DIR) or a quantised model (QUANT_DIR), and wav2vec 2.0 (WAV2VEC_DIR), and not all of them are here",
                "talkie models pull infinitetalk; `talkie models path infinitetalk` shows what is where",
            ))),
        }
    }

    fn folder(&self, component: &str, file: &str) -> Option<PathBuf> {
        self.shelf.path(component, file).and_then(|path| path.parent().map(Path::to_owned))
    }

    /// `LORA_DIR` names files, `LORA_SCALE` a number for each of them or one for all.
    fn loras(&self) -> Result<Vec<Lora>, Complaint> {
        if !self.settings.loras.is_empty() {
            let lora = |lora: &crate::serve::settings::LoraSettings| Lora {
                path: lora.path.clone(),
                scale: lora.scale.unwrap_or(1.0),
            };
            return Ok(self.settings.loras.iter().map(lora).collect());
        }
        let words = |name: &str| -> Vec<String> {
            let text = self.originals.text(name).unwrap_or_default();
            text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let files: Vec<PathBuf> = words("LORA_DIR").into_iter().map(PathBuf::from).collect();
        let scales = words("LORA_SCALE").into_iter().map(|word| {
            word.parse::<f64>().map_err(|_| {
                let message =
                    format!("LORA_SCALE is `{word}`, it must be a number for each file of LORA_DIR");
                Complaint::new("bad_config", message, "correct or unset it")
            })
        });
        let mut scales = scales.collect::<Result<Vec<_>, _>>()?;
        if scales.len() <= 1 {
            scales = vec![scales.first().copied().unwrap_or(1.0); files.len()];
        }
        Ok(Lora::pairs(&files, &scales)?)
    }

    /// Each file by its path, named after its component where it is the published one.
    fn cards(&self, setup: &Setup) -> Result<BTreeMap<PathBuf, Weights>, Complaint> {
        let mut cards = BTreeMap::new();
        for file in setup.files().flat_map(Files::of_weights) {
            if !cards.contains_key(file.path) {
                cards.insert(file.path.to_owned(), self.shelf.named(file.part, file.path)?.card);
            }
        }
        for lora in setup.files().flat_map(|files| &files.loras).filter(|lora| lora.scale != 1.0) {
            if let Some(card) = cards.get_mut(&lora.path)
                && !card.name.contains(" x ")
            {
                card.name = format!("{} x {}", card.name, lora.scale);
            }
        }
        Ok(cards)
    }
}

/// Whether Wan's folder holds its DiT, with an index or without.
fn has_shards(folder: &Path) -> bool {
    let either = [
        "diffusion_pytorch_model.safetensors.index.json",
        "diffusion_pytorch_model-00001-of-00007.safetensors",
    ];
    either.into_iter().any(|name| folder.join(name).exists())
}

fn nothing_there(named: &Named) -> Complaint {
    let message = format!("{} names {}, but there is nothing at that path", named.by, named.path.display());
    Complaint::new("weights_unloadable", message, format!("correct or unset {}", named.by))
}

fn trained_of(path: &Path) -> Trained {
    path.file_name().map_or(Trained::Base, |name| Trained::of_file(&name.to_string_lossy()))
}

fn defaults(originals: &Originals, settings: &InfiniteTalkSettings) -> Result<Defaults, Complaint> {
    let usual = Defaults::default();
    let trained = match &settings.trained {
        None => usual.trained,
        Some(name) => Trained::named(name).ok_or_else(|| {
            let message = format!(
                "infinitetalk.trained is {name}, it must be base, 8-steps, 4-steps or 4-steps-unguided"
            );
            Complaint::new("bad_config", message, "correct it, or leave it out")
        })?,
    };
    let number =
        |name: &str, usual: f64| Ok::<f64, Complaint>(originals.parsed(name, "a number")?.unwrap_or(usual));
    Ok(Defaults {
        trained,
        hears: usual.hears,
        motion_frame: originals.parsed("MOTION_FRAME", "a whole number")?.unwrap_or(usual.motion_frame),
        frame_num: originals.parsed("FRAME_NUM", "a whole number")?.unwrap_or(usual.frame_num),
        use_teacache: truth(originals, "USE_TEACACHE"),
        teacache_thresh: number("TEACACHE_THRESH", usual.teacache_thresh)?,
        use_apg: truth(originals, "USE_APG"),
        apg: Apg {
            momentum: number("APG_MOMENTUM", usual.apg.momentum)?,
            norm_threshold: number("APG_NORM_THRESHOLD", usual.apg.norm_threshold)?,
        },
        // others have a variable of this name too
        clip: originals.text("MODE") == Some("clip"),
    })
}

fn truth(originals: &Originals, name: &str) -> bool {
    originals
        .text(name)
        .is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"))
}

pub fn numbers(settings: &InfiniteTalkSettings) -> Result<Numbers, Complaint> {
    let Some(name) = &settings.numbers else { return Ok(Numbers::Bf16) };
    Numbers::named(name).ok_or_else(|| {
        let message = format!("infinitetalk.numbers is {name}, it must be f32, bf16 or q8_0");
        Complaint::new("bad_config", message, "correct it, or leave it out")
    })
}

/// Bytes that the engine may take.
pub fn memory(settings: &InfiniteTalkSettings, device: &Device) -> Result<u64, Complaint> {
    match settings.memory_gib {
        None => Ok(layers::free_memory::of(device).unwrap_or(8 << 30)),
        Some(gib) if gib > 0.0 && gib < 1e6 => Ok((gib * (1u64 << 30) as f64) as u64),
        Some(gib) => {
            let message = format!("infinitetalk.memory_gib is {gib}, it must be more than 0");
            Err(Complaint::new("bad_config", message, "correct it, or leave it out"))
        }
    }
}

fn persistent(originals: &Originals, settings: &InfiniteTalkSettings) -> Result<Option<u64>, Complaint> {
    match settings.persistent_parameters {
        Some(parameters) => Ok(Some(parameters)),
        None => originals.parsed("NUM_PERSISTENT_PARAM_IN_DIT", "a whole number"),
    }
}
