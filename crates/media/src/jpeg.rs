//! `Frame` -> JPEG (JFIF, 4:2:0). A JPEG's colours are BT.601 in full range, a frame's are BT.709 in limited range: the planes are
//! converted, not the pixels. Buffers are reused from frame to frame.

use contract::{Frame, Layout, Planes};
use turbojpeg::{Compressor, Image, OutputBuf, PixelFormat, Subsamp, YuvImage};

use crate::MediaError;

/// One encoder a stream; it is not shared.
pub struct Jpeg {
    compressor: Compressor,
    out: OutputBuf<'static>,
    planes: Vec<u8>,
    /// What a row of chroma adds to the luma above it.
    lift: Vec<i16>,
}

impl Jpeg {
    /// `quality` 1 .. 100.
    pub fn new(quality: u8) -> Result<Self, MediaError> {
        if !(1..=100).contains(&quality) {
            return Err(MediaError::new(
                "bad_quality",
                format!("the JPEG quality is {quality}, the range is 1 to 100"),
                "85 looks like the source, 60 is small",
            ));
        }
        let mut compressor = Compressor::new().map_err(|error| failed(&error))?;
        compressor.set_quality(quality.into()).map_err(|error| failed(&error))?;
        compressor.set_subsamp(Subsamp::Sub2x2).map_err(|error| failed(&error))?;
        Ok(Self { compressor, out: OutputBuf::new_owned(), planes: Vec::new(), lift: Vec::new() })
    }

    /// The picture's bytes, until the next call.
    pub fn encode(&mut self, frame: &Frame) -> Result<&[u8], MediaError> {
        let (width, height) = (frame.size().width as usize, frame.size().height as usize);
        let made = match (frame.layout(), frame.planes()) {
            (Layout::I420, Some(planes)) => {
                self.convert(planes, width);
                let pixels = self.planes.as_slice();
                let image = YuvImage { pixels, width, align: 1, height, subsamp: Subsamp::Sub2x2 };
                self.compressor.compress_yuv(image, &mut self.out)
            }
            _ => {
                let (pixels, format) = (frame.data(), PixelFormat::RGB);
                let image = Image { pixels, width, pitch: 3 * width, height, format };
                self.compressor.compress(image, &mut self.out)
            }
        };
        made.map_err(|error| failed(&error))?;
        Ok(&self.out)
    }

    /// The planes as JFIF wants them, into `self.planes`.
    fn convert(&mut self, planes: Planes<'_>, width: usize) {
        let (luma, chroma) = (planes.y.len(), planes.u.len());
        self.planes.resize(luma + 2 * chroma, 0);
        self.lift.resize(width, 0);
        let (ys, rest) = self.planes.split_at_mut(luma);
        let (us, vs) = rest.split_at_mut(chroma);
        let rows = ys.chunks_exact_mut(2 * width).zip(planes.y.chunks_exact(2 * width));
        let colours = planes.u.chunks_exact(width / 2).zip(planes.v.chunks_exact(width / 2));
        for ((to, from), (u, v)) in rows.zip(colours) {
            for (pair, (&u, &v)) in self.lift.chunks_exact_mut(2).zip(u.iter().zip(v)) {
                let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
                pair.fill(((Y_U * u + Y_V * v) >> 5) as i16 + Y_ZERO);
            }
            for (to, from) in to.chunks_exact_mut(width).zip(from.chunks_exact(width)) {
                for ((to, &y), &lift) in to.iter_mut().zip(from).zip(&self.lift) {
                    let y = i16::from(y);
                    *to = (y + ((Y_MORE * y + lift) >> 7)).clamp(0, 255) as u8;
                }
            }
        }
        let outs = us.iter_mut().zip(vs.iter_mut());
        for ((to_u, to_v), (&u, &v)) in outs.zip(planes.u.iter().zip(planes.v)) {
            let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
            *to_u = ((U_U * u + U_V * v + HALF) >> 12).clamp(-128, 127).wrapping_add(128) as u8;
            *to_v = ((V_U * u + V_V * v + HALF) >> 12).clamp(-128, 127).wrapping_add(128) as u8;
        }
    }
}

// The product of BT.709's limited YUV -> RGB and JFIF's RGB -> YUV (BT.601's luma, full range), with all zeros shifted to 0:
//   Y' = 1.16438 y + 0.11564 u + 0.22321 v,  U' = 1.12684 u - 0.12597 v,  V' = -0.08248 u + 1.11949 v
/// 4096ths.
const Y_U: i32 = 474;
const Y_V: i32 = 914;
const U_U: i32 = 4616;
const U_V: i32 = -516;
const V_U: i32 = -338;
const V_V: i32 = 4585;
const HALF: i32 = 2048;
/// 128ths: what luma gains over itself, so that the products fit 16 bits, and its zero (-16 · 1.16438) with half a step.
const Y_MORE: i16 = 21;
const Y_ZERO: i16 = -2385 + 64;

fn failed(error: &turbojpeg::Error) -> MediaError {
    MediaError::new("encode_failed", format!("a frame could not be made a JPEG: {error}"), "")
}
