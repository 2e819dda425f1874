//! Where faces are: SeetaFace's frontal detector (`rustface`), its model inside the program.
//! Licence of the model: assets/seeta_fd_frontal_v1.0.LICENSE (BSD 2-Clause, VIPL).

use contract::{Complaint, Frame, Size};

use crate::measure::measure;
use crate::model::{Face, FaceBox, Similarity};
use crate::resample::Grid;

static MODEL: &[u8] = include_bytes!("../assets/seeta_fd_frontal_v1.0.bin");

/// Side of the smallest face that SeetaFace sees, px of the searched picture.
const WINDOW: f32 = 40.0;
/// Longest sides at which a frame is searched, in this order, until a face is found.
const SEARCH_SIDES: [f32; 3] = [480.0, 1280.0, 2560.0];
/// Frames are enlarged at most this much to find small faces.
const MAX_ENLARGEMENT: f32 = 4.0;
const MIN_SCORE: f32 = 5.0;

/// Finds faces. Holds the detector's buffers; make one and keep it (it cannot move between threads).
pub struct Detector {
    inner: Box<dyn rustface::Detector>,
}

/// The face that was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub face: Face,
    /// How many other faces there are.
    pub others: usize,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector {
    pub fn new() -> Self {
        let model = rustface::read_model(MODEL).expect("the embedded model is the one the tests check");
        let mut inner = rustface::create_detector_with_model(model);
        inner.set_min_face_size(WINDOW as u32);
        inner.set_score_thresh(1.5);
        inner.set_pyramid_scale_factor(0.8);
        inner.set_slide_window_step(4, 4);
        Self { inner }
    }

    /// Faces in pixels of `frame`, the largest and surest (score times area) first. Searched at 480 px on the longest side, and
    /// finer only if nothing is found.
    pub fn detect(&mut self, frame: &Frame) -> Vec<FaceBox> {
        for scale in search_scales(frame.size()) {
            let boxes = self.detect_at(frame, scale);
            if !boxes.is_empty() {
                return boxes;
            }
        }
        Vec::new()
    }

    /// Faces at the coarse scale only: quick, for a clip's frames.
    pub(crate) fn detect_coarse(&mut self, frame: &Frame) -> Vec<FaceBox> {
        self.detect_at(frame, search_scales(frame.size())[0])
    }

    /// Faces of the frame scaled by `scale`.
    fn detect_at(&mut self, frame: &Frame, scale: f32) -> Vec<FaceBox> {
        let size = frame.size();
        let (w, h) = (scaled(size.width, scale), scaled(size.height, scale));
        let to_grid = Similarity { a: scale, b: 0.0, tx: (scale - 1.0) / 2.0, ty: (scale - 1.0) / 2.0 };
        self.search(frame, &Grid { to_grid, width: w, height: h })
    }

    /// Faces on a grid (without rotation), in pixels of the frame.
    pub(crate) fn search(&mut self, frame: &Frame, grid: &Grid) -> Vec<FaceBox> {
        if grid.width.min(grid.height) < WINDOW as usize {
            return Vec::new();
        }
        let luma: Vec<u8> = grid.luma(frame).data.iter().map(|v| v.round().clamp(0.0, 255.0) as u8).collect();
        let picture = rustface::ImageData::new(&luma, grid.width as u32, grid.height as u32);
        let back = grid.to_grid.inverse();
        let mut boxes: Vec<FaceBox> = self
            .inner
            .detect(&picture)
            .iter()
            .filter(|found| found.score() as f32 >= MIN_SCORE && found.bbox().width() > 0)
            .map(|found| {
                let b = found.bbox();
                let (x, y) = back.apply(b.x() as f32, b.y() as f32);
                let side = back.scale();
                FaceBox {
                    x,
                    y,
                    width: b.width() as f32 * side,
                    height: b.height() as f32 * side,
                    score: found.score() as f32,
                }
            })
            .collect();
        let weight = |b: &FaceBox| b.score * b.width * b.height;
        boxes.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
        boxes
    }
}

fn scaled(side: u32, scale: f32) -> usize {
    ((side as f32 * scale).round() as usize).max(1)
}

/// 480 px first (or as it is, if smaller), then finer as far as that can show more.
fn search_scales(size: Size) -> Vec<f32> {
    let longest = size.longest() as f32;
    let mut scales = vec![(SEARCH_SIDES[0] / longest).min(1.0)];
    for side in &SEARCH_SIDES[1..] {
        let scale = (side / longest).min(MAX_ENLARGEMENT);
        if scale > 1.25 * scales[scales.len() - 1] && size.width.min(size.height) as f32 * scale >= WINDOW {
            scales.push(scale);
        }
    }
    scales
}

/// Finds and measures the main face of a frame. `natural_scale` is pixels of the user's picture per pixel of the frame;
/// `min_face` the narrowest face accepted, in pixels of the user's picture.
pub fn find(
    detector: &mut Detector,
    frame: &Frame,
    natural_scale: f32,
    min_face: u32,
) -> Result<Found, Complaint> {
    let boxes = detector.detect(frame);
    let Some(largest) = boxes.first() else {
        let finest = search_scales(frame.size()).last().copied().unwrap_or(1.0);
        let seen = (WINDOW / finest * natural_scale).max(1.0);
        return Err(Complaint::new(
            "no_face",
            format!(
                "no face was found in the picture; upright faces at least {seen:.0} px wide, seen from the front, are looked for"
            ),
            "use a frontal portrait, or say where the face is with --landmarks",
        ));
    };
    let width = largest.width * natural_scale;
    if width.round() < min_face as f32 {
        return Err(Complaint::new(
            "face_too_small",
            format!("the face is {width:.0} px wide, at least {min_face} px are needed"),
            "use a larger picture, or crop it to the face and enlarge it",
        ));
    }
    Ok(Found { face: measure(frame, *largest), others: boxes.len() - 1 })
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_embedded_model_is_the_published_one() {
        let digest: String = Sha256::digest(MODEL).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(digest, "c4619d066ed35e84d9a8e842860b0dff567aba0cbb139881075538761db3ff5d");
    }

    #[test]
    fn small_pictures_are_enlarged_and_large_ones_looked_at_again() {
        let rows: [((u32, u32), &[f32]); 5] = [
            ((480, 300), &[1.0, 1280.0 / 480.0, 4.0]),
            ((1280, 720), &[0.375, 1.0, 2.0]),
            ((3000, 2000), &[0.16, 1280.0 / 3000.0, 2560.0 / 3000.0]),
            ((1, 1), &[1.0]),
            ((64, 64), &[1.0, 4.0]),
        ];
        for ((w, h), expected) in rows {
            assert_eq!(search_scales(Size::new(w, h)), expected, "{w}x{h}");
        }
    }
}
