//! Milliseconds since the epoch as the dialects write them, in UTC.

/// year, month, day, hour, minute, second, millisecond; the calendar by Howard Hinnant's `civil_from_days`.
fn civil(ms: i64) -> (i64, i64, i64, i64, i64, i64, i64) {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day, rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000)
}

/// `20251102_143022`
pub fn stamp(ms: i64) -> String {
    let (year, month, day, hour, minute, second, _) = civil(ms);
    format!("{year:04}{month:02}{day:02}_{hour:02}{minute:02}{second:02}")
}

/// `2025-09-25T10:03:58.123Z`
pub fn iso(ms: i64) -> String {
    let (year, month, day, hour, minute, second, milli) = civil(ms);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let rows = [
            (0, "1970-01-01T00:00:00.000Z", "19700101_000000"),
            (1_758_794_638_123, "2025-09-25T10:03:58.123Z", "20250925_100358"),
            (1_709_208_000_000, "2024-02-29T12:00:00.000Z", "20240229_120000"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z", "20000228_235959"),
            (-1, "1969-12-31T23:59:59.999Z", "19691231_235959"),
        ];
        for (ms, written, stamped) in rows {
            assert_eq!((iso(ms).as_str(), stamp(ms).as_str()), (written, stamped));
        }
    }
}
