//! Proxies in front of the gateway, and whom they say they speak for.

use std::net::IpAddr;

use http::HeaderName;
use http::header::HeaderMap;
use ipnet::IpNet;

use super::Peer;

/// The proxies that are believed when they say where a request or a connection comes from.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Where they are. Addresses of IPv4 only as such, never mapped to IPv6.
    pub networks: Vec<IpNet>,
}

/// A trusted proxy does not say whom it speaks for in a way that can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Untraceable {
    /// There is something else than an address.
    #[error("what a trusted proxy wrote into X-Forwarded-For is not an address")]
    Address,
    /// It went through too many of them.
    #[error("X-Forwarded-For names too many trusted proxies")]
    Hops,
}

impl Proxies {
    /// Whether one has this address.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|net| net.contains(&address))
    }

    /// Who sends a request that came from `peer`, where that is a trusted proxy which says so; else
    /// it is `peer` itself. What else came in these headers counts for nothing.
    ///
    /// Of `X-Forwarded-For`, whose lines are one list, the last address is what the nearest proxy
    /// saw. As long as that is a trusted proxy too, the one before is what that one saw; what stands
    /// before the first that is not trusted may be anybody's invention and is not read. Where all
    /// are trusted, it is the first.
    ///
    /// # Errors
    /// Refuses what has no such reading: nobody is to count as the proxy because of it.
    ///
    /// A connection of which the proxy said that it is its own has no other sender: the proxy passes
    /// nobody's requests on there, so nothing that looks like that is its word.
    pub fn sender(&self, headers: &HeaderMap, peer: &Peer) -> Result<Option<Peer>, Untraceable> {
        if self.networks.is_empty() || peer.is_proxys_own || !self.trusts(peer.address) {
            return Ok(None);
        }
        let walked = self.walk(headers)?;
        let sender = Peer {
            address: walked.unwrap_or(peer.address),
            is_proxys_own: false,
            scheme: scheme(headers).unwrap_or(peer.scheme),
            // It is the proxy's, and says nothing about others.
            certificate: match headers.contains_key(&FORWARDED_FOR) {
                true => None,
                false => peer.certificate.clone(),
            },
            // On the proxy's connection are many senders, and none pays for another.
            credit: peer.credit.clone().filter(|_| walked.is_none()),
        };
        Ok(Some(sender))
    }

    fn walk(&self, headers: &HeaderMap) -> Result<Option<IpAddr>, Untraceable> {
        let lines = headers.get_all(&FORWARDED_FOR).iter().rev();
        let mut hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let mut nearest = None;
        for hop in hops.by_ref().take(HOPS) {
            let address = read(hop.trim_ascii()).ok_or(Untraceable::Address)?;
            nearest = Some(address);
            if !self.trusts(address) {
                return Ok(nearest);
            }
        }
        match hops.next() {
            None => Ok(nearest),
            Some(_) => Err(Untraceable::Hops),
        }
    }
}

/// An address as it stands in such a header: alone, or with a port.
fn read(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            if !(port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
                return None;
            }
            IpAddr::V6(address.parse().ok()?)
        }
        None => match text.split_once(':') {
            Some((address, port)) if is_port(port) && address.contains('.') => {
                IpAddr::V4(address.parse().ok()?)
            }
            _ => text.parse().ok()?,
        },
    };
    Some(address.to_canonical())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// How the caller reached the proxy, where that says so in one line that leaves no doubt.
fn scheme(headers: &HeaderMap) -> Option<&'static str> {
    let mut lines = headers.get_all(&FORWARDED_PROTO).iter();
    match (lines.next()?.as_bytes(), lines.next()) {
        (b"http", None) => Some("http"),
        (b"https", None) => Some("https"),
        _ => None,
    }
}

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The most trusted proxies that a request goes through.
const HOPS: usize = 32;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn proxies() -> Proxies {
        let networks = ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"];
        Proxies {
            networks: networks.map(|net| net.parse().unwrap()).to_vec(),
        }
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&str, &str)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            headers.append(name, value);
        }
        headers
    }

    fn from(peer: &str, lines: &[(&str, &str)]) -> Result<Peer, Untraceable> {
        let peer = Peer::plain(peer.parse().unwrap());
        let sender = proxies().sender(&headers(lines), &peer)?;
        Ok(sender.unwrap_or(peer))
    }

    /// The source of requests with these lines of X-Forwarded-For.
    fn source(lines: &[&str]) -> String {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("X-Forwarded-For", *line))
            .collect();
        match from("10.0.0.1", &lines) {
            Ok(peer) => peer.address.to_string(),
            Err(untraceable) => format!("{untraceable:?}"),
        }
    }

    #[test]
    fn the_source_is_the_last_address_that_is_no_trusted_proxy() {
        for (lines, expected) in [
            (&[][..], "10.0.0.1"),
            (&["203.0.113.9"], "203.0.113.9"),
            (&["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (&["203.0.113.9,10.0.0.2 ,\t10.9.9.9"], "203.0.113.9"),
            (&["198.51.100.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            // Several lines are one list.
            (&["198.51.100.1", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
            (&["203.0.113.9", "10.0.0.2, 192.0.2.7"], "203.0.113.9"),
            // All are trusted: the first.
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // Ports, brackets, and addresses of IPv4 in other clothes.
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["[2001:db8::1]:55"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
            (&["203.0.113.9, ::ffff:10.0.0.2"], "203.0.113.9"),
            (&["203.0.113.9, [fd00::2]:80"], "203.0.113.9"),
            // What somebody else wrote is not even read.
            (
                &["unknown, , 10.0.0.999, 203.0.113.9, 10.0.0.2"],
                "203.0.113.9",
            ),
            (&["10.0.0.9, 203.0.113.9"], "203.0.113.9"),
        ] {
            assert_eq!(source(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_a_trusted_proxy_wrote_must_be_an_address() {
        for line in [
            "",
            " ",
            ",",
            "203.0.113.9,",
            "203.0.113.9, unknown",
            "_hidden",
            "203.0.113.9;10.0.0.2",
            "203.0.113.9 10.0.0.2",
            "203.0.113.09",
            "203.0.113",
            "203.0.113.9:",
            "203.0.113.9:x",
            "203.0.113.9:65536",
            "203.0.113.9:+1",
            "[203.0.113.9]",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]55",
            "[2001:db8::1]:",
            "fe80::1%eth0",
            "\"203.0.113.9\"",
            "for=203.0.113.9",
            "localhost",
            "0x7f.1",
            "2130706433",
            "10.0.0.2/8",
        ] {
            assert_eq!(source(&[line]), "Address", "{line:?}");
        }
        let many = vec!["10.0.0.2"; HOPS];
        assert_eq!(source(&[&many.join(",")]), "10.0.0.2");
        let one_more = [&["203.0.113.9"], many.as_slice()].concat();
        assert_eq!(source(&[&one_more.join(",")]), "Hops");
    }

    #[test]
    fn nobody_else_says_where_he_comes_from() {
        let peer = from(
            "203.0.113.1",
            &[
                ("X-Forwarded-For", "10.0.0.1"),
                ("X-Forwarded-Proto", "https"),
            ],
        );
        let peer = peer.unwrap();
        assert_eq!(
            (peer.address, peer.scheme),
            ("203.0.113.1".parse().unwrap(), "http")
        );
        assert_eq!(
            from("203.0.113.1", &[("X-Forwarded-For", "unknown")])
                .unwrap()
                .address,
            peer.address
        );
        // Nor does a trusted proxy under another name.
        for name in [
            "X_Forwarded_For",
            "X.Forwarded.For",
            "Forwarded",
            "X-Real-IP",
            "X-Forwarded",
            "XForwardedFor",
            "X-Forwarded-For-Original",
        ] {
            let peer = from(
                "10.0.0.1",
                &[(name, "203.0.113.9"), (name, "for=203.0.113.9")],
            );
            assert_eq!(peer.unwrap().address.to_string(), "10.0.0.1", "{name}");
        }
        let none = Proxies::default();
        let peer = Peer::plain("10.0.0.1".parse().unwrap());
        let named = headers(&[("x-forwarded-for", "203.0.113.9")]);
        assert!(none.sender(&named, &peer).unwrap().is_none());
    }

    #[test]
    fn a_proxy_that_speaks_for_nobody_is_the_sender_itself() {
        let own = Peer {
            is_proxys_own: true,
            ..Peer::plain("10.0.0.1".parse().unwrap())
        };
        for told in ["203.0.113.9", "10.0.0.2", "unknown"] {
            let lines = headers(&[("x-forwarded-for", told), ("x-forwarded-proto", "https")]);
            assert!(proxies().sender(&lines, &own).unwrap().is_none(), "{told}");
        }
    }

    #[test]
    fn a_scheme_is_taken_only_where_it_leaves_no_doubt() {
        for (lines, expected) in [
            (&["https"][..], "https"),
            (&["http"], "http"),
            (&["HTTPS"], "http"),
            (&["https,http"], "http"),
            (&["https", "https"], "http"),
            (&["ftp"], "http"),
            (&[], "http"),
        ] {
            let lines: Vec<_> = lines
                .iter()
                .map(|line| ("X-Forwarded-Proto", *line))
                .collect();
            assert_eq!(
                from("10.0.0.1", &lines).unwrap().scheme,
                expected,
                "{lines:?}"
            );
        }
    }

    proptest! {
        /// Whatever callers write before it, what the proxy saw counts.
        #[test]
        fn nobody_invents_a_source(before in prop::collection::vec("[ -~]{0,40}", 0..5), seen: std::net::Ipv4Addr) {
            let seen = IpAddr::V4(seen);
            prop_assume!(!proxies().trusts(seen));
            let told = seen.to_string();
            let mut lines: Vec<&str> = before.iter().map(String::as_str).collect();
            lines.push(&told);
            prop_assert_eq!(source(&lines), told.clone());
            prop_assert_eq!(source(&[&lines.join(",")]), told);
        }
    }
}
