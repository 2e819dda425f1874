//! What is done against a long take's drift away from its picture, and against jumps where chunks meet. The defaults are the official
//! behaviour.

use super::SamplerError;
use super::plan::ChunkShape;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// How much of the reference's colours each frame takes on, 0 to 1.
    pub colour_strength: f32,
    pub colour_reference: ColourReference,
    pub anchor: Anchor,
    /// Over how many of the motion frames, the last of them, a chunk fades into the next, which has drawn them again. 0: those
    /// of the earlier chunk stay.
    pub cross_fade: usize,
}

/// Whose colours frames take on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColourReference {
    /// The first picture of the source.
    #[default]
    First,
    /// The picture that the chunk is conditioned on: for clips whose light changes.
    Anchor,
}

/// Which picture a chunk is conditioned on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anchor {
    /// The source's, where the chunk begins.
    #[default]
    Source,
    /// The source's first, always.
    First,
    /// The last frame of the chunk before; the first chunk has the source's. It follows a scene that has changed, and drifts with it.
    Previous,
}

impl Default for Drift {
    fn default() -> Self {
        Self {
            colour_strength: 1.0,
            colour_reference: ColourReference::First,
            anchor: Anchor::Source,
            cross_fade: 0,
        }
    }
}

impl Drift {
    pub(super) fn check(&self, shape: ChunkShape) -> Result<(), SamplerError> {
        if self.cross_fade > shape.motion() {
            return Err(SamplerError::CrossFade { frames: self.cross_fade, motion: shape.motion() });
        }
        Ok(())
    }

    /// Last frames of a chunk that the next one needs as pictures.
    pub(super) fn held(&self) -> usize {
        self.cross_fade.max(usize::from(self.anchor == Anchor::Previous))
    }

    /// How much of frame `at` of the fade comes from the new chunk.
    pub(super) fn share(&self, at: usize) -> f32 {
        (at + 1) as f32 / (self.cross_fade + 1) as f32
    }
}
