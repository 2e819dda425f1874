//! A clip as the source of condition pictures: which of its frames is seen at a time of the take, whatever the clip's frame rate. InfiniteTalk
//! 0107cd9 counts frames and takes every clip for one of 25 frames a second; at that rate both are the same. Behind the clip's end its last
//! frame stays. Refused: going back, a clip without frames, frames that are not RGB.

use contract::{Fps, Frame, FrameSource, Layout, Size};
use pictures::View;

use super::PictureError;

/// Frame rate of the take.
const TAKE_FPS: u64 = 25;

pub struct Footage {
    source: Box<dyn FrameSource>,
    fps: Option<Fps>,
    frame: Frame,
    /// Its number in the clip.
    at: u64,
    ended: bool,
}

impl Footage {
    /// Reads the first frame. A still picture is seen at all times.
    pub fn new(mut source: Box<dyn FrameSource>) -> Result<Self, PictureError> {
        let format = source.format();
        if format.layout != Layout::Rgb24 {
            return Err(PictureError::Layout(format.layout));
        }
        let frame = source.next()?.ok_or(PictureError::NoFrames)?;
        Ok(Self { source, fps: format.fps, frame, at: 0, ended: false })
    }

    /// Size of the user's own picture or clip, in whose pixels boxes are given: (width, height)
    pub fn natural(&self) -> (usize, usize) {
        let Size { width, height } = self.source.format().natural;
        (width as usize, height as usize)
    }

    /// The clip's frame that is seen when frame `take` of the take begins.
    fn seen_at(&self, take: u64) -> u64 {
        let seen = |fps: Fps| {
            u128::from(take) * u128::from(fps.num()) / (u128::from(TAKE_FPS) * u128::from(fps.den()))
        };
        self.fps.map_or(0, |fps| seen(fps) as u64)
    }

    /// What is seen when frame `take` of the take begins. Later calls are for later frames or the same.
    pub fn at(&mut self, take: u64) -> Result<View<'_, 3>, PictureError> {
        let wanted = self.seen_at(take);
        if wanted < self.at && !self.ended {
            return Err(PictureError::Back { wanted, at: self.at });
        }
        while self.at < wanted && !self.ended {
            match self.source.next()? {
                Some(frame) => (self.frame, self.at) = (frame, self.at + 1),
                None => self.ended = true,
            }
        }
        let size = self.frame.size();
        Ok(View::new(self.frame.data(), (size.width as usize, size.height as usize))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{SourceError, SourceFormat};

    /// Frames that show their number.
    struct Numbered {
        next: u8,
        count: u8,
        fps: Option<Fps>,
        layout: Layout,
    }

    impl FrameSource for Numbered {
        fn format(&self) -> SourceFormat {
            let size = Size::new(2, 2);
            SourceFormat { size, natural: size, layout: self.layout, fps: self.fps }
        }

        fn next(&mut self) -> Result<Option<Frame>, SourceError> {
            if self.next == self.count {
                return Ok(None);
            }
            self.next += 1;
            Ok(Some(Frame::new(Size::new(2, 2), Layout::Rgb24, vec![self.next - 1; 12]).unwrap()))
        }
    }

    fn footage(count: u8, fps: Option<&str>) -> Result<Footage, PictureError> {
        let fps = fps.map(|fps| fps.parse().unwrap());
        Footage::new(Box::new(Numbered { next: 0, count, fps, layout: Layout::Rgb24 }))
    }

    #[test]
    fn a_clip_is_seen_by_its_time() {
        for (fps, seen) in [
            (Some("25"), [0, 10, 72, 99, 99]),
            (Some("50"), [0, 20, 99, 99, 99]),
            (Some("12.5"), [0, 5, 36, 72, 99]),
            (Some("29.97"), [0, 11, 86, 99, 99]), // 11.99 and 86.31 frames in
            (None, [0; 5]),
        ] {
            let mut footage = footage(100, fps).unwrap();
            let shown = [0, 10, 72, 144, 10_000].map(|take| footage.at(take).unwrap().row(0)[0]);
            assert_eq!(shown, seen, "{fps:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        let mut clip = footage(100, Some("25")).unwrap();
        clip.at(50).unwrap();
        assert_eq!(clip.at(50).unwrap().row(0)[0], 50);
        let said = clip.at(49).err().unwrap().to_string();
        assert_eq!(said, "frame 49 of a clip has gone by, it stands at frame 50");
        assert_eq!(footage(0, None).err().unwrap().to_string(), "a clip without a frame shows nothing");
        let planes = Numbered { next: 0, count: 1, fps: None, layout: Layout::I420 };
        let said = Footage::new(Box::new(planes)).err().unwrap().to_string();
        assert_eq!(said, "frames in I420 cannot be used; ask for Rgb24");
    }
}
