//! Jobs as they were last read, so that a client that goes on polling need not cost a query each time. What has ended stays as it
//! is until the sweep removes something; what lives is good until its bell rings; a place in the queue, until somebody leaves or
//! passes. Not kept where other servers work on the same record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::Counter;
use serde_json::Value;

use crate::{JobId, JobView, State, VoiceSpec, Work};

/// Views kept at a time. Beyond that all are forgotten: polling brings back the ones that matter.
const MOST: usize = 4096;
/// Of the texts in them: all else of a view is a few kilobytes, but a dialect's note may hold a whole `data:` URL, and a prompt a novel.
const MOST_BYTES: usize = 16 << 20;

pub struct Shelf {
    views: Mutex<Views>,
    hits: Counter,
    misses: Counter,
}

impl Default for Shelf {
    fn default() -> Self {
        let counter = |name| metrics::counter!(name, "cache" => "jobs");
        Self {
            views: Mutex::default(),
            hits: counter("talkie_cache_hits_total"),
            misses: counter("talkie_cache_misses_total"),
        }
    }
}

#[derive(Default)]
struct Views {
    by_id: HashMap<JobId, (Arc<JobView>, Moment)>,
    bytes: usize,
    changes: u64,
}

/// When the record was asked: what it says is kept only if nothing changed until it had answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    changes: u64,
    /// Of the line, at that time.
    moves: u64,
}

impl Shelf {
    /// To be taken before the record is asked.
    pub fn moment(&self, moves: u64) -> Moment {
        Moment { changes: self.views().changes, moves }
    }

    pub fn find(&self, id: &str, owner: Option<&str>, moves: u64) -> Option<Arc<JobView>> {
        let found = self.standing(id, owner, moves);
        if found.is_some() { &self.hits } else { &self.misses }.increment(1);
        found
    }

    fn standing(&self, id: &str, owner: Option<&str>, moves: u64) -> Option<Arc<JobView>> {
        let views = self.views();
        let (view, moment) = views.by_id.get(id)?;
        let stands = view.state != State::Queued || moment.moves == moves;
        // whoever may not see it is answered by the record
        (stands && owner.is_none_or(|owner| owner == view.owner)).then(|| Arc::clone(view))
    }

    pub fn keep(&self, view: &Arc<JobView>, read: Moment) {
        let bytes = load(view);
        let mut views = self.views();
        if bytes > MOST_BYTES || views.changes != read.changes {
            return;
        }
        if views.by_id.len() >= MOST || views.bytes + bytes > MOST_BYTES {
            views.clear();
        }
        views.bytes += bytes;
        if let Some((before, _)) = views.by_id.insert(view.id.clone(), (Arc::clone(view), read)) {
            views.bytes -= load(&before);
        }
    }

    /// The record has something else about it now.
    pub fn changed(&self, id: &str) {
        let mut views = self.views();
        views.changes += 1;
        if let Some((before, _)) = views.by_id.remove(id) {
            views.bytes -= load(&before);
        }
    }

    pub fn forget(&self) {
        let mut views = self.views();
        views.changes += 1;
        views.clear();
    }

    fn views(&self) -> MutexGuard<'_, Views> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Views {
    fn clear(&mut self) {
        self.by_id.clear();
        self.bytes = 0;
    }
}

/// About what its note and its texts take, in bytes.
fn load(view: &JobView) -> usize {
    let texts = match &view.work {
        Some(Work::Take(take)) => {
            let spoken = if let VoiceSpec::Text(text) = &take.voice { text.len() } else { 0 };
            spoken + take.prompt.as_ref().map_or(0, String::len)
        }
        Some(Work::Prepare(_)) | None => 0,
    };
    weight(&view.note) + texts
}

/// About what a note takes, in bytes.
fn weight(note: &Value) -> usize {
    let inner = match note {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + weight(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    inner + size_of::<Value>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(id: usize, state: State, bytes: usize) -> Arc<JobView> {
        Arc::new(JobView {
            id: id.to_string(),
            dialect: "svd".to_owned(),
            owner: "local".to_owned(),
            work: None,
            note: serde_json::json!({ "url": "x".repeat(bytes) }),
            state,
            position: None,
            progress: None,
            created_ms: 0,
            started_ms: None,
            ended_ms: None,
            attempt: 1,
            ending: None,
        })
    }

    #[test]
    fn large_notes_do_not_pile_up() {
        let shelf = Shelf::default();
        for id in 0..100 {
            shelf.keep(&view(id, State::Done, 1 << 20), shelf.moment(0));
            shelf.keep(&view(id, State::Done, 1 << 20), shelf.moment(0));
            let views = shelf.views();
            let held: usize = views.by_id.values().map(|(view, _)| weight(&view.note)).sum();
            assert_eq!(views.bytes, held);
            assert!(held <= MOST_BYTES && views.by_id.contains_key(&id.to_string()), "{id}: {held}");
        }
        shelf.keep(&view(1000, State::Done, MOST_BYTES), shelf.moment(0));
        assert!(shelf.find("1000", None, 0).is_none() && shelf.find("99", None, 0).is_some());
        shelf.changed("99");
        assert!(shelf.find("99", None, 0).is_none());
        shelf.forget();
        assert_eq!(shelf.views().bytes, 0);
    }

    #[test]
    fn what_may_have_changed_is_not_told_again() {
        let shelf = Shelf::default();
        let is_there = |id: usize, moves| shelf.find(&id.to_string(), Some("local"), moves).is_some();
        let before = shelf.moment(0);
        shelf.changed("another");
        shelf.keep(&view(1, State::Running, 0), before);
        assert!(!is_there(1, 0), "something changed while the record was asked");
        shelf.keep(&view(1, State::Running, 0), shelf.moment(0));
        shelf.keep(&view(2, State::Queued, 0), shelf.moment(0));
        shelf.keep(&view(3, State::Done, 0), shelf.moment(0));
        assert!(is_there(1, 0) && is_there(2, 0) && is_there(3, 0));
        assert!(is_there(1, 1) && !is_there(2, 1) && is_there(3, 1), "only those who wait have a place");
        assert!(shelf.find("3", Some("other"), 0).is_none());
        shelf.changed("1");
        assert!(!is_there(1, 0) && is_there(2, 0));
    }
}
