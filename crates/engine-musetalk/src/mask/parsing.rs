//! Labels to black and white: which parts of the head take part in the new face. Reference: `FaceParsing` of `musetalk/utils/face_parsing`,
//! whose jaw is grown downwards and, between the cheeks, cut back along the sides.

use crate::mask::MaskError;
use pictures::morphology::{Element, Morphology};
use pictures::{Plane, View};

/// Of the parser's picture.
pub const SIDE: usize = 512;

/// Classes of CelebAMask-HQ, as the parser numbers them.
const SKIN: u8 = 1;
const NOSE: u8 = 10;
const MOUTH: u8 = 11;
const LOWER_LIP: u8 = 13;
const NECK: u8 = 14;

/// The cheeks reach from the sides of the parser's picture to that many of its pixels from its middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheekWidths {
    pub left: i32,
    pub right: i32,
}

impl CheekWidths {
    pub const V1: Self = Self { left: 80, right: 80 };
    pub const V15: Self = Self { left: 90, right: 90 };

    /// White where the cheeks are, in every row. A rectangle of OpenCV's holds both of its corners, in whatever order they come.
    pub fn row(self) -> [u8; SIDE] {
        let middle = (SIDE / 2) as i32;
        let edges = [[0, middle.saturating_sub(self.left)], [middle.saturating_add(self.right), SIDE as i32]];
        std::array::from_fn(|x| {
            white(edges.iter().any(|[a, b]| (*a.min(b)..=*a.max(b)).contains(&(x as i32))))
        })
    }
}

/// `parsing_mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsing {
    /// Skin, mouth and lips.
    Raw,
    /// The same and the neck.
    Neck,
    /// Skin that is grown downwards, mouth and lips, without the nose.
    Jaw(CheekWidths),
    /// Everything of the head but hair, neck and clothes, as before v1.5.
    Classic,
}

/// How far the jaw grows: nothing above, a wedge and a block below. By rows: the first pixel and how many.
pub fn jaw_element() -> Result<Element, MaskError> {
    const SIDE: usize = 33;
    const FIRST: usize = 10;
    const WIDEST: usize = 21;
    let row = |y: usize| {
        let width = if y < FIRST { 0 } else { (2 * (y - FIRST) + 1).min(WIDEST) };
        ((SIDE - width) / 2, width)
    };
    Ok(Element::of_rows(SIDE, &(0..SIDE).map(row).collect::<Vec<_>>())?)
}

/// How the cheeks are cut back, twice.
pub fn cheek_element() -> Result<Element, MaskError> {
    Ok(Element::ellipse(35, 3)?)
}

/// Parses, in memory that it keeps.
#[derive(Debug)]
pub struct Parser {
    parsing: Parsing,
    jaw: Element,
    cheek: Element,
    morphology: Morphology,
    cut_back: Plane,
}

impl Parser {
    pub fn new(parsing: Parsing) -> Result<Self, MaskError> {
        Ok(Self {
            parsing,
            jaw: jaw_element()?,
            cheek: cheek_element()?,
            morphology: Morphology::default(),
            cut_back: Plane::scratch(),
        })
    }

    /// labels: (512, 512) -> the same size, black and white
    pub fn parse(&mut self, labels: View<1>, to: &mut Plane) -> Result<(), MaskError> {
        if labels.size() != (SIDE, SIDE) {
            return Err(MaskError::Labels(labels.size()));
        }
        match self.parsing {
            Parsing::Raw => pick(labels, to, |class| class == SKIN || is_mouth(class)),
            Parsing::Neck => pick(labels, to, |class| class == SKIN || class == NECK || is_mouth(class)),
            Parsing::Classic => pick(labels, to, |class| (SKIN..=LOWER_LIP).contains(&class)),
            Parsing::Jaw(cheeks) => self.parse_jaw(labels, cheeks, to),
        }
        Ok(())
    }

    fn parse_jaw(&mut self, labels: View<1>, cheeks: CheekWidths, to: &mut Plane) {
        pick(labels, to, |class| class == SKIN);
        self.morphology.dilate(to, &self.jaw);
        self.cut_back.clone_from(to);
        for _ in 0..2 {
            self.morphology.erode(&mut self.cut_back, &self.cheek);
        }
        let cheeks = cheeks.row();
        let cut_back = self.cut_back.view();
        let mut to = to.view_mut();
        for (y, classes) in labels.rows().enumerate() {
            let skin = cut_back.row(y).iter().zip(&cheeks);
            for ((grown, (&cut_back, &cheek)), &class) in to.row_mut(y).iter_mut().zip(skin).zip(classes) {
                let skin = (cut_back & cheek) | (*grown & !cheek);
                *grown = (skin & white(class != NOSE)) | white(is_mouth(class));
            }
        }
    }
}

fn white(kept: bool) -> u8 {
    if kept { 255 } else { 0 }
}

fn is_mouth(class: u8) -> bool {
    (MOUTH..=LOWER_LIP).contains(&class)
}

fn pick(labels: View<1>, to: &mut Plane, kept: impl Fn(u8) -> bool) {
    to.reshape(labels.size());
    let mut to = to.view_mut();
    for (y, classes) in labels.rows().enumerate() {
        to.row_mut(y).iter_mut().zip(classes).for_each(|(to, &class)| *to = white(kept(class)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(class: impl Fn(usize, usize) -> u8) -> Plane {
        let bytes = (0..SIDE * SIDE).map(|i| class(i % SIDE, i / SIDE)).collect();
        Plane::new(bytes, (SIDE, SIDE)).unwrap()
    }

    fn parsed(parsing: Parsing, labels: &Plane) -> Plane {
        let mut out = Plane::scratch();
        Parser::new(parsing).unwrap().parse(labels.view(), &mut out).unwrap();
        out
    }

    #[test]
    fn classes_that_are_kept() {
        // a column for each class
        let columns = labels(|x, _| (x % 19) as u8);
        let kept = |parsing: Parsing| -> Vec<usize> {
            let plane = parsed(parsing, &columns);
            (0..19).filter(|&x| plane.view().row(100)[x] == 255).collect()
        };
        assert_eq!(kept(Parsing::Raw), [1, 11, 12, 13]);
        assert_eq!(kept(Parsing::Neck), [1, 11, 12, 13, 14]);
        assert_eq!(kept(Parsing::Classic), (1..14).collect::<Vec<_>>());
    }

    #[test]
    fn where_the_cheeks_are() {
        // as cv2.rectangle fills them; a width beyond the middle still fills its first column
        for (left, right, end, start) in [
            (90, 90, 167, 346),
            (255, 255, 2, 511),
            (300, 300, 1, SIDE),
            (-10, 400, 267, SIDE),
            (400, -300, 1, 1),
            (i32::MAX, i32::MAX, 1, SIDE),
        ] {
            let row = CheekWidths { left, right }.row();
            let expect: Vec<usize> = (0..end).chain(start..SIDE).collect();
            let got: Vec<usize> = (0..SIDE).filter(|&x| row[x] == 255).collect();
            assert_eq!(got, expect, "{left} {right}");
        }
    }

    #[test]
    fn the_jaw_grows_downwards_and_the_cheeks_are_cut_back() {
        let skin = |x: usize, y: usize| {
            let face = (100..412).contains(&x) && (100..300).contains(&y);
            let nose = (250..262).contains(&x) && (150..200).contains(&y);
            if nose { NOSE } else { u8::from(face) }
        };
        let plane = parsed(Parsing::Jaw(CheekWidths::V15), &labels(skin));
        let at = |x: usize, y: usize| plane.view().row(y)[x];
        // growing takes the greatest of what is below, so skin rises by up to 16 rows; between the cheeks it stays
        assert_eq!([at(256, 83), at(256, 84), at(256, 299), at(256, 305)], [0, 255, 255, 255]);
        // on the cheeks it is cut back by two ellipses of 17 to either side
        let row: Vec<usize> = (0..SIDE).filter(|&x| at(x, 250) == 255).collect();
        assert_eq!((row[0], row[row.len() - 1]), (100 - 10 + 34, 411 + 10 - 34));
        assert_eq!(at(256, 170), 0, "the nose is no skin");
    }

    #[test]
    fn labels_of_another_size() {
        let mut parser = Parser::new(Parsing::Raw).unwrap();
        let error =
            parser.parse(Plane::blank((512, 256)).unwrap().view(), &mut Plane::scratch()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "labels of 512x256 are not those of a face parser, which gives 512x512"
        );
    }
}
