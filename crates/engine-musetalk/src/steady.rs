//! Boxes over time: a face that is missed in a few frames is held between its neighbours, one that is missed longer passes untouched and is
//! blended out and in again, and what is left of the trembling of the boxes is smoothed away. That needs some frames of lookahead.

use std::collections::VecDeque;

use crate::sight::Seen;

/// Frames that are looked ahead and back.
pub const REACH: usize = 8;
/// Missed frames that are bridged.
const BRIDGED: usize = 4;
/// Frames in which the face comes and goes, before a gap and after it.
const RAMP: usize = 4;
/// Of the Gaussian over a box's middle and size, in frames.
const SIGMA_PLACE: f32 = 0.8;
const SIGMA_SIZE: f32 = 2.0;

/// A face to be made, and how much of it is to be seen: 0..1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    pub seen: Seen,
    pub weight: f32,
}

/// How it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steadying {
    /// Each frame for itself, at once.
    None,
    Smooth,
}

/// Frames go in with what was seen, and come out later with what is to be done.
pub struct Steady<T> {
    how: Steadying,
    /// Frames with what was seen; the next to come out is `at`.
    window: VecDeque<(Option<T>, Option<Seen>)>,
    at: usize,
}

impl<T> Steady<T> {
    pub fn new(how: Steadying) -> Self {
        Self { how, window: VecDeque::new(), at: 0 }
    }

    pub fn push(&mut self, frame: T, seen: Option<Seen>) {
        self.window.push_back((Some(frame), seen));
    }

    /// The next frame, if enough of what follows is known. `ended`: nothing follows.
    pub fn next(&mut self, ended: bool) -> Option<(T, Option<Placed>)> {
        let ahead = match self.how {
            Steadying::None => 0,
            Steadying::Smooth => REACH,
        };
        if self.at >= self.window.len() || (!ended && self.at + ahead >= self.window.len()) {
            return None;
        }
        let placed = match self.how {
            Steadying::None => self.window[self.at].1.map(|seen| Placed { seen, weight: 1.0 }),
            Steadying::Smooth => self.smoothed(),
        };
        let frame = self.window[self.at].0.take()?;
        self.at += 1;
        while self.at > REACH {
            self.window.pop_front();
            self.at -= 1;
        }
        Some((frame, placed))
    }

    fn smoothed(&self) -> Option<Placed> {
        let seen = self.bridged(self.at)?;
        let weight = self.weight();
        let (mut place, mut size, mut of_place, mut of_size) = ([0.0; 2], [0.0; 2], 0.0, 0.0);
        for side in [1, -1] {
            for step in 0..=REACH {
                if side < 0 && step == 0 {
                    continue;
                }
                // not over a gap: behind it may be another scene
                let Some(other) = self.beside(side * step as isize).and_then(|i| self.bridged(i)) else {
                    break;
                };
                if !alike(&other, &seen) {
                    break;
                }
                let gauss = |sigma: f32| (-0.5 * (step as f32 / sigma).powi(2)).exp();
                let (p, s) = (gauss(SIGMA_PLACE), gauss(SIGMA_SIZE));
                let [x1, y1, x2, y2] = other.edges;
                place = [place[0] + p * (x1 + x2) / 2.0, place[1] + p * (y1 + y2) / 2.0];
                size = [size[0] + s * (x2 - x1), size[1] + s * (y2 - y1)];
                (of_place, of_size) = (of_place + p, of_size + s);
            }
        }
        let [x, y] = place.map(|sum| sum / of_place);
        let [w, h] = size.map(|sum| sum / of_size);
        // to the nearest pixel, so that a box at rest does not flicker between two
        let edges = [x - w / 2.0, (y - h / 2.0).max(0.0), x + w / 2.0, y + h / 2.0].map(f32::round);
        Some(Placed { seen: Seen { edges, ..seen }, weight })
    }

    fn beside(&self, step: isize) -> Option<usize> {
        self.at.checked_add_signed(step).filter(|&i| i < self.window.len())
    }

    /// What was seen, or what must have been there between two frames that are near.
    fn bridged(&self, at: usize) -> Option<Seen> {
        if let Some(seen) = self.window[at].1 {
            return Some(seen);
        }
        let before = (1..=BRIDGED).find_map(|n| Some((n, self.window.get(at.checked_sub(n)?)?.1?)));
        let after = (1..=BRIDGED).find_map(|n| Some((n, self.window.get(at + n)?.1?)));
        let ((back, before), (ahead, after)) = before.zip(after)?;
        if back + ahead > BRIDGED + 1 || !alike(&before, &after) {
            return None;
        }
        let share = back as f32 / (back + ahead) as f32;
        let edges = std::array::from_fn(|i| before.edges[i] + share * (after.edges[i] - before.edges[i]));
        Some(Seen { edges, ..before })
    }

    /// Less near a frame without a face; the beginning and the end of a clip are none.
    fn weight(&self) -> f32 {
        let gap = (1..=RAMP).find(|&n| {
            let missed = |step: isize| self.beside(step).is_some_and(|i| self.bridged(i).is_none());
            missed(n as isize) || missed(-(n as isize))
        });
        gap.map_or(1.0, |distance| distance as f32 / (RAMP + 1) as f32)
    }
}

/// Whether a box can have come from the other in a few frames: else it is another scene.
fn alike(a: &Seen, b: &Seen) -> bool {
    let middle = |seen: &Seen| [(seen.edges[0] + seen.edges[2]) / 2.0, (seen.edges[1] + seen.edges[3]) / 2.0];
    let side = |seen: &Seen| (seen.edges[2] - seen.edges[0]).max(1.0);
    let ([ax, ay], [bx, by]) = (middle(a), middle(b));
    (ax - bx).hypot(ay - by) < 0.5 * side(a) && (0.7..1.4).contains(&(side(a) / side(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(x: f32) -> Seen {
        Seen { edges: [x, 50.0, x + 100.0, 170.0], canon: None, confidence: 1.0, others: 0 }
    }

    fn run(rows: Vec<Option<Seen>>, how: Steadying) -> Vec<Option<Placed>> {
        let mut steady = Steady::new(how);
        let mut out = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            steady.push(i, *row);
            while let Some((frame, placed)) = steady.next(false) {
                assert_eq!(frame, out.len());
                out.push(placed);
            }
            assert!(steady.window.len() <= 2 * REACH + 1);
        }
        while let Some((_, placed)) = steady.next(true) {
            out.push(placed);
        }
        assert_eq!(out.len(), rows.len());
        out
    }

    #[test]
    fn a_box_at_rest_stands_still() {
        let trembling: Vec<_> = (0..40).map(|i| Some(seen(if i % 2 == 0 { 100.4 } else { 99.6 }))).collect();
        let out = run(trembling.clone(), Steadying::Smooth);
        let places: Vec<_> = out.iter().map(|placed| placed.unwrap().seen.edges[0]).collect();
        assert!(places.iter().all(|&x| x == 100.0), "{places:?}");
        let raw = run(trembling, Steadying::None);
        assert_eq!(raw[0].unwrap().seen.edges[0], 100.4);
    }

    #[test]
    fn a_moving_box_is_not_left_behind() {
        let rows: Vec<_> = (0..40).map(|i| Some(seen(100.0 + 3.0 * i as f32))).collect();
        for (i, placed) in run(rows, Steadying::Smooth).iter().enumerate().skip(REACH).take(24) {
            let x = placed.unwrap().seen.edges[0];
            assert!((x - (100.0 + 3.0 * i as f32)).abs() <= 1.0, "{i} {x}");
        }
    }

    #[test]
    fn short_gaps_are_bridged_and_long_ones_pass_with_a_fade() {
        let gap = |from: usize, length: usize| {
            let row = move |i: usize| (!(from..from + length).contains(&i)).then(|| seen(100.0 + i as f32));
            (0..40).map(row).collect::<Vec<_>>()
        };
        let short = run(gap(20, 3), Steadying::Smooth);
        assert!(short.iter().all(|placed| placed.is_some_and(|placed| placed.weight == 1.0)));
        assert!((short[21].unwrap().seen.edges[0] - 121.0).abs() <= 1.0);
        let long = run(gap(20, 10), Steadying::Smooth);
        assert!(long[20..30].iter().all(Option::is_none));
        let weights: Vec<_> = long[14..20].iter().chain(&long[30..36]).map(|p| p.unwrap().weight).collect();
        assert_eq!(weights, [1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0]);
        let none = run(vec![None; 20], Steadying::Smooth);
        assert!(none.iter().all(Option::is_none));
    }

    #[test]
    fn a_cut_is_not_smoothed_over() {
        let rows: Vec<_> = (0..30).map(|i| Some(seen(if i < 15 { 100.0 } else { 700.0 }))).collect();
        let out = run(rows, Steadying::Smooth);
        assert_eq!((out[14].unwrap().seen.edges[0], out[15].unwrap().seen.edges[0]), (100.0, 700.0));
    }
}
