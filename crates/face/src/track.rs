//! Follows one face through a clip. The pose comes from aligning the upper face with remembered views of it; the mouth line
//! and the lids are measured anew in every frame. Without a face the last pose is held and the quality is 0.

use contract::Frame;

use crate::align::{AROUND, LEFT, TOP, Template, VIEW_HEIGHT, VIEW_WIDTH, View};
use crate::canonical::Canonical;
use crate::contour::SteadyMouth;
use crate::detect::Detector;
use crate::lab::LabTables;
use crate::lids::lids;
use crate::lips::lips;
use crate::measure::{measure, redness};
use crate::model::{EYE_X, EYE_Y, Face, FaceBox, Similarity};
use crate::mouth_line::{trace, valleys};
use crate::mouth_map::relative_redness;
use crate::resample::Grid;

/// Likeness above which an alignment is believed.
const BELIEVED: f32 = 0.60;
/// A fall of likeness within one frame by which the shot may have changed.
const FALL: f32 = 0.2;
/// Below this likeness to every remembered view the present one is remembered too.
const FAMILIAR: f32 = 0.88;
/// Views of the face that are remembered at most.
const MAX_VIEWS: usize = 6;
/// Every so many frames the detector has to confirm that there is a face.
const CONFIRM_EVERY: u64 = 48;
/// A lost face is searched in the whole frame at once, then after 1, 2, 4, … frames, at most after so many.
const MAX_PAUSE: u64 = 16;
/// Share of a new frame in the lids; blinks last 6 frames.
const LID_RATE: f32 = 0.5;

/// The face in one frame.
#[derive(Clone, Debug)]
pub struct Tracked {
    pub face: Face,
    /// Likeness to the face as remembered, 0..1; 0 where no face was found and the last pose is held.
    pub quality: f32,
}

/// Follows a face from frame to frame. It owns a detector and stays in its thread.
pub struct Tracker {
    detector: Detector,
    tables: LabTables,
    views: Vec<Template>,
    /// The view that fitted last.
    current: usize,
    /// Pose of the last frame as aligned; the prediction for the next.
    aligned: Similarity,
    /// Likeness of the last frame with a face.
    likeness: f32,
    /// What is handed out: pose steadied, mouth and lids of the last frame.
    face: Face,
    mouth: SteadyMouth,
    /// The box in canonical px: (x, y, side).
    bounds: (f32, f32, f32),
    /// Frames followed.
    frames: u64,
    /// Frames since the face was lost, and the pause until the next search.
    missing: u64,
    pause: u64,
}

impl Tracker {
    /// `face` as found in `frame`, the first of the clip.
    pub fn new(frame: &Frame, face: Face) -> Self {
        let view = view_of(frame, &face.canon);
        Self {
            detector: Detector::new(),
            tables: LabTables::new(),
            views: vec![Template::new(&view)],
            current: 0,
            aligned: face.canon,
            likeness: 1.0,
            mouth: SteadyMouth::new(&face.mouth),
            bounds: canonical_bounds(&face),
            face,
            frames: 0,
            missing: 0,
            pause: 0,
        }
    }

    /// The face in the next frame of the clip.
    pub fn follow(&mut self, frame: &Frame) -> Tracked {
        self.frames += 1;
        let quality = self.locate(frame);
        if quality > 0.0 {
            (self.missing, self.pause) = (0, 0);
            self.look_closely(frame);
        } else {
            self.missing += 1;
        }
        Tracked { face: self.face.clone(), quality }
    }

    /// Finds the pose; 0 where there is no face.
    fn locate(&mut self, frame: &Frame) -> f32 {
        let due = self.frames.is_multiple_of(CONFIRM_EVERY);
        let (pose, likeness) = self.align(frame, &self.aligned.clone());
        let cut = likeness < FAMILIAR && self.likeness - likeness > FALL;
        if likeness >= BELIEVED && !cut && (!due || likeness >= FAMILIAR || self.confirmed(frame, &pose)) {
            self.remember(frame, &pose, likeness);
            self.steady(&pose);
            return likeness;
        }
        if self.missing < self.pause {
            return 0.0;
        }
        self.pause = (2 * self.pause).clamp(1, MAX_PAUSE) + self.missing;
        self.search(frame)
    }

    /// The best pose near `predicted`, by the view that fits best.
    fn align(&mut self, frame: &Frame, predicted: &Similarity) -> (Similarity, f32) {
        let view = view_of(frame, predicted);
        let (mut moved, mut likeness) = self.views[self.current].align(&view);
        if likeness < FAMILIAR && self.views.len() > 1 {
            let best = (0..self.views.len()).filter(|&i| i != self.current).max_by(|&a, &b| {
                let of = |i: usize| self.views[i].likeness(&view, &moved);
                of(a).total_cmp(&of(b))
            });
            if let Some(other) = best {
                let (there, other_likeness) = self.views[other].align(&view);
                if other_likeness > likeness + 0.02 {
                    (moved, likeness, self.current) = (there, other_likeness, other);
                }
            }
        }
        (predicted.then(&moved), likeness)
    }

    /// Takes a pose for true; an unfamiliar view becomes one of the remembered.
    fn remember(&mut self, frame: &Frame, pose: &Similarity, likeness: f32) {
        self.aligned = *pose;
        self.likeness = likeness;
        if likeness < FAMILIAR && self.views.len() < MAX_VIEWS {
            self.views.push(Template::new(&view_of(frame, pose)));
            self.current = self.views.len() - 1;
        }
    }

    /// The detector sees a face where the pose says.
    fn confirmed(&mut self, frame: &Frame, pose: &Similarity) -> bool {
        self.box_near(frame, pose).is_some()
    }

    /// The detector's box around a pose, if its middle is near enough.
    fn box_near(&mut self, frame: &Frame, pose: &Similarity) -> Option<FaceBox> {
        const SIDE: usize = 160;
        let expected = self.bounds_at(pose);
        let scale = SIDE as f32 / (2.5 * expected.width);
        let (x, y) = (expected.x + expected.width / 2.0, expected.y + expected.height / 2.0);
        let middle = SIDE as f32 / 2.0;
        let to_grid = Similarity { a: scale, b: 0.0, tx: middle - x * scale, ty: middle - y * scale };
        let boxes = self.detector.search(frame, &Grid { to_grid, width: SIDE, height: SIDE });
        boxes.into_iter().find(|b| {
            let (bx, by) = (b.x + b.width / 2.0, b.y + b.height / 2.0);
            (bx - x).hypot(by - y) < 0.5 * expected.width
        })
    }

    /// Looks for the face near its last place, then everywhere. A face that is not the remembered one is measured anew.
    fn search(&mut self, frame: &Frame) -> f32 {
        let last = self.aligned;
        let found =
            self.box_near(frame, &last).or_else(|| self.detector.detect_coarse(frame).first().copied());
        let Some(bounds) = found else {
            return 0.0;
        };
        let expected = self.bounds_at(&last);
        // the pose that puts the old box onto the new one
        let zoom = bounds.width / expected.width;
        let to_new = Similarity {
            a: zoom,
            b: 0.0,
            tx: bounds.x - expected.x * zoom,
            ty: bounds.y - expected.y * zoom,
        };
        let (pose, likeness) = self.align(frame, &to_new.inverse().then(&last));
        // after a jump only a good fit is the same face in the same pose; anything else is measured
        if likeness >= FAMILIAR {
            self.remember(frame, &pose, likeness);
            self.face.canon = pose;
            return likeness;
        }
        self.restart(frame, bounds)
    }

    fn restart(&mut self, frame: &Frame, bounds: FaceBox) -> f32 {
        let face = measure(frame, bounds);
        self.views = vec![Template::new(&view_of(frame, &face.canon))];
        self.current = 0;
        self.aligned = face.canon;
        self.likeness = 1.0;
        self.mouth = SteadyMouth::new(&face.mouth);
        self.bounds = canonical_bounds(&face);
        self.face = face;
        1.0
    }

    /// Moves the handed-out pose towards the aligned one: at once where it is far, slowly where the difference may be noise.
    fn steady(&mut self, pose: &Similarity) {
        let back = pose.inverse();
        let old = &self.face.canon;
        let points = EYE_X.map(|x| back.apply(x, EYE_Y));
        let olds = EYE_X.map(|x| old.inverse().apply(x, EYE_Y));
        // the mouth is what is drawn on: its shift counts as well
        let mouth = back.apply(96.0, 136.0);
        let shift = |p: (f32, f32), q: (f32, f32)| {
            let (px, py) = old.apply(p.0, p.1);
            let (qx, qy) = old.apply(q.0, q.1);
            (px - qx).hypot(py - qy)
        };
        let far = shift(points[0], olds[0])
            .max(shift(points[1], olds[1]))
            .max(shift(mouth, old.inverse().apply(96.0, 136.0)));
        let rate = (0.25 + far).min(1.0);
        let blend = |o: (f32, f32), n: (f32, f32)| (o.0 + rate * (n.0 - o.0), o.1 + rate * (n.1 - o.1));
        self.face.canon = Similarity::from_eyes(blend(olds[0], points[0]), blend(olds[1], points[1]));
    }

    /// Mouth line and lids in the frame, steadied.
    fn look_closely(&mut self, frame: &Frame) {
        let face = Canonical::new(frame, &self.face.canon, &self.tables);
        if self.face.gates.mouth_ok {
            let (x, y) = self.mouth.middle();
            let red = relative_redness(&redness(&face), 1);
            let line = trace(&valleys(&face.grey), &red, (x.round() as i32, y.round() as i32));
            // a line that is no mouth (a hand, a microphone before it) leaves the last one
            if (0.45..=1.1).contains(&line.ratio()) {
                self.mouth.follow(&lips(&face, &line));
            }
            self.face.mouth = self.mouth.line();
        }
        for (eye, (top, bottom)) in self.face.eyes.iter_mut().zip(lids(&face)) {
            eye.lid_top += LID_RATE * (top - eye.lid_top);
            eye.lid_bottom += LID_RATE * (bottom - eye.lid_bottom);
        }
        self.face.bounds = FaceBox { score: self.face.bounds.score, ..self.bounds_at(&self.face.canon) };
    }

    fn bounds_at(&self, pose: &Similarity) -> FaceBox {
        let back = pose.inverse();
        let (x, y, side) = self.bounds;
        // the box stays upright: its middle turns with the face, its sides do not
        let (middle_x, middle_y) = back.apply(x + side / 2.0, y + side / 2.0);
        let side = side * back.scale();
        FaceBox { x: middle_x - side / 2.0, y: middle_y - side / 2.0, width: side, height: side, score: 0.0 }
    }
}

/// The upper face and its surroundings, where `canon` says.
fn view_of(frame: &Frame, canon: &Similarity) -> View {
    let shift =
        Similarity { a: 1.0, b: 0.0, tx: AROUND as f32 - LEFT as f32, ty: AROUND as f32 - TOP as f32 };
    let grid = Grid { to_grid: canon.then(&shift), width: VIEW_WIDTH, height: VIEW_HEIGHT };
    View::new(grid.luma(frame))
}

fn canonical_bounds(face: &Face) -> (f32, f32, f32) {
    let b = &face.bounds;
    let (x, y) = face.canon.apply(b.x + b.width / 2.0, b.y + b.height / 2.0);
    let side = b.width * face.canon.scale();
    (x - side / 2.0, y - side / 2.0, side)
}
