//! The blocks of a net that may be larger than memory: some are resident, the others are loaded when their turn comes. A thread loads the
//! next one while one computes, and never more than one, so a net takes what is not in blocks, the resident ones, and two more.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use candle_core::Result;
use candle_nn::VarBuilder;

use super::block::Block;
use super::config::{DitConfig, Loading};
use super::error::{DitError, Outcome};

#[derive(Debug)]
pub(super) struct Blocks {
    source: Source,
    /// None: streamed
    resident: Vec<Option<Block>>,
    ahead: Mutex<Option<Ahead>>,
}

/// Where blocks come from.
#[derive(Clone)]
struct Source {
    cfg: DitConfig,
    how: Loading,
    vb: VarBuilder<'static>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Source").field("how", &self.how).finish_non_exhaustive()
    }
}

impl Source {
    fn load(&self, index: usize) -> Result<Block> {
        Block::load(&self.cfg, &self.how, self.vb.pp(index))
    }
}

/// A block that is being loaded, or lies there.
#[derive(Debug)]
struct Ahead {
    index: usize,
    loading: JoinHandle<Result<Block>>,
}

/// Whether block `index` of `blocks` is one of the `resident` ones, which are spread evenly: what computes beside a load hides it.
fn is_resident(index: usize, resident: usize, blocks: usize) -> bool {
    let before = |i: usize| i * resident.min(blocks) / blocks;
    before(index + 1) > before(index)
}

impl Blocks {
    pub fn load(cfg: &DitConfig, how: &Loading, vb: VarBuilder<'static>) -> Result<Self> {
        let source = Source { cfg: cfg.clone(), how: *how, vb };
        let load = |i| is_resident(i, how.residency.resident_blocks, cfg.num_layers).then(|| source.load(i));
        let resident = (0..cfg.num_layers).map(|i| load(i).transpose()).collect::<Result<_>>()?;
        Ok(Self { source, resident, ahead: Mutex::new(None) })
    }

    pub fn len(&self) -> usize {
        self.resident.len()
    }

    /// Hands every block to `each`, in order.
    pub fn run(&self, mut each: impl FnMut(usize, &Block) -> Outcome<()>) -> Outcome<()> {
        for (index, resident) in self.resident.iter().enumerate() {
            match resident {
                Some(block) => {
                    self.send_ahead(index);
                    each(index, block)?;
                }
                None => {
                    let failed = |source| DitError::Load { block: index, source };
                    let block = self.take(index).map_err(failed)?;
                    self.send_ahead(index);
                    each(index, &block)?;
                }
            }
        }
        Ok(())
    }

    /// Begins to load the next streamed block behind `index`, round the end, unless one is on its way.
    fn send_ahead(&self, index: usize) {
        let blocks = self.len();
        let mut ahead = self.lock();
        let next = (index + 1..=index + blocks).map(|i| i % blocks).find(|&i| self.resident[i].is_none());
        if let (None, Some(index)) = (&*ahead, next) {
            let source = self.source.clone();
            *ahead = Some(Ahead { index, loading: std::thread::spawn(move || source.load(index)) });
        }
    }

    fn take(&self, index: usize) -> Result<Block> {
        let ahead = self.lock().take();
        match ahead {
            Some(Ahead { index: there, loading }) => {
                let block = loading.join().unwrap_or_else(|_| candle_core::bail!("its loading panicked"));
                // a forward that broke off leaves another one behind
                if there == index { block } else { self.source.load(index) }
            }
            None => self.source.load(index),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Ahead>> {
        // a panic elsewhere leaves a whole value
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Blocks {
    /// Its memory is free when it is gone.
    fn drop(&mut self) {
        let ahead = self.lock().take();
        if let Some(ahead) = ahead {
            drop(ahead.loading.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_blocks_are_spread() {
        let which = |resident| (0..8).filter(|&i| is_resident(i, resident, 8)).collect::<Vec<_>>();
        assert_eq!(which(0), [0usize; 0]);
        assert_eq!(which(1), [7]);
        assert_eq!(which(2), [3, 7]);
        assert_eq!(which(4), [1, 3, 5, 7]);
        assert_eq!(which(6).len(), 6);
        assert_eq!(which(usize::MAX).len(), 8);
    }
}
