//! The diffusion transformer of Wan 2.1 I2V (arXiv 2503.20314) with the audio cross-attention of InfiniteTalk: one forward makes a velocity from latents,
//! the picture's condition, a time, a prompt and speech. Reference: InfiniteTalk 0107cd9, `wan/modules/multitalk_model.py` and
//! `wan/modules/attention.py`. In f32 everything is computed in f32; in bf16 it is rounded where the reference rounds, and time, norms, modulation
//! and head are f32. Deviations: the map of what tokens look at is made only where two persons need it, by an attention whose values are
//! the persons' masks. Refused: batches; more than two persons; latents of odd height or width.

mod attention;
mod audio;
mod block;
mod config;
mod embed;
mod error;
mod head;
mod persons;
mod residency;
mod verify;

use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use layers::{Probe, RopeTable, is_finite};

pub use config::{
    CLIP_DIM, DitConfig, Form, Loading, PATCH, Residency, SPEECH_CHANNELS, SPEECH_LAYERS, Variant,
};
pub use error::{DitError, Outcome};
pub use persons::Persons;
pub use verify::register;
pub(crate) use verify::velocity;

use audio::AudioProjection;
use block::Surroundings;
use embed::{Grid, PatchEmbedding, PictureEmbedding, TextEmbedding, TimeEmbedding};
use head::Head;
use residency::Blocks;

/// Of the rotary embedding (Wan2.1, `rope_params`).
const THETA: f64 = 10_000.0;

/// One forward.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// (16, t, h, w)
    pub latents: &'a Tensor,
    /// the picture's mask and latents: (20, t, h, w)
    pub condition: &'a Tensor,
    /// 1000 (noise) to 0
    pub timestep: f64,
    /// of `embed_text`
    pub text: &'a Tensor,
    /// of `embed_picture`
    pub picture: &'a Tensor,
    /// of `embed_audio`; a net that hears needs it, also of silence
    pub audio: Option<&'a Tensor>,
    /// where two persons are, looked at where `audio` is of two
    pub persons: Option<&'a Persons>,
}

/// What becomes of the blocks of a forward (TeaCache, arXiv 2411.19108).
#[derive(Clone, Copy)]
pub enum Pass<'a> {
    Whole,
    /// and what the blocks added is handed out
    Remembered,
    /// what an earlier pass handed out is added instead
    Reused(&'a Tensor),
}

/// Who looks on.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Asked before every block: whether the answer is no longer wanted.
    pub stop: &'a dyn Fn() -> bool,
    pub probe: &'a Probe,
}

#[derive(Clone, Debug)]
pub struct Answer {
    /// (16, t, h, w), f32
    pub velocity: Tensor,
    /// of a pass that is `Remembered`: (1, tokens, c)
    pub residual: Option<Tensor>,
}

#[derive(Debug)]
pub struct Dit {
    patches: PatchEmbedding,
    time: TimeEmbedding,
    text: TextEmbedding,
    picture: PictureEmbedding,
    audio: Option<AudioProjection>,
    blocks: Blocks,
    head: Head,
    head_dim: usize,
    context_tokens: usize,
    device: Device,
    /// of the last grid
    rope: Mutex<Option<(Grid, RopeTable)>>,
}

impl Dit {
    /// `vb` holds the keys of Wan's DiT and, unless `cfg.variant` says otherwise, those of InfiniteTalk beside them.
    pub fn load(cfg: &DitConfig, how: &Loading, vb: VarBuilder<'static>) -> Result<Self> {
        cfg.check()?;
        how.check()?;
        let audio = match cfg.variant {
            Variant::InfiniteTalk => Some(AudioProjection::load(cfg, how, vb.pp("audio_proj"))?),
            Variant::WanI2v => None,
        };
        Ok(Self {
            patches: PatchEmbedding::load(cfg, how, vb.pp("patch_embedding"))?,
            time: TimeEmbedding::load(cfg, vb.clone())?,
            text: TextEmbedding::load(cfg, how, vb.pp("text_embedding"))?,
            picture: PictureEmbedding::load(cfg, how, vb.pp("img_emb.proj"))?,
            audio,
            blocks: Blocks::load(cfg, how, vb.pp("blocks"))?,
            head: Head::load(cfg, vb.pp("head"))?,
            head_dim: cfg.head_dim(),
            context_tokens: cfg.context_tokens,
            device: vb.device().clone(),
            rope: Mutex::new(None),
        })
    }

    /// rows: (l, 4096) of umT5 at the prompt's true length, up to 512 -> (1, 512, c)
    pub fn embed_text(&self, rows: &Tensor) -> Outcome<Tensor> {
        finite("text_embedding", self.text.forward(rows)?)
    }

    /// hidden: (1, 257, 1280) of CLIP -> (1, 257, c)
    pub fn embed_picture(&self, hidden: &Tensor) -> Outcome<Tensor> {
        finite("img_emb", self.picture.forward(hidden)?)
    }

    /// windows: (p, frames, 5, 12, 768) of one or two persons, zeros for no speech, on any device -> (1, t, 32 p, 768)
    pub fn embed_audio(&self, windows: &Tensor) -> Outcome<Tensor> {
        let Some(audio) = &self.audio else {
            return Err(candle_core::Error::Msg("this net has no modules for speech".into()).into());
        };
        finite("audio_proj", audio.forward(&windows.to_device(&self.device)?)?)
    }

    /// What the blocks get to know of the time, and what TeaCache measures: (6, c), f32
    pub fn time_embedding(&self, timestep: f64) -> Result<Tensor> {
        Ok(self.time.forward(timestep, &self.device)?.1)
    }

    pub fn forward(&self, step: &Step, pass: Pass, watch: &Watch) -> Outcome<Answer> {
        let (x, grid) = self.patches.forward(step.latents, step.condition)?; // (1, t * h * w, c)
        let first = finite("patch_embedding", x)?;
        let (e, e0) = self.time.forward(step.timestep, &self.device)?;
        watch.probe.note("time_proj", &e0.flatten_all()?.unsqueeze(0)?);
        let (x, residual) = match pass {
            Pass::Reused(residual) => ((first + residual)?, None),
            Pass::Whole => (self.through_blocks(first, e0, (step, grid), watch)?, None),
            Pass::Remembered => {
                let last = self.through_blocks(first.clone(), e0, (step, grid), watch)?;
                let residual = (&last - first)?;
                (last, Some(residual))
            }
        };
        Ok(Answer { velocity: finite("head", self.head.forward(&x, &e, grid)?)?, residual })
    }

    /// x: (1, l, c) -> the same
    fn through_blocks(
        &self,
        mut x: Tensor,
        e0: Tensor,
        (step, grid): (&Step, Grid),
        watch: &Watch,
    ) -> Outcome<Tensor> {
        let rope = self.rope(grid)?;
        let persons = self.two_persons(step, grid)?;
        let Step { text, picture, audio, .. } = *step;
        let surroundings = Surroundings { grid, rope: &rope, e0, text, picture, audio, persons };
        let blocks = self.blocks.len();
        self.blocks.run(|i, block| {
            if (watch.stop)() {
                return Err(DitError::Stopped { block: i, blocks });
            }
            let silent = Probe::off();
            // what is inside is looked at in the first block only
            let y = block.forward(&x, &surroundings, if i == 0 { watch.probe } else { &silent })?;
            watch.probe.note(&format!("block{i}_out"), &y);
            x = finite(&format!("blocks.{i}"), y)?;
            Ok(())
        })?;
        Ok(x)
    }

    /// The persons whose map the blocks must make; what does not fit the latents is refused.
    fn two_persons<'a>(&self, step: &Step<'a>, (t, h, w): Grid) -> Result<Option<&'a Persons>> {
        let Some(audio) = step.audio else { return Ok(None) };
        let (_, frames, tokens, _) = audio.dims4()?;
        if frames != t {
            bail!("speech of {frames} latent frames was given to latents of {t}");
        }
        match (tokens / self.context_tokens, step.persons) {
            (1, _) => Ok(None),
            (2, Some(persons)) if persons.tokens()? == h * w => Ok(Some(persons)),
            (2, Some(persons)) => {
                bail!("the persons' masks have {} tokens, a frame has {}", persons.tokens()?, h * w)
            }
            (2, None) => bail!("speech of two persons needs to know where they are"),
            (voices, _) => bail!("speech of {voices} persons was given; two is the most"),
        }
    }

    /// Made once for a grid: a job has one.
    fn rope(&self, grid: Grid) -> Result<RopeTable> {
        let mut held = self.rope.lock().unwrap_or_else(PoisonError::into_inner); // holds a whole value
        if let Some((of, table)) = &*held
            && *of == grid
        {
            return Ok(table.clone());
        }
        let table = RopeTable::grid(grid, self.head_dim, THETA, &self.device)?;
        *held = Some((grid, table.clone()));
        Ok(table)
    }
}

fn finite(part: &str, x: Tensor) -> Outcome<Tensor> {
    if is_finite(&x)? { Ok(x) } else { Err(DitError::NotFinite { part: part.to_owned() }) }
}
