//! How fast a body has to come: whoever sends a byte now and then only holds a place that others wait for.

use std::time::{Duration, Instant};

use axum::http::StatusCode;

use super::refused::Refused;

/// A client that sends nothing for so long has gone, or wants to hold the connection.
const IDLE: Duration = Duration::from_secs(30);
/// A body may take so long whatever its size,
const GRACE: Duration = Duration::from_secs(60);
/// and beyond that only if it comes at least at this rate, in bytes a second: the uplink of a bad telephone.
const LEAST_RATE: u64 = 8 << 10;

/// Of one body, from its beginning.
pub struct Pace {
    begun: Instant,
}

impl Pace {
    pub fn begin() -> Self {
        Self { begun: Instant::now() }
    }

    /// Waits for the piece behind the first `bytes`, for as long as its sender may take.
    pub async fn next<T>(&self, bytes: u64, piece: impl Future<Output = T>) -> Result<T, Refused> {
        let left = left(self.begun.elapsed(), bytes);
        tokio::time::timeout(left.min(IDLE), piece).await.map_err(|_| {
            let detail = if left < IDLE {
                format!("the body came slower than {} KiB a second; send it again", LEAST_RATE >> 10)
            } else {
                format!("nothing of the body came for {} s; send it again", IDLE.as_secs())
            };
            Refused::said(StatusCode::REQUEST_TIMEOUT, detail)
        })
    }
}

/// How long a body may still take of which so much has come.
fn left(elapsed: Duration, bytes: u64) -> Duration {
    (GRACE + Duration::from_secs(bytes / LEAST_RATE)).saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_body_has_its_time_and_no_more() {
        let rows = [
            (0, 0, 60),
            (59, 0, 1),
            (60, 29, 0), // a byte now and then is no reason to wait on
            (60, 10 * LEAST_RATE, 10),
            (3600, 512 << 20, 61_996),
        ];
        for (elapsed, bytes, expected) in rows {
            let left = left(Duration::from_secs(elapsed), bytes);
            assert_eq!(left, Duration::from_secs(expected), "{elapsed} s, {bytes} bytes");
        }
    }
}
