//! How far the mouth is open, three ways, each in eye distances: dark pixels between the lips (spec M1), pixels of colours that the
//! resting mouth does not show (teeth and tongue count as open, moving lips do not), and the drop of the chin under the nose.

use face::Similarity;

use crate::geometry::Geometry;
use crate::patch::{Plane, Window};
use crate::series::{correlation, detrended, mean, percentile};
use crate::track::{Reach, Template};

/// Canonical distance of the pupils: the unit of the series.
const EYE_DISTANCE: f32 = 80.0;
/// Samples a canonical px, across and down, where the lips are looked at.
const ZOOM: f32 = 2.0;
const LUMA_BINS: usize = 16;
const CHROMA_BINS: usize = 4;
const BINS: usize = LUMA_BINS * CHROMA_BINS;
/// Luma of the last bin, in units of the skin's.
const BRIGHTEST: f32 = 1.5;
/// Cr levels a chroma bin.
const CHROMA_STEP: f32 = 9.0;
/// The share of frames taken as resting.
const RESTING: f32 = 0.10;
/// What is slower than this is a turning head, not a mouth.
const TREND_FRAMES: f32 = 25.0;
/// Below this contrast a chin is too smooth to be followed, grey levels.
const CHIN_CONTRAST: f32 = 2.5;

/// Colours of a frame's mouth: counts of (luma, Cr) cells, in 1/65535 of all.
type Colours = [u16; BINS];

/// One picture as luma and Cr; Cr has half the sides.
#[derive(Clone, Copy)]
pub struct Colour<'a> {
    pub luma: Plane<'a>,
    pub cr: Plane<'a>,
}

/// Follows one mouth through a video.
pub struct MouthMeter {
    geometry: Geometry,
    chin: Template,
    last_chin: (f32, f32),
    dark: Vec<f32>,
    chin_drop: Vec<f32>,
    colours: Vec<Colours>,
}

/// One value a frame each.
#[derive(Clone, Debug, Default)]
pub struct Openings {
    pub dark: Vec<f32>,
    pub interior: Vec<f32>,
    /// Empty where the chin is too smooth to follow.
    pub chin: Vec<f32>,
}

impl MouthMeter {
    pub fn new(geometry: Geometry, to_picture: &Similarity, first: &Colour) -> Self {
        let chin = Template::new(&first.luma, to_picture, geometry.chin());
        Self { geometry, chin, last_chin: (0.0, 0.0), dark: vec![], chin_drop: vec![], colours: vec![] }
    }

    /// `nose` is how far the nose is from where it was in the first frame, canonical px.
    pub fn take(&mut self, to_picture: &Similarity, picture: &Colour, nose: (f32, f32)) {
        let skin_window = self.geometry.skin().shifted(nose.0, nose.1);
        let skin = picture.luma.cut(to_picture, skin_window).into_full_range();
        let skin = percentile(&skin.data, 0.5).max(1.0);
        let half = picture_to_half(to_picture);
        let skin_cr = percentile(&picture.cr.cut(&half, skin_window).data, 0.5);

        let lips = zoomed(self.geometry.lips().shifted(nose.0, nose.1));
        let luma = picture.luma.cut(&unzoom(to_picture), lips).into_full_range();
        let cr = picture.cr.cut(&unzoom(&half), lips);
        self.dark.push(dark_height(&luma.data, lips, skin));
        self.colours.push(colours(luma.data.iter().map(|y| y / skin), cr.data.iter().map(|v| v - skin_cr)));

        let guess = (nose.0 + self.last_chin.0, nose.1 + self.last_chin.1);
        let found = self.chin.find(&picture.luma, to_picture, guess, Reach { x: 4, up: 9, down: 9 });
        self.last_chin = ((found.dx - nose.0).clamp(-8.0, 8.0), (found.dy - nose.1).clamp(-10.0, 26.0));
        self.chin_drop.push((found.dy - nose.1) / EYE_DISTANCE);
    }

    /// Repeats the last frame's values: the face was lost in this one.
    pub fn skip(&mut self) {
        self.dark.extend(self.dark.last().copied());
        self.chin_drop.extend(self.chin_drop.last().copied());
        self.colours.extend(self.colours.last().copied());
    }

    pub fn finish(self) -> Openings {
        let chin = if self.chin.contrast() < CHIN_CONTRAST { vec![] } else { self.chin_drop };
        // where the darkness goes as the chin drops (bright teeth part dark lips), the chin knows better which frames rest
        let fast = |series: &[f32]| detrended(series, TREND_FRAMES);
        let bright = correlation(&fast(&self.dark), &fast(&chin)) < 0.0;
        let interior = interior(&self.colours, if bright { &chin } else { &self.dark });
        Openings { dark: self.dark, interior, chin }
    }
}

fn picture_to_half(to_picture: &Similarity) -> Similarity {
    // the centre of chroma sample 0 lies between luma samples 0 and 1 across and down
    to_picture.then(&Similarity { a: 0.5, b: 0.0, tx: -0.25, ty: -0.25 })
}

fn zoomed(window: Window) -> Window {
    Window {
        x: window.x * ZOOM,
        y: window.y * ZOOM,
        width: (window.width as f32 * ZOOM) as usize,
        height: (window.height as f32 * ZOOM) as usize,
    }
}

fn unzoom(to_picture: &Similarity) -> Similarity {
    Similarity { a: 1.0 / ZOOM, b: 0.0, tx: 0.0, ty: 0.0 }.then(to_picture)
}

/// Rows darker than half the skin, a column, over the middle 26 canonical px.
fn dark_height(luma: &[f32], window: Window, skin: f32) -> f32 {
    let margin = ((window.width as f32 - 26.0 * ZOOM) / 2.0) as usize;
    let mut sum = 0.0;
    for row in luma.chunks_exact(window.width) {
        for value in &row[margin..window.width - margin] {
            // a ramp over a tenth of the skin's luma: a moving edge counts by fractions of a row
            sum += ((0.55 - value / skin) * 10.0).clamp(0.0, 1.0);
        }
    }
    sum / (window.width - 2 * margin) as f32 / ZOOM / EYE_DISTANCE
}

fn colours(luma: impl Iterator<Item = f32>, cr: impl Iterator<Item = f32>) -> Colours {
    let mut bins = [0f32; BINS];
    let mut count = 0f32;
    for (y, v) in luma.zip(cr) {
        let y = (y / BRIGHTEST * (LUMA_BINS - 1) as f32).clamp(0.0, (LUMA_BINS - 1) as f32 - 1e-3);
        let v = (v / CHROMA_STEP + 1.0).clamp(0.0, (CHROMA_BINS - 1) as f32 - 1e-3);
        let (y0, v0) = (y as usize, v as usize);
        let (fy, fv) = (y - y0 as f32, v - v0 as f32);
        let at = v0 * LUMA_BINS + y0;
        // shared among the four nearest cells, so that noise at a border does not jump
        bins[at] += (1.0 - fy) * (1.0 - fv);
        bins[at + 1] += fy * (1.0 - fv);
        bins[at + LUMA_BINS] += (1.0 - fy) * fv;
        bins[at + LUMA_BINS + 1] += fy * fv;
        count += 1.0;
    }
    bins.map(|bin| (bin / count.max(1.0) * 65535.0).round() as u16)
}

/// The height of what the resting mouth does not show. Which frames rest is not known beforehand: first the least open
/// by `guess`, then, once, those that look most like them.
fn interior(colours: &[Colours], guess: &[f32]) -> Vec<f32> {
    let mut opening = guess.to_vec();
    for _ in 0..2 {
        let limit = percentile(&opening, RESTING);
        let resting = || colours.iter().zip(&opening).filter(|(_, o)| **o <= limit).map(|(c, _)| c);
        let count = resting().count().max(1) as f32;
        let mut rest = [0f32; BINS];
        for frame in resting() {
            for (sum, bin) in rest.iter_mut().zip(frame) {
                *sum += f32::from(*bin) / count;
            }
        }
        let lips_height = 42.0 / EYE_DISTANCE;
        let new = |c: &Colours| c.iter().zip(&rest).map(|(c, r)| (f32::from(*c) - r).max(0.0)).sum::<f32>();
        opening = colours.iter().map(|c| new(c) / 65535.0 * lips_height).collect();
    }
    opening
}

/// 0 at the resting mouth, 1 at the widest: (x - P5) / (P95 - P5).
pub fn normalised(opening: &[f32]) -> Vec<f32> {
    let (low, high) = (percentile(opening, 0.05), percentile(opening, 0.95));
    let range = (high - low).max(1e-6);
    opening.iter().map(|x| (x - low) / range).collect()
}

/// Whether a series moves at all: its range from P5 to P95 in eye distances.
pub fn range(opening: &[f32]) -> f32 {
    percentile(opening, 0.95) - percentile(opening, 0.05)
}

/// Mean of `opening` where `chosen`.
pub fn mean_where(opening: &[f32], chosen: impl Fn(usize) -> bool) -> Option<f32> {
    let picked: Vec<f32> = opening.iter().enumerate().filter(|(i, _)| chosen(*i)).map(|(_, x)| *x).collect();
    (!picked.is_empty()).then(|| mean(&picked))
}
