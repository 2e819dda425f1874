//! How a video of any length is cut into chunks: each computes the same number of frames and begins with the last frames of the one before
//! (its motion frames). Which rows of the sound's features each frame hears. Reference: InfiniteTalk 0107cd9, `wan/multitalk.py`, whose
//! mirrored padding behind the sound is here an index. Deviations: sound may be shorter than a chunk (the mirror then goes on, back and
//! forth), and the last chunk is cut where the sound ends. Refused: chunks that are not 4 k + 1 frames, motion that fills them.

use std::ops::Range;

use super::SamplerError;

/// Frames of video that one latent frame stands for; the first of a chunk stands for one.
const FRAMES_PER_LATENT: usize = 4;

/// Rows of the sound's features that a frame hears, its own in the middle.
pub const WINDOW: usize = 5;

/// What a chunk computes, in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkShape {
    frames: usize,
    motion: usize,
}

impl ChunkShape {
    pub fn new(frames: usize, motion: usize) -> Result<Self, SamplerError> {
        for (name, count) in [("chunk", frames), ("motion", motion)] {
            if count % FRAMES_PER_LATENT != 1 {
                return Err(SamplerError::FrameCount { name, count });
            }
        }
        if motion >= frames {
            return Err(SamplerError::Motion { frames, motion });
        }
        Ok(Self { frames, motion })
    }

    pub fn frames(self) -> usize {
        self.frames
    }

    pub fn motion(self) -> usize {
        self.motion
    }

    /// Latent frames of a chunk.
    pub fn latents(self) -> usize {
        latents(self.frames)
    }

    /// Latent frames of the motion.
    pub fn motion_latents(self) -> usize {
        latents(self.motion)
    }
}

fn latents(frames: usize) -> usize {
    (frames - 1) / FRAMES_PER_LATENT + 1
}

/// One chunk of a video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub index: u64,
    /// The video's frame that its first frame is.
    pub start: u64,
    /// The video's frame behind its last frame, which may lie behind the video's end.
    pub end: u64,
    /// Of its own frames, those that are new and belong to the video.
    pub fresh: Range<usize>,
    pub last: bool,
}

/// All chunks of a video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkPlan {
    shape: ChunkShape,
    sound: u64,
    frames: u64,
}

impl ChunkPlan {
    /// For sound of so many frames. The video is as long, but at most `limit` frames.
    pub fn new(shape: ChunkShape, sound: u64, limit: Option<u64>) -> Result<Self, SamplerError> {
        let frames = limit.map_or(sound, |limit| limit.min(sound));
        if frames == 0 {
            return Err(SamplerError::Nothing);
        }
        Ok(Self { shape, sound, frames })
    }

    pub fn shape(&self) -> ChunkShape {
        self.shape
    }

    /// Frames of the sound.
    pub fn sound(&self) -> u64 {
        self.sound
    }

    /// Frames of the video.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> u64 {
        1 + self.frames.saturating_sub(self.shape.frames as u64).div_ceil(self.advance())
    }

    /// Frames from the start of a chunk to that of the next.
    fn advance(&self) -> u64 {
        (self.shape.frames - self.shape.motion) as u64
    }

    pub fn chunk(&self, index: u64) -> Option<Chunk> {
        let chunks = self.chunks();
        (index < chunks).then(|| {
            let start = index * self.advance();
            let end = start + self.shape.frames as u64;
            let motion = if index == 0 { 0 } else { self.shape.motion };
            let until = self.shape.frames - end.saturating_sub(self.frames) as usize;
            Chunk { index, start, end, fresh: motion..until, last: index + 1 == chunks }
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = Chunk> {
        (0..self.chunks()).map_while(|index| self.chunk(index))
    }

    /// The rows of the sound's features that each frame of `chunk` hears: its own, two before and two after.
    pub fn audio_rows(&self, chunk: &Chunk) -> Vec<[u32; WINDOW]> {
        let window = |frame: u64| {
            std::array::from_fn(|at| {
                mirrored(frame as i64 + at as i64 - WINDOW as i64 / 2, self.sound) as u32
            })
        };
        (chunk.start..chunk.end).map(window).collect()
    }
}

/// The row of `n` that stands at `index`: before the first is the first, behind the last they come back in reverse, and so on.
fn mirrored(index: i64, n: u64) -> u64 {
    let at = index.max(0) as u64 % (2 * n);
    if at < n { at } else { 2 * n - 1 - at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(sound: u64, limit: Option<u64>) -> ChunkPlan {
        ChunkPlan::new(ChunkShape::new(81, 9).unwrap(), sound, limit).unwrap()
    }

    #[test]
    fn chunks_cover_a_video_once() {
        for (sound, limit, chunks) in [
            (1, None, 1),
            (80, None, 1),
            (81, None, 1),
            (82, None, 2),
            (153, None, 2),
            (154, None, 3),
            (154, Some(153), 2),
            (400, Some(200), 3),
            (300, Some(81), 1),
            (90_000, None, 1250), // an hour
        ] {
            let plan = plan(sound, limit);
            assert_eq!(plan.chunks(), chunks, "{sound} {limit:?}");
            let mut next = 0;
            for chunk in plan.iter() {
                assert_eq!(chunk.start + chunk.fresh.start as u64, next);
                assert_eq!(chunk.end - chunk.start, 81);
                assert!(!chunk.fresh.is_empty());
                next = chunk.start + chunk.fresh.end as u64;
                assert_eq!(chunk.last, next == plan.frames());
            }
            assert_eq!(next, plan.frames());
            assert_eq!(plan.chunk(chunks), None);
        }
    }

    #[test]
    fn short_sound_goes_back_and_forth() {
        let plan = plan(3, None);
        let chunk = plan.chunk(0).unwrap();
        assert_eq!((chunk.fresh.clone(), chunk.last), (0..3, true));
        let rows = plan.audio_rows(&chunk);
        let own: Vec<u32> = rows.iter().map(|row| row[2]).take(9).collect();
        assert_eq!(own, [0, 1, 2, 2, 1, 0, 0, 1, 2]);
        assert_eq!(rows[0], [0, 0, 0, 1, 2]);
        assert_eq!(rows[4], [2, 2, 1, 0, 0]);
        assert!(self::plan(1, None).audio_rows(&chunk).iter().all(|row| *row == [0; 5]));
    }

    #[test]
    fn refuses_what_is_no_chunk() {
        let said = |frames, motion| ChunkShape::new(frames, motion).unwrap_err().to_string();
        assert!(said(80, 9).contains("chunk") && said(80, 9).contains("80"));
        assert!(said(81, 8).contains("motion") && said(81, 8).contains('8'));
        assert!(said(9, 9).contains('9'));
        assert!(said(0, 1).contains('0'));
        let nothing = ChunkPlan::new(ChunkShape::new(81, 9).unwrap(), 0, None).unwrap_err();
        assert!(nothing.to_string().contains("no frames"));
    }
}
