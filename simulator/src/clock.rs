//! Wall time for token claims and creation dates; lifetimes use tokio's clock so that tests can pause it.

use time::OffsetDateTime;

/// Returns the seconds since the Unix epoch.
pub(crate) fn unix_now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
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
