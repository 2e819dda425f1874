//! Media roots: the folders below which a request may name a local path. What lies outside is refused without a word about
//! whether it is there.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use contract::Complaint;

use crate::local::is_absent;

/// Linux's PATH_MAX.
const PATH_BYTES: usize = 4096;

#[derive(Clone, Debug)]
pub(crate) struct Roots {
    /// As configured, and with symbolic links resolved.
    roots: Vec<(PathBuf, PathBuf)>,
}

impl Roots {
    /// A root that is not there, or is no folder, is the operator's mistake: told at the start.
    pub(crate) fn open(folders: &[PathBuf]) -> Result<Self, Complaint> {
        let mut roots = Vec::new();
        for folder in folders {
            let shown = folder.display();
            let hint = "make the folder, or take it out of the media roots";
            let broken =
                |why: String| Complaint::new("bad_media_root", format!("the media root {shown} {why}"), hint);
            let real = folder.canonicalize().map_err(|error| broken(format!("cannot be used: {error}")))?;
            if !real.is_dir() {
                return Err(broken("is not a folder".into()));
            }
            let named =
                std::path::absolute(folder).map_err(|error| broken(format!("cannot be used: {error}")))?;
            roots.push((named, real));
        }
        Ok(Self { roots })
    }

    pub(crate) fn allow(&self, path: &str) -> Result<PathBuf, Complaint> {
        let named = Path::new(path);
        let shown = path.chars().take(200).collect::<String>().escape_debug().to_string();
        if path.is_empty() || path.len() > PATH_BYTES || path.contains('\0') || !named.is_absolute() {
            let message = format!("`{shown}` is not an absolute path of this machine");
            return Err(Complaint::new(
                "bad_path",
                message,
                "name the file with its full path: /folder/file",
            ));
        }
        let outside = || {
            let message = format!("`{shown}` is not below a media root");
            let hint = "the operator allows folders with --media-root DIR; or upload the file, or give a URL";
            Complaint::new("path_not_allowed", message, hint)
        };
        let missing = || {
            Complaint::new("file_missing", format!("there is no file `{shown}`"), "check its name and folder")
        };
        match named.canonicalize() {
            Ok(real) => {
                if !self.roots.iter().any(|(_, root)| real.starts_with(root)) {
                    return Err(outside());
                }
                // looked at, never opened: opening a pipe waits for its writer, and some devices act on being opened
                let meta = real.symlink_metadata().map_err(|_| missing())?;
                if !meta.is_file() {
                    let message = format!("`{shown}` is {}, a file is needed", kind(&meta));
                    return Err(Complaint::new("not_a_file", message, "name a file"));
                }
                Ok(real)
            }
            // which of the two it is may only be told if every step on the way stayed below a root
            Err(error) if is_absent(&error) && self.holds_name(named) => Err(missing()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied && self.holds_name(named) => {
                let message = format!("`{shown}` may not be read by the server");
                Err(Complaint::new(
                    "file_unreadable",
                    message,
                    "give the right to read it: chmod +r, also +x on its folders",
                ))
            }
            Err(_) => Err(outside()),
        }
    }

    /// The nearest folder on the way that is there lies below a root, without any `..` behind it.
    fn holds_name(&self, named: &Path) -> bool {
        if named.components().any(|part| part == Component::ParentDir) {
            return false;
        }
        let below_name =
            self.roots.iter().any(|(name, real)| named.starts_with(name) || named.starts_with(real));
        // a dangling link is there itself, though what it points to is not: where it leads to is nobody's business
        let nearest = named.ancestors().find(|folder| folder.symlink_metadata().is_ok());
        let real = nearest.and_then(|folder| folder.canonicalize().ok());
        below_name && real.is_some_and(|real| self.roots.iter().any(|(_, root)| real.starts_with(root)))
    }
}

fn kind(meta: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = meta.file_type();
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_files_below_a_root_and_silence_about_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["root/sub", "roots", "outside", "real"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["root/a.wav", "root/sub/b.wav", "roots/c.wav", "outside/d.wav", "real/e.wav"] {
            fs::write(at(name), b"x").unwrap();
        }
        symlink(at("outside/d.wav"), at("root/escape")).unwrap();
        symlink(at("outside/none.wav"), at("root/dangling-out")).unwrap();
        symlink(at("outside"), at("root/out")).unwrap();
        symlink(at("root/a.wav"), at("outside/back")).unwrap();
        symlink("a.wav", at("root/inside")).unwrap();
        symlink("loop", at("root/loop")).unwrap();
        symlink(at("real"), at("linked")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("root/pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        let roots = Roots::open(&[at("root"), at("linked")]).unwrap();
        let ok = |name: &str, real: &str| {
            let told = roots.allow(at(name).to_str().unwrap()).unwrap();
            assert_eq!(told, at(real).canonicalize().unwrap(), "{name}");
        };
        ok("root/a.wav", "root/a.wav");
        ok("root/sub/b.wav", "root/sub/b.wav");
        ok("root/sub/../a.wav", "root/a.wav");
        ok("root//./a.wav", "root/a.wav");
        ok("root/inside", "root/a.wav");
        ok("outside/back", "root/a.wav"); // where it lies decides, not how it is called
        ok("linked/e.wav", "real/e.wav");
        ok("real/e.wav", "real/e.wav");
        let rows = [
            ("root/none.wav", "file_missing"),
            ("root/none/none.wav", "file_missing"),
            ("root/a.wav/more", "file_missing"),
            ("linked/none.wav", "file_missing"),
            ("real/none.wav", "file_missing"),
            ("root/sub", "not_a_file"),
            ("root", "not_a_file"),
            ("root/pipe", "not_a_file"),
            ("roots/c.wav", "path_not_allowed"),
            ("outside/d.wav", "path_not_allowed"),
            ("outside/none.wav", "path_not_allowed"),
            ("root/../outside/d.wav", "path_not_allowed"),
            ("root/../outside/none.wav", "path_not_allowed"),
            ("root/escape", "path_not_allowed"),
            ("root/dangling-out", "path_not_allowed"),
            ("root/out/d.wav", "path_not_allowed"),
            ("root/out/none.wav", "path_not_allowed"),
            ("root/loop", "path_not_allowed"),
        ];
        for (name, code) in rows {
            let complaint = roots.allow(at(name).to_str().unwrap()).unwrap_err();
            assert_eq!(complaint.code, code, "{name}: {complaint}");
        }
        for (path, code) in [
            ("", "bad_path"),
            ("a.wav", "bad_path"),
            ("root/../a.wav", "bad_path"),
            ("/a\0b", "bad_path"),
            ("/dev/null", "path_not_allowed"),
            ("/etc/passwd", "path_not_allowed"),
            ("/etc/none", "path_not_allowed"),
            ("/proc/self/environ", "path_not_allowed"),
            (&format!("/{}", "n".repeat(5000)), "bad_path"),
        ] {
            assert_eq!(roots.allow(path).unwrap_err().code, code, "{path}");
        }
        // the same words whether it is there or not
        let words = |name: &str| {
            let path = at(name).to_str().unwrap().to_owned();
            roots.allow(&path).unwrap_err().to_string().replace(&path, "PATH")
        };
        assert_eq!(words("outside/d.wav"), words("outside/none.wav"));
        assert_eq!(words("root/out/d.wav"), words("root/out/none.wav"));
    }

    #[test]
    fn without_a_root_no_path_is_allowed_and_a_broken_root_is_told() {
        let none = Roots::open(&[]).unwrap();
        assert_eq!(none.allow("/etc/passwd").unwrap_err().code, "path_not_allowed");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"x").unwrap();
        for broken in [file, folder.path().join("none")] {
            assert_eq!(Roots::open(&[broken]).unwrap_err().code, "bad_media_root");
        }
    }
}
