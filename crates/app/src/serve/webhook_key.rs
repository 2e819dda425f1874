//! The secret that fal's webhooks are signed with: 32 bytes in the data folder, made on first use.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use contract::Complaint;

const BYTES: usize = 32;

pub fn seed(data: &Path) -> Result<[u8; BYTES], Complaint> {
    let path = data.join("webhook-key");
    let failed = |error: Error| {
        let message = format!("the webhooks' key {} cannot be read or written: {error}", path.display());
        let hint = "give the right to write there, or remove a file that is not 32 bytes long";
        Complaint::new("webhook_key", message, hint)
    };
    match std::fs::read(&path) {
        Ok(bytes) => bytes.try_into().map_err(|_| failed(Error::other("it is not 32 bytes long"))),
        Err(error) if error.kind() == ErrorKind::NotFound => make(&path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

/// Whole or not at all: half a key would be refused for ever. The data folder is this server's alone.
fn make(path: &Path) -> Result<[u8; BYTES], Error> {
    let mut seed = [0; BYTES];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
    let draft = path.with_extension("draft");
    // one that a crash left, whoever may read it
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(&seed)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_and_a_crash_leaves_none_behind() {
        let folder = tempfile::tempdir().unwrap();
        // what a power cut may leave
        std::fs::write(folder.path().join("webhook-key.draft"), [1; 7]).unwrap();
        let made = seed(folder.path()).unwrap();
        assert_eq!(seed(folder.path()).unwrap(), made);
        let mode = std::fs::metadata(folder.path().join("webhook-key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::write(folder.path().join("webhook-key"), [1; 7]).unwrap();
        assert!(seed(folder.path()).unwrap_err().message.contains("not 32 bytes long"));
    }
}
