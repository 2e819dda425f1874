//! Files that were promised an address and have not come yet, or come in parts. They live in memory: a restarted server knows none of them, and
//! clients begin anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jobs::Received;

use crate::front_door::keys::Owner;
use crate::front_door::refused::Refused;

/// Of one owner, whose oldest leave first: a client that promises and never sends is in nobody's way but its own.
const OF_ONE: usize = 256;
/// Of everybody.
const OF_ALL: usize = 4096;
/// What is promised and not sent, or begun and not completed, is forgotten after so long.
pub const LIFE_MS: i64 = 3600 * 1000;

#[derive(Default)]
pub struct Arrivals(Mutex<HashMap<String, Arrival>>);

/// A file that is to come.
pub struct Arrival {
    pub key: String,
    /// How long it is kept when it is there.
    pub life: Option<Duration>,
    pub parts: BTreeMap<u32, Part>,
    owner: String,
    until_ms: i64,
}

#[derive(Clone)]
pub struct Part {
    pub upload: Received,
    pub etag: String,
}

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arrival>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id for a file that will come, and the parts of those that are forgotten for it.
    pub fn expect(
        &self,
        Owner(owner): &Owner,
        (key, life): (String, Option<Duration>),
        now_ms: i64,
    ) -> (String, Vec<Part>) {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let mut arrivals = self.lock();
        let mut leaving: Vec<String> = ids(&arrivals, |arrival| arrival.until_ms <= now_ms);
        for (whose, most) in [(Some(owner), OF_ONE), (None, OF_ALL)] {
            let theirs = |arrival: &Arrival| whose.is_none_or(|owner| arrival.owner == *owner);
            let mut ids = ids(&arrivals, theirs);
            if ids.len() >= most {
                ids.sort_by_key(|id| arrivals[id].until_ms);
                leaving.extend(ids.drain(..=ids.len() - most));
            }
        }
        let left = leaving.iter().filter_map(|id| arrivals.remove(id));
        let parts = left.flat_map(|arrival| arrival.parts.into_values()).collect();
        let until_ms = now_ms.saturating_add(LIFE_MS);
        let arrival = Arrival { key, life, parts: BTreeMap::new(), owner: owner.clone(), until_ms };
        arrivals.insert(id.clone(), arrival);
        (id, parts)
    }

    /// Its key, and how long it is kept.
    pub fn find(&self, id: &str) -> Option<(String, Option<Duration>)> {
        self.lock().get(id).map(|arrival| (arrival.key.clone(), arrival.life))
    }

    /// A part of it has come. The part that nobody needs now: one of the same number, or this.
    pub fn add(
        &self,
        id: &str,
        (number, part): (u32, Part),
        limit: u64,
    ) -> (Option<Part>, Result<(), Refused>) {
        let mut arrivals = self.lock();
        let Some(arrival) = arrivals.get_mut(id) else { return (Some(part), Err(unknown())) };
        let others = arrival.parts.iter().filter(|(known, _)| **known != number);
        let bytes: u64 = others.map(|(_, part)| part.upload.bytes).sum::<u64>() + part.upload.bytes;
        if bytes > limit {
            return (Some(part), Err(Refused::too_large("the file", limit)));
        }
        (arrival.parts.insert(number, part), Ok(()))
    }

    /// It is complete: nothing more comes. It stays if `check` finds something wrong.
    pub fn complete(
        &self,
        id: &str,
        check: impl FnOnce(&Arrival) -> Result<(), Refused>,
    ) -> Result<Arrival, Refused> {
        let mut arrivals = self.lock();
        check(arrivals.get(id).ok_or_else(unknown)?)?;
        arrivals.remove(id).ok_or_else(unknown)
    }
}

fn ids(arrivals: &HashMap<String, Arrival>, which: impl Fn(&Arrival) -> bool) -> Vec<String> {
    arrivals.iter().filter(|(_, arrival)| which(arrival)).map(|(id, _)| id.clone()).collect()
}

pub fn unknown() -> Refused {
    Refused::missing("Upload not found or expired. Initiate it again.")
}

#[cfg(test)]
mod tests {
    use jobs::Source;

    use super::*;

    fn part(name: &str, bytes: u64) -> Part {
        let source = Source::Stored(name.to_owned());
        let (sha256, path) = (String::new(), std::path::PathBuf::new());
        Part { upload: Received { source, key: name.to_owned(), bytes, sha256, path }, etag: name.to_owned() }
    }

    fn keys(parts: &[Part]) -> Vec<&str> {
        parts.iter().map(|part| part.upload.key.as_str()).collect()
    }

    #[test]
    fn who_promises_and_never_sends_is_in_nobody_elses_way() {
        let arrivals = Arrivals::default();
        let (ann, bob) = (Owner("ann".into()), Owner("bob".into()));
        let expect = |owner: &Owner, now_ms| arrivals.expect(owner, ("k".into(), None), now_ms);
        let (of_bob, _) = expect(&bob, 0);
        let (first, _) = expect(&ann, 1);
        assert!(arrivals.add(&first, (1, part("p", 5)), 100).1.is_ok());
        for now_ms in 2..=OF_ONE as i64 {
            let (_, forgotten) = expect(&ann, now_ms);
            assert!(forgotten.is_empty(), "{now_ms}");
        }
        let (_, forgotten) = expect(&ann, 1000);
        assert_eq!(keys(&forgotten), ["p"], "the oldest of hers, with what came of it");
        assert!(arrivals.find(&first).is_none() && arrivals.find(&of_bob).is_some());
        for one in 0..2 * OF_ALL as i64 {
            expect(&Owner(format!("x{one}")), 2000 + one);
        }
        assert_eq!(arrivals.lock().len(), OF_ALL);
        expect(&bob, 2000 + 2 * OF_ALL as i64 + LIFE_MS);
        assert_eq!(arrivals.lock().len(), 1, "all others are too old");
    }

    #[test]
    fn parts_add_up_to_a_limit_and_replace_each_other() {
        let arrivals = Arrivals::default();
        let (id, _) = arrivals.expect(&Owner("ann".into()), ("k".into(), None), 0);
        let add = |number, name, bytes| {
            let (left, outcome) = arrivals.add(&id, (number, part(name, bytes)), 10);
            (left.map(|part| part.upload.key), outcome.is_ok())
        };
        assert_eq!(add(1, "a", 6), (None, true));
        assert_eq!(add(2, "b", 5), (Some("b".into()), false), "11 of 10 bytes");
        assert_eq!(add(1, "c", 5), (Some("a".into()), true));
        assert_eq!(add(2, "d", 5), (None, true));
        assert!(arrivals.complete(&id, |_| Err(unknown())).is_err());
        let whole = arrivals.complete(&id, |_| Ok(())).ok().unwrap();
        assert_eq!(keys(&whole.parts.into_values().collect::<Vec<_>>()), ["c", "d"]);
        assert!(arrivals.complete(&id, |_| Ok(())).is_err());
        assert_eq!(arrivals.add(&id, (3, part("e", 1)), 10).0.map(|part| part.etag), Some("e".into()));
    }
}
