//! The first frame of an animated WebP, wrapped up as a still, because ffmpeg before version 8 reads stills only.
//! Container bytes only, every length checked; the picture itself is decoded in the cage like any other. A first frame
//! smaller than the canvas comes out alone. Reference: Google's "WebP Container Specification".

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Chunks that may stand before the first frame; real files have four or five.
const MAX_CHUNKS: usize = 64;

/// Bytes of a first frame; one of the largest size, 16383 squared, takes less as VP8.
const FRAME_BYTES: u64 = 64 << 20;

/// An unnamed file that holds the still, or `None` where the file is no animated WebP.
pub(crate) fn first_frame(mut file: &File) -> io::Result<Option<File>> {
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
        if &head[..4] == b"ANMF" {
            return still(file, padded);
        }
        file.seek(SeekFrom::Current(padded as i64))?;
    }
    Ok(None)
}

/// `ANMF` of so many bytes: x, y, width - 1, height - 1, duration (3 bytes each), flags, then `ALPH`? and `VP8 ` or `VP8L`.
fn still(mut file: &File, bytes: u64) -> io::Result<Option<File>> {
    const HAS_ALPHA: u8 = 0x10;
    let (mut frame, mut chunk) = ([0; 16], [0; 4]);
    let head = (frame.len() + chunk.len()) as u64;
    if !(head..=FRAME_BYTES).contains(&bytes) {
        return Ok(None);
    }
    file.read_exact(&mut frame)?;
    file.read_exact(&mut chunk)?;
    let extended = [&b"VP8X\x0a\0\0\0"[..], &[HAS_ALPHA, 0, 0, 0], &frame[6..12]].concat();
    let extended = if &chunk == b"ALPH" { &extended[..] } else { &[] };
    let rest = bytes - head;
    let length = (4 + extended.len() + chunk.len()) as u32 + rest as u32;
    let mut out = tempfile::tempfile()?;
    for piece in [b"RIFF", &length.to_le_bytes()[..], b"WEBP", extended, &chunk] {
        out.write_all(piece)?;
    }
    let copied = io::copy(&mut file.take(rest), &mut out)?;
    Ok((copied == rest).then_some(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_or_foreign_file_gives_no_still() {
        let check = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            first_frame(&file).ok().flatten().is_some()
        };
        let anmf = [&b"RIFF\x32\0\0\0WEBPANMF\x1a\0\0\0"[..], &[0; 16], b"VP8L\x02\0\0\0\x2f\0"].concat();
        assert!(check(&anmf));
        assert!(!check(&anmf[..20]));
        assert!(!check(b"RIFF\x32\0\0\0WAVEANMF\x1a\0\0\0"));
        assert!(!check(b"RIFF\x32\0\0\0WEBPANMF\xff\xff\xff\xff"));
        assert!(!check(b""));
    }
}
