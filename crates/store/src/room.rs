//! How much room there is.

use std::path::Path;

use contract::Complaint;

/// Bytes an ordinary user may still write on the file system of `path`.
pub fn free_bytes(path: impl AsRef<Path>) -> Result<u64, Complaint> {
    let path = path.as_ref();
    let told = rustix::fs::statvfs(path).map_err(|error| {
        let message = format!("the free space of {} cannot be told: {error}", path.display());
        Complaint::new("disk_unknown", message, "check that the folder exists")
    })?;
    Ok(told.f_bavail.saturating_mul(told.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_told_where_there_is_a_folder() {
        assert!(free_bytes("/").unwrap() > 0);
        assert_eq!(free_bytes("/no/such/folder").unwrap_err().code, "disk_unknown");
    }
}
