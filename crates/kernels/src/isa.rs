//! Which vector instructions a kernel is compiled for, and the one place where that choice becomes a call.
//! A kernel is written once as an [`Op`] over [`Simd`] and compiled three to four times.

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::simd::Simd;
use crate::simd::portable::Portable;
#[cfg(target_arch = "x86_64")]
use crate::simd::{avx2::Avx2, avx512::Avx512};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Instruction sets, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// what the compiler makes of plain loops
    Portable,
    /// AVX2 with FMA
    Avx2,
    /// AVX-512 F, BW, DQ and VL
    Avx512,
    /// AVX-512 with `vdpbf16ps`
    Avx512Bf16,
    /// the same with AMX: tiles of bf16 are multiplied whole; everything else is `Avx512Bf16`
    Amx,
}

impl Isa {
    pub const ALL: [Isa; 5] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::Amx];

    /// The most this machine can run.
    pub fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx512 && is_x86_feature_detected!("avx512bf16") {
                return if amx::is_granted() { Isa::Amx } else { Isa::Avx512Bf16 };
            }
            if avx512 {
                return Isa::Avx512;
            }
            if avx2 {
                return Isa::Avx2;
            }
        }
        Isa::Portable
    }

    /// What serves best: the most this machine can run, unless it multiplies pairs of bf16 no faster than f32. A Sapphire Rapids takes twice as long
    /// for them, and makes up for it by tiles, which a virtual machine may not be granted.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| match Isa::detect() {
            Isa::Avx512Bf16 if !pairs_pay() => Isa::Avx512,
            most => most,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512-bf16",
            Isa::Amx => "amx-bf16",
        }
    }

    /// Whether pairs of bf16 are multiplied by an instruction of their own.
    pub(crate) fn multiplies_bf16(self) -> bool {
        self >= Isa::Avx512Bf16
    }

    /// f32 lanes of a vector
    pub(crate) fn lanes(self) -> usize {
        match self {
            Isa::Portable => Portable::LANES,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => Avx512::<false>::LANES,
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => Portable::LANES,
        }
    }

    /// vectors side by side in a full panel of packed weights
    pub(crate) fn cols(self) -> usize {
        match self {
            Isa::Portable => Portable::COLS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::COLS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => Avx512::<false>::COLS,
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => Portable::COLS,
        }
    }

    /// Runs a kernel with this instruction set.
    ///
    /// # Safety
    /// The machine must be able to run it (a `Context` holds only sets up to `detect()`), and the op's own conditions must hold.
    #[inline]
    pub(crate) unsafe fn run<O: Op>(self, op: O) -> O::Out {
        // SAFETY: handed on to the caller.
        unsafe {
            match self {
                Isa::Portable => op.run::<Portable>(),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => x86::avx2(op),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => x86::avx512(op),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Bf16 | Isa::Amx => x86::avx512_bf16(op),
                #[cfg(not(target_arch = "x86_64"))]
                Isa::Avx2 | Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => op.run::<Portable>(),
            }
        }
    }
}

/// Whether products of pairs are worth rounding for: at least a quarter faster than as many of f32. To be asked where `Avx512Bf16` runs.
fn pairs_pay() -> bool {
    const STEPS: usize = 2000;
    const TRIES: usize = 20;
    let fastest = |run: &dyn Fn() -> f32| {
        let tries = (0..TRIES).map(|_| {
            let begun = Instant::now();
            std::hint::black_box(run());
            begun.elapsed()
        });
        tries.min().unwrap_or(Duration::MAX)
    };
    // SAFETY: the machine can run it, as the caller promises; the op asks for nothing.
    let of_pairs = fastest(&|| unsafe { Isa::Avx512Bf16.run(Chains::<true> { steps: STEPS }) });
    let of_f32 = fastest(&|| unsafe { Isa::Avx512Bf16.run(Chains::<false> { steps: STEPS }) });
    // an instruction of pairs multiplies twice as much
    of_pairs.as_secs_f64() * 1.25 < of_f32.as_secs_f64() * 2.0
}

/// Sums of products, as many at a time as keep the units busy: of pairs of bf16, or of f32.
struct Chains<const PAIRS: bool> {
    steps: usize,
}

impl<const PAIRS: bool> Op for Chains<PAIRS> {
    type Out = f32;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        const CHAINS: usize = 12;
        let pair = std::hint::black_box([0x3f80u16; 2]); // 1 and 1
        let one = std::hint::black_box(1.0f32);
        // SAFETY: the instructions are enabled, and both values are there.
        unsafe {
            let (pairs, ones) = (S::splat_pair(pair.as_ptr()), S::splat(one));
            let mut sums = [S::splat(0.0); CHAINS];
            for _ in 0..self.steps {
                for sum in &mut sums {
                    *sum = if PAIRS { S::dot_pairs(*sum, pairs, pairs) } else { S::fma(ones, ones, *sum) };
                }
            }
            let mut total = 0.0;
            for sum in sums {
                total += S::sum(sum);
            }
            total
        }
    }
}

/// A kernel, written over any vector type. Implementations are `#[inline(always)]` and free of closures, so that their
/// loops are compiled inside the function that enables the instructions.
pub(crate) trait Op {
    type Out;

    /// # Safety
    /// The instructions of `S` must be enabled, and what the implementing struct asks for must hold.
    unsafe fn run<S: Simd>(self) -> Self::Out;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Avx2, Avx512, Op};

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2<O: Op>(op: O) -> O::Out {
        // SAFETY: the instructions are enabled here; the rest is the caller's promise.
        unsafe { op.run::<Avx2>() }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub(super) unsafe fn avx512<O: Op>(op: O) -> O::Out {
        // SAFETY: as above.
        unsafe { op.run::<Avx512<false>>() }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    pub(super) unsafe fn avx512_bf16<O: Op>(op: O) -> O::Out {
        // SAFETY: as above.
        unsafe { op.run::<Avx512<true>>() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_most_but_for_pairs_that_do_not_pay() {
        let (best, most) = (Isa::best(), Isa::detect());
        assert!(best == most || (most, best) == (Isa::Avx512Bf16, Isa::Avx512), "{best:?} of {most:?}");
        assert_eq!(Isa::best(), best);
    }

    #[test]
    fn chains_are_as_long_as_they_are_told() {
        for isa in Isa::ALL.into_iter().filter(|isa| *isa <= Isa::detect()) {
            let products = (12 * 10 * isa.lanes()) as f32;
            // SAFETY: the machine can run it.
            unsafe {
                assert_eq!(isa.run(Chains::<false> { steps: 10 }), products);
                assert_eq!(isa.run(Chains::<true> { steps: 10 }), 2.0 * products);
            }
        }
    }
}
