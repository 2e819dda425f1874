//! How a stored picture is turned to stand upright: one of the eight ways, from EXIF or from a display matrix.

use contract::Size;

/// What is to be done to the stored picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Turn {
    #[default]
    None,
    MirrorAcross,
    Half,
    MirrorDown,
    Transpose,
    Clockwise,
    Transverse,
    CounterClockwise,
}

impl Turn {
    /// EXIF 2.3, tag 0x0112.
    pub(crate) fn from_exif(orientation: u8) -> Option<Self> {
        Some(match orientation {
            1 => Self::None,
            2 => Self::MirrorAcross,
            3 => Self::Half,
            4 => Self::MirrorDown,
            5 => Self::Transpose,
            6 => Self::Clockwise,
            7 => Self::Transverse,
            8 => Self::CounterClockwise,
            _ => return None,
        })
    }

    /// ffprobe prints three rows: `00000000:  a  b  u`, `00000001:  c  d  v`, …; a point (p, q) goes to
    /// (a p + c q, b p + d q). Oblique turns are left alone.
    pub(crate) fn from_matrix(printed: &str) -> Option<Self> {
        let rows: Vec<Vec<i64>> = printed
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(_, numbers)| numbers.split_whitespace().filter_map(|n| n.parse().ok()).collect())
            .collect();
        let at = |row: usize, column: usize| rows.get(row).and_then(|r| r.get(column)).map(|v| v.signum());
        Some(match (at(0, 0)?, at(0, 1)?, at(1, 0)?, at(1, 1)?) {
            (1, 0, 0, 1) => Self::None,
            (-1, 0, 0, 1) => Self::MirrorAcross,
            (-1, 0, 0, -1) => Self::Half,
            (1, 0, 0, -1) => Self::MirrorDown,
            (0, 1, 1, 0) => Self::Transpose,
            (0, 1, -1, 0) => Self::Clockwise,
            (0, -1, -1, 0) => Self::Transverse,
            (0, -1, 1, 0) => Self::CounterClockwise,
            _ => return None,
        })
    }

    /// ffmpeg's filters that do it.
    pub(crate) fn filters(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::MirrorAcross => &["hflip"],
            Self::Half => &["hflip", "vflip"],
            Self::MirrorDown => &["vflip"],
            Self::Transpose => &["transpose=cclock_flip"],
            Self::Clockwise => &["transpose=clock"],
            Self::Transverse => &["transpose=clock_flip"],
            Self::CounterClockwise => &["transpose=cclock"],
        }
    }

    pub(crate) fn apply(self, size: Size) -> Size {
        match self {
            Self::None | Self::MirrorAcross | Self::Half | Self::MirrorDown => size,
            Self::Transpose | Self::Clockwise | Self::Transverse | Self::CounterClockwise => {
                Size::new(size.height, size.width)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phones_matrix_is_a_quarter_turn() {
        let phone = "\n00000000:            0       65536           0\n00000001:       -65536           0           0\n00000002:            0           0  1073741824\n";
        assert_eq!(Turn::from_matrix(phone), Some(Turn::Clockwise));
        assert_eq!(Turn::from_matrix("\n00000000: 46341 46341 0\n00000001: -46341 46341 0\n"), None);
        assert_eq!(Turn::Clockwise.apply(Size::new(3, 2)), Size::new(2, 3));
    }
}
