//! A job from the moment it is asked for to the finished take: the desk (submit, watch, cancel), the states a job goes
//! through, and the recipe, the one place where inputs, engine and output meet.

mod attempt;
mod clock;
pub mod crew;
mod darkroom;
mod desk;
mod dispatch;
mod ending;
mod event;
mod fault;
mod inputs;
mod live;
mod order;
mod person;
mod pieces;
mod prepare;
mod preview;
mod progress;
mod recipe;
mod record;
mod reel;
mod resolve;
mod retention;
mod scratch;
mod state;
mod stored;
mod take;
mod view;
pub mod worker;

pub use clock::Clock;
pub use darkroom::Darkroom;
pub use desk::{
    Canceling, Desk, DeskConfig, FailedOrder, Held, Live, LiveOrder, LiveVoice, Received, Refusal, Retention,
    Submitted, Upload, Vitals, Webhook,
};
pub use ending::{Blame, Ending, Failure, Made, Prepared};
pub use event::{Event, Watcher};
pub use fault::{Fault, is_machine_fault};
pub use order::{
    AvatarName, Delivery, Order, PrepareSpec, Source, SubjectSpec, TakeSpec, Terms, VoiceSpec, Work,
};
pub use recipe::{Studio, Target, make};
pub use reel::{Begun, Other, ReelPlace, begun};
pub use retention::Swept;
pub use state::State;
pub use store::{Reading, is_data_uri};
pub use stored::Remark;
pub use take::{PhaseTiming, Take};
pub use view::{AvatarView, JobId, JobView, Level, Listing, LogLine, ProgressView};
