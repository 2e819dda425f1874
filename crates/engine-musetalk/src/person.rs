//! The person of a take, step by step: each frame with what is known of the face in it. Of an avatar all is known; of a clip it is found out
//! the first time a frame comes by, and kept: all of it while memory is set aside for that, beyond it where the face is.

use std::sync::Arc;

use contract::{AvatarSource, Complaint, EngineError, Frame, Warning};

use crate::avatar::{Cache, Card};
use crate::material::{Maker, Material, pack, unpack};
use crate::roll::Roll;
use crate::steady::{Placed, Steady, Steadying};
use pictures::View;

/// Bytes of material that a clip may keep; what is beyond is made anew each time, of the same place.
const KEPT: usize = 256 << 20;
/// Frames at the beginning of a clip of which one has to show a face.
const SEARCHED: u64 = 250;

/// One step.
pub struct Shot {
    pub frame: Arc<Frame>,
    /// None: nothing is done to the frame.
    pub material: Option<Arc<Material>>,
}

pub trait Person {
    fn next(&mut self) -> Result<Shot, EngineError>;

    /// What the user should know now, once.
    fn warning(&mut self) -> Option<Warning> {
        None
    }

    /// What the user should know of it all, at the end.
    fn remark(&self) -> Option<Warning> {
        None
    }
}

/// A frame's pixels.
pub fn view(frame: &Frame) -> Result<View<'_, 3>, EngineError> {
    let size = frame.size();
    View::new(frame.data(), (size.width as usize, size.height as usize))
        .map_err(|error| EngineError::Failed(format!("a frame cannot be used: {error}")))
}

pub fn no_face(searched: u64) -> Complaint {
    Complaint::new(
        "no_face",
        match searched {
            1 => "no face was found in the picture".to_owned(),
            n => format!("no face was found in the first {n} frames of the clip"),
        },
        "use a picture or a clip in which the person is seen from the front, or another detector",
    )
}

/// A clip or a still, seen for the first time.
pub struct Filmed {
    roll: Roll,
    maker: Maker,
    steady: Steady<(u64, Arc<Frame>)>,
    memory: Memory,
    /// Frames seen, and those of them with a face.
    fresh: u64,
    found: u64,
    /// Frames of the first time through that came out, and those without a face.
    out: u64,
    missed: u64,
    /// The first frame that came by again.
    again: Option<(u64, Arc<Frame>)>,
    turned: bool,
    warning: Option<Warning>,
}

impl Filmed {
    pub fn new(roll: Roll, maker: Maker, how: Steadying) -> Self {
        Self {
            roll,
            maker,
            steady: Steady::new(how),
            memory: Memory::default(),
            fresh: 0,
            found: 0,
            out: 0,
            missed: 0,
            again: None,
            turned: false,
            warning: None,
        }
    }

    fn look(&mut self) -> Result<(), EngineError> {
        let (index, frame) = self.roll.next()?;
        if index < self.fresh {
            (self.turned, self.again) = (true, Some((index, frame)));
            return if self.found == 0 { Err(no_face(self.fresh).into()) } else { Ok(()) };
        }
        let seen = self.maker.see(view(&frame)?)?;
        self.fresh += 1;
        if let Some(seen) = seen {
            self.found += 1;
            if self.found == 1 && seen.others > 0 {
                self.warning = Some(Warning::new(
                    "several_faces",
                    format!(
                        "{} faces were found, one of them speaks; choose another with face=1, 2, …",
                        seen.others + 1
                    ),
                ));
            }
        } else if self.found == 0 && self.fresh >= SEARCHED {
            return Err(no_face(self.fresh).into());
        }
        self.steady.push((index, frame), seen);
        Ok(())
    }

    fn first_time(
        &mut self,
        (index, frame): (u64, Arc<Frame>),
        placed: Option<Placed>,
    ) -> Result<Shot, EngineError> {
        let material = match &placed {
            Some(placed) => self.maker.make(view(&frame)?, placed)?,
            None => None,
        };
        self.out += 1;
        self.missed += u64::from(material.is_none());
        self.memory.keep(index, material.as_ref(), placed);
        Ok(Shot { frame, material: material.map(Arc::new) })
    }

    fn once_more(&mut self, (index, frame): (u64, Arc<Frame>)) -> Result<Shot, EngineError> {
        let material = match self.memory.find(index) {
            Some(Kept::Material(packed)) => unpack(&mut &packed[..]).flatten(),
            Some(Kept::Face(placed)) => self.maker.make(view(&frame)?, placed)?,
            None => None,
        };
        Ok(Shot { frame, material: material.map(Arc::new) })
    }
}

impl Person for Filmed {
    fn next(&mut self) -> Result<Shot, EngineError> {
        loop {
            if let Some((frame, placed)) = self.steady.next(self.turned) {
                return self.first_time(frame, placed);
            }
            if self.turned {
                let next = match self.again.take() {
                    Some(next) => next,
                    None => self.roll.next()?,
                };
                return self.once_more(next);
            }
            self.look()?;
        }
    }

    fn warning(&mut self) -> Option<Warning> {
        self.warning.take()
    }

    fn remark(&self) -> Option<Warning> {
        faces_missing(self.missed, self.out)
    }
}

fn faces_missing(missed: u64, out: u64) -> Option<Warning> {
    (missed > 0).then(|| {
        let message =
            format!("no face was found in {missed} of {out} frames of the clip: they are shown as they were");
        Warning::new("face_missing", message)
    })
}

/// What is known of a frame with a face that was seen.
enum Kept {
    /// Packed.
    Material(Vec<u8>),
    /// Where memory is short, where the face is: the material is made of it again.
    Face(Placed),
}

/// By the place in the clip; frames without a face have nothing.
#[derive(Default)]
struct Memory {
    frames: Vec<Option<Kept>>,
    bytes: usize,
}

impl Memory {
    fn keep(&mut self, index: u64, material: Option<&Material>, placed: Option<Placed>) {
        let at = index as usize;
        if self.frames.len() <= at {
            self.frames.resize_with(at + 1, || None);
        }
        let Some(material) = material else { return };
        let packed = pack(Some(material));
        if self.bytes + packed.len() <= KEPT {
            self.bytes += packed.len();
            self.frames[at] = Some(Kept::Material(packed));
        } else {
            self.frames[at] = placed.map(Kept::Face);
        }
    }

    fn find(&self, index: u64) -> Option<&Kept> {
        self.frames.get(index as usize)?.as_ref()
    }
}

/// A prepared one.
pub struct Prepared {
    roll: Roll,
    source: Box<dyn AvatarSource>,
    card: Card,
    cache: Arc<Cache>,
    /// Frames so far, and those without a face.
    out: u64,
    missed: u64,
}

impl Prepared {
    pub fn new(roll: Roll, (source, card): (Box<dyn AvatarSource>, Card), cache: Arc<Cache>) -> Self {
        Self { roll, source, card, cache, out: 0, missed: 0 }
    }
}

impl Person for Prepared {
    fn next(&mut self) -> Result<Shot, EngineError> {
        let (index, frame) = self.roll.next()?;
        let size = frame.size();
        if (size.width, size.height) != (self.card.width, self.card.height) {
            let (w, h) = (self.card.width, self.card.height);
            let message = format!("the avatar was prepared at {w}x{h} pixels, its source is {size} now");
            return Err(Complaint::new("avatar_damaged", message, "make it anew").into());
        }
        let material = self.cache.frame((self.source.as_mut(), &self.card), index)?;
        self.out += 1;
        self.missed += u64::from(material.is_none());
        Ok(Shot { frame, material: material.map(Arc::new) })
    }

    fn remark(&self) -> Option<Warning> {
        faces_missing(self.missed, self.out)
    }
}
