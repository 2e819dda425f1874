//! Pictures for tests.

use pictures::Picture;

/// Bytes without a pattern, another one for each seed.
pub(crate) fn noise<const C: usize>((width, height): (usize, usize), seed: u64) -> Picture<C> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes = (0..width * height * C).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    Picture::new(bytes.collect(), (width, height)).unwrap()
}
