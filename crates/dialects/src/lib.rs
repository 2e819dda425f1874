//! The HTTP APIs we speak: a front door that knows no dialect, and a folder for each of the services we stand in for.

pub mod fal;
pub mod front_door;
pub mod house;
pub mod infinitetalk;
pub mod musetalk;
pub mod musetalk_s3;
pub mod svd;
