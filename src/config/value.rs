//! What single values are read into.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::{FromItem, Item, Section};
use crate::quota;
use crate::secret::{Secret, SecretSource};
use crate::upstream::share::Rate;

impl FromItem for String {
    fn from_item(item: &Item<'_>) -> Option<Self> {
        let text = item.raw().as_str();
        if text.is_none() {
            item.expected("text");
        }
        text.map(str::to_owned)
    }
}

impl FromItem for bool {
    fn from_item(item: &Item<'_>) -> Option<Self> {
        let value = item.raw().as_bool();
        if value.is_none() {
            item.expected("true or false");
        }
        value
    }
}

impl FromItem for usize {
    fn from_item(item: &Item<'_>) -> Option<Self> {
        let Some(integer) = item.raw().as_integer() else {
            item.expected("a whole number");
            return None;
        };
        let value = Self::from_str_radix(integer.as_str(), integer.radix()).ok();
        if value.is_none() {
            item.fault("must be a whole number, not negative");
        }
        value
    }
}

impl FromItem for u32 {
    fn from_item(item: &Item<'_>) -> Option<Self> {
        item.read_with(|number: usize| Self::try_from(number).map_err(|_| "is too large"))
    }
}

impl FromItem for Duration {
    fn from_item(item: &Item<'_>) -> Option<Self> {
        item.read_with(|text: String| {
            parse_duration(&text)
                .ok_or(r#"must be a duration such as "500ms", "30s", "5m" or "1h""#)
        })
    }
}

/// A duration above zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Time(pub(super) Duration);

impl FromItem for Time {
    fn from_item(item: &Item<'_>) -> Option<Self> {
        item.read_with(|time: Duration| {
            if time.is_zero() {
                Err("must be above zero")
            } else {
                Ok(Self(time))
            }
        })
    }
}

/// Reads a time that must not be shorter than `least`, for a reason.
pub(super) fn at_least(
    section: &mut Section<'_>,
    key: &'static str,
    default: Duration,
    (least, why): (Duration, &str),
) -> Option<Duration> {
    section.optional(key).map_or(Some(default), |item| {
        item.read_with(|time: Duration| match time >= least {
            true => Ok(time),
            false => Err(format!("must be at least {least:?}: {why}")),
        })
    })
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Size(pub(super) u64);

impl FromItem for Size {
    fn from_item(item: &Item<'_>) -> Option<Self> {
        item.read_with(|text: String| {
            parse_size(&text)
                .map(Self)
                .ok_or(r#"must be a size such as "512B", "64KiB", "1MiB" or "1GiB""#)
        })
    }
}

impl FromItem for Rate {
    fn from_item(item: &Item<'_>) -> Option<Self> {
        item.read_with(|text: String| {
            parse_rate(&text)
                .and_then(|(count, span)| Self::new(count, span))
                .ok_or(RATE)
        })
    }
}

impl FromItem for quota::Rate {
    fn from_item(item: &Item<'_>) -> Option<Self> {
        item.read_with(|text: String| {
            parse_rate(&text)
                .and_then(|(count, span)| Self::new(count, span))
                .ok_or(RATE)
        })
    }
}

impl<T: FromItem> FromItem for Vec<T> {
    fn from_item(item: &Item<'_>) -> Option<Self> {
        let elements = item.elements()?;
        // Read all of them first: each may have a fault of its own.
        let read: Vec<Option<T>> = elements.iter().map(Item::read).collect();
        read.into_iter().collect()
    }
}

/// Reads a path; a relative one is relative to `folder`.
pub(super) fn path(item: &Item<'_>, folder: &Path) -> Option<PathBuf> {
    item.read_with(|text: String| {
        if text.is_empty() {
            Err("must not be empty")
        } else {
            Ok(folder.join(text))
        }
    })
}

/// Reads a reference to a secret of one line, and checks that the secret is there.
pub(super) fn secret(item: &Item<'_>, folder: &Path) -> Option<(SecretSource, Secret)> {
    let (source, secret) = secret_text(item, folder)?;
    if secret.expose().contains(['\n', '\r']) {
        item.fault("holds more than one line: a secret is one, with or without a newline");
        return None;
    }
    Some((source, secret))
}

/// Reads where a secret is kept: a reference, or the path of a file.
pub(super) fn secret_source(item: &Item<'_>, folder: &Path) -> Option<SecretSource> {
    if item.raw().is_str() {
        return path(item, folder).map(SecretSource::File);
    }
    source(item, folder)
}

/// As [`secret`], for secrets of several lines.
pub(super) fn secret_text(item: &Item<'_>, folder: &Path) -> Option<(SecretSource, Secret)> {
    if item.raw().is_str() {
        // The text itself is not repeated: it may be the secret.
        item.fault(
            "secrets stand in files or the environment: { file = \"…\" } or { env = \"…\" }",
        );
        return None;
    }
    let source = source(item, folder)?;
    if item.is_alone() {
        return Some((source, Secret::new(String::new())));
    }
    match source.read() {
        Ok(secret) => Some((source, secret)),
        Err(error) => {
            item.fault(error.to_string());
            None
        }
    }
}

fn source(item: &Item<'_>, folder: &Path) -> Option<SecretSource> {
    let mut section = item.section()?;
    let file = section.optional("file").map(|item| path(&item, folder));
    let env = section.optional("env").map(|item| item.read::<String>());
    let source = match (file, env) {
        (Some(file), None) => file.map(SecretSource::File),
        (None, Some(env)) => env.map(SecretSource::Env),
        _ => {
            section.fault("", "needs exactly one of file and env");
            None
        }
    };
    section.finish();
    source
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

fn parse_rate(text: &str) -> Option<(NonZeroU32, Duration)> {
    let (count, unit) = split_unit(text)?;
    let span = match unit {
        "/s" => 1,
        "/m" => 60,
        "/h" => 3600,
        _ => return None,
    };
    let count = NonZeroU32::new(u32::try_from(count).ok()?)?;
    Some((count, Duration::from_secs(span)))
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit))
}

const RATE: &str = r#"must be a rate above zero such as "100/s" or "6000/m""#;
