//! A job from the moment it is asked for to the finished take: the desk (submit, watch, cancel), the states a job goes
//! through, and the recipe, the one place where inputs, engine and output meet.

mod desk;
mod event;
mod fault;
mod inputs;
mod progress;
mod recipe;
mod spec;
mod state;
mod take;

pub use desk::{Desk, Job, JobId};
pub use event::{Event, Watcher};
pub use fault::Fault;
pub use recipe::Studio;
pub use spec::{JobSpec, SubjectSpec, TakeSpec, Target, VoiceSpec};
pub use state::State;
pub use take::{Phase, PhaseTiming, Take};
