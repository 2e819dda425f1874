//! The engine `huggingface`: a picture goes to a model at Hugging Face or a provider behind its router, and the clip that comes back becomes a
//! take. Nothing is computed here. Refuses voices, avatars, and answers that are no whole video. The picture and the token leave this machine
//! only when this engine is the one that was asked for. Reference: the HTTP that `huggingface_hub` speaks, and docs/huggingface.md.

mod answer;
mod call;
mod engine;
mod fal;
mod forms;
mod http;
mod remote;
mod session;
mod settings;
mod token;
mod waits;
mod words;

pub use engine::HuggingFace;
pub use remote::{DEFAULT_MODEL, Download, Fetching, Form, Means, Proxy, Setup};
pub use token::Token;
