//! OpenCV's `GaussianBlur` of bytes, sigma by the kernel's size, border `BORDER_REFLECT_101`. It computes in whole numbers: weights of 8 bits
//! whose sum is exactly one, 16 bits across, 32 bits down, one rounding.

use std::ops::Range;

use super::{Level, PictureError, Plane, View, leveled};

/// Bits of a weight.
const BITS: u32 = 8;
/// Values that are summed up at a time, in registers.
const BLOCK: usize = 64;

/// A kernel, and rows for blurring with it.
#[derive(Debug)]
pub struct Gauss {
    level: Level,
    /// The first half and the middle; the rest is its mirror.
    half: Vec<u16>,
    padded: Vec<u8>,
    /// Rows blurred across, in 256ths of a byte.
    lines: Vec<u16>,
    /// Of each of them, whether anything in it is not zero.
    lit: Vec<bool>,
    taps: Vec<Pair>,
}

/// Two source rows of equal weight.
#[derive(Clone, Copy, Debug)]
struct Pair {
    rows: [usize; 2],
    weight: u32,
}

impl Gauss {
    /// side: of the kernel, odd
    pub fn new(side: usize) -> Result<Self, PictureError> {
        Self::on(Level::best(), side)
    }

    pub(crate) fn on(level: Level, side: usize) -> Result<Self, PictureError> {
        if side.is_multiple_of(2) {
            return Err(PictureError::Kernel((side, side)));
        }
        Ok(Self {
            level,
            half: whole(&exact(side)),
            padded: Vec::new(),
            lines: Vec::new(),
            lit: Vec::new(),
            taps: Vec::new(),
        })
    }

    /// Of the kernel.
    pub fn side(&self) -> usize {
        2 * self.half.len() - 1
    }

    /// `to` takes the size of `from`. Rows and columns that are black as far as the kernel reaches stay so and cost nothing.
    pub fn blur(&mut self, from: View<1>, to: &mut Plane) {
        let (width, height) = from.size();
        to.reshape((width, height));
        to.bytes.fill(0);
        let reach = self.half.len() - 1;
        let lit = columns(from, &mut self.padded);
        if lit.is_empty() {
            return;
        }
        let grown = lit.start.saturating_sub(reach)..(lit.end + reach).min(width);
        self.lines.resize(grown.len() * height, 0);
        self.lit.clear();
        for (row, line) in from.rows().zip(self.lines.chunks_exact_mut(grown.len())) {
            let lit = row[lit.clone()].iter().fold(0, |any, v| any | v) != 0;
            self.lit.push(lit);
            if !lit {
                line.fill(0);
                continue;
            }
            self.padded.clear();
            let (start, end) = (grown.start as isize - reach as isize, (grown.end + reach) as isize);
            let inside = start.max(0)..end.min(width as isize);
            self.padded.extend((start..inside.start).map(|x| row[reflected(x, width)]));
            self.padded.extend_from_slice(&row[inside.start as usize..inside.end as usize]);
            self.padded.extend((inside.end..end).map(|x| row[reflected(x, width)]));
            across(self.level, &self.padded, &self.half, line);
        }
        for (y, out) in to.bytes.chunks_exact_mut(width).enumerate() {
            self.taps.clear();
            let mut dark = true;
            for (i, &weight) in self.half.iter().enumerate() {
                let away = (reach - i) as isize;
                let rows = [-away, away].map(|by| reflected(y as isize + by, height));
                let lit = rows.iter().any(|&row| self.lit[row]);
                dark &= !lit;
                // the middle comes last, whatever it is
                if lit || away == 0 {
                    self.taps.push(Pair { rows, weight: u32::from(weight) });
                }
            }
            if !dark {
                down(self.level, &self.lines, &self.taps, &mut out[grown.clone()]);
            }
        }
    }
}

/// From the first column to the last with anything in it. any: for the columns, of no meaning before and after
fn columns(plane: View<1>, any: &mut Vec<u8>) -> Range<usize> {
    any.clear();
    any.resize(plane.width(), 0);
    plane.rows().for_each(|row| any.iter_mut().zip(row).for_each(|(any, &v)| *any |= v));
    let end = any.iter().rposition(|&v| v != 0).map_or(0, |last| last + 1);
    any.iter().position(|&v| v != 0).unwrap_or(0)..end
}

/// `BORDER_REFLECT_101`: the picture goes on as in a mirror that stands on its last pixel.
fn reflected(at: isize, n: usize) -> usize {
    let period = 2 * (n as isize - 1);
    if period == 0 {
        return 0;
    }
    let at = at.rem_euclid(period);
    at.min(period - at) as usize
}

/// The first half of `getGaussianKernel` and its middle, of sum one with its mirror.
fn exact(side: usize) -> Vec<f64> {
    // these are not what the formula gives
    match side {
        1 => return vec![1.0],
        3 => return vec![0.25, 0.5],
        5 => return vec![0.0625, 0.25, 0.375],
        7 => return vec![0.03125, 0.109375, 0.21875, 0.28125],
        _ => {}
    }
    let sigma = side as f64 * 0.15 + 0.35;
    let middle = (side - 1) as f64 / 2.0;
    let value = |i: usize| (-0.5 * (i as f64 - middle).powi(2) / (sigma * sigma)).exp();
    let values: Vec<f64> = (0..=side / 2).map(value).collect();
    let sum = 2.0 * values[..side / 2].iter().sum::<f64>() + 1.0;
    values.iter().map(|value| value / sum).collect()
}

/// In 256ths, what rounding takes from one weight going to the next; the middle gets the rest.
fn whole(exact: &[f64]) -> Vec<u16> {
    let one = 1 << BITS;
    let (mut owed, mut sum) = (0.0, 0);
    let side = &exact[..exact.len() - 1];
    let mut weights: Vec<u16> = side
        .iter()
        .map(|&weight| {
            let wanted = weight * f64::from(one) + owed;
            let given = wanted.round_ties_even();
            owed = wanted - given;
            sum += 2 * given as i32;
            given as u16
        })
        .collect();
    weights.push((one - sum) as u16);
    weights
}

leveled! {
    /// A padded row across. Nothing overflows: the weights' sum is 256.
    fn across(padded: &[u8], half: &[u16], out: &mut [u16]) {
        let last = 2 * (half.len() - 1);
        let middle = half.len() - 1;
        let mut x = 0;
        while x + BLOCK <= out.len() {
            let mut sums = [0; BLOCK];
            for (i, &weight) in half[..middle].iter().enumerate() {
                let left: &[u8; BLOCK] = padded[x + i..][..BLOCK].try_into().expect("cut to a block");
                let right: &[u8; BLOCK] = padded[x + last - i..][..BLOCK].try_into().expect("cut to a block");
                for j in 0..BLOCK {
                    sums[j] += weight * (u16::from(left[j]) + u16::from(right[j]));
                }
            }
            let centre: &[u8; BLOCK] = padded[x + middle..][..BLOCK].try_into().expect("cut to a block");
            for j in 0..BLOCK {
                out[x + j] = sums[j] + half[middle] * u16::from(centre[j]);
            }
            x += BLOCK;
        }
        for x in x..out.len() {
            let pair = |i: usize| half[i] * (u16::from(padded[x + i]) + u16::from(padded[x + last - i]));
            out[x] = (0..middle).map(pair).sum::<u16>() + half[middle] * u16::from(padded[x + middle]);
        }
    }
}

leveled! {
    /// Pairs of lines to a row of the result. Last comes the middle, a pair of one line that counts once.
    fn down(lines: &[u16], pairs: &[Pair], out: &mut [u8]) {
        let width = out.len();
        let Some((middle, pairs)) = pairs.split_last() else { return };
        let byte = |sum: u32| ((sum + (1 << (2 * BITS - 1))) >> (2 * BITS)) as u8;
        let mut x = 0;
        while x + BLOCK <= width {
            let centre: &[u16; BLOCK] =
                lines[middle.rows[0] * width + x..][..BLOCK].try_into().expect("cut to a block");
            let mut sums = centre.map(|value| middle.weight * u32::from(value));
            for pair in pairs {
                let [above, below] = pair.rows.map(|row| -> &[u16; BLOCK] {
                    lines[row * width + x..][..BLOCK].try_into().expect("cut to a block")
                });
                for j in 0..BLOCK {
                    sums[j] += pair.weight * (u32::from(above[j]) + u32::from(below[j]));
                }
            }
            for j in 0..BLOCK {
                out[x + j] = byte(sums[j]);
            }
            x += BLOCK;
        }
        for x in x..width {
            let value = |row: usize| u32::from(lines[row * width + x]);
            let sum: u32 = pairs.iter().map(|p| p.weight * (value(p.rows[0]) + value(p.rows[1]))).sum();
            out[x] = byte(sum + middle.weight * value(middle.rows[0]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::{noise, pattern};

    fn blurred(level: Level, from: &Plane, side: usize) -> Plane {
        let mut out = Plane::scratch();
        Gauss::on(level, side).unwrap().blur(from.view(), &mut out);
        out
    }

    #[test]
    fn as_opencv_blurs() {
        // the kernel reaches over the border, and over the picture's other end
        let rows = [114, 113, 112, 111, 114, 114, 112, 111, 114, 114, 112, 111];
        assert_eq!(blurred(Level::best(), &pattern(4, 3), 11).bytes(), rows);
        assert_eq!(blurred(Level::best(), &pattern(1, 4), 5).bytes(), [85, 103, 124, 126]);
        assert_eq!(blurred(Level::best(), &Plane::new(vec![7], (1, 1)).unwrap(), 9).bytes(), [7]);
        assert_eq!(blurred(Level::best(), &pattern(9, 7), 1), pattern(9, 7));
    }

    #[test]
    fn weights_are_whole_and_sum_up_to_one() {
        for side in (1..400).step_by(2) {
            let half = Gauss::new(side).unwrap().half;
            let sides: u32 = half[..half.len() - 1].iter().map(|&w| u32::from(w)).sum();
            assert_eq!(2 * sides + u32::from(half[half.len() - 1]), 256, "{side}");
        }
        let even = Gauss::new(4).unwrap_err().to_string();
        assert_eq!(even, "a kernel of 4x4 has no middle; both sides must be odd");
    }

    #[test]
    fn every_level_is_the_plain_blur_wherever_the_light_is() {
        for (i, (size, side, light)) in [
            ((150, 70), 31, [0, 0, 150, 70]),
            ((150, 70), 13, [60, 40, 64, 44]),
            ((150, 70), 65, [0, 69, 1, 70]),
            ((150, 70), 9, [149, 0, 150, 1]),
            ((5, 90), 77, [4, 1, 5, 2]),
            ((90, 2), 21, [0, 0, 3, 1]),
            ((8, 8), 3, [0, 0, 0, 0]),
        ]
        .into_iter()
        .enumerate()
        {
            let [x1, y1, x2, y2] = light;
            let (full, mut plane) = (noise::<1>(size, i as u64), Plane::blank(size).unwrap());
            for y in y1..y2 {
                plane.view_mut().row_mut(y)[x1..x2].copy_from_slice(&full.view().row(y)[x1..x2]);
            }
            let half = Gauss::new(side).unwrap().half;
            let weight = |i: usize| u32::from(half[i.min(side - 1 - i)]);
            let plainly = |x: usize, y: usize| {
                let mut sum = 1 << 15;
                for j in 0..side {
                    let row = plane.view().row(reflected((y + j) as isize - (side / 2) as isize, size.1));
                    let line: u32 = (0..side)
                        .map(|i| {
                            weight(i)
                                * u32::from(row[reflected((x + i) as isize - (side / 2) as isize, size.0)])
                        })
                        .sum();
                    sum += weight(j) * line;
                }
                (sum >> 16) as u8
            };
            let expect: Vec<u8> = (0..size.0 * size.1).map(|i| plainly(i % size.0, i / size.0)).collect();
            for level in [Level::PORTABLE, Level::best()] {
                assert_eq!(blurred(level, &plane, side).bytes(), expect, "{level:?} {size:?} {side}");
            }
        }
    }

    #[test]
    fn one_blur_leaves_nothing_for_the_next() {
        let mut gauss = Gauss::new(15).unwrap();
        let (mut out, mut alone) = (Plane::scratch(), Plane::scratch());
        gauss.blur(noise::<1>((90, 90), 1).view(), &mut out);
        let mut spot = Plane::blank((60, 40)).unwrap();
        spot.view_mut().row_mut(20)[30] = 255;
        gauss.blur(spot.view(), &mut out);
        Gauss::new(15).unwrap().blur(spot.view(), &mut alone);
        assert_eq!(out, alone);
    }
}
