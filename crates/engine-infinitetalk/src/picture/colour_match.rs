//! Keeps a long video from drifting in colour: every frame gets the mean and the deviation of L*, a* and b* that the first picture has.
//! Reference: InfiniteTalk 0107cd9, `match_and_blend_colors`. Deviation: a channel that is the same all over a frame has a
//! deviation of exactly zero here, where the reference may find a rounding error and blow it up. Refused: no pixels, parts of pixels,
//! a strength outside 0..1.

use pictures::Level;

use super::PictureError;
use super::lab::{BLOCK, Change, Lab, blocks_from_lab, blocks_to_lab};

/// Pixels that one thread takes at a time. Sums are made in this order, whatever the threads.
const BAND: usize = 16_384;
/// Blocks that are added up in f32.
const RUN: usize = 32;

/// Of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Spread {
    mean: f64,
    deviation: f64,
}

/// What frames are to look like, and how much of it they take on.
#[derive(Debug)]
pub struct ColourMatch {
    level: Level,
    reference: [Spread; 3],
    strength: f32,
    lab: Vec<Lab>,
}

impl ColourMatch {
    /// reference: interleaved RGB on [-1, 1]; strength: 0 leaves frames as they are, 1 gives them all of the reference's spread
    pub fn new(reference: &[f32], strength: f32) -> Result<Self, PictureError> {
        if !(0.0..=1.0).contains(&strength) {
            return Err(PictureError::Strength(strength));
        }
        let (level, mut lab) = (Level::best(), Vec::new());
        let reference = measured(level, checked(reference)?, &mut lab)?;
        Ok(Self { level, reference, strength, lab })
    }

    /// frame: interleaved RGB on [-1, 1], of any size; what lies beyond is clipped first
    pub fn apply(&mut self, frame: &mut [f32]) -> Result<(), PictureError> {
        checked(frame)?;
        if self.strength == 0.0 {
            return Ok(());
        }
        let spread = measured(self.level, frame, &mut self.lab)?;
        let scale = std::array::from_fn(|c| match (self.reference[c].deviation, spread[c].deviation) {
            (_, 0.0) => 0.0,
            (wanted, found) => wanted / found,
        });
        let shift = std::array::from_fn(|c| self.reference[c].mean - spread[c].mean * scale[c]);
        let single = |values: [f64; 3]| values.map(|v| v as f32);
        let change = Change { scale: single(scale), shift: single(shift), strength: self.strength };
        let level = self.level;
        let bands = self.lab.chunks(BAND / BLOCK).zip(frame.chunks_mut(3 * BAND)).collect();
        layers::each(bands, |(lab, rgb): (&[Lab], &mut [f32])| {
            let whole = rgb.len() / (3 * BLOCK);
            let (whole_rgb, rest) = rgb.split_at_mut(whole * 3 * BLOCK);
            blocks_from_lab(level, &lab[..whole], change, whole_rgb);
            if !rest.is_empty() {
                let mut block = padded(rest);
                blocks_from_lab(level, &lab[whole..], change, &mut block);
                rest.copy_from_slice(&block[..rest.len()]);
            }
        })
        .map_err(PictureError::Threads)
    }
}

fn checked(rgb: &[f32]) -> Result<&[f32], PictureError> {
    if rgb.is_empty() || !rgb.len().is_multiple_of(3) {
        Err(PictureError::Pixels(rgb.len()))
    } else {
        Ok(rgb)
    }
}

/// Pixels that do not fill a block, with the last one going on.
fn padded(rest: &[f32]) -> [f32; 3 * BLOCK] {
    let last = rest.len() - 3;
    std::array::from_fn(|i| if i < rest.len() { rest[i] } else { rest[last + i % 3] })
}

/// Sums of what lies above a pixel's values, and of its squares.
type Sums = [[f64; 2]; 3];

/// lab: becomes the pixels' L*, a*, b*, the last block filled up with the last pixel
fn measured(level: Level, rgb: &[f32], lab: &mut Vec<Lab>) -> Result<[Spread; 3], PictureError> {
    let pixels = rgb.len() / 3;
    lab.resize(pixels.div_ceil(BLOCK), Lab::default());
    let mut first = [Lab::default()];
    blocks_to_lab(level, &padded(&rgb[..3]), &mut first);
    // a frame of one colour has no spread at all when it is measured from one of its own pixels
    let pivot = first[0].map(|channel| channel[0]);
    let mut sums = vec![Sums::default(); pixels.div_ceil(BAND)];
    let bands = lab.chunks_mut(BAND / BLOCK).zip(rgb.chunks(3 * BAND)).zip(&mut sums).collect();
    layers::each(bands, |((lab, rgb), sums): ((&mut [Lab], &[f32]), &mut Sums)| {
        let (whole, rest) = rgb.split_at(rgb.len() / (3 * BLOCK) * 3 * BLOCK);
        blocks_to_lab(level, whole, lab);
        if !rest.is_empty() {
            blocks_to_lab(level, &padded(rest), &mut lab[whole.len() / (3 * BLOCK)..]);
        }
        *sums = summed(lab, pivot, rgb.len() / 3);
    })
    .map_err(PictureError::Threads)?;
    let mut total = Sums::default();
    for sums in sums {
        total.iter_mut().flatten().zip(sums.iter().flatten()).for_each(|(total, sum)| *total += sum);
    }
    let n = pixels as f64;
    Ok(std::array::from_fn(|c| {
        let [sum, squares] = total[c];
        let above = sum / n;
        Spread { mean: f64::from(pivot[c]) + above, deviation: (squares / n - above * above).max(0.0).sqrt() }
    }))
}

fn summed(lab: &[Lab], pivot: [f32; 3], pixels: usize) -> Sums {
    let mut sums = Sums::default();
    // f32 adds up little before f64 takes over
    for (run, lab) in lab.chunks(RUN).enumerate() {
        let pixels = pixels - run * RUN * BLOCK;
        for (c, total) in sums.iter_mut().enumerate() {
            let (mut sums, mut squares) = ([0f32; BLOCK], [0f32; BLOCK]);
            let mut add = |block: &Lab, pixels: usize| {
                for i in 0..pixels {
                    let above = block[c][i] - pivot[c];
                    sums[i] += above;
                    squares[i] += above * above;
                }
            };
            let (whole, rest) = lab.split_at(lab.len().min(pixels / BLOCK));
            whole.iter().for_each(|block| add(block, BLOCK));
            rest.iter().for_each(|block| add(block, pixels % BLOCK));
            for (total, lanes) in total.iter_mut().zip([sums, squares]) {
                *total += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels of a wandering colour around `centre`.
    fn frame(pixels: usize, centre: f32, reach: f32) -> Vec<f32> {
        (0..3 * pixels).map(|i| centre + reach * ((i * i % 97) as f32 / 48.0 - 1.0)).collect()
    }

    fn spread(rgb: &[f32]) -> [Spread; 3] {
        measured(Level::best(), rgb, &mut Vec::new()).unwrap()
    }

    #[test]
    fn a_frame_takes_on_the_spread_of_the_reference() {
        // sizes around a block and a band
        for pixels in [7, BLOCK, 5 * BLOCK + 3, BAND, 2 * BAND + 21] {
            let reference = frame(400, 0.1, 0.2);
            let mut made = frame(pixels, -0.2, 0.35);
            ColourMatch::new(&reference, 1.0).unwrap().apply(&mut made).unwrap();
            for (have, want) in spread(&made).iter().zip(spread(&reference)) {
                assert!((have.mean - want.mean).abs() < 0.01, "{pixels}: {have:?}, {want:?}");
                assert!((have.deviation - want.deviation).abs() < 0.01, "{pixels}: {have:?}, {want:?}");
            }
        }
    }

    #[test]
    fn sums_are_those_of_every_pixel_by_itself() {
        let rgb = frame(BAND + BLOCK + 5, 0.0, 0.9);
        let mut lab = Vec::new();
        let found = measured(Level::best(), &rgb, &mut lab).unwrap();
        let pixels = rgb.len() / 3;
        for (c, found) in found.into_iter().enumerate() {
            let values: Vec<f64> = (0..pixels).map(|i| f64::from(lab[i / BLOCK][c][i % BLOCK])).collect();
            let mean = values.iter().sum::<f64>() / pixels as f64;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / pixels as f64;
            assert!((found.mean - mean).abs() < 1e-4, "{found:?} {mean}");
            assert!((found.deviation - variance.sqrt()).abs() < 1e-4, "{found:?} {variance}");
        }
    }

    #[test]
    fn one_colour_becomes_the_mean_and_no_strength_nothing() {
        let reference = frame(400, 0.1, 0.2);
        let mut flat = [0.3, -0.7, 0.513].repeat(1000);
        ColourMatch::new(&reference, 1.0).unwrap().apply(&mut flat).unwrap();
        assert!(flat.chunks_exact(3).all(|pixel| pixel == &flat[..3]));
        for (have, want) in spread(&flat[..3]).iter().zip(spread(&reference)) {
            assert!((have.mean - want.mean).abs() < 1e-3, "{have:?}, {want:?}");
        }
        let mut same = frame(50, 0.4, 0.8);
        ColourMatch::new(&reference, 0.0).unwrap().apply(&mut same).unwrap();
        assert_eq!(same, frame(50, 0.4, 0.8));
    }

    #[test]
    fn what_is_refused() {
        let said = |rgb: &[f32], strength| ColourMatch::new(rgb, strength).unwrap_err().to_string();
        assert_eq!(said(&[0.0; 3], 1.5), "a colour correction of strength 1.5 cannot be; give 0 to 1");
        assert_eq!(said(&[0.0; 3], f32::NAN), "a colour correction of strength NaN cannot be; give 0 to 1");
        assert_eq!(said(&[], 1.0), "0 values are not the pixels of an RGB picture");
        assert_eq!(said(&[0.0; 4], 1.0), "4 values are not the pixels of an RGB picture");
    }
}
