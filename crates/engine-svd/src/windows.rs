//! A take that is longer than the model's clip: windows one behind the other. Each begins some frames before the last one ends, at a frame of it, and
//! is faded in over the frames that both have.

use std::ops::Range;

use contract::Complaint;

/// How a take is cut into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Of the take.
    frames: u64,
    /// Of a window.
    length: usize,
    /// Frames that a window has in common with the one before.
    overlap: usize,
}

impl Windows {
    pub fn new(frames: u64, length: usize, overlap: usize) -> Result<Self, Complaint> {
        if overlap == 0 || overlap >= length {
            let message = format!(
                "overlap is {overlap}; it must be at least 1 and below num_frames, which is {length}"
            );
            return Err(Complaint::new("bad_setting", message, "correct it, or leave it out"));
        }
        Ok(Self { frames, length, overlap })
    }

    pub fn count(&self) -> u64 {
        let step = (self.length - self.overlap) as u64;
        1 + self.frames.saturating_sub(self.length as u64).div_ceil(step)
    }

    /// Which frames of window `at` go out by themselves; those after them wait for the next window.
    pub fn out(&self, at: u64) -> Range<usize> {
        let begin = at * (self.length - self.overlap) as u64;
        let end = if at + 1 < self.count() {
            self.length - self.overlap
        } else {
            usize::try_from(self.frames - begin).unwrap_or(self.length).min(self.length)
        };
        0..end
    }
}

/// The share of the new window in the `at`-th of `overlap` common frames.
pub fn share(at: usize, overlap: usize) -> f32 {
    (at + 1) as f32 / (overlap + 1) as f32
}

/// `old` faded into `new`, the `at`-th of `overlap` common frames.
pub fn faded(old: &[u8], new: &[u8], (at, overlap): (usize, usize)) -> Vec<u8> {
    let share = share(at, overlap);
    let mixed = |(&old, &new): (&u8, &u8)| {
        (f32::from(old) * (1.0 - share) + f32::from(new) * share).round_ties_even() as u8
    };
    old.iter().zip(new).map(mixed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_goes_out_once() {
        for (frames, length, overlap, count) in [
            (25, 25, 4, 1),
            (7, 25, 4, 1),
            (26, 25, 4, 2),
            (46, 25, 4, 2),
            (47, 25, 4, 3),
            (70, 25, 4, 4),
            (9, 2, 1, 8),
        ] {
            let windows = Windows::new(frames, length, overlap).unwrap();
            assert_eq!(windows.count(), count, "{windows:?}");
            let outs: Vec<_> = (0..count).map(|at| windows.out(at)).collect();
            assert_eq!(outs.iter().map(|out| out.len() as u64).sum::<u64>(), frames, "{outs:?}");
            assert!(outs.iter().all(|out| out.end <= length && !out.is_empty()), "{outs:?}");
        }
        for overlap in [0, 8, 9] {
            let said = Windows::new(20, 8, overlap).unwrap_err().message;
            assert!(said.contains(&format!("overlap is {overlap}")) && said.contains("is 8"), "{said}");
        }
    }

    #[test]
    fn a_window_is_faded_in() {
        let shares: Vec<f32> = (0..3).map(|at| share(at, 3)).collect();
        assert_eq!(shares, [0.25, 0.5, 0.75]);
        assert_eq!(faded(&[0, 100, 255], &[200, 100, 0], (0, 1)), [100, 100, 128]);
    }
}
