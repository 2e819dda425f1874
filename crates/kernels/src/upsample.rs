//! Nearest-neighbour upsampling by two.

use crate::context::Context;
use crate::conv::geometry::Size;
use crate::error::{Result, check_len, check_positive};
use crate::memory::Shared;

/// x: (n, h, w, c) -> y: (n, 2h, 2w, c)
pub fn upsample2(ctx: &Context, (size, c): (Size, usize), x: &[f32], y: &mut [f32]) -> Result<()> {
    check_positive("channels of a picture", c)?;
    check_len("upsampling input", x.len(), size.pixels() * c)?;
    check_len("upsampling output", y.len(), 4 * x.len())?;
    let row = size.w * c;
    let y = Shared::new(y);
    ctx.parallel(size.n * size.h, |i| {
        // SAFETY: each task has its own two output rows.
        let rows = unsafe { std::slice::from_raw_parts_mut(y.ptr().add(i * 4 * row), 4 * row) };
        let (first, second) = rows.split_at_mut(2 * row);
        for (pixel, pair) in x[i * row..][..row].chunks_exact(c).zip(first.chunks_exact_mut(2 * c)) {
            pair[..c].copy_from_slice(pixel);
            pair[c..].copy_from_slice(pixel);
        }
        second.copy_from_slice(first);
    });
    Ok(())
}
