//! Request targets and hosts.

use std::net::Ipv6Addr;
use std::str;

use memchr::memchr;

/// Whether a target can be read in one way only, as far as its bytes go: a path, perhaps with a
/// query, alone or behind `http://` or `https://` and a host; or `*`.
pub(super) fn is_target(target: &[u8]) -> bool {
    match target.first() {
        Some(b'/') => is_path_and_query(target),
        Some(b'*') => target.len() == 1,
        _ => is_absolute(target),
    }
}

/// The same of a path, perhaps with a query, which nothing but ASCII makes up.
pub fn is_plain_path(text: &str) -> bool {
    text.starts_with('/') && text.is_ascii() && is_path_and_query(text.as_bytes())
}

fn is_absolute(target: &[u8]) -> bool {
    let Some(rest) = behind(target, b"http://").or_else(|| behind(target, b"https://")) else {
        return false;
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
    let (host, path) = rest.split_at(end.unwrap_or(rest.len()));
    is_host(host) && (path.is_empty() || is_path_and_query(path))
}

fn behind<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// What is allowed is what the type of targets behind this can hold: some characters that should be
/// encoded, but which real clients send as they are, are among it.
fn is_path_and_query(target: &[u8]) -> bool {
    let query = memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(query);
    // Without an early return: nearly every target is good.
    let kinds = |part: &[u8]| {
        part.iter()
            .fold(PATH | QUERY | ASCII, |all, byte| all & kind(*byte))
    };
    let (path, query) = (kinds(path), kinds(query));
    let is_ascii = path & query & ASCII != 0;
    path & PATH != 0 && query & QUERY != 0 && (is_ascii || str::from_utf8(target).is_ok())
}

fn kind(byte: u8) -> u8 {
    // The table has an entry for every byte.
    KINDS.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Whether a text is a host as requests name it: a name, an IPv4 address, or an IPv6 address in
/// brackets, perhaps with a port.
pub fn is_host(text: &[u8]) -> bool {
    let (name, port) = match text.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !text.ends_with(b"]") => {
            let (name, port) = text.split_at(colon);
            (name, port.get(1..))
        }
        _ => (text, None),
    };
    let name_fits = match name.strip_prefix(b"[") {
        Some(inner) => inner
            .strip_suffix(b"]")
            .and_then(|address| str::from_utf8(address).ok())
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => {
            !name.is_empty()
                && name
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    name_fits && port.is_none_or(is_port)
}

fn is_port(text: &[u8]) -> bool {
    (1..=5).contains(&text.len())
        && text.iter().all(u8::is_ascii_digit)
        && str::from_utf8(text).is_ok_and(|text| text.parse::<u16>().is_ok())
}

const PATH: u8 = 1;
const QUERY: u8 = 2;
const ASCII: u8 = 4;

/// Which bytes may stand where. Above ASCII they must be UTF-8 together.
const KINDS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        let path = matches!(byte,
            0x21 | 0x22 | 0x24..=0x3b | 0x3d | 0x40..=0x5f | 0x61..=0x7e | 0x80..=0xff);
        let ascii = byte < 0x80;
        let query = matches!(byte, 0x21 | 0x24..=0x3b | 0x3d | 0x3f..=0x7e | 0x80..=0xff);
        #[expect(clippy::indexing_slicing, reason = "computed at compile time")]
        {
            table[byte as usize] =
                (path as u8) * PATH + (query as u8) * QUERY + (ascii as u8) * ASCII;
        }
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};
