//! Drawn faces, whose every point is known, found and measured.

mod drawing;

use contract::{Frame, Landmarks, Layout, Point, Size};
use drawing::{DrawnFace, opening, picture, rgb_picture};
use face::{Detector, Face, FaceBox, find, measure, with_landmarks};

const PICTURE: Size = Size::new(400, 420);

fn found(frame: &Frame) -> Face {
    find(&mut Detector::new(), frame, 1.0, 40).unwrap().face
}

fn distance(a: Point, b: Point) -> f32 {
    (a.x - b.x).hypot(a.y - b.y)
}

/// Eyes within 3 px where they are 100 px apart; the mouth line within 4 canonical px.
fn check(drawn: DrawnFace, face: &Face) {
    let (truth, seen) = (drawn.landmarks(), face.landmarks());
    let unit = drawn.eye_distance / 100.0;
    for (a, b) in [(truth.left_eye, seen.left_eye), (truth.right_eye, seen.right_eye)] {
        assert!(distance(a, b) < 3.0 * unit, "{drawn:?}: eye at {b:?}, drawn at {a:?}");
    }
    let to_truth = face.canon.inverse().then(&drawn.canon());
    for (i, (upper, lower)) in face.mouth.upper.iter().zip(&face.mouth.lower).enumerate() {
        let x = face.mouth.x0 + i as f32;
        let ((tx, top), (_, bottom)) = (to_truth.apply(x, *upper), to_truth.apply(x, *lower));
        if (tx - 96.0).abs() > 26.0 {
            continue;
        }
        let (drawn_top, drawn_bottom) = opening(tx, drawn.gap);
        assert!((top - drawn_top).abs() < 4.0, "{drawn:?}: at {tx} upper {top}, drawn {drawn_top}");
        assert!(
            (bottom - drawn_bottom).abs() < 4.0,
            "{drawn:?}: at {tx} lower {bottom}, drawn {drawn_bottom}"
        );
    }
    assert_eq!(face.mouth.open, drawn.gap > 0.0, "{drawn:?}");
    assert!(face.gates.mouth_ok && face.gates.eyes_ok, "{drawn:?}: {:?}", face.gates);
    assert!(face.confidence > 0.7 && face.warnings().is_empty(), "{drawn:?}: {}", face.confidence);
    for eye in face.eyes {
        assert!((eye.lid_top - 42.0).abs() < 3.0 && (eye.lid_bottom - 57.0).abs() < 3.0, "{eye:?}");
    }
}

#[test]
fn drawn_faces_are_measured() {
    let upright = DrawnFace::at(200.0, 170.0, 80.0);
    let rows = [
        upright,
        DrawnFace { roll: 15.0, ..upright },
        DrawnFace { roll: -15.0, ..upright },
        DrawnFace { gap: 16.0, ..upright },
        DrawnFace { gap: 12.0, roll: 8.0, ..upright },
        DrawnFace { eye_distance: 120.0, ..upright },
        DrawnFace { eye_distance: 50.0, ..upright },
    ];
    for drawn in rows {
        check(drawn, &found(&picture(PICTURE, &[drawn])));
    }
}

#[test]
fn both_layouts_and_every_run_give_the_same_face() {
    let drawn = DrawnFace::at(190.0, 180.0, 90.0);
    let frame = picture(PICTURE, &[drawn]);
    let face = found(&frame);
    assert_eq!(face, found(&frame));
    assert_eq!(face, measure(&frame, face.bounds));
    let other = found(&rgb_picture(PICTURE, &[drawn])).landmarks();
    let same = face.landmarks();
    assert!(
        distance(same.left_eye, other.left_eye) < 1.0
            && distance(same.mouth_center, other.mouth_center) < 1.5
    );
}

#[test]
fn of_several_faces_the_largest_is_taken() {
    let (large, small) = (DrawnFace::at(120.0, 160.0, 70.0), DrawnFace::at(310.0, 170.0, 42.0));
    let found = find(&mut Detector::new(), &picture(PICTURE, &[small, large]), 1.0, 40).unwrap();
    assert_eq!(found.others, 1);
    assert!(distance(found.face.landmarks().left_eye, large.landmarks().left_eye) < 3.0);
}

#[test]
fn small_faces_are_found_or_refused_by_their_size_in_the_users_picture() {
    let size = Size::new(1000, 500);
    let small = picture(size, &[DrawnFace::at(600.0, 200.0, 24.0)]);
    let found = find(&mut Detector::new(), &small, 1.0, 40).unwrap();
    assert!(
        distance(found.face.landmarks().left_eye, DrawnFace::at(600.0, 200.0, 24.0).landmarks().left_eye)
            < 2.0
    );
    let tiny = picture(Size::new(320, 240), &[DrawnFace::at(160.0, 100.0, 12.0)]);
    let refused = find(&mut Detector::new(), &tiny, 1.0, 40).unwrap_err();
    assert_eq!(refused.code, "face_too_small");
    assert!(refused.message.contains("at least 40 px"), "{refused}");
    // the frame is a third of the user's picture: there the same face is large enough
    assert!(find(&mut Detector::new(), &tiny, 3.0, 40).is_ok());
}

#[test]
fn pictures_without_a_face_are_refused() {
    let plain = |size: Size, layout: Layout| Frame::new(size, layout, vec![90; layout.bytes(size)]).unwrap();
    let frames = [
        picture(Size::new(160, 120), &[]),
        plain(Size::new(1, 1), Layout::Rgb24),
        plain(Size::new(2, 2), Layout::I420),
        plain(Size::new(2000, 2), Layout::I420),
        plain(Size::new(39, 50), Layout::Rgb24),
    ];
    for frame in frames {
        let refused = find(&mut Detector::new(), &frame, 1.0, 40).unwrap_err();
        assert_eq!(refused.code, "no_face", "{frame:?}");
        assert!(refused.hint.contains("--landmarks"));
    }
}

#[test]
fn given_landmarks_are_obeyed() {
    let drawn = DrawnFace { roll: 6.0, ..DrawnFace::at(200.0, 170.0, 80.0) };
    let frame = picture(PICTURE, &[drawn]);
    let given = drawn.landmarks();
    let face = with_landmarks(&frame, &given).unwrap();
    check(drawn, &face);
    assert_eq!(face.confidence, 1.0);
    let back = face.landmarks();
    for (a, b) in [(given.mouth_left, back.mouth_left), (given.mouth_right, back.mouth_right)] {
        assert!(distance(a, b) < 2.0, "{a:?} {b:?}");
    }
    // half a mouth off, the line still goes through the given points
    let shifted =
        Landmarks { mouth_center: Point { y: given.mouth_center.y + 10.0, ..given.mouth_center }, ..given };
    let face = with_landmarks(&frame, &shifted).unwrap();
    assert!(distance(face.landmarks().mouth_center, shifted.mouth_center) < 5.0);
}

#[test]
fn landmarks_that_are_no_face_are_refused() {
    let drawn = DrawnFace::at(200.0, 170.0, 80.0);
    let frame = picture(PICTURE, &[drawn]);
    let good = drawn.landmarks();
    let outside = Point { x: 700.0, y: 10.0 };
    let rows = [
        ("outside", Landmarks { left_eye: outside, ..good }),
        ("not a number", Landmarks { right_eye: Point { x: f32::NAN, y: 3.0 }, ..good }),
        ("one eye", Landmarks { right_eye: good.left_eye, ..good }),
        ("mirrored mouth", Landmarks { mouth_left: good.mouth_right, mouth_right: good.mouth_left, ..good }),
        ("mirrored face", Landmarks { left_eye: good.right_eye, right_eye: good.left_eye, ..good }),
        ("mouth above", Landmarks { mouth_center: Point { x: 200.0, y: 120.0 }, ..good }),
        ("point mouth", Landmarks { mouth_left: good.mouth_center, mouth_right: good.mouth_center, ..good }),
        ("middle beside", Landmarks { mouth_center: good.mouth_right, ..good }),
        ("far below", Landmarks { mouth_left: Point { y: 410.0, ..good.mouth_left }, ..good }),
    ];
    for (name, landmarks) in rows {
        let refused = with_landmarks(&frame, &landmarks).unwrap_err();
        assert_eq!(refused.code, "bad_landmarks", "{name}");
    }
}

#[test]
fn a_face_that_is_not_frontal_is_told_and_keeps_its_mouth_at_the_usual_place() {
    let drawn = DrawnFace::at(200.0, 170.0, 80.0);
    let frame = picture(PICTURE, &[drawn]);
    let bounds = found(&frame).bounds;
    // eyes .29 of the box apart, as the detector's boxes around profiles have them
    let side = drawn.eye_distance / 0.29;
    let wide =
        FaceBox { x: 200.0 - 0.5 * side, y: 170.0 - 0.385 * side, width: side, height: side, ..bounds };
    let face = measure(&frame, wide);
    assert!(distance(face.landmarks().left_eye, drawn.landmarks().left_eye) < 3.0);
    assert!(!face.gates.mouth_ok && !face.gates.eyes_ok && face.confidence <= 0.45);
    let codes: Vec<&str> = face.warnings().iter().map(|w| w.code).collect();
    assert_eq!(codes, ["low_confidence_face", "no_blink"]);
    assert_eq!((face.mouth.center_x, face.mouth.half_width, face.mouth.upper[0]), (96.0, 32.0, 136.0));
}
