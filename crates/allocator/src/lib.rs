//! The allocator of every program here, mimalloc, and how long it keeps what was freed. A request is hundreds of small allocations, a net's step some large ones:
//! libc's allocator gives both back too eagerly. A program says so (`#[global_allocator]`); with another one, as in a test that counts, calls have no effect.

use std::time::Duration;

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_t};
pub use mimalloc::MiMalloc;

/// mimalloc's `mi_option_purge_delay`, which libmimalloc-sys has no name for.
const PURGE_DELAY: mi_option_t = 15;

/// How long freed memory stays with a process that says nothing.
pub const USUAL: Duration = Duration::from_secs(1);

/// From now on freed memory stays with the process for so long before the system has it back. Taken from the system anew, each
/// page is zeroed first, at about the speed of memory.
pub fn keep_freed(time: Duration) {
    let milliseconds = std::ffi::c_long::try_from(time.as_millis()).unwrap_or(std::ffi::c_long::MAX);
    // SAFETY: sets a number that mimalloc reads atomically.
    unsafe { mi_option_set(PURGE_DELAY, milliseconds) }
}

/// Gives what is free back to the system now.
pub fn give_back() {
    // SAFETY: collects what nobody has any more; any thread may ask for it at any time.
    unsafe { mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: MiMalloc = MiMalloc;

    /// Of this process, in memory.
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * rustix::param::page_size()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn keeps_what_was_freed_until_it_is_given_back() {
        const LARGE: usize = 256 << 20;
        let left_of_a_large_one = || {
            let before = resident();
            drop(std::hint::black_box(vec![1u8; LARGE]));
            resident().saturating_sub(before)
        };
        // SAFETY: reads a number.
        let delay = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(
            u128::try_from(delay).unwrap(),
            USUAL.as_millis(),
            "another option than the delay: its number has changed"
        );
        keep_freed(Duration::ZERO);
        assert!(left_of_a_large_one() < LARGE / 2, "it is still here");
        keep_freed(Duration::from_secs(600));
        assert!(left_of_a_large_one() > LARGE / 2, "it has gone back");
        let before = resident();
        give_back();
        assert!(resident() + LARGE / 2 < before, "it is still here");
    }
}
