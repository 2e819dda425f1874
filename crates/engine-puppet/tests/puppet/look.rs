//! What frames look like: what moves, what must not, and that every machine draws the same bytes.

use crate::drawn::{Lips, MOUTH_Y, SIZE, count, face, luma, picture};
use engine_puppet::{HeadPose, Level, Plate, Portrait, Pose};
use face::Face;
use speech::MouthPose;

type Rect = ((f32, f32), (f32, f32));
/// Between the lips of a shut mouth, its line left out.
const LIPS: Rect = ((72.0, 120.0), (MOUTH_Y - 20.0, MOUTH_Y + 40.0));

fn portrait(lips: Lips, face: Face) -> Portrait {
    let frame = picture(lips);
    Portrait::new(Plate::new(SIZE, frame.planes().unwrap()), face, Level::best())
}

fn draw(lips: Lips, pose: Pose) -> Vec<u8> {
    portrait(lips, face(lips)).draw(&pose)
}

fn say(mouth: MouthPose) -> Pose {
    Pose { mouth, hold: 1.0, ..Pose::default() }
}

fn jaw(jaw: f32) -> MouthPose {
    MouthPose { jaw, ..MouthPose::default() }
}

fn everything() -> Pose {
    Pose {
        mouth: MouthPose { jaw: 0.7, wide: 0.4, tongue: 0.5, ..MouthPose::default() },
        hold: 1.0,
        head: HeadPose { yaw: 0.07, pitch: -0.05, roll: 0.02, shift: (0.8, -0.7) },
        blink: 0.6,
        brow: 0.8,
        gaze: (0.6, -0.2),
    }
}

fn dark(v: u8) -> bool {
    v < 70
}

#[test]
fn at_rest_the_picture_is_itself() {
    for lips in [Lips::Shut, Lips::Open(12.0)] {
        let mut portrait = portrait(lips, face(lips));
        assert!(portrait.draw(&Pose::default()) == picture(lips).data());
        portrait.draw(&everything());
        assert!(portrait.draw(&Pose::default()) == picture(lips).data(), "motion left something behind");
    }
}

#[test]
fn the_background_keeps_its_bytes() {
    let (before, after) = (picture(Lips::Shut), draw(Lips::Shut, everything()));
    let width = SIZE.width as usize;
    let mut moved = 0;
    for (i, (a, b)) in before.data()[..width * SIZE.height as usize].iter().zip(&after).enumerate() {
        let (x, y) =
            ((i % width) as f32 - crate::drawn::ORIGIN.0, (i / width) as f32 - crate::drawn::ORIGIN.1);
        let far = ((x - 96.0) / 105.0).powi(2) + ((y - 70.0) / 135.0).powi(2) > 2.65;
        let beside_mouth = (x - 96.0).abs() > 100.0 || !(40.0..265.0).contains(&y);
        assert!(!(far && beside_mouth) || a == b, "{x} {y}: {a} became {b}");
        moved += usize::from(a != b);
    }
    assert!(moved > 20_000, "only {moved} pixels moved");
}

#[test]
fn every_level_draws_the_same_bytes() {
    let frame = picture(Lips::Shut);
    let poses = [everything(), say(jaw(1.0)), say(MouthPose { round: 1.0, close: 0.5, ..jaw(0.4) })];
    for (scale, pose) in [1.0, 1.7, 0.6].into_iter().zip(poses) {
        let mut face = face(Lips::Shut);
        // the same face, taken for larger and smaller: other grid cells, other phases
        face.canon.a *= scale;
        face.canon.b = 0.03;
        let drawn: Vec<Vec<u8>> = Level::all()
            .into_iter()
            .map(|level| {
                let plate = Plate::new(SIZE, frame.planes().unwrap());
                Portrait::new(plate, face.clone(), level).draw(&pose)
            })
            .collect();
        assert!(drawn.windows(2).all(|pair| pair[0] == pair[1]), "at scale {scale}");
    }
}

#[test]
fn a_jaw_opens_a_mouth_with_teeth() {
    let openings: Vec<usize> =
        [0.0, 0.3, 0.6, 1.0].map(|j| count(&draw(Lips::Shut, say(jaw(j))), LIPS, dark)).into();
    assert!(openings.windows(2).all(|pair| pair[1] > pair[0] + 40), "{openings:?}");
    let open = draw(Lips::Shut, say(jaw(0.8)));
    let teeth = count(&open, ((86.0, 106.0), (MOUTH_Y - 6.0, MOUTH_Y + 8.0)), |v| v > 125);
    assert!(teeth > 25, "{teeth}");
    // the chin goes with it, the nose does not
    let shut = picture(Lips::Shut);
    assert_eq!(luma(&open, 96.0, 95.0), luma(shut.data(), 96.0, 95.0));
}

#[test]
fn closed_lips_close_an_open_mouth() {
    let source = count(picture(Lips::Open(14.0)).data(), LIPS, dark);
    let pressed = MouthPose { close: 1.0, ..jaw(0.3) };
    let closed = count(&draw(Lips::Open(14.0), say(pressed)), LIPS, dark);
    assert!(closed * 3 < source, "{closed} of {source}");
    let wider = count(&draw(Lips::Open(5.0), say(jaw(0.9))), LIPS, dark);
    assert!(wider > count(picture(Lips::Open(5.0)).data(), LIPS, dark) * 3 / 2, "{wider}");
    // without a voice the person's own expression stays
    assert!(draw(Lips::Open(14.0), Pose::default()) == picture(Lips::Open(14.0)).data());
}

#[test]
fn lips_widen_and_round() {
    // columns in which the mouth's line or opening is seen
    let width = |mouth: MouthPose| {
        let data = draw(Lips::Shut, say(mouth));
        (50..142).filter(|x| (-14..24).any(|d| luma(&data, *x as f32, MOUTH_Y + d as f32) < 100)).count()
    };
    let (wide, rest, round) = (
        width(MouthPose { wide: 1.0, ..jaw(0.1) }),
        width(jaw(0.1)),
        width(MouthPose { round: 1.0, ..jaw(0.1) }),
    );
    assert!(wide > rest + 2 && rest > round + 5, "{wide} {rest} {round}");
}

#[test]
fn a_blink_covers_the_pupil_and_opens_again() {
    let mut portrait = portrait(Lips::Shut, face(Lips::Shut));
    for x in [56.0, 136.0] {
        let at = |portrait: &mut Portrait, blink| {
            luma(&portrait.draw(&Pose { blink, ..Pose::default() }), x, 50.0)
        };
        assert!(at(&mut portrait, 0.0) < 40);
        let shut = at(&mut portrait, 1.0);
        assert!((130..200).contains(&shut), "the lid is no skin: {shut}");
        assert!(at(&mut portrait, 0.0) < 40);
    }
}

#[test]
fn closed_gates_keep_lips_and_lids_still() {
    let mut unsure = face(Lips::Shut);
    unsure.gates.mouth_ok = false;
    unsure.gates.eyes_ok = false;
    let pose = Pose { blink: 1.0, ..say(jaw(1.0)) };
    let data = portrait(Lips::Shut, unsure).draw(&pose);
    let shut = picture(Lips::Shut);
    let (before, after) = (count(shut.data(), LIPS, dark), count(&data, LIPS, dark));
    assert!(after <= before + 30, "a mouth was painted: {after} dark pixels, {before} before");
    assert!(luma(&data, 56.0, 50.0) < 40, "the eye was covered");
    assert!(data != shut.data(), "the jaw still moves");
}
