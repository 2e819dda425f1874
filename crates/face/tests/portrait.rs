//! The repository's sample portrait, measured. Truth: where `tools/portrait` draws pupils and lips.

use std::fs::File;
use std::io::BufReader;

use contract::{Frame, Layout, Point, Size};
use face::{Detector, find};

fn portrait() -> Frame {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/portrait.png");
    let mut decoder = png::Decoder::new(BufReader::new(File::open(path).unwrap()));
    decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut data).unwrap();
    let samples = info.color_type.samples();
    assert!(samples >= 3, "the portrait is in colour");
    let rgb = data[..info.buffer_size()].chunks_exact(samples).flat_map(|p| [p[0], p[1], p[2]]).collect();
    Frame::new(Size::new(info.width, info.height), Layout::Rgb24, rgb).unwrap()
}

#[test]
fn the_sample_portrait_is_measured_where_it_was_drawn() {
    let frame = portrait();
    let face = find(&mut Detector::new(), &frame, 1.0, 40).unwrap().face;
    let seen = face.landmarks();
    // the lips' corners fade into a smile: 3 canonical px are 7 px of this picture
    let rows = [
        ("left eye", seen.left_eye, (419.8, 520.5), 4.0),
        ("right eye", seen.right_eye, (615.8, 525.9), 4.0),
        ("mouth", seen.mouth_center, (510.0, 740.9), 4.0),
        ("left corner", seen.mouth_left, (433.5, 721.8), 8.0),
        ("right corner", seen.mouth_right, (588.5, 724.1), 8.0),
    ];
    for (name, Point { x, y }, truth, limit) in rows {
        let off = (x - truth.0).hypot(y - truth.1);
        assert!(off < limit, "{name} at {x:.1} {y:.1} is {off:.1} px off");
    }
    assert!(face.gates.mouth_ok && face.gates.eyes_ok && !face.mouth.open);
    assert!(face.confidence > 0.9 && face.warnings().is_empty());
}
