//! The golden cases and key inventories of this crate.

mod bisenet;
mod blending;
mod boxes;
mod chunks;
mod classic_audio;
mod end_to_end;
mod image_ops;
mod mel;
mod picture;
mod positional;
mod rtmpose;
mod s3fd;
mod unet;
mod whisper;

use golden::{Case, Registry};

/// Adds the cases and the full-size nets of this crate to what can be verified.
pub fn register(registry: &mut Registry) {
    registry.cases.extend([
        &bisenet::FaceParsing as &dyn Case,
        &chunks::Chunks,
        &classic_audio::ClassicAudio,
        &end_to_end::EndToEnd,
        &mel::LogMel,
        &blending::Blending,
        &blending::ClassicBlending,
        &boxes::Boxes,
        &image_ops::ImageOps,
        &positional::Positions,
        &rtmpose::Pose,
        &s3fd::FaceDetection,
        &unet::Musetalk,
        &whisper::Whisper,
    ]);
    registry.nets.extend([bisenet::net(), rtmpose::net(), s3fd::net(), unet::net(), whisper::net()]);
}
