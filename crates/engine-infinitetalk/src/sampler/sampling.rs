//! How a chunk is sampled, as one value. What belongs together is in `presets`.

use super::guidance::Guidance;
use super::schedule::Schedule;
use super::teacache::TeaCache;

#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    pub schedule: Schedule,
    pub guidance: Guidance,
    /// None: every step is computed.
    pub teacache: Option<TeaCache>,
}
