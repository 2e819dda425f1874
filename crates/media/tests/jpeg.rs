//! JPEGs of frames, as another decoder sees them: ffmpeg.

use contract::{Frame, Layout, Size, rgb_to_yuv};
use fixtures::{ffmpeg, refused, scratch, written};
use media::Jpeg;

mod fixtures;

const SIZE: Size = Size::new(64, 48);

/// One colour all over.
fn flat(rgb: [u8; 3], layout: Layout) -> Frame {
    let pixels = SIZE.pixels() as usize;
    let data = match layout {
        Layout::Rgb24 => rgb.repeat(pixels),
        Layout::I420 => {
            let [y, u, v] = rgb_to_yuv(rgb.map(f32::from)).map(|v| v.round() as u8);
            [vec![y; pixels], vec![u; pixels / 4], vec![v; pixels / 4]].concat()
        }
    };
    Frame::new(SIZE, layout, data).unwrap()
}

#[test]
fn colours_come_out_as_they_went_in() {
    let colours: [[u8; 3]; 10] = [
        [0, 0, 0],
        [255, 255, 255],
        [128, 128, 128],
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [0, 255, 255],
        [255, 0, 255],
        [255, 255, 0],
        [224, 172, 105], // skin
    ];
    let scratch = scratch();
    for layout in [Layout::I420, Layout::Rgb24] {
        let mut encoder = Jpeg::new(95).unwrap();
        for colour in colours {
            let jpeg = encoder.encode(&flat(colour, layout)).unwrap();
            let (picture, raw) = (written(&scratch, "a.jpg", jpeg), scratch.file("a.rgb"));
            let scale = "scale=flags=accurate_rnd+full_chroma_int";
            let args = ["-i", picture.to_str().unwrap(), "-vf", scale, "-f", "rawvideo", "-pix_fmt", "rgb24"];
            ffmpeg(&[&args[..], &[raw.to_str().unwrap()]].concat());
            let seen = std::fs::read(&raw).unwrap();
            assert_eq!(seen.len(), 3 * SIZE.pixels() as usize);
            let pixels = seen.chunks_exact(3);
            let off = pixels.flat_map(|p| (0..3).map(move |c| f64::from(p[c].abs_diff(colour[c]))));
            let mean = off.sum::<f64>() / seen.len() as f64;
            assert!(mean < 2.5, "{colour:?} in {layout:?} is off by {mean:.2} levels");
        }
    }
}

#[test]
fn sizes_may_change_and_a_quality_has_a_range() {
    let mut encoder = Jpeg::new(80).unwrap();
    let small = encoder.encode(&flat([90, 60, 50], Layout::I420)).unwrap().to_vec();
    let large = Frame::new(Size::new(130, 90), Layout::I420, vec![100; 130 * 90 * 3 / 2]).unwrap();
    assert!(encoder.encode(&large).unwrap().starts_with(&[0xff, 0xd8]));
    assert_eq!(encoder.encode(&flat([90, 60, 50], Layout::I420)).unwrap(), small);
    for quality in [0, 101] {
        assert_eq!(refused(Jpeg::new(quality)).0, "bad_quality");
    }
}
