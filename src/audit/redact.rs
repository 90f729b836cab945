//! What of a query may be kept: the console takes secrets in query strings.

use std::fmt;

use percent_encoding::percent_decode_str;

/// The parameters whose values are kept: they say how a list is cut, nothing of its content.
const KEPT: [&str; 5] = ["limit", "offset", "sort", "select", "expand"];

/// A parameter's name of this many bytes is none: it is as long as an API key may be, so a key
/// that was pasted as the whole query is not kept.
const NAME_LIMIT: usize = 32;

/// A query without its secrets; made by [`redact_query`] only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RedactedQuery(String);

impl RedactedQuery {
    /// The text, e.g. `limit=5&filter&secretUrl`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RedactedQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Keeps the names of a raw query's parameters as they were typed, and the values of `limit`,
/// `offset`, `sort`, `select` and `expand`, whatever the case and percent-encoding of the name.
///
/// A name of 32 bytes or more, which might be a misplaced key, is replaced by its length, e.g.
/// `~name:47`.
pub fn redact_query(raw: &str) -> RedactedQuery {
    let mut kept = String::with_capacity(raw.len());
    let mut rest = Some(raw);
    while let Some(parameters) = rest {
        let (parameter, others) = parted(parameters, b'&');
        let (name, _) = parted(parameter, b'=');
        // What begins like a token is none of these values.
        if is_kept(name) && !parameter.as_bytes().windows(3).any(|it| it == b"eyJ") {
            kept.push_str(parameter);
        } else if name.len() < NAME_LIMIT {
            kept.push_str(name);
        } else {
            kept.push_str(&format!("~name:{}", name.len()));
        }
        if others.is_some() {
            kept.push('&');
        }
        rest = others;
    }
    RedactedQuery(kept)
}

/// What stands before the first `mark`, an ASCII character, and behind it. By hand: the searchers
/// of `str` take longer to be made ready than a usual query is long.
fn parted(text: &str, mark: u8) -> (&str, Option<&str>) {
    let at = text.bytes().position(|byte| byte == mark);
    match at.and_then(|at| text.split_at_checked(at)) {
        Some((before, behind)) => (before, behind.get(1..)),
        None => (text, None),
    }
}

fn is_kept(name: &str) -> bool {
    // The usual spelling; only another one has to be read.
    if KEPT.contains(&name) {
        return true;
    }
    let is_plain = |byte: u8| byte != b'%' && !byte.is_ascii_uppercase();
    if name.bytes().all(is_plain) {
        return false;
    }
    KEPT.iter().any(|kept| {
        percent_decode_str(name)
            .map(|byte| byte.to_ascii_lowercase())
            .eq(kept.bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_harmless_values_are_kept() {
        for (raw, expected) in [
            ("", ""),
            (
                "limit=5&filter=x&secretUrl=otpauth%3A%2F%2Fcanary",
                "limit=5&filter&secretUrl",
            ),
            ("LIMIT=5&l%69mit=6&%4cimit=7", "LIMIT=5&l%69mit=6&%4cimit=7"),
            (
                "sort=[{\"property\":\"a=b\"}]&select=a&expand=b",
                "sort=[{\"property\":\"a=b\"}]&select=a&expand=b",
            ),
            ("code=123456&code=canary", "code&code"),
            ("secretUrl%3Dcanary", "secretUrl%3Dcanary"),
            ("%73ecretUrl=canary", "%73ecretUrl"),
            (
                "limit =canary&limit%00=canary&xlimit=canary",
                "limit &limit%00&xlimit",
            ),
            ("limits=canary&limi=canary&=canary&&a", "limits&limi&&&a"),
            ("limit", "limit"),
            ("scopes=rest&scopes=ui", "scopes&scopes"),
        ] {
            assert_eq!(redact_query(raw).as_str(), expected, "{raw}");
        }
    }

    #[test]
    fn a_key_pasted_as_the_query_is_not_kept() {
        let key = crate::secret::new_api_key().unwrap();
        let redacted = redact_query(&format!("{}&a=1", key.expose()));
        assert_eq!(redacted.as_str(), "~name:47&a");
    }
}
