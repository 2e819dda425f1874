//! What may go: takes by age and by total size, uploads that nobody needs, assets of avatars that have lost their name, files
//! of attempts that came to nothing, and old records. Nothing that is being read goes, and nothing that a living job names.

use std::sync::Arc;
use std::time::Duration;

use contract::Complaint;

use crate::desk::Inner;
use crate::record::keep::UploadAge;
use crate::record::{avatar, broken, job, keep};
use crate::{State, reel, scratch};

const INTERVAL: Duration = Duration::from_secs(60);

/// What a sweep removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub takes: u64,
    pub uploads: u64,
    pub records: u64,
}

pub async fn watch(desk: Arc<Inner>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match desk.sweep().await {
            Ok(swept) if swept == Swept::default() => {}
            Ok(Swept { takes, uploads, records }) => {
                tracing::info!(takes, uploads, records, "retention removed what was due");
            }
            Err(complaint) => tracing::warn!(%complaint, "retention could not remove what was due"),
        }
    }
}

/// What could not be removed.
#[derive(Default)]
struct Stuck(Option<Complaint>);

impl Stuck {
    /// Whether it is gone; a failure is kept for the end.
    fn tells(&mut self, key: &str, removed: Result<bool, Complaint>) -> bool {
        removed.unwrap_or_else(|complaint| {
            tracing::warn!(key, %complaint, "this cannot be removed");
            self.0.get_or_insert(complaint);
            false
        })
    }

    fn or<T>(self, outcome: T) -> Result<T, Complaint> {
        self.0.map_or(Ok(outcome), Err)
    }
}

impl Inner {
    /// The first failure, if any; what else was due is gone all the same.
    pub async fn sweep(&self) -> Result<Swept, Complaint> {
        // one that fails keeps none of the others from going
        let (tidied, dropped) = (self.tidy_all().await, self.drop_doomed().await);
        let (takes, uploads) = (self.sweep_takes().await, self.sweep_uploads().await);
        let (records, reels) = (self.sweep_records().await, self.sweep_reels().await);
        tidied.and(dropped).and(reels)?;
        Ok(Swept { takes: takes?, uploads: uploads?, records: records? })
    }

    /// Reels of jobs that nobody will go on with.
    async fn sweep_reels(&self) -> Result<(), Complaint> {
        let Ok(mut reels) = tokio::fs::read_dir(reel::shelf(&self.store)).await else { return Ok(()) };
        let mut stuck = Stuck::default();
        while let Ok(Some(entry)) = reels.next_entry().await {
            let id = entry.file_name().to_string_lossy().into_owned();
            let row = job::by_id(&self.record.read, &id).await.map_err(|error| broken(&error))?;
            let living = |row: job::Model| State::named(&row.state).is_some_and(|state| !state.is_terminal());
            if row.is_some_and(living) {
                continue;
            }
            let removed = tokio::fs::remove_dir_all(entry.path()).await;
            let removed = removed.map_err(|error| scratch::failed(&entry.path(), &error));
            stuck.tells(&id, removed.map(|()| true));
        }
        stuck.or(())
    }

    async fn sweep_records(&self) -> Result<u64, Complaint> {
        let Some(cutoff) = self.cutoff(self.retention.records_age) else { return Ok(0) };
        let records = keep::forget_jobs(&self.record.write, cutoff).await.map_err(|e| broken(&e))?;
        if records > 0 {
            self.shelf.forget();
        }
        Ok(records)
    }

    fn cutoff(&self, age: Option<Duration>) -> Option<i64> {
        let age = i64::try_from(age?.as_millis()).unwrap_or(i64::MAX);
        Some(self.clock.now_ms().saturating_sub(age))
    }

    /// By age, and from the oldest on until the rest fits.
    async fn sweep_takes(&self) -> Result<u64, Complaint> {
        let cutoff = self.cutoff(self.retention.takes_age);
        let limit = self.retention.takes_bytes;
        let now_ms = self.clock.now_ms();
        let takes = keep::takes(&self.record.read).await.map_err(|error| broken(&error))?;
        let (mut room, mut removed, mut stuck) = (limit.unwrap_or(u64::MAX), 0, Stuck::default());
        for take in takes {
            let fits = room.checked_sub(take.bytes);
            room = fits.unwrap_or(0); // what is older than one that does not fit goes too
            let expired = take.keep_ms.is_some_and(|keep| take.ended_ms.saturating_add(keep) <= now_ms);
            let old = expired || cutoff.is_some_and(|cutoff| take.ended_ms < cutoff);
            if (old || fits.is_none()) && stuck.tells(&take.key, self.remove(&take.key).await) {
                keep::mark_removed(&self.record.write, take.seq, now_ms).await.map_err(|e| broken(&e))?;
                self.shelf.forget();
                removed += 1;
            }
        }
        stuck.or(removed)
    }

    async fn sweep_uploads(&self) -> Result<u64, Complaint> {
        let age =
            UploadAge { cutoff_ms: self.cutoff(self.retention.uploads_age), now_ms: self.clock.now_ms() };
        let old = keep::old_uploads(&self.record.read, age).await.map_err(|error| broken(&error))?;
        let (mut removed, mut stuck) = (0, Stuck::default());
        for key in old {
            // in this order: a job that names it now finds either both, or no row and is refused
            let forgotten = keep::forget_upload(&self.record.write, &key, age).await;
            if !forgotten.map_err(|error| broken(&error))? {
                continue;
            }
            if stuck.tells(&key, self.remove(&key).await) {
                removed += 1;
            } else {
                // it is being read: the next sweep finds it as old as it was
                let known = keep::add_upload(&self.record.write, &key, 0).await;
                known.map_err(|error| broken(&error))?;
                let expires = keep::expire_upload(&self.record.write, &key, age.now_ms).await;
                expires.map_err(|error| broken(&error))?;
            }
        }
        stuck.or(removed)
    }

    /// True when it is not there any more; false while somebody reads it.
    async fn remove(&self, key: &str) -> Result<bool, Complaint> {
        Ok(self.store.remove(key).await? || self.store.read(key).await?.is_none())
    }

    /// Assets without a name go as soon as no living job holds them.
    pub async fn drop_doomed(&self) -> Result<(), Complaint> {
        let unused = avatar::unused(&self.record.write).await.map_err(|error| broken(&error))?;
        let mut stuck = Stuck::default();
        for key in unused {
            // in this order: a job that pins it now finds either both, or no row and is refused
            let forgotten = avatar::forget_doomed(&self.record, &key).await;
            if !forgotten.map_err(|error| broken(&error))? {
                continue;
            }
            if let Err(complaint) = self.store.remove(&key).await {
                avatar::doom(&self.record.write, &key).await.map_err(|error| broken(&error))?;
                stuck.tells(&key, Err(complaint));
            }
        }
        stuck.or(())
    }

    async fn tidy_all(&self) -> Result<(), Complaint> {
        let littered = keep::littered(&self.record.read).await.map_err(|error| broken(&error))?;
        let mut stuck = Stuck::default();
        for row in littered {
            let tidied = self.tidy(row.seq, &row.id).await;
            stuck.tells(&row.id, tidied.map(|()| true));
        }
        stuck.or(())
    }

    /// Removes what attempts of a job have left; only for a job that nobody runs and that has no take.
    pub async fn tidy(&self, seq: i64, id: &str) -> Result<(), Complaint> {
        self.sweep_left(id).await?;
        keep::mark_tidy(&self.record.write, seq).await.map_err(|error| broken(&error))
    }

    /// The same before the next attempt, which leaves something of its own.
    pub async fn sweep_left(&self, id: &str) -> Result<(), Complaint> {
        self.store.remove(&format!("takes/{id}")).await?;
        self.store.remove(&format!("avatars/{id}")).await.map(|_| ())
    }
}
