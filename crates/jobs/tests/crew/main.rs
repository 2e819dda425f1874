//! Workers as real processes with a scripted engine: takes, live sessions, and everything that can go wrong with them.

mod actor;
mod live;
mod stage;
mod takes;
