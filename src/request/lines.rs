//! The headers that are looked for at every request, found in one pass: most of them are seldom
//! there, and a look-up of each would cost more.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// A header that is looked for at every request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Line {
    /// `X-Api-Key`
    ApiKey,
    /// `Authorization`
    Authorization,
    /// `Connection`
    Connection,
    /// `Content-Length`
    ContentLength,
    /// `Expect`
    Expect,
    /// `Host`
    Host,
    /// `X-Request-Id`, VSPC's idempotence key
    RequestId,
    /// `TE`
    Te,
}

impl Line {
    /// The name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "x-api-key",
            Self::Authorization => "authorization",
            Self::Connection => "connection",
            Self::ContentLength => "content-length",
            Self::Expect => "expect",
            Self::Host => "host",
            Self::RequestId => "x-request-id",
            Self::Te => "te",
        }
    }

    fn of(name: &HeaderName) -> Option<Self> {
        Some(match name.as_str() {
            "x-api-key" => Self::ApiKey,
            "authorization" => Self::Authorization,
            "connection" => Self::Connection,
            "content-length" => Self::ContentLength,
            "expect" => Self::Expect,
            "host" => Self::Host,
            "x-request-id" => Self::RequestId,
            "te" => Self::Te,
            _ => return None,
        })
    }

    const fn place(self) -> usize {
        self as usize
    }
}

/// Where the headers of [`Line`] are in a request.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a> {
    headers: &'a HeaderMap,
    /// The last value of each.
    last: [Option<&'a HeaderValue>; LINES],
    /// Those that come several times, a bit each.
    repeated: u8,
    /// The bytes of all names and values, as they would stand in a head.
    pub(super) size: usize,
    /// Whether a value begins or ends with a blank.
    pub(super) has_outer_blank: bool,
}

impl<'a> Lines<'a> {
    /// Looks for them.
    pub fn of(headers: &'a HeaderMap) -> Self {
        let mut lines = Self {
            headers,
            last: [None; LINES],
            repeated: 0,
            size: 0,
            has_outer_blank: false,
        };
        for (name, value) in headers {
            lines.size += name.as_str().len() + value.len() + 4;
            lines.has_outer_blank |= has_outer_blank(value);
            let Some(line) = Line::of(name) else { continue };
            if let Some(last) = lines.last.get_mut(line.place())
                && last.replace(value).is_some()
            {
                lines.repeated |= 1 << line.place();
            }
        }
        lines
    }

    /// All headers, as they came.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Whether there is such a header.
    pub fn has(&self, line: Line) -> bool {
        self.last(line).is_some()
    }

    /// All values of a header, in their order.
    pub fn all(&self, line: Line) -> impl Iterator<Item = &'a HeaderValue> {
        let all = self
            .is_repeated(line)
            .then(|| self.headers.get_all(line.name()));
        let only = self.last(line).filter(|_| all.is_none());
        only.into_iter().chain(all.into_iter().flatten())
    }

    /// The value of a header that comes once; an error where it comes several times.
    pub(super) fn only(&self, line: Line) -> Result<Option<&'a HeaderValue>, Repeated> {
        if self.is_repeated(line) {
            Err(Repeated)
        } else {
            Ok(self.last(line))
        }
    }

    fn last(&self, line: Line) -> Option<&'a HeaderValue> {
        self.last.get(line.place()).copied().flatten()
    }

    fn is_repeated(&self, line: Line) -> bool {
        self.repeated & (1 << line.place()) != 0
    }
}

/// A header comes several times that must not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Repeated;

fn has_outer_blank(value: &HeaderValue) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.as_bytes().first()) || is_blank(value.as_bytes().last())
}

/// How many there are.
const LINES: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Line; LINES] = [
        Line::ApiKey,
        Line::Authorization,
        Line::Connection,
        Line::ContentLength,
        Line::Expect,
        Line::Host,
        Line::RequestId,
        Line::Te,
    ];

    #[test]
    fn every_name_leads_to_its_line() {
        for (place, line) in ALL.into_iter().enumerate() {
            assert_eq!(line.place(), place);
            assert_eq!(Line::of(&HeaderName::from_static(line.name())), Some(line));
        }
    }

    proptest! {
        /// As many look-ups by name would find the same.
        #[test]
        fn one_pass_finds_what_look_ups_find(
            which in proptest::collection::vec((0..LINES + 2, "[!-~]{0,3}[ \t]?"), 0..12),
        ) {
            let mut headers = HeaderMap::new();
            for (which, value) in &which {
                let name = ALL.get(*which).map_or("x-tenant", |line| line.name());
                headers.append(name, HeaderValue::from_str(value).unwrap());
            }
            let lines = Lines::of(&headers);
            for line in ALL {
                let looked_up: Vec<_> = headers.get_all(line.name()).iter().collect();
                prop_assert_eq!(lines.all(line).collect::<Vec<_>>(), looked_up.clone());
                prop_assert_eq!(lines.has(line), !looked_up.is_empty());
                let only = match looked_up[..] {
                    [] => Ok(None),
                    [one] => Ok(Some(one)),
                    _ => Err(Repeated),
                };
                prop_assert_eq!(lines.only(line), only);
            }
            let sizes = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
            prop_assert_eq!(lines.size, sizes.sum::<usize>());
            let blank = headers.values().any(|value| {
                value.to_str().unwrap().trim_matches([' ', '\t']) != value
            });
            prop_assert_eq!(lines.has_outer_blank, blank);
        }
    }
}
