//! Finds the face in a frame, and later says which pixels around it belong to it. Three ways: as the official code does, better with the
//! same nets, and classically without any.

mod classical;
mod official;
mod refined;
mod tensors;

use contract::EngineError;
use face::Similarity;

use crate::face_box::BoxRule;
use crate::settings::{Choice, DetectorKind, Options, Profile, Version};
use pictures::{Plane, Rect, View};

pub use classical::Classical;
pub use official::Official;
pub use refined::Refined;

/// A face in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Left, top, right, bottom in pixels of the frame; may leave it.
    pub edges: [f32; 4],
    /// Picture to canonical frame, where geometry is all that is known.
    pub canon: Option<Similarity>,
    /// 0..1
    pub confidence: f32,
    /// Faces in the frame besides this one.
    pub others: usize,
}

impl Seen {
    /// In whole pixels, cut off towards zero as the reference does.
    pub fn place(&self) -> Rect {
        let [x1, y1, x2, y2] = self.edges.map(|edge| edge as i32);
        Rect::new(x1, y1, x2, y2)
    }
}

pub trait Sight {
    /// The face of the next frame; frames come in order.
    fn see(&mut self, frame: View<3>) -> Result<Option<Seen>, EngineError>;

    /// The class of each pixel of `input`, the square around the face at the parser's size. `square`: where it lies in the frame.
    fn parse(&mut self, input: View<3>, square: Rect, seen: &Seen) -> Result<Plane, EngineError>;
}

/// The box's rule of an act's options.
pub fn box_rule(options: &Options) -> BoxRule {
    match options.version {
        Version::V1 => BoxRule::v1(options.bbox_shift),
        Version::V15 => BoxRule::v15(options.extra_margin),
    }
}

/// A face that was asked for by its number is in the first frame that shows any, or the number is wrong.
fn chosen(choice: Choice, faces: usize) -> Result<(), EngineError> {
    match choice {
        Choice::Nth(n) if faces > 0 && n as usize > faces => Err(contract::Complaint::new(
            "bad_setting",
            format!("face is {n}, and {faces} were found in the first frame that shows any"),
            "choose one of them, counted from the left, or leave `face` out",
        )
        .into()),
        Choice::Nth(_) | Choice::Main => Ok(()),
    }
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError::Failed(format!("looking for the face: {error}"))
}

/// What the options ask for.
pub fn open(nets: &crate::checkpoints::Nets, options: &Options) -> Result<Box<dyn Sight>, EngineError> {
    let rule = box_rule(options);
    Ok(match (options.detector, options.profile) {
        (DetectorKind::Face, _) => Box::new(Classical::new(rule, options.face)),
        (DetectorKind::Official, Profile::Default) => {
            Box::new(Refined::new(nets.face()?, nets.device().clone(), (rule, options.face)))
        }
        (DetectorKind::Official, Profile::Strict | Profile::Classic) => {
            if options.face != Choice::Main {
                return Err(contract::Complaint::new(
                    "bad_setting",
                    format!(
                        "a face was chosen, and the profile is {}, which knows one face",
                        options.profile.name()
                    ),
                    "leave `face` out, or set profile=default",
                )
                .into());
            }
            Box::new(Official::new(nets.face()?, nets.device().clone(), rule))
        }
    })
}
