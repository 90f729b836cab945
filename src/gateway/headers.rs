//! Which headers pass, in both directions.

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::request::{Line, Lines};

/// The headers that the gateway owns: what a caller sends under such a name, in any spelling, never
/// reaches a console.
#[derive(Debug)]
pub struct OwnedHeaders {
    /// Letters and digits of the names, by how many there are. A look at the few of one length, which
    /// most often ends at the first byte, is faster than a hash.
    by_length: Vec<Vec<Box<[u8]>>>,
}

impl OwnedHeaders {
    /// The built-in names and those of the configured mapping.
    pub fn new<'a>(configured: impl IntoIterator<Item = &'a HeaderName>) -> Self {
        let configured = configured.into_iter().map(HeaderName::as_str);
        let mut by_length: Vec<Vec<Box<[u8]>>> = Vec::new();
        for name in BUILT_IN.iter().copied().chain(configured) {
            let folded: Box<[u8]> = fold(name).collect();
            let room = by_length.len().max(folded.len() + 1);
            by_length.resize(room, Vec::new());
            if let Some(same_length) = by_length.get_mut(folded.len()) {
                same_length.push(folded);
            }
        }
        Self { by_length }
    }

    /// Whether a name is one of them when `-`, `_`, `.` and case are disregarded.
    pub fn contains(&self, name: &HeaderName) -> bool {
        let mut room = [0; ROOM];
        let name = name.as_str();
        match fold_into(name, &mut room) {
            Some(folded) => self.contains_folded(folded),
            None => self.contains_folded(&fold(name).collect::<Vec<u8>>()),
        }
    }

    fn contains_folded(&self, folded: &[u8]) -> bool {
        let owned = self.by_length.get(folded.len()).into_iter().flatten();
        // Most differ at the first byte, which is compared without a call.
        let mut alike = owned.filter(|owned| owned.first() == folded.first());
        alike.any(|owned| **owned == *folded) || has_owned_prefix(folded)
    }
}

fn has_owned_prefix(folded: &[u8]) -> bool {
    let start = folded.first_chunk::<2>();
    let begins = |prefix: &&[u8]| prefix.first_chunk() == start && folded.starts_with(prefix);
    PREFIXES.iter().any(begins)
}

/// The headers of a message that end at this hop, beside the well-known ones: the names in its
/// `Connection` lines, all of them.
pub(super) struct HopByHop(SmallVec<[HeaderName; 2]>);

impl HopByHop {
    /// Reads them; `connection` is all `Connection` lines.
    pub(super) fn of<'a>(connection: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let mut nominated = SmallVec::new();
        for line in connection {
            for token in line.as_bytes().split(|byte| *byte == b',') {
                let token = token.trim_ascii();
                // The usual ones name no other header. To make a name takes from the heap.
                if token.eq_ignore_ascii_case(b"keep-alive") || token.eq_ignore_ascii_case(b"close")
                {
                    continue;
                }
                // What is not a name cannot be the name of a header that is there.
                if let Ok(name) = HeaderName::from_bytes(token) {
                    nominated.push(name);
                }
            }
        }
        Self(nominated)
    }

    pub(super) fn contains(&self, name: &HeaderName) -> bool {
        is_connection_header(name) || self.0.contains(name)
    }
}

/// Copies what may pass from a request to the one that the console gets.
pub(super) fn passed_on(from: &Lines<'_>, owned: &OwnedHeaders) -> HeaderMap {
    let hop = HopByHop::of(from.all(Line::Connection));
    let from = from.headers();
    let mut to = HeaderMap::with_capacity(from.len() + 1);
    for (name, value) in from {
        if !is_framing(name) && !hop.contains(name) && !owned.contains(name) {
            to.append(name, value.clone());
        }
    }
    to
}

/// Takes what must not pass from an answer of the console. Framing is the gateway's own, except
/// that a length is kept: the body is passed on as it is. Where trailers go on, their names do.
pub(super) fn clean_answer(headers: &mut HeaderMap, trailers: bool) {
    let hop = HopByHop::of(headers.get_all(CONNECTION));
    let stays = |name: &HeaderName| match name.as_str() {
        "content-length" => true,
        "trailer" => trailers,
        _ => false,
    };
    remove(headers, |name| hop.contains(name) && !stays(name));
}

/// Takes what must not pass from the trailers of an answer: besides, what decides how the answer is
/// read, and whoever reads it has done that already.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    remove(trailers, |name| {
        is_connection_header(name) || is_never_a_trailer(name)
    });
}

/// Removes what ends here, and what never comes from a console. There is seldom anything: a look at
/// the names that there are takes less than looking up each that might be there.
fn remove(headers: &mut HeaderMap, ends: impl Fn(&HeaderName) -> bool) {
    let is_gone = |name: &&HeaderName| ends(name) || is_never_answered(name);
    while let Some(gone) = headers.keys().find(is_gone).cloned() {
        headers.remove(gone);
    }
}

/// Whether a caller takes trailers.
pub(super) fn takes_trailers(lines: &Lines<'_>) -> bool {
    lines.all(Line::Te).any(|line| {
        line.as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

/// Letters and digits of a name: `X-Tenant`, `x_tenant` and `X.Tenant` are one. Names are in lower
/// case already.
fn fold(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().filter(u8::is_ascii_alphanumeric)
}

/// The same on the stack, unless there is no room.
fn fold_into<'a>(name: &str, room: &'a mut [u8; ROOM]) -> Option<&'a [u8]> {
    let mut length = 0;
    for byte in name.bytes() {
        *room.get_mut(length)? = byte;
        // What does not count is written over by what comes next.
        length += usize::from(byte.is_ascii_alphanumeric());
    }
    room.get(..length)
}

/// More than the names of most headers are long.
const ROOM: usize = 64;

/// What belongs to the connection that a message came by.
fn is_connection_header(name: &HeaderName) -> bool {
    // A match on text is a look at its length, and then at one or two names.
    matches!(
        name.as_str(),
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// What of a request is made anew for the console.
fn is_framing(name: &HeaderName) -> bool {
    matches!(name.as_str(), "content-length" | "expect" | "host")
}

/// What no answer of a console sets: cookies, and the gateway's own words.
fn is_never_answered(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "set-cookie" | "x-gateway-code" | "x-gateway-request-id"
    )
}

fn is_never_a_trailer(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authorization"
            | "cache-control"
            | "content-encoding"
            | "content-length"
            | "content-location"
            | "content-range"
            | "content-type"
            | "host"
            | "location"
            | "www-authenticate"
    )
}

const BUILT_IN: [&str; 24] = [
    "cf-connecting-ip",
    "client-ip",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "authorization",
    "cookie",
    "forwarded",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "remote-user",
    "transfer-encoding",
    "via",
    "x-api-key",
    "x-http-method",
    "x-method-override",
    "x-originating-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
];

const PREFIXES: [&[u8]; 8] = [
    b"msaspnetcore",
    b"xarr",
    b"xforwarded",
    b"xoriginal",
    b"xrewrite",
    b"xhttpmethodoverride",
    b"xgateway",
    b"xaccel",
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn owned() -> OwnedHeaders {
        OwnedHeaders::new([&HeaderName::from_static("x-tenant")])
    }

    fn pass(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        passed_on(&Lines::of(&headers), &owned())
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect()
    }

    #[test]
    fn owned_names_are_taken_off_in_any_spelling() {
        for name in [
            "Authorization",
            "AUTHORIZATION",
            "X-Tenant",
            "x_tenant",
            "X.Tenant",
            "x~tenant",
            "XTenant",
            "X-Api-Key",
            "x_api_key",
            "Cookie",
            "Forwarded",
            "X-Forwarded-For",
            "x_forwarded_host",
            "X-Forwarded-Anything",
            "X-Real-IP",
            "Via",
            "X-Original-URL",
            "X-Rewrite-Url",
            "X-HTTP-Method-Override",
            "X-Method-Override",
            "Proxy",
            "Remote_User",
            "X-Accel-Redirect",
            "X-Gateway-Request-Id",
            "Proxy-Authorization",
            "Trans-fer_Encoding",
        ] {
            assert_eq!(pass(&[(name, "x")]), [], "{name}");
        }
    }

    #[test]
    fn what_the_gateway_does_not_own_passes_in_order() {
        let lines = [
            ("x-request-id", "0b04b3a1"),
            ("x-client-version", "3.6.2"),
            ("accept", "application/json"),
            ("accept", "text/plain"),
            ("x-tenant-color", "red"),
        ];
        let passed = pass(&lines);
        for (name, value) in lines {
            assert!(
                passed.contains(&(name.to_owned(), value.to_owned())),
                "{name}"
            );
        }
        let accepts: Vec<_> = passed.iter().filter(|(name, _)| name == "accept").collect();
        assert_eq!(accepts[0].1, "application/json");
    }

    #[test]
    fn every_connection_line_is_read() {
        let passed = pass(&[
            ("connection", "close, X-One"),
            ("connection", "x-two ,, bad name"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
        ]);
        assert_eq!(passed, [("x-three".to_owned(), "3".to_owned())]);
    }

    #[test]
    fn what_the_gateway_says_itself_no_console_says() {
        for name in [crate::gateway::GATEWAY_CODE, crate::gateway::REQUEST_ID] {
            assert!(is_never_answered(&name), "{name}");
        }
    }

    /// Whether a name is owned, by a look at all of them.
    fn is_owned(name: &HeaderName) -> bool {
        let fold = |name: &str| -> Vec<u8> {
            let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
            letters.map(|byte| byte.to_ascii_lowercase()).collect()
        };
        let folded = fold(name.as_str());
        let owned = BUILT_IN.iter().chain(["x-tenant"].iter());
        owned.clone().any(|name| fold(name) == folded)
            || PREFIXES.iter().any(|prefix| folded.starts_with(prefix))
    }

    #[test]
    fn an_answer_keeps_its_length_and_loses_what_ends_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "X-Hop, content-length"),
            ("connection", "close, x-other"),
            ("x-hop", "1"),
            ("x-other", "1"),
            ("trailer", "x-sum"),
            ("keep-alive", "timeout=5"),
            ("set-cookie", "x-authorization=secret"),
            ("content-length", "5"),
            ("x-request-id", "a"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let left = |headers: &HeaderMap| {
            let mut left: Vec<_> = headers.keys().map(HeaderName::to_string).collect();
            left.sort_unstable();
            left
        };
        let mut with_trailers = headers.clone();
        clean_answer(&mut headers, false);
        assert_eq!(left(&headers), ["content-length", "x-request-id"]);
        clean_answer(&mut with_trailers, true);
        let names = ["content-length", "trailer", "x-request-id"];
        assert_eq!(left(&with_trailers), names);
        clean_trailers(&mut with_trailers);
        assert_eq!(left(&with_trailers), ["x-request-id"]);
    }

    proptest! {
        /// Whatever separators and case somebody tries, an owned name does not pass.
        #[test]
        fn no_spelling_of_an_owned_name_passes(
            which in 0..BUILT_IN.len(),
            noise in proptest::collection::vec((0_usize..20, "[-_.~!]"), 0..6),
            upper in any::<u32>(),
        ) {
            let mut name: Vec<char> = BUILT_IN[which].chars().collect();
            for (at, separator) in noise {
                name.insert(at.min(name.len()), separator.chars().next().unwrap());
            }
            let name: String = name
                .into_iter()
                .enumerate()
                .map(|(i, c)| if upper >> (i % 32) & 1 == 1 { c.to_ascii_uppercase() } else { c })
                .collect();
            prop_assert_eq!(pass(&[(&name, "x")]), []);
        }

        #[test]
        fn a_name_is_owned_as_by_a_look_at_all(
            name in "([xm]|[-_.]|forward|ed|host|real|ip|via|ho?st|arr|ms|aspnetcore|cookie|tenant|api|key|gateway|[a-z0-9]){1,6}",
        ) {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            prop_assert_eq!(owned().contains(&name), is_owned(&name), "{}", name);
        }
    }
}
