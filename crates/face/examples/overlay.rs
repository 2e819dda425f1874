//! Draws what `face` finds: Y4M (yuv420p) on stdin, PPM pictures on stdout, the numbers on stderr.
//! `ffmpeg -i in.png -pix_fmt yuv420p -f yuv4mpegpipe - | cargo run -p face --example overlay > out.ppm`
//! Every frame is measured on its own; with `--track` frames after the first are followed. `--no-pictures` only measures.

use std::io::{self, BufRead, Write};
use std::time::Instant;

use contract::{Frame, Layout, Size, yuv_to_rgb};
use face::{Detector, EYE_X, EYE_Y, Face, Tracked, Tracker, find};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut input = io::stdin().lock();
    let mut out = io::stdout().lock();
    let size = read_header(&mut input)?;
    let track = std::env::args().any(|argument| argument == "--track");
    let silent = std::env::args().any(|argument| argument == "--no-pictures");
    let mut detector = Detector::new();
    let mut tracker: Option<Tracker> = None;
    let mut index = 0;
    while let Some(frame) = read_frame(&mut input, size)? {
        let began = Instant::now();
        let looked = match &mut tracker {
            Some(tracker) => Ok(tracker.follow(&frame)),
            None => {
                find(&mut detector, &frame, 1.0, 40).map(|found| Tracked { face: found.face, quality: 1.0 })
            }
        };
        let ms = began.elapsed().as_secs_f64() * 1e3;
        let mut picture = if silent { None } else { Some(Picture::of(&frame)) };
        match looked {
            Ok(Tracked { face, quality }) => {
                if let Some(picture) = &mut picture {
                    picture.draw(&face);
                }
                report(index, &face, quality, ms);
                if track && tracker.is_none() {
                    tracker = Some(Tracker::new(&frame, face));
                }
            }
            Err(complaint) => eprintln!("{index}: {complaint} ({ms:.1} ms)"),
        }
        if let Some(picture) = picture {
            picture.write(&mut out)?;
        }
        index += 1;
    }
    Ok(())
}

fn report(index: usize, face: &Face, quality: f32, ms: f64) {
    let m = face.landmarks();
    eprintln!(
        "{index}: box {:.0} {:.0} {:.0} score {:.1} | eyes {:.1} {:.1} {:.1} {:.1} | mouth y {:.1} hw {:.1} ratio {:.2} open {} | \
         ncc {:.2} contrast {:.0} {:.0} lids {:.1} {:.1} {:.1} {:.1} | mouth_ok {} eyes_ok {} confidence {:.2} | q {quality:.3} {ms:.1} ms",
        face.bounds.x,
        face.bounds.y,
        face.bounds.width,
        face.bounds.score,
        m.left_eye.x,
        m.left_eye.y,
        m.right_eye.x,
        m.right_eye.y,
        face.mouth.upper.iter().sum::<f32>() / face.mouth.upper.len() as f32,
        face.mouth.half_width,
        face.gates.mouth_ratio,
        face.mouth.open,
        face.gates.mirror_ncc,
        face.eyes[0].contrast,
        face.eyes[1].contrast,
        face.eyes[0].lid_top,
        face.eyes[0].lid_bottom,
        face.eyes[1].lid_top,
        face.eyes[1].lid_bottom,
        face.gates.mouth_ok,
        face.gates.eyes_ok,
        face.confidence,
    );
}

fn read_header(input: &mut impl BufRead) -> Result<Size, Box<dyn std::error::Error>> {
    let mut header = String::new();
    input.read_line(&mut header)?;
    let number =
        |tag: char| header.split_whitespace().find_map(|word| word.strip_prefix(tag)?.parse::<u32>().ok());
    match (header.starts_with("YUV4MPEG2"), number('W'), number('H')) {
        (true, Some(width), Some(height)) => Ok(Size::new(width, height)),
        _ => Err("stdin is not Y4M".into()),
    }
}

fn read_frame(input: &mut impl BufRead, size: Size) -> Result<Option<Frame>, Box<dyn std::error::Error>> {
    let mut marker = String::new();
    if input.read_line(&mut marker)? == 0 {
        return Ok(None);
    }
    let mut data = vec![0; Layout::I420.bytes(size)];
    input.read_exact(&mut data)?;
    Ok(Some(Frame::new(size, Layout::I420, data)?))
}

struct Picture {
    size: Size,
    rgb: Vec<u8>,
}

impl Picture {
    fn of(frame: &Frame) -> Self {
        let size = frame.size();
        let planes = frame.planes().expect("frames are read as I420");
        let w = size.width as usize;
        let mut rgb = Vec::with_capacity(3 * w * size.height as usize);
        for y in 0..size.height as usize {
            for x in 0..w {
                let at = y / 2 * (w / 2) + x / 2;
                let yuv = [planes.y[y * w + x], planes.u[at], planes.v[at]].map(f32::from);
                rgb.extend(yuv_to_rgb(yuv).map(|v| v.round().clamp(0.0, 255.0) as u8));
            }
        }
        Self { size, rgb }
    }

    fn dot(&mut self, x: f32, y: f32, colour: [u8; 3]) {
        let (x, y) = (x.round(), y.round());
        if x >= 0.0 && y >= 0.0 && x < self.size.width as f32 && y < self.size.height as f32 {
            let at = 3 * (y as usize * self.size.width as usize + x as usize);
            self.rgb[at..at + 3].copy_from_slice(&colour);
        }
    }

    fn draw(&mut self, face: &Face) {
        let back = face.canon.inverse();
        let mut canonical = |x: f32, y: f32, colour: [u8; 3]| {
            let (x, y) = back.apply(x, y);
            self.dot(x, y, colour);
        };
        for (eye, eye_x) in face.eyes.iter().zip(EYE_X) {
            for i in -20..=20 {
                let t = i as f32 / 4.0;
                canonical(eye_x + t, EYE_Y, [0, 255, 0]);
                canonical(eye_x, EYE_Y + t, [0, 255, 0]);
                canonical(eye_x + 2.0 * t, eye.lid_top, [0, 160, 255]);
                canonical(eye_x + 2.0 * t, eye.lid_bottom, [0, 160, 255]);
            }
        }
        let colour = if face.gates.mouth_ok { [255, 255, 0] } else { [255, 0, 0] };
        for (i, (upper, lower)) in face.mouth.upper.iter().zip(&face.mouth.lower).enumerate() {
            for part in 0..4 {
                let x = face.mouth.x0 + i as f32 + part as f32 / 4.0;
                canonical(x, *upper, colour);
                if face.mouth.open {
                    canonical(x, *lower, [255, 128, 0]);
                }
            }
        }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "P6\n{} {}\n255\n", self.size.width, self.size.height)?;
        out.write_all(&self.rgb)
    }
}
