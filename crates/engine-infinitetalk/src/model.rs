//! The model on this machine: its files, and the nets made of them, loaded at first use and laid out as the plan for the picture at hand says. The
//! encoders leave when they have encoded, unless there is room for them beside the DiT.

use std::sync::Arc;
use std::time::Duration;

use candle_core::{DType, Device};
use contract::{Complaint, EngineError, Warning};
use layers::free_memory::of;
use layers::shelf::{Shelf, Use, make_room};
use stagehand::Turn;

use crate::nets::clip_visual::ClipVisual;
use crate::nets::dit::{Dit, DitConfig, Form as BlockForm, Loading, Residency, Variant};
use crate::nets::umt5::Umt5Encoder;
use crate::nets::wan_vae::WanVae;
use crate::nets::wav2vec2::Wav2Vec2;
use crate::plan::{Machine, ModelSize, Numbers, Plan, Work};
use crate::text::Prompts;
use crate::weights::{BadWeights, Files, Form, Quantised};

/// What an engine is made of.
pub struct Setup {
    /// With the audio modules for one person; without any, of Wan alone.
    pub one: Files,
    /// With those for two, or why there are none.
    pub two: Option<Result<Files, Complaint>>,
    pub device: Device,
    /// How the DiT's and umT5's weights are held.
    pub numbers: Numbers,
    /// Of the device, that the engine may take.
    pub memory_bytes: u64,
    /// Parameters of the DiT's blocks that stay in memory, whatever has room.
    pub persistent_parameters: Option<u64>,
    pub idle_unload: Option<Duration>,
}

impl Setup {
    /// Whether it animates to a voice.
    pub fn hears(&self) -> bool {
        self.one.wav2vec.is_some()
    }

    /// Of one person, and of two where there are such.
    pub fn files(&self) -> impl Iterator<Item = &Files> {
        std::iter::once(&self.one).chain(self.two.iter().filter_map(|two| two.as_ref().ok()))
    }
}

/// FLOP a second and bytes a second where nobody measured: a layout is chosen by memory alone, its times are told to nobody.
const USUAL_FLOP_PER_SECOND: f64 = 1e11;
const USUAL_STREAM_BYTES_PER_SECOND: f64 = 1e9;

pub struct Model {
    setup: Setup,
    shelf: Shelf<Loaded>,
    turn: Turn,
}

#[derive(Default)]
pub struct Loaded {
    dit: Option<LaidOut>,
    /// For how many persons, and with how many resident blocks, it was planned: short memory makes fewer of them.
    planned: Option<(usize, usize)>,
    vae: Option<Arc<WanVae>>,
    clip: Option<Arc<ClipVisual>>,
    umt5: Option<Arc<Umt5Encoder>>,
    ear: Option<Arc<Wav2Vec2>>,
}

/// The DiT as it was loaded.
#[derive(Clone)]
struct LaidOut {
    persons: usize,
    resident_blocks: usize,
    dit: Arc<Dit>,
    /// What whoever uses it is to know of its files.
    warnings: Vec<Warning>,
}

impl Model {
    pub fn new(setup: Setup) -> Self {
        let shelf = Shelf::new(setup.idle_unload);
        Self { setup, shelf, turn: Turn::default() }
    }

    pub fn hears(&self) -> bool {
        self.setup.hears()
    }

    pub fn device(&self) -> &Device {
        &self.setup.device
    }

    pub fn in_use(&self) -> Use<Loaded> {
        self.shelf.in_use()
    }

    /// One take at a time: it fills the device.
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    pub fn files(&self, persons: usize) -> Result<&Files, Complaint> {
        match (persons, &self.setup.two) {
            (2, Some(two)) => two.as_ref().map_err(Clone::clone),
            (2, None) => Err(Complaint::new(
                "no_weights",
                "two voices were given, and the audio modules for two persons are not here",
                "talkie models pull infinitetalk-multi",
            )),
            _ => Ok(&self.setup.one),
        }
    }

    /// How the DiT is laid out for this work.
    pub fn plan(&self, files: &Files, work: &Work) -> Result<(Plan, Option<Warning>), EngineError> {
        let config = self.dit_config(files)?;
        let size = self.size(&config, files)?;
        let machine = Machine {
            memory_bytes: self.setup.memory_bytes,
            flop_per_second: USUAL_FLOP_PER_SECOND,
            stream_bytes_per_second: USUAL_STREAM_BYTES_PER_SECOND,
            own_memory: !self.setup.device.is_cpu(),
        };
        let numbers = self.setup.numbers;
        let plan = match self.setup.persistent_parameters {
            None => Plan::best(&size, work, &machine, numbers)?,
            Some(parameters) => {
                let parameters = usize::try_from(parameters).unwrap_or(usize::MAX);
                let kept = Residency::of_persistent_parameters(&config, parameters).map_err(unloadable)?;
                Plan::resident(&size, work, &machine, (numbers, kept.resident_blocks))
            }
        };
        self.fitting((plan, work.persons), &size, |resident| {
            Plan::resident(&size, work, &machine, (numbers, resident))
        })
    }

    /// The plan, or the next smaller ones where the memory is not free that was there when the engine was made: other engines have laid out theirs
    /// meanwhile, and give way only if nobody uses them.
    fn fitting(
        &self,
        (plan, persons): (Plan, usize),
        size: &ModelSize,
        with: impl Fn(usize) -> Plan,
    ) -> Result<(Plan, Option<Warning>), EngineError> {
        let wanted = Some((persons, plan.resident_blocks));
        let laid_out = self.shelf.look(|loaded| {
            let resident = loaded.dit.as_ref().map(|laid_out| laid_out.resident_blocks);
            resident.filter(|_| loaded.planned == wanted)
        });
        let device = &self.setup.device;
        if let Some(resident) = laid_out {
            let plan = if resident == plan.resident_blocks { plan } else { with(resident) };
            let held = plan.dit_bytes + self.beside(size);
            make_room(plan.device_bytes.saturating_sub(held), device);
            return Ok((plan, None));
        }
        // one that is laid out otherwise makes room before it is counted what is free
        self.shelf.drop_of(|loaded| (loaded.dit, loaded.planned) = (None, wanted));
        let held = self.beside(size);
        make_room(plan.device_bytes.saturating_sub(held), device);
        let Some(free) = of(device).map(|free| free + held) else { return Ok((plan, None)) };
        let mut smaller = plan;
        while smaller.device_bytes > free {
            let Some(resident) = smaller.smaller() else {
                let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
                return Err(EngineError::OutOfMemory(format!(
                    "{:.1} GiB are needed with every block streamed, {:.1} GiB are free; end other programs, or choose resolution 480",
                    gib(smaller.device_bytes),
                    gib(free)
                )));
            };
            smaller = with(resident);
        }
        let warning = (smaller != plan).then(|| {
            let message = format!(
                "memory is short: {} of {} blocks stay in it instead of {}, the others are read for each forward",
                smaller.resident_blocks, plan.blocks, plan.resident_blocks
            );
            Warning::new("memory_short", message)
        });
        Ok((smaller, warning))
    }

    /// Bytes of what is loaded besides the DiT.
    fn beside(&self, size: &ModelSize) -> u64 {
        let bytes = size.bytes_beside(self.setup.numbers);
        self.shelf.look(|loaded| {
            let there =
                [loaded.umt5.is_some(), loaded.clip.is_some(), loaded.ear.is_some(), loaded.vae.is_some()];
            bytes.into_iter().zip(there).filter_map(|(bytes, there)| there.then_some(bytes)).sum()
        })
    }

    fn size(&self, config: &DitConfig, files: &Files) -> Result<ModelSize, EngineError> {
        let (form, plain) = (self.form(), self.plain());
        let text = files.umt5(&form).map_err(refused)?.parameters;
        // int8 stays int8 on a CPU, half of what is planned for a number
        let half = self.setup.device.is_cpu() && files.umt5_is_int8().map_err(refused)?;
        let ear = files.wav2vec.as_ref().map(|ear| ear.open(&plain).map(|ear| ear.parameters)).transpose();
        Ok(ModelSize {
            dim: config.dim as u64,
            ffn_dim: config.ffn_dim as u64,
            layers: config.num_layers as u64,
            heads: config.num_heads as u64,
            block_parameters: config.block_parameters().map_err(unloadable)? as u64,
            other_parameters: config.other_parameters().map_err(unloadable)? as u64,
            text_parameters: if half { text / 2 } else { text },
            clip_parameters: files.clip(&plain).map_err(refused)?.parameters,
            vae_parameters: files.vae(&plain).map_err(refused)?.parameters,
            ear_parameters: ear.map_err(refused)?.unwrap_or(0),
        })
    }

    /// With what is to be told of its files.
    pub fn dit(
        &self,
        files: &Files,
        persons: usize,
        plan: &Plan,
    ) -> Result<(Arc<Dit>, Vec<Warning>), EngineError> {
        let resident_blocks = plan.resident_blocks;
        // another layout than the one that is there takes its place
        self.shelf.drop_of(|loaded| {
            let kept = |dit: &LaidOut| (dit.persons, dit.resident_blocks) == (persons, resident_blocks);
            loaded.dit = loaded.dit.take().filter(kept);
        });
        let laid_out = self.shelf.once(
            |loaded| loaded.dit.clone(),
            || {
                let opened = files.dit(&self.form()).map_err(refused)?;
                let block = match self.setup.numbers {
                    Numbers::Q8 => BlockForm::Q8_0,
                    Numbers::F32 | Numbers::Bf16 => BlockForm::Plain,
                };
                let residency = Residency { resident_blocks };
                let how = Loading { activations: self.activations(), form: block, residency };
                let dit =
                    Dit::load(&opened.config, &how, opened.weights).map(Arc::new).map_err(unloadable)?;
                Ok::<_, EngineError>(LaidOut { persons, resident_blocks, dit, warnings: opened.warnings })
            },
            |loaded, laid_out| loaded.dit = Some(laid_out),
        )?;
        Ok((laid_out.dit, laid_out.warnings))
    }

    pub fn vae(&self, files: &Files) -> Result<Arc<WanVae>, EngineError> {
        self.shelf.once(
            |loaded| loaded.vae.clone(),
            || {
                let opened = files.vae(&self.plain()).map_err(refused)?;
                WanVae::load(&opened.config, opened.weights).map(Arc::new).map_err(unloadable)
            },
            |loaded, net| loaded.vae = Some(net),
        )
    }

    pub fn clip(&self, files: &Files) -> Result<Arc<ClipVisual>, EngineError> {
        self.shelf.once(
            |loaded| loaded.clip.clone(),
            || {
                let opened = files.clip(&self.plain()).map_err(refused)?;
                ClipVisual::load(&opened.config, opened.weights).map(Arc::new).map_err(unloadable)
            },
            |loaded, net| loaded.clip = Some(net),
        )
    }

    pub fn umt5(&self, files: &Files) -> Result<Arc<Umt5Encoder>, EngineError> {
        self.shelf.once(
            |loaded| loaded.umt5.clone(),
            || {
                let opened = files.umt5(&self.form()).map_err(refused)?;
                Umt5Encoder::load(&opened.config, opened.weights).map(Arc::new).map_err(unloadable)
            },
            |loaded, net| loaded.umt5 = Some(net),
        )
    }

    pub fn ear(&self, files: &Files) -> Result<Arc<Wav2Vec2>, EngineError> {
        let ear =
            files.wav2vec.as_ref().ok_or_else(|| EngineError::Failed("this model has no ear".into()))?;
        self.shelf.once(
            |loaded| loaded.ear.clone(),
            || {
                let opened = ear.open(&self.plain()).map_err(refused)?;
                Wav2Vec2::load(&opened.config, opened.weights).map(Arc::new).map_err(unloadable)
            },
            |loaded, net| loaded.ear = Some(net),
        )
    }

    pub fn prompts(&self, files: &Files) -> Result<Prompts, EngineError> {
        let longest = self.dit_config(files)?.text_len;
        Prompts::open(&files.tokenizer.join("tokenizer.json"), longest).map_err(|error| {
            let hint = "`talkie models pull infinitetalk --replace` fetches it anew";
            EngineError::Rejected(Complaint::new("wrong_weights", error.to_string(), hint))
        })
    }

    /// What has encoded makes room, unless the plan has room for it.
    pub fn encoded(&self, plan: &Plan, by: Encoder) {
        if plan.encoders_stay {
            return;
        }
        self.shelf.drop_of(|loaded| match by {
            Encoder::Text => loaded.umt5 = None,
            Encoder::Picture => loaded.clip = None,
            Encoder::Voice => loaded.ear = None,
        });
    }

    fn dit_config(&self, files: &Files) -> Result<DitConfig, EngineError> {
        let wrong = |why: String| {
            let message = format!("{} is not the config of the DiT: {why}", files.config.display());
            EngineError::Rejected(Complaint::new("wrong_weights", message, "fetch it again"))
        };
        let text = std::fs::read(&files.config).map_err(|error| wrong(error.to_string()))?;
        let config: DitConfig = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let variant = if self.hears() { Variant::InfiniteTalk } else { Variant::WanI2v };
        let config = DitConfig { variant, ..config };
        config.check().map_err(|error| wrong(error.to_string()))?;
        Ok(config)
    }

    /// Of DiT and umT5, whose released numbers are bf16.
    fn form(&self) -> Form {
        let dtype = if self.setup.numbers == Numbers::F32 { DType::F32 } else { DType::BF16 };
        Form { dtype, device: self.setup.device.clone(), quantised: Quantised::Kept }
    }

    /// Of the small nets.
    fn plain(&self) -> Form {
        Form { dtype: DType::F32, device: self.setup.device.clone(), quantised: Quantised::Kept }
    }

    /// On a card as the official program; a CPU has no arithmetic in bf16 that would be faster.
    fn activations(&self) -> DType {
        if self.setup.device.is_cpu() { DType::F32 } else { DType::BF16 }
    }
}

/// What encodes once a take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    Text,
    Picture,
    Voice,
}

fn refused(error: BadWeights) -> EngineError {
    EngineError::Rejected(error.into())
}

fn unloadable(error: candle_core::Error) -> EngineError {
    let hint = "`talkie models check infinitetalk` says what is wrong with the files";
    EngineError::Rejected(Complaint::new("wrong_weights", format!("a net cannot be loaded: {error}"), hint))
}
