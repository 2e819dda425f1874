//! The weights of the neural engines, as files: a catalogue of every checkpoint, where they may lie already, fetching from the
//! Hugging Face hub and its mirrors, checking, and seeded stand-ins. Never loads a model and never interprets a pickle.

mod catalogue;
mod check;
mod fresh;
mod hub;
mod identity;
mod inventory;
mod listed;
mod name;
mod part;
mod pickle;
mod places;
mod pull;
mod ranges;
mod receipt;
mod room;
mod seed;
mod seeded;
mod sum;
mod whole;

pub use catalogue::{Catalogue, Component, File, Form, Seeding, Selection, Set, Source, Wanted};
pub use check::{Checked, Progress, Verdict, Witness, check};
pub use hub::{Access, ProxyChoice, is_on};
pub use identity::{identity, sample};
pub use name::Name;
pub use places::{Found, Kind, Places};
pub use pull::{Checksums, OnMisfit, PullEvent, PullOrder, Teller, pull};
pub use room::readable;
pub use seed::{Scale, SeedEvent, seed};
pub use sum::Sum;
