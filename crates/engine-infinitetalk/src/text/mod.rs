//! From a prompt to the tokens of umT5.

mod badness;
mod charsets;
mod clean;
mod entities;
mod mojibake;
mod tokens;

pub use clean::clean;
pub use tokens::{Prompts, TextError, Tokens};

/// What a video is not to look like, where nobody says so: the text of the branches without a prompt. InfiniteTalk 0107cd9,
/// `sample_neg_prompt` of its configuration.
pub const NEGATIVE_PROMPT: &str = "bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, static, \
     overall gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, poorly drawn hands, \
     poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, still picture, messy background, three legs, \
     many people in the background, walking backwards";
