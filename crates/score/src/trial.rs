//! The measures on trial: faces that do right must pass, faces that do one thing wrong must fail in that thing.

use crate::actor::{Actor, FPS, Pose, Speech, Teeth, geometry};
use crate::gates::Bar;
use crate::meter::{Meter, Original};
use crate::reference::of_truth;
use crate::scores::{Scores, SyncSeries};

const SECONDS: f64 = 20.0;

fn scored(speech: &Speech, poses: impl Iterator<Item = Pose>) -> Scores {
    let mut actor = Actor::new();
    let mut meter: Option<Meter> = None;
    for pose in poses {
        let frame = actor.draw(pose);
        meter.get_or_insert_with(|| Meter::new(&frame, geometry(), None)).take(&frame);
    }
    let measured = meter.expect("there are frames").finish(0);
    Scores::of(&measured, FPS, Some(&of_truth(&speech.phonemes, speech.seconds)))
}

fn spoken(speech: &Speech, openings: Vec<f32>) -> Scores {
    scored(speech, openings.into_iter().map(|opening| Pose { opening, ..Pose::default() }))
}

/// Names of the gates that do not hold.
fn failed(scores: &Scores, bar: Bar) -> Vec<&'static str> {
    scores.gates(bar).into_iter().filter(|gate| !gate.passed).map(|gate| gate.name).collect()
}

#[test]
fn a_mouth_that_follows_passes_every_gate() {
    let speech = Speech::new(SECONDS);
    let scores = spoken(&speech, speech.followed(0.0));
    assert_eq!(failed(&scores, Bar::PuppetHeldOut), Vec::<&str>::new(), "{scores:#?}");
    assert!(scores.sync_offset_ms.unwrap().abs() < 15.0 && scores.closures.unwrap() > 20, "{scores:#?}");
}

#[test]
fn a_late_picture_is_measured() {
    let speech = Speech::new(SECONDS);
    let scores = spoken(&speech, speech.followed(0.080));
    assert!((scores.sync_offset_ms.unwrap() - 80.0).abs() < 15.0, "{scores:#?}");
    assert!(failed(&scores, Bar::Puppet).contains(&"sync_offset_ms"));
}

#[test]
fn a_frozen_mouth_fails() {
    let speech = Speech::new(SECONDS);
    for opening in [0.0, 0.4] {
        let scores = spoken(&speech, vec![opening; speech.frames()]);
        let failed = failed(&scores, Bar::Generative);
        for gate in ["sync_r", "sync_offset_ms", "closure_gain", "jerk"] {
            assert!(failed.contains(&gate), "{gate}: {scores:#?}");
        }
        assert!(scores.notes.iter().any(|note| note.contains("does not move")), "{scores:#?}");
    }
}

#[test]
fn a_flapper_follows_the_loudness_and_never_shuts() {
    let speech = Speech::new(SECONDS);
    let scores = spoken(&speech, speech.loudness());
    let failed = failed(&scores, Bar::Generative);
    assert!(failed.contains(&"closure_hit") && failed.contains(&"closure_gain"), "{scores:#?}");
    assert!(scores.closure_hit.unwrap() < 0.3, "{scores:#?}");
}

#[test]
fn a_jittering_mouth_and_a_flickering_light_fail() {
    let speech = Speech::new(SECONDS);
    let poses = speech.followed(0.0).into_iter().enumerate().map(|(i, opening)| {
        let jitter = if i % 2 == 0 { 0.45 } else { -0.45 };
        let light = if i % 4 < 2 { 1.5 } else { -1.5 };
        Pose { opening: (opening + jitter).clamp(0.0, 1.0), light, ..Pose::default() }
    });
    let failed = failed(&scored(&speech, poses), Bar::Generative);
    assert!(failed.contains(&"jerk") && failed.contains(&"flicker"), "{failed:?}");
}

#[test]
fn a_moving_wall_costs_the_background() {
    let speech = Speech::new(4.0);
    let still = spoken(&speech, speech.followed(0.0)).background_psnr_db.unwrap();
    let poses =
        (0..speech.frames()).map(|i| Pose { wall: if i == 0 { 0.0 } else { 1.0 }, ..Pose::default() });
    let moved = scored(&speech, poses).background_psnr_db.unwrap();
    assert!(still > 48.0 && moved < 40.0, "{still} {moved}");
}

#[test]
fn a_mouth_held_open_in_pauses_fails() {
    let speech = Speech::new(SECONDS);
    let mut openings = speech.followed(0.0);
    for (i, opening) in openings.iter_mut().enumerate() {
        if speech.pauses_at(i) {
            *opening = 0.35;
        }
    }
    let scores = spoken(&speech, openings);
    assert!(failed(&scores, Bar::Generative).contains(&"silence_aperture"), "{scores:#?}");
}

#[test]
fn bright_teeth_do_not_hide_an_opening() {
    let speech = Speech::new(SECONDS);
    let poses = speech.followed(0.0).into_iter().map(|opening| Pose {
        opening,
        teeth: Teeth::Bright,
        ..Pose::default()
    });
    let scores = scored(&speech, poses);
    assert!(scores.sync_series != Some(SyncSeries::Dark), "{scores:#?}");
    for gate in failed(&scores, Bar::PuppetHeldOut) {
        assert_eq!(gate, "jerk", "{scores:#?}");
    }
}

#[test]
fn a_head_that_moves_is_followed() {
    let speech = Speech::new(SECONDS);
    let poses = speech.followed(0.0).into_iter().enumerate().map(|(i, opening)| {
        let t = i as f32 / FPS as f32;
        // 25 canonical px to and fro: nearly a third of the distance of the eyes
        Pose { opening, head: (25.0 * (t * 0.9).sin(), 8.0 * (t * 1.3).sin()), ..Pose::default() }
    });
    let scores = scored(&speech, poses);
    let failed: Vec<_> = failed(&scores, Bar::PuppetHeldOut);
    assert!(failed.iter().all(|gate| *gate == "background_psnr_db"), "{failed:?} {scores:#?}");
}

#[test]
fn another_face_is_not_the_portrait() {
    let speech = Speech::new(2.0);
    let frame = Actor::new().draw(Pose::default());
    // the same face upside down is as sharp and as bright, and nobody's likeness
    let mut flipped = frame.data().to_vec();
    let (width, height) = (frame.size().width as usize, frame.size().height as usize);
    flipped[..width * height].reverse();
    let upside_down = contract::Frame::new(frame.size(), frame.layout(), flipped).unwrap();
    let luma = crate::meter::colour(&upside_down).luma;
    let original = Original { luma, to_picture: geometry().canon.inverse() };
    let mut meter = Meter::new(&frame, geometry(), Some(original));
    (0..speech.frames()).for_each(|_| meter.take(&frame));
    let scores = Scores::of(&meter.finish(0), FPS, None);
    let (held, aligned) = (scores.upper_face_nose_psnr_db.unwrap(), scores.upper_face_psnr_db.unwrap());
    assert!(held < 20.0 && aligned < 20.0, "{scores:#?}");
}
