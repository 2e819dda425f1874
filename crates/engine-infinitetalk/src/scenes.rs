//! Which part of a clip is filmed in one go where its cuts count: a scene begins anew, with nothing taken over from the one before. Frames are read
//! once, ahead to the end of the scene; of them only those are kept that its chunks are conditioned on.

use std::collections::VecDeque;

use contract::EngineError;
use pictures::Picture;

use crate::picture::SceneDetector;
use crate::settings::FPS;

/// Frames that are kept in any case: a cut is known half a second and some frames late.
const RECENT: usize = 24;

/// A scene, in frames of the take.
pub struct Scene {
    pub start: u64,
    /// Behind its last frame.
    pub end: u64,
    /// What its chunks are conditioned on, by their frames.
    conditions: Vec<(u64, Picture<3>)>,
}

impl Scene {
    /// What is seen at a chunk's first frame, counted from the scene's start.
    pub fn condition(&self, at: u64) -> Option<&Picture<3>> {
        self.conditions.iter().find(|(frame, _)| *frame == self.start + at).map(|(_, picture)| picture)
    }
}

/// The scenes of a clip, one after the other.
pub struct Scenes {
    detector: Option<SceneDetector>,
    recent: VecDeque<(u64, Picture<3>)>,
    /// Frames that were read.
    read: u64,
    /// Of the take.
    frames: u64,
    /// From a chunk's first frame to that of the next.
    advance: u64,
    start: u64,
}

impl Scenes {
    pub fn new(frames: u64, advance: u64) -> Self {
        let detector = Some(SceneDetector::new(FPS));
        Self { detector, recent: VecDeque::new(), read: 0, frames, advance, start: 0 }
    }

    /// `see`: the picture of a frame of the take, each asked for once and in order.
    pub fn next(
        &mut self,
        mut see: impl FnMut(u64) -> Result<Picture<3>, EngineError>,
    ) -> Result<Option<Scene>, EngineError> {
        let (start, advance) = (self.start, self.advance);
        if start == self.frames {
            return Ok(None);
        }
        let begins = |frame: u64| frame >= start && (frame - start).is_multiple_of(advance);
        let mut conditions: Vec<_> =
            self.recent.iter().filter(|(frame, _)| begins(*frame)).cloned().collect();
        let mut end = None;
        while end.is_none() && self.read < self.frames {
            let (frame, picture) = (self.read, see(self.read)?);
            self.read += 1;
            let cut = self.detector.as_mut().and_then(|detector| detector.push(picture.view()));
            end = cut.filter(|cut| *cut > start);
            if begins(frame) {
                conditions.push((frame, picture.clone()));
            }
            self.recent.push_back((frame, picture));
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        let last = || self.detector.take().and_then(SceneDetector::finish).filter(|cut| *cut > start);
        let end = end.or_else(last).unwrap_or(self.frames);
        conditions.retain(|(frame, _)| *frame < end);
        self.start = end;
        Ok(Some(Scene { start, end, conditions }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of one colour each: red, then what `cuts` say, from there on.
    fn scenes(frames: u64, cuts: &[(u64, [u8; 3])]) -> Vec<(u64, u64, Vec<u64>)> {
        let colour =
            |at: u64| cuts.iter().rev().find(|(from, _)| *from <= at).map_or([200, 30, 30], |(_, c)| *c);
        let mut scenes = Scenes::new(frames, 8);
        let mut asked = 0;
        let mut found = Vec::new();
        while let Some(scene) = scenes
            .next(|at| {
                assert_eq!(at, asked, "each once, in order");
                asked += 1;
                let pixels = colour(at).repeat(16 * 16);
                Ok(Picture::new(pixels, (16, 16)).unwrap())
            })
            .unwrap()
        {
            let seen: Vec<u64> = scene.conditions.iter().map(|(frame, _)| frame - scene.start).collect();
            for &at in &seen {
                let picture = scene.condition(at).unwrap();
                assert_eq!(picture.view().row(0)[..3], colour(scene.start + at), "of its own scene");
            }
            found.push((scene.start, scene.end, seen));
        }
        assert_eq!(asked, frames);
        found
    }

    #[test]
    fn a_scene_ends_where_the_clip_is_cut() {
        assert_eq!(scenes(20, &[]), [(0, 20, vec![0, 8, 16])]);
        let (green, blue) = ([20, 220, 40], [10, 30, 230]);
        assert_eq!(
            scenes(70, &[(30, green), (50, blue)]),
            [(0, 30, vec![0, 8, 16, 24]), (30, 50, vec![0, 8, 16]), (50, 70, vec![0, 8, 16])]
        );
        // what is shorter than half a second belongs to the scene before
        assert_eq!(scenes(40, &[(30, green)]), [(0, 40, vec![0, 8, 16, 24, 32])]);
        assert_eq!(scenes(1, &[]), [(0, 1, vec![0])]);
    }
}
