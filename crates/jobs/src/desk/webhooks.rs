//! What a dialect's courier needs: which webhooks are due, who sends them, and the way out for them.

use std::time::Duration;

use bytes::Bytes;
use contract::Complaint;
use http::HeaderMap;

use super::Desk;
use crate::record::broken;
use crate::record::webhook::{self, Webhook};

/// A wait is never longer: the clock may be set.
const LONGEST: Duration = Duration::from_secs(30);
const SHORTEST: Duration = Duration::from_millis(20);

impl Desk {
    /// Of jobs that have ended, the longest overdue first.
    pub async fn webhooks_due(
        &self,
        dialect: &str,
        now_ms: i64,
        limit: u64,
    ) -> Result<Vec<Webhook>, Complaint> {
        let due = webhook::due(&self.inner.record.read, (dialect, now_ms), limit).await;
        due.map_err(|error| broken(&error))
    }

    /// Begins a try; the next one comes not before `next_ms`, or never. False: another server has begun it.
    pub async fn claim_webhook(&self, webhook: &Webhook, next_ms: Option<i64>) -> Result<bool, Complaint> {
        let claimed = webhook::claim(&self.inner.record.write, webhook, next_ms).await;
        claimed.map_err(|error| broken(&error))
    }

    /// The try that was claimed has failed, and the next begins then, if there is to be one.
    pub async fn webhook_put_off(&self, webhook: &Webhook, next_ms: Option<i64>) -> Result<(), Complaint> {
        let Some(next_ms) = next_ms else { return Ok(()) };
        let put_off = webhook::put_off(&self.inner.record.write, webhook, next_ms).await;
        put_off.map_err(|error| broken(&error))?;
        self.inner.ending.notify_waiters();
        Ok(())
    }

    pub async fn webhook_delivered(&self, webhook: &Webhook) -> Result<(), Complaint> {
        let now_ms = self.inner.clock.now_ms();
        webhook::delivered(&self.inner.record.write, webhook, now_ms).await.map_err(|error| broken(&error))
    }

    /// Until one may be due that was not at `now_ms`: a job has ended, or a time has come.
    pub async fn webhooks_wait(&self, dialect: &str, now_ms: i64) {
        let ended = self.inner.ending.notified();
        tokio::pin!(ended);
        ended.as_mut().enable();
        // what ended between the look and here is found by this second look
        if self.webhooks_due(dialect, now_ms, 1).await.is_ok_and(|due| !due.is_empty()) {
            return;
        }
        let next = webhook::next_ms(&self.inner.record.read, (dialect, now_ms)).await.ok().flatten();
        let left = next
            .map(|next| Duration::from_millis(next.saturating_sub(self.inner.clock.now_ms()).max(0) as u64));
        let wait = left.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST);
        let _ = tokio::time::timeout(wait, ended).await;
    }

    /// Posts to a user's address, under the guard; its status. Redirects are not followed.
    pub async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        (body, patience): (Bytes, Duration),
    ) -> Result<u16, Complaint> {
        self.inner.store.post(url, headers, (body, patience)).await
    }
}
