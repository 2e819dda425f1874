//! What is found out of a frame once, and used each time it is shown: where the face is, through which mask it comes back, and its latents.
//! `Maker` makes it; `pack` is its form in memory and in an avatar's file.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use contract::{Complaint, EngineError};

use crate::checkpoints::Encoder;
use crate::face_crop::{FaceCropper, SIDE, to_masked_numbers, to_numbers};
use crate::generator::LATENTS;
use crate::mask::{MaskMaker, MaskRule, SoftMask};
use crate::sight::{Seen, Sight};
use crate::steady::Placed;
use pictures::{Plane, Rect, View};

/// Narrowest face, and so the smallest frame, px: the detector halves its picture five times.
pub const MIN_FACE: u32 = 32;

/// Everything about one face in one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Material {
    /// The face's box in the frame, which it may leave.
    pub place: Rect,
    pub mask: SoftMask,
    /// (32, 32, 8): of the masked face, then of the face.
    pub latents: Arc<[f32]>,
}

pub struct Maker {
    sight: Box<dyn Sight>,
    encoder: Arc<Encoder>,
    device: Device,
    masks: MaskMaker,
    cropper: FaceCropper,
    /// Boxes stay inside the frame.
    clipped: bool,
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError::Failed(format!("preparing the face: {error}"))
}

impl Maker {
    /// `clipped`: boxes are cut to the frame; the official code stretches what is left instead.
    pub fn new(
        sight: Box<dyn Sight>,
        (encoder, device): (Arc<Encoder>, Device),
        (rule, clipped): (MaskRule, bool),
    ) -> Result<Self, EngineError> {
        let masks = MaskMaker::new(rule).map_err(failed)?;
        Ok(Self { sight, encoder, device, masks, cropper: FaceCropper::default(), clipped })
    }

    pub fn see(&mut self, frame: View<3>) -> Result<Option<Seen>, EngineError> {
        let (w, h) = frame.size();
        if w.min(h) < MIN_FACE as usize {
            let message = format!("a frame is {w}x{h}, the least for musetalk is {MIN_FACE}x{MIN_FACE}");
            return Err(Complaint::new("picture_too_small", message, "send a larger picture or clip").into());
        }
        self.sight.see(frame)
    }

    /// None where nothing of the face can be made: it is outside the frame, or too small.
    pub fn make(&mut self, frame: View<3>, placed: &Placed) -> Result<Option<Material>, EngineError> {
        let (w, h) = frame.size();
        let mut place = placed.seen.place();
        if self.clipped {
            place = place.meet(&Rect::new(0, 0, w as i32, h as i32));
        }
        let Ok(square) = self.masks.rule().square(place) else { return Ok(None) };
        let Some(face) = self.cropper.crop(frame, place) else { return Ok(None) };
        let latents = self.encoder.latents(face, &self.device).map_err(failed)?;
        let input = self.masks.parser_input(frame, place).map_err(failed)?;
        let labels = self.sight.parse(input, square, &placed.seen)?;
        let mask = self.masks.make(labels.view(), place).map_err(failed)?;
        let mask = faded(mask, placed.weight)?;
        Ok(mask.trimmed(place, (w, h)).map(|mask| Material { place, mask, latents: latents.into() }))
    }
}

fn faded(mask: SoftMask, weight: f32) -> Result<SoftMask, EngineError> {
    if weight >= 1.0 {
        return Ok(mask);
    }
    let size = mask.alpha().size();
    let alpha = mask.alpha().bytes().iter().map(|&alpha| (f32::from(alpha) * weight).round() as u8).collect();
    SoftMask::new(mask.area(), Plane::new(alpha, size).map_err(failed)?).map_err(failed)
}

impl Encoder {
    /// face: `SIDE` x `SIDE` in RGB -> (32, 32, 8). The mean of the posterior, which the weights were trained with; the official code takes a
    /// random sample of it.
    pub fn latents(&self, face: View<3>, device: &Device) -> candle_core::Result<Vec<f32>> {
        let mut values = vec![0.0; 2 * SIDE * SIDE * 3];
        let (masked, whole) = values.split_at_mut(SIDE * SIDE * 3);
        to_masked_numbers(face, masked);
        to_numbers(face, whole);
        let both = Tensor::from_vec(values, (2, SIDE, SIDE, 3), device)?;
        let mean = (self.encode(&both)? * self.scaling)?; // (2, 32, 32, 4)
        let both = Tensor::cat(&[mean.get(0)?, mean.get(1)?], 2)?; // (32, 32, 8)
        both.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
    }

    /// x: (2, 256, 256, 3) -> (2, 32, 32, 4), one after the other on a CPU, which one keeps busy
    fn encode(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        if !x.device().is_cpu() {
            return Ok(self.net.forward(x)?.mean);
        }
        let one = |i: usize| self.net.forward(&x.narrow(0, i, 1)?).map(|posterior| posterior.mean);
        Tensor::cat(&[one(0)?, one(1)?], 0)
    }
}

/// First of a packed frame: whether there is a face.
const WITHOUT: u8 = 0;
const WITH: u8 = 1;

/// Little-endian: a byte that says whether there is a face, its box and its mask's area (8 i32), the latents (f32), the length of the packed mask
/// (u32) and the mask (LZ4 block).
pub fn pack(material: Option<&Material>) -> Vec<u8> {
    let Some(Material { place, mask, latents }) = material else { return vec![WITHOUT] };
    let mut bytes = vec![WITH];
    for Rect { x1, y1, x2, y2 } in [*place, mask.area()] {
        [x1, y1, x2, y2].iter().for_each(|edge| bytes.extend(edge.to_le_bytes()));
    }
    latents.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    let mask = lz4_flex::compress(mask.alpha().bytes());
    bytes.extend((mask.len() as u32).to_le_bytes());
    bytes.extend(mask);
    bytes
}

/// What `pack` made, from the front of `bytes`; the rest is left there. None: it is no such thing.
pub fn unpack(bytes: &mut &[u8]) -> Option<Option<Material>> {
    match *bytes.split_off_first()? {
        WITHOUT => return Some(None),
        WITH => {}
        _ => return None,
    }
    let mut rect = || {
        let mut edge = || Some(i32::from_le_bytes(bytes.split_off(..4)?.try_into().ok()?));
        Some(Rect::new(edge()?, edge()?, edge()?, edge()?))
    };
    let (place, area) = (rect()?, rect()?);
    let latents = bytes.split_off(..4 * LATENTS)?.as_chunks::<4>().0;
    let latents: Vec<f32> = latents.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let packed = u32::from_le_bytes(bytes.split_off(..4)?.try_into().ok()?);
    let packed = bytes.split_off(..packed as usize)?;
    let side =
        |length: i32| usize::try_from(length).ok().filter(|side| (1..=pictures::LONGEST).contains(side));
    let size = (side(area.x2.checked_sub(area.x1)?)?, side(area.y2.checked_sub(area.y1)?)?);
    let alpha = lz4_flex::decompress(packed, size.0 * size.1).ok()?;
    let mask = SoftMask::new(area, Plane::new(alpha, size).ok()?).ok()?;
    latents.iter().all(|value| value.is_finite()).then_some(())?;
    Some(Some(Material { place, mask, latents: latents.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn material() -> Material {
        let alpha = (0..60).map(|i| if i < 30 { 0 } else { i as u8 * 4 }).collect();
        let mask = SoftMask::new(Rect::new(-2, 5, 8, 11), Plane::new(alpha, (10, 6)).unwrap()).unwrap();
        let latents: Vec<f32> = (0..LATENTS).map(|i| i as f32 / 7.0 - 300.0).collect();
        Material { place: Rect::new(-1, 2, 30, 40), mask, latents: latents.into() }
    }

    #[test]
    fn what_was_packed_comes_back() {
        let packed = [pack(Some(&material())), pack(None), pack(Some(&material()))].concat();
        let mut bytes = &packed[..];
        assert_eq!(unpack(&mut bytes), Some(Some(material())));
        assert_eq!(unpack(&mut bytes), Some(None));
        assert_eq!(unpack(&mut bytes), Some(Some(material())));
        assert!(bytes.is_empty());
    }

    #[test]
    fn what_is_damaged_is_none() {
        let packed = pack(Some(&material()));
        for end in [0, 1, 20, 40, 4 * LATENTS, packed.len() - 1] {
            assert_eq!(unpack(&mut &packed[..end]), None, "{end}");
        }
        let mut other = packed.clone();
        other[0] = 7;
        assert_eq!(unpack(&mut &other[..]), None);
        let mut narrow = packed;
        narrow[1 + 16 + 8..1 + 16 + 12].copy_from_slice(&i32::MAX.to_le_bytes());
        assert_eq!(unpack(&mut &narrow[..]), None, "a mask of another size");
    }

    #[test]
    fn mutated_material_is_none_or_whole() {
        let packed = [pack(Some(&material())), pack(None), pack(Some(&material()))].concat();
        for mut dice in damage::rounds(2000) {
            let damaged = damage::bytes(&packed, &mut dice);
            let mut bytes = &damaged[..];
            while let Some(unpacked) = unpack(&mut bytes) {
                let Some(Material { mask, latents, .. }) = unpacked else { continue };
                assert_eq!(latents.len(), LATENTS);
                let (width, height) = mask.alpha().size();
                assert_eq!(mask.alpha().bytes().len(), width * height);
            }
        }
    }

    #[test]
    fn a_face_that_fades_shows_less_of_itself() {
        let faded = faded(material().mask, 0.5).unwrap();
        let half = material()
            .mask
            .alpha()
            .bytes()
            .iter()
            .map(|&a| (f32::from(a) / 2.0).round() as u8)
            .collect::<Vec<_>>();
        assert_eq!(faded.alpha().bytes(), half);
    }
}
