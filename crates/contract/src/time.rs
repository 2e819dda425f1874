//! Frame rate as a fraction, so that 29.97 stays exact over hours.

/// Frames per second, `num / den`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fps {
    num: u32,
    den: u32,
}

impl Fps {
    /// `None` for a zero numerator or denominator.
    pub const fn new(num: u32, den: u32) -> Option<Self> {
        if num == 0 || den == 0 { None } else { Some(Self { num, den }) }
    }

    /// A whole number of frames per second.
    ///
    /// # Panics
    /// When `whole` is 0; meant for constants.
    pub const fn whole(whole: u32) -> Self {
        assert!(whole > 0, "a frame rate is at least 1");
        Self { num: whole, den: 1 }
    }

    pub const fn num(self) -> u32 {
        self.num
    }

    pub const fn den(self) -> u32 {
        self.den
    }

    pub fn as_f64(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// Frames nearest to `samples` of sound at `rate_hz`, at least one.
    pub fn frames_in(self, samples: u64, rate_hz: u32) -> u64 {
        let num = u128::from(samples) * u128::from(self.num);
        let den = u128::from(rate_hz) * u128::from(self.den);
        (((num * 2 + den) / (den * 2)) as u64).max(1)
    }

    /// Start of frame `index`, in seconds.
    pub fn seconds_at(self, index: u64) -> f64 {
        index as f64 * f64::from(self.den) / f64::from(self.num)
    }
}

impl std::fmt::Display for Fps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.den == 1 { write!(f, "{}", self.num) } else { write!(f, "{}/{}", self.num, self.den) }
    }
}

impl std::str::FromStr for Fps {
    type Err = String;

    /// `25`, `29.97` (to a thousandth; the NTSC rates 23.976, 29.97 and 59.94 become n·1000/1001), `30000/1001`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a frame rate: write 25, 29.97 or 30000/1001");
        if let Some((num, den)) = text.split_once('/') {
            let part = |p: &str| p.trim().parse::<u32>().map_err(|_| wrong());
            return Fps::new(part(num)?, part(den)?).ok_or_else(wrong);
        }
        match text.trim() {
            "23.976" | "23.98" => return Ok(Self { num: 24000, den: 1001 }),
            "29.97" => return Ok(Self { num: 30000, den: 1001 }),
            "59.94" => return Ok(Self { num: 60000, den: 1001 }),
            _ => {}
        }
        let value: f64 = text.trim().parse().map_err(|_| wrong())?;
        if !(value.is_finite() && value > 0.0 && value < 1e6) {
            return Err(wrong());
        }
        let milli = (value * 1000.0).round() as u32;
        if milli.is_multiple_of(1000) {
            Fps::new(milli / 1000, 1).ok_or_else(wrong)
        } else {
            Fps::new(milli, 1000).ok_or_else(wrong)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_the_nearest_whole_number() {
        let rows = [
            (16_000, 25, 1, 25),
            (16_000 * 600, 25, 1, 15_000),
            (170_905, 25, 1, 267), // 10.6816 s
            (320, 25, 1, 1),       // 20 ms is half a frame: still one
            (0, 25, 1, 1),
            (16_000 * 3600, 30_000, 1001, 107_892), // one hour of NTSC, to the frame
        ];
        for (samples, num, den, expected) in rows {
            assert_eq!(
                Fps::new(num, den).unwrap().frames_in(samples, 16_000),
                expected,
                "{samples} {num}/{den}"
            );
        }
    }

    #[test]
    fn frame_rates_are_read_as_people_write_them() {
        let rows = [
            ("25", (25, 1)),
            ("29.97", (30_000, 1001)),
            ("12.5", (12_500, 1000)),
            ("30000/1001", (30_000, 1001)),
        ];
        for (text, (num, den)) in rows {
            assert_eq!(text.parse::<Fps>().unwrap(), Fps::new(num, den).unwrap(), "{text}");
        }
        for text in ["", "0", "-1", "abc", "1/0", "nan", "inf"] {
            assert!(text.parse::<Fps>().is_err(), "{text}");
        }
    }
}
