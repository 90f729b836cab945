//! What the values of a query's options may be.

use std::net::IpAddr;
use std::str::FromStr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::Timestamp;

/// Why a value cannot be used: the right form, in words.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct WrongForm(&'static str);

/// A text that a member must be. `*` stands for any text, also for none; ASCII letters are equal in
/// both cases.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern(Vec<Box<str>>);

impl FromStr for Pattern {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        if text.is_empty() {
            return Err(WrongForm("must not be empty; `*` stands for any text"));
        }
        Ok(Self(text.split('*').map(Into::into).collect()))
    }
}

impl Pattern {
    /// What fits a text that has this one anywhere in it.
    ///
    /// # Errors
    /// Fails when the text is empty.
    pub fn within(text: &str) -> Result<Self, WrongForm> {
        if text.is_empty() {
            return Err(WrongForm("must not be empty"));
        }
        format!("*{text}*").parse()
    }

    /// The one text that fits but for the case of its letters, if there is only one.
    pub(super) fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [whole] => Some(whole),
            _ => None,
        }
    }

    /// The longest part that each text that fits has in it.
    pub(super) fn longest(&self) -> &str {
        let longest = self.0.iter().max_by_key(|part| part.len());
        longest.map_or("", |part| part)
    }

    /// Whether a text is one of those that are meant.
    pub fn fits(&self, text: &str) -> bool {
        let mut rest = text.as_bytes();
        let (first, between, last) = match self.0.as_slice() {
            [whole] => return whole.eq_ignore_ascii_case(text),
            [first, between @ .., last] => (first, between, last),
            [] => return false,
        };
        if !cut(&mut rest, 0, first) {
            return false;
        }
        // The earliest place of each part leaves the most for the parts after it.
        for part in between {
            let mut places = rest.windows(part.len().max(1));
            match places.position(|place| place.eq_ignore_ascii_case(part.as_bytes())) {
                Some(at) => cut(&mut rest, at, part),
                None if part.is_empty() => true,
                None => return false,
            };
        }
        rest.len()
            .checked_sub(last.len())
            .is_some_and(|at| cut(&mut rest, at, last))
    }
}

/// Cuts `rest` behind `part`, if that stands at `at`.
fn cut(rest: &mut &[u8], at: usize, part: &str) -> bool {
    let end = at + part.len();
    let is_there = rest
        .get(at..end)
        .is_some_and(|place| place.eq_ignore_ascii_case(part.as_bytes()));
    if is_there {
        *rest = rest.get(end..).unwrap_or_default();
    }
    is_there
}

/// Statuses from one to another, both included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Statuses {
    first: u16,
    last: u16,
}

impl FromStr for Statuses {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let wrong = WrongForm(
            "must be a status such as 403, a class such as 4xx or a range such as 400-499",
        );
        let status = |text: &str| match text.parse::<u16>() {
            Ok(status) if text.len() == 3 && (100..=999).contains(&status) => Ok(status),
            _ => Err(wrong),
        };
        let class = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"));
        let (first, last) = if let Some(class) = class {
            (
                status(&format!("{class}00"))?,
                status(&format!("{class}99"))?,
            )
        } else if let Some((first, last)) = text.split_once('-') {
            (status(first)?, status(last)?)
        } else {
            (status(text)?, status(text)?)
        };
        if first > last {
            return Err(wrong);
        }
        Ok(Self { first, last })
    }
}

impl Statuses {
    /// Whether a status is one of those that are meant.
    pub fn has(self, status: u64) -> bool {
        (u64::from(self.first)..=u64::from(self.last)).contains(&status)
    }
}

/// An address or a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    bits: u128,
    width: u32,
    prefix: u32,
}

impl FromStr for Network {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let wrong = WrongForm(
            "must be an address such as 10.1.2.3 or a network such as 10.1.0.0/16 or fd00::/8",
        );
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong)?;
        let (bits, width) = match prefix {
            // A prefix counts the bits of the address as it is written.
            Some(_) => numbered(address),
            None => numbered(address.to_canonical()),
        };
        let prefix = match prefix {
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                prefix.parse().map_err(|_| wrong)?
            }
            Some(_) => return Err(wrong),
            None => width,
        };
        if prefix > width {
            return Err(wrong);
        }
        Ok(Self {
            bits,
            width,
            prefix,
        })
    }
}

impl Network {
    /// Whether an address is in the network. An IPv4 address in IPv6 form is that IPv4 address.
    pub fn has(self, address: IpAddr) -> bool {
        let (bits, width) = numbered(address.to_canonical());
        let apart = self.width - self.prefix;
        width == self.width && (bits ^ self.bits).checked_shr(apart).unwrap_or(0) == 0
    }
}

fn numbered(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), u32::BITS),
        IpAddr::V6(address) => (address.to_bits(), u128::BITS),
    }
}

/// A point in time as an operator gives it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Moment {
    /// So many microseconds ago.
    Ago(i64),
    /// A certain time.
    At(Timestamp),
}

impl FromStr for Moment {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let wrong = WrongForm(
            "must be a time such as 2026-03-04T05:06:07Z, a date such as 2026-03-04 (midnight UTC) or how long ago, \
             such as 90s, 30m, 2h, 7d",
        );
        if let Some(at) = timestamp(text) {
            return Ok(Self::At(at));
        }
        let count = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
        let seconds = match text.strip_prefix(count) {
            Some("s") => 1,
            Some("m") => 60,
            Some("h") => 3600,
            Some("d") => 86_400,
            Some("w") => 7 * 86_400,
            _ => return Err(wrong),
        };
        if !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong);
        }
        let count: i64 = count.parse().map_err(|_| wrong)?;
        let micros = count.checked_mul(seconds * 1_000_000);
        micros.map(Self::Ago).ok_or(wrong)
    }
}

impl Moment {
    /// The time that is meant, if it is `now`. Never before 1970.
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(micros) => Timestamp(now.0.saturating_sub(micros).max(0)),
            Self::At(at) => Timestamp(at.0.max(0)),
        }
    }
}

/// Where a range of times begins or ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bound {
    pub(super) at: Timestamp,
    /// Stamps have the order of their texts, which are compared for each line.
    pub(super) text: [u8; Timestamp::TEXT_LEN],
}

impl From<Timestamp> for Bound {
    fn from(at: Timestamp) -> Self {
        let text = at.text();
        Self { at, text }
    }
}

/// Reads an RFC 3339 time, of any offset and precision, or a date.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let at = if text.len() == "0000-00-00".len() {
        OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339)
    } else {
        OffsetDateTime::parse(text, &Rfc3339)
    };
    let micros = at.ok()?.unix_timestamp_nanos().div_euclid(1000);
    i64::try_from(micros).ok().map(Timestamp)
}

#[cfg(test)]
mod tests;
