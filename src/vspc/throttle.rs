//! How long a 429 of an ordinary call asks to wait.

use std::time::Duration;

use http::HeaderValue;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::clock::Timestamp;

/// How long to wait: what the body says in seconds, else the `Retry-After` header, in seconds or
/// as a date. `None` when neither does: then too many requests were under way at once.
pub fn retry_after(header: Option<&HeaderValue>, body: &[u8], now: Timestamp) -> Option<Duration> {
    in_body(body).or_else(|| in_header(header?.to_str().ok()?.trim(), now))
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<Throttled>,
}

#[derive(Deserialize)]
struct Throttled {
    #[serde(rename = "retryAfter")]
    retry_after: Option<Value>,
}

fn in_body(body: &[u8]) -> Option<Duration> {
    let errors: Errors = serde_json::from_slice(body).ok()?;
    let told = errors
        .errors
        .into_iter()
        .filter_map(|error| seconds(&error.retry_after?));
    told.max()
}

fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Object(_) => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

fn in_header(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    let micros = i64::try_from(at.unix_timestamp_nanos() / 1000).ok()?;
    let left = u64::try_from(micros.saturating_sub(now.0)).unwrap_or(0);
    Some(Duration::from_micros(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(header: Option<&'static str>, body: &str) -> Option<f64> {
        // 2026-03-04T05:06:07Z
        let now = Timestamp(1_772_600_767_000_000);
        let header = header.map(HeaderValue::from_static);
        retry_after(header.as_ref(), body.as_bytes(), now).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn the_body_says_how_long_to_wait() {
        for (body, expected) in [
            (
                r#"{"errors":[{"type":"transport","code":429,"retryAfter":7}]}"#,
                Some(7.0),
            ),
            (r#"{"errors":[{"retryAfter":"8"}]}"#, Some(8.0)),
            (
                r#"{"errors":[{"retryAfter":0.5},{"code":429},{"retryAfter":2}]}"#,
                Some(2.0),
            ),
            (r#"{"errors":[{"retryAfter":0}]}"#, Some(0.0)),
            (r#"{"errors":[{"retryAfter":-1}]}"#, None),
            (r#"{"errors":[{"retryAfter":1e300}]}"#, None),
            (r#"{"errors":[{"retryAfter":[3]}]}"#, None),
            (r#"{"errors":[{"code":429}]}"#, None),
            (r#"{"errors":7}"#, None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(wait(None, body), expected, "{body}");
        }
    }

    #[test]
    fn the_header_says_it_where_the_body_does_not() {
        for (header, expected) in [
            ("5", Some(5.0)),
            (" 5 ", Some(5.0)),
            ("Wed, 04 Mar 2026 05:06:37 GMT", Some(30.0)),
            ("Wed, 04 Mar 2026 05:00:00 GMT", Some(0.0)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ] {
            assert_eq!(wait(Some(header), "{}"), expected, "{header}");
        }
        assert_eq!(
            wait(Some("5"), r#"{"errors":[{"retryAfter":7}]}"#),
            Some(7.0)
        );
    }
}
