//! From what was heard, 100 times a second, to one mouth pose a video frame: gate, smoothing, effort, closures kept.
//! Frame i of the video is at i / fps, exactly; the poses trail nothing (0 ms offset).

use std::collections::VecDeque;

use contract::Fps;

use crate::curves::Curves;
use crate::hearing::{Hearing, Latency};
use crate::mel::RATE_HZ;
use crate::pose::MouthPose;

/// Sound in, poses out; streaming, in bounded memory.
///
/// Push what there is, take the poses that are ready with `next`, call `finish` at the end and take the rest.
pub struct Lips {
    fps: Fps,
    hearing: Hearing,
    curves: Curves,
    ready: VecDeque<MouthPose>,
    next_frame: u64,
    finished: bool,
}

impl Lips {
    pub fn new(fps: Fps, latency: Latency) -> Self {
        Self {
            fps,
            hearing: Hearing::new(latency),
            curves: Curves::new(),
            ready: VecDeque::new(),
            next_frame: 0,
            finished: false,
        }
    }

    /// Mono samples at 16 kHz, in pieces of any size. Samples that are not numbers count as silence.
    pub fn push(&mut self, samples: &[f32]) {
        let Self { fps, hearing, curves, ready, next_frame, .. } = self;
        hearing.push(samples, &mut |moment| {
            curves.push(moment);
            while let Some(pose) = curves.at_frame(*next_frame, *fps) {
                ready.push_back(pose);
                *next_frame += 1;
            }
        });
    }

    /// The voice is over. Afterwards `next` gives the poses up to its end, then `None`.
    pub fn finish(&mut self) {
        if self.finished {
            return;
        }
        self.finished = true;
        let Self { fps, hearing, curves, ready, next_frame, .. } = self;
        let voice_ends = u128::from(hearing.samples()) * u128::from(fps.num());
        let in_voice =
            |frame: u64| u128::from(frame) * u128::from(fps.den()) * u128::from(RATE_HZ) < voice_ends;
        let mut take = |curves: &mut Curves| {
            while in_voice(*next_frame)
                && let Some(pose) = curves.at_frame(*next_frame, *fps)
            {
                ready.push_back(pose);
                *next_frame += 1;
            }
        };
        hearing.finish(&mut |moment| {
            curves.push(moment);
            take(curves);
        });
        curves.finish();
        take(curves);
    }

    /// The pose of the next video frame, once enough sound was heard. Beyond the end of the voice: `None`, and a closed
    /// mouth (`MouthPose::default()`) is right.
    #[expect(
        clippy::should_implement_trait,
        reason = "`None` may mean not yet, an iterator's means never again"
    )]
    pub fn next(&mut self) -> Option<MouthPose> {
        self.ready.pop_front()
    }

    /// Something in the sound so far was speech, to the network's ears.
    pub fn heard_speech(&self) -> bool {
        self.curves.heard_speech()
    }

    /// The largest sample so far, dB of full scale; -100 for digital silence.
    pub fn peak_db(&self) -> f32 {
        self.hearing.peak_db()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_does_not_grow_with_the_voice() {
        let mut lips = Lips::new(Fps::whole(25), Latency::File);
        let mut most = [0; 3];
        for second in 0..240u32 {
            let loud = if second % 40 < 20 { 0.1 } else { 0.0 };
            let sound: Vec<f32> =
                (0..RATE_HZ).map(|i| loud * (i as f32 * 0.05).sin() * (i as f32 * 0.0007).sin()).collect();
            lips.push(&sound);
            while lips.next().is_some() {}
            let held = [lips.curves.held(), lips.hearing.held(), lips.ready.capacity()];
            most = std::array::from_fn(|i| most[i].max(held[i]));
        }
        assert!(most[0] <= 80 && most[1] <= 1020 && most[2] <= 512, "{most:?}");
    }
}
