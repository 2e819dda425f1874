//! Memory between the steps of nets: each wants what the last one let go. The allocator would give it back to the system after a second, and the system would zero
//! each page of it before the next step has it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long freed memory stays while nets are computed: a step takes up to minutes.
const STAYS: Duration = Duration::from_secs(120);

static UNDER_WAY: Mutex<usize> = Mutex::new(0);

/// While one lives, freed memory stays with the process. With the last one what is free goes back.
#[derive(Debug)]
pub struct Steps(());

impl Steps {
    pub fn begin() -> Self {
        let mut under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        if *under_way == 0 {
            allocator::keep_freed(STAYS);
        }
        *under_way += 1;
        Self(())
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        let mut under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        *under_way -= 1;
        if *under_way == 0 {
            allocator::keep_freed(allocator::USUAL);
            allocator::give_back();
        }
    }
}
