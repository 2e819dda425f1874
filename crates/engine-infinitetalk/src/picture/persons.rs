//! Who of two persons is where in a picture: boxes, and the masks that the net reads from them. The official form of a box counts rows first
//! although it calls them x; the named form leaves no doubt. Reference: InfiniteTalk 0107cd9, `generate_infinitetalk` ("construct human
//! mask"). Deviation: a box that reaches beyond the picture ends at its border, also on the left and above, where the reference would
//! count from the other side. Refused: empty boxes, boxes outside the picture or outside what is kept of it.

use std::str::FromStr;

use candle_core::{Device, Tensor};

use super::PictureError;
use super::fit::{Geometry, nearest};
use crate::nets::dit::PATCH;

/// Share of a half of the picture that is left free on each side of a default box.
const FREE: f64 = 0.05;

/// Pixels of the picture as it was given: `right` and `bottom` are where it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PersonBox {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl PersonBox {
    /// The official `[x_min, y_min, x_max, y_max]`, in which x counts rows from the top and y counts columns from the left.
    pub fn official([top, left, bottom, right]: [f64; 4]) -> Self {
        Self { left, top, right, bottom }
    }

    /// Where nobody said: the left and the right half of a picture of `(width, height)`.
    pub fn halves((width, height): (usize, usize)) -> [Self; 2] {
        let cut = |v: f64| v.trunc();
        let (half, height) = ((width / 2) as f64, height as f64);
        let (top, bottom) = (cut(height * FREE), cut(height * (1.0 - FREE)));
        let (left, right) = (half * FREE, half * (1.0 - FREE));
        [0.0, half].map(|start| Self { left: cut(left + start), top, right: cut(right + start), bottom })
    }

    /// The whole pixels inside a picture of `(width, height)`: left, top, right, bottom.
    fn pixels(&self, person: usize, (width, height): (usize, usize)) -> Result<[usize; 4], PictureError> {
        let inside = |v: f64, side: usize| v.trunc().clamp(0.0, side as f64) as usize;
        let pixels = [
            inside(self.left, width),
            inside(self.top, height),
            inside(self.right, width),
            inside(self.bottom, height),
        ];
        let [left, top, right, bottom] = pixels;
        if left < right && top < bottom {
            return Ok(pixels);
        }
        Err(PictureError::BoxOutside { person: person + 1, given: *self, picture: (width, height) })
    }
}

impl std::fmt::Display for PersonBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { left, top, right, bottom } = self;
        write!(f, "left={left},top={top},right={right},bottom={bottom}")
    }
}

impl FromStr for PersonBox {
    type Err = PictureError;

    /// `left=10,top=20,right=300,bottom=400` in any order, or the official four numbers, rows first.
    fn from_str(text: &str) -> Result<Self, PictureError> {
        let wrong = || PictureError::BoxText(text.to_owned());
        let number = |text: &str| text.trim().parse().ok().filter(|v: &f64| v.is_finite()).ok_or_else(wrong);
        let parts: Vec<&str> = text.split(',').collect();
        let parts: [&str; 4] = parts.try_into().map_err(|_| wrong())?;
        if !text.contains('=') {
            let mut numbers = [0.0; 4];
            for (value, part) in numbers.iter_mut().zip(parts) {
                *value = number(part)?;
            }
            return Ok(Self::official(numbers));
        }
        let side = |name: &str| {
            let mut named = parts.iter().filter_map(|part| part.split_once('='));
            let (_, value) = named.find(|(side, _)| side.trim() == name).ok_or_else(wrong)?;
            number(value)
        };
        Ok(Self { left: side("left")?, top: side("top")?, right: side("right")?, bottom: side("bottom")? })
    }
}

/// Person 1, person 2 and what is neither, as the net asks for them.
#[derive(Clone, Debug, PartialEq)]
pub struct PersonMasks {
    /// (3, height, width), 0 or 1
    values: Vec<f32>,
    /// Of a latent frame: (width, height)
    size: (usize, usize),
}

impl PersonMasks {
    /// boxes: in the picture as it was given; geometry: how that picture is fitted; stride: pixels of a latent place
    pub fn new(boxes: &[PersonBox; 2], geometry: &Geometry, stride: usize) -> Result<Self, PictureError> {
        let source = geometry.source();
        let [first, second] = boxes;
        let boxes = [first.pixels(0, source)?, second.pixels(1, source)?];
        let target = geometry.target();
        let size = (target.0 / stride, target.1 / stride);
        let [columns, rows] = geometry.nearest();
        let columns: Vec<usize> = nearest(target.0, size.0).into_iter().map(|x| columns[x]).collect();
        let rows: Vec<usize> = nearest(target.1, size.1).into_iter().map(|y| rows[y]).collect();
        let place = |[left, top, right, bottom]: [usize; 4], x: usize, y: usize| {
            (left..right).contains(&columns[x]) && (top..bottom).contains(&rows[y])
        };
        let area = size.0 * size.1;
        let mut values = vec![0.0; 3 * area];
        for i in 0..area {
            let persons = boxes.map(|pixels| place(pixels, i % size.0, i / size.0));
            let [first, second] = persons.map(|here| f32::from(u8::from(here)));
            (values[i], values[area + i]) = (first, second);
            values[2 * area + i] = if first + second > 0.0 { 0.0 } else { 1.0 };
        }
        // the net looks at every second latent place of every second row
        let seen = |i: usize| (i % size.0).is_multiple_of(PATCH) && (i / size.0).is_multiple_of(PATCH);
        for (person, mask) in values.chunks_exact(area).take(2).enumerate() {
            if !mask.iter().enumerate().any(|(i, &v)| v > 0.0 && seen(i)) {
                return Err(PictureError::BoxCutOff { person: person + 1, picture: source, target });
            }
        }
        Ok(Self { values, size })
    }

    /// (3, height, width)
    pub fn to_tensor(&self) -> candle_core::Result<Tensor> {
        Tensor::from_slice(&self.values, (3, self.size.1, self.size.0), &Device::Cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PersonBox, String> {
        text.parse().map_err(|e: PictureError| e.to_string())
    }

    #[test]
    fn both_forms_of_a_box() {
        let named = PersonBox { left: 20.0, top: 10.0, right: 90.5, bottom: 70.0 };
        assert_eq!(parse("10, 20, 70, 90.5"), Ok(named)); // rows first
        assert_eq!(parse("right=90.5,left=20,top=10, bottom=70"), Ok(named));
        assert_eq!(parse(&named.to_string()), Ok(named));
        for text in ["", "1,2,3", "1,2,3,4,5", "1,2,3,x", "left=1,top=2,right=3,left=4", "1,2,3,inf"] {
            let said = parse(text).unwrap_err();
            assert!(said.starts_with(&format!("`{text}` is no box; write left=")), "{said}");
        }
    }

    #[test]
    fn nobody_said_where() {
        let [left, right] = PersonBox::halves((70, 50));
        assert_eq!(left, PersonBox { left: 1.0, top: 2.0, right: 33.0, bottom: 47.0 });
        assert_eq!(right, PersonBox { left: 36.0, top: 2.0, right: 68.0, bottom: 47.0 });
    }

    #[test]
    fn a_box_has_to_show_something() {
        let masks = |boxes: [[f64; 4]; 2], source: (usize, usize)| {
            let boxes = boxes.map(|[left, top, right, bottom]| PersonBox { left, top, right, bottom });
            PersonMasks::new(&boxes, &Geometry::new(source, (64, 64)), 8).map_err(|e| e.to_string())
        };
        let good = [60.0, 0.0, 90.0, 100.0];
        assert_eq!(
            masks([good, [10.0, 120.0, 40.0, 180.0]], (200, 100)).unwrap_err(),
            "the box of person 2 (left=10,top=120,right=40,bottom=180) is empty or outside the picture of 200x100; \
             the official four numbers are rows first: top, left, bottom, right"
        );
        assert!(
            masks([good, [60.0, 50.0, 40.0, 90.0]], (200, 100)).unwrap_err().contains("empty or outside")
        );
        assert_eq!(
            masks([good, [0.0, 0.0, 20.0, 100.0]], (200, 100)).unwrap_err(),
            "nothing is left of the box of person 2: a picture of 200x100 is cut to 64x64 around its middle, and every 16th pixel counts"
        );
        let narrow = [60.0, 0.0, 70.0, 100.0]; // beside every place that the net looks at
        assert!(masks([good, narrow], (200, 100)).unwrap_err().contains("every 16th pixel counts"));
        // half outside: ends at the border
        let cut = masks([[-50.0, -9.0, 50.0, 100.0], [50.0, 0.0, 900.0, 900.0]], (100, 100)).unwrap();
        let (first, rest) = cut.values.split_at(64);
        let (second, background) = rest.split_at(64);
        assert!(first.chunks(8).all(|row| row == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]));
        assert!(second.chunks(8).all(|row| row == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]));
        assert!(background.iter().all(|&v| v == 0.0));
    }
}
