//! Clips: whole, in part, bouncing, turned, at other frame rates; and plain frames.

mod fixtures;

use std::path::{Path, PathBuf};

use contract::{Fps, Frame, Layout, Size, Stop};
use fixtures::{ffmpeg, limits, made, refused, scratch, tools, written};
use media::{Clip, ClipSpec, FramesSpec, Limits, MediaError, Scratch};

const SPEC: ClipSpec = ClipSpec { layout: Layout::I420, longest: 1280, fps: None };

fn open(path: &Path, spec: ClipSpec) -> Result<Clip, MediaError> {
    media::clip(&tools(), path, spec, &limits(), &Stop::new())
}

/// A clip whose frame `n` is grey of luma 20 + step * n, losslessly.
fn counting(
    scratch: &Scratch,
    name: &str,
    (size, frames, rate): (&str, u32, &str),
    options: &str,
) -> PathBuf {
    let path = scratch.file(name);
    let graph =
        format!("color=black:s={size}:r={rate},geq=lum='20+mod(N*3,200)':cb=128:cr=128,format=yuv420p");
    let frames = frames.to_string();
    let mut args =
        vec!["-f", "lavfi", "-i", &graph, "-frames:v", &frames, "-c:v", "libx264", "-qp", "0", "-g", "10"];
    args.extend(options.split(' ').filter(|word| !word.is_empty()));
    args.push(path.to_str().unwrap());
    ffmpeg(&args);
    path
}

/// Which frame of `counting` this is.
fn number(frame: &Frame) -> i64 {
    let planes = frame.planes().unwrap();
    (i64::from(planes.y[planes.y.len() / 2]) - 20 + 1) / 3
}

fn numbers(clip: &mut Clip, count: usize) -> Vec<i64> {
    (0..count).map(|_| number(&clip.source.next().unwrap().unwrap())).collect()
}

fn bounced(length: i64, count: i64) -> Vec<i64> {
    (0..count).map(|step| step % (2 * length - 2)).map(|at| at.min(2 * length - 2 - at)).collect()
}

#[test]
fn a_short_clip_bounces_for_ever() {
    let scratch = scratch();
    let path = counting(&scratch, "c.mp4", ("64x48", 20, "25"), "");
    let mut clip = open(&path, SPEC).unwrap();
    assert_eq!(clip.fps, Fps::whole(25));
    assert!(clip.warnings.is_empty());
    assert!((clip.seconds.unwrap() - 0.8).abs() < 0.01);
    assert_eq!(numbers(&mut clip, 90), bounced(20, 90));
}

#[test]
fn a_clip_that_does_not_fit_into_memory_bounces_too() {
    let scratch = scratch();
    // 1920x1080 in I420 is 3.1 MB, so that 40 frames are more than may be kept, and chunks are 16 frames
    let path = counting(&scratch, "big.mp4", ("1920x1080", 40, "25"), "-preset ultrafast");
    let mut clip = open(&path, ClipSpec { longest: 1920, ..SPEC }).unwrap();
    assert_eq!(numbers(&mut clip, 130), bounced(40, 130));
}

#[test]
fn other_clocks_and_rates_are_exact() {
    let scratch = scratch();
    let plain = counting(&scratch, "c.mp4", ("64x48", 60, "25"), "");
    let transport = counting(&scratch, "c.ts", ("64x48", 60, "25"), "");
    let ntsc = counting(&scratch, "n.mkv", ("64x48", 60, "30000/1001"), "");
    for path in [&plain, &transport] {
        let mut clip = open(path, SPEC).unwrap();
        assert_eq!(numbers(&mut clip, 130), bounced(60, 130), "{}", path.display());
    }
    let mut clip = open(&ntsc, SPEC).unwrap();
    assert_eq!(clip.fps, Fps::new(30_000, 1001).unwrap());
    assert_eq!(numbers(&mut clip, 80), bounced(60, 80));
    // half and double the rate: every other frame, every frame twice
    let mut half = open(&plain, ClipSpec { fps: Fps::new(25, 2), ..SPEC }).unwrap();
    let seen = numbers(&mut half, 28);
    assert!(seen.windows(2).all(|w| w[1] - w[0] == 2), "{seen:?}");
    let mut double = open(&plain, ClipSpec { fps: Fps::new(50, 1), ..SPEC }).unwrap();
    let seen = numbers(&mut double, 100);
    assert_eq!(seen[99] - seen[0], 49, "{seen:?}");
}

#[test]
fn a_clip_that_hides_its_length_is_held_to_the_limit() {
    let scratch = scratch();
    let path = counting(&scratch, "bare.h264", ("64x48", 50, "25"), "");
    let tight = |clip_seconds: f64| Limits { clip_seconds, ..limits() };
    let mut fits = media::clip(&tools(), &path, SPEC, &tight(2.0), &Stop::new()).unwrap();
    assert_eq!(fits.seconds, None, "the container tells it: this proves nothing");
    assert_eq!(numbers(&mut fits, 120), bounced(50, 120));
    let mut once = media::clip_once(&tools(), &path, SPEC, &tight(1.0), &Stop::new()).unwrap();
    let mut seen = 0;
    let told = loop {
        match once.source.next() {
            Ok(Some(_)) => seen += 1,
            Ok(None) => panic!("it was cut after {seen} frames"),
            Err(error) => break error,
        }
    };
    assert_eq!(seen, 25);
    assert!(matches!(told, contract::SourceError::Rejected(complaint) if complaint.code == "clip_too_long"));
}

#[test]
fn what_is_transparent_lies_on_white() {
    let scratch = scratch();
    let path =
        made(&scratch, "clear.mov", "-f lavfi -i color=black@0:s=64x48:r=25:d=0.2,format=argb -c:v qtrle");
    let mut clip = open(&path, SPEC).unwrap();
    assert!(clip.warnings.iter().any(|warning| warning.code == "clip_alpha"), "{:?}", clip.warnings);
    let frames: Vec<_> = (0..5).map(|_| clip.source.next().unwrap().unwrap()).collect();
    for frame in frames {
        assert!(frame.data()[..64 * 48].iter().all(|&luma| luma > 230), "{:?}", &frame.data()[..8]);
    }
}

/// A container's rate may be its clock.
#[test]
fn frames_of_an_unbelievable_rate_are_evened_out() {
    let scratch = scratch();
    let path = made(
        &scratch,
        "fast.mkv",
        "-f lavfi -i testsrc=s=64x48:r=1000:d=0.2 -c:v ffv1 -fps_mode passthrough",
    );
    let spec = FramesSpec { layout: Layout::I420, longest: 64 };
    let mut frames = media::frames(&tools(), &path, spec, &limits(), &Stop::new()).unwrap();
    assert_eq!(frames.format().fps, Some(Fps::whole(25)));
    let mut count = 0;
    while frames.next().unwrap().is_some() {
        count += 1;
    }
    assert!((4..=6).contains(&count), "{count} frames in 0.2 s");
}

#[test]
fn one_frame_is_a_clip_too() {
    let scratch = scratch();
    let path = counting(&scratch, "one.mp4", ("64x48", 1, "25"), "");
    let mut clip = open(&path, SPEC).unwrap();
    assert_eq!(numbers(&mut clip, 5), [0; 5]);
}

#[test]
fn a_turned_phone_clip_stands_upright() {
    let scratch = scratch();
    let flat = made(&scratch, "flat.mp4", "-f lavfi -i testsrc=s=64x48:d=0.4 -c:v libx264");
    let mut bytes = std::fs::read(flat).unwrap();
    // the track header's matrix: a quarter turn clockwise, as phones write it
    let header = bytes.windows(4).position(|w| w == b"tkhd").unwrap() + 4 + 40;
    let matrix = [0, 0x1_0000, 0, 0xffff_0000, 0, 0, 48 << 16, 0, 0x4000_0000_u32];
    for (place, value) in bytes[header..].chunks_exact_mut(4).zip(matrix) {
        place.copy_from_slice(&value.to_be_bytes());
    }
    let path = written(&scratch, "turned.mp4", &bytes);
    let clip = open(&path, SPEC).unwrap();
    assert_eq!(clip.source.format().natural, Size::new(48, 64));
    assert_eq!(clip.source.format().size, Size::new(48, 64));
}

#[test]
fn large_clips_shrink_and_wide_pixels_are_squared() {
    let scratch = scratch();
    let path = made(&scratch, "wide.mp4", "-f lavfi -i testsrc=s=200x100:d=0.2,setsar=2 -c:v libx264");
    let clip = open(&path, ClipSpec { longest: 100, ..SPEC }).unwrap();
    let format = clip.source.format();
    assert_eq!((format.natural, format.size), (Size::new(400, 100), Size::new(100, 24)));
}

#[test]
fn what_is_no_clip_is_refused() {
    let scratch = scratch();
    let sound = made(&scratch, "a.m4a", "-f lavfi -i sine=d=1");
    let film =
        std::fs::read(counting(&scratch, "c.mp4", ("64x48", 20, "25"), "-movflags +faststart")).unwrap();
    let rows = [
        (sound, "no_video"),
        (
            written(&scratch, "l.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n"),
            "format_not_allowed",
        ),
        (written(&scratch, "e.mp4", b""), "file_empty"),
        (written(&scratch, "t.mp4", b"no film at all, only words in a file"), "unreadable_media"),
        (written(&scratch, "h.mp4", &film[..film.len() / 20]), "unreadable_media"),
    ];
    for (path, expected) in rows {
        let (code, line) = refused(open(&path, SPEC).map(drop));
        assert_eq!(code, expected, "{} {line}", path.display());
    }
    let path = counting(&scratch, "c.mp4", ("64x48", 50, "25"), "");
    let tight = Limits { clip_seconds: 1.0, ..limits() };
    let outcome = media::clip(&tools(), &path, SPEC, &tight, &Stop::new());
    assert_eq!(refused(outcome.map(drop)).0, "clip_too_long");
    let tight = Limits { streams: 1, ..limits() };
    let two = scratch.file("two.mkv");
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc=d=0.2:s=64x48",
        "-f",
        "lavfi",
        "-i",
        "sine=d=0.2",
        two.to_str().unwrap(),
    ]);
    let outcome = media::clip(&tools(), &two, SPEC, &tight, &Stop::new());
    assert_eq!(refused(outcome.map(drop)).0, "too_many_streams");
}

#[test]
fn plain_frames_come_once_each() {
    let scratch = scratch();
    for (name, rate) in [("c.mp4", "25"), ("n.mkv", "30000/1001"), ("c.ts", "25")] {
        let path = counting(&scratch, name, ("64x48", 40, rate), "");
        let spec = FramesSpec { layout: Layout::I420, longest: 512 };
        let mut frames = media::frames(&tools(), &path, spec, &limits(), &Stop::new()).unwrap();
        assert_eq!(frames.format().fps, Some(rate.parse().unwrap()), "{name}");
        let mut seen = Vec::new();
        while let Some(frame) = frames.next().unwrap() {
            seen.push(number(&frame));
        }
        assert_eq!(seen, (0..40).collect::<Vec<_>>(), "{name}");
    }
}
