//! What encoding, decoding and starting children cost, in CPU seconds (children included): `cargo run --release
//! -p media --example cost`. Content: a portrait-like still with grain and a moving mouth-sized patch.

use std::path::Path;
use std::time::Instant;

use contract::{Fps, Frame, Layout, Size, Stop, VideoFormat};
use media::{Limits, Mp4Options, Mp4Sink, PictureSpec, Scratch, Soundtrack, ToolPaths, Tools, Track};

fn main() {
    let tools = timed("find ffmpeg", || Tools::find(&ToolPaths::default()).expect("ffmpeg is installed"));
    let scratch = Scratch::new().expect("a temporary folder");
    let made = |name: &str, source: &str, more: &[&str]| {
        let path = scratch.file(name);
        let mut command = std::process::Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", source]).args(more).arg(&path);
        assert!(command.status().expect("ffmpeg runs").success());
        path
    };
    let sound = made("s.mp3", "anoisesrc=d=20:c=pink:r=44100:a=0.3", &[]);
    let portrait = made("p.png", "mandelbrot=s=1024x1536,noise=alls=8", &["-frames:v", "1"]);
    let (limits, stop) = (Limits::default(), Stop::new());
    timed("decode a 1024x1536 PNG to I420 512", || {
        let spec = PictureSpec { layout: Layout::I420, longest: 512 };
        media::picture(&tools, &portrait, spec, &limits, &stop).expect("it decodes");
    });
    timed("decode 20 s of MP3", || {
        drop(media::audio(&tools, &sound, 16_000, &limits, &stop).expect("it decodes"))
    });
    for size in [Size::new(512, 512), Size::new(1280, 720)] {
        for threads in [1, 2] {
            for with_sound in [false, true] {
                let track = Track { path: sound.clone(), start: None, duration: None }.into();
                let track = Some(track).filter(|_| with_sound);
                let cpu = children();
                let begun = Instant::now();
                encode(&tools, &scratch.file("out.mp4"), (size, threads, track));
                let (cpu, wall) = ((children() - cpu) / 20.0, begun.elapsed().as_secs_f64() / 20.0);
                println!(
                    "encode {size}, {threads} threads, sound {with_sound}: {cpu:.4} CPU s, {wall:.4} s a second of video"
                );
            }
        }
    }
}

fn encode(tools: &Tools, out: &Path, (size, threads, sound): (Size, u8, Option<Soundtrack>)) {
    let format = VideoFormat { size, layout: Layout::I420, fps: Fps::whole(25) };
    let options = Mp4Options { threads, sound, ..Mp4Options::new(format) };
    let mut sink = Mp4Sink::file(tools, out, options, &Limits::default(), &Stop::new()).expect("it starts");
    let mut state = 1_u32;
    let still: Vec<u8> = (0..Layout::I420.bytes(size))
        .map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (x, y) = (at as u32 % size.width, at as u32 / size.width);
            (100 + (x / 9 + y / 7) % 60 + (state >> 29)) as u8
        })
        .collect();
    for index in 0..500_u32 {
        let mut data = still.clone();
        // a mouth of a fifth of the width that opens and closes, and a slow sway of a few rows
        let (w, open) = (size.width, 4 + (index * 7 % 25));
        for y in size.height / 2..size.height / 2 + open {
            data[(y * w + w * 2 / 5) as usize..(y * w + w * 3 / 5) as usize].fill(40);
        }
        data.copy_within(0..(size.pixels() / 3) as usize, (w * (index / 12 % 3)) as usize);
        sink.frame(&Frame::new(size, Layout::I420, data).expect("its bytes match"))
            .expect("the encoder takes it");
    }
    sink.finish().expect("the encoder ends well");
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (cpu, begun) = (children(), Instant::now());
    let made = work();
    println!("{what}: {:.3} CPU s of children, {:.3} s", children() - cpu, begun.elapsed().as_secs_f64());
    made
}

/// User and system time of children that have ended, from this process's own `stat`.
fn children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let after = stat.rsplit_once(") ").expect("the name stands in brackets").1;
    let ticks: f64 = after.split(' ').skip(13).take(2).map(|t| t.parse::<f64>().expect("ticks")).sum();
    ticks / 100.0
}
