//! Several servers on one Postgres. Each counts up the beat of the rows it runs; a row whose beat has stood still for a whole
//! lease, by this server's own monotonic clock, is taken back into the queue. On SQLite there is one server and none of this.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::DbErr;
use tokio::time::Instant;

use super::Dispatch;
use super::floor::Key;
use crate::record::claim;
use crate::record::job::Fence;
use crate::record::settle::{self, Outcome};

pub struct Fleet {
    look: Option<Duration>,
    looked: Instant,
    /// Rows of others: the beat last seen, and since when.
    beats: HashMap<Fence, (i64, Instant)>,
}

impl Fleet {
    pub fn new(look: Option<Duration>) -> Self {
        Self { look, looked: Instant::now(), beats: HashMap::new() }
    }

    pub fn next(&self) -> Option<Instant> {
        self.look.map(|look| self.looked + look)
    }
}

impl Dispatch {
    pub(super) async fn look_at_fleet(&mut self, now: Instant) {
        if self.fleet.next().is_none_or(|next| next > now) {
            return;
        }
        self.fleet.looked = now;
        if let Err(error) = self.renew().await {
            tracing::error!(%error, "the lease on the running jobs could not be renewed");
            return;
        }
        if let Err(error) = self.take_over(now).await {
            tracing::error!(%error, "jobs of servers that are gone could not be taken over");
        }
        // what others submitted, ended or canceled
        self.restless = true;
        self.desk.bells.ring_all();
    }

    /// Shows that we live; hears of cancels that came in elsewhere, of attempts that were taken from us, and of claims whose
    /// commit the record took without our hearing of it: nobody is at them, so they wait again.
    async fn renew(&mut self) -> Result<(), DbErr> {
        let ours: HashMap<Fence, bool> =
            claim::renew(&self.desk.record, &self.desk.boot).await?.into_iter().collect();
        let (mut to_cancel, mut lost): (Vec<Key>, Vec<Key>) = (Vec::new(), Vec::new());
        for (key, attempt) in &self.attempts {
            match ours.get(&attempt.fence) {
                Some(true) if attempt.leave_by.is_none() => to_cancel.push(key.clone()),
                Some(_) => {}
                None => lost.push(key.clone()),
            }
        }
        let unheard: Vec<Fence> = ours.into_keys().filter(|fence| !self.is_at(*fence)).collect();
        for fence in unheard {
            tracing::warn!(seq = fence.seq, attempt = fence.attempt, "claimed, but nobody was told");
            let why = "its claim was not acknowledged".to_owned();
            settle::settle(&self.desk.record, fence, Outcome::Lost { why }, self.desk.clock.now_ms()).await?;
        }
        for key in lost.iter().chain(&to_cancel) {
            self.ask_to_leave(&key.0);
        }
        for key in &lost {
            tracing::warn!(job = %key.0, attempt = key.1, "another server has taken it over");
        }
        Ok(())
    }

    async fn take_over(&mut self, now: Instant) -> Result<(), DbErr> {
        let rows = claim::of_others(&self.desk.record, &self.desk.boot).await?;
        let before = std::mem::take(&mut self.fleet.beats);
        for row in rows {
            let since = match before.get(&row.fence()) {
                Some((beat, since)) if *beat == row.beat => *since,
                _ => now,
            };
            if now - since < self.desk.lease {
                self.fleet.beats.insert(row.fence(), (row.beat, since));
                continue;
            }
            tracing::warn!(job = %row.id, "its server shows no sign of life: taken over");
            let why = "its server is gone".to_owned();
            let now_ms = self.desk.clock.now_ms();
            settle::settle(&self.desk.record, row.fence(), Outcome::Lost { why }, now_ms).await?;
            self.desk.changed(&row.id);
        }
        Ok(())
    }
}
