//! Names that come from elsewhere (a hub's listing, the catalogue) before they become paths below a folder of ours. Refuses
//! whatever could lead out of that folder or hide what it is.

use std::path::{Path, PathBuf};

/// Longest name of one part of a path, in bytes: what common file systems allow, less our own ending.
const PART_BYTES: usize = 240;

/// Behind the names of files that are not whole.
const UNFINISHED: [&str; 3] = [crate::part::ENDING, crate::part::STATE_ENDING, crate::fresh::ENDING];

/// A path below a folder, made of plain parts only, with `/` between them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    pub fn parse(text: &str) -> Result<Self, String> {
        for part in text.split('/') {
            let why = match part {
                "" => "it has an empty part or begins at the root",
                "." | ".." => "it leads out of its folder",
                _ if part.len() > PART_BYTES => "a part of it is too long",
                _ if part.contains(['\\', ':']) => "it has a character that separates folders elsewhere",
                _ if part.chars().any(char::is_control) => "it has a control character",
                _ if UNFINISHED.iter().any(|ending| part.ends_with(ending)) => {
                    "it ends like an unfinished file"
                }
                _ if part == crate::pull::OWN_FOLDER => "that folder is Talkie's own",
                _ => continue,
            };
            return Err(format!("`{}` cannot be the name of a file here: {why}", text.escape_debug()));
        }
        Ok(Self(text.to_owned()))
    }

    /// `self` below `folder`, which may be empty.
    pub fn below(&self, folder: &str) -> Self {
        if folder.is_empty() { self.clone() } else { Self(format!("{folder}/{}", self.0)) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first part, and what follows it where something does.
    pub fn split_first(&self) -> (&str, Option<&str>) {
        match self.0.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (&self.0, None),
        }
    }

    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    pub fn under(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        for good in ["a", "a/b.pth", "google/umt5-xxl/spiece.model", "..a/b..", "ä/ö"] {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(300);
        let bad = [
            "",
            "/etc/passwd",
            "a//b",
            "../a",
            "a/../../b",
            "a/.",
            "a\\b",
            "C:a",
            "a\0b",
            "a\nb",
            "x.part",
            "x.part.json",
            "x.draft",
            ".talkie/lock",
            "a/",
            &long,
        ];
        for bad in bad {
            assert!(Name::parse(bad).is_err(), "{bad:?} passed");
        }
    }
}
