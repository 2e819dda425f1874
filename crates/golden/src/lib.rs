//! The proof that nets here are the published nets, without their weights: weights that are computed from their names, reference inputs and
//! outputs of the official implementations, and the comparison of the two. `talkie verify` runs it; `goldens/README.md` describes
//! the files.

mod case;
mod compare;
mod dump;
mod hint;
mod kit;
mod report;
mod seeded;
mod thin;
mod tolerance;
mod verify;

pub use candle_core::{DType, Device};
pub use case::{Allowance, Case, CaseError, Given, Net, Outputs, Registry};
pub use compare::{Comparison, compare};
pub use kit::{CaseFile, Kit, KitError, Meta};
pub use layers::kernels::Profile;
pub use report::{CaseReport, OutputReport, Report, Verdict};
pub use seeded::{Seeded, affine};
pub use thin::every;
pub use tolerance::{Bound, Tolerance};
pub use verify::{Settings, run_case, verify};
