//! Wall time for stamps; deadlines use tokio's clock so that tests can pause it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The bytes of an RFC 3339 stamp with microseconds.
    pub const TEXT_LEN: usize = 27;

    /// Writes the stamp as RFC 3339 in UTC with microseconds, e.g. `2026-03-04T05:06:07.000089Z`.
    pub fn text(self) -> [u8; Self::TEXT_LEN] {
        thread_local! {
            // Each record has a stamp: its date is written once a second.
            static LAST: Cell<(i64, [u8; Timestamp::TEXT_LEN])> =
                const { Cell::new((0, *b"1970-01-01T00:00:00.000000Z")) };
        }
        let second = self.0.div_euclid(1_000_000);
        let micros = u32::try_from(self.0.rem_euclid(1_000_000)).unwrap_or(0);
        let (of, mut text) = LAST.get();
        if of != second {
            text = whole(second);
            LAST.set((second, text));
        }
        put(&mut text, 20, 6, micros);
        text
    }

    /// The stamp without its microseconds, e.g. `2026-12-31T00:00:00Z`.
    pub fn in_seconds(self) -> String {
        let text = self.text();
        let seconds = text.iter().take(19).map(|byte| char::from(*byte));
        seconds.chain(std::iter::once('Z')).collect()
    }

    /// Reads a stamp of RFC 3339, which says its offset.
    pub fn parse(text: &str) -> Option<Self> {
        let format = &time::format_description::well_known::Rfc3339;
        let at = time::OffsetDateTime::parse(text, format).ok()?;
        let micros = at.unix_timestamp_nanos().div_euclid(1000);
        i64::try_from(micros).ok().map(Self)
    }
}

/// Where wall time comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// A clock that a test sets by hand, in microseconds since the epoch.
    Manual(Arc<AtomicI64>),
    /// A clock that goes with tokio's own, from a fixed moment on; and that can be made to jump, by
    /// seconds.
    #[cfg(test)]
    Paced(tokio::time::Instant, Arc<AtomicI64>),
    /// The machine's own clock.
    #[default]
    System,
}

impl Clock {
    /// The wall time now. Never used for deadlines.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::Manual(micros) => Timestamp(micros.load(Ordering::Relaxed)),
            #[cfg(test)]
            Self::Paced(origin, jump) => {
                let gone = i64::try_from(origin.elapsed().as_micros()).unwrap();
                Timestamp(1_700_000_000_000_000 + gone + jump.load(Ordering::Relaxed) * 1_000_000)
            }
            Self::System => system_now(),
        }
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "this module is where wall time comes from"
)]
fn system_now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The stamp of a second.
fn whole(second: i64) -> [u8; Timestamp::TEXT_LEN] {
    let at = time::OffsetDateTime::from_unix_timestamp(second)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    put(&mut text, 0, 4, u32::try_from(at.year()).unwrap_or(0));
    put(&mut text, 5, 2, u8::from(at.month()).into());
    put(&mut text, 8, 2, at.day().into());
    put(&mut text, 11, 2, at.hour().into());
    put(&mut text, 14, 2, at.minute().into());
    put(&mut text, 17, 2, at.second().into());
    text
}

#[inline]
fn put(text: &mut [u8; Timestamp::TEXT_LEN], start: usize, width: usize, mut value: u32) {
    let digits = text.get_mut(start..start + width).unwrap_or_default();
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_rfc_3339_with_microseconds() {
        let text = |micros| String::from_utf8(Timestamp(micros).text().to_vec()).unwrap();
        assert_eq!(text(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text(1_772_600_767_000_089), "2026-03-04T05:06:07.000089Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(text(951_782_400_000_000), "2000-02-29T00:00:00.000000Z");
    }

    #[test]
    fn a_stamp_does_not_depend_on_the_one_before() {
        let text = |micros| String::from_utf8(Timestamp(micros).text().to_vec()).unwrap();
        for (micros, expected) in [
            (1_772_600_767_999_999, "2026-03-04T05:06:07.999999Z"),
            (1_772_600_767_000_001, "2026-03-04T05:06:07.000001Z"),
            (1_772_600_768_000_000, "2026-03-04T05:06:08.000000Z"),
            (7, "1970-01-01T00:00:00.000007Z"),
            (1_772_600_767_000_001, "2026-03-04T05:06:07.000001Z"),
        ] {
            assert_eq!(text(micros), expected);
        }
    }

    #[test]
    fn stamps_read_back_what_they_print() {
        let parsed = Timestamp::parse("2026-12-31T01:00:00+01:00").unwrap();
        assert_eq!(parsed.in_seconds(), "2026-12-31T00:00:00Z");
        assert_eq!(Timestamp::parse(&parsed.in_seconds()), Some(parsed));
        for none in [
            "2026-12-31",
            "2026-12-31T00:00:00",
            "2026-02-30T00:00:00Z",
            "",
        ] {
            assert_eq!(Timestamp::parse(none), None, "{none}");
        }
    }
}
