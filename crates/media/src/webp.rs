//! The first frame of an animated WebP, wrapped up as a still, because ffmpeg before version 8 reads stills only.
//! Container bytes only, every length checked; the picture itself is decoded in the cage like any other. A first frame
//! smaller than the canvas comes out alone. Reference: Google's "WebP Container Specification".

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Chunks that may stand before the first frame; real files have four or five.
const MAX_CHUNKS: usize = 64;

/// A file in memory-backed storage that holds the still, or `None` where the file is no animated WebP.
pub(crate) fn first_frame(mut file: &File, limit: u64) -> io::Result<Option<File>> {
    file.seek(SeekFrom::Start(0))?;
    let mut riff = [0; 12];
    file.read_exact(&mut riff)?;
    if &riff[..4] != b"RIFF" || &riff[8..] != b"WEBP" {
        return Ok(None);
    }
    for _ in 0..MAX_CHUNKS {
        let mut head = [0; 8];
        file.read_exact(&mut head)?;
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let padded = u64::from(size) + u64::from(size % 2);
        if &head[..4] != b"ANMF" {
            file.seek(SeekFrom::Current(padded as i64))?;
            continue;
        }
        if padded > limit {
            return Ok(None);
        }
        let mut frame = Vec::new();
        file.take(padded).read_to_end(&mut frame)?;
        let Some(still) = still(&frame) else { return Ok(None) };
        let mut out = tempfile::tempfile()?;
        out.write_all(&still)?;
        return Ok(Some(out));
    }
    Ok(None)
}

/// `ANMF`: x, y, width - 1, height - 1, duration (3 bytes each), flags, then `ALPH`? and `VP8 ` or `VP8L`.
fn still(frame: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 16;
    const HAS_ALPHA: u8 = 0x10;
    let body = frame.get(HEADER..)?;
    let mut chunks = Vec::new();
    if body.starts_with(b"ALPH") {
        chunks.extend(b"VP8X\x0a\0\0\0");
        chunks.extend([HAS_ALPHA, 0, 0, 0]);
        chunks.extend(frame.get(6..12)?);
    }
    chunks.extend(body);
    let mut out = b"RIFF".to_vec();
    out.extend((u32::try_from(chunks.len()).ok()? + 4).to_le_bytes());
    out.extend(b"WEBP");
    out.extend(chunks);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_or_foreign_file_gives_no_still() {
        let check = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            first_frame(&file, 1000).ok().flatten().is_some()
        };
        let anmf = [&b"RIFF\x32\0\0\0WEBPANMF\x1a\0\0\0"[..], &[0; 16], b"VP8L\x02\0\0\0\x2f\0"].concat();
        assert!(check(&anmf));
        assert!(!check(&anmf[..20]));
        assert!(!check(b"RIFF\x32\0\0\0WAVEANMF\x1a\0\0\0"));
        assert!(!check(b"RIFF\x32\0\0\0WEBPANMF\xff\xff\xff\xff"));
        assert!(!check(b""));
    }
}
