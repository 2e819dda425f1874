//! Which feature rows a video frame hears. Whisper gives 50 rows a second, each of all hidden states; a frame takes a window of
//! them around its own time. Three ways: `Strict` as MuseTalk 0a89dec (`AudioProcessor.get_whisper_chunk`), `Centred` at the same real time
//! for every frame rate, `Classic` as MuseTalk 058f7dd (`Audio2Feature.get_sliced_feature`). It refuses windows that the reference cannot cut.

use contract::{Complaint, Fps};

use super::{RATE_HZ, ROW};

/// The largest `audio_padding_length_*`: 0.4 s. Weights are trained with 2.
pub const MAX_PADDING: usize = 10;
/// Feature rows a second.
const ROW_HZ: u32 = RATE_HZ / ROW as u32;
/// Frame rates that `Centred` makes, frames a second, inclusive.
const RATES: (f64, f64) = (12.0, 60.0);

/// `audio_padding_length_left` and `audio_padding_length_right`, in frames at 25 a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    left: usize,
    right: usize,
}

impl Default for Padding {
    fn default() -> Self {
        Self { left: 2, right: 2 }
    }
}

impl Padding {
    pub fn new(left: usize, right: usize) -> Result<Self, Complaint> {
        if left.max(right) > MAX_PADDING {
            return Err(Complaint::new(
                "bad_audio_padding",
                format!("the audio paddings are {left} and {right}, the limit is {MAX_PADDING}"),
                "leave audio_padding_length_left and audio_padding_length_right at 2, which the weights are trained with",
            ));
        }
        Ok(Self { left, right })
    }

    pub fn left(self) -> usize {
        self.left
    }

    pub fn right(self) -> usize {
        self.right
    }

    /// Rows of a window.
    pub fn rows(self) -> usize {
        2 * (self.left + self.right + 1)
    }

    /// Rows of a window that come before the frame's time.
    pub fn before(self) -> usize {
        2 * self.left
    }

    /// Rows of a window from the frame's time on.
    pub fn after(self) -> usize {
        2 * (self.right + 1)
    }
}

/// Consecutive rows, which may begin before the sound or end after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: i64,
    pub rows: usize,
}

impl Span {
    /// The row after the last.
    pub fn end(self) -> i64 {
        self.first + self.rows as i64
    }
}

/// Today's official windows: the frame rate cut to a whole number, positions rounded down, nothing (zeros) beyond both ends of the sound. At
/// less than 25 frames a second they lie earlier than trained, and at 29.97 or 23.976 the take is shorter than its sound.
#[derive(Clone, Copy, Debug)]
pub struct Strict {
    fps: u32,
    padding: Padding,
}

impl Strict {
    pub fn new(fps: Fps, padding: Padding) -> Result<Self, Complaint> {
        let whole = fps.num() / fps.den();
        if whole == 0 {
            return Err(Complaint::new(
                "bad_fps",
                format!("the frame rate is {fps}, the strict profile needs at least 1"),
                "choose 25",
            ));
        }
        let strict = Self { fps: whole, padding };
        // the last frame lies floor(step) rows before the end at the latest, and so many rows of zeros follow the end
        let past_end = padding.rows() as i64 - strict.step().floor() as i64;
        if past_end > strict.ends() as i64 * (padding.left + 3 * padding.right) as i64 {
            return Err(Complaint::new(
                "bad_fps",
                format!(
                    "the frame rate is {fps} with audio paddings of {} and {}: there the official code, which the profile strict follows, \
                     runs out of sound and stops",
                    padding.left, padding.right
                ),
                "choose less than 50 frames a second, or the profile default",
            ));
        }
        Ok(strict)
    }

    /// Rows from one frame to the next.
    fn step(self) -> f64 {
        f64::from(ROW_HZ) / f64::from(self.fps)
    }

    /// Rows of zeros a unit of padding is worth.
    fn ends(self) -> usize {
        self.step().ceil() as usize
    }

    pub fn span(self, frame: u64) -> Span {
        let at = (frame as f64 * self.step()).floor() as i64;
        Span { first: at - (self.ends() * self.padding.left) as i64, rows: self.padding.rows() }
    }

    /// Frames of so many samples; in f64 and in this order, as the reference computes it.
    pub fn frames(self, samples: u64) -> u64 {
        (seconds(samples) * f64::from(self.fps)).floor() as u64
    }

    /// Rows of so many samples; what the encoder gave beyond them is cut off.
    pub fn rows(samples: u64) -> u64 {
        (seconds(samples) * f64::from(ROW_HZ)).floor() as u64
    }
}

fn seconds(samples: u64) -> f64 {
    samples as f64 / f64::from(RATE_HZ)
}

/// The window that the official code cuts at 25 frames a second (4 rows before the frame's time, 6 from it on), around the row nearest to
/// the frame's time at any rate from 12 to 60, by the exact fraction.
#[derive(Clone, Copy, Debug)]
pub struct Centred {
    fps: Fps,
    padding: Padding,
}

impl Centred {
    pub fn new(fps: Fps, padding: Padding) -> Result<Self, Complaint> {
        if !(RATES.0..=RATES.1).contains(&fps.as_f64()) {
            return Err(Complaint::new(
                "bad_fps",
                format!("the frame rate is {fps}, musetalk makes {} to {}", RATES.0, RATES.1),
                "choose a frame rate in that range; 25 is what its weights are trained with",
            ));
        }
        Ok(Self { fps, padding })
    }

    /// The row nearest to the frame's time; of two, the later.
    pub fn centre(self, frame: u64) -> u64 {
        let num = u128::from(frame) * u128::from(ROW_HZ) * u128::from(self.fps.den());
        let den = u128::from(self.fps.num());
        ((2 * num + den) / (2 * den)) as u64
    }

    pub fn span(self, frame: u64) -> Span {
        let first = self.centre(frame) as i64 - self.padding.before() as i64;
        Span { first, rows: self.padding.rows() }
    }

    /// Frames nearest to so many samples, at least one.
    pub fn frames(self, samples: u64) -> u64 {
        self.fps.frames_in(samples, RATE_HZ)
    }

    pub fn padding(self) -> Padding {
        self.padding
    }
}

/// The windows of the code before 1.5: 4 rows before, 6 from the frame's row on, the first and the last row repeated beyond the ends; frames
/// until one lies beyond the last row.
#[derive(Clone, Copy, Debug)]
pub struct Classic {
    fps: f64,
}

impl Classic {
    pub fn new(fps: Fps) -> Self {
        Self { fps: fps.as_f64() }
    }

    pub fn span(self, frame: u64) -> Span {
        let centre = (frame as f64 * f64::from(ROW_HZ) / self.fps) as i64;
        let padding = Padding::default();
        Span { first: centre - padding.before() as i64, rows: padding.rows() }
    }

    /// Frames of so many rows.
    pub fn frames(self, rows: u64) -> u64 {
        let step = f64::from(ROW_HZ) / self.fps;
        let start = |frame: u64| (frame as f64 * step) as u64;
        // near the quotient, then to the first that lies beyond
        let mut last = (rows as f64 / step) as u64;
        while last > 0 && start(last - 1) > rows {
            last -= 1;
        }
        while start(last) <= rows {
            last += 1;
        }
        last + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fps(text: &str) -> Fps {
        text.parse().unwrap()
    }

    #[test]
    fn a_frame_hears_the_same_time_at_every_rate() {
        for (rate, frame, first) in [
            ("25", 0, -4),
            ("25", 250, 496),
            ("12", 12, 46),
            ("60", 60, 46),
            ("60", 1, -3),             // 16.7 ms are nearest to row 1
            ("24", 1, -2),             // 41.7 ms
            ("29.97", 30_000, 50_046), // 1001 s
            ("59.94", 60_000, 50_046),
            ("23.976", 24_000, 50_046),
        ] {
            let centred = Centred::new(fps(rate), Padding::default()).unwrap();
            assert_eq!(centred.span(frame), Span { first, rows: 10 }, "{rate} {frame}");
        }
    }

    #[test]
    fn at_25_the_two_ways_agree() {
        for (left, right) in [(2, 2), (0, 0), (1, 4), (10, 10)] {
            let padding = Padding::new(left, right).unwrap();
            let strict = Strict::new(fps("25"), padding).unwrap();
            let centred = Centred::new(fps("25"), padding).unwrap();
            for frame in 0..5000 {
                assert_eq!(strict.span(frame), centred.span(frame));
            }
        }
    }

    #[test]
    fn strict_drifts_as_the_official_code_does() {
        let strict = |rate| Strict::new(fps(rate), Padding::default()).unwrap();
        assert_eq!(strict("12").span(0), Span { first: -10, rows: 10 });
        assert_eq!(strict("49").span(0), Span { first: -4, rows: 10 });
        assert_eq!(strict("29.97").frames(501_920), 909);
        assert_eq!(Centred::new(fps("29.97"), Padding::default()).unwrap().frames(501_920), 940);
        assert_eq!(strict("25").frames(639), 0);
    }

    /// Whether some length of sound from 1 to 3 s runs out of rows, by the reference's own count.
    fn runs_out(fps: u32, padding: Padding) -> bool {
        let (l, r) = (padding.left, padding.right);
        let m = 50.0 / f64::from(fps);
        (16_000..48_000).any(|samples| {
            let n = f64::from(samples) / 16_000.0;
            let (frames, rows) = ((n * f64::from(fps)).floor(), (n * 50.0).floor() as usize);
            let padded = m.ceil() as usize * (l + 3 * r) + rows;
            let last = ((frames - 1.0) * m).floor() as usize;
            last + 2 * (l + r + 1) > padded
        })
    }

    #[test]
    fn strict_refuses_what_the_official_code_dies_of() {
        for (left, right) in [(2, 2), (0, 0), (1, 0), (0, 1), (0, 2), (3, 3), (2, 0)] {
            let padding = Padding::new(left, right).unwrap();
            for rate in [10, 12, 20, 24, 25, 26, 30, 33, 48, 49, 50, 51, 59, 60] {
                let refused = Strict::new(Fps::whole(rate), padding).is_err();
                assert_eq!(refused, runs_out(rate, padding), "{rate} fps, {left} {right}");
            }
        }
        let error = Strict::new(fps("59.94"), Padding::default()).unwrap_err();
        assert!(error.to_string().contains("60000/1001") && error.hint.contains("default"), "{error}");
    }

    #[test]
    fn limits_are_told() {
        assert!(Padding::new(11, 2).unwrap_err().message.contains("11"));
        for rate in ["11.9", "60.1"] {
            assert_eq!(Centred::new(fps(rate), Padding::default()).unwrap_err().code, "bad_fps");
        }
    }
}
