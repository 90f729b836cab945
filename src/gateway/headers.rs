//! Which headers pass, in both directions.

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_RANGE, CONTENT_TYPE, HOST, HeaderMap, HeaderName, LOCATION, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
};
use smallvec::SmallVec;

/// The headers that the gateway owns: what a caller sends under such a name, in any spelling, never
/// reaches a console.
#[derive(Debug)]
pub struct OwnedHeaders {
    /// Names folded to lower-case letters and digits. So few that a look at each, which most often
    /// ends at its length, is faster than a hash.
    folded: Vec<Box<[u8]>>,
}

impl OwnedHeaders {
    /// The built-in names and those of the configured mapping.
    pub fn new<'a>(configured: impl IntoIterator<Item = &'a HeaderName>) -> Self {
        let folded = BUILT_IN
            .iter()
            .copied()
            .chain(configured.into_iter().map(HeaderName::as_str))
            .map(|name| fold(name).into_vec().into_boxed_slice())
            .collect();
        Self { folded }
    }

    /// Whether a name is one of them when `-`, `_`, `.` and case are disregarded.
    pub fn contains(&self, name: &HeaderName) -> bool {
        let folded = fold(name.as_str());
        self.folded.iter().any(|owned| **owned == *folded)
            || PREFIXES.iter().any(|prefix| folded.starts_with(prefix))
    }
}

/// The headers of a message that end at this hop, beside the well-known ones: the names in its
/// `Connection` lines, all of them.
pub(super) struct HopByHop(SmallVec<[HeaderName; 2]>);

impl HopByHop {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut nominated = SmallVec::new();
        for line in headers.get_all(CONNECTION) {
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
pub(super) fn passed_on(from: &HeaderMap, owned: &OwnedHeaders) -> HeaderMap {
    let hop = HopByHop::of(from);
    let mut to = HeaderMap::with_capacity(from.len() + 1);
    for (name, value) in from {
        let framing = *name == HOST || *name == CONTENT_LENGTH || *name == http::header::EXPECT;
        if !framing && !hop.contains(name) && !owned.contains(name) {
            to.append(name, value.clone());
        }
    }
    to
}

/// Takes what must not pass from an answer of the console. Framing is the gateway's own, except
/// that a length is kept: the body is passed on as it is. Where trailers go on, their names do.
pub(super) fn clean_answer(headers: &mut HeaderMap, trailers: bool) {
    let hop = HopByHop::of(headers);
    let stays = |name: &HeaderName| *name == CONTENT_LENGTH || (trailers && *name == TRAILER);
    remove(headers, |name| hop.contains(name) && !stays(name));
}

/// Takes what must not pass from the trailers of an answer: besides, what decides how the answer is
/// read, and whoever reads it has done that already.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    remove(trailers, |name| {
        is_connection_header(name) || NEVER_TRAILERS.contains(name)
    });
}

/// Removes what ends here, and what never comes from a console. There is seldom anything: a look at
/// the names that there are takes less than looking up each that might be there.
fn remove(headers: &mut HeaderMap, ends: impl Fn(&HeaderName) -> bool) {
    let gone: SmallVec<[HeaderName; 2]> = headers
        .keys()
        .filter(|name| ends(name) || NEVER_ANSWERED.contains(name))
        .cloned()
        .collect();
    for name in gone {
        headers.remove(name);
    }
}

/// Whether a caller takes trailers.
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(TE).iter().any(|line| {
        line.as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

fn is_connection_header(name: &HeaderName) -> bool {
    CONNECTION_HEADERS.contains(name)
}

/// Lower-case letters and digits of a name: `X-Tenant`, `x_tenant` and `X.Tenant` are one.
fn fold(name: &str) -> SmallVec<[u8; 48]> {
    name.bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| byte.to_ascii_lowercase())
        .collect()
}

static CONNECTION_HEADERS: [HeaderName; 8] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// What no answer of a console sets: cookies, and the gateway's own words.
static NEVER_ANSWERED: [HeaderName; 3] = [SET_COOKIE, super::GATEWAY_CODE, super::REQUEST_ID];

static NEVER_TRAILERS: [HeaderName; 10] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HOST,
    LOCATION,
    WWW_AUTHENTICATE,
];

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
        passed_on(&headers, &owned())
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
    }
}
