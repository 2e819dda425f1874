//! Sound to mouth: mel front end, VisNet (a small causal conv net), and the post-processing that turns its answers into one
//! mouth pose a video frame. Streaming, with state; no tensor framework.
//!
//! `Lips` is for engines, `analyse` and `truth` are for measuring. Equal sound gives equal poses however it is cut.
//! On another machine too, but for the last bit of an f64 logarithm or exponential of its C library.

mod curves;
mod fft;
mod hearing;
mod level;
mod lips;
mod mel;
mod norm;
mod pose;
pub mod truth;
mod viseme;
mod visnet;

use contract::Pcm;

pub use hearing::Latency;
pub use lips::Lips;
pub use mel::RATE_HZ;
pub use pose::MouthPose;
pub use viseme::{Viseme, Visemes};
pub use visnet::{WeightsCard, weights_card};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sound at {0} Hz was given, {RATE_HZ} Hz is needed")]
pub struct WrongRate(pub u32);

/// The network's answers for a whole voice, 100 a second: frame i is at i · 10 ms, `samples / 160 + 1` in all.
pub fn analyse(voice: &Pcm) -> Result<Vec<Visemes>, WrongRate> {
    if voice.rate_hz != RATE_HZ {
        return Err(WrongRate(voice.rate_hz));
    }
    let mut hearing = hearing::Hearing::new(Latency::File);
    let mut out = Vec::with_capacity(voice.samples.len() / mel::HOP + 1);
    hearing.push(&voice.samples, &mut |moment| out.push(moment.visemes));
    hearing.finish(&mut |moment| out.push(moment.visemes));
    Ok(out)
}
