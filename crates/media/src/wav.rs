//! The header of a WAV file.

/// Of `bytes` of 16-bit mono.
pub fn header(rate_hz: u32, bytes: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(44);
    out.extend(b"RIFF");
    out.extend((36 + bytes).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    out.extend(rate_hz.to_le_bytes());
    out.extend((rate_hz * 2).to_le_bytes());
    out.extend(b"\x02\0\x10\0data");
    out.extend(bytes.to_le_bytes());
    out
}
