//! AVX2 with FMA: 8 lanes, 16 registers.

use super::Simd;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// Lanes below n are all ones.
#[inline(always)]
unsafe fn mask(n: usize) -> __m256i {
    // SAFETY: AVX2 is enabled where this is inlined.
    unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
}

// SAFETY of every block below: AVX2 and FMA are enabled where these functions are inlined, and the trait states what
// lies behind a pointer.
impl Simd for Avx2 {
    type V = __m256;
    type P = __m256i;
    const LANES: usize = 8;
    const COLS: usize = 2;

    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m256) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn stream(p: *mut f32, v: Self::V) {
        // SAFETY: see above.
        unsafe { _mm256_stream_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn fence() {
        // SAFETY: see above.
        unsafe { _mm_sfence() }
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> __m256 {
        // SAFETY: see above; lanes outside the mask are not read.
        unsafe { if n == Self::LANES { Self::load(p) } else { _mm256_maskload_ps(p, mask(n)) } }
    }
    #[inline(always)]
    unsafe fn store_part(p: *mut f32, v: __m256, n: usize) {
        // a store by mask is dozens of instructions inside AMD's cores, and most parts are whole
        // SAFETY: see above; lanes outside the mask are not written.
        unsafe { if n == Self::LANES { Self::store(p, v) } else { _mm256_maskstore_ps(p, mask(n), v) } }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn fnma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn power(t: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(t))) }
    }
    #[inline(always)]
    unsafe fn transpose(
        (from, stride): (*const f32, usize),
        (rows, columns): (usize, usize),
        (to, to_stride): (*mut f32, usize),
    ) {
        // SAFETY: see above; only rows and columns that exist are read and written.
        unsafe {
            let mut r = [_mm256_setzero_ps(); 8];
            for i in 0..8 {
                if i < rows {
                    r[i] = Self::load_part(from.add(i * stride), columns);
                }
            }
            // pairs, then fours of rows within each half: f[4 g + c] holds columns c and 4 + c of rows 4 g to 4 g + 3
            let mut f = [_mm256_setzero_ps(); 8];
            for g in [0, 4] {
                let (a, b) = (_mm256_unpacklo_ps(r[g], r[g + 1]), _mm256_unpackhi_ps(r[g], r[g + 1]));
                let (c, d) = (_mm256_unpacklo_ps(r[g + 2], r[g + 3]), _mm256_unpackhi_ps(r[g + 2], r[g + 3]));
                f[g] = _mm256_shuffle_ps::<0x44>(a, c);
                f[g + 1] = _mm256_shuffle_ps::<0xee>(a, c);
                f[g + 2] = _mm256_shuffle_ps::<0x44>(b, d);
                f[g + 3] = _mm256_shuffle_ps::<0xee>(b, d);
            }
            let mut t = [_mm256_setzero_ps(); 8];
            for c in 0..4 {
                t[c] = _mm256_permute2f128_ps::<0x20>(f[c], f[4 + c]);
                t[4 + c] = _mm256_permute2f128_ps::<0x31>(f[c], f[4 + c]);
            }
            for j in 0..8 {
                if j < columns {
                    Self::store(to.add(j * to_stride), t[j]);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn swap(v: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_permute_ps::<0xb1>(v) }
    }
    #[inline(always)]
    unsafe fn sum(v: __m256) -> f32 {
        // SAFETY: see above.
        unsafe {
            let q = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let d = _mm_add_ps(q, _mm_movehl_ps(q, q));
            _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps::<1>(d, d)))
        }
    }
    #[inline(always)]
    unsafe fn highest(v: __m256) -> f32 {
        // SAFETY: see above.
        unsafe {
            let q = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let d = _mm_max_ps(q, _mm_movehl_ps(q, q));
            _mm_cvtss_f32(_mm_max_ss(d, _mm_shuffle_ps::<1>(d, d)))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, v: __m256) {
        // SAFETY: see above.
        unsafe {
            let bits = _mm256_castps_si256(v);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
            let high = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
            let packed = _mm256_packus_epi32(high, high);
            let lanes = _mm256_permute4x64_epi64::<0b1000>(packed);
            _mm_storeu_si128(p.cast(), _mm256_castsi256_si128(lanes));
        }
    }
    #[inline(always)]
    unsafe fn load_pairs(p: *const u16) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_pair(p: *const u16) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn low(p: __m256i) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(p)) }
    }
    #[inline(always)]
    unsafe fn high(p: __m256i) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_castsi256_ps(_mm256_and_si256(p, _mm256_set1_epi32(0xffff_0000u32 as i32))) }
    }
    #[inline(always)]
    unsafe fn dot_pairs(acc: __m256, a: __m256i, b: __m256i) -> __m256 {
        // SAFETY: see above.
        unsafe { Self::fma(Self::high(a), Self::high(b), Self::fma(Self::low(a), Self::low(b), acc)) }
    }
}
