//! The sizes a take is made in. A picture gets the bucket whose aspect is nearest to its own. Reference: InfiniteTalk 0107cd9,
//! `ASPECT_RATIO_627` and `ASPECT_RATIO_960`.

use std::str::FromStr;

/// height / width as the reference names it, and (height, width)
type Bucket = (f64, (usize, usize));

const AROUND_640: [Bucket; 15] = [
    (0.26, (320, 1216)),
    (0.38, (384, 1024)),
    (0.50, (448, 896)),
    (0.67, (512, 768)),
    (0.82, (576, 704)),
    (1.00, (640, 640)),
    (1.22, (704, 576)),
    (1.50, (768, 512)),
    (1.86, (832, 448)),
    (2.00, (896, 448)),
    (2.50, (960, 384)),
    (2.83, (1088, 384)),
    (3.60, (1152, 320)),
    (3.80, (1216, 320)),
    (4.00, (1280, 320)),
];

const AROUND_960: [Bucket; 21] = [
    (0.22, (448, 2048)),
    (0.29, (512, 1792)),
    (0.36, (576, 1600)),
    (0.45, (640, 1408)),
    (0.55, (704, 1280)),
    (0.63, (768, 1216)),
    (0.76, (832, 1088)),
    (0.88, (896, 1024)),
    (1.00, (960, 960)),
    (1.14, (1024, 896)),
    (1.31, (1088, 832)),
    (1.50, (1152, 768)),
    (1.58, (1216, 768)),
    (1.82, (1280, 704)),
    (1.91, (1344, 704)),
    (2.20, (1408, 640)),
    (2.30, (1472, 640)),
    (2.67, (1536, 576)),
    (2.89, (1664, 576)),
    (3.62, (1856, 512)),
    (3.75, (1920, 512)),
];

/// Which of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeClass {
    /// `infinitetalk-480`
    Size480,
    /// `infinitetalk-720`
    Size720,
}

impl SizeClass {
    pub fn name(self) -> &'static str {
        match self {
            SizeClass::Size480 => "480",
            SizeClass::Size720 => "720",
        }
    }

    fn buckets(self) -> &'static [Bucket] {
        match self {
            SizeClass::Size480 => &AROUND_640,
            SizeClass::Size720 => &AROUND_960,
        }
    }

    /// The size of a take from a picture of `(width, height)`, likewise. Of two buckets equally near the first is taken.
    pub fn bucket(self, (width, height): (usize, usize)) -> (usize, usize) {
        let ratio = height as f64 / width as f64;
        let mut nearest = self.buckets()[0];
        for &bucket in &self.buckets()[1..] {
            if (bucket.0 - ratio).abs() < (nearest.0 - ratio).abs() {
                nearest = bucket;
            }
        }
        let (height, width) = nearest.1;
        (width, height)
    }
}

impl FromStr for SizeClass {
    type Err = String;

    /// `480` and `720` as well as the official names
    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().trim_start_matches("infinitetalk-") {
            "480" => Ok(SizeClass::Size480),
            "720" => Ok(SizeClass::Size720),
            _ => Err(format!("`{text}` is no size; write 480 (infinitetalk-480) or 720 (infinitetalk-720)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_picture_has_a_bucket() {
        for (class, size, bucket) in [
            (SizeClass::Size480, (1, 1), (640, 640)),
            (SizeClass::Size480, (1, 30_000), (320, 1280)),
            (SizeClass::Size480, (30_000, 1), (1216, 320)),
            (SizeClass::Size720, (1920, 1080), (1280, 704)),
            (SizeClass::Size480, (100, 125), (576, 704)), // 1.25: nearer to 1.22 than to 1.50
        ] {
            assert_eq!(class.bucket(size), bucket, "{class:?} {size:?}");
        }
    }

    #[test]
    fn sizes_are_named() {
        assert_eq!("480".parse(), Ok(SizeClass::Size480));
        assert_eq!(SizeClass::Size720.name().parse(), Ok(SizeClass::Size720));
        let said = "640".parse::<SizeClass>().unwrap_err();
        assert_eq!(said, "`640` is no size; write 480 (infinitetalk-480) or 720 (infinitetalk-720)");
    }
}
