//! A drawn face followed through drawn clips.

mod drawing;

use contract::{Frame, Layout, Size};
use drawing::{DrawnFace, picture};
use face::{Detector, Tracker, find};

const PICTURE: Size = Size::new(320, 300);

fn face() -> DrawnFace {
    DrawnFace::at(160.0, 120.0, 60.0)
}

fn tracker(first: &Frame) -> Tracker {
    let found = find(&mut Detector::new(), first, 1.0, 40).unwrap();
    Tracker::new(first, found.face)
}

fn empty() -> Frame {
    Frame::new(PICTURE, Layout::I420, vec![110; Layout::I420.bytes(PICTURE)]).unwrap()
}

/// How far the eyes are from where they were drawn, px.
fn off(drawn: DrawnFace, tracked: &face::Tracked) -> f32 {
    let (truth, seen) = (drawn.landmarks(), tracked.face.landmarks());
    let far = |a: contract::Point, b: contract::Point| (a.x - b.x).hypot(a.y - b.y);
    far(truth.left_eye, seen.left_eye).max(far(truth.right_eye, seen.right_eye))
}

#[test]
fn a_moving_head_is_followed() {
    let at = |i: u32| {
        let t = i as f32;
        DrawnFace {
            x: 160.0 + 12.0 * (0.2 * t).sin(),
            y: 120.0 + 6.0 * (0.13 * t).sin(),
            roll: 9.0 * (0.1 * t).sin(),
            eye_distance: 60.0 + 4.0 * (0.15 * t).sin(),
            gap: 12.0 * (0.9 * t).sin().max(0.0),
        }
    };
    let mut tracker = tracker(&picture(PICTURE, &[at(0)]));
    let start = off(at(0), &tracker.follow(&picture(PICTURE, &[at(0)])));
    for i in 1..24 {
        let tracked = tracker.follow(&picture(PICTURE, &[at(i)]));
        assert!(tracked.quality > 0.8, "frame {i}: quality {}", tracked.quality);
        let off = off(at(i), &tracked);
        assert!(off < start + 1.5, "frame {i}: {off} px off, {start} px at the start");
    }
}

#[test]
fn a_still_head_does_not_tremble_and_the_mouth_is_seen_to_open() {
    let mut tracker = tracker(&picture(PICTURE, &[face()]));
    let mut last: Option<(f32, f32)> = None;
    let mut open = Vec::new();
    for i in 0..18u32 {
        // the mouth speaks, the head keeps still; sensor noise differs from frame to frame
        let gap = if i < 10 { 0.0 } else { 14.0 };
        let mut data = picture(PICTURE, &[DrawnFace { gap, ..face() }]).into_data();
        for (k, byte) in data.iter_mut().enumerate().take(PICTURE.pixels() as usize) {
            let noise = ((k as u32 ^ (i << 20)).wrapping_mul(0x9E37_79B1) >> 29) as i32 - 3;
            *byte = (i32::from(*byte) + noise).clamp(16, 235) as u8;
        }
        let tracked = tracker.follow(&Frame::new(PICTURE, Layout::I420, data).unwrap());
        let eye = tracked.face.landmarks().left_eye;
        if let Some((x, y)) = last.filter(|_| i > 2) {
            let step: f32 = (eye.x - x).hypot(eye.y - y);
            assert!(step < 0.1, "frame {i}: the eye jumps {step} px");
        }
        last = Some((eye.x, eye.y));
        open.push(tracked.face.mouth.open);
    }
    assert!(!open[9] && open[12] && open[17], "{open:?}");
}

#[test]
fn without_a_face_the_last_pose_is_held_and_a_cut_is_survived() {
    let mut tracker = tracker(&picture(PICTURE, &[face()]));
    let held = tracker.follow(&picture(PICTURE, &[face()])).face;
    for _ in 0..3 {
        let tracked = tracker.follow(&empty());
        assert_eq!((tracked.quality, tracked.face.canon), (0.0, held.canon));
    }
    // another shot: elsewhere, larger, tilted
    let other = DrawnFace { roll: -10.0, ..DrawnFace::at(190.0, 130.0, 74.0) };
    let shot = picture(PICTURE, &[other]);
    let found = (0..20).find(|_| tracker.follow(&shot).quality > 0.0);
    assert!(found.is_some_and(|frames| frames <= 4), "{found:?}");
    let tracked = tracker.follow(&shot);
    assert!(off(other, &tracked) < 3.0, "{} px off", off(other, &tracked));
}

#[test]
fn equal_clips_give_equal_poses() {
    let clip: Vec<Frame> =
        (0..6).map(|i| picture(PICTURE, &[DrawnFace { x: 160.0 + i as f32, ..face() }])).collect();
    let follow = || {
        let mut tracker = tracker(&clip[0]);
        clip.iter().map(|frame| tracker.follow(frame).face).collect::<Vec<_>>()
    };
    assert_eq!(follow(), follow());
}
