//! VisNet: a small causal convolutional network, 40 mel bands in, 14 visemes and 5 mouth parameters out, 80 ms later.
//! Trained by `tools/visnet`; layout of the weights: `tools/visnet/blob.py`. Plain loops in a fixed order of additions:
//! the answer is the same on every machine and however the sound is cut.

use crate::mel::BANDS;

/// Frames by which the answer trails the sound.
pub const LOOK_AHEAD: usize = 8;
pub const OUTPUTS: usize = 19;

const BLOB: &[u8] = include_bytes!("../assets/visnet.bin");
const SHA256: &str = include_str!("../assets/visnet.sha256");
const NAME: &str = include_str!("../assets/visnet.name");
const MAGIC: &[u8; 8] = b"VISNET1\0";
/// Magic, channels, number of blocks; then come the dilations, one word each.
const HEADER: usize = 16;
const FIRST_TAPS: usize = 5;
const TAPS: usize = 3;
/// Outputs computed together; four SSE registers.
const PANEL: usize = 16;

/// Which weights these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightsCard {
    /// `visnet-1`
    pub name: &'static str,
    /// Of the embedded bytes, hex.
    pub sha256: &'static str,
    pub bytes: usize,
    pub parameters: usize,
}

pub fn weights_card() -> WeightsCard {
    let parameters = (BLOB.len() - HEADER - 4 * BLOB[8 + 4] as usize) / 2;
    WeightsCard { name: NAME.trim_ascii(), sha256: SHA256.trim_ascii(), bytes: BLOB.len(), parameters }
}

/// A dilated causal convolution with the sound it still remembers.
struct Conv {
    inputs: usize,
    outputs: usize,
    taps: usize,
    dilation: usize,
    /// [panel][tap][input][PANEL], the last panel filled up with zeros.
    weights: Vec<f32>,
    /// [panel][PANEL]
    bias: Vec<f32>,
    /// Ring of the last (taps - 1) · dilation + 1 inputs; before the first one there was silence (zeros).
    past: Vec<f32>,
    at: usize,
}

impl Conv {
    fn read(blob: &mut Halves, shape: [usize; 3], dilation: usize) -> Self {
        let [outputs, inputs, taps] = shape;
        let panels = outputs.div_ceil(PANEL);
        let mut weights = vec![0.0; panels * taps * inputs * PANEL];
        for output in 0..outputs {
            for input in 0..inputs {
                for tap in 0..taps {
                    let row = (output / PANEL * taps + tap) * inputs + input;
                    weights[row * PANEL + output % PANEL] = blob.next();
                }
            }
        }
        let mut bias = vec![0.0; panels * PANEL];
        bias[..outputs].fill_with(|| blob.next());
        let past = vec![0.0; ((taps - 1) * dilation + 1) * inputs];
        Self { inputs, outputs, taps, dilation, weights, bias, past, at: 0 }
    }

    fn step(&mut self, x: &[f32], out: &mut [f32]) {
        let span = self.past.len() / self.inputs;
        self.past[self.at * self.inputs..][..self.inputs].copy_from_slice(x);
        for (panel, out) in out[..self.outputs].chunks_mut(PANEL).enumerate() {
            let mut sums = [0.0f32; PANEL];
            sums.copy_from_slice(&self.bias[panel * PANEL..][..PANEL]);
            for tap in 0..self.taps {
                let lag = (self.taps - 1 - tap) * self.dilation;
                let heard = &self.past[(self.at + span - lag) % span * self.inputs..][..self.inputs];
                let rows = &self.weights[(panel * self.taps + tap) * self.inputs * PANEL..];
                for (row, &heard) in rows.chunks_exact(PANEL).zip(heard) {
                    for (sum, &weight) in sums.iter_mut().zip(row) {
                        *sum += weight * heard;
                    }
                }
            }
            out.copy_from_slice(&sums[..out.len()]);
        }
        self.at = (self.at + 1) % span;
    }
}

/// Reads little-endian half-precision numbers one after the other.
struct Halves<'a> {
    bytes: &'a [u8],
}

impl Halves<'_> {
    fn next(&mut self) -> f32 {
        let (half, rest) =
            self.bytes.split_first_chunk().expect("the embedded weights are complete; a test loads them");
        self.bytes = rest;
        f32_of_half(u16::from_le_bytes(*half))
    }
}

fn f32_of_half(half: u16) -> f32 {
    let sign = u32::from(half >> 15) << 31;
    let (exponent, fraction) = (u32::from(half >> 10 & 0x1f), u32::from(half & 0x3ff));
    match exponent {
        0 => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// The network with its streaming state.
pub struct VisNet {
    first: Conv,
    /// Dilated convolution, then a mix of its channels; added to what came in.
    blocks: Vec<(Conv, Conv)>,
    heads: Conv,
    /// Channels: the running sum, and two rooms to work in.
    x: Vec<f32>,
    inner: Vec<f32>,
    added: Vec<f32>,
}

impl VisNet {
    /// The weights inside the program, nothing heard yet.
    pub fn embedded() -> Self {
        let body =
            BLOB.strip_prefix(MAGIC).expect("the embedded weights have their magic; a test loads them");
        let word = |i: usize| {
            u32::from_le_bytes([body[4 * i], body[4 * i + 1], body[4 * i + 2], body[4 * i + 3]]) as usize
        };
        let (channels, blocks) = (word(0), word(1));
        let mut rest = Halves { bytes: &body[4 * (2 + blocks)..] };
        let first = Conv::read(&mut rest, [channels, BANDS, FIRST_TAPS], 1);
        let blocks = (0..blocks)
            .map(|i| {
                let a = Conv::read(&mut rest, [channels, channels, TAPS], word(2 + i));
                (a, Conv::read(&mut rest, [channels, channels, 1], 1))
            })
            .collect();
        let heads = Conv::read(&mut rest, [OUTPUTS, channels, 1], 1);
        assert!(rest.bytes.is_empty(), "the embedded weights are longer than their own header says");
        let room = vec![0.0; channels];
        Self { first, blocks, heads, x: room.clone(), inner: room.clone(), added: room }
    }

    /// One frame, (40,) -> (19,) logits that answer for the frame `LOOK_AHEAD` before it.
    pub fn step(&mut self, frame: &[f32; BANDS]) -> [f32; OUTPUTS] {
        self.first.step(frame, &mut self.x);
        relu(&mut self.x);
        for (a, b) in &mut self.blocks {
            a.step(&self.x, &mut self.inner);
            relu(&mut self.inner);
            b.step(&self.inner, &mut self.added);
            for (x, added) in self.x.iter_mut().zip(&self.added) {
                *x += added;
            }
        }
        self.inner.copy_from_slice(&self.x);
        relu(&mut self.inner);
        let mut out = [0.0; OUTPUTS];
        self.heads.step(&self.inner, &mut out);
        out
    }
}

fn relu(x: &mut [f32]) {
    for x in x {
        *x = x.max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_card_is_that_of_the_embedded_bytes() {
        let card = weights_card();
        let sum: String = Sha256::digest(BLOB).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(card.sha256, sum);
        assert!(card.name.starts_with("visnet-"));
        assert!((50_000..200_000).contains(&card.parameters), "{}", card.parameters);
    }

    /// `tests/data/visnet.f32`: x (160, 40), then y (160, 19), as PyTorch computed it (`tools/visnet/export.py`).
    #[test]
    fn equals_the_reference() {
        let data: Vec<f32> = include_bytes!("../tests/data/visnet.f32")
            .as_chunks()
            .0
            .iter()
            .map(|&bytes| f32::from_le_bytes(bytes))
            .collect();
        let frames = data.len() / (BANDS + OUTPUTS);
        let (x, y) = data.split_at(frames * BANDS);
        let mut net = VisNet::embedded();
        let mut worst = 0.0f32;
        for (x, y) in x.as_chunks().0.iter().zip(y.chunks_exact(OUTPUTS)) {
            let answer = net.step(x);
            worst = answer.iter().zip(y).map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
        }
        assert_eq!(frames, 160);
        assert!(worst < 2e-3, "differs by {worst}");
    }

    #[test]
    fn halves_become_floats() {
        let rows = [(0x0000, 0.0), (0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_95), (0x7bff, 65504.0)];
        for (half, expected) in rows {
            assert_eq!(f32_of_half(half), expected, "{half:#x}");
        }
        assert_eq!(f32_of_half(0x0001), 2f32.powi(-24), "the smallest subnormal");
        assert_eq!(f32_of_half(0x83ff), -1023.0 * 2f32.powi(-24), "the largest, negative");
    }
}
