//! The frames of the person in the order in which a take shows them: a still for ever, a clip forwards and backwards. Each comes with its place
//! in the clip, so that what was found out about it is found again.

use std::sync::Arc;

use contract::{Complaint, EngineError, Frame, FrameSource};

/// How a clip turns back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turning {
    /// 0 1 2 1 0 1
    Once,
    /// 0 1 2 2 1 0 0 1: as the official code does, which doubles the list.
    Twice,
}

pub struct Roll {
    source: Box<dyn FrameSource>,
    turning: Turning,
    /// Frames taken from the source.
    pulled: u64,
    /// Frames given.
    step: u64,
    /// Frames of the clip, once that is known.
    length: Option<u64>,
    last: Option<Arc<Frame>>,
    /// Taken when the source turned out to have turned.
    ahead: Option<Arc<Frame>>,
}

impl Roll {
    /// `length`: of a clip whose frames were counted before.
    pub fn new(source: Box<dyn FrameSource>, turning: Turning, length: Option<u64>) -> Self {
        Self { source, turning, pulled: 0, step: 0, length, last: None, ahead: None }
    }

    /// The next frame and its place in the clip. Never ends.
    pub fn next(&mut self) -> Result<(u64, Arc<Frame>), EngineError> {
        let step = self.step;
        self.step += 1;
        if let Some(index) = self.known(step)
            && self.turning == Turning::Twice
            && self.is_doubled(step)
            && let Some(last) = &self.last
        {
            return Ok((index, Arc::clone(last)));
        }
        let frame = match self.ahead.take() {
            Some(frame) => frame,
            None => self.pull()?,
        };
        if let Some(index) = self.known(step) {
            if self.turning == Turning::Twice && self.is_doubled(step) {
                // the source has turned with this frame, and it was only seen now
                let last = self.last.clone().unwrap_or_else(|| Arc::clone(&frame));
                self.ahead = Some(frame);
                return Ok((index, last));
            }
            self.last = Some(Arc::clone(&frame));
            return Ok((index, frame));
        }
        self.last = Some(Arc::clone(&frame));
        Ok((step, frame))
    }

    fn pull(&mut self) -> Result<Arc<Frame>, EngineError> {
        let frame = self.source.next()?;
        self.length = self.length.or_else(|| self.source.turns_after());
        match (frame, &self.last) {
            (Some(frame), _) => {
                self.pulled += 1;
                Ok(Arc::new(frame))
            }
            (None, Some(last)) => {
                // a still gives one
                self.length = Some(self.pulled);
                Ok(Arc::clone(last))
            }
            (None, None) => {
                Err(Complaint::new("no_video", "the clip has no frame", "send another clip").into())
            }
        }
    }

    /// The place in the clip of a step.
    fn known(&self, step: u64) -> Option<u64> {
        self.length.map(|length| place(self.turning, step, length))
    }

    fn is_doubled(&self, step: u64) -> bool {
        self.length.is_some_and(|length| step > 0 && step.is_multiple_of(length.max(1)))
    }
}

pub fn place(turning: Turning, step: u64, length: u64) -> u64 {
    if length < 2 {
        return 0;
    }
    match turning {
        Turning::Once => {
            let at = step % (2 * length - 2);
            if at < length { at } else { 2 * length - 2 - at }
        }
        Turning::Twice => {
            let at = step % (2 * length);
            if at < length { at } else { 2 * length - 1 - at }
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::{Fps, Layout, Size, SourceError, SourceFormat};

    use super::*;

    /// A clip that turns back as `media`'s does.
    struct Bouncing {
        length: u64,
        given: u64,
    }

    impl FrameSource for Bouncing {
        fn format(&self) -> SourceFormat {
            let size = Size::new(2, 2);
            SourceFormat { size, natural: size, layout: Layout::Rgb24, fps: Some(Fps::whole(25)) }
        }

        fn next(&mut self) -> Result<Option<Frame>, SourceError> {
            let at = place(Turning::Once, self.given, self.length);
            self.given += 1;
            Ok(Some(Frame::new(Size::new(2, 2), Layout::Rgb24, vec![at as u8; 12]).unwrap()))
        }

        fn turns_after(&self) -> Option<u64> {
            (self.given > self.length).then_some(self.length)
        }
    }

    struct Still(bool);

    impl FrameSource for Still {
        fn format(&self) -> SourceFormat {
            SourceFormat { fps: None, ..Bouncing { length: 1, given: 0 }.format() }
        }

        fn next(&mut self) -> Result<Option<Frame>, SourceError> {
            let first = !std::mem::replace(&mut self.0, true);
            Ok(first.then(|| Frame::new(Size::new(2, 2), Layout::Rgb24, vec![7; 12]).unwrap()))
        }
    }

    fn walk(roll: &mut Roll, steps: usize) -> Vec<(u64, u8)> {
        (0..steps).map(|_| roll.next().map(|(index, frame)| (index, frame.data()[0])).unwrap()).collect()
    }

    #[test]
    fn frames_come_with_their_places_in_both_orders() {
        for (length, known) in [(3, None), (3, Some(3)), (1, Some(1)), (2, None)] {
            for turning in [Turning::Once, Turning::Twice] {
                let mut roll = Roll::new(Box::new(Bouncing { length, given: 0 }), turning, known);
                for (step, (index, shown)) in walk(&mut roll, 20).into_iter().enumerate() {
                    let want = place(turning, step as u64, length);
                    assert_eq!(
                        (index, u64::from(shown)),
                        (want, want),
                        "{length} {known:?} {turning:?} {step}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_still_lasts_for_ever() {
        let mut roll = Roll::new(Box::new(Still(false)), Turning::Twice, None);
        assert_eq!(walk(&mut roll, 4), [(0, 7); 4]);
        assert_eq!(roll.length, Some(1));
    }
}
