//! `Pose`: everything that moves, at one moment.

use speech::MouthPose;

/// Small turns of the head. Rotations in radians, positive yaw to the viewer's right.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeadPose {
    pub yaw: f32,
    pub pitch: f32,
    pub roll: f32,
    /// Shift of the whole head, canonical px.
    pub shift: (f32, f32),
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pose {
    pub mouth: MouthPose,
    /// 0: an open mouth of the source stays open as it is; 1: speech decides how far it opens.
    pub hold: f32,
    pub head: HeadPose,
    /// 0 open .. 1 closed.
    pub blink: f32,
    /// 0 at rest .. 1 raised.
    pub brow: f32,
    /// Shift of the irises, canonical px.
    pub gaze: (f32, f32),
}
