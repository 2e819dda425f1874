//! Every kind of still a user may send, and the stills that are refused.

mod fixtures;

use std::path::Path;

use contract::{Frame, Layout, Rgb, Size, Stop, yuv_to_rgb};
use fixtures::{data, ffmpeg, limits, made, refused, scratch, tools, written};
use media::{Limits, Picture, PictureSpec};

const LONGEST: u32 = 1280;

fn open(path: &Path, layout: Layout, longest: u32) -> Result<Picture, media::MediaError> {
    media::picture(&tools(), path, PictureSpec { layout, longest }, &limits(), &Stop::new())
}

fn still(path: &Path, layout: Layout) -> (Frame, Vec<&'static str>) {
    let mut picture = open(path, layout, LONGEST).unwrap();
    let frame = picture.source.next().unwrap().unwrap();
    assert!(picture.source.next().unwrap().is_none(), "a still has one frame");
    (frame, picture.warnings.iter().map(|w| w.code).collect())
}

/// The colour at a place of the frame, in either layout.
fn colour(frame: &Frame, (x, y): (u32, u32)) -> Rgb {
    let (x, y, w) = (x as usize, y as usize, frame.size().width as usize);
    match frame.planes() {
        Some(planes) => {
            let chroma = y / 2 * (w / 2) + x / 2;
            yuv_to_rgb([planes.y[y * w + x], planes.u[chroma], planes.v[chroma]].map(f32::from))
        }
        None => [0, 1, 2].map(|c| f32::from(frame.data()[(y * w + x) * 3 + c])),
    }
}

fn near(frame: &Frame, at: (u32, u32), expected: Rgb, why: &str) {
    let found = colour(frame, at);
    let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 6.0);
    assert!(close, "{why} {:?} at {at:?}: {found:?}, expected {expected:?}", frame.layout());
}

const RED: Rgb = [255.0, 0.0, 0.0];
const BLUE: Rgb = [0.0, 0.0, 255.0];
const GREEN: Rgb = [0.0, 255.0, 0.0];
const GREY: Rgb = [128.0, 128.0, 128.0];
const WHITE: Rgb = [255.0, 255.0, 255.0];
const CYAN: Rgb = [0.0, 173.0, 239.0];

/// Four squares: red, green over blue, grey.
const SQUARES: &str = "color=red:s=32x24:d=0.1[a];color=0x00ff00:s=32x24:d=0.1[b];color=blue:s=32x24:d=0.1[c];\
    color=0x808080:s=32x24:d=0.1[d];[a][b]hstack[t];[c][d]hstack[u];[t][u]vstack,format=gbrp";

/// Stands for "with a palette of its own".
const PALETTE: &str = "palette";

#[test]
fn common_formats_keep_their_colours() {
    let scratch = scratch();
    let rows = [
        ("a.png", "-pix_fmt rgb24"),
        ("b.png", "-pix_fmt rgb48be"),
        ("c.jpg", "-pix_fmt yuvj444p -q:v 1"),
        ("d.jpg", "-pix_fmt yuvj420p -q:v 1"),
        ("e.webp", "-c:v libwebp -lossless 1"),
        ("f.webp", "-c:v libwebp -lossless 0 -q:v 95"),
        ("g.bmp", ""),
        ("h.tiff", "-pix_fmt rgb24"),
        ("i.tiff", "-pix_fmt rgb48le"),
        ("j.ppm", ""),
        ("k.png", PALETTE),
        ("l.gif", PALETTE),
    ];
    for (name, options) in rows {
        let path = scratch.file(name);
        let palette = ";[full]split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=none";
        let graph = if options == PALETTE { format!("{SQUARES}[full]{palette}") } else { SQUARES.to_owned() };
        let options = if options == PALETTE { "" } else { options };
        let mut args = vec!["-filter_complex", &graph, "-frames:v", "1"];
        args.extend(options.split(' ').filter(|word| !word.is_empty()));
        args.push(path.to_str().unwrap());
        ffmpeg(&args);
        for layout in [Layout::Rgb24, Layout::I420] {
            let (frame, warnings) = still(&path, layout);
            assert_eq!(frame.size(), Size::new(64, 48), "{name}");
            assert!(warnings.is_empty() || name == "l.gif", "{name}: {warnings:?}");
            for (at, expected) in [((8, 8), RED), ((48, 8), GREEN), ((8, 36), BLUE), ((48, 36), GREY)] {
                near(&frame, at, expected, name);
            }
        }
    }
}

#[test]
fn grey_black_and_white_are_what_they_are() {
    let scratch = scratch();
    for (name, value, expected) in
        [("w.png", "white", 255.0), ("g.png", "0x404040", 64.0), ("k.png", "black", 0.0)]
    {
        for pixels in ["gray", "gray16be", "monob"] {
            if pixels == "monob" && name == "g.png" {
                continue;
            }
            let words = format!("-f lavfi -i color={value}:s=64x48,format=gbrp,format={pixels} -frames:v 1");
            let path = made(&scratch, &format!("{pixels}-{name}"), &words);
            near(&still(&path, Layout::I420).0, (30, 20), [expected; 3], pixels);
        }
    }
}

#[test]
fn cmyk_and_animated_webp_are_read() {
    let (frame, warnings) = still(&data("cmyk.jpg"), Layout::I420);
    assert!(warnings.is_empty(), "{warnings:?}");
    // without an ink profile: the naive mixture
    near(&frame, (8, 24), RED, "cmyk");
    let other = colour(&frame, (50, 24));
    assert!(other[0] < 40.0 && other[2] > 200.0, "{other:?} is no kind of {CYAN:?}");
    let probe = media::probe(&tools(), &data("animated.webp"), &limits(), &Stop::new()).unwrap();
    assert_eq!(probe.format, "webp_pipe", "what is to be told from a clip first");
    let (frame, warnings) = still(&data("animated.webp"), Layout::I420);
    assert_eq!(warnings, ["picture_animated"]);
    near(&frame, (30, 20), RED, "animated webp");
}

/// A JPEG with an EXIF orientation written into it by hand.
fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let mut out = vec![0xff, 0xd8, 0xff, 0xe1];
    out.extend((exif.len() as u16 + 2).to_be_bytes());
    out.extend(exif);
    out.extend(&jpeg[2..]);
    out
}

#[test]
fn every_exif_orientation_comes_out_upright() {
    let scratch = scratch();
    // how a viewer undoes orientation 1..8, as filters on the upright picture, to store it
    let stored =
        ["null", "hflip", "hflip,vflip", "vflip", "transpose=0", "transpose=2", "transpose=3", "transpose=1"];
    for (index, filter) in stored.into_iter().enumerate() {
        let plain = scratch.file("plain.jpg");
        let graph = format!("{SQUARES},{filter}");
        ffmpeg(&["-filter_complex", &graph, "-frames:v", "1", "-q:v", "1", plain.to_str().unwrap()]);
        let jpeg = turned(&std::fs::read(&plain).unwrap(), index as u8 + 1);
        let path = written(&scratch, "turned.jpg", &jpeg);
        let mut picture = open(&path, Layout::I420, LONGEST).unwrap();
        assert_eq!(picture.source.format().natural, Size::new(64, 48), "orientation {}", index + 1);
        let frame = picture.source.next().unwrap().unwrap();
        for (at, expected) in [((8, 8), RED), ((48, 8), GREEN), ((8, 36), BLUE), ((48, 36), GREY)] {
            near(&frame, at, expected, &format!("orientation {}", index + 1));
        }
    }
}

#[test]
fn transparency_is_laid_on_white_with_a_warning() {
    let scratch = scratch();
    let graph = "color=blue:s=64x48,format=rgba,geq=r=0:g=0:b=255:a='if(lt(X,32),255,0)'";
    for (name, options) in
        [("a.png", "-pix_fmt rgba"), ("b.webp", "-c:v libwebp -lossless 1"), ("c.tiff", "-pix_fmt rgba")]
    {
        let path = scratch.file(name);
        let mut args = vec!["-f", "lavfi", "-i", graph, "-frames:v", "1"];
        args.extend(options.split(' '));
        args.push(path.to_str().unwrap());
        ffmpeg(&args);
        let (frame, warnings) = still(&path, Layout::I420);
        assert_eq!(warnings, ["picture_alpha"], "{name}");
        near(&frame, (8, 24), BLUE, name);
        near(&frame, (50, 24), WHITE, name);
    }
}

#[test]
fn animated_pictures_and_videos_give_their_first_frame() {
    let scratch = scratch();
    let colours =
        "color=red:s=64x48:d=0.2:r=10[a];color=blue:s=64x48:d=0.2:r=10[b];[a][b]concat=n=2,format=rgb24";
    for (name, warning) in
        [("a.gif", "picture_animated"), ("a.apng", "picture_animated"), ("a.mp4", "picture_is_clip")]
    {
        let path = scratch.file(name);
        let pixels = match name {
            "a.gif" => "rgb8",
            "a.apng" => "rgb24",
            _ => "yuv420p",
        };
        ffmpeg(&["-filter_complex", colours, "-pix_fmt", pixels, path.to_str().unwrap()]);
        let (frame, warnings) = still(&path, Layout::I420);
        assert_eq!(warnings, [warning], "{name}");
        let found = colour(&frame, (30, 20));
        assert!(found[0] > 200.0 && found[2] < 40.0, "{name}: {found:?}");
    }
}

#[test]
fn large_pictures_shrink_small_ones_stay() {
    let scratch = scratch();
    let rows = [("3000x1500", 1280, (1280, 640)), ("101x75", 1280, (100, 74)), ("16x16", 1280, (16, 16))];
    for (size, longest, (width, height)) in rows {
        let path = made(&scratch, "p.png", &format!("-f lavfi -i testsrc=s={size} -frames:v 1"));
        let mut picture = open(&path, Layout::I420, longest).unwrap();
        let format = picture.source.format();
        assert_eq!(picture.source.next().unwrap().unwrap().size(), Size::new(width, height), "{size}");
        assert_eq!(format.natural.to_string(), size);
    }
    // odd sides are cut, not blurred
    let path = made(&scratch, "odd.png", "-f lavfi -i testsrc=s=101x75,format=rgb24 -frames:v 1");
    let (odd, _) = still(&path, Layout::Rgb24);
    assert_eq!(odd.size(), Size::new(101, 75));
    let path = made(
        &scratch,
        "even.png",
        "-f lavfi -i testsrc=s=101x75,format=rgb24,crop=100:74:0:0:exact=1 -frames:v 1",
    );
    let (even, _) = still(&path, Layout::I420);
    let (cut, _) = still(&scratch.file("odd.png"), Layout::I420);
    assert_eq!(cut.planes().unwrap().y, even.planes().unwrap().y);
}

/// A PNG whose header claims a size; there is next to nothing behind it.
fn claiming(width: u32, height: u32) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    for chunk in [&header[..], b"IDATx\x9c", b"IEND"] {
        out.extend((chunk.len() as u32 - 4).to_be_bytes());
        out.extend(chunk);
        out.extend(crc(chunk).to_be_bytes());
    }
    out
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
    })
}

#[test]
fn pictures_beyond_the_limits_are_refused_before_they_are_decoded() {
    let scratch = scratch();
    let rows = [
        ((30_000, 30_000), "picture_too_large"),
        ((20_000, 100), "picture_too_large"),
        ((16_000, 16_000), "picture_too_large"),
        ((200_000, 200_000), "picture_too_large"),
    ];
    for ((width, height), expected) in rows {
        let path = written(&scratch, "claim.png", &claiming(width, height));
        let (code, line) = refused(open(&path, Layout::I420, LONGEST).map(drop));
        assert_eq!(code, expected, "{line}");
        assert!(line.contains(&format!("{width}x{height}")) && line.contains("limit"), "{line}");
    }
    let path = made(&scratch, "dot.png", "-f lavfi -i color=red:s=1x1,format=rgb24 -frames:v 1");
    let (code, line) = refused(open(&path, Layout::I420, LONGEST).map(drop));
    assert_eq!(code, "picture_too_small");
    assert!(line.contains("1x1"), "{line}");
    let tight = Limits { file_bytes: 100, ..limits() };
    let path = made(&scratch, "p.png", "-f lavfi -i testsrc=s=320x240 -frames:v 1");
    let spec = PictureSpec { layout: Layout::I420, longest: LONGEST };
    assert_eq!(
        refused(media::picture(&tools(), &path, spec, &tight, &Stop::new()).map(drop)).0,
        "file_too_large"
    );
}

#[test]
fn what_is_no_picture_is_refused_in_one_line() {
    let scratch = scratch();
    let png = std::fs::read(made(&scratch, "p.png", "-f lavfi -i testsrc=s=640x480 -frames:v 1")).unwrap();
    let jpeg = std::fs::read(made(&scratch, "p.jpg", "-f lavfi -i testsrc=s=640x480 -frames:v 1")).unwrap();
    let svg = b"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\" width=\"64\" height=\"64\"><image href=\"/etc/passwd\"/></svg>";
    let bare = b"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"64\" height=\"64\"/>";
    let hls = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n";
    let concat = b"ffconcat version 1.0\nfile /etc/passwd\n";
    let rows: [(&str, &[u8], &[&str]); 9] = [
        ("cut.png", &png[..png.len() / 3], &["unreadable_media"]),
        ("cut.jpg", &jpeg[..300], &["unreadable_media"]),
        ("drawing.png", svg, &["format_not_allowed", "unreadable_media"]),
        ("bare.png", bare, &["format_not_allowed", "unreadable_media"]),
        ("list.jpg", hls, &["format_not_allowed"]),
        ("concat.jpg", concat, &["format_not_allowed"]),
        ("text.jpg", b"hello, I am no picture at all, only some words in a file", &["unreadable_media"]),
        ("empty.jpg", b"", &["file_empty"]),
        ("zeros.png", &[0; 5000], &["unreadable_media"]),
    ];
    for (name, bytes, expected) in rows {
        let path = written(&scratch, name, bytes);
        let (code, line) = refused(open(&path, Layout::I420, LONGEST).map(drop));
        assert!(expected.contains(&code), "{name}: {code} {line}");
    }
    assert_eq!(refused(open(scratch.path(), Layout::I420, LONGEST).map(drop)).0, "not_a_file");
    assert_eq!(refused(open(&scratch.file("none.png"), Layout::I420, LONGEST).map(drop)).0, "file_missing");
    assert_eq!(refused(open(Path::new("/dev/zero"), Layout::I420, LONGEST).map(drop)).0, "not_a_file");
    let sound = made(&scratch, "tone.wav", "-f lavfi -i sine=d=1");
    let (code, line) = refused(open(&sound, Layout::I420, LONGEST).map(drop));
    assert!(code == "no_picture" || code == "format_not_allowed", "{line}");
}

#[test]
fn names_are_never_interpreted() {
    let scratch = scratch();
    let png = std::fs::read(made(&scratch, "p.png", "-f lavfi -i testsrc=s=64x48 -frames:v 1")).unwrap();
    for name in ["-i", "%03d.png", "concat:a|b.png", "pipe:0", "a:b'c\"d,e;f[g]h\\i.png", "новый файл.png"]
    {
        let path = written(&scratch, name, &png);
        assert_eq!(still(&path, Layout::I420).0.size(), Size::new(64, 48), "{name}");
    }
}

#[test]
fn a_stopped_job_decodes_nothing() {
    let scratch = scratch();
    let path = made(&scratch, "p.png", "-f lavfi -i testsrc=s=64x48 -frames:v 1");
    let stop = Stop::new();
    stop.stop();
    let spec = PictureSpec { layout: Layout::I420, longest: LONGEST };
    let outcome = media::picture(&tools(), &path, spec, &limits(), &stop).map(drop);
    assert_eq!(outcome.unwrap_err(), media::MediaError::Stopped);
}

#[test]
fn a_picture_that_fills_a_shape_is_cut_at_its_centre() {
    let scratch = scratch();
    // three stripes of which the outer two lie outside a square
    let stripes = "-f lavfi -i color=red:s=40x80[a];color=blue:s=80x80[b];color=0x00ff00:s=40x80[c];[a][b][c]hstack=3 -frames:v 1";
    let stripes = stripes.replace("-f lavfi -i ", "-filter_complex ");
    let opaque = made(&scratch, "stripes.png", &format!("{stripes} -pix_fmt rgb24"));
    let alpha = made(&scratch, "alpha.png", &format!("{stripes} -pix_fmt rgba"));
    let wide = made(&scratch, "wide.png", "-f lavfi -i testsrc=s=320x240 -frames:v 1");
    let shapes = [Size::new(1216, 320), Size::new(704, 576), Size::new(640, 640), Size::new(448, 832)];
    let fill = |path: &Path, layout: Layout, sizes: &[Size], longest: u32| {
        let spec = PictureSpec { layout, longest };
        let mut picture =
            media::picture_filling(&tools(), path, (spec, sizes), &limits(), &Stop::new()).unwrap();
        let format = picture.source.format();
        let frame = picture.source.next().unwrap().unwrap();
        assert_eq!(
            (format.size, format.natural),
            (frame.size(), frame.size()),
            "what was cut off is unknown"
        );
        frame
    };
    for layout in [Layout::I420, Layout::Rgb24] {
        for path in [&opaque, &alpha] {
            let frame = fill(path, layout, &[Size::new(160, 160)], LONGEST);
            assert_eq!(frame.size(), Size::new(160, 160), "it is made larger");
            for at in [(2, 2), (157, 157), (80, 80)] {
                near(&frame, at, BLUE, "the middle");
            }
        }
        assert_eq!(
            fill(&wide, layout, &shapes, LONGEST).size(),
            Size::new(704, 576),
            "3:4 is nearest to 0.82"
        );
        assert_eq!(fill(&wide, layout, &shapes, 352).size(), Size::new(352, 288), "the limit holds");
    }
}
