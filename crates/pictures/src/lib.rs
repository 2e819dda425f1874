//! Pictures as rows of interleaved bytes, and the operations of OpenCV and Pillow that the engines' official codes do to them, to the bit
//! of OpenCV 4.9 (which MuseTalk pins) and 4.11, and of Pillow 13. The order of the channels means nothing here. A picture has at
//! least one pixel, and sides that fit OpenCV's 16-bit places.

pub mod gauss;
pub mod lanczos;
mod level;
pub mod linear;
pub mod morphology;
#[cfg(test)]
mod pattern;
pub mod pillow;
mod rect;
pub mod warp;

pub use level::Level;
pub use rect::Rect;

use thiserror::Error;

/// The longest side in pixels: OpenCV keeps places in 16 bits.
pub const LONGEST: usize = 32_767;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PictureError {
    #[error("a picture of {}x{} cannot be; each side needs 1 to {LONGEST} pixels", .0.0, .0.1)]
    Size((usize, usize)),
    #[error("a picture of {}x{} at {channels} bytes a pixel has {} bytes, not {bytes}", size.0, size.1, size.0 * size.1 * channels)]
    Bytes { size: (usize, usize), channels: usize, bytes: usize },
    #[error("a kernel of {}x{} has no middle; both sides must be odd", .0.0, .0.1)]
    Kernel((usize, usize)),
}

fn checked(size: (usize, usize)) -> Result<(usize, usize), PictureError> {
    let good = |side: usize| (1..=LONGEST).contains(&side);
    if good(size.0) && good(size.1) { Ok(size) } else { Err(PictureError::Size(size)) }
}

fn checked_bytes(bytes: usize, size: (usize, usize), channels: usize) -> Result<(), PictureError> {
    let (width, height) = checked(size)?;
    if bytes == width * height * channels {
        return Ok(());
    }
    Err(PictureError::Bytes { size, channels, bytes })
}

/// A picture, or a part of one, to be read. `C` bytes a pixel.
#[derive(Clone, Copy)]
pub struct View<'a, const C: usize> {
    /// From the first pixel to the last.
    bytes: &'a [u8],
    width: usize,
    height: usize,
    /// Bytes from a row to the next.
    stride: usize,
}

impl<'a, const C: usize> View<'a, C> {
    /// size: (width, height), rows without gaps
    pub fn new(bytes: &'a [u8], size: (usize, usize)) -> Result<Self, PictureError> {
        checked_bytes(bytes.len(), size, C)?;
        Ok(Self { bytes, width: size.0, height: size.1, stride: size.0 * C })
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    /// (width, height)
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    pub fn row(&self, y: usize) -> &'a [u8] {
        &self.bytes[y * self.stride..][..self.width * C]
    }

    pub fn rows(&self) -> impl Iterator<Item = &'a [u8]> + use<'a, C> {
        self.bytes.chunks(self.stride).map({
            let bytes = self.width * C;
            move |row| &row[..bytes]
        })
    }

    /// What of `rect` is inside, if anything is.
    pub fn cut(&self, rect: Rect) -> Option<Self> {
        let (range, width, height) = inside(self.size(), self.stride, rect, C)?;
        Some(Self { bytes: &self.bytes[range], width, height, stride: self.stride })
    }

    pub fn to_picture(&self) -> Picture<C> {
        let mut bytes = Vec::with_capacity(self.width * self.height * C);
        self.rows().for_each(|row| bytes.extend_from_slice(row));
        Picture { bytes, width: self.width, height: self.height }
    }
}

/// A picture, or a part of one, to be written to.
pub struct ViewMut<'a, const C: usize> {
    bytes: &'a mut [u8],
    width: usize,
    height: usize,
    stride: usize,
}

impl<'a, const C: usize> ViewMut<'a, C> {
    /// size: (width, height), rows without gaps
    pub fn new(bytes: &'a mut [u8], size: (usize, usize)) -> Result<Self, PictureError> {
        checked_bytes(bytes.len(), size, C)?;
        Ok(Self { bytes, width: size.0, height: size.1, stride: size.0 * C })
    }

    /// (width, height)
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        &mut self.bytes[y * self.stride..][..self.width * C]
    }

    pub fn view(&self) -> View<'_, C> {
        View { bytes: self.bytes, width: self.width, height: self.height, stride: self.stride }
    }

    /// Copies as many rows and columns as both have.
    pub fn copy_from(&mut self, from: View<C>) {
        let bytes = self.width.min(from.width()) * C;
        for (y, row) in from.rows().take(self.height).enumerate() {
            self.row_mut(y)[..bytes].copy_from_slice(&row[..bytes]);
        }
    }

    /// What of `rect` is inside, if anything is.
    pub fn cut(&mut self, rect: Rect) -> Option<ViewMut<'_, C>> {
        let (range, width, height) = inside(self.size(), self.stride, rect, C)?;
        Some(ViewMut { bytes: &mut self.bytes[range], width, height, stride: self.stride })
    }
}

/// The bytes of `rect`, as far as it is inside, and its size there.
fn inside(
    size: (usize, usize),
    stride: usize,
    rect: Rect,
    channels: usize,
) -> Option<(std::ops::Range<usize>, usize, usize)> {
    let part = rect.meet(&Rect::of(size));
    if part.is_empty() {
        return None;
    }
    let (width, height) = (part.width() as usize, part.height() as usize);
    let start = part.y1 as usize * stride + part.x1 as usize * channels;
    Some((start..start + (height - 1) * stride + width * channels, width, height))
}

/// A picture of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture<const C: usize> {
    bytes: Vec<u8>,
    width: usize,
    height: usize,
}

/// Three bytes a pixel, in whatever order.
pub type Rgb = Picture<3>;
/// One byte a pixel.
pub type Plane = Picture<1>;

impl<const C: usize> Picture<C> {
    /// size: (width, height), rows without gaps
    pub fn new(bytes: Vec<u8>, size: (usize, usize)) -> Result<Self, PictureError> {
        checked_bytes(bytes.len(), size, C)?;
        Ok(Self { bytes, width: size.0, height: size.1 })
    }

    /// All zero.
    pub fn blank(size: (usize, usize)) -> Result<Self, PictureError> {
        let (width, height) = checked(size)?;
        Ok(Self { bytes: vec![0; width * height * C], width, height })
    }

    /// One pixel, to be given a size later.
    pub fn scratch() -> Self {
        Self { bytes: vec![0; C], width: 1, height: 1 }
    }

    /// Takes another size, and memory only if it never had as much. What it shows then is left over.
    ///
    /// # Panics
    /// Where no picture can be of that size.
    pub fn reshape(&mut self, size: (usize, usize)) {
        assert!(checked(size).is_ok(), "a picture of {}x{} cannot be", size.0, size.1);
        self.bytes.resize(size.0 * size.1 * C, 0);
        (self.width, self.height) = size;
    }

    /// (width, height)
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub fn view(&self) -> View<'_, C> {
        View { bytes: &self.bytes, width: self.width, height: self.height, stride: self.width * C }
    }

    pub fn view_mut(&mut self) -> ViewMut<'_, C> {
        let stride = self.width * C;
        ViewMut { bytes: &mut self.bytes, width: self.width, height: self.height, stride }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_what_lies_inside() {
        let bytes: Vec<u8> = (0..24).collect();
        let whole = View::<2>::new(&bytes, (4, 3)).unwrap();
        let part = whole.cut(Rect::new(-5, 1, 2, 9)).unwrap();
        assert_eq!(part.size(), (2, 2));
        assert_eq!(part.rows().collect::<Vec<_>>(), [[8, 9, 10, 11], [16, 17, 18, 19]]);
        let corner = part.cut(Rect::new(1, 1, 2, 2)).unwrap();
        assert_eq!(corner.to_picture().bytes(), [18, 19]);
        for outside in
            [Rect::new(4, 0, 9, 3), Rect::new(-3, 0, 0, 3), Rect::new(0, 3, 4, 4), Rect::new(2, 2, 2, 3)]
        {
            assert!(whole.cut(outside).is_none(), "{outside:?}");
        }
    }

    #[test]
    fn a_part_can_be_written_to() {
        let mut bytes = [0; 12];
        let mut whole = ViewMut::<1>::new(&mut bytes, (4, 3)).unwrap();
        let mut part = whole.cut(Rect::new(2, 1, 7, 7)).unwrap();
        part.row_mut(0).fill(1);
        part.row_mut(1).copy_from_slice(&[2, 3]);
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 2, 3]);
        let mut whole = ViewMut::<1>::new(&mut bytes, (4, 3)).unwrap();
        whole.copy_from(View::new(&[4, 5, 6, 7, 8, 9], (1, 6)).unwrap());
        assert_eq!(bytes, [4, 0, 0, 0, 5, 0, 1, 1, 6, 0, 2, 3]);
    }

    #[test]
    fn what_is_no_picture() {
        let error = |size: (usize, usize)| Picture::<3>::blank(size).unwrap_err().to_string();
        assert_eq!(error((0, 5)), "a picture of 0x5 cannot be; each side needs 1 to 32767 pixels");
        assert_eq!(error((5, 32_768)), "a picture of 5x32768 cannot be; each side needs 1 to 32767 pixels");
        let short = View::<3>::new(&[0; 11], (2, 2)).err().unwrap();
        assert_eq!(short.to_string(), "a picture of 2x2 at 3 bytes a pixel has 12 bytes, not 11");
    }
}
