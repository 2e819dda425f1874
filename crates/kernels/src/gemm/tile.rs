//! The micro-kernel: up to 6 rows times one panel, sums held in registers. Written once; f32 and bf16 differ in how many
//! values of k a step takes.

use crate::isa::Op;
use crate::memory::Plain;
use crate::simd::Simd;

/// Rows a tile holds at once: 6 x 4 vectors of AVX-512 leave 8 registers for A and B, 6 x 2 of AVX2 leave 4.
pub(crate) const ROWS: usize = 6;

/// What a product multiplies. `u16` is bf16, two values a step.
pub(crate) trait Element: Plain + Default {
    const STEP: usize;
    type Reg<S: Simd>: Copy;

    /// # Safety
    /// `STEP * LANES` values lie at p.
    unsafe fn load<S: Simd>(p: *const Self) -> Self::Reg<S>;
    /// # Safety
    /// `STEP` values lie at p.
    unsafe fn splat<S: Simd>(p: *const Self) -> Self::Reg<S>;
    /// # Safety
    /// The instructions of `S` are enabled.
    unsafe fn multiply<S: Simd>(acc: S::V, a: Self::Reg<S>, b: Self::Reg<S>) -> S::V;
}

impl Element for f32 {
    const STEP: usize = 1;
    type Reg<S: Simd> = S::V;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const f32) -> S::V {
        // SAFETY: the trait's.
        unsafe { S::load(p) }
    }
    #[inline(always)]
    unsafe fn splat<S: Simd>(p: *const f32) -> S::V {
        // SAFETY: the trait's.
        unsafe { S::splat(*p) }
    }
    #[inline(always)]
    unsafe fn multiply<S: Simd>(acc: S::V, a: S::V, b: S::V) -> S::V {
        // SAFETY: the trait's.
        unsafe { S::fma(a, b, acc) }
    }
}

impl Element for u16 {
    const STEP: usize = 2;
    type Reg<S: Simd> = S::P;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u16) -> S::P {
        // SAFETY: the trait's.
        unsafe { S::load_pairs(p) }
    }
    #[inline(always)]
    unsafe fn splat<S: Simd>(p: *const u16) -> S::P {
        // SAFETY: the trait's.
        unsafe { S::splat_pair(p) }
    }
    #[inline(always)]
    unsafe fn multiply<S: Simd>(acc: S::V, a: S::P, b: S::P) -> S::V {
        // SAFETY: the trait's.
        unsafe { S::dot_pairs(acc, a, b) }
    }
}

/// Where the rows of A begin, in elements after `a`.
#[derive(Clone, Copy)]
pub(crate) enum RowStarts<'a> {
    Every(usize),
    At(&'a [u32]),
}

/// Where a sum starts.
#[derive(Clone, Copy)]
pub(crate) enum Init {
    Zero,
    /// rows of C's shape, this many values apart; may be C itself
    Rows(*const f32, usize),
}

/// C (rows, columns of one panel) = init + bias + A B. A row of A is `segments` runs of `len` values, `segment_stride` apart.
///
/// # Safety (of running it)
/// All of A's runs, `segments * len` rows of the panel at `b`, the panel's columns of C's rows, of init's rows and of the bias
/// are valid; C is written by nobody else.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a, E> {
    pub rows: usize,
    pub a: *const E,
    pub starts: RowStarts<'a>,
    pub segments: usize,
    pub segment_stride: usize,
    /// multiple of `STEP`
    pub len: usize,
    pub b: *const E,
    /// vectors in the panel
    pub vectors: usize,
    /// lanes of the last vector that are columns of C
    pub last: usize,
    pub c: *mut f32,
    pub c_stride: usize,
    pub init: Init,
    /// null: none
    pub bias: *const f32,
    /// panel that the next block multiplies, fetched from memory meanwhile; null: unknown
    pub next: *const E,
}

impl<E: Element> Op for Block<'_, E> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: a panel has at most COLS vectors; the rest is the struct's promise.
        unsafe {
            match self.vectors {
                1 => all_rows::<S, E, 1>(&self),
                2 if S::COLS >= 2 => all_rows::<S, E, 2>(&self),
                3 if S::COLS >= 3 => all_rows::<S, E, 3>(&self),
                4 if S::COLS >= 4 => all_rows::<S, E, 4>(&self),
                n => unreachable!("a panel of {n} vectors was never packed"),
            }
        }
    }
}

/// Steps of k between two rounds of prefetching: one line of each row of f32.
const ROUND: usize = 16;

#[inline(always)]
unsafe fn all_rows<S: Simd, E: Element, const N: usize>(block: &Block<E>) {
    let rounds = block.segments * (block.len / E::STEP).div_ceil(ROUND);
    let panel_lines = (block.segments * block.len * N * S::LANES * size_of::<E>()).div_ceil(64);
    // every round of every tile asks for its share of the next panel: bursts would wait for each other
    let lines =
        if block.next.is_null() { 0 } else { panel_lines.div_ceil(rounds * block.rows.div_ceil(ROWS)) };
    let mut ahead = Ahead { next: block.next.cast(), lines, rows: 0 };
    // who knows the next panel streams; elsewhere rows lie in the cache already
    if let (RowStarts::Every(stride), false) = (block.starts, block.next.is_null()) {
        ahead.rows = ROWS * stride;
    }
    let mut row = 0;
    // SAFETY: row + R <= rows.
    unsafe {
        while row + ROWS <= block.rows {
            tile::<S, E, ROWS, N>(block, row, ahead);
            ahead.next = ahead.next.wrapping_add(rounds * lines * 64);
            row += ROWS;
        }
        match block.rows - row {
            1 => tile::<S, E, 1, N>(block, row, ahead),
            2 => tile::<S, E, 2, N>(block, row, ahead),
            3 => tile::<S, E, 3, N>(block, row, ahead),
            4 => tile::<S, E, 4, N>(block, row, ahead),
            5 => tile::<S, E, 5, N>(block, row, ahead),
            _ => {}
        }
    }
}

/// What a tile asks memory for while it multiplies.
#[derive(Clone, Copy)]
struct Ahead {
    /// part of the next panel
    next: *const u8,
    /// its lines a round
    lines: usize,
    /// distance of the next tile's rows, in elements; 0: unknown
    rows: usize,
}

#[inline(always)]
unsafe fn tile<S: Simd, E: Element, const R: usize, const N: usize>(
    block: &Block<E>,
    row: usize,
    ahead: Ahead,
) {
    // SAFETY: rows row..row + R and N vectors are valid by the block's promise; whole vectors are touched only where the
    // panel's columns fill them.
    unsafe {
        let whole = block.last == S::LANES;
        let mut acc = [[S::splat(0.0); N]; R];
        if let Init::Rows(p, stride) = block.init {
            for i in 0..R {
                for j in 0..N {
                    let p = p.add((row + i) * stride + j * S::LANES);
                    acc[i][j] = if j + 1 < N || whole { S::load(p) } else { S::load_part(p, block.last) };
                }
            }
        }
        if !block.bias.is_null() {
            for j in 0..N {
                let p = block.bias.add(j * S::LANES);
                let bias = if j + 1 < N || whole { S::load(p) } else { S::load_part(p, block.last) };
                for i in 0..R {
                    acc[i][j] = S::add(acc[i][j], bias);
                }
            }
        }
        let mut a = [block.a; R];
        for i in 0..R {
            a[i] = block.a.add(match block.starts {
                RowStarts::Every(stride) => (row + i) * stride,
                RowStarts::At(starts) => *starts.get_unchecked(row + i) as usize,
            });
        }
        let mut b = block.b;
        let mut next = ahead.next;
        let mut c = block.c.wrapping_add((row + R) * block.c_stride);
        for _ in 0..block.segments {
            let mut k = 0;
            while k < block.len {
                let stop = (k + ROUND * E::STEP).min(block.len);
                if ahead.rows > 0 {
                    for i in 0..R {
                        S::prefetch(a[i].wrapping_add(k + ahead.rows).cast());
                    }
                    // a row of the next tile's sums each round
                    for j in 0..N {
                        S::prefetch(c.wrapping_add(j * S::LANES).cast());
                    }
                    c = c.wrapping_add(block.c_stride);
                }
                // one each step, what is more at once: memory answers only so many at a time, and sums would wait for a burst
                let mut each_step = ahead.lines.min(ROUND);
                for _ in each_step..ahead.lines {
                    S::prefetch(next);
                    next = next.wrapping_add(64);
                }
                while k < stop {
                    let mut bv = [E::load::<S>(b); N];
                    for j in 1..N {
                        bv[j] = E::load::<S>(b.add(j * S::LANES * E::STEP));
                    }
                    for i in 0..R {
                        let av = E::splat::<S>(a[i].add(k));
                        for j in 0..N {
                            acc[i][j] = E::multiply::<S>(acc[i][j], av, bv[j]);
                        }
                    }
                    b = b.add(N * S::LANES * E::STEP);
                    k += E::STEP;
                    if each_step > 0 {
                        S::prefetch(next);
                        next = next.wrapping_add(64);
                        each_step -= 1;
                    }
                }
            }
            for i in 0..R {
                a[i] = a[i].wrapping_add(block.segment_stride);
            }
        }
        for i in 0..R {
            for j in 0..N {
                let p = block.c.add((row + i) * block.c_stride + j * S::LANES);
                if j + 1 < N || whole {
                    S::store(p, acc[i][j])
                } else {
                    S::store_part(p, acc[i][j], block.last)
                }
            }
        }
    }
}
