//! What a mouth does at one moment.

/// One mouth pose; every field 0..1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MouthPose {
    pub jaw: f32,
    pub wide: f32,
    pub round: f32,
    /// Lips pressed together (p, b, m).
    pub close: f32,
    /// Lower lip at the upper teeth (f, v).
    pub labiodental: f32,
    /// Tongue tip up (th, t, d, n, l).
    pub tongue: f32,
    /// How loud this moment is against the speaker's running level; drives nods.
    pub stress: f32,
}
