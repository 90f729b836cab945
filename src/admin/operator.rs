//! Who does something by hand, and that it is no page in a browser.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use http::{StatusCode, uri};

use super::reply::Refusal;
use crate::audit::{Code, Record};

/// The header in which a command says who runs it. It is believed as little as any such text.
pub const OPERATOR: HeaderName = HeaderName::from_static("x-operator");

/// The other end of an operator's connection.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over a Unix socket: a process of this machine, as the kernel knows it.
    Unix {
        /// The user that it runs as.
        uid: u32,
        /// Its number, where the kernel tells it.
        pid: Option<i32>,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => fmt::Display::fmt(address, f),
            Self::Unix { uid, pid: None } => write!(f, "uid {uid}"),
            Self::Unix {
                uid,
                pid: Some(pid),
            } => write!(f, "uid {uid}, pid {pid}"),
        }
    }
}

/// Who does something.
#[derive(Debug)]
pub(super) struct Operator {
    peer: Peer,
    name: Option<Arc<str>>,
}

impl Operator {
    pub(super) fn of(peer: Peer, headers: &HeaderMap) -> Self {
        let name = headers.get(&OPERATOR).and_then(|name| name.to_str().ok());
        let name = name.filter(|name| !name.is_empty() && name.len() <= LONGEST);
        Self {
            peer,
            name: name.map(Arc::from),
        }
    }

    /// The beginning of the record of what is done.
    pub(super) fn record(&self, operation: &'static str) -> Record {
        let source = match self.peer {
            Peer::Tcp(address) => Some(address.ip().to_canonical()),
            Peer::Unix { .. } => None,
        };
        Record {
            operation: Some(Cow::Borrowed(operation)),
            code: Some(Code::Ok),
            source,
            operator: self.name.clone(),
            peer: Some(self.peer.to_string()),
            ..Record::default()
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.peer),
            None => fmt::Display::fmt(&self.peer, f),
        }
    }
}

/// Refuses what a page in a browser on this machine can send. The listener may have no token, and
/// then whoever reaches it is trusted: a page reaches loopback, under its own name or, after its
/// name was bound to another address, under a name of its choice. No page reaches a Unix socket.
pub(super) fn refuse_browsers(headers: &HeaderMap, peer: Peer) -> Result<(), Refusal> {
    if matches!(peer, Peer::Unix { .. }) {
        return Ok(());
    }
    let of_page = [ORIGIN, HeaderName::from_static("sec-fetch-site")];
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let is_here = host.is_some_and(is_address) && hosts.next().is_none();
    if is_here && of_page.iter().all(|name| !headers.contains_key(name)) {
        return Ok(());
    }
    tracing::warn!(%peer, "a request to the admin listener looks like a browser's, and was refused");
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        "not_for_browsers",
        "what browsers send is refused here: no Origin, no Sec-Fetch-Site, and a Host that is an \
         address or localhost",
    ))
}

/// Whether a `Host` is an address, or the name of this machine for itself.
fn is_address(host: &str) -> bool {
    let Ok(authority) = host.parse::<uri::Authority>() else {
        return false;
    };
    let name = authority.host();
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    !host.contains('@')
        && (name.eq_ignore_ascii_case("localhost") || literal.parse::<IpAddr>().is_ok())
}

/// Longer names are not taken.
const LONGEST: usize = 128;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn tcp() -> Peer {
        Peer::Tcp(SocketAddr::from(([127, 0, 0, 1], 4711)))
    }

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = list.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn what_a_page_can_send_is_refused_on_an_address_and_no_command_is() {
        let local = ("host", "127.0.0.1:8281");
        for fine in [
            &[local][..],
            &[("host", "localhost")],
            &[("host", "LOCALHOST:8281")],
            &[("host", "[::1]:8281")],
            &[("host", "10.1.2.3")],
        ] {
            assert!(refuse_browsers(&headers(fine), tcp()).is_ok(), "{fine:?}");
        }
        for page in [
            &[][..],
            &[local, local],
            &[("host", "rebound.example:8281")],
            &[("host", "127.0.0.1.example")],
            &[("host", "localhost.example")],
            &[("host", "127.0.0.1@evil.example")],
            &[("host", "")],
            &[local, ("origin", "http://evil.example")],
            &[local, ("origin", "null")],
            &[local, ("sec-fetch-site", "same-origin")],
        ] {
            assert!(refuse_browsers(&headers(page), tcp()).is_err(), "{page:?}");
            let unix = Peer::Unix { uid: 0, pid: None };
            assert!(refuse_browsers(&headers(page), unix).is_ok(), "{page:?}");
        }
    }

    #[test]
    fn an_operator_is_told_by_the_claimed_name_and_the_connection() {
        let who = Operator::of(tcp(), &headers(&[("x-operator", "ann@host")]));
        assert_eq!(who.to_string(), "ann@host (127.0.0.1:4711)");
        let record = who.record("freeze");
        assert_eq!(record.source, Some([127, 0, 0, 1].into()));
        assert_eq!(record.operator.as_deref(), Some("ann@host"));
        let pid = Some(7);
        let unnamed = Operator::of(Peer::Unix { uid: 5, pid }, &HeaderMap::new());
        assert_eq!(unnamed.to_string(), "uid 5, pid 7");
        assert_eq!(unnamed.record("freeze").source, None);
    }
}
