//! Which part of the source comes out, and at what size: computed once from the first frame, applied to every frame.

use contract::{Planes, Size};
use face::{Face, Similarity};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::plate::Plate;
use crate::settings::{Crop, DEFAULT_FACE_LONGEST, DEFAULT_LONGEST, MAX_LONGEST, Options};

/// Side of a face crop, in face widths.
const FACE_SIDES: f32 = 2.6;

/// A cut and a scale. All sides are even.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Framing {
    source: Size,
    /// Upper left corner and size of what is cut out of the source.
    corner: (u32, u32),
    cut: Size,
    pub out: Size,
}

impl Framing {
    pub fn new(source: Size, face: &Face, options: &Options) -> Self {
        let (corner, cut) = match options.crop {
            Crop::Full => ((0, 0), source),
            Crop::Face => face_square(source, face),
        };
        let longest = match (options.size, options.crop) {
            (Some(size), Crop::Full) => size.min(cut.longest()),
            (Some(size), Crop::Face) => size,
            (None, Crop::Full) => DEFAULT_LONGEST.min(cut.longest()),
            (None, Crop::Face) => DEFAULT_FACE_LONGEST.min(cut.longest()),
        };
        let scale = f64::from(longest.min(MAX_LONGEST)) / f64::from(cut.longest());
        let side = |px: u32| ((f64::from(px) * scale / 2.0).round() as u32 * 2).max(2);
        Self { source, corner, cut, out: Size::new(side(cut.width), side(cut.height)) }
    }

    /// The face as it is in the framed picture.
    pub fn place(&self, face: &Face) -> Face {
        let (sx, sy) = self.scales();
        let scale = 0.5 * (sx + sy); // they differ by less than a pixel over the whole picture
        let to_source = Similarity {
            a: 1.0 / scale,
            b: 0.0,
            tx: 0.5 / scale - 0.5 + self.corner.0 as f32,
            ty: 0.5 / scale - 0.5 + self.corner.1 as f32,
        };
        let mut placed = face.clone();
        placed.canon = to_source.then(&face.canon);
        placed
    }

    fn scales(&self) -> (f32, f32) {
        (self.out.width as f32 / self.cut.width as f32, self.out.height as f32 / self.cut.height as f32)
    }
}

/// An even square around the face, as large as the picture allows.
fn face_square(source: Size, face: &Face) -> ((u32, u32), Size) {
    let even = |v: f32| (v.max(0.0) as u32) & !1;
    let shorter = source.width.min(source.height) as f32;
    let side = even((face.bounds.width * FACE_SIDES).max(64.0).min(shorter));
    let (cx, cy) = (face.bounds.x + face.bounds.width / 2.0, face.bounds.y + face.bounds.height * 0.62);
    let x = even(cx - side as f32 / 2.0).min(source.width - side);
    let y = even(cy - side as f32 / 2.0).min(source.height - side);
    ((x & !1, y & !1), Size::new(side, side))
}

/// Applies a framing; holds the resizer's buffers.
pub struct Framer {
    pub framing: Framing,
    resizer: Resizer,
    planes: [Vec<u8>; 3],
}

impl Framer {
    pub fn new(framing: Framing) -> Self {
        Self { framing, resizer: Resizer::new(), planes: Default::default() }
    }

    /// The framed picture of a source frame; the planes live until the next call.
    pub fn frame(&mut self, planes: Planes<'_>) -> Planes<'_> {
        let f = self.framing;
        let sources = [(planes.y, 1), (planes.u, 2), (planes.v, 2)];
        for ((source, shrink), out) in sources.into_iter().zip(&mut self.planes) {
            let size = Size::new(f.source.width / shrink, f.source.height / shrink);
            let corner = (f.corner.0 / shrink, f.corner.1 / shrink);
            let cut = Size::new(f.cut.width / shrink, f.cut.height / shrink);
            let out_size = Size::new(f.out.width / shrink, f.out.height / shrink);
            scale(&mut self.resizer, (source, size), (corner, cut), (out, out_size));
        }
        Planes { y: &self.planes[0], u: &self.planes[1], v: &self.planes[2] }
    }

    pub fn plate(&mut self, planes: Planes<'_>) -> Plate {
        let size = self.framing.out;
        Plate::new(size, self.frame(planes))
    }
}

fn scale(
    resizer: &mut Resizer,
    (source, size): (&[u8], Size),
    (corner, cut): ((u32, u32), Size),
    (out, out_size): (&mut Vec<u8>, Size),
) {
    out.resize(out_size.pixels() as usize, 0);
    if cut == out_size {
        let width = cut.width as usize;
        let rows = source.chunks_exact(size.width as usize).skip(corner.1 as usize);
        for (to, from) in out.chunks_exact_mut(width).zip(rows) {
            to.copy_from_slice(&from[corner.0 as usize..][..width]);
        }
        return;
    }
    let filter = if out_size.width < cut.width { FilterType::Lanczos3 } else { FilterType::CatmullRom };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(
        f64::from(corner.0),
        f64::from(corner.1),
        f64::from(cut.width),
        f64::from(cut.height),
    );
    let image = TypedImageRef::<U8>::from_buffer(size.width, size.height, source)
        .expect("a frame's planes have the sizes that its format says");
    let mut target = TypedImage::<U8>::from_buffer(out_size.width, out_size.height, out)
        .expect("the buffer was sized for it");
    // typed: else the library's code for every kind of pixel is compiled into this crate, which takes minutes
    resizer.resize_typed(&image, &mut target, &options).expect("the cut lies inside the source");
}

#[cfg(test)]
mod tests {
    use super::*;
    use face::{Eye, FaceBox, Gates, MouthLine};

    fn face(x: f32, y: f32, width: f32) -> Face {
        let eye = Eye { lid_top: 43.0, lid_bottom: 57.0, contrast: 60.0 };
        Face {
            bounds: FaceBox { x, y, width, height: width, score: 30.0 },
            canon: Similarity::from_eyes(
                (x + 0.3 * width, y + 0.4 * width),
                (x + 0.7 * width, y + 0.4 * width),
            ),
            mouth: MouthLine {
                x0: 64.0,
                upper: vec![140.0; 65],
                lower: vec![140.0; 65],
                center_x: 96.0,
                half_width: 32.0,
                open: false,
            },
            eyes: [eye; 2],
            gates: Gates { mouth_ratio: 0.8, mirror_ncc: 0.9, mouth_ok: true, eyes_ok: true },
            confidence: 1.0,
        }
    }

    #[test]
    fn sizes_are_even_and_never_enlarge_a_whole_picture() {
        let full = |size| Options { size, ..Options::default() };
        let crop = |size| Options { size, crop: Crop::Face, ..Options::default() };
        let rows = [
            (full(None), (1000, 600), (1000, 600)),
            (full(Some(1920)), (1000, 600), (1000, 600)),
            (full(Some(500)), (1000, 600), (500, 300)),
            (full(None), (2560, 1440), (1280, 720)),
            (full(None), (3000, 1998), (1280, 852)),
            (crop(None), (1000, 600), (260, 260)),
            (crop(Some(720)), (1000, 600), (720, 720)),
            (crop(None), (2000, 200), (200, 200)),
        ];
        for (options, (w, h), (ow, oh)) in rows {
            let framing = Framing::new(Size::new(w, h), &face(300.0, 60.0, 100.0), &options);
            assert_eq!(framing.out, Size::new(ow, oh), "{options:?} {w}x{h}");
        }
    }

    #[test]
    fn the_face_moves_with_the_cut() {
        let source = Size::new(1000, 600);
        let face = face(300.0, 200.0, 100.0);
        let options = Options { crop: Crop::Face, size: Some(520), ..Options::default() };
        let framing = Framing::new(source, &face, &options);
        let placed = framing.place(&face);
        // the left eye is at (330, 240) of the source, the cut starts at (220, 132) and is enlarged by 2
        let (x, y) = placed.canon.inverse().apply(56.0, 50.0);
        let expected = ((330.5 - 220.0) * 2.0 - 0.5, (240.5 - 132.0) * 2.0 - 0.5);
        assert!((x - expected.0).abs() < 0.6 && (y - expected.1).abs() < 0.6, "{x} {y} {expected:?}");
    }

    #[test]
    fn an_uncut_picture_keeps_its_bytes() {
        let size = Size::new(64, 48);
        let data: Vec<u8> = (0..64 * 48 * 3 / 2).map(|i| (i * 31 % 251) as u8).collect();
        let (y, c) = data.split_at(64 * 48);
        let (u, v) = c.split_at(c.len() / 2);
        let framing = Framing::new(size, &face(10.0, 8.0, 20.0), &Options::default());
        let mut out = Vec::new();
        Framer::new(framing).plate(Planes { y, u, v }).copy_to(&mut out);
        assert_eq!(out, data);
    }
}
