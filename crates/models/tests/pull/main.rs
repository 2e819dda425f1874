//! `pull` against a hub on this machine: what is there and wrong, what is asked for twice, and what a hub may tell of sizes.

mod hub;
mod overlap;
mod what_is_there;
