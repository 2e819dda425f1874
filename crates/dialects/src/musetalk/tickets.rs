//! Voices that were uploaded to be played by GET: an `<img>` or a `<video>` can neither post nor send a key, so a ticket is
//! the right to play one voice with one avatar, for a while. They live in memory: a restarted server asks for the voice again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::from_wire::Line;

pub const LIFE_MS: i64 = 10 * 60 * 1000;
/// The oldest leave first.
const MOST: usize = 1000;

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

    pub fn line(&self, ticket: &str, now_ms: i64) -> Option<Line> {
        let issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = issued.iter().find(|(known, until, _)| known == ticket && *until > now_ms);
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
        let line = Line { avatar, voice: Source::Stored("uploads/x/y".into()), batch_size: None };
        let tickets = Tickets::default();
        let first = tickets.issue(line.clone(), 0);
        assert!(tickets.line(&first, LIFE_MS - 1).is_some());
        assert!(tickets.line(&first, LIFE_MS).is_none());
        assert!(tickets.line("other", 0).is_none());
        for _ in 0..MOST {
            tickets.issue(line.clone(), 1);
        }
        assert!(tickets.line(&first, 1).is_none());
    }
}
