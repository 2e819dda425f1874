//! `loop_*`: whole takes of three chunks with tiny nets, from a picture or a clip, the prompt's and the sound's features, and the noise of
//! each chunk, to latents and frames.

use candle_core::{DType, Device, Tensor};
use contract::Stopped;
use encoders::clip_vision::ClipVisionConfig;
use golden::{Case, CaseError, Given, Outputs, every};
use pictures::Picture;
use serde::Deserialize;

use crate::nets::clip_visual::ClipVisual;
use crate::nets::dit::{Dit, DitConfig, Loading, Persons};
use crate::nets::wan_vae::{WanVae, WanVaeConfig};
use crate::picture::{Fit, Geometry, PersonBox, PersonMasks, to_bytes, to_tensor};
use crate::sampler::guidance::{Guidance, Projection};
use crate::sampler::plan::{ChunkPlan, ChunkShape};
use crate::sampler::schedule::{Schedule, Spacing};
use crate::sampler::teacache::{self, TeaCache, relative_change};
use crate::sampler::{
    Condition, Drift, Film, Look, Nets, Noise, Progress, Prompt, SamplerError, Sampling, Scene, Speech, Take,
    Watcher,
};

/// Pixels of a latent place.
const STRIDE: usize = 8;

#[derive(Deserialize)]
struct Config {
    dit: DitConfig,
    vae: WanVaeConfig,
    clip: ClipConfig,
    people: usize,
    bbox: Option<Boxes>,
    target_hw: (usize, usize),
    frame_num: usize,
    motion_frame: usize,
    steps: usize,
    shift: f64,
    text_scale: f64,
    audio_scale: f64,
    use_apg: bool,
    apg_momentum: f64,
    apg_norm_threshold: f64,
    color_correction_strength: f32,
    #[serde(default)]
    size: String,
    #[serde(default)]
    use_teacache: bool,
    #[serde(default)]
    teacache_thresh: f64,
    #[serde(default)]
    weight_scale: std::collections::BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct ClipConfig {
    dim: usize,
    mlp_ratio: f64,
    num_heads: usize,
    num_layers: usize,
}

/// Rows first.
#[derive(Deserialize)]
struct Boxes {
    person1: [f64; 4],
    person2: [f64; 4],
}

impl Config {
    fn sampling(&self) -> Result<Sampling, CaseError> {
        let guidance = Guidance::new(self.text_scale, self.audio_scale)?;
        let projection = Projection { momentum: self.apg_momentum, norm_threshold: self.apg_norm_threshold };
        let fit = if self.size.ends_with("720") { teacache::Fit::P720 } else { teacache::Fit::P480 };
        Ok(Sampling {
            schedule: Schedule::new(Spacing::DownToOne, self.steps, self.shift)?,
            guidance: if self.use_apg { guidance.with_projection(projection)? } else { guidance },
            teacache: self.use_teacache.then(|| TeaCache::new(self.teacache_thresh, fit)).transpose()?,
        })
    }

    fn persons(&self, source: (usize, usize)) -> Result<Option<Persons>, CaseError> {
        if self.people < 2 {
            return Ok(None);
        }
        let boxes = match &self.bbox {
            Some(Boxes { person1, person2 }) => [*person1, *person2].map(PersonBox::official),
            None => PersonBox::halves(source),
        };
        let (h, w) = self.target_hw;
        let masks = PersonMasks::new(&boxes, &Geometry::new(source, (w, h)), STRIDE)?;
        Ok(Some(Persons::new(&masks.to_tensor()?)?))
    }
}

/// The nets, and what the conditions of chunks are made with.
struct Studio {
    dit: Dit,
    vae: WanVae,
    clip: ClipVisual,
    /// (width, height)
    target: (usize, usize),
    shape: ChunkShape,
    device: Device,
}

impl Studio {
    fn load(cfg: &Config, given: &Given) -> Result<Self, CaseError> {
        let scaled = |seeded: golden::Seeded| {
            cfg.weight_scale.iter().fold(seeded, |seeded, (key, factor)| seeded.scaled(key, *factor))
        };
        let vb = given.weights_as(scaled)?;
        let clip = ClipVisionConfig {
            hidden_size: cfg.clip.dim,
            intermediate_size: (cfg.clip.dim as f64 * cfg.clip.mlp_ratio) as usize,
            num_hidden_layers: cfg.clip.num_layers,
            num_attention_heads: cfg.clip.num_heads,
            ..ClipVisionConfig::vit_h_14()
        };
        Ok(Self {
            dit: Dit::load(&cfg.dit, &Loading::of(given.dtype()), vb.clone())?,
            vae: WanVae::load(&cfg.vae, vb.clone())?,
            clip: ClipVisual::load(&clip, vb)?,
            target: (cfg.target_hw.1, cfg.target_hw.0),
            shape: ChunkShape::new(cfg.frame_num, cfg.motion_frame)?,
            device: given.device.clone(),
        })
    }

    fn nets(&self) -> Nets<'_> {
        Nets { dit: &self.dit, vae: &self.vae }
    }

    /// bytes: (h, w, 3) -> (1, 1, h, w, 3) in the take's size
    fn frame(&self, bytes: &Tensor) -> Result<Tensor, CaseError> {
        let (h, w, _) = bytes.dims3()?;
        let source = Picture::<3>::new(bytes.flatten_all()?.to_vec1()?, (w, h))?;
        let mut fitted = Picture::blank((1, 1))?;
        Fit::new(self.target).fit(source.view(), &mut fitted);
        Ok(to_tensor(&fitted)?.to_device(&self.device)?)
    }

    fn condition(&self, frame: &Tensor) -> Result<Condition, CaseError> {
        let hidden = self.clip.forward(&frame.squeeze(0)?)?;
        Ok(Condition::new(self.nets(), frame, &hidden, self.shape, &|| false)?)
    }
}

/// Keeps every frame.
#[derive(Default)]
struct Frames(Vec<f32>);

impl Watcher for Frames {
    fn stopped(&self) -> bool {
        false
    }

    fn progress(&mut self, _at: Progress) -> Result<(), Stopped> {
        Ok(())
    }

    fn frame(&mut self, _index: u64, frame: &[f32]) -> Result<(), Stopped> {
        self.0.extend_from_slice(frame);
        Ok(())
    }
}

pub struct Loops;

impl Case for Loops {
    fn components(&self) -> &[&str] {
        &["generate_infinitetalk loop"]
    }

    /// Guidance exaggerates what rounding changes in nets without training, and every chunk begins with the frames of the one before: of the
    /// first chunk's latents alone there is something to expect; the rest must not be another take (0.10 to 0.34 were measured).
    fn under_bf16(&self, output: &str) -> Option<f64> {
        (output != "latent0").then_some(0.5)
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: Config = given.config()?;
        let studio = Studio::load(&cfg, given)?;
        let noise = (0..given.file.stored("in.noise").count())
            .map(|chunk| given.input(&format!("in.noise{chunk}")))
            .collect::<Result<Vec<_>, _>>()?;
        let features = (1..=cfg.people)
            .map(|person| Ok(given.file.tensor(&format!("in.audio{person}"))?))
            .collect::<Result<Vec<_>, CaseError>>()?;
        let frames = match given.file.stored("in.").any(|(name, _)| name == "in.frames_rgb_u8") {
            true => given.file.tensor("in.frames_rgb_u8")?,
            false => given.file.tensor("in.image_rgb_u8")?.unsqueeze(0)?,
        };
        let (count, h, w, _) = frames.dims4()?;
        let speech = Speech::new(features, cfg.persons((w, h))?)?;
        let (text, negative) = (given.input("in.context")?, given.input("in.context_null")?);
        let take = Take {
            plan: ChunkPlan::new(studio.shape, speech.frames(), None)?,
            prompt: Prompt::new(&studio.dit, &text, Some(&negative))?,
            speech: Some(speech),
            noise: Noise::Given(noise),
            sampling: cfg.sampling()?,
            drift: Drift { colour_strength: cfg.color_correction_strength, ..Drift::default() },
        };
        let first = studio.frame(&frames.get(0)?)?;
        let mut looked_at = Vec::new();
        let mut of_clip = |look: Look| {
            let Look::Source(at) = look else {
                return Err(SamplerError::Scene("the reference looks at its source only".into()));
            };
            let index = (at as usize).min(count - 1);
            looked_at.push(index as i32);
            let frame = studio.frame(&frames.get(index)?).map_err(SamplerError::Scene)?;
            studio.condition(&frame).map_err(SamplerError::Scene)
        };
        let scene = match count {
            1 => Scene::Still(studio.condition(&first)?),
            _ => Scene::Moving { first, condition: &mut of_clip },
        };
        let mut outputs = Outputs::new();
        let mut watcher = Frames::default();
        let mut film = Film::new(studio.nets(), &take, scene, None)?;
        while let Some(exposed) = film.denoise(&mut watcher)? {
            outputs.out(&format!("latent{}", exposed.chunk().index), exposed.latents().clone());
            film.develop(exposed, &mut watcher)?;
        }
        let computed: Vec<u8> = film.computed().iter().map(|&computed| u8::from(computed)).collect();
        drop(film);
        outputs.out("computed_u8", Tensor::new(computed, &Device::Cpu)?);
        if let Some(teacache) = take.sampling.teacache {
            probe_time(&studio.dit, &take.sampling.schedule, &teacache, &mut outputs)?;
        }
        if count > 1 {
            outputs.out("frame_index", Tensor::new(looked_at, &Device::Cpu)?);
        }
        let (h, w) = cfg.target_hw;
        let shape = (watcher.0.len() / (3 * h * w), h, w, 3);
        let bytes = Tensor::from_vec(to_bytes(&watcher.0), shape, &Device::Cpu)?;
        let video = Tensor::from_vec(watcher.0, shape, &Device::Cpu)?;
        outputs.out("video_u8", bytes.permute((3, 0, 1, 2))?.contiguous()?);
        let video = every(4, &every(4, &every(4, &video, 0)?, 1)?, 2)?;
        outputs.out("video_f32_sub4", video.permute((3, 0, 1, 2))?.contiguous()?);
        Ok(outputs)
    }
}

/// The time embedding's change from step to step, and what is compared with the threshold.
fn probe_time(
    dit: &Dit,
    schedule: &Schedule,
    teacache: &TeaCache,
    outputs: &mut Outputs,
) -> Result<(), CaseError> {
    let timesteps = &schedule.timesteps()[..schedule.steps()];
    outputs.probe("timesteps", Tensor::new(timesteps, &Device::Cpu)?);
    let embedded = timesteps.iter().map(|&t| dit.time_embedding(f64::from(t)));
    let embedded = embedded.collect::<candle_core::Result<Vec<_>>>()?;
    let changes = embedded.windows(2).map(|pair| relative_change(&pair[0], &pair[1]));
    let changes = changes.collect::<candle_core::Result<Vec<_>>>()?;
    let floats = |values: Vec<f64>| Tensor::new(values, &Device::Cpu)?.to_dtype(DType::F32);
    outputs.probe("accumulated", floats(teacache.sums(&changes))?);
    outputs.probe("e0_rel_l1", floats(changes)?);
    Ok(())
}
