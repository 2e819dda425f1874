//! Trying again: how often, and after how long. Progress renews the patience.

use std::time::Duration;

use contract::Complaint;

use super::{PullEvent, Teller};
use crate::hub::Fault;

/// Tries without progress before a file is given up.
const TRIES: u32 = 7;
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// A server that wants to be left alone for longer is told to the user instead.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

pub struct Patience<'a> {
    label: &'a str,
    teller: &'a Teller,
    failed: u32,
}

impl<'a> Patience<'a> {
    pub fn new(label: &'a str, teller: &'a Teller) -> Self {
        Self { label, teller, failed: 0 }
    }

    pub fn renew(&mut self) {
        self.failed = 0;
    }

    /// Waits until another try is due; an error once it is not.
    pub async fn wait(&mut self, why: &str, asked: Option<Duration>) -> Result<(), Complaint> {
        self.failed += 1;
        let wait = asked.unwrap_or_else(|| delay(self.failed));
        if self.failed >= TRIES || wait > LONGEST_ASKED {
            let message = match asked {
                Some(wait) if wait > LONGEST_ASKED => {
                    format!("{}: {why}; it asks to be left alone for {} s", self.label, wait.as_secs())
                }
                _ => format!("{}: {why}, {TRIES} times without progress", self.label),
            };
            return Err(Complaint::new(
                "unreachable",
                message,
                "what is there already stays; run the same command again",
            ));
        }
        self.teller.tell(PullEvent::Waiting { label: self.label, why, wait });
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Calls until it succeeds, is refused, or patience ends.
pub async fn insist<T>(
    label: &str,
    teller: &Teller,
    mut attempt: impl AsyncFnMut() -> Result<T, Fault>,
) -> Result<T, Fault> {
    let mut patience = Patience::new(label, teller);
    loop {
        match attempt().await {
            Err(Fault::Later { why, after }) => patience.wait(&why, after).await.map_err(Fault::Refused)?,
            outcome => return outcome,
        }
    }
}

fn delay(failed: u32) -> Duration {
    FIRST.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let rows = [(1, 500), (2, 1000), (4, 4000), (7, 30_000), (40, 30_000)];
        for (failed, millis) in rows {
            assert_eq!(delay(failed), Duration::from_millis(millis), "{failed}");
        }
    }
}
