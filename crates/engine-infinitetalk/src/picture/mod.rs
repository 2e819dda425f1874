//! What is done to pictures before and after the nets: the size a take is made in, the resize to it, who is where, and the colour of
//! what comes out. Frames of the nets are interleaved RGB, f32 on [-1, 1].

mod buckets;
mod colour_match;
mod fit;
mod footage;
mod lab;
mod persons;
mod scenes;
mod values;

use contract::{Layout, SourceError};
use thiserror::Error;

pub use buckets::SizeClass;
pub use colour_match::ColourMatch;
pub use fit::{Fit, Geometry, nearest};
pub use footage::Footage;
pub use persons::{PersonBox, PersonMasks};
pub use scenes::SceneDetector;
pub use values::{to_bytes, to_tensor};

#[derive(Debug, Error)]
pub enum PictureError {
    #[error("a colour correction of strength {0} cannot be; give 0 to 1")]
    Strength(f32),
    #[error("{0} values are not the pixels of an RGB picture")]
    Pixels(usize),
    #[error(
        "`{0}` is no box; write left=20,top=10,right=300,bottom=400 in pixels, or the official four numbers, rows first: top,left,bottom,right"
    )]
    BoxText(String),
    #[error(
        "the box of person {person} ({given}) is empty or outside the picture of {}x{}; the official four numbers are rows first: top, left, bottom, right",
        picture.0, picture.1
    )]
    BoxOutside { person: usize, given: PersonBox, picture: (usize, usize) },
    #[error(
        "nothing is left of the box of person {person}: a picture of {}x{} is cut to {}x{} around its middle, and every 16th pixel counts",
        picture.0, picture.1, target.0, target.1
    )]
    BoxCutOff { person: usize, picture: (usize, usize), target: (usize, usize) },
    #[error("a clip without a frame shows nothing")]
    NoFrames,
    #[error("frames in {0:?} cannot be used; ask for Rgb24")]
    Layout(Layout),
    #[error("frame {wanted} of a clip has gone by, it stands at frame {at}")]
    Back { wanted: u64, at: u64 },
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Bytes(#[from] pictures::PictureError),
    #[error(transparent)]
    Threads(candle_core::Error),
}
