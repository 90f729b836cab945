//! Where a console is reached: one address or several, and which of them work.
//!
//! `known` is what is known of each address, `balance` the choice among several and the checks. A
//! console without checks has no balance: its addresses are looked up, and tried, at each connection.

mod balance;
mod known;
#[cfg(test)]
mod tests;

pub(super) use balance::Balance;
pub(super) use known::{Facts, Known};

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use super::Settings;

/// Where a console listens: a name or an IP address, and a port.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Address {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Host {
    Ip(IpAddr),
    /// In lower case.
    Name(Box<str>),
}

/// Why a text is no address of a console.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddressFault {
    /// Neither a name nor an IP address.
    #[error("must be a host and a port such as \"10.0.0.5:1280\" or \"[2001:db8::5]:1280\"")]
    Form,
    /// The port is missing, or is none.
    #[error("needs a port between 1 and 65535, such as \"10.0.0.5:1280\"")]
    Port,
    /// It is a URL.
    #[error("must be a host and a port alone: scheme and name of the console stand in `url`")]
    Url,
}

/// How the addresses of a console are checked while nobody uses them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checks {
    /// The time from the end of one round to the next.
    pub interval: Duration,
    /// So many failures in a row make an address one that does not work.
    pub failures: NonZeroUsize,
    /// So many successes in a row make it one that works.
    pub successes: NonZeroUsize,
    /// What is asked for with GET, and without a token. `None`: the connection is set up, and no more.
    pub path: Option<PathAndQuery>,
}

/// What is known of an address that is checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddressState {
    /// The IP address and port; the name, where it leads nowhere.
    pub address: String,
    /// What the configuration calls it.
    pub name: String,
    /// Whether requests go there.
    pub healthy: bool,
    /// What last went wrong, if nothing has gone right since.
    pub error: Option<String>,
}

impl Address {
    /// Reads `host:port`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        if text.contains('/') {
            return Err(AddressFault::Url);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return match address.port() {
                0 => Err(AddressFault::Port),
                port => Ok(Self::ip(address.ip(), port)),
            };
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(AddressFault::Port);
        }
        let (name, port) = text.rsplit_once(':').unwrap_or((text, ""));
        if !is_name(name) {
            return Err(AddressFault::Form);
        }
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0);
        Ok(Self {
            host: Host::Name(name.to_ascii_lowercase().into()),
            port: port.ok_or(AddressFault::Port)?,
        })
    }

    /// Whether it is this machine's own.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name(name) => &**name == "localhost",
        }
    }

    /// Where the host of a URL is reached.
    pub(super) fn of(scheme: &Scheme, authority: &Authority) -> Self {
        let default = if *scheme == Scheme::HTTP { 80 } else { 443 };
        let port = authority.port_u16().unwrap_or(default);
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse() {
            Ok(ip) => Self::ip(ip, port),
            Err(_) => Self {
                host: Host::Name(host.to_ascii_lowercase().into()),
                port,
            },
        }
    }

    /// An address that was looked up.
    pub(super) fn at(address: SocketAddr) -> Self {
        Self::ip(address.ip(), address.port())
    }

    fn ip(ip: IpAddr, port: u16) -> Self {
        let host = Host::Ip(ip);
        Self { host, port }
    }

    /// Whether a host, as it stands in a URL, is this one's.
    fn has_host(&self, host: &str) -> bool {
        match &self.host {
            Host::Ip(ip) => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                bare.parse().is_ok_and(|other: IpAddr| other == *ip)
            }
            Host::Name(name) => name.eq_ignore_ascii_case(host),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl Settings {
    /// Where the console is reached.
    pub(super) fn places(&self) -> Vec<Address> {
        if self.addresses.is_empty() {
            vec![Address::of(&self.scheme, &self.authority)]
        } else {
            self.addresses.clone()
        }
    }

    /// What asks the console for a resource; path and query go out byte for byte. Scheme and host
    /// are those of the pool that it is sent by.
    pub(super) fn uri(&self, target: PathAndQuery) -> Result<Uri, http::uri::InvalidUriParts> {
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = Some(target);
        Uri::from_parts(parts)
    }

    /// Whether an authority, as it stands in a URL, is the console's: its name or one of its
    /// addresses, with or without a port.
    pub fn is_named(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => host,
            _ => authority,
        };
        host.eq_ignore_ascii_case(self.authority.host())
            || self.addresses.iter().any(|address| address.has_host(host))
    }
}

/// A name as DNS has them; what looks like an IPv4 address is none.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let looks_like_ip = name
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let fits = !name.is_empty() && name.len() <= 253 && name.bytes().all(allowed);
    fits && !looks_like_ip && !name.starts_with('.') && name.parse::<Ipv4Addr>().is_err()
}

/// How a name is looked up.
#[derive(Clone, Debug, Default)]
pub(super) enum Lookup {
    /// As the operating system does it.
    #[default]
    System,
    /// As a test says.
    #[cfg(test)]
    Scripted(Arc<tests::Script>),
}

impl Lookup {
    async fn look_up(&self, name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => Ok(tokio::net::lookup_host((name, port)).await?.collect()),
            #[cfg(test)]
            Self::Scripted(script) => script.look_up(name, port).await,
        }
    }
}

/// A text that several hold.
type Text = Arc<str>;
