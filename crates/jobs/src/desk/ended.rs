//! Jobs that have ended, as they were last read: terminal is terminal, so a client that goes on polling need not cost a
//! query each time. Forgotten whenever the sweep removes anything, and not kept where other servers sweep too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::{JobId, JobView};

/// Views kept at a time. Beyond that all are forgotten: polling brings back the ones that matter.
const MOST: usize = 1024;
/// Of the dialects' notes in them: all else of a view is a few kilobytes, but a note may hold a whole `data:` URL.
const MOST_BYTES: usize = 16 << 20;

#[derive(Default)]
pub struct Shelf {
    views: Mutex<Views>,
}

#[derive(Default)]
struct Views {
    by_id: HashMap<JobId, Arc<JobView>>,
    bytes: usize,
}

impl Shelf {
    pub fn find(&self, id: &str, owner: Option<&str>) -> Option<JobView> {
        let view = self.views().by_id.get(id).cloned()?;
        // whoever may not see it is answered by the record
        owner.is_none_or(|owner| owner == view.owner).then(|| JobView::clone(&view))
    }

    pub fn keep(&self, view: &JobView) {
        if !view.state.is_terminal() {
            return;
        }
        let bytes = weight(&view.note);
        if bytes > MOST_BYTES {
            return;
        }
        let mut views = self.views();
        if views.by_id.len() >= MOST || views.bytes + bytes > MOST_BYTES {
            *views = Views::default();
        }
        views.bytes += bytes;
        if let Some(before) = views.by_id.insert(view.id.clone(), Arc::new(view.clone())) {
            views.bytes -= weight(&before.note);
        }
    }

    pub fn forget(&self) {
        *self.views() = Views::default();
    }

    fn views(&self) -> MutexGuard<'_, Views> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    use crate::State;

    fn view(id: usize, bytes: usize) -> JobView {
        JobView {
            id: id.to_string(),
            dialect: "svd".to_owned(),
            owner: "local".to_owned(),
            work: None,
            note: serde_json::json!({ "url": "x".repeat(bytes) }),
            state: State::Done,
            position: None,
            progress: None,
            created_ms: 0,
            started_ms: None,
            ended_ms: None,
            attempt: 1,
            ending: None,
        }
    }

    #[test]
    fn large_notes_do_not_pile_up() {
        let shelf = Shelf::default();
        for id in 0..100 {
            shelf.keep(&view(id, 1 << 20));
            shelf.keep(&view(id, 1 << 20));
            let views = shelf.views();
            let held: usize = views.by_id.values().map(|view| weight(&view.note)).sum();
            assert_eq!(views.bytes, held);
            assert!(held <= MOST_BYTES && views.by_id.contains_key(&id.to_string()), "{id}: {held}");
        }
        shelf.keep(&view(1000, MOST_BYTES));
        assert!(shelf.find("1000", None).is_none() && shelf.find("99", None).is_some());
    }
}
