//! A prepared person: where the face is in every frame of its picture or clip, measured once. Kept exactly, so that a take of
//! an avatar equals one of the clip itself; read without trust.

use contract::{Complaint, FaceReport, LandmarkOrigin, Landmarks, Point, Size};
use face::{CANON_WIDTH, Eye, Face, FaceBox, Gates, MouthLine, Similarity};

/// Name of the avatar's part.
pub const PART: &str = "track";
/// Name and version of the format: little endian, in the order of `Track`'s fields.
const MAGIC: &[u8; 8] = b"PUPPET\x00\x01";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Picture,
    Clip,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    pub kind: Kind,
    /// Of the frames that were measured.
    pub size: Size,
    /// Faces that were found besides.
    pub others: u32,
    /// Frames before the first face.
    pub left_out: u32,
    pub report: FaceReport,
    /// One a frame, from the first of the source; never empty.
    pub places: Vec<Place>,
}

/// The face in one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// `false`: it was not seen, this is where it was last.
    pub seen: bool,
    pub face: Face,
}

impl Track {
    /// The place in frame `step` of a clip that turns back at its ends: 0 1 2 1 0 1 …
    pub fn at(&self, step: u64) -> &Place {
        let last = self.places.len() as u64 - 1;
        if last == 0 {
            return &self.places[0];
        }
        let at = step % (2 * last);
        &self.places[at.min(2 * last - at) as usize]
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.push(u8::from(self.kind == Kind::Clip));
        for number in [self.size.width, self.size.height, self.others, self.left_out] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let l = self.report.landmarks;
        for p in [l.left_eye, l.right_eye, l.mouth_left, l.mouth_right, l.mouth_center] {
            floats(&mut out, &[p.x, p.y]);
        }
        floats(&mut out, &[self.report.confidence]);
        out.extend_from_slice(&(self.places.len() as u32).to_le_bytes());
        for place in &self.places {
            out.push(u8::from(place.seen));
            write_face(&mut out, &place.face);
        }
        out
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, Complaint> {
        let mut from = Bytes(bytes);
        from.track().filter(|track| from.0.is_empty() && track.is_sound()).ok_or_else(|| {
            Complaint::new(
                "avatar_damaged",
                format!("the avatar's track of {} bytes is not one that this puppet wrote", bytes.len()),
                "make the avatar anew",
            )
        })
    }

    fn is_sound(&self) -> bool {
        self.others < MOST_OTHERS
            && (self.left_out as usize) < self.places.len()
            && self.places.iter().all(|place| can_be(&place.face))
    }
}

/// No picture has so many faces.
const MOST_OTHERS: u32 = 100_000;
/// Farther than any picture reaches, and near enough for squares of it to be numbers.
const FAR: f32 = 1e7;
/// The same in the canonical frame.
const BESIDE: f32 = 1e4;

/// Whether a face is one that the tracker finds: what is drawn of it takes memory by these numbers, and is computed with them.
fn can_be(face: &Face) -> bool {
    let Face { bounds, canon, mouth, eyes, .. } = face;
    let within = |limit: f32, numbers: &[f32]| numbers.iter().all(|number| number.abs() <= limit);
    let lids = eyes.iter().all(|eye| within(BESIDE, &[eye.lid_top, eye.lid_bottom, eye.contrast]));
    (24.0..=38.0).contains(&mouth.half_width)
        && mouth.upper.len() == mouth.lower.len()
        && (1..=CANON_WIDTH).contains(&mouth.upper.len())
        && (1e-3..=1e3).contains(&canon.a.hypot(canon.b))
        && within(FAR, &[canon.tx, canon.ty, bounds.x, bounds.y, bounds.width, bounds.height])
        && within(BESIDE, &[mouth.x0, mouth.center_x])
        && within(BESIDE, &mouth.upper)
        && within(BESIDE, &mouth.lower)
        && lids
}

fn floats(out: &mut Vec<u8>, numbers: &[f32]) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}

fn write_face(out: &mut Vec<u8>, face: &Face) {
    let Face { bounds, canon, mouth, eyes, gates, confidence } = face;
    floats(out, &[bounds.x, bounds.y, bounds.width, bounds.height, bounds.score]);
    floats(out, &[canon.a, canon.b, canon.tx, canon.ty]);
    for eye in eyes {
        floats(out, &[eye.lid_top, eye.lid_bottom, eye.contrast]);
    }
    floats(out, &[gates.mouth_ratio, gates.mirror_ncc, *confidence]);
    out.push(u8::from(gates.mouth_ok) | u8::from(gates.eyes_ok) << 1 | u8::from(mouth.open) << 2);
    floats(out, &[mouth.x0, mouth.center_x, mouth.half_width]);
    out.extend_from_slice(&(mouth.upper.len() as u32).to_le_bytes());
    floats(out, &mouth.upper);
    floats(out, &mouth.lower);
}

/// What is left to be read.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn track(&mut self) -> Option<Track> {
        if self.take::<8>()? != *MAGIC {
            return None;
        }
        let kind = if self.byte()? == 0 { Kind::Picture } else { Kind::Clip };
        let size = Size::new(self.number()?, self.number()?);
        let (others, left_out) = (self.number()?, self.number()?);
        let landmarks = Landmarks {
            left_eye: self.point()?,
            right_eye: self.point()?,
            mouth_left: self.point()?,
            mouth_right: self.point()?,
            mouth_center: self.point()?,
        };
        let report = FaceReport { landmarks, confidence: self.float()?, origin: LandmarkOrigin::Found };
        let count = self.number()?;
        // no capacity by what is merely claimed
        let places = (0..count).map(|_| self.place()).collect::<Option<Vec<_>>>()?;
        Some(Track { kind, size, others, left_out, report, places })
    }

    fn place(&mut self) -> Option<Place> {
        let seen = self.byte()? != 0;
        let bounds = FaceBox {
            x: self.float()?,
            y: self.float()?,
            width: self.float()?,
            height: self.float()?,
            score: self.float()?,
        };
        let canon = Similarity { a: self.float()?, b: self.float()?, tx: self.float()?, ty: self.float()? };
        let eyes = [self.eye()?, self.eye()?];
        let (mouth_ratio, mirror_ncc, confidence) = (self.float()?, self.float()?, self.float()?);
        let flags = self.byte()?;
        let gates = Gates { mouth_ratio, mirror_ncc, mouth_ok: flags & 1 != 0, eyes_ok: flags & 2 != 0 };
        let (x0, center_x, half_width) = (self.float()?, self.float()?, self.float()?);
        let columns = self.number()?;
        let (upper, lower) = (self.line(columns)?, self.line(columns)?);
        let mouth = MouthLine { x0, upper, lower, center_x, half_width, open: flags & 4 != 0 };
        Some(Place { seen, face: Face { bounds, canon, mouth, eyes, gates, confidence } })
    }

    fn eye(&mut self) -> Option<Eye> {
        Some(Eye { lid_top: self.float()?, lid_bottom: self.float()?, contrast: self.float()? })
    }

    fn line(&mut self, columns: u32) -> Option<Vec<f32>> {
        (0..columns).map(|_| self.float()).collect()
    }

    fn point(&mut self) -> Option<Point> {
        Some(Point { x: self.float()?, y: self.float()? })
    }

    /// Numbers that are none would walk through every measure after them.
    fn float(&mut self) -> Option<f32> {
        Some(f32::from_le_bytes(self.take()?)).filter(|number| number.is_finite())
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take()?))
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take::<1>()?[0])
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(x: f32, seen: bool) -> Place {
        let eye = Eye { lid_top: 43.0, lid_bottom: 57.5, contrast: 60.0 };
        let face = Face {
            bounds: FaceBox { x, y: 2.0, width: 3.0, height: 4.0, score: 30.0 },
            canon: Similarity { a: 1.0, b: 0.1, tx: x, ty: -2.0 },
            mouth: MouthLine {
                x0: 64.0,
                upper: vec![140.0, 140.25],
                lower: vec![141.0, x],
                center_x: 96.0,
                half_width: 32.0,
                open: true,
            },
            eyes: [eye, Eye { contrast: x, ..eye }],
            gates: Gates { mouth_ratio: 0.8, mirror_ncc: 0.9, mouth_ok: true, eyes_ok: false },
            confidence: 0.7,
        };
        Place { seen, face }
    }

    fn track(places: Vec<Place>) -> Track {
        let p = Point { x: 1.0, y: 2.0 };
        let landmarks =
            Landmarks { left_eye: p, right_eye: p, mouth_left: p, mouth_right: p, mouth_center: p };
        let report = FaceReport { landmarks, confidence: 0.5, origin: LandmarkOrigin::Found };
        Track { kind: Kind::Clip, size: Size::new(64, 48), others: 1, left_out: 0, report, places }
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else_is() {
        let track = track(vec![place(1.0, true), place(2.0, false)]);
        let bytes = track.to_bytes();
        assert_eq!(Track::parse(&bytes), Ok(track.clone()));
        let cut = (0..bytes.len()).map(|end| bytes[..end].to_vec());
        let longer = [bytes.clone(), vec![0]].concat();
        let mut newer = bytes.clone();
        newer[7] = 2;
        let none = Track { places: Vec::new(), ..track.clone() }.to_bytes();
        let late = Track { left_out: 2, ..track.clone() }.to_bytes();
        let other = |change: &dyn Fn(&mut Face)| {
            let mut track = track.clone();
            change(&mut track.places[1].face);
            track.to_bytes()
        };
        let wide = other(&|face| face.mouth.half_width = 1e9);
        let flat = other(&|face| (face.canon.a, face.canon.b) = (0.0, 0.0));
        let bare = other(&|face| (face.mouth.upper, face.mouth.lower) = (Vec::new(), Vec::new()));
        let crowd = Track { others: u32::MAX, ..track.clone() }.to_bytes();
        let far = other(&|face| face.canon.tx = 1e38);
        let high = other(&|face| face.mouth.upper[0] = -3e38);
        for bad in cut.chain([longer, newer, none, late, wide, flat, bare, crowd, far, high]) {
            assert_eq!(Track::parse(&bad).unwrap_err().code, "avatar_damaged");
        }
    }

    #[test]
    fn a_clip_turns_back_at_its_ends() {
        let track = track((0..3).map(|x| place(x as f32, true)).collect());
        let walk: Vec<f32> = (0..8).map(|step| track.at(step).face.bounds.x).collect();
        assert_eq!(walk, [0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0, 1.0]);
    }
}
