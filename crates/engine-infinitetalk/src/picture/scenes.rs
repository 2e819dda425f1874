//! Where a clip is cut: frames whose colours differ from the one before as only another scene does. In the spirit of PySceneDetect 0.6 (its
//! content and adaptive detectors): the mean change of hue, saturation and value, looked at beside the changes around it, so that a fast
//! movement is no cut. Frames are seen once, as they come. Deviations from InfiniteTalk 0107cd9 (`--scene_seg`): scenes of half a second or
//! less are joined to the one before (the first to the one after) where the reference loses them; hue goes round.

use std::collections::VecDeque;

use contract::Fps;
use pictures::View;

/// A change that is one whatever stands around it, in steps of a byte.
const CONTENT: f32 = 27.0;
/// The least change that can be one.
const LEAST: f32 = 15.0;
/// Times the mean of the changes around it.
const STANDS_OUT: f32 = 3.0;
/// The same of one that is large by itself: more than the movement around it.
const LARGE_STANDS_OUT: f32 = 1.5;
/// Frames on either side that it is looked at beside.
const AROUND: usize = 2;
/// The shortest scene, in seconds.
const SHORTEST: f64 = 0.5;
/// Pixels across that are looked at, at most about; of more, every second, every third, …
const ACROSS: usize = 256;
/// Hue goes round in 180 steps, as OpenCV counts.
const ROUND: f32 = 180.0;

/// A row of scenes: a scene is where one begins, in frames.
#[derive(Debug)]
pub struct SceneDetector {
    shortest: u64,
    /// Hue, saturation and value of the frame before.
    before: Vec<[f32; 3]>,
    /// Changes of the last frames, the newest last.
    changes: VecDeque<f32>,
    frames: u64,
    /// Where the scene began that is not yet long enough.
    young: Option<u64>,
}

impl SceneDetector {
    pub fn new(fps: Fps) -> Self {
        let shortest = (SHORTEST * fps.as_f64()).floor() as u64 + 1;
        Self { shortest, before: Vec::new(), changes: VecDeque::new(), frames: 0, young: None }
    }

    /// The next frame of the clip. -> where a scene begins that is now known to be one, half a second and two frames late
    pub fn push(&mut self, frame: View<3>) -> Option<u64> {
        let change = self.change(frame);
        self.frames += 1;
        // a cut that would make it too short would have been seen by now
        let ended = self.young.take_if(|begin| self.frames - *begin > self.shortest + AROUND as u64);
        self.changes.push_back(change);
        if self.changes.len() > 2 * AROUND + 1 {
            self.changes.pop_front();
        }
        // the frame in the middle now has all its neighbours
        if let Some(middle) = self.changes.len().checked_sub(AROUND + 1) {
            self.judge(middle, self.frames - 1 - AROUND as u64);
        }
        ended
    }

    /// The clip has ended. -> the last scene's beginning, if it was waited for. What began in the last two frames is too short.
    pub fn finish(self) -> Option<u64> {
        self.young.filter(|begin| self.frames - begin >= self.shortest)
    }

    /// middle: of `changes`; frame: its number
    fn judge(&mut self, middle: usize, frame: u64) {
        let change = self.changes[middle];
        let from = middle.saturating_sub(AROUND);
        let around: Vec<f32> = (from..self.changes.len().min(middle + AROUND + 1))
            .filter(|&i| i != middle)
            .map(|i| self.changes[i])
            .collect();
        let mean = around.iter().sum::<f32>() / around.len().max(1) as f32;
        let adaptive = change >= LEAST && change >= STANDS_OUT * mean;
        let content = change >= CONTENT && change >= LARGE_STANDS_OUT * mean;
        // what begins before the first scene is long enough belongs to it; what begins in a short one ends it
        if (adaptive || content) && frame >= self.shortest {
            self.young = Some(frame);
        }
    }

    /// The mean difference to the frame before, over hue, saturation and value; none before the first.
    fn change(&mut self, frame: View<3>) -> f32 {
        let step = frame.width().div_ceil(ACROSS);
        let pixels = frame.rows().step_by(step).flat_map(|row| row.chunks_exact(3).step_by(step));
        let now: Vec<[f32; 3]> = pixels.map(|rgb| hsv([rgb[0], rgb[1], rgb[2]])).collect();
        let differences = now.iter().zip(&self.before).map(|(now, before)| {
            let hue = (now[0] - before[0]).abs();
            hue.min(ROUND - hue) + (now[1] - before[1]).abs() + (now[2] - before[2]).abs()
        });
        let mean = if self.before.len() == now.len() {
            differences.sum::<f32>() / (3 * now.len()) as f32
        } else {
            0.0
        };
        self.before = now;
        mean
    }
}

/// Hue on [0, 180), saturation and value on [0, 255], as OpenCV has them of bytes.
fn hsv(rgb: [u8; 3]) -> [f32; 3] {
    let [r, g, b] = rgb.map(f32::from);
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    let range = most - least;
    if range == 0.0 {
        return [0.0, 0.0, most];
    }
    let sixth = match () {
        () if most == r => (g - b) / range,
        () if most == g => 2.0 + (b - r) / range,
        () => 4.0 + (r - g) / range,
    };
    [(sixth * ROUND / 6.0).rem_euclid(ROUND), range * 255.0 / most, most]
}

#[cfg(test)]
mod tests {
    use super::*;
    use pictures::Picture;

    /// A frame of a scene: its colours, moved a little by the frame's number.
    fn frame(scene: u64, number: u64) -> Picture<3> {
        let byte = |i: u64| {
            let (pixel, channel) = (i / 3 + number, i % 3);
            (60 + 150 * ((pixel / 16 + scene * 5 + channel * scene) % 2) + 13 * ((scene * 7 + channel) % 3))
                as u8
        };
        Picture::new((0..64 * 36 * 3).map(byte).collect(), (64, 36)).unwrap()
    }

    /// Scenes of so many frames each.
    fn found(lengths: &[u64]) -> Vec<u64> {
        let mut detector = SceneDetector::new(Fps::whole(25));
        let (mut cuts, mut number) = (Vec::new(), 0);
        for (scene, &length) in lengths.iter().enumerate() {
            for _ in 0..length {
                cuts.extend(detector.push(frame(scene as u64, number).view()));
                number += 1;
            }
        }
        cuts.extend(detector.finish());
        cuts
    }

    #[test]
    fn a_cut_is_found_where_it_is() {
        assert_eq!(found(&[40]), [] as [u64; 0]);
        assert_eq!(found(&[40, 40]), [40]);
        assert_eq!(found(&[30, 50, 13, 20]), [30, 80, 93]);
        assert_eq!(found(&[13, 13]), [13]);
        assert_eq!(found(&[]), [] as [u64; 0]);
    }

    #[test]
    fn short_scenes_are_joined_to_their_neighbours() {
        assert_eq!(found(&[12, 40]), [] as [u64; 0]); // the first to the one after
        assert_eq!(found(&[40, 12, 40]), [52]); // to the one before
        assert_eq!(found(&[40, 40, 12]), [40]); // and so the last
        assert_eq!(found(&[40, 5, 5, 40]), [50]);
    }

    #[test]
    fn steady_change_is_no_cut() {
        let mut detector = SceneDetector::new(Fps::whole(25));
        for number in 0..60u8 {
            let flat = Picture::<3>::new(vec![4 * number; 64 * 36 * 3], (64, 36)).unwrap();
            assert_eq!(detector.push(flat.view()), None);
        }
        assert_eq!(detector.finish(), None);
    }

    #[test]
    fn hue_goes_round() {
        for (rgb, want) in [
            ([255, 0, 0], [0.0, 255.0, 255.0]),
            ([0, 255, 0], [60.0, 255.0, 255.0]),
            ([0, 0, 128], [120.0, 255.0, 128.0]),
            ([9, 9, 9], [0.0, 0.0, 9.0]),
        ] {
            assert_eq!(hsv(rgb), want, "{rgb:?}");
        }
        assert!(hsv([255, 0, 4])[0] > 179.0);
    }
}
