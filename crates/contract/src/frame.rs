//! `Frame`: one picture in memory, and `FrameSource`: where pictures are pulled from.
//! I420 is BT.709 in limited range (Y 16..235, chroma 16..240, centred on 128), sides always even; Rgb24 is full range, packed.

use crate::Fps;

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

impl Size {
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    pub const fn pixels(self) -> u64 {
        self.width as u64 * self.height as u64
    }

    pub fn longest(self) -> u32 {
        self.width.max(self.height)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// How a frame's bytes lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Three planes: Y (w·h), U (w/2·h/2), V (w/2·h/2), one byte a sample, no padding.
    I420,
    /// R, G, B bytes, rows without padding.
    Rgb24,
}

impl Layout {
    /// Bytes of one frame of `size`.
    pub fn bytes(self, size: Size) -> usize {
        let pixels = size.pixels() as usize;
        match self {
            Layout::I420 => pixels + pixels / 2,
            Layout::Rgb24 => pixels * 3,
        }
    }
}

/// One picture. The bytes always match size and layout: a `Frame` that exists is valid.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    size: Size,
    layout: Layout,
    data: Vec<u8>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("a frame of {size} in {layout:?} takes {expected} bytes, {given} were given")]
    Length { size: Size, layout: Layout, expected: usize, given: usize },
    #[error("a frame cannot be {0}: both sides must be at least 2 px (and even in I420)")]
    Sides(Size),
}

/// The planes of an I420 frame; `y` has stride width, `u` and `v` width/2.
#[derive(Clone, Copy)]
pub struct Planes<'a> {
    pub y: &'a [u8],
    pub u: &'a [u8],
    pub v: &'a [u8],
}

impl Frame {
    pub fn new(size: Size, layout: Layout, data: Vec<u8>) -> Result<Self, FrameError> {
        let odd = layout == Layout::I420 && (size.width % 2 == 1 || size.height % 2 == 1);
        if size.width == 0 || size.height == 0 || odd {
            return Err(FrameError::Sides(size));
        }
        let expected = layout.bytes(size);
        if data.len() != expected {
            return Err(FrameError::Length { size, layout, expected, given: data.len() });
        }
        Ok(Self { size, layout, data })
    }

    pub fn size(&self) -> Size {
        self.size
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    pub fn data(&self) -> &[u8] {
        &self.data
    }

    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The planes, if this frame is I420.
    pub fn planes(&self) -> Option<Planes<'_>> {
        if self.layout != Layout::I420 {
            return None;
        }
        let luma = self.size.pixels() as usize;
        let (y, chroma) = self.data.split_at(luma);
        let (u, v) = chroma.split_at(luma / 4);
        Some(Planes { y, u, v })
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} {:?})", self.size, self.layout)
    }
}

/// What an engine is about to put out; said once, before the first frame, so that a sink can start its encoder early.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VideoFormat {
    pub size: Size,
    pub layout: Layout,
    pub fps: Fps,
}

/// What a source delivers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SourceFormat {
    /// Size of the frames that `next` returns.
    pub size: Size,
    /// Size of the user's own picture or clip, upright; landmarks are given in these pixels.
    pub natural: Size,
    pub layout: Layout,
    /// Frame rate of a clip; `None` for a still.
    pub fps: Option<Fps>,
}

/// Pictures on demand: a still gives one frame, a clip gives its frames in order, then `None`.
pub trait FrameSource: Send {
    fn format(&self) -> SourceFormat;
    fn next(&mut self) -> Result<Option<Frame>, SourceError>;
    /// Of a clip that turns back for ever: how many frames it has, as soon as one of them has come again.
    fn turns_after(&self) -> Option<u64> {
        None
    }
}

/// Why a source of frames or sound broke off.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{0}")]
    Rejected(#[from] crate::Complaint),
    #[error("the job was stopped while its input was being read")]
    Stopped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_exists_is_valid() {
        let size = Size::new(4, 2);
        assert!(Frame::new(size, Layout::I420, vec![0; 12]).is_ok());
        assert_eq!(
            Frame::new(size, Layout::I420, vec![0; 13]),
            Err(FrameError::Length { size, layout: Layout::I420, expected: 12, given: 13 })
        );
        let odd = Size::new(3, 2);
        assert_eq!(Frame::new(odd, Layout::I420, vec![0; 9]), Err(FrameError::Sides(odd)));
        assert!(Frame::new(odd, Layout::Rgb24, vec![0; 18]).is_ok());
    }

    #[test]
    fn planes_split_at_their_borders() {
        let frame = Frame::new(Size::new(4, 2), Layout::I420, (0..12).collect()).unwrap();
        let planes = frame.planes().unwrap();
        assert_eq!((planes.y.len(), planes.u, planes.v), (8, &[8u8, 9][..], &[10u8, 11][..]));
    }
}
