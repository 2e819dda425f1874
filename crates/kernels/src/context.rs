//! What all kernels of a process share: one thread pool, the instruction set, the profile, what was picked, borrowed memory.
//! Reads nothing from the environment: the caller configures it.

use crate::conv::pick::Picks;
use crate::error::{Error, Result};
use crate::isa::Isa;
use crate::memory::Scratch;
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How far a result may be from the exact one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// f32 arithmetic only: relative RMS of a layer at most 2e-5 (Winograd F(4,3) is the farthest)
    Strict,
    /// bf16 products with f32 sums where they are faster: relative RMS of a layer at most 5e-3
    Fast,
}

/// How a layer's variant is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// all that fit are timed once for each geometry
    Timed,
    /// by a count of multiplications and bytes: the same on every run and machine
    Counted,
}

/// How the kernels of this process are to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// size of the pool; at least 1
    pub threads: usize,
    /// `None`: what serves best here
    pub isa: Option<Isa>,
    pub profile: Profile,
    pub choice: Choice,
    /// bytes that transformed weights may take beyond what the plain ones would
    pub weight_budget: usize,
    /// what the machine has left, in bytes: transformed weights take no more, and leave free what was set aside (`Context::keep_free`)
    pub free_memory: Option<fn() -> Option<u64>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 1,
            isa: None,
            profile: Profile::Strict,
            choice: Choice::Timed,
            weight_budget: usize::MAX,
            free_memory: None,
        }
    }
}

/// Shared by clones.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
    profile: Profile,
}

struct Inner {
    pool: rayon::ThreadPool,
    config: Config,
    isa: Isa,
    scratch: Scratch,
    picks: Picks,
    transformed: AtomicUsize,
    kept_free: AtomicU64,
}

impl Context {
    pub fn new(config: Config) -> Result<Self> {
        let isa = config.isa.unwrap_or_else(Isa::best);
        let most = Isa::detect();
        if isa > most {
            return Err(Error::Isa { asked: isa.name(), best: most.name() });
        }
        crate::error::check_positive("number of threads", config.threads)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(config.threads)
            .thread_name(|i| format!("kernels-{i}"))
            .build()
            .map_err(|e| Error::Pool { threads: config.threads, why: e.to_string() })?;
        let profile = config.profile;
        let inner = Inner {
            pool,
            config,
            isa,
            scratch: Scratch::new(),
            picks: Picks::default(),
            transformed: AtomicUsize::new(0),
            kept_free: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner), profile })
    }

    /// The same, for layers that have to be exact whatever the profile of the others.
    pub fn strict(&self) -> Self {
        Self { profile: Profile::Strict, ..self.clone() }
    }

    pub fn isa(&self) -> Isa {
        self.inner.isa
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }

    pub fn choice(&self) -> Choice {
        self.inner.config.choice
    }

    pub fn threads(&self) -> usize {
        self.inner.config.threads
    }

    /// Bytes that transformed weights take now beyond what the plain ones would.
    pub fn transformed_bytes(&self) -> usize {
        self.inner.transformed.load(Ordering::Relaxed)
    }

    /// Frees the memory that calls borrow; the next call allocates anew.
    pub fn release_scratch(&self) {
        self.inner.scratch.clear();
    }

    pub(crate) fn scratch(&self) -> &Scratch {
        &self.inner.scratch
    }

    /// What was picked so far, as lines of text that `learn` takes in another process on the same machine with the same configuration.
    pub fn learned(&self) -> String {
        self.inner.picks.lines()
    }

    /// Spares layers that are like earlier ones the trying out.
    pub fn learn(&self, lines: &str) {
        self.inner.picks.learn(lines);
    }

    pub(crate) fn picks(&self) -> &Picks {
        &self.inner.picks
    }

    /// Until the guard is dropped, transformed weights leave so many bytes free: for work that is about to need them.
    pub fn keep_free(&self, bytes: u64) -> KeptFree {
        self.inner.kept_free.fetch_add(bytes, Ordering::Relaxed);
        KeptFree { context: self.clone(), bytes }
    }

    /// Books bytes of transformed weights, unless they would exceed the budget, are not free, or take what is to stay free.
    pub(crate) fn book(&self, bytes: usize) -> Option<Booking> {
        let budget = self.inner.config.weight_budget;
        let kept = self.inner.kept_free.load(Ordering::Relaxed);
        let free = self.inner.config.free_memory.and_then(|free| free());
        if bytes > 0 && free.is_some_and(|free| free < kept.saturating_add(bytes as u64)) {
            return None;
        }
        self.inner
            .transformed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(bytes).filter(|t| *t <= budget)
            })
            .ok()
            .map(|_| Booking { context: self.clone(), bytes })
    }

    /// Books bytes that cannot be done without.
    pub(crate) fn book_anyway(&self, bytes: usize) -> Booking {
        self.inner.transformed.fetch_add(bytes, Ordering::Relaxed);
        Booking { context: self.clone(), bytes }
    }

    /// Runs `task` for each of `parts` on the pool: for what is done beside the kernels, so that it takes no threads of its own.
    pub fn each<T: Send>(&self, parts: Vec<T>, task: impl Fn(T) + Send + Sync) {
        if parts.len() <= 1 || self.threads() == 1 {
            parts.into_iter().for_each(task);
        } else {
            self.inner.pool.install(|| parts.into_par_iter().with_max_len(1).for_each(task));
        }
    }

    /// Runs `task(0..tasks)` on the pool; in the calling thread where one thread is all there is to gain.
    pub(crate) fn parallel(&self, tasks: usize, task: impl Fn(usize) + Send + Sync) {
        if tasks <= 1 || self.threads() == 1 {
            (0..tasks).for_each(task);
        } else {
            self.inner.pool.install(|| (0..tasks).into_par_iter().with_max_len(1).for_each(task));
        }
    }
}

/// Bytes that transformed weights leave alone, until it is dropped.
pub struct KeptFree {
    context: Context,
    bytes: u64,
}

impl Drop for KeptFree {
    fn drop(&mut self) {
        self.context.inner.kept_free.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes of the weight budget in use; given back when dropped.
pub(crate) struct Booking {
    context: Context,
    bytes: usize,
}

impl Drop for Booking {
    fn drop(&mut self) {
        self.context.inner.transformed.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transformed_weights_leave_free_what_was_set_aside() {
        let free_memory: Option<fn() -> Option<u64>> = Some(|| Some(1000));
        let context = Context::new(Config { free_memory, weight_budget: 5000, ..Config::default() }).unwrap();
        assert!(context.book(1001).is_none(), "there is no such room, whatever the budget");
        assert!(context.book(1000).is_some(), "nothing was set aside");
        let kept = context.keep_free(600);
        assert!(context.book(401).is_none());
        let booked = context.book(400).unwrap();
        assert_eq!(context.transformed_bytes(), 400);
        drop((kept, booked));
        let context = Context::new(Config { weight_budget: 5000, ..Config::default() }).unwrap();
        assert!(context.book(5000).is_some() && context.book(5001).is_none());
    }
}
