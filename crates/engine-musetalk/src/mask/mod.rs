//! The soft mask through which a face is laid over its frame: the parser's labels become black and white, are brought to the square around
//! the face, cut to the face and to the lower half of that square, and blurred. Refuses faces of less than two pixels.
//! Reference: `musetalk/utils/blending.py`, at 0a89dec for v1 and v1.5 and at 058f7dd for `MaskRule::classic`.

pub mod parsing;

use thiserror::Error;

use parsing::{Parser, Parsing, SIDE};
use pictures::gauss::Gauss;
use pictures::pillow::{Filter, Pillow};
use pictures::{PictureError, Plane, Rect, Rgb, View};

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MaskError {
    #[error("a face of {}x{} pixels is too small for a mask; the longer side needs at least 2", .0.width(), .0.height())]
    Small(Rect),
    #[error("labels of {}x{} are not those of a face parser, which gives {SIDE}x{SIDE}", .0.0, .0.1)]
    Labels((usize, usize)),
    #[error("a mask of {}x{} does not cover {}x{} pixels", size.0, size.1, area.width(), area.height())]
    Area { size: (usize, usize), area: Rect },
    #[error(transparent)]
    Picture(#[from] PictureError),
}

/// What makes a mask of labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskRule {
    pub parsing: Parsing,
    /// Sides of the square, in longer sides of the face.
    expand: f64,
    /// Side of the blur's kernel, in sides of the square.
    blur: f64,
}

impl MaskRule {
    /// What `inference.py` does (`get_image`).
    pub fn offline(parsing: Parsing) -> Self {
        Self { parsing, expand: 1.5, blur: 0.05 }
    }

    /// What `realtime_inference.py` does (`get_image_prepare_material`).
    pub fn realtime(parsing: Parsing) -> Self {
        Self { parsing, expand: 1.5, blur: 0.10 }
    }

    /// What both did before v1.5.
    pub fn classic() -> Self {
        Self { parsing: Parsing::Classic, expand: 1.2, blur: 0.10 }
    }

    /// The square around a face that the parser sees; it may leave the frame.
    pub fn square(&self, face: Rect) -> Result<Rect, MaskError> {
        let half = (f64::from(face.width().max(face.height()) / 2) * self.expand) as i32;
        if face.is_empty() || half < 1 {
            return Err(MaskError::Small(face));
        }
        let (x, y) = ((face.x1 + face.x2).div_euclid(2), (face.y1 + face.y2).div_euclid(2));
        Ok(Rect::new(x - half, y - half, x + half, y + half))
    }

    /// Of the kernel for a square of that side; odd.
    fn kernel(&self, side: usize) -> usize {
        (self.blur * side as f64 / 2.0).floor() as usize * 2 + 1
    }
}

/// How much of the new face shows in each pixel of a part of the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoftMask {
    area: Rect,
    alpha: Plane,
}

impl SoftMask {
    /// alpha: of the size of `area`
    pub fn new(area: Rect, alpha: Plane) -> Result<Self, MaskError> {
        let size = alpha.size();
        if Rect::of(size) != area.seen_from((area.x1, area.y1)) {
            return Err(MaskError::Area { size, area });
        }
        Ok(Self { area, alpha })
    }

    /// Where it lies in the frame, or beside it.
    pub fn area(&self) -> Rect {
        self.area
    }

    pub fn alpha(&self) -> &Plane {
        &self.alpha
    }

    /// The smallest part of it that shows the same of `face` in a frame of `size`; None where it shows nothing. The face is all that is
    /// ever laid over the frame, so what lies around it is of no use once the mask is blurred.
    pub fn trimmed(&self, face: Rect, size: (usize, usize)) -> Option<SoftMask> {
        let seen = self.area.meet(&face).meet(&Rect::of(size));
        let part = self.alpha.view().cut(seen.seen_from((self.area.x1, self.area.y1)))?;
        let mut bounds: Option<Rect> = None;
        for (y, row) in part.rows().enumerate() {
            let Some(first) = row.iter().position(|&v| v != 0) else { continue };
            let last = row.iter().rposition(|&v| v != 0).expect("one is not zero");
            let (y, first, last) = (y as i32, first as i32, last as i32);
            let held = bounds.unwrap_or(Rect::new(first, y, last + 1, y + 1));
            bounds = Some(Rect::new(held.x1.min(first), held.y1, held.x2.max(last + 1), y + 1));
        }
        let bounds = bounds?;
        let alpha = part.cut(bounds)?.to_picture();
        Some(SoftMask { area: bounds.seen_from((-seen.x1, -seen.y1)), alpha })
    }
}

/// Makes masks, in memory that it keeps.
#[derive(Debug)]
pub struct MaskMaker {
    rule: MaskRule,
    parser: Parser,
    to_parser: Pillow,
    to_square: Pillow,
    /// Of the last square's side.
    gauss: Option<Gauss>,
    square: Rgb,
    input: Rgb,
    parsed: Plane,
    part: Plane,
    hard: Plane,
}

impl MaskMaker {
    pub fn new(rule: MaskRule) -> Result<Self, MaskError> {
        Ok(Self {
            rule,
            parser: Parser::new(rule.parsing)?,
            to_parser: Pillow::new(Filter::Bilinear),
            to_square: Pillow::new(Filter::Bicubic),
            gauss: None,
            square: Rgb::scratch(),
            input: Rgb::scratch(),
            parsed: Plane::scratch(),
            part: Plane::scratch(),
            hard: Plane::scratch(),
        })
    }

    pub fn rule(&self) -> &MaskRule {
        &self.rule
    }

    /// What the parser is to see of a frame: the square around the face, black where it leaves the frame. (512, 512), in the frame's order
    /// of channels; the parser wants red first
    pub fn parser_input(&mut self, frame: View<3>, face: Rect) -> Result<View<'_, 3>, MaskError> {
        let square = self.rule.square(face)?;
        let side = checked_side(square)?;
        self.square.reshape((side, side));
        let mut to = self.square.view_mut();
        (0..side).for_each(|y| to.row_mut(y).fill(0));
        let in_square = Rect::of(frame.size()).seen_from((square.x1, square.y1));
        if let (Some(from), Some(mut to)) = (frame.cut(square), to.cut(in_square)) {
            to.copy_from(from);
        }
        let size = (SIDE, SIDE);
        self.to_parser.resize(self.square.view(), size, Rect::of(size), &mut self.input);
        Ok(self.input.view())
    }

    /// labels: (512, 512), the class of each pixel of `parser_input`
    pub fn make(&mut self, labels: View<1>, face: Rect) -> Result<SoftMask, MaskError> {
        let square = self.rule.square(face)?;
        let side = checked_side(square)?;
        self.parser.parse(labels, &mut self.parsed)?;
        let lower = Rect::new(0, (side / 2) as i32, side as i32, side as i32);
        let kept = face.seen_from((square.x1, square.y1)).meet(&lower);
        self.hard.reshape((side, side));
        let mut hard = self.hard.view_mut();
        (0..side).for_each(|y| hard.row_mut(y).fill(0));
        if let Some(mut hard) = hard.cut(kept) {
            self.to_square.resize(self.parsed.view(), (side, side), kept, &mut self.part);
            hard.copy_from(self.part.view());
        }
        let kernel = self.rule.kernel(side);
        let gauss = match self.gauss.take() {
            Some(gauss) if gauss.side() == kernel => self.gauss.insert(gauss),
            _ => self.gauss.insert(Gauss::new(kernel)?),
        };
        let mut alpha = Plane::blank((side, side))?;
        gauss.blur(self.hard.view(), &mut alpha);
        Ok(SoftMask { area: square, alpha })
    }
}

fn checked_side(square: Rect) -> Result<usize, MaskError> {
    let side = square.width() as usize;
    if side > pictures::LONGEST {
        return Err(PictureError::Size((side, side)).into());
    }
    Ok(side)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACE: Rect = Rect::new(70, 60, 150, 165);

    fn skin() -> Plane {
        Plane::new(vec![1; SIDE * SIDE], (SIDE, SIDE)).unwrap()
    }

    #[test]
    fn squares() {
        let rule = MaskRule::offline(Parsing::Raw);
        let check = |face: Rect, square: Rect| assert_eq!(rule.square(face).unwrap(), square, "{face:?}");
        check(FACE, Rect::new(32, 34, 188, 190));
        check(Rect::new(0, 0, 2, 1), Rect::new(0, -1, 2, 1));
        check(Rect::new(-9, -4, -4, 0), Rect::new(-10, -5, -4, 1)); // halves of negatives are rounded down
        assert_eq!(MaskRule::classic().square(FACE).unwrap(), Rect::new(48, 50, 172, 174));
        for face in [Rect::new(3, 3, 4, 4), Rect::new(5, 0, 5, 90), Rect::new(0, 9, 40, 3)] {
            assert_eq!(rule.square(face), Err(MaskError::Small(face)));
        }
        let error = rule.square(Rect::new(3, 3, 4, 4)).unwrap_err().to_string();
        assert_eq!(error, "a face of 1x1 pixels is too small for a mask; the longer side needs at least 2");
        let huge = Rect::new(0, 0, 30_000, 30_000);
        assert!(matches!(
            MaskMaker::new(rule).unwrap().make(skin().view(), huge),
            Err(MaskError::Picture(_))
        ));
    }

    #[test]
    fn kernels() {
        let sides = [2, 60, 140, 156, 280, 630];
        let of = |rule: MaskRule| sides.map(|side| rule.kernel(side));
        assert_eq!(of(MaskRule::offline(Parsing::Raw)), [1, 3, 7, 7, 15, 31]);
        assert_eq!(of(MaskRule::realtime(Parsing::Raw)), [1, 7, 15, 15, 29, 63]);
    }

    #[test]
    fn a_mask_is_the_lower_half_of_the_face_with_soft_edges() {
        let mask =
            MaskMaker::new(MaskRule::offline(Parsing::Raw)).unwrap().make(skin().view(), FACE).unwrap();
        assert_eq!((mask.area(), mask.alpha().size()), (Rect::new(32, 34, 188, 190), (156, 156)));
        let at = |x: i32, y: i32| mask.alpha().view().row((y - 34) as usize)[(x - 32) as usize];
        assert_eq!([at(110, 112 + 3), at(110, 112 - 4), at(110, 160), at(110, 169)], [255, 0, 255, 0]);
        assert!((1..255).contains(&at(110, 112)) && (1..255).contains(&at(70, 140)), "edges are soft");
    }

    #[test]
    fn a_trimmed_mask_keeps_what_shows() {
        let mask =
            MaskMaker::new(MaskRule::realtime(Parsing::Raw)).unwrap().make(skin().view(), FACE).unwrap();
        let trimmed = mask.trimmed(FACE, (140, 150)).unwrap();
        assert_eq!(trimmed.area(), Rect::new(70, 112 - 7, 140, 150)); // the kernel has 15 rows
        for y in 105..150 {
            for x in 70..140 {
                let at = |mask: &SoftMask| {
                    let area = mask.area();
                    mask.alpha().view().row((y - area.y1) as usize)[(x - area.x1) as usize]
                };
                assert_eq!(at(&trimmed), at(&mask), "{x} {y}");
            }
        }
        assert_eq!(mask.trimmed(FACE, (70, 150)), None, "left of the face");
        assert_eq!(mask.trimmed(FACE, (140, 100)), None, "above all that shows");
        let again = SoftMask::new(trimmed.area(), trimmed.alpha().clone()).unwrap();
        assert_eq!(again, trimmed);
        let error = SoftMask::new(FACE, trimmed.alpha().clone()).unwrap_err().to_string();
        assert_eq!(error, "a mask of 70x45 does not cover 80x105 pixels");
    }

    #[test]
    fn the_parser_sees_black_beside_the_frame() {
        let mut maker = MaskMaker::new(MaskRule::offline(Parsing::Raw)).unwrap();
        let frame = Rgb::new(vec![200; 40 * 30 * 3], (40, 30)).unwrap();
        let input = maker.parser_input(frame.view(), Rect::new(0, 0, 20, 20)).unwrap(); // square: -5 to 25
        assert_eq!(input.size(), (SIDE, SIDE));
        let at = |x: usize, y: usize| input.row(y)[x * 3];
        assert_eq!([at(0, 0), at(60, 300), at(300, 60), at(110, 110), at(511, 511)], [0, 0, 0, 200, 200]);
        let input = maker.parser_input(frame.view(), Rect::new(100, 100, 120, 120)).unwrap();
        assert!(input.rows().all(|row| row.iter().all(|&v| v == 0)), "nothing is left of the last frame");
    }

    #[test]
    fn one_mask_leaves_nothing_for_the_next() {
        let rule = MaskRule::realtime(Parsing::Jaw(parsing::CheekWidths::V15));
        let mut maker = MaskMaker::new(rule).unwrap();
        maker.make(skin().view(), Rect::new(0, 0, 90, 120)).unwrap();
        let labels =
            Plane::new((0..SIDE * SIDE).map(|i| (i / 40 % 17) as u8).collect(), (SIDE, SIDE)).unwrap();
        let alone = MaskMaker::new(rule).unwrap().make(labels.view(), FACE).unwrap();
        assert_eq!(maker.make(labels.view(), FACE).unwrap(), alone);
    }
}
