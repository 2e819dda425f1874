//! Memory that starts at a cache line, and the store of buffers that calls borrow instead of allocating.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

/// One cache line; also the widest vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A kind of number that any bit pattern is a valid value of.
///
/// # Safety
/// Implementors must be plain numbers of at most 64 bytes alignment without invalid bit patterns.
pub(crate) unsafe trait Plain: Copy + Send + Sync + 'static {}
// SAFETY: plain numbers; every bit pattern is valid.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for i8 {}

/// From this size on memory is asked for in large pages: the first touch of 2 MiB costs one fault instead of 512.
const LARGE: usize = 8 << 20;

/// Room for a result: a kernel writes every value before anyone reads one, so nobody needs zeros there. What the values are until
/// then is left over from earlier ones. In large pages where the system gives them on request.
pub fn room(len: usize) -> Vec<f32> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        let mut values = Vec::with_capacity(len);
        // SAFETY: for all that the compiler may know the instruction writes values of its choice to the memory it is handed,
        // `len` of them, and every bit pattern is one of an f32.
        unsafe {
            std::arch::asm!("/* {} */", in(reg) values.as_mut_ptr(), options(nostack, preserves_flags));
            values.set_len(len);
        }
        ask_for_large_pages(&mut values);
        values
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    vec![0f32; len]
}

/// From this size on a result goes past the caches: it would fall out of them before anyone reads it, and what lay there before
/// need not be fetched. At 33 MB that doubled the speed of writing, at 16 MB the reader paid for it.
const STREAMED: usize = 24 << 20;

/// Whether a result of `len` values at `to` is written past the caches; only whole lines can be.
pub(crate) fn is_streamed(len: usize, to: *const f32) -> bool {
    len * size_of::<f32>() >= STREAMED && to.addr().is_multiple_of(64)
}

/// Without effect where the system has no such pages.
#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages<T>(_: &mut [T]) {}

#[cfg(target_os = "linux")]
fn ask_for_large_pages<T>(values: &mut [T]) {
    const PAGE: usize = 4096;
    let bytes = size_of_val(values);
    if bytes >= LARGE {
        let start = values.as_mut_ptr().cast::<u8>();
        let skip = start.align_offset(PAGE);
        // SAFETY: whole pages within memory that is borrowed mutably here; the advice changes none of their values. Refused, it
        // changes nothing at all, so the answer does not matter.
        unsafe {
            libc::madvise(start.add(skip).cast(), (bytes - skip) / PAGE * PAGE, libc::MADV_HUGEPAGE);
        }
    }
}

/// A vector of numbers whose first byte lies at a cache line.
pub(crate) struct Aligned<T: Plain> {
    lines: Vec<Line>,
    len: usize,
    kind: std::marker::PhantomData<T>,
}

impl<T: Plain> Aligned<T> {
    pub fn zeros(len: usize) -> Self {
        let mut lines = vec![Line([0; 64]); (len * size_of::<T>()).div_ceil(64)];
        ask_for_large_pages(&mut lines);
        Self { lines, len, kind: std::marker::PhantomData }
    }

    pub fn bytes(&self) -> usize {
        self.lines.len() * 64
    }
}

impl<T: Plain> Deref for Aligned<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `lines` holds at least `len * size_of::<T>()` initialised bytes at 64-byte alignment, and T is `Plain`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// Buffers that were used and can be used again. What a buffer holds when it is taken is left over from earlier calls.
pub(crate) struct Scratch {
    free: Mutex<Vec<Vec<Line>>>,
}

/// Buffers kept at most; more are freed on return.
const KEPT: usize = 64;

impl Scratch {
    pub fn new() -> Self {
        Self { free: Mutex::new(Vec::new()) }
    }

    /// A buffer of `len` numbers with unspecified (but initialised) contents: the smallest free one that is large enough.
    pub fn take<T: Plain>(&self, len: usize) -> Borrowed<'_, T> {
        let need = (len * size_of::<T>()).div_ceil(64);
        let mut free = self.lock();
        let fit = (0..free.len()).filter(|&i| free[i].len() >= need).min_by_key(|&i| free[i].len());
        let lines = match fit {
            Some(i) => free.swap_remove(i),
            None => {
                // grow the largest: otherwise a slowly growing shape would leave a trail of buffers too small to use
                let largest = (0..free.len()).max_by_key(|&i| free[i].len());
                drop(largest.map(|i| free.swap_remove(i)));
                drop(free);
                vec![Line([0; 64]); need]
            }
        };
        Borrowed { home: self, buffer: Aligned { lines, len, kind: std::marker::PhantomData } }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<Line>>> {
        // a panic elsewhere cannot leave a list of buffers half-changed
        self.free.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// Frees every buffer that is not in use.
    pub fn clear(&self) {
        self.lock().clear();
    }
}

/// A buffer on loan; it goes back when dropped.
pub(crate) struct Borrowed<'a, T: Plain> {
    home: &'a Scratch,
    buffer: Aligned<T>,
}

impl<T: Plain> Deref for Borrowed<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.buffer
    }
}

impl<T: Plain> DerefMut for Borrowed<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.buffer
    }
}

impl<T: Plain> Drop for Borrowed<'_, T> {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.buffer.lines);
        let mut free = self.home.lock();
        if free.len() < KEPT && !lines.is_empty() {
            free.push(lines);
        }
    }
}

/// A pointer that tasks of one parallel loop share; each writes its own part.
pub(crate) struct Shared<T>(*mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Shared<T> {}
// SAFETY: whoever dereferences it promises (at the place where it does) that tasks touch disjoint parts.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    pub fn ptr(self) -> *mut T {
        self.0
    }
}
