//! GGUF's q8_0: blocks of 32 whole numbers with one f16 scale, 34 bytes a block (ggml `block_q8_0`).

use crate::error::{Error, Result, check_len};

/// values of a block
pub const BLOCK: usize = 32;
/// bytes of a block: an f16 scale, then 32 i8
pub const BLOCK_BYTES: usize = 34;

/// f16 bits to f32, exact.
pub fn f16_to_f32(h: u16) -> f32 {
    let sign = u32::from(h >> 15) << 31;
    let exponent = u32::from(h >> 10) & 0x1f;
    let fraction = u32::from(h) & 0x3ff;
    match exponent {
        0 => {
            let value = fraction as f32 * (1.0 / 16_777_216.0); // 2^-24, the smallest f16
            f32::from_bits(value.to_bits() | sign)
        }
        31 => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (fraction << 13)),
    }
}

/// f32 to f16 bits, to the nearest, ties to even; what is too large becomes infinite.
pub fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    if magnitude >= 0x4780_0000 {
        return sign | 0x7c00; // 65536 and above
    }
    if magnitude < 0x3880_0000 {
        // below 2^-14: whole multiples of 2^-24; adding 0.5 rounds f32 at just that place
        let value = f32::from_bits(magnitude) + 0.5;
        return sign | (value.to_bits() - 0.5f32.to_bits()) as u16;
    }
    let rounded = magnitude + 0x0fff + ((magnitude >> 13) & 1);
    sign | ((rounded - (112 << 23)) >> 13) as u16
}

/// Rounds rows of a multiple of 32 values to q8_0, as ggml does: scale = max |x| / 127.
pub fn quantize(values: &[f32]) -> Result<Vec<u8>> {
    if !values.len().is_multiple_of(BLOCK) {
        return Err(Error::Shape {
            what: "number of values for q8_0",
            got: values.len(),
            limit: "a multiple of 32",
            remedy: "keep this tensor in f32 or bf16",
        });
    }
    let mut out = Vec::with_capacity(values.len() / BLOCK * BLOCK_BYTES);
    for block in values.chunks_exact(BLOCK) {
        let peak = block.iter().fold(0f32, |m, x| m.max(x.abs()));
        let scale = peak / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        out.extend_from_slice(&f32_to_f16(scale).to_le_bytes());
        out.extend(block.iter().map(|x| (x * inverse).round() as i8 as u8));
    }
    Ok(out)
}

/// The values of whole blocks.
pub fn dequantize(bytes: &[u8], count: usize) -> Result<Vec<f32>> {
    check_len("q8_0 bytes", bytes.len(), count.div_ceil(BLOCK) * BLOCK_BYTES)?;
    let mut out = Vec::with_capacity(count);
    for block in bytes.chunks_exact(BLOCK_BYTES) {
        let scale = f16_to_f32(u16::from_le_bytes([block[0], block[1]]));
        out.extend(block[2..].iter().map(|q| scale * f32::from(*q as i8)));
    }
    out.truncate(count);
    Ok(out)
}
