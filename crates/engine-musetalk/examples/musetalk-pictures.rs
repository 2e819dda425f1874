//! Our side of `benches/pictures`: what is done to the pictures of one frame of 1920x1080 with one face. A line names a job (`crop`,
//! `warp`, `parser_input`, `mask offline`, `mask realtime`, `paste`) and runs it once, `go N` runs it N times and prints the CPU time of each run
//! in milliseconds, `out FILE` runs it once more and writes the result's bytes.

use std::io::{BufRead, Write};

use engine_musetalk::blend::Paster;
use engine_musetalk::face_crop::{FaceCropper, SIDE};
use engine_musetalk::mask::parsing::{self, CheekWidths, Parsing};
use engine_musetalk::mask::{MaskMaker, MaskRule};
use engine_musetalk::nets::rtmpose::crop::{Region, warp};
use pictures::{Picture, Plane, Rect, Rgb};

type Failure = Box<dyn std::error::Error>;
/// Runs, and shows its result to whoever asks.
type Job = Box<dyn FnMut(&mut dyn FnMut(&[u8])) -> Result<(), Failure>>;

const FRAME: (usize, usize) = (1920, 1080);
const FACE: Rect = Rect::new(700, 300, 1030, 720);
/// Of RTMPose.
const POSE: (usize, usize) = (288, 384);

/// CPU time of the process, in milliseconds.
fn cpu_ms() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 * 1e3 + t.tv_nsec as f64 * 1e-6
}

/// The same bytes as the peer's: splitmix64 of the index.
fn noise<const C: usize>(seed: u64, size: (usize, usize)) -> Result<Picture<C>, Failure> {
    let byte = |i: usize| {
        let mut z = seed.wrapping_add((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 56) as u8
    };
    Ok(Picture::new((0..size.0 * size.1 * C).map(byte).collect(), size)?)
}

/// An oval of skin with a nose and a mouth, hair around it and a neck below.
fn labels() -> Result<Plane, Failure> {
    let class = |x: i64, y: i64| {
        let across = x - 256;
        match () {
            () if across.abs() < 30 && (230..320).contains(&y) => 10,
            () if across.abs() < 60 && (350..398).contains(&y) => 11 + ((y - 350) / 16) as u8,
            () if across.pow(2) * 210 * 210 + (y - 270).pow(2) * 170 * 170 < 170 * 170 * 210 * 210 => 1,
            () if across.abs() < 100 && y > 440 => 14,
            () => 17,
        }
    };
    let side = parsing::SIDE;
    let bytes = (0..side * side).map(|i| class((i % side) as i64, (i / side) as i64)).collect();
    Ok(Plane::new(bytes, (side, side))?)
}

fn job(words: &[&str]) -> Result<Job, Failure> {
    let jaw = Parsing::Jaw(CheekWidths::V15);
    let frame: Rgb = noise(1, FRAME)?;
    match *words {
        ["crop"] => {
            let mut cropper = FaceCropper::default();
            Ok(Box::new(move |show| {
                let face = cropper.crop(frame.view(), FACE).ok_or("the face is in the frame")?;
                face.rows().for_each(show);
                Ok(())
            }))
        }
        ["warp"] => {
            let region = Region::of_frame(FRAME, POSE);
            Ok(Box::new(move |show| {
                show(warp(frame.view(), &region, POSE)?.bytes());
                Ok(())
            }))
        }
        ["parser_input"] => {
            let mut maker = MaskMaker::new(MaskRule::offline(jaw))?;
            Ok(Box::new(move |show| {
                maker.parser_input(frame.view(), FACE)?.rows().for_each(show);
                Ok(())
            }))
        }
        ["mask", when] => {
            let rule = if when == "realtime" { MaskRule::realtime(jaw) } else { MaskRule::offline(jaw) };
            let (mut maker, labels) = (MaskMaker::new(rule)?, labels()?);
            Ok(Box::new(move |show| {
                show(maker.make(labels.view(), FACE)?.alpha().bytes());
                Ok(())
            }))
        }
        ["paste"] => {
            let face: Rgb = noise(2, (SIDE, SIDE))?;
            let mask = MaskMaker::new(MaskRule::realtime(jaw))?.make(labels()?.view(), FACE)?;
            let mask = mask.trimmed(FACE, FRAME).ok_or("the face shows")?;
            let (mut paster, mut pasted) = (Paster::default(), frame.clone());
            Ok(Box::new(move |show| {
                // the frame itself is needed again when the clip comes round
                pasted.view_mut().copy_from(frame.view());
                paster.paste(&mut pasted.view_mut(), face.view(), FACE, &mask);
                show(pasted.bytes());
                Ok(())
            }))
        }
        _ => Err(format!("no job is known as {words:?}").into()),
    }
}

fn main() -> Result<(), Failure> {
    let mut current: Option<Job> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), &mut current) {
            (["go", runs], Some(run)) => {
                for _ in 0..runs.parse::<usize>()? {
                    let start = cpu_ms();
                    run(&mut |_| {})?;
                    print!("{:.3} ", cpu_ms() - start);
                }
                println!();
            }
            (["out", file], Some(run)) => {
                let mut bytes = Vec::new();
                run(&mut |part| bytes.extend_from_slice(part))?;
                std::fs::write(file, bytes)?;
                println!("written");
            }
            (words, _) => {
                let mut run = job(words)?;
                run(&mut |_| {})?;
                current = Some(run);
                println!("ready");
            }
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
