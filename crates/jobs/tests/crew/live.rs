//! Live sessions: packets on a socket of their own.

use jobs::Ending;
use jobs::crew::{LiveForm, Pace};

use crate::stage::Stage;

const FAST: LiveForm = LiveForm::Jpeg { pace: Pace::AsFastAsPossible, quality: 80 };
const REAL_TIME: LiveForm = LiveForm::Jpeg { pace: Pace::RealTime, quality: 80 };

#[test]
fn every_frame_comes_as_a_jpeg_and_the_end_is_clean() {
    let mut stage = Stage::new();
    let mut reader = stage.live("one", stage.take("frames=30"), FAST);
    let mut pictures = 0;
    while let Some(packet) = reader.packet().unwrap() {
        assert!(packet.starts_with(&[0xff, 0xd8]) && packet.ends_with(&[0xff, 0xd9]));
        pictures += 1;
    }
    assert_eq!(pictures, 30);
    let made = stage.made("one");
    assert_eq!((made.take.frames, made.key.as_str()), (30, ""));
    assert!(made.bytes > 0);
}
