//! Wall time for token claims and creation dates; lifetimes use tokio's clock so that tests can pause it.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Returns the seconds since the Unix epoch.
pub(crate) fn unix_now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// Returns the milliseconds since the Unix epoch.
pub(crate) fn unix_millis() -> i64 {
    millis(OffsetDateTime::now_utc())
}

/// Reads a date and time with its offset, in milliseconds since the Unix epoch.
pub(crate) fn parse_millis(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(millis)
}

fn millis(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// Returns the present moment as the console prints it: seven fractional digits and an offset.
pub(crate) fn stamp() -> String {
    let now = OffsetDateTime::now_utc();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:07}+00:00",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second(),
        now.nanosecond() / 100,
    )
}
