//! Nets that are in memory: loaded at their first use, kept for everybody, let go when nothing has used them for a while, or when another engine
//! needs the room. A shelf holds what one engine has loaded; all shelves of the process know of each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use candle_core::Device;

use crate::cpu;
use crate::free_memory::of;
use crate::steps::Steps;

static SHELVES: Mutex<Vec<Weak<dyn Emptied>>> = Mutex::new(Vec::new());

pub struct Shelf<T> {
    held: Arc<Held<T>>,
}

struct Held<T> {
    contents: Mutex<Contents<T>>,
    idle_unload: Option<Duration>,
}

#[derive(Default)]
struct Contents<T> {
    nets: T,
    /// Uses under way, and when the last one ended.
    uses: usize,
    idle_since: Option<Instant>,
    watched: bool,
}

/// As long as it lives, nothing leaves the shelf.
pub struct Use<T: Default + Send + 'static> {
    held: Arc<Held<T>>,
    _steps: Steps,
}

impl<T: Default + Send + 'static> Shelf<T> {
    /// An empty one. `idle_unload`: after how long without a use what is on it leaves memory; `None`: never by itself.
    pub fn new(idle_unload: Option<Duration>) -> Self {
        let held = Arc::new(Held { contents: Mutex::default(), idle_unload });
        let mut shelves = SHELVES.lock().unwrap_or_else(PoisonError::into_inner);
        shelves.retain(|shelf| shelf.strong_count() > 0);
        let shelf: Weak<Held<T>> = Arc::downgrade(&held);
        shelves.push(shelf);
        Self { held }
    }

    pub fn in_use(&self) -> Use<T> {
        let mut contents = self.held.lock();
        contents.uses += 1;
        contents.idle_since = None;
        Use { held: Arc::clone(&self.held), _steps: Steps::begin() }
    }

    /// What `there` finds, or makes it and puts it there; two that ask at once do not make it twice.
    pub fn once<N: Clone, E>(
        &self,
        there: impl Fn(&T) -> Option<N>,
        make: impl FnOnce() -> Result<N, E>,
        keep: impl FnOnce(&mut T, N),
    ) -> Result<N, E> {
        let mut contents = self.held.lock();
        if let Some(net) = there(&contents.nets) {
            return Ok(net);
        }
        let net = make()?;
        keep(&mut contents.nets, net.clone());
        Ok(net)
    }

    /// What is said of it as it is now.
    pub fn look<R>(&self, at: impl FnOnce(&T) -> R) -> R {
        at(&self.held.lock().nets)
    }

    /// Takes something off it, whoever uses it still has it.
    pub fn drop_of(&self, some: impl FnOnce(&mut T)) {
        some(&mut self.held.lock().nets);
    }
}

/// Before `bytes` are loaded: where `device` has no such room left, whatever nobody uses leaves memory, whichever engine's it is.
pub fn make_room(bytes: u64, device: &Device) {
    let enough = || of(device).is_some_and(|free| free >= bytes);
    if enough() {
        return;
    }
    allocator::give_back();
    if enough() {
        return;
    }
    let shelves = SHELVES.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for shelf in shelves.iter().filter_map(Weak::upgrade) {
        shelf.empty();
    }
}

trait Emptied: Send + Sync {
    /// Unless somebody uses it, or whoever fills it is at it.
    fn empty(&self);
}

impl<T: Default + Send> Emptied for Held<T> {
    fn empty(&self) {
        if let Ok(mut contents) = self.contents.try_lock()
            && contents.uses == 0
        {
            contents.nets = T::default();
            cpu::release_memory();
        }
    }
}

impl<T: Default + Send + 'static> Drop for Use<T> {
    fn drop(&mut self) {
        let mut contents = self.held.lock();
        contents.uses -= 1;
        if contents.uses > 0 {
            return;
        }
        if let Some(after) = self.held.idle_unload {
            contents.idle_since = Some(Instant::now());
            if !contents.watched {
                let held = Arc::clone(&self.held);
                let watch = std::thread::Builder::new().name("idle-nets".into());
                // without a thread they stay, which costs memory and nothing else
                contents.watched = watch.spawn(move || held.unload(after)).is_ok();
            }
        }
    }
}

impl<T: Default> Held<T> {
    /// Sleeps until nothing has used the nets for so long, then drops them.
    fn unload(&self, after: Duration) {
        loop {
            let rest = match self.lock().idle_since {
                None => after,
                Some(since) => after.saturating_sub(since.elapsed()),
            };
            std::thread::sleep(rest);
            let mut contents = self.lock();
            if contents.idle_since.is_some_and(|since| since.elapsed() >= after) {
                *contents = Contents::default();
                cpu::release_memory();
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents<T>> {
        // a net that could not be loaded is not there: nothing is half done
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(shelf: &Shelf<Option<Arc<u32>>>, made: u32) -> u32 {
        let net: Result<_, ()> =
            shelf.once(Clone::clone, || Ok(Arc::new(made)), |held, net| *held = Some(net));
        *net.unwrap()
    }

    #[test]
    fn nets_are_made_once_and_leave_when_idle() {
        let shelf = Shelf::new(Some(Duration::from_millis(40)));
        let in_use = shelf.in_use();
        assert_eq!((net(&shelf, 1), net(&shelf, 2)), (1, 1));
        std::thread::sleep(Duration::from_millis(120));
        assert_eq!(net(&shelf, 3), 1, "somebody uses it");
        drop(in_use);
        let deadline = Instant::now() + Duration::from_secs(10);
        while shelf.held.lock().nets.is_some() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _in_use = shelf.in_use();
        assert_eq!(net(&shelf, 4), 4);
    }

    #[test]
    fn what_nobody_uses_makes_room_for_others() {
        let (idle, busy) = (Shelf::new(None), Shelf::new(None));
        let (_in_use, _) = (busy.in_use(), idle.in_use());
        assert_eq!((net(&idle, 1), net(&busy, 2)), (1, 2));
        make_room(1 << 10, &Device::Cpu);
        assert_eq!(net(&idle, 3), 1, "there is room");
        make_room(u64::MAX, &Device::Cpu);
        assert_eq!((net(&idle, 3), net(&busy, 4)), (3, 2));
    }
}
