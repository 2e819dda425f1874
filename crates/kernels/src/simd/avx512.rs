//! AVX-512: 16 lanes, 32 registers. `BF16` says whether `vdpbf16ps` may be used; without it pairs are widened.

use super::Simd;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx512<const BF16: bool>;

/// Lanes below n.
#[inline(always)]
fn mask(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

// SAFETY of every block below: the AVX-512 sets named in `isa.rs` are enabled where these functions are inlined, and the
// trait states what lies behind a pointer.
impl<const BF16: bool> Simd for Avx512<BF16> {
    type V = __m512;
    type P = __m512i;
    const LANES: usize = 16;
    const COLS: usize = 4;

    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m512) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn stream(p: *mut f32, v: Self::V) {
        // SAFETY: see above.
        unsafe { _mm512_stream_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn fence() {
        // SAFETY: see above.
        unsafe { _mm_sfence() }
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> __m512 {
        // SAFETY: see above; lanes outside the mask are not read.
        unsafe { _mm512_maskz_loadu_ps(mask(n), p) }
    }
    #[inline(always)]
    unsafe fn store_part(p: *mut f32, v: __m512, n: usize) {
        // SAFETY: see above; lanes outside the mask are not written.
        unsafe { _mm512_mask_storeu_ps(p, mask(n), v) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn fnma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn power(t: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(t))) }
    }
    #[inline(always)]
    unsafe fn transpose(
        (from, stride): (*const f32, usize),
        (rows, columns): (usize, usize),
        (to, to_stride): (*mut f32, usize),
    ) {
        // SAFETY: see above; only rows and columns that exist are read and written.
        unsafe {
            let mut r = [_mm512_setzero_ps(); 16];
            for i in 0..16 {
                if i < rows {
                    r[i] = Self::load_part(from.add(i * stride), columns);
                }
            }
            // pairs, then fours of rows within each quarter: f[4 g + c] holds columns c, 4 + c, 8 + c, 12 + c of rows 4 g to 4 g + 3
            let mut f = [_mm512_setzero_ps(); 16];
            for g in [0, 4, 8, 12] {
                let (a, b) = (_mm512_unpacklo_ps(r[g], r[g + 1]), _mm512_unpackhi_ps(r[g], r[g + 1]));
                let (c, d) = (_mm512_unpacklo_ps(r[g + 2], r[g + 3]), _mm512_unpackhi_ps(r[g + 2], r[g + 3]));
                f[g] = _mm512_shuffle_ps::<0x44>(a, c);
                f[g + 1] = _mm512_shuffle_ps::<0xee>(a, c);
                f[g + 2] = _mm512_shuffle_ps::<0x44>(b, d);
                f[g + 3] = _mm512_shuffle_ps::<0xee>(b, d);
            }
            // quarters: even ones first, odd ones second
            let mut t = [_mm512_setzero_ps(); 16];
            for c in 0..4 {
                let even = _mm512_shuffle_f32x4::<0x88>(f[c], f[4 + c]);
                let odd = _mm512_shuffle_f32x4::<0xdd>(f[c], f[4 + c]);
                let even2 = _mm512_shuffle_f32x4::<0x88>(f[8 + c], f[12 + c]);
                let odd2 = _mm512_shuffle_f32x4::<0xdd>(f[8 + c], f[12 + c]);
                t[c] = _mm512_shuffle_f32x4::<0x88>(even, even2);
                t[4 + c] = _mm512_shuffle_f32x4::<0x88>(odd, odd2);
                t[8 + c] = _mm512_shuffle_f32x4::<0xdd>(even, even2);
                t[12 + c] = _mm512_shuffle_f32x4::<0xdd>(odd, odd2);
            }
            for j in 0..16 {
                if j < columns {
                    Self::store(to.add(j * to_stride), t[j]);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn swap(v: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_permute_ps::<0xb1>(v) }
    }
    #[inline(always)]
    unsafe fn sum(v: __m512) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_add_ps(v) }
    }
    #[inline(always)]
    unsafe fn highest(v: __m512) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_max_ps(v) }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, v: __m512) {
        // by integers also where `vcvtneps2bf16` exists: that one flushes denormals, and all sets are to agree
        // SAFETY: see above.
        unsafe {
            let bits = _mm512_castps_si512(v);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            let quiet = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x0040_0000));
            _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(quiet)));
        }
    }
    #[inline(always)]
    unsafe fn load_pairs(p: *const u16) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_pair(p: *const u16) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn low(p: __m512i) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(p)) }
    }
    #[inline(always)]
    unsafe fn high(p: __m512i) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_castsi512_ps(_mm512_and_si512(p, _mm512_set1_epi32(0xffff_0000u32 as i32))) }
    }
    #[inline(always)]
    unsafe fn dot_pairs(acc: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: see above; `vdpbf16ps` only where BF16 says that it is enabled.
        unsafe {
            if BF16 {
                let (a, b) = (
                    std::mem::transmute::<__m512i, __m512bh>(a),
                    std::mem::transmute::<__m512i, __m512bh>(b),
                );
                _mm512_dpbf16_ps(acc, a, b)
            } else {
                Self::fma(Self::high(a), Self::high(b), Self::fma(Self::low(a), Self::low(b), acc))
            }
        }
    }
}
