//! What chunks are conditioned on: the prompt, the picture, and what is heard. The prompt is embedded once, and so is a picture that stands
//! still. Reference: InfiniteTalk 0107cd9, `wan/multitalk.py`.

use candle_core::{DType, Device, Tensor};

use super::plan::{Chunk, ChunkPlan, ChunkShape, WINDOW};
use super::video::encode;
use super::{Nets, SamplerError};
use crate::nets::dit::{Dit, Persons};

/// Channels of the mask before the picture's latents: 1 where a frame is given, which is the first only.
const MASK_CHANNELS: usize = 4;

/// Frames that a piece of the VAE holds, behind the first one.
const PIECE: usize = 4;

/// What is to be seen, and what is not.
#[derive(Clone, Debug)]
pub struct Prompt {
    pub(super) text: Tensor,
    pub(super) negative: Option<Tensor>,
}

impl Prompt {
    /// text, negative: (l, c) of umT5, each at its true length. The negative one is only asked for where text is guided.
    pub fn new(dit: &Dit, text: &Tensor, negative: Option<&Tensor>) -> Result<Self, SamplerError> {
        Ok(Self {
            text: dit.embed_text(text)?,
            negative: negative.map(|negative| dit.embed_text(negative)).transpose()?,
        })
    }
}

/// A picture, as everything a chunk knows of it.
#[derive(Clone, Debug)]
pub struct Condition {
    /// (1, 1, h, w, 3) on [-1, 1]
    pub(super) frame: Tensor,
    /// of `embed_picture`
    pub(super) picture: Tensor,
    /// mask, then latents of the picture and a grey clip behind it: (4 + c, t, h / 8, w / 8)
    pub(super) latents: Tensor,
}

impl Condition {
    /// frame: (1, 1, h, w, 3) on [-1, 1], in the take's size; hidden: (1, 257, 1280) of CLIP, of the same frame
    pub fn new(
        nets: Nets,
        frame: &Tensor,
        hidden: &Tensor,
        shape: ChunkShape,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, SamplerError> {
        let (_, _, h, w, colours) = frame.dims5()?;
        let grey = Tensor::zeros((1, PIECE, h, w, colours), frame.dtype(), frame.device())?;
        let behind = std::iter::repeat_n(grey, shape.latents() - 1);
        let clip = std::iter::once(frame.clone()).chain(behind).map(Ok);
        let latents = encode(nets.vae, clip, stop)?; // (c, t, h / 8, w / 8)
        let (_, t, h, w) = latents.dims4()?;
        let given = Tensor::ones((MASK_CHANNELS, 1, h, w), DType::F32, latents.device())?;
        let mask = given.pad_with_zeros(1, 0, t - 1)?;
        Ok(Self {
            frame: frame.to_dtype(DType::F32)?.to_device(&Device::Cpu)?,
            picture: nets.dit.embed_picture(hidden)?,
            latents: Tensor::cat(&[mask, latents], 0)?,
        })
    }

    /// (c, t, h, w) of the chunk's own latents.
    pub(super) fn latent_shape(&self) -> Result<[usize; 4], SamplerError> {
        let (c, t, h, w) = self.latents.dims4()?;
        Ok([c - MASK_CHANNELS, t, h, w])
    }

    /// The picture's own latent frame, the first of its clip as the encoder is causal: (c, 1, h, w)
    pub(super) fn first_latent(&self) -> Result<Tensor, SamplerError> {
        let channels = self.latents.dim(0)? - MASK_CHANNELS;
        Ok(self.latents.narrow(0, MASK_CHANNELS, channels)?.narrow(1, 0, 1)?)
    }
}

/// What one or two persons say.
#[derive(Clone, Debug)]
pub struct Speech {
    features: Vec<Tensor>,
    pub(super) persons: Option<Persons>,
    frames: usize,
}

impl Speech {
    /// features: (n, layers, c) of wav2vec 2.0 at the video's frame rate, of each person, of one length
    pub fn new(features: Vec<Tensor>, persons: Option<Persons>) -> Result<Self, SamplerError> {
        let lengths = features.iter().map(|f| f.dim(0)).collect::<candle_core::Result<Vec<_>>>()?;
        let (Some(&frames), true) = (lengths.first(), lengths.len() <= 2) else {
            return Err(SamplerError::Voices(lengths.len()));
        };
        if frames == 0 {
            return Err(SamplerError::Nothing);
        }
        if lengths.iter().any(|&other| other != frames) {
            return Err(SamplerError::Lengths(lengths));
        }
        if lengths.len() == 2 && persons.is_none() {
            return Err(SamplerError::NoPersons);
        }
        Ok(Self { features, persons, frames })
    }

    /// As long as the video can be.
    pub fn frames(&self) -> u64 {
        self.frames as u64
    }

    /// What each frame of the chunk hears: (persons, frames, 5, layers, c)
    pub(super) fn windows(&self, plan: &ChunkPlan, chunk: &Chunk) -> Result<Tensor, SamplerError> {
        let rows = plan.audio_rows(chunk);
        let frames = rows.len();
        let of_person = |features: &Tensor| {
            let rows = Tensor::new(rows.as_flattened(), features.device())?;
            let (_, layers, c) = features.dims3()?;
            features.index_select(&rows, 0)?.reshape((frames, (), layers, c))
        };
        let persons = self.features.iter().map(of_person).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Tensor::stack(&persons, 0)?)
    }

    /// What is heard where nothing is said; of one person, however many there are.
    pub(super) fn silence(&self, shape: ChunkShape) -> Result<Tensor, SamplerError> {
        let (_, layers, c) = self.features[0].dims3()?;
        let shape = (1, shape.frames(), WINDOW, layers, c);
        Ok(Tensor::zeros(shape, self.features[0].dtype(), self.features[0].device())?)
    }
}
