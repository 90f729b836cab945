//! How much of it: the rates and places that clients and tenants have at the door, and how often a
//! source may guess. What is over is refused at once; nothing waits here.

mod guesses;
mod meters;
mod rate;

pub use guesses::{Attempt, Guesses};
pub use meters::{Allowance, Exceeded, Meters, Permit, Short, Whose};
pub use rate::Rate;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// What the configuration allows.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// By the names of clients that have a limit.
    pub clients: HashMap<Arc<str>, Allowance>,
    /// By the ids of tenants that have one.
    pub tenants: HashMap<Arc<str>, Allowance>,
    /// How often a source may fail to say who it is; absent, without end.
    pub guesses: Option<Rate>,
}

/// All that is counted at the door.
///
/// What was counted outlives a configuration: the next one takes it over by name.
#[derive(Debug, Default)]
pub struct Quotas {
    /// What clients and tenants use.
    pub meters: Meters,
    /// What sources guess.
    pub guesses: Option<Arc<Guesses>>,
}

impl Quotas {
    /// Counts for a configuration, from where the `former` one left off. A rate that changed begins
    /// anew; who is under way keeps its place.
    pub fn new(settings: Settings, former: Option<&Self>) -> Self {
        let guesses = settings.guesses.map(|rate| {
            let same = former.and_then(|former| former.guesses.as_ref());
            match same.filter(|guesses| guesses.rate() == rate) {
                Some(guesses) => Arc::clone(guesses),
                None => Arc::new(Guesses::new(rate)),
            }
        });
        let meters = former.map(|former| &former.meters);
        Self {
            meters: Meters::new(settings.clients, settings.tenants, meters),
            guesses,
        }
    }
}

/// Which callers count as one: an IPv4 address, or a network of IPv6 with a prefix of 64 bits, which
/// is what one host may have.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Source(IpAddr);

impl Source {
    /// The source of an address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & NETWORK;
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// The part of an IPv6 address that names a network.
const NETWORK: u128 = !(u64::MAX as u128);

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_source_is_an_address_or_a_network_of_ipv6() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("::ffff:192.0.2.1"), of("::ffff:192.0.2.2"));
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_are_taken_over_where_their_rate_is_the_same() {
        let rate = |count| {
            let count = NonZeroU32::new(count).unwrap();
            Rate::new(count, Duration::from_secs(60))
        };
        let settings = |guesses| Settings {
            guesses,
            ..Settings::default()
        };
        let from = IpAddr::from([192, 0, 2, 1]);
        let first = Quotas::new(settings(rate(60)), None);
        assert_eq!(first.guesses.as_ref().unwrap().wrong(from), Ok(()));
        let second = Quotas::new(settings(rate(60)), Some(&first));
        assert!(second.guesses.as_ref().unwrap().wrong(from).is_err());
        let third = Quotas::new(settings(rate(30)), Some(&second));
        assert_eq!(third.guesses.as_ref().unwrap().wrong(from), Ok(()));
        assert!(Quotas::new(settings(None), Some(&third)).guesses.is_none());
    }
}
