//! Whether a file is what its name says, as far as its head and its end tell: a cut safetensors or zip file, a git LFS pointer
//! or a page of an error in place of a model. Reads no tensor and interprets no pickle.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

/// Longest safetensors header, in bytes: what the format's own library allows.
const HEADER: u64 = 100_000_000;
const POINTER: &[u8] = b"version https://git-lfs";
const LOCAL: &[u8] = b"PK\x03\x04";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
/// The pickle of torch's magic number, as files before 1.6 begin.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19";
/// An end record, with the longest comment and the ZIP64 records before it.
const TAIL: u64 = 22 + 65_535 + 76;

/// `Err` says what is wrong with the file.
pub fn check(path: &Path) -> Result<(), String> {
    check_as(path, path)
}

/// Of a file that is to have another name.
pub fn check_as(path: &Path, name: &Path) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("it cannot be read: {error}");
    let mut file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let mut head = Vec::new();
    file.by_ref().take(64).read_to_end(&mut head).map_err(unreadable)?;
    if head.starts_with(POINTER) {
        return Err("it is a git LFS pointer, not the file itself".to_owned());
    }
    match name.extension().and_then(|ending| ending.to_str()) {
        Some("safetensors") => safetensors(&mut file, bytes),
        Some("pth" | "bin" | "pt") if head.starts_with(LOCAL) => zip(&mut file, bytes).map_err(unreadable)?,
        Some("pth" | "bin" | "pt") if head.starts_with(LEGACY) => Ok(()),
        Some("pth" | "bin" | "pt") => {
            Err("it is no torch file, neither a zip nor one of the older kind".to_owned())
        }
        Some("json") => {
            file.rewind().map_err(unreadable)?;
            let read = std::io::BufReader::new(file);
            serde_json::from_reader::<_, serde::de::IgnoredAny>(read)
                .map_err(|error| format!("it is no JSON: {error}"))?;
            Ok(())
        }
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
struct Entry {
    data_offsets: (u64, u64),
}

fn safetensors(file: &mut File, bytes: u64) -> Result<(), String> {
    let cut = |error: std::io::Error| format!("its header is cut off: {error}");
    file.rewind().map_err(cut)?;
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(cut)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER || length + 8 > bytes {
        return Err(format!("its header would have {length} bytes, the file has {bytes}"));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(cut)?;
    let mut entries: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&header).map_err(|error| format!("its header is no JSON: {error}"))?;
    entries.remove("__metadata__");
    let mut end = 0;
    for (key, entry) in entries {
        let entry: Entry =
            serde_json::from_value(entry).map_err(|error| format!("its entry {key} is wrong: {error}"))?;
        end = end.max(entry.data_offsets.1);
    }
    match end.checked_add(8 + length) {
        Some(whole) if whole == bytes => Ok(()),
        _ => Err(format!("its header speaks of {end} bytes of tensors, the file has {}", bytes - 8 - length)),
    }
}

/// The outer result is the reading, the inner one the verdict.
fn zip(file: &mut File, bytes: u64) -> std::io::Result<Result<(), String>> {
    let tail_at = bytes.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(tail_at))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let Some(end) = tail.windows(4).rposition(|window| window == END).filter(|at| at + 22 <= tail.len())
    else {
        return Ok(Err("its end is missing: it is cut off".to_owned()));
    };
    let word = |at: usize| u64::from(u32::from_le_bytes(tail[at..at + 4].try_into().expect("four bytes")));
    let long = |at: usize| u64::from_le_bytes(tail[at..at + 8].try_into().expect("eight bytes"));
    let (size, start) = match tail.windows(4).rposition(|window| window == END_64) {
        Some(record) if word(end + 16) == 0xFFFF_FFFF && record + 56 <= end => {
            (long(record + 40), long(record + 48))
        }
        _ => (word(end + 12), word(end + 16)),
    };
    let fits = start.checked_add(size).is_some_and(|stop| stop <= tail_at + end as u64);
    Ok(if fits { Ok(()) } else { Err("its directory points outside: it is cut off".to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_bytes(name: &str, bytes: &[u8]) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        check(&path)
    }

    fn safetensors_file() -> Vec<u8> {
        let header =
            br#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header);
        file.extend([0; 8]);
        file
    }

    #[test]
    fn damage_is_told() {
        let whole = safetensors_file();
        let mut legacy = LEGACY.to_vec();
        legacy.extend(b".rest");
        let rows: [(&str, &[u8], Option<&str>); 9] = [
            ("x.safetensors", &whole, None),
            ("x.safetensors", &whole[..whole.len() - 1], Some("speaks of 8 bytes")),
            ("x.safetensors", &whole[..20], Some("would have")),
            ("x.safetensors", b"abc", Some("cut off")),
            ("x.pth", &legacy, None),
            ("x.pth", b"PK\x03\x04 and nothing more", Some("end is missing")),
            ("x.bin", b"<html>", Some("no torch file")),
            ("x.json", b"{\"a\": 1", Some("no JSON")),
            ("x.bin", b"version https://git-lfs.github.com/spec/v1\noid", Some("LFS pointer")),
        ];
        for (name, bytes, expected) in rows {
            match (check_bytes(name, bytes), expected) {
                (Ok(()), None) => {}
                (Err(why), Some(expected)) if why.contains(expected) => {}
                (told, expected) => panic!("{name}: {told:?}, expected {expected:?}"),
            }
        }
    }
}
