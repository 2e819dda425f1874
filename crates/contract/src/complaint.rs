//! How any room says no to a user: one shape, so that every dialect and the CLI can say it in their own format.

/// A user's mistake or this machine's limit: the value, the limit, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Stable, for programs: `no_face`, `audio_too_long`, …
    pub code: &'static str,
    /// Lower case, names the offending value and the limit: `audio is 61.0 s long, the limit is 60.0 s`.
    pub message: String,
    /// The remedy: `raise --max-audio-seconds or send a shorter file`.
    pub hint: String,
}

impl Complaint {
    pub fn new(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: hint.into() }
    }
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}

impl std::error::Error for Complaint {}

/// Something the user should know about a take that was made all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub code: &'static str,
    pub message: String,
}

impl Warning {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
