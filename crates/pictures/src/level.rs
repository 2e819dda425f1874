//! Which instructions this machine has, and `leveled!`, which compiles one body once for each. All arithmetic of these bodies is in whole
//! numbers or in floats without fused multiply-add, so every level gives the same bits.

/// A level that exists can be run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    avx2: bool,
}

impl Level {
    /// What every machine has.
    pub const PORTABLE: Self = Self { avx2: false };

    /// The widest of this machine.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            return Self { avx2: true };
        }
        Self::PORTABLE
    }

    pub fn has_avx2(self) -> bool {
        self.avx2
    }
}

/// `fn name(args) { body }` becomes `fn name(level, args)`, its body compiled for each level.
#[macro_export]
macro_rules! leveled {
    ($(#[$meta:meta])* $vis:vis fn $name:ident$(<const $c:ident: usize>)?($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name$(<const $c: usize>)?(level: $crate::Level, $($arg: $ty),*) {
            #[inline(always)]
            fn portable$(<const $c: usize>)?($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2$(<const $c: usize>)?($($arg: $ty),*) {
                portable$(::<$c>)?($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            if level.has_avx2() {
                // SAFETY: a level only says so where the instructions were found
                return unsafe { avx2$(::<$c>)?($($arg),*) };
            }
            portable$(::<$c>)?($($arg),*)
        }
    };
}
