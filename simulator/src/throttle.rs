//! Limits of requests: per user and per source address, in a second and at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::settings::Switches;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What a limit of requests in a second lets through at once is as much as in a second.
const SPAN: Duration = Duration::from_secs(1);
/// Users and addresses that rest are forgotten when this many are known.
const REMEMBERED: usize = 4096;

/// The limits that are switched on.
#[derive(Debug)]
pub(crate) struct Throttle {
    users: Limiter<Uuid>,
    addresses: Limiter<IpAddr>,
}

impl Throttle {
    pub(crate) fn new(switches: &Switches) -> Self {
        let (user_rate, user_parallel) =
            (switches.throttle_user_rate, switches.throttle_user_parallel);
        let address_rate = switches.throttle_address_rate;
        let address_parallel = switches.throttle_address_parallel;
        Self {
            users: Limiter::new(user_rate, user_parallel),
            addresses: Limiter::new(address_rate, address_parallel),
        }
    }

    pub(crate) fn user(&self, uid: Uuid) -> Result<Option<Pass<'_, Uuid>>, Exceeded> {
        self.users.enter(uid)
    }

    pub(crate) fn address(&self, ip: IpAddr) -> Result<Option<Pass<'_, IpAddr>>, Exceeded> {
        self.addresses.enter(ip)
    }
}

/// A request that is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// The seconds to wait; `None` when too many requests run at once.
    pub(crate) retry_after: Option<u64>,
}

#[derive(Debug)]
struct Limiter<K> {
    /// The time that one request uses up, when there is a rate.
    interval: Option<Duration>,
    parallel: u32,
    known: Mutex<HashMap<K, Use>>,
}

/// What one user or address has used.
#[derive(Debug)]
struct Use {
    /// When all that was used will have come back.
    whole: Instant,
    running: u32,
}

impl<K: Copy + Eq + Hash> Limiter<K> {
    fn new(rate: u32, parallel: u32) -> Self {
        Self {
            interval: SPAN.checked_div(rate),
            parallel,
            known: Mutex::default(),
        }
    }

    /// Lets one request in until its pass is dropped; no pass is needed where there is no limit.
    fn enter(&self, key: K) -> Result<Option<Pass<'_, K>>, Exceeded> {
        if self.interval.is_none() && self.parallel == 0 {
            return Ok(None);
        }
        let now = Instant::now();
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED {
            known.retain(|_, other| other.running > 0 || other.whole > now);
        }
        let used = known.entry(key).or_insert(Use {
            whole: now,
            running: 0,
        });
        if self.parallel > 0 && used.running >= self.parallel {
            return Err(Exceeded { retry_after: None });
        }
        if let Some(interval) = self.interval {
            let whole = used.whole.max(now) + interval;
            let wait = (whole - now).saturating_sub(SPAN);
            if !wait.is_zero() {
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                let retry_after = Some(seconds);
                return Err(Exceeded { retry_after });
            }
            used.whole = whole;
        }
        used.running += 1;
        Ok(Some(Pass { limiter: self, key }))
    }
}

/// A request that was let in and counts as running.
#[derive(Debug)]
pub(crate) struct Pass<'a, K: Copy + Eq + Hash> {
    limiter: &'a Limiter<K>,
    key: K,
}

impl<K: Copy + Eq + Hash> Drop for Pass<'_, K> {
    fn drop(&mut self) {
        if let Some(used) = self.limiter.known.lock().get_mut(&self.key) {
            used.running = used.running.saturating_sub(1);
        }
    }
}

/// Returns the address that a request counts for: its peer's, or what the proxy before it has noted.
pub(crate) fn source(peer: IpAddr, headers: &HeaderMap, trust_forwarded_for: bool) -> IpAddr {
    if !trust_forwarded_for {
        return peer;
    }
    let last = headers.get_all(X_FORWARDED_FOR).iter().next_back();
    last.and_then(|value| value.to_str().ok())
        .and_then(|value| value.rsplit(',').next())
        .and_then(|text| address(text.trim()))
        .unwrap_or(peer)
}

fn address(text: &str) -> Option<IpAddr> {
    let plain = text.parse().ok();
    plain.or_else(|| {
        text.parse::<SocketAddr>()
            .ok()
            .map(|with_port| with_port.ip())
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_lets_a_second_of_requests_in_at_once() {
        let limiter = Limiter::new(2, 0);
        let exceeded = Exceeded {
            retry_after: Some(1),
        };
        for _ in 0..2 {
            assert!(limiter.enter(1).unwrap().is_some());
        }
        assert_eq!(limiter.enter(1).unwrap_err(), exceeded);
        assert!(limiter.enter(2).is_ok());
        tokio::time::advance(Duration::from_millis(499)).await;
        assert_eq!(limiter.enter(1).unwrap_err(), exceeded);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(limiter.enter(1).is_ok());
        assert_eq!(limiter.enter(1).unwrap_err(), exceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn parallel_requests_are_let_in_when_others_are_over() {
        let limiter = Limiter::new(0, 1);
        let first = limiter.enter(1).unwrap();
        let exceeded = Exceeded { retry_after: None };
        assert_eq!(limiter.enter(1).unwrap_err(), exceeded);
        assert!(limiter.enter(2).is_ok());
        drop(first);
        assert!(limiter.enter(1).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_too_many_at_once_uses_no_rate_up() {
        let limiter = Limiter::new(2, 1);
        let first = limiter.enter(1).unwrap();
        for _ in 0..5 {
            limiter.enter(1).unwrap_err();
        }
        drop(first);
        assert!(limiter.enter(1).is_ok());
    }

    #[test]
    fn without_limits_nothing_is_remembered() {
        let limiter = Limiter::new(0, 0);
        assert!(limiter.enter(1).unwrap().is_none());
        assert!(limiter.known.lock().is_empty());
    }

    #[track_caller]
    fn check(values: &[&'static str], trusted: bool, expected: &str) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_static(value));
        }
        let found = source(IpAddr::from([127, 0, 0, 1]), &headers, trusted);
        assert_eq!(found.to_string(), expected, "{values:?}");
    }

    #[test]
    fn the_last_address_of_a_trusted_header_counts() {
        check(&["192.0.2.1"], false, "127.0.0.1");
        check(&["192.0.2.1"], true, "192.0.2.1");
        check(&["192.0.2.1, 192.0.2.2"], true, "192.0.2.2");
        check(&["192.0.2.1", "192.0.2.3:4711"], true, "192.0.2.3");
        check(&["[2001:db8::1]:80"], true, "2001:db8::1");
        check(&["unknown"], true, "127.0.0.1");
        check(&[], true, "127.0.0.1");
    }
}
