//! Which instructions this machine has, and `leveled!`, which compiles one body once for each. All arithmetic of these bodies is in whole
//! numbers or in floats without fused multiply-add, so every level gives the same bits.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Level {
    /// The widest of this machine.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            return Level::Avx2;
        }
        Level::Portable
    }
}

/// `fn name(args) -> ret { body }` becomes `fn name(level, args) -> ret`, its body compiled for each level.
macro_rules! leveled {
    ($(#[$meta:meta])* $vis:vis fn $name:ident$(<const $c:ident: usize>)?($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name$(<const $c: usize>)?(level: $crate::picture::Level, $($arg: $ty),*) {
            #[inline(always)]
            fn portable$(<const $c: usize>)?($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2$(<const $c: usize>)?($($arg: $ty),*) {
                portable$(::<$c>)?($($arg),*)
            }

            match level {
                $crate::picture::Level::Portable => portable$(::<$c>)?($($arg),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Level::best` gives this level only where it found the instructions
                $crate::picture::Level::Avx2 => unsafe { avx2$(::<$c>)?($($arg),*) },
            }
        }
    };
}

pub(crate) use leveled;
