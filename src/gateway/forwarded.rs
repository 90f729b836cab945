//! What a console is told about where a request comes from.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::client::Peer;

/// Whether consoles are told. What callers write of it never gets there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Forwarded {
    /// They are told nothing.
    #[default]
    Strip,
    /// They get `X-Forwarded-For`, `-Proto` and `-Host`.
    Append,
}

impl Forwarded {
    /// Adds what is known: the source that counts, and how it reached the gateway. `origin` is the
    /// gateway's own, if it is configured; `host` the one that was asked for, if it is one of those
    /// that are served. Where neither is there, nobody knows that the host is the gateway's.
    pub(super) fn add(
        self,
        headers: &mut HeaderMap,
        peer: &Peer,
        origin: Option<&str>,
        host: Option<&str>,
    ) {
        if self == Self::Strip {
            return;
        }
        let source = peer.address.to_string();
        let (scheme, host) = match origin.and_then(|origin| origin.split_once("://")) {
            Some((scheme, host)) => (scheme, Some(host)),
            None => (peer.scheme, host),
        };
        let told = [
            (FOR, Some(source.as_str())),
            (HOST, host),
            (PROTO, Some(scheme)),
        ];
        for (name, value) in told {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
    }
}

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

#[cfg(test)]
mod tests {
    use super::*;

    fn told(how: Forwarded, origin: Option<&str>, host: Option<&str>) -> Vec<String> {
        let mut headers = HeaderMap::new();
        let peer = Peer::plain("2001:db8::1".parse().unwrap());
        how.add(&mut headers, &peer, origin, host);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        headers.iter().map(line).collect()
    }

    #[test]
    fn a_console_is_told_what_is_known_and_nothing_else() {
        let (origin, host) = (
            Some("https://vspc.example.net"),
            Some("gw.example.net:8280"),
        );
        assert!(told(Forwarded::Strip, origin, host).is_empty());
        let source = "x-forwarded-for: 2001:db8::1";
        assert_eq!(
            told(Forwarded::Append, None, None),
            [source, "x-forwarded-proto: http"]
        );
        assert_eq!(
            told(Forwarded::Append, None, host),
            [
                source,
                "x-forwarded-host: gw.example.net:8280",
                "x-forwarded-proto: http"
            ]
        );
        assert_eq!(
            told(Forwarded::Append, origin, host),
            [
                source,
                "x-forwarded-host: vspc.example.net",
                "x-forwarded-proto: https"
            ]
        );
    }
}
