//! The face in its canonical frame, with everything the measurements read from it.

use contract::Frame;

use crate::lab::{Lab, LabTables};
use crate::model::{CANON_HEIGHT, CANON_WIDTH, Similarity};
use crate::plane::Plane;
use crate::resample::{Grid, luma_of};

pub(crate) struct Canonical {
    pub rgb: Vec<[f32; 3]>,
    pub grey: Plane,
    pub lab: Lab,
}

impl Canonical {
    pub fn new(frame: &Frame, canon: &Similarity, tables: &LabTables) -> Self {
        let mut rgb = canonical_grid(canon).rgb(frame);
        for value in rgb.as_flattened_mut() {
            *value = value.clamp(0.0, 255.0);
        }
        let grey = rgb.iter().map(|&pixel| luma_of(pixel)).collect();
        let lab = tables.convert(&rgb, CANON_WIDTH, CANON_HEIGHT);
        Self { grey: Plane::new(CANON_WIDTH, CANON_HEIGHT, grey), lab, rgb }
    }
}

pub(crate) fn canonical_grid(canon: &Similarity) -> Grid {
    Grid { to_grid: *canon, width: CANON_WIDTH, height: CANON_HEIGHT }
}
