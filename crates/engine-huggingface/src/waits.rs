//! How long is waited before a request is sent again. Pure: clock and chance are handed in.

use std::time::{Duration, SystemTime};

/// Where a provider that loads a model names no time, as the original backend has it.
const LOADING: Duration = Duration::from_secs(20);
/// By which that grows each time.
const LOADING_GROWS: f64 = 1.5;
/// Whatever a provider names, it is asked neither more often than this nor more seldom.
const LOADING_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
/// The first back-off may be as long as this, each next one twice as long.
const BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// Until a model is loaded. `before`: how often it was waited for already.
pub fn loading(estimated: Option<f64>, before: u32) -> Duration {
    let seconds = match estimated.filter(|seconds| seconds.is_finite() && *seconds >= 0.0) {
        Some(seconds) => seconds,
        None => LOADING.as_secs_f64() * LOADING_GROWS.powi(before.min(16) as i32),
    };
    let (least, most) = LOADING_RANGE;
    Duration::from_secs_f64(seconds.clamp(least.as_secs_f64(), most.as_secs_f64()))
}

/// Exponential with full jitter: anything up to the bound. `failures` counts from 1; `chance` is any number.
pub fn back_off(failures: u32, chance: u64) -> Duration {
    let bound = BACK_OFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_BACK_OFF);
    bound.mul_f64(chance as f64 / u64::MAX as f64)
}

/// As long as a provider asks for and a little more: who was refused together does not come again together.
pub fn after(asked: Duration, chance: u64) -> Duration {
    asked + asked.min(LONGEST_BACK_OFF).mul_f64(0.1 * (chance as f64 / u64::MAX as f64))
}

/// `Retry-After`: seconds, or a date.
pub fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    match text.trim().parse::<f64>() {
        Ok(seconds) if (0.0..1e9).contains(&seconds) => Some(Duration::from_secs_f64(seconds)),
        Ok(_) => None,
        Err(_) => Some(httpdate::parse_http_date(text.trim()).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loading_model_is_waited_for_as_it_says_within_bounds() {
        let rows = [
            (Some(33.5), 4, 33.5),
            (Some(0.0), 0, 1.0),
            (Some(1e12), 0, 120.0),
            (Some(-5.0), 0, 20.0),
            (Some(f64::NAN), 0, 20.0),
            (None, 0, 20.0),
            (None, 1, 30.0),
            (None, 2, 45.0),
            (None, 40, 120.0),
        ];
        for (estimated, before, expected) in rows {
            assert_eq!(loading(estimated, before).as_secs_f64(), expected, "{estimated:?} {before}");
        }
    }

    #[test]
    fn back_offs_double_and_are_anything_up_to_that() {
        let rows = [
            (1, u64::MAX, 1.0),
            (2, u64::MAX, 2.0),
            (4, u64::MAX / 2, 4.0),
            (9, u64::MAX, 30.0),
            (200, u64::MAX, 30.0),
            (3, 0, 0.0),
        ];
        for (failures, chance, expected) in rows {
            let wait = back_off(failures, chance).as_secs_f64();
            assert!((wait - expected).abs() < 1e-6, "{failures} {chance}: {wait}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let rows = [
            ("3", Some(3.0)),
            (" 0.5 ", Some(0.5)),
            ("Thu, 01 Jan 1970 00:00:17 GMT", Some(7.0)),
            ("Thu, 01 Jan 1970 00:00:07 GMT", Some(0.0)),
            ("-1", None),
            ("inf", None),
            ("soon", None),
        ];
        for (text, expected) in rows {
            assert_eq!(retry_after(text, now).map(|wait| wait.as_secs_f64()), expected, "{text}");
        }
    }
}
