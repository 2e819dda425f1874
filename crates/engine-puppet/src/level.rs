//! Which instructions this machine has, and `leveled!`, which compiles one body once for each of them. The same arithmetic,
//! without fused multiply-add, runs on every level; only its width differs, so every level gives the same bits.

/// Instructions that this machine has: `best` and `all` alone make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(Instructions);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instructions {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    pub(crate) const PORTABLE: Self = Self(Instructions::Portable);

    /// The widest level of this machine.
    pub fn best() -> Self {
        Self::all().pop().unwrap_or(Self::PORTABLE)
    }

    /// Every level this machine can run, the widest last.
    pub fn all() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
        let mut levels = vec![Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            levels.push(Self(Instructions::Avx2));
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
            {
                levels.push(Self(Instructions::Avx512));
            }
        }
        levels
    }

    pub(crate) fn instructions(self) -> Instructions {
        self.0
    }
}

/// `fn name(args) -> ret { body }` becomes `fn name(level, args) -> ret`, its body compiled for each level.
macro_rules! leveled {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name(level: $crate::level::Level, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn portable($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                portable($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                portable($($arg),*)
            }

            match level.instructions() {
                $crate::level::Instructions::Portable => portable($($arg),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a level exists only where `Level::all` found its instructions
                $crate::level::Instructions::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above
                $crate::level::Instructions::Avx512 => unsafe { avx512($($arg),*) },
            }
        }
    };
}

pub(crate) use leveled;
