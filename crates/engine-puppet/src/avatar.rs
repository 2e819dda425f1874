//! Makes an avatar: finds the face and follows it through every frame, once for all takes.

use contract::{EngineError, FrameSource};

use crate::clip::Follower;
use crate::search::first_face;
use crate::track::{Kind, Place, Track};

/// `source` ends: a picture after one frame, a clip after its last.
pub fn measure(source: &mut dyn FrameSource) -> Result<Track, EngineError> {
    let format = source.format();
    let kind = if format.fps.is_some() { Kind::Clip } else { Kind::Picture };
    let (first, found) = first_face(source, None, kind)?;
    // what comes before the face is shown when the clip runs backwards; nothing is done to it
    let before = Place { seen: false, face: found.face.clone() };
    let mut places = vec![before; found.left_out as usize];
    places.push(Place { seen: true, face: found.face.clone() });
    if kind == Kind::Clip {
        let mut follower = Follower::tracker(&first, found.face);
        while let Some(frame) = source.next()? {
            let (face, seen) = follower.follow(&frame);
            places.push(Place { seen, face });
        }
    }
    let (others, left_out) = (found.others, found.left_out as u32);
    Ok(Track { kind, size: format.size, others, left_out, report: found.report, places })
}
