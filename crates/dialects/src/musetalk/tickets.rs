//! Voices that were uploaded to be played by GET: an `<img>` or a `<video>` can neither post nor send a key, so a ticket is
//! the right to play one voice with one avatar, for a while. They live in memory: a restarted server asks for the voice again.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jobs::{Clock, Desk, Received};

use super::from_wire::Line;

pub const LIFE_MS: i64 = 10 * 60 * 1000;
/// A voice that is longer with us than any session: whoever lent it is gone.
pub const LENT_MS: i64 = 24 * 3600 * 1000;
/// The oldest leave first.
const MOST: usize = 1000;

/// An upload that goes when this does: with the session that played it, or with its ticket.
pub struct Lent {
    desk: Desk,
    key: String,
}

impl Lent {
    pub fn new(desk: &Desk, upload: &Received) -> Self {
        Self { desk: desk.clone(), key: upload.key.clone() }
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Lent({})", self.key)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (desk, key) = (self.desk.clone(), std::mem::take(&mut self.key));
        // a drop cannot wait; outside a runtime (the server is gone) retention does it
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(complaint) = desk.discard(&key).await {
                    tracing::warn!(key, %complaint, "a voice that was played could not be removed");
                }
            });
        }
    }
}

#[derive(Default)]
pub struct Tickets(Mutex<VecDeque<(String, i64, Line)>>);

impl Tickets {
    pub fn issue(&self, line: Line, now_ms: i64) -> String {
        let ticket = uuid::Uuid::new_v4().to_string();
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        issued.retain(|(_, until, _)| *until > now_ms);
        if issued.len() >= MOST {
            issued.pop_front();
        }
        issued.push_back((ticket.clone(), now_ms + LIFE_MS, line));
        ticket
    }

    /// The last that was issued, and its voice, go when its time is over, whether or not another one comes.
    pub fn let_go_in_time(self: &Arc<Self>, clock: Clock) {
        let tickets = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(LIFE_MS as u64 + 1)).await;
            if let Some(tickets) = tickets.upgrade() {
                let now_ms = clock.now_ms();
                let mut issued = tickets.0.lock().unwrap_or_else(PoisonError::into_inner);
                issued.retain(|(_, until, _)| *until > now_ms);
            }
        });
    }

    pub fn line(&self, ticket: &str, now_ms: i64) -> Option<Line> {
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        issued.retain(|(_, until, _)| *until > now_ms);
        let found = issued.iter().find(|(known, ..)| known == ticket);
        found.map(|(_, _, line)| line.clone())
    }
}

#[cfg(test)]
mod tests {
    use jobs::{AvatarName, Source};

    use super::*;

    #[test]
    fn a_ticket_is_good_for_a_while_and_the_oldest_leave_first() {
        let avatar = AvatarName { dialect: "musetalk".into(), owner: "local".into(), name: "a".into() };
        let voice = Source::Stored("uploads/x/y".into());
        let line = Line { avatar, voice, lent: None, batch_size: None };
        let tickets = Tickets::default();
        let first = tickets.issue(line.clone(), 0);
        assert!(tickets.line(&first, LIFE_MS - 1).is_some());
        assert!(tickets.line("other", 0).is_none());
        assert!(tickets.line(&first, LIFE_MS).is_none());
        let first = tickets.issue(line.clone(), 0);
        for _ in 0..MOST {
            tickets.issue(line.clone(), 1);
        }
        assert!(tickets.line(&first, 1).is_none());
    }
}
