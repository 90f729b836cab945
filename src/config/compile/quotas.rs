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
    let protocol = section.or("proxy_protocol", false)?;
    if protocol && networks.is_empty() {
        section.fault(
            "proxy_protocol",
            "needs trusted_proxies: without it everybody could say to come from anywhere",
        );
    }
    Some(Proxies { networks, protocol })
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
