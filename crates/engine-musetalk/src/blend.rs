//! Lays a face over its frame through its soft mask: `cv2.resize` to the box and Pillow's `paste`, rounded as Pillow does, row by row and only
//! where the mask, the box and the frame meet. The pre-1.5 tree's realtime path blends with `cv2.blendLinear` instead, whose result is one
//! less in 0.03 % of all cases; it is not repeated here.

use crate::mask::SoftMask;
use pictures::linear::Linear;
use pictures::{Level, Rect, View, ViewMut, leveled};

/// Tables and rows for pasting; after the first paste of a size it allocates nothing.
#[derive(Debug)]
pub struct Paster {
    level: Level,
    linear: Linear,
    /// A row of the mask, once for each channel.
    spread: Vec<u8>,
}

impl Default for Paster {
    fn default() -> Self {
        Self::new(Level::best())
    }
}

impl Paster {
    pub(crate) fn new(level: Level) -> Self {
        Self { level, linear: Linear::new(level), spread: Vec::new() }
    }

    /// face: of any size, brought to that of `place`, the face's box in the frame, which may leave it
    pub fn paste(&mut self, frame: &mut ViewMut<3>, face: View<3>, place: Rect, mask: &SoftMask) {
        let window = place.meet(&mask.area()).meet(&Rect::of(frame.size()));
        if window.is_empty() {
            return;
        }
        let size = (place.width() as usize, place.height() as usize);
        let alpha = mask.alpha().view();
        let in_mask = window.seen_from((mask.area().x1, mask.area().y1));
        let in_face = window.seen_from((place.x1, place.y1));
        let columns = |part: Rect, channels: usize| part.x1 as usize * channels..part.x2 as usize * channels;
        let (level, spread) = (self.level, &mut self.spread);
        spread.resize(window.width() as usize * 3, 0);
        self.linear.rows(face, size, in_face, |y, row| {
            let down = y - in_face.y1 as usize;
            let alpha = &alpha.row(in_mask.y1 as usize + down)[columns(in_mask, 1)];
            for (spread, &alpha) in spread.as_chunks_mut::<3>().0.iter_mut().zip(alpha) {
                *spread = [alpha; 3];
            }
            let frame = &mut frame.row_mut(window.y1 as usize + down)[columns(window, 3)];
            blend(level, frame, row, spread);
        });
    }
}

leveled! {
    /// A 255th of `frame (255 - alpha) + face alpha`, rounded, without a division.
    fn blend(frame: &mut [u8], face: &[u8], alpha: &[u8]) {
        for (frame, (&face, &alpha)) in frame.iter_mut().zip(face.iter().zip(alpha)) {
            let [under, over, alpha] = [*frame, face, alpha].map(u16::from);
            let sum = under * (255 - alpha) + over * alpha + 128;
            *frame = ((sum + (sum >> 8)) >> 8) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::noise;
    use pictures::{Plane, Rgb};

    fn resized(face: &Rgb, place: Rect) -> Rgb {
        let mut out = Rgb::blank((place.width() as usize, place.height() as usize)).unwrap();
        Linear::default().resize(face.view(), &mut out.view_mut());
        out
    }

    #[test]
    fn a_blend_is_rounded_to_the_nearest() {
        for alpha in 0..=255u8 {
            for under in 0..=255u8 {
                let over: Vec<u8> = (0..=255).collect();
                for level in [Level::PORTABLE, Level::best()] {
                    let mut frame = vec![under; 256];
                    blend(level, &mut frame, &over, &[alpha; 256]);
                    let (under, alpha) = (f64::from(under), f64::from(alpha));
                    let exact = |over: usize| (under * (255.0 - alpha) + over as f64 * alpha) / 255.0;
                    assert!((0..256).all(|i| f64::from(frame[i]) == exact(i).round()), "{under} {alpha}");
                }
            }
        }
    }

    #[test]
    fn every_place_gives_the_plain_blend() {
        let (size, face) = ((60, 50), noise::<3>((16, 16), 1));
        let places = [
            Rect::new(10, 10, 42, 47),
            Rect::new(-20, -9, 12, 12),
            Rect::new(44, 30, 90, 51),
            Rect::new(59, 49, 60, 50),
            Rect::new(-50, -50, 200, 150),
            Rect::new(0, 0, 60, 50),
            Rect::new(20, 20, 28, 28), // half of the face
            Rect::new(60, 0, 70, 10),
            Rect::new(-10, 0, 0, 10),
            Rect::new(5, 5, 5, 9),
        ];
        let areas = [
            Rect::new(0, 0, 60, 50),
            Rect::new(-7, 12, 33, 80),
            Rect::new(30, -3, 90, 31),
            Rect::new(2, 2, 3, 3),
        ];
        let mut paster = Paster::default();
        for (i, (place, area)) in places.iter().flat_map(|p| areas.iter().map(move |a| (*p, *a))).enumerate()
        {
            let alpha: Plane = noise((area.width() as usize, area.height() as usize), i as u64);
            let mask = SoftMask::new(area, alpha).unwrap();
            let before: Rgb = noise(size, 99);
            let mut expect = before.clone();
            let window = place.meet(&area).meet(&Rect::of(size));
            if !window.is_empty() {
                let face = resized(&face, place);
                for y in window.y1..window.y2 {
                    for x in window.x1..window.x2 {
                        let alpha = mask.alpha().view().row((y - area.y1) as usize)[(x - area.x1) as usize];
                        for c in 0..3 {
                            let over =
                                face.view().row((y - place.y1) as usize)[(x - place.x1) as usize * 3 + c];
                            let mut view = expect.view_mut();
                            let under = &mut view.row_mut(y as usize)[x as usize * 3 + c];
                            let sum = u32::from(*under) * (255 - u32::from(alpha))
                                + u32::from(over) * u32::from(alpha);
                            *under = ((2 * sum + 255) / 510) as u8;
                        }
                    }
                }
            }
            let paste = |paster: &mut Paster, mask: &SoftMask| {
                let mut frame = before.clone();
                paster.paste(&mut frame.view_mut(), face.view(), place, mask);
                frame
            };
            assert_eq!(paste(&mut paster, &mask), expect, "{place:?} {area:?}");
            assert_eq!(paste(&mut Paster::new(Level::PORTABLE), &mask), expect, "{place:?} {area:?}");
            let trimmed = mask.trimmed(place, size);
            let pasted = trimmed.map_or(before.clone(), |mask| paste(&mut paster, &mask));
            assert_eq!(pasted, expect, "trimmed, {place:?} {area:?}");
        }
    }
}
