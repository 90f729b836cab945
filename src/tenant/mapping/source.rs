//! What rules look at.

use std::borrow::Cow;

use http::header::{FROM, HOST, HeaderMap, HeaderName, ORIGIN, REFERER, USER_AGENT};
use smallvec::SmallVec;

use super::{Asker, Unresolved};
use crate::client::{Certificate, SubjectName};
use crate::request::RequestHead;

/// The most bytes of a value that a rule can be about: a longer one is none that it knows.
pub const VALUE_LIMIT: usize = 1024;

/// What of a request a condition looks at.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Source {
    /// The certificate of the connection.
    Certificate(Part),
    /// A claim of the token that the caller is known by.
    Claim(Box<str>),
    /// A header.
    Header(HeaderName),
    /// The host that the caller asked for, in lower case and without port.
    Host,
}

/// What of a certificate a condition looks at.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Part {
    /// The SHA-256 digest of the whole, 64 hex digits in lower case.
    Fingerprint,
    /// Its alternative DNS names, each.
    SanDns,
    /// Its alternative URIs, each.
    SanUri,
    /// Its subject as RFC 4514 writes it.
    Subject,
}

impl Source {
    /// The source of a header: that of `Host` is the host, wherever HTTP/2 says it.
    pub fn of_header(name: HeaderName) -> Self {
        if name == HOST {
            Self::Host
        } else {
            Self::Header(name)
        }
    }

    /// Whether a header means something beside the mapping: it goes on to the console.
    pub fn is_shared(name: &HeaderName) -> bool {
        SHARED.contains(name)
    }

    /// The header that exists for the mapping alone, if it is one.
    pub fn owned(&self) -> Option<&HeaderName> {
        match self {
            Self::Header(name) if !Self::is_shared(name) => Some(name),
            Self::Certificate(_) | Self::Claim(_) | Self::Header(_) | Self::Host => None,
        }
    }

    /// Whether it is the caller's proof of who it is that says it, not the request.
    pub(super) fn is_bound(&self) -> bool {
        matches!(self, Self::Certificate(_) | Self::Claim(_))
    }

    /// What a request has of it.
    pub(super) fn read<'a>(
        &self,
        head: &'a RequestHead<'_>,
        asker: &'a Asker<'_>,
    ) -> Result<Read<'a>, Unresolved> {
        Ok(match self {
            Self::Host => {
                let host = head.host_name();
                let is_upper = host.bytes().any(|byte| byte.is_ascii_uppercase());
                Read::one(if is_upper {
                    Cow::Owned(host.to_ascii_lowercase())
                } else {
                    Cow::Borrowed(host)
                })
            }
            Self::Header(name) => match read_header(head.headers, name)? {
                None => Read::Absent,
                Some(value) => std::str::from_utf8(value)
                    .map_or(Read::Odd, |value| Read::one(Cow::Borrowed(value))),
            },
            Self::Claim(name) => asker
                .claim(name)
                .map_or(Read::Absent, |value| Read::one(Cow::Borrowed(value))),
            Self::Certificate(part) => asker
                .certificate
                .map_or(Read::Absent, |certificate| part.read(certificate)),
        })
    }
}

impl Part {
    fn read(self, certificate: &Certificate) -> Read<'_> {
        let names = certificate.names.iter().filter_map(|name| match name {
            SubjectName::Dns(name) if self == Self::SanDns => Some(name),
            SubjectName::Uri(name) if self == Self::SanUri => Some(name),
            SubjectName::Dns(_)
            | SubjectName::Email(_)
            | SubjectName::Ip(_)
            | SubjectName::Uri(_) => None,
        });
        match self {
            Self::Fingerprint => Read::one(Cow::Owned(format!("{:?}", certificate.fingerprint))),
            Self::SanDns | Self::SanUri => {
                Read::Values(names.map(|name| Cow::Borrowed(name.as_str())).collect())
            }
            Self::Subject => Read::one(Cow::Borrowed(&certificate.subject)),
        }
    }
}

/// The one line of a header: what comes twice is doubtful, and so is what is empty. Only headers
/// that carry commas as a matter of course may have them.
pub(super) fn read_header<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h [u8]>, Unresolved> {
    let mut lines = headers.get_all(name).iter();
    let Some(value) = lines.next() else {
        return Ok(None);
    };
    let value = value.as_bytes();
    let is_list = value.contains(&b',') && !Source::is_shared(name);
    if lines.next().is_some() || value.is_empty() || is_list {
        return Err(Unresolved::Ambiguous);
    }
    Ok(Some(value))
}

/// What a request has of a source.
#[derive(Debug)]
pub(super) enum Read<'a> {
    Absent,
    /// Something that no rule can be about.
    Odd,
    Values(SmallVec<[Cow<'a, str>; 1]>),
}

impl<'a> Read<'a> {
    fn one(value: Cow<'a, str>) -> Self {
        if value.len() > VALUE_LIMIT {
            return Self::Odd;
        }
        Self::Values(SmallVec::from_buf([value]))
    }

    pub(super) fn values(&self) -> &[Cow<'a, str>] {
        match self {
            Self::Absent | Self::Odd => &[],
            Self::Values(values) => values,
        }
    }
}

/// Headers that tools send anyway, and whose values rules may look at.
static SHARED: [HeaderName; 6] = [
    FROM,
    HOST,
    ORIGIN,
    REFERER,
    USER_AGENT,
    HeaderName::from_static("x-client-version"),
];
