//! Limits at the door, of clients, of tenants and of sources that guess; and the proxies that say
//! what a source is.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use ipnet::IpNet;

use crate::client::Proxies;
use crate::config::reader::{Item, Section};
use crate::gateway::Forwarded;
use crate::quota::{Allowance, Rate};

/// What a client or a tenant may use.
pub(super) fn allowance(section: &mut Section<'_>) -> Allowance {
    let rate = section.optional("rate_limit").map(|item| item.read());
    let burst = section.optional("burst");
    if let (Some(_), None) = (&burst, &rate) {
        section.fault(
            "burst",
            "stands beside rate_limit only: it is how much of it may come at once",
        );
    }
    let concurrency = section.optional("concurrency").and_then(|item| {
        item.read_with(|places: usize| {
            NonZeroUsize::new(places).ok_or("must be above zero: nothing would ever be let in")
        })
    });
    Allowance {
        rate: with_burst(rate.flatten(), burst),
        concurrency,
    }
}

/// How often a source may show a wrong credential.
pub(super) fn guesses(section: &mut Section<'_>) -> Option<Rate> {
    let limit = section.optional("failed_auth_limit");
    let burst = section.optional("failed_auth_burst");
    if limit
        .as_ref()
        .is_some_and(|item| item.raw().as_str() == Some("off"))
    {
        if burst.is_some() {
            section.fault(
                "failed_auth_burst",
                r#"stands beside failed_auth_limit = "off""#,
            );
        }
        return None;
    }
    let rate = match limit {
        Some(item) => item.read::<Rate>(),
        None => NonZeroU32::new(60).and_then(|count| Rate::new(count, MINUTE)),
    };
    match burst {
        Some(_) => with_burst(rate, burst),
        None => rate
            .zip(NonZeroU32::new(20))
            .map(|(rate, burst)| rate.with_burst(burst)),
    }
}

fn with_burst(rate: Option<Rate>, burst: Option<Item<'_>>) -> Option<Rate> {
    let Some(item) = burst else {
        return rate;
    };
    let burst = item.read_with(|burst: u32| {
        let burst = NonZeroU32::new(burst).filter(|burst| burst.get() <= MOST_AT_ONCE);
        burst.ok_or("must be between 1 and 1000000")
    });
    Some(rate?.with_burst(burst?))
}

/// The proxies in front.
pub(super) fn proxies(section: &mut Section<'_>) -> Option<Proxies> {
    let networks = match section.optional("trusted_proxies") {
        Some(item) => networks(&item)?,
        None => Vec::new(),
    };
    Some(Proxies { networks })
}

/// Whether consoles are told where requests come from.
pub(super) fn forwarded(section: &mut Section<'_>) -> Option<Forwarded> {
    let Some(item) = section.optional("forwarded_headers") else {
        return Some(Forwarded::default());
    };
    item.read_with(|text: String| match text.as_str() {
        "append" => Ok(Forwarded::Append),
        "strip" => Ok(Forwarded::Strip),
        _ => Err(r#"must be "strip" or "append""#),
    })
}

fn networks(item: &Item<'_>) -> Option<Vec<IpNet>> {
    let elements = item.elements()?;
    if elements.len() > NETWORKS {
        item.fault("has more than 1000 networks, each of which every request would be compared to");
    }
    let read: Vec<_> = elements
        .iter()
        .map(|item| item.read_with(|text: String| network(&text)))
        .collect();
    read.into_iter().collect()
}

/// A network, or one address alone.
fn network(text: &str) -> Result<IpNet, String> {
    let alone = || text.parse::<IpAddr>().map(IpNet::from);
    let Ok(network) = text.parse::<IpNet>().or_else(|_| alone()) else {
        return Err(format!(
            "{text:?} is not a network such as \"10.0.0.0/8\" or \"fd00::/8\", nor an address"
        ));
    };
    if network.prefix_len() == 0 {
        return Err("is everybody: each caller could say to come from anywhere".to_owned());
    }
    if network.trunc() != network {
        return Err(format!(
            "has more than its network: write \"{}\"",
            network.trunc()
        ));
    }
    let is_mapped = matches!(network, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some());
    if is_mapped {
        return Err("is IPv4 in the clothes of IPv6: write it as IPv4".to_owned());
    }
    Ok(network)
}

const MINUTE: Duration = Duration::from_secs(60);
const MOST_AT_ONCE: u32 = 1_000_000;
const NETWORKS: usize = 1000;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Settings;

    /// The faults of lines of `[server]`, of a tenant and of a client.
    fn faults(server: &str, tenant: &str, client: &str) -> Vec<String> {
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n{server}\n[[tenants]]\n{tenant}\n[[clients]]\n{client}"
        );
        let Err(faults) = Settings::parse(&text, Path::new("/")) else {
            panic!("it is no whole file");
        };
        let told = faults.iter().map(ToString::to_string);
        let keys = [
            "prox",
            "forwarded",
            "failed_auth",
            "rate_limit",
            "burst",
            "concurrency",
        ];
        told.filter(|fault| keys.iter().any(|key| fault.contains(key)))
            .filter(|fault| !fault.contains("known are"))
            .collect()
    }

    #[test]
    fn faults_of_the_server_say_what_would_be_right() {
        for (line, expected) in [
            (
                "trusted_proxies = [\"10.0.0.0/8\", \"192.0.2.1\", \"fd00::/8\", \"::1\"]",
                None,
            ),
            (
                "trusted_proxies = \"10.0.0.0/8\"",
                Some("trusted_proxies: expected an array"),
            ),
            (
                "trusted_proxies = [\"10.0.0.1/8\"]",
                Some("write \"10.0.0.0/8\""),
            ),
            (
                "trusted_proxies = [\"lb.example.net\"]",
                Some("is not a network such as"),
            ),
            (
                "trusted_proxies = [\"10.0.0.0/33\"]",
                Some("is not a network such as"),
            ),
            ("trusted_proxies = [\"0.0.0.0/0\"]", Some("is everybody")),
            ("trusted_proxies = [\"::/0\"]", Some("is everybody")),
            (
                "trusted_proxies = [\"::ffff:10.0.0.0/104\"]",
                Some("write it as IPv4"),
            ),
            (
                "trusted_proxies = [\"10.0.0.5\"]\nproxy_protocol = true",
                None,
            ),
            (
                "proxy_protocol = true",
                Some("server.proxy_protocol: needs trusted_proxies"),
            ),
            (
                "trusted_proxies = []\nproxy_protocol = true",
                Some("needs trusted_proxies"),
            ),
            (
                "proxy_protocol = \"v2\"",
                Some("server.proxy_protocol: expected true or false"),
            ),
            ("forwarded_headers = \"append\"", None),
            (
                "forwarded_headers = \"keep\"",
                Some("must be \"strip\" or \"append\""),
            ),
            ("failed_auth_limit = \"off\"", None),
            ("failed_auth_limit = \"10/m\"\nfailed_auth_burst = 5", None),
            ("failed_auth_burst = 5", None),
            (
                "failed_auth_limit = \"0/s\"",
                Some("must be a rate above zero"),
            ),
            ("failed_auth_limit = 5", Some("expected text")),
            (
                "failed_auth_burst = 0",
                Some("must be between 1 and 1000000"),
            ),
            (
                "failed_auth_limit = \"off\"\nfailed_auth_burst = 5",
                Some("stands beside failed_auth_limit"),
            ),
        ] {
            let found = faults(line, "", "");
            match expected {
                None => assert_eq!(found, Vec::<String>::new(), "{line}"),
                Some(expected) => {
                    assert_eq!(found.len(), 1, "{line}: {found:?}");
                    assert!(found[0].contains(expected), "{line}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn faults_of_an_allowance_say_what_would_be_right() {
        for (lines, expected) in [
            ("rate_limit = \"50/s\"\nburst = 100\nconcurrency = 20", None),
            ("concurrency = 0", Some("must be above zero")),
            ("rate_limit = \"fast\"", Some("must be a rate above zero")),
            ("burst = 5", Some("stands beside rate_limit only")),
            (
                "rate_limit = \"1/s\"\nburst = 0",
                Some("must be between 1 and"),
            ),
            (
                "rate_limit = \"1/s\"\nburst = 1000001",
                Some("must be between 1 and"),
            ),
        ] {
            for found in [faults("", lines, ""), faults("", "", lines)] {
                match expected {
                    None => assert_eq!(found, Vec::<String>::new(), "{lines}"),
                    Some(expected) => {
                        assert_eq!(found.len(), 1, "{lines}: {found:?}");
                        assert!(found[0].contains(expected), "{lines}: {found:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn guessing_is_limited_unless_it_is_said_otherwise() {
        let rate = |count, burst| {
            let rate = Rate::new(NonZeroU32::new(count)?, MINUTE)?;
            Some(rate.with_burst(NonZeroU32::new(burst)?))
        };
        for (lines, expected) in [
            ("", rate(60, 20)),
            ("failed_auth_burst = 7", rate(60, 7)),
            ("failed_auth_limit = \"10/m\"", rate(10, 20)),
            ("failed_auth_limit = \"off\"", None),
        ] {
            let table = toml::de::DeTable::parse(lines).unwrap();
            let list = crate::config::reader::FaultList::default();
            let mut section = Section::root(lines, table.get_ref(), &list);
            assert_eq!(guesses(&mut section), expected, "{lines}");
        }
    }
}
