//! The tiles themselves: whether this process may use them, their configuration, and the blocks of products they hold. The
//! compiler's AMX intrinsics are not stable, so the instructions are written out.
//! Reference: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18; Linux `Documentation/arch/x86/xstate.rst`.

use super::{COLUMNS, ROWS};

/// Sums of a block of up to 2 x 2 tiles: rows of 32.
#[repr(C, align(64))]
pub(super) struct Sums(pub [f32; 2 * ROWS * WIDTH]);

/// Values of a row of a block's sums.
pub(super) const WIDTH: usize = 2 * COLUMNS;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use here::is_granted;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use here::{Configured, block};

/// A block of sums: its left side's tiles begin at `a`, one or two of them, `rows` bytes from row to row; `steps` are the
/// distances of the tiles of k from there. `b` holds for each step one or two tiles of the right side.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    pub a: [*const u8; 2],
    pub tall: Tall,
    pub rows: usize,
    pub steps: &'a [u32],
    pub b: *const u8,
    pub wide: Wide,
    /// what the sums begin with; null: zeros
    pub init: Lines,
    pub sums: Lines,
    /// where the sums go in the end, which is fetched meanwhile, two rows a step
    pub goal: Lines,
}

/// Rows of f32: where the first one lies, and the bytes from row to row.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Lines {
    pub at: *mut f32,
    pub apart: usize,
}

impl Lines {
    pub const NONE: Self = Self { at: std::ptr::null_mut(), apart: 0 };
}

/// Tiles one below the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tall {
    One,
    Two,
}

/// Tiles side by side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wide {
    One,
    Two,
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod here {
    use super::{Block, Lines, Tall, Wide};
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    use std::marker::PhantomData;
    use std::sync::OnceLock;

    /// Whether the processor has AMX with bf16 and the system lets this process use it; asked once.
    pub(crate) fn is_granted() -> bool {
        static GRANTED: OnceLock<bool> = OnceLock::new();
        *GRANTED.get_or_init(|| has_tiles() && may_use_tiles())
    }

    fn has_tiles() -> bool {
        const OSXSAVE: u32 = 1 << 27; // leaf 1, ecx
        const AMX_BF16: u32 = 1 << 22; // leaf 7, edx
        const AMX_TILE: u32 = 1 << 24; // leaf 7, edx
        const TILE_STATE: u32 = 3 << 17; // XCR0: configuration and data of tiles
        if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
            return false;
        }
        let wanted = AMX_BF16 | AMX_TILE;
        if __cpuid_count(7, 0).edx & wanted != wanted {
            return false;
        }
        let enabled: u32;
        // SAFETY: OSXSAVE says that xgetbv exists.
        unsafe { asm!("xgetbv", in("ecx") 0, out("eax") enabled, out("edx") _, options(nomem, nostack)) };
        enabled & TILE_STATE == TILE_STATE
    }

    /// Asks the kernel, which grants tiles to whole processes.
    fn may_use_tiles() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const TILE_DATA: libc::c_long = 18;
        // SAFETY: changes only what this process may use.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
    }

    /// The tiles of this thread are configured, each as 16 rows of 64 bytes. Released when dropped, so that what runs
    /// afterwards has no tiles to save when it is interrupted.
    pub(crate) struct Configured(PhantomData<*const ()>);

    #[repr(C, align(64))]
    struct Layout {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    impl Configured {
        /// # Safety
        /// `is_granted()`
        pub unsafe fn new() -> Self {
            let mut layout =
                Layout { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
            layout.row_bytes[..8].fill(super::super::ROW_BYTES as u16);
            layout.rows[..8].fill(super::ROWS as u8);
            // SAFETY: the caller's promise; the layout is one that palette 1 allows.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const layout, options(nostack, readonly)) };
            Self(PhantomData)
        }
    }

    impl Drop for Configured {
        fn drop(&mut self) {
            // SAFETY: tiles were configured, so they exist.
            unsafe { asm!("tilerelease", options(nomem, nostack)) };
        }
    }

    /// What the instructions read from memory: there are not registers enough for all.
    #[repr(C)]
    struct Given {
        a: [*const u8; 2],
        init: Lines,
        sums: Lines,
        /// steps after the first ones
        rest: usize,
    }

    /// The instructions of one size of block. Tiles 0 to 3 hold sums, 4 and 5 the right side, 6 and 7 the left.
    macro_rules! sums {
        (
            $block:ident, $given:ident, $width:literal, clear [$($clear:literal),*],
            load [$($load:literal),*] [$($load_below:literal),*],
            step [$($step:literal),*], store [$($store:literal),*] [$($store_below:literal),*]
        ) => {
            asm!(
                "mov {second}, [{given} + 16]",
                "test {second}, {second}",
                "jz 5f",
                "mov {at}, [{given} + 24]",
                $($load,)*
                "shl {at}, 4",
                "add {second}, {at}",
                "shr {at}, 4",
                $($load_below,)*
                "jmp 2f",
                "5:",
                $($clear,)*
                "2:",
                "prefetchw [{goal}]",
                "prefetchw [{goal} + 64]",
                "prefetchw [{goal} + {goal_apart}]",
                "prefetchw [{goal} + {goal_apart} + 64]",
                "lea {goal}, [{goal} + 2*{goal_apart}]",
                "mov {at:e}, dword ptr [{steps}]",
                "mov {second}, [{given} + 8]",
                "add {second}, {at}",
                "add {at}, [{given}]",
                $($step,)*
                concat!("add {b}, ", $width),
                "add {steps}, 4",
                "dec {left}",
                "jnz 2b",
                "mov {left}, [{given} + 48]",
                "test {left}, {left}",
                "jz 4f",
                "3:",
                "mov {at:e}, dword ptr [{steps}]",
                "mov {second}, [{given} + 8]",
                "add {second}, {at}",
                "add {at}, [{given}]",
                $($step,)*
                concat!("add {b}, ", $width),
                "add {steps}, 4",
                "dec {left}",
                "jnz 3b",
                "4:",
                "mov {second}, [{given} + 32]",
                "mov {at}, [{given} + 40]",
                $($store,)*
                "shl {at}, 4",
                "add {second}, {at}",
                "shr {at}, 4",
                $($store_below,)*
                given = in(reg) &raw const $given,
                rows = in(reg) $block.rows,
                steps = inout(reg) $block.steps.as_ptr() => _,
                left = inout(reg) $block.steps.len().min(super::ROWS) => _,
                b = inout(reg) $block.b => _,
                line = in(reg) 64usize,
                goal = inout(reg) $block.goal.at => _,
                goal_apart = in(reg) $block.goal.apart,
                at = out(reg) _,
                second = out(reg) _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            )
        };
    }

    /// Sums of the block, all of its rows and columns.
    ///
    /// # Safety
    /// There is at least one step; 16 rows of 64 bytes lie at each step of each of A's tiles, whole tiles for each step at b;
    /// the block's rows and columns of `sums` and, if there is one, of `init` exist.
    #[inline(always)]
    pub(crate) unsafe fn block(_: &Configured, block: Block) {
        // without one it would not end
        assert!(!block.steps.is_empty());
        let rest = block.steps.len().saturating_sub(super::ROWS);
        let given = Given { a: block.a, init: block.init, sums: block.sums, rest };
        // SAFETY: the caller's promise; tiles are configured, of which there is proof.
        unsafe {
            match (block.tall, block.wide) {
                (Tall::Two, Wide::Two) => sums!(
                    block, given, "2048",
                    clear ["tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3"],
                    load ["tileloadd tmm0, [{second} + {at}*1]", "tileloadd tmm1, [{second} + {at}*1 + 64]"]
                    ["tileloadd tmm2, [{second} + {at}*1]", "tileloadd tmm3, [{second} + {at}*1 + 64]"],
                    step [
                        "tileloadd tmm4, [{b} + {line}*1]",
                        "tileloadd tmm6, [{at} + {rows}*1]",
                        "tdpbf16ps tmm0, tmm6, tmm4",
                        "tileloadd tmm5, [{b} + {line}*1 + 1024]",
                        "tdpbf16ps tmm1, tmm6, tmm5",
                        "tileloadd tmm7, [{second} + {rows}*1]",
                        "tdpbf16ps tmm2, tmm7, tmm4",
                        "tdpbf16ps tmm3, tmm7, tmm5"
                    ],
                    store ["tilestored [{second} + {at}*1], tmm0", "tilestored [{second} + {at}*1 + 64], tmm1"]
                    ["tilestored [{second} + {at}*1], tmm2", "tilestored [{second} + {at}*1 + 64], tmm3"]
                ),
                (Tall::Two, Wide::One) => sums!(
                    block, given, "1024",
                    clear ["tilezero tmm0", "tilezero tmm2"],
                    load ["tileloadd tmm0, [{second} + {at}*1]"] ["tileloadd tmm2, [{second} + {at}*1]"],
                    step [
                        "tileloadd tmm4, [{b} + {line}*1]",
                        "tileloadd tmm6, [{at} + {rows}*1]",
                        "tdpbf16ps tmm0, tmm6, tmm4",
                        "tileloadd tmm7, [{second} + {rows}*1]",
                        "tdpbf16ps tmm2, tmm7, tmm4"
                    ],
                    store ["tilestored [{second} + {at}*1], tmm0"] ["tilestored [{second} + {at}*1], tmm2"]
                ),
                (Tall::One, Wide::Two) => sums!(
                    block, given, "2048",
                    clear ["tilezero tmm0", "tilezero tmm1"],
                    load ["tileloadd tmm0, [{second} + {at}*1]", "tileloadd tmm1, [{second} + {at}*1 + 64]"] [],
                    step [
                        "tileloadd tmm4, [{b} + {line}*1]",
                        "tileloadd tmm6, [{at} + {rows}*1]",
                        "tdpbf16ps tmm0, tmm6, tmm4",
                        "tileloadd tmm5, [{b} + {line}*1 + 1024]",
                        "tdpbf16ps tmm1, tmm6, tmm5"
                    ],
                    store ["tilestored [{second} + {at}*1], tmm0", "tilestored [{second} + {at}*1 + 64], tmm1"] []
                ),
                (Tall::One, Wide::One) => sums!(
                    block, given, "1024",
                    clear ["tilezero tmm0"],
                    load ["tileloadd tmm0, [{second} + {at}*1]"] [],
                    step [
                        "tileloadd tmm4, [{b} + {line}*1]",
                        "tileloadd tmm6, [{at} + {rows}*1]",
                        "tdpbf16ps tmm0, tmm6, tmm4"
                    ],
                    store ["tilestored [{second} + {at}*1], tmm0"] []
                ),
            }
        }
    }
}

/// Elsewhere there are no tiles, and `Isa::Amx` is never reached.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod nowhere {
    use super::Block;

    pub(crate) fn is_granted() -> bool {
        false
    }

    pub(crate) struct Configured;

    impl Configured {
        pub unsafe fn new() -> Self {
            unreachable!("this machine has no tiles")
        }
    }

    pub(crate) unsafe fn block(_: &Configured, _: Block) {
        unreachable!("this machine has no tiles")
    }
}
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) use nowhere::is_granted;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) use nowhere::{Configured, block};
