//! Why a job ended without a take.

use contract::{Complaint, EngineError, SourceError};

use crate::{Blame, Failure};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The user's input or this machine's state; the complaint says the remedy.
    #[error("{0}")]
    Rejected(#[from] Complaint),
    #[error("canceled")]
    Canceled,
    #[error("{message}")]
    Failed { code: &'static str, message: String },
}

impl Fault {
    pub fn failed(code: &'static str, message: impl Into<String>) -> Self {
        Fault::Failed { code, message: message.into() }
    }

    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Fault::Rejected(complaint) => complaint.code,
            Fault::Canceled => "canceled",
            Fault::Failed { code, .. } => code,
        }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Rejected(complaint) => Fault::Rejected(complaint),
            EngineError::Stopped => Fault::Canceled,
            EngineError::OutOfMemory(_) => Fault::failed("out_of_memory", error.to_string()),
            EngineError::Failed(_) => Fault::failed("engine_failed", error.to_string()),
        }
    }
}

impl From<SourceError> for Fault {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Rejected(complaint) => Fault::Rejected(complaint),
            SourceError::Stopped => Fault::Canceled,
        }
    }
}

/// Complaints of the rooms below about this machine, not about what was sent.
const MACHINE: [&str; 44] = [
    "machine_failed",
    "wrong_weights",
    "disk_full",
    "disk_unknown",
    "file_size_limit",
    "scratch_failed",
    "no_output_folder",
    "output_unwritable",
    "output_is_folder",
    "bad_output",
    "ffmpeg_missing",
    "ffmpeg_broken",
    "ffmpeg_too_old",
    "encoder_missing",
    "encode_failed",
    "store_broken",
    "store_denied",
    "store_unreachable",
    "upload_broken",
    "upload_unwritable",
    "avatar_damaged",
    "reel_in_use",
    "reel_of_another_take",
    "internal",
    "fetch_broken",
    "s3_no_bucket",
    "s3_denied",
    "s3_no_credentials",
    "s3_unreachable",
    "s3_timeout",
    "s3_busy",
    "s3_misconfigured",
    "s3_broken",
    "tts_missing",
    "tts_failed",
    "tts_unreachable",
    "provider_failed",
    "provider_timeout",
    "provider_unreachable",
    "provider_loading",
    "answer_cut_off",
    "token_missing",
    "token_refused",
    "payment_required",
];

/// Whether a complaint of this code is about this machine, and not about what was sent.
pub fn is_machine_fault(code: &str) -> bool {
    MACHINE.contains(&code)
}

/// Bytes of a message or a hint: a record's row, an answer and what a worker may say have to bear it.
const LONGEST: usize = 4096;

fn cut(text: String) -> String {
    let mut text = without_nul(text);
    if let Some(end) =
        (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).filter(|_| text.len() > LONGEST)
    {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Postgres takes no NUL in a text.
pub fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let code = fault.code().to_owned();
        match fault {
            Fault::Rejected(Complaint { code: told, message, hint }) => {
                let blame = if is_machine_fault(told) { Blame::Server } else { Blame::Client };
                Failure { blame, code, message: cut(message), hint: cut(hint) }
            }
            Fault::Canceled | Fault::Failed { .. } => {
                Failure { blame: Blame::Server, code, message: cut(fault.to_string()), hint: String::new() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_line_and_not_what_was_sent() {
        let long = "é".repeat(1 << 20);
        let complaint = Complaint::new("bad_setting", long.clone(), long);
        let Failure { message, hint, .. } = Fault::Rejected(complaint).into();
        for told in [message, hint] {
            assert!(told.len() <= LONGEST + 3 && told.ends_with('…'), "{} bytes", told.len());
        }
    }
}
