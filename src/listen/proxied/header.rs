//! The header of the PROXY protocol, as its specification of 2020 (section 2) has it, and no other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What can be said of the beginning of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Look {
    /// This is a line whose end has not come.
    Line,
    /// So many bytes more belong to it at least.
    Needs(usize),
    /// It is whole, and tells the source, or that there is none but the connection's own.
    Whole(Option<IpAddr>),
}

/// Why it is no header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Malformed {
    /// An address that cannot be read.
    #[error("an address")]
    Address,
    /// Neither LOCAL nor PROXY.
    #[error("the command")]
    Command,
    /// A line too long, without an end, or with another than CR LF.
    #[error("the end of the line")]
    End,
    /// Something else than a stream over IPv4 or IPv6.
    #[error("the protocol of the connection")]
    Family,
    /// Too much or too little of it.
    #[error("the length")]
    Length,
    /// A port that is no number up to 65535.
    #[error("a port")]
    Port,
    /// Another protocol altogether.
    #[error("the beginning")]
    Start,
    /// Another version than 2.
    #[error("the version")]
    Version,
}

/// Looks at what has come so far. Whoever reads as much as this calls for, and of a line no further
/// than its first LF, never reads beyond the header.
pub(super) fn look(bytes: &[u8]) -> Result<Look, Malformed> {
    if bytes.is_empty() {
        // Of whichever version: the shortest line has 15 bytes.
        return Ok(Look::Needs(SIGNATURE.len()));
    }
    if begins(bytes, &SIGNATURE) {
        return binary(bytes);
    }
    if begins(bytes, START) {
        return line(bytes);
    }
    Err(Malformed::Start)
}

/// Whether as much as has come is the beginning of what is expected.
fn begins(bytes: &[u8], expected: &[u8]) -> bool {
    let count = bytes.len().min(expected.len());
    bytes.get(..count) == expected.get(..count)
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n`.
fn line(bytes: &[u8]) -> Result<Look, Malformed> {
    if let Some(less) = SIGNATURE.len().checked_sub(bytes.len()).filter(|n| *n > 0) {
        return Ok(Look::Needs(less));
    }
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return match bytes.len() {
            ..LINE => Ok(Look::Line),
            _ => Err(Malformed::End),
        };
    };
    if end + 1 != bytes.len() {
        return Err(Malformed::End);
    }
    let text = bytes.strip_suffix(b"\r\n").ok_or(Malformed::End)?;
    if text.contains(&b'\r') {
        return Err(Malformed::End);
    }
    let text = text.strip_prefix(START).ok_or(Malformed::Start)?;
    // What else such a line says is not to be looked at.
    if text == b"UNKNOWN" || text.starts_with(b"UNKNOWN ") {
        return Ok(Look::Whole(None));
    }
    let text = std::str::from_utf8(text).map_err(|_| Malformed::Address)?;
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let source = match word() {
        "TCP4" => addresses::<Ipv4Addr>(word(), word())?,
        "TCP6" => addresses::<Ipv6Addr>(word(), word())?,
        _ => return Err(Malformed::Family),
    };
    if !(is_port(word()) && is_port(word())) {
        return Err(Malformed::Port);
    }
    match words.next() {
        None => Ok(Look::Whole(Some(source))),
        Some(_) => Err(Malformed::Length),
    }
}

fn addresses<A>(source: &str, target: &str) -> Result<IpAddr, Malformed>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let read = |text: &str| text.parse::<A>().map_err(|_| Malformed::Address);
    let source = read(source)?;
    read(target)?;
    Ok(source.into())
}

fn is_port(text: &str) -> bool {
    let is_plain = text == "0" || (!text.starts_with('0') && !text.starts_with('+'));
    is_plain && text.parse::<u16>().is_ok()
}

/// Version 2.
fn binary(bytes: &[u8]) -> Result<Look, Malformed> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Look::Needs(FIXED - bytes.len()));
    };
    let [.., command, family, high, low] = *fixed;
    if command >> 4 != 2 {
        return Err(Malformed::Version);
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > REST {
        return Err(Malformed::Length);
    }
    let least = match (command & 0xf, family) {
        // The proxy's own, whatever it says of addresses.
        (LOCAL, _) => 0,
        (PROXY, UNSPECIFIED) => 0,
        (PROXY, TCP4) => 12,
        (PROXY, TCP6) => 36,
        (PROXY, _) => return Err(Malformed::Family),
        _ => return Err(Malformed::Command),
    };
    if length < least {
        return Err(Malformed::Length);
    }
    match length.checked_sub(rest.len()) {
        Some(0) => {}
        Some(less) => return Ok(Look::Needs(less)),
        None => return Err(Malformed::Length),
    }
    // Behind the addresses stand fields of type, length and value, of which none is used here.
    Ok(Look::Whole(match least {
        12 => rest.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        36 => rest.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
        _ => None,
    }))
}

/// The longest line, its end included.
pub(super) const LINE: usize = 107;

/// The most behind the first 16 bytes of version 2: addresses, and what a proxy adds, such as the
/// name in a TLS handshake or a certificate's subject.
const REST: usize = 4096;

const START: &[u8] = b"PROXY ";
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = SIGNATURE.len() + 4;

const LOCAL: u8 = 0;
const PROXY: u8 = 1;
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
