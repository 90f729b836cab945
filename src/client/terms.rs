//! On which terms a client is served, beyond that it proved who it is.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// On which terms a client is served.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Where it may call from.
    pub networks: Networks,
    /// How many proofs it must give.
    pub require: Require,
}

/// How many of its proofs a client must give.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Require {
    /// Its certificate, and a key beside it (or a token that it got for one).
    All,
    /// Any one.
    #[default]
    Any,
}

/// Where a client may call from: none is anywhere.
#[derive(Clone, Debug, Default)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Networks of IPv4 and IPv6.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether there are any: without, an address is never in the wrong one.
    pub fn are_limited(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether an address is in one of them. An IPv4 address that came as an IPv6 one is the IPv4
    /// address.
    pub fn have(&self, address: IpAddr) -> bool {
        let is_in = |network: &IpNet| network.contains(&address.to_canonical());
        self.0.is_empty() || self.0.iter().any(is_in)
    }

    /// Reads a network, e.g. `10.0.0.0/8`, or an address.
    ///
    /// # Errors
    /// Says what is wrong with it, and what would be right.
    pub fn read(text: &str) -> Result<IpNet, String> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| {
                format!("{text:?} is no network such as \"10.0.0.0/8\" or \"2001:db8::/32\"")
            })?,
        };
        if network.addr() != network.network() {
            return Err(format!(
                "has bits beyond its length: write {}",
                network.trunc()
            ));
        }
        match network {
            IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => Err(match mapped(network) {
                Some(v4) => format!("is a network of IPv4: write {v4}"),
                None => "holds IPv4 addresses among others: write the IPv4 networks".to_owned(),
            }),
            IpNet::V4(_) | IpNet::V6(_) => Ok(network),
        }
    }
}

/// The networks in their order.
impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.0.iter().enumerate() {
            f.write_str(if index > 0 { ", " } else { "" })?;
            write!(f, "{network}")?;
        }
        Ok(())
    }
}

/// The IPv4 network that is written as one of IPv6.
fn mapped(network: IpNet) -> Option<IpNet> {
    let length = network.prefix_len().checked_sub(96)?;
    IpNet::new(network.addr().to_canonical(), length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> Networks {
        Networks::new(
            list.iter()
                .map(|text| Networks::read(text).unwrap())
                .collect(),
        )
    }

    #[test]
    fn an_address_is_in_a_network_or_is_not() {
        let networks = networks(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]);
        for inside in [
            "10.255.0.1",
            "::ffff:10.1.2.3",
            "192.0.2.7",
            "2001:db8:1::9",
        ] {
            assert!(networks.have(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "11.0.0.1",
            "::ffff:11.0.0.1",
            "192.0.2.8",
            "2001:db9::",
            "::10.1.2.3",
        ] {
            assert!(!networks.have(outside.parse().unwrap()), "{outside}");
        }
        assert!(Networks::default().have("11.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_told_with_what_would_be() {
        for (text, remedy) in [
            ("10.1.2.3/8", "write 10.0.0.0/8"),
            ("2001:db8::1/32", "write 2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "write 10.0.0.0/8"),
            ("::ffff:10.0.0.1", "write 10.0.0.1/32"),
            ("10.0.0.0/33", "is no network such as"),
            ("10.0.0/8", "is no network such as"),
            ("example.com", "is no network such as"),
            ("", "is no network such as"),
        ] {
            let fault = Networks::read(text).unwrap_err();
            assert!(fault.contains(remedy), "{text}: {fault}");
        }
    }
}
