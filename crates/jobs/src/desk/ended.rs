//! Jobs that have ended, as they were last read: terminal is terminal, so a client that goes on polling need not cost a
//! query each time. Forgotten whenever the sweep removes anything, and not kept where other servers sweep too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{JobId, JobView};

/// Views kept at a time; a few kilobytes each. Beyond that all are forgotten: polling brings back the ones that matter.
const MOST: usize = 1024;

#[derive(Default)]
pub struct Shelf {
    views: Mutex<HashMap<JobId, Arc<JobView>>>,
}

impl Shelf {
    pub fn find(&self, id: &str, owner: Option<&str>) -> Option<JobView> {
        let view = self.views().get(id).cloned()?;
        // whoever may not see it is answered by the record
        owner.is_none_or(|owner| owner == view.owner).then(|| JobView::clone(&view))
    }

    pub fn keep(&self, view: &JobView) {
        if !view.state.is_terminal() {
            return;
        }
        let mut views = self.views();
        if views.len() >= MOST {
            views.clear();
        }
        views.insert(view.id.clone(), Arc::new(view.clone()));
    }

    pub fn forget(&self) {
        self.views().clear();
    }

    fn views(&self) -> MutexGuard<'_, HashMap<JobId, Arc<JobView>>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
