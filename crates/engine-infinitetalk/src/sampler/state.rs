//! What a take needs to go on behind a finished chunk, as bytes. Noise is a function of the chunk's number and guidance begins anew with each
//! chunk, so this is all.
//!
//! Little-endian: `TALKIECK`; version u32; CRC-32 of what follows u32; number of the next chunk u64; frames of the video u64; seed u64;
//! frames of a chunk, motion frames, width and height in pixels u32 each; shape of the motion's latents 4 u32 (c, t, h, w; zeros when there
//! is no next chunk); number of held frames u32; latents f32; held frames, RGB bytes. Refused: other versions, damage, other sizes.

use candle_core::{Device, Tensor};
use thiserror::Error;

use super::plan::ChunkPlan;

const MAGIC: &[u8; 8] = b"TALKIECK";
const VERSION: u32 = 1;

/// Before what the checksum covers.
const HEAD: usize = 16;

#[derive(Debug, Error)]
pub enum StateError {
    #[error("what was kept of the take is no chunk state: it begins with other bytes")]
    Magic,
    #[error("the chunk state has version {0}, only {VERSION} is known: start the take anew")]
    Version(u32),
    #[error("the chunk state is damaged ({0}): start the take anew")]
    Damaged(&'static str),
    #[error("the chunk state belongs to another take ({0}): start this one anew")]
    OtherTake(&'static str),
}

/// Of the take, to tell it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub frames: u64,
    pub seed: u64,
    pub chunk_frames: u32,
    pub motion_frames: u32,
    pub width: u32,
    pub height: u32,
}

impl Identity {
    pub fn new(plan: &ChunkPlan, seed: u64, (width, height): (usize, usize)) -> Self {
        Self {
            frames: plan.frames(),
            seed,
            chunk_frames: plan.shape().frames() as u32,
            motion_frames: plan.shape().motion() as u32,
            width: width as u32,
            height: height as u32,
        }
    }

    fn frame_bytes(&self) -> usize {
        3 * self.width as usize * self.height as usize
    }
}

#[derive(Clone, Debug)]
pub struct ChunkState {
    pub(super) identity: Identity,
    pub(super) next: u64,
    /// (c, m, h, w), f32, on the host; None behind the last chunk
    pub(super) motion: Option<Tensor>,
    /// The last frames, interleaved RGB bytes.
    pub(super) held: Vec<Vec<u8>>,
}

impl ChunkState {
    /// Number of the chunk that comes next.
    pub fn next(&self) -> u64 {
        self.next
    }

    pub fn to_bytes(&self) -> candle_core::Result<Vec<u8>> {
        let Identity { frames, seed, chunk_frames, motion_frames, width, height } = self.identity;
        let (shape, latents) = match &self.motion {
            Some(motion) => (motion.dims4()?, motion.flatten_all()?.to_vec1::<f32>()?),
            None => ((0, 0, 0, 0), Vec::new()),
        };
        let mut bytes = Vec::new();
        for value in [self.next, frames, seed] {
            bytes.extend(value.to_le_bytes());
        }
        let (c, t, h, w) = shape;
        let shape = [c, t, h, w, self.held.len()].map(|n| n as u32);
        for value in [chunk_frames, motion_frames, width, height].into_iter().chain(shape) {
            bytes.extend(value.to_le_bytes());
        }
        latents.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        self.held.iter().for_each(|frame| bytes.extend(frame));
        let mut whole = MAGIC.to_vec();
        whole.extend(VERSION.to_le_bytes());
        whole.extend(crc32fast::hash(&bytes).to_le_bytes());
        whole.extend(bytes);
        Ok(whole)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        if !bytes.starts_with(MAGIC) {
            return Err(StateError::Magic);
        }
        let (head, body) = bytes.split_at_checked(HEAD).ok_or(StateError::Damaged("it ends in its head"))?;
        let mut head = Reader(&head[MAGIC.len()..]);
        let version = head.u32()?;
        if version != VERSION {
            return Err(StateError::Version(version));
        }
        if head.u32()? != crc32fast::hash(body) {
            return Err(StateError::Damaged("its checksum is wrong"));
        }
        let mut body = Reader(body);
        let [next, frames, seed] = [body.u64()?, body.u64()?, body.u64()?];
        let [chunk_frames, motion_frames, width, height] = body.words()?;
        let identity = Identity { frames, seed, chunk_frames, motion_frames, width, height };
        let shape: [u32; 4] = body.words()?;
        let held = body.u32()? as usize;
        let sizes = StateError::Damaged("its sizes do not fit");
        let values = shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side as usize));
        let latents = values.and_then(|n| n.checked_mul(4)).and_then(|n| body.take(n));
        let frames = held.checked_mul(identity.frame_bytes()).and_then(|n| body.take(n));
        let (Some(latents), Some(frames), true) = (latents, frames, body.0.is_empty()) else {
            return Err(sizes);
        };
        let latents = latents.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect::<Vec<f32>>();
        let motion = (!latents.is_empty())
            .then(|| Tensor::from_vec(latents, &shape.map(|n| n as usize), &Device::Cpu))
            .transpose()
            .map_err(|_| sizes)?;
        let held = frames.chunks_exact(identity.frame_bytes().max(1)).map(<[u8]>::to_vec).collect();
        Ok(Self { identity, next, motion, held })
    }

    /// Whether a take of this identity, with so many frames held over, can go on from here.
    pub(super) fn check(&self, take: &Identity, plan: &ChunkPlan, held: usize) -> Result<(), StateError> {
        if self.identity != *take {
            return Err(StateError::OtherTake("length, size, chunks or seed differ"));
        }
        let (chunks, going_on) = (plan.chunks(), self.next < plan.chunks());
        let motion = self.motion.as_ref().map(|motion| motion.dims()[1]);
        if self.next == 0 || self.next > chunks || motion != going_on.then(|| plan.shape().motion_latents()) {
            return Err(StateError::OtherTake("its next chunk is none of this one"));
        }
        if self.held.len() != if going_on { held } else { 0 } {
            return Err(StateError::OtherTake("another number of frames is held over"));
        }
        Ok(())
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let taken = self.take(N).and_then(|taken| taken.try_into().ok());
        taken.ok_or(StateError::Damaged("it ends too early"))
    }

    fn u32(&mut self) -> Result<u32, StateError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, StateError> {
        self.array().map(u64::from_le_bytes)
    }

    fn words<const N: usize>(&mut self) -> Result<[u32; N], StateError> {
        let mut words = [0; N];
        for word in &mut words {
            *word = self.u32()?;
        }
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::ChunkShape;
    use super::*;

    fn plan() -> ChunkPlan {
        ChunkPlan::new(ChunkShape::new(17, 9).unwrap(), 33, None).unwrap()
    }

    fn state() -> ChunkState {
        let motion: Vec<f32> = (0..16 * 3 * 2).map(|i| i as f32 * 0.25 - 3.0).collect();
        ChunkState {
            identity: Identity::new(&plan(), 42, (16, 8)),
            next: 1,
            motion: Some(Tensor::from_vec(motion, (16, 3, 1, 2), &Device::Cpu).unwrap()),
            held: vec![vec![7; 384], vec![9; 384]],
        }
    }

    #[test]
    fn comes_back_as_it_was() {
        let last = ChunkState { next: 3, motion: None, held: Vec::new(), ..state() };
        for (state, held) in [(state(), 2), (last, 2)] {
            let bytes = state.to_bytes().unwrap();
            let back = ChunkState::from_bytes(&bytes).unwrap();
            back.check(&state.identity, &plan(), held).unwrap();
            assert_eq!(back.to_bytes().unwrap(), bytes);
            assert_eq!((back.next(), &back.held), (state.next, &state.held));
        }
    }

    #[test]
    fn damage_is_told() {
        let bytes = state().to_bytes().unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            assert!(ChunkState::from_bytes(&damaged).is_err(), "byte {at}");
        }
        for end in 0..bytes.len() {
            assert!(ChunkState::from_bytes(&bytes[..end]).is_err(), "{end} bytes");
        }
        // a right checksum over wrong sizes
        for at in HEAD + 24..HEAD + 60 {
            let mut damaged = bytes.clone();
            damaged[at] = 0xFF;
            let sum = crc32fast::hash(&damaged[HEAD..]).to_le_bytes();
            damaged[HEAD - 4..HEAD].copy_from_slice(&sum);
            let told = match ChunkState::from_bytes(&damaged) {
                Ok(state) => state.check(&Identity::new(&plan(), 42, (16, 8)), &plan(), 2).is_err(),
                Err(_) => true,
            };
            assert!(told, "byte {at}");
        }
    }

    #[test]
    fn states_of_other_takes_are_refused() {
        let (state, plan) = (state(), plan());
        let said = |state: &ChunkState, identity: Identity, held| {
            state.check(&identity, &plan, held).unwrap_err().to_string()
        };
        assert!(said(&state, Identity::new(&plan, 43, (16, 8)), 2).contains("seed"));
        assert!(said(&state, Identity::new(&plan, 42, (8, 16)), 2).contains("size"));
        assert!(said(&state, state.identity, 0).contains("held"));
        for next in [0, 3, 4] {
            let other = ChunkState { next, ..state.clone() };
            assert!(said(&other, state.identity, 2).contains("next chunk"), "{next}");
        }
        let mut newer = state.to_bytes().unwrap();
        newer[8] = 2;
        assert!(ChunkState::from_bytes(&newer).unwrap_err().to_string().contains("version 2"));
        assert!(matches!(ChunkState::from_bytes(b"something else"), Err(StateError::Magic)));
    }
}
