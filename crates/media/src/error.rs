//! How this room says no: a complaint for the user, or "stopped". What a child process wrote on stderr becomes one
//! plain line here, without addresses, temporary paths or the machine's own names.

use contract::{Complaint, SourceError};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    #[error("{0}")]
    Rejected(#[from] Complaint),
    #[error("stopped")]
    Stopped,
}

impl MediaError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Rejected(Complaint::new(code, message, hint))
    }

    /// The same, in the shape every dialect and the CLI can say.
    pub fn complaint(&self) -> Complaint {
        match self {
            Self::Rejected(complaint) => complaint.clone(),
            Self::Stopped => Complaint::new("stopped", "the job was stopped", ""),
        }
    }
}

impl From<MediaError> for SourceError {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Rejected(complaint) => SourceError::Rejected(complaint),
            MediaError::Stopped => SourceError::Stopped,
        }
    }
}

impl From<SourceError> for MediaError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Rejected(complaint) => MediaError::Rejected(complaint),
            SourceError::Stopped => MediaError::Stopped,
        }
    }
}

/// A machine that has no process, pipe or thread left: nothing the user's file has to do with.
pub(crate) fn machine(what: &str, error: &std::io::Error) -> MediaError {
    MediaError::new(
        "machine_failed",
        format!("{what}: {error}"),
        "free memory, processes or disk, then retry",
    )
}

/// The most telling line of a child's stderr: the first that is not a mere consequence of another.
pub(crate) fn plain_line(stderr: &str) -> String {
    let consequences =
        ["Conversion failed", "Error while decoding", "Error opening", "Task finished", "Terminating thread"];
    let lines = || stderr.lines().map(strip).filter(|line| !line.is_empty());
    let telling = lines().find(|line| !consequences.iter().any(|c| line.starts_with(c)));
    let mut line = telling.or_else(|| lines().next_back()).unwrap_or_default();
    if let Some((end, _)) = line.char_indices().nth(160) {
        line.truncate(end);
    }
    line
}

/// Drops `[png @ 0x55…]` prefixes and the names under which the child knew its files.
fn strip(line: &str) -> String {
    let mut rest = line.trim();
    while rest.starts_with('[') {
        match rest.split_once(']') {
            Some((_, after)) => rest = after.trim_start(),
            None => break,
        }
    }
    let words = rest.split_whitespace().filter(|word| {
        let bare = word.trim_start_matches(['\'', '"', '`']);
        !(bare.starts_with("file:/") || bare.starts_with('/') || bare.starts_with("pipe:"))
    });
    words.collect::<Vec<_>>().join(" ").trim_end_matches(':').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_childs_words_become_one_plain_line() {
        let rows = [
            ("[png @ 0x55dd32259a00] chunk too big\nConversion failed!\n", "chunk too big"),
            (
                "file:/proc/self/fd/9: Invalid data found when processing input\n",
                "Invalid data found when processing input",
            ),
            ("[a @ 0x1] [b @ 0x2] Invalid image size", "Invalid image size"),
            ("Conversion failed!", "Conversion failed!"),
            ("", ""),
        ];
        for (stderr, expected) in rows {
            assert_eq!(plain_line(stderr), expected);
        }
    }
}
