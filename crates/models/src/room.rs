//! Room on the disk: what is needed is compared with what is free before a byte is written.

use std::path::Path;

use contract::Complaint;

/// Refuses a plan that needs more than is free where `folder` lies. The folder must exist.
pub fn check(folder: &Path, needed: u64) -> Result<(), Complaint> {
    let told = rustix::fs::statvfs(folder).map_err(|error| {
        let message = format!("the free space of {} cannot be told: {error}", folder.display());
        Complaint::new("disk_unknown", message, "check that the folder exists")
    })?;
    let free = told.f_bavail.saturating_mul(told.f_frsize);
    if needed > free {
        let message =
            format!("{} are needed in {}, {} are free", readable(needed), folder.display(), readable(free));
        return Err(Complaint::new(
            "disk_full",
            message,
            "free some space, or name another folder with --models",
        ));
    }
    Ok(())
}

/// Bytes as a person reads them: `3.40 GB`, powers of ten, as hub and disks count.
pub fn readable(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for next in units {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    let digits = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_as_people_count_them() {
        let rows = [
            (748, "748 B"),
            (184_990, "185 kB"),
            (999_700, "1.00 MB"),
            (3_400_074_924, "3.40 GB"),
            (65_580_000_000, "65.6 GB"),
            (134_000_000_000, "134 GB"),
        ];
        for (bytes, expected) in rows {
            assert_eq!(readable(bytes), expected);
        }
    }

    #[test]
    fn too_little_room_is_told_with_figures_and_folder() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path(), 1).unwrap();
        let complaint = check(folder.path(), u64::MAX).unwrap_err();
        assert_eq!(complaint.code, "disk_full");
        assert!(complaint.message.contains(folder.path().to_str().unwrap()), "{complaint}");
    }
}
