//! Draws one portrait in a row of poses, for looking at: `sheet picture.yuv WIDTHxHEIGHT out.yuv`.
//! The output holds one I420 frame a pose; `ffmpeg -f rawvideo` with `tile` makes a sheet of them.

use contract::{Frame, Layout, Size};
use engine_puppet::{HeadPose, Level, Plate, Portrait, Pose};
use face::Detector;
use speech::MouthPose;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (w, h) = args[2].split_once('x').expect("WIDTHxHEIGHT");
    let size = Size::new(w.parse().expect("width"), h.parse().expect("height"));
    let data = std::fs::read(&args[1]).expect("picture");
    let frame = Frame::new(size, Layout::I420, data).expect("I420");
    let face = face::find(&mut Detector::new(), &frame, 1.0, 40).expect("face").face;
    eprintln!("{:?} {:?} open {} {:?}", face.gates, face.eyes, face.mouth.open, face.mouth.upper);
    let plate = Plate::new(size, frame.planes().expect("I420"));
    let mut portrait = Portrait::new(plate, face, Level::best());
    let mut all = Vec::new();
    for pose in poses() {
        all.extend(portrait.draw(&Pose { hold: 1.0, ..pose }));
    }
    std::fs::write(&args[3], all).expect("out");
    for level in Level::all() {
        let plate = Plate::new(size, frame.planes().expect("I420"));
        let face = face::find(&mut Detector::new(), &frame, 1.0, 40).expect("face").face;
        let mut portrait = Portrait::new(plate, face, level);
        let start = cpu_ms();
        let mut pose = poses()[3];
        for i in 0..50 {
            pose.head.yaw = 0.0005 * (i + 1) as f32;
            portrait.draw(&pose);
        }
        eprintln!("{level:?}: {:.2} ms of CPU a frame at {size}", (cpu_ms() - start) / 50.0);
    }
}

fn poses() -> Vec<Pose> {
    let mouth = |jaw, wide, round, close| MouthPose { jaw, wide, round, close, ..MouthPose::default() };
    let say = |mouth| Pose { mouth, ..Pose::default() };
    vec![
        say(mouth(0.0, 0.0, 0.0, 0.0)),
        say(mouth(0.25, 0.0, 0.0, 0.0)),
        say(mouth(0.5, 0.3, 0.0, 0.0)),
        say(mouth(0.8, 0.0, 0.0, 0.0)),
        say(mouth(0.4, 0.0, 0.8, 0.0)),
        say(mouth(0.3, 0.9, 0.0, 0.0)),
        Pose { blink: 1.0, ..say(mouth(0.2, 0.0, 0.0, 1.0)) },
        Pose { blink: 0.5, ..say(MouthPose { labiodental: 1.0, ..mouth(0.15, 0.0, 0.0, 0.0) }) },
        Pose { blink: 0.2, ..say(MouthPose { tongue: 1.0, ..mouth(0.35, 0.2, 0.0, 0.0) }) },
        Pose {
            head: HeadPose { yaw: 0.1, pitch: 0.05, roll: 0.02, shift: (0.0, 0.0) },
            brow: 1.0,
            ..say(mouth(1.0, 0.0, 0.0, 0.0))
        },
    ]
}

/// CPU time of this thread.
fn cpu_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let ns: f64 = text.split_whitespace().next().and_then(|v| v.parse().ok()).expect("nanoseconds");
    ns / 1e6
}
