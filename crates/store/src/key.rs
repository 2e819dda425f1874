//! Names of what the store keeps: `uploads/…`, `takes/…`, `avatars/…`. A key that exists leads nowhere but below its shelf.

use std::path::{Path, PathBuf};

use contract::Complaint;

/// File systems allow 255 bytes a name; S3 allows 1024 a key, of which some are for the prefix.
const SEGMENT_BYTES: usize = 255;
const KEY_BYTES: usize = 800;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shelf {
    /// Read by workers of this machine only.
    Uploads,
    Takes,
    Avatars,
}

impl Shelf {
    pub(crate) const ALL: [Shelf; 3] = [Shelf::Uploads, Shelf::Takes, Shelf::Avatars];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Shelf::Uploads => "uploads",
            Shelf::Takes => "takes",
            Shelf::Avatars => "avatars",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    text: String,
    shelf: Shelf,
}

impl Key {
    pub(crate) fn parse(text: &str) -> Result<Self, Complaint> {
        let refused = |why: String| {
            let hint = "keys look like takes/ID/FILE, uploads/ID/FILE or avatars/ID/FILE";
            Err(Complaint::new(
                "bad_key",
                format!("`{}` is no key of the store: {why}", text.escape_debug()),
                hint,
            ))
        };
        if text.len() > KEY_BYTES {
            let bytes = text.len();
            let hint = "use a shorter name";
            let message = format!("a key of the store has {bytes} bytes, the limit is {KEY_BYTES}");
            return Err(Complaint::new("bad_key", message, hint));
        }
        let mut segments = text.split('/');
        let first = segments.next().unwrap_or_default();
        let Some(shelf) = Shelf::ALL.into_iter().find(|shelf| shelf.name() == first) else {
            return refused("it does not begin with uploads/, takes/ or avatars/".into());
        };
        let mut below = 0;
        for segment in segments {
            below += 1;
            if segment.is_empty() {
                return refused("a part of it is empty".into());
            }
            if segment == "." || segment == ".." {
                return refused(format!("`{segment}` is not allowed in it"));
            }
            if segment.len() > SEGMENT_BYTES {
                let bytes = segment.len();
                return refused(format!("a part of it has {bytes} bytes, the limit is {SEGMENT_BYTES}"));
            }
            if segment.chars().any(|c| c.is_control() || c == '\\') {
                return refused("it holds a control character or a backslash".into());
            }
            if segment.trim() != segment {
                return refused("a part of it begins or ends with a blank".into());
            }
        }
        if below == 0 {
            return refused("it names a whole shelf".into());
        }
        Ok(Self { text: text.to_owned(), shelf })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn shelf(&self) -> Shelf {
        self.shelf
    }

    pub(crate) fn below(&self, folder: &Path) -> PathBuf {
        folder.join(&self.text)
    }

    /// The last part.
    pub(crate) fn file_name(&self) -> &str {
        self.text.rsplit('/').next().expect("a split has at least one part")
    }
}

/// `key` is `folder` or lies in it.
pub(crate) fn is_below(key: &str, folder: &str) -> bool {
    key.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_nowhere_but_below_its_shelf() {
        let good =
            ["takes/1/2.mp4", "uploads/a/Porträt (1).png", "avatars/x", "takes/a/.hidden", "takes/..a/b..c"];
        for text in good {
            let key = Key::parse(text).unwrap();
            assert_eq!(key.below(Path::new("/data")), Path::new("/data").join(text));
        }
        let long = format!("takes/{}", "n".repeat(256));
        let deep = format!("takes{}", "/n".repeat(400));
        let bad = [
            "",
            "/",
            "takes",
            "takes/",
            "/takes/1",
            "takes//1",
            "takes/1/",
            "takes/../talkie.db",
            "takes/./1",
            "takes/1/..",
            "../takes/1",
            "tls/key.pem",
            "scratch/x",
            "talkie.db",
            "takes/a\\b",
            "takes/a\0b",
            "takes/a\nb",
            "takes/a ",
            "takes/ a",
            "takes/\u{7f}",
            "Takes/1",
            "https://takes/1",
            &long,
            &deep,
        ];
        for text in bad {
            let complaint = Key::parse(text).unwrap_err();
            assert_eq!(complaint.code, "bad_key", "{text}");
            assert!(complaint.message.len() < 600 && !complaint.message.contains('\n'), "{complaint}");
        }
    }

    #[test]
    fn the_last_part_is_the_file_name() {
        assert_eq!(Key::parse("takes/1/two.mp4").unwrap().file_name(), "two.mp4");
        assert_eq!(Key::parse("avatars/x").unwrap().file_name(), "x");
    }
}
