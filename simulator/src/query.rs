//! Paths and queries as the console reads them: percent-decoded once, names without regard to case.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use crate::answer::ApiError;

/// The segments of a path, decoded and in lower case, with `.` and `..` resolved.
#[derive(Debug)]
pub(crate) struct Path<'a> {
    segments: Vec<Cow<'a, str>>,
}

impl<'a> Path<'a> {
    pub(crate) fn of(raw: &'a str) -> Self {
        let mut segments = Vec::with_capacity(8);
        let raw = raw.strip_prefix('/').unwrap_or(raw);
        let raw = raw.strip_suffix('/').unwrap_or(raw);
        for segment in raw.split('/') {
            let segment = lower(decode(segment));
            match segment.as_ref() {
                "." => {}
                ".." => {
                    segments.pop();
                }
                _ => segments.push(segment),
            }
        }
        Self { segments }
    }

    pub(crate) fn segments(&self) -> Vec<&str> {
        self.segments.iter().map(Cow::as_ref).collect()
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    if text.contains('%') {
        percent_decode_str(text).decode_utf8_lossy()
    } else {
        Cow::Borrowed(text)
    }
}

fn lower(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        text
    }
}

/// Decodes one side of a form or query pair; `None` when it is not UTF-8.
pub(crate) fn decode_pair_text(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced)
        .decode_utf8()
        .ok()
        .map(Cow::into_owned)
}

/// The parameters of a query.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn of(raw: Option<&str>) -> Self {
        let pair = |text: &str| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            Some((decode_pair_text(name)?, decode_pair_text(value)?))
        };
        let parts = raw.unwrap_or("").split('&').filter(|part| !part.is_empty());
        Self {
            pairs: parts.filter_map(pair).collect(),
        }
    }

    /// Returns the first value of a parameter; names are compared without regard to case.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns the values of all parameters by name.
    pub(crate) fn grouped(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut grouped: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in &self.pairs {
            grouped.entry(name).or_default().push(value);
        }
        grouped
    }

    /// Returns a whole number in `range`, or what is used without one.
    pub(crate) fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
        default: u64,
    ) -> Result<u64, ApiError> {
        let Some(text) = self.one(name) else {
            return Ok(default);
        };
        text.parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (low, high) = (range.start(), range.end());
                ApiError::parameter(name, format!("The value must be between {low} and {high}."))
            })
    }

    /// Returns a truth value, or what is used without one.
    pub(crate) fn truth(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        match self.one(name) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(ApiError::parameter(
                name,
                "The value must be true or false.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_once_and_read_without_regard_to_case() {
        assert_eq!(
            Path::of("/API/v3/%55sers").segments(),
            ["api", "v3", "users"]
        );
        assert_eq!(
            Path::of("/api/v3/%2555sers").segments(),
            ["api", "v3", "%55sers"]
        );
    }

    #[test]
    fn dot_segments_lead_out_as_they_do_at_the_console() {
        assert_eq!(Path::of("/api/v3/../../proxy/x").segments(), ["proxy", "x"]);
        assert_eq!(
            Path::of("/api/v3/%2e%2E/v3/users").segments(),
            ["api", "v3", "users"]
        );
    }

    #[test]
    fn a_decoded_slash_stays_in_its_segment() {
        assert_eq!(Path::of("/api/v3%2Fusers").segments(), ["api", "v3/users"]);
    }

    #[test]
    fn parameters_are_found_without_regard_to_case() {
        let query = Query::of(Some("Limit=7&scopes=ui&scopes=rest&x=a+b%2B"));
        assert_eq!(query.number("limit", 1..=500, 100).unwrap(), 7);
        assert_eq!(query.all("scopes").collect::<Vec<_>>(), ["ui", "rest"]);
        assert_eq!(query.one("x"), Some("a b+"));
    }
}
