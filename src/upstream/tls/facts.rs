//! What a certificate says of itself.

use std::fmt;
use std::fmt::Write as _;
use std::net::IpAddr;

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{AttributeTypeAndValue, X509Name, X509Version};

use super::Fingerprint256;

/// What a certificate says of itself. All texts can be shown on a terminal, whatever is in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFacts {
    /// Its SHA-256 digest.
    pub fingerprint: Fingerprint256,
    /// Whom it is for, as RFC 4514 writes it.
    pub subject: String,
    /// Who has signed it, likewise.
    pub issuer: String,
    /// The host names and IP addresses that it is good for.
    pub names: Vec<String>,
    /// The first moment at which it is good.
    pub begins: Moment,
    /// The last moment at which it is good.
    pub ends: Moment,
    /// Whether it may sign others.
    pub is_authority: bool,
    /// Whether subject and issuer are the same.
    pub is_self_issued: bool,
}

/// A moment in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Moment(pub i64);

impl Moment {
    /// Whole days from another moment to this one, negative once it has passed.
    pub fn days_since(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0).div_euclid(DAY)
    }
}

impl fmt::Display for Moment {
    /// As `2026-03-04T05:06:07Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(at) = OffsetDateTime::from_unix_timestamp(self.0) else {
            return f.write_str("beyond all calendars");
        };
        let (date, time) = (at.date(), at.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second()
        )
    }
}

impl CertificateFacts {
    /// Reads a certificate in DER form; `None` where it is none.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let constraints = certificate.basic_constraints().ok()?;
        let is_self_issued = certificate.subject() == certificate.issuer();
        // The first version of the format has no place to say it.
        let is_old_root = certificate.version() == X509Version::V1 && is_self_issued;
        Some(Self {
            fingerprint: Fingerprint256::of(der),
            subject: name(certificate.subject()),
            issuer: name(certificate.issuer()),
            names: names(&certificate),
            begins: Moment(certificate.validity().not_before.timestamp()),
            ends: Moment(certificate.validity().not_after.timestamp()),
            is_authority: is_old_root || constraints.is_some_and(|said| said.value.ca),
            is_self_issued,
        })
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.iter().flat_map(|all| &all.value.general_names);
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(host) => Some(shown(host)),
        GeneralName::IPAddress(bytes) => address(bytes).map(|ip| ip.to_string()),
        _ => None,
    };
    alternatives.filter_map(name).collect()
}

/// An address as it stands in a certificate.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let sixteen = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
    four().or_else(sixteen)
}

/// A name as RFC 4514 writes it: the last part first.
fn name(name: &X509Name<'_>) -> String {
    let mut parts: Vec<_> = name.iter_rdn().collect();
    parts.reverse();
    let mut text = String::new();
    for (place, part) in parts.into_iter().enumerate() {
        for (also, attribute) in part.iter().enumerate() {
            match (place, also) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                _ => text.push('+'),
            }
            write_attribute(&mut text, attribute);
        }
    }
    text
}

fn write_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let kind = attribute.attr_type().to_id_string();
    text.push_str(attribute_name(&kind).unwrap_or(&kind));
    text.push('=');
    match attribute.as_str() {
        Ok(value) => write_value(text, value),
        Err(_) => {
            text.push('#');
            text.push_str(&hex::encode(attribute.as_slice()));
        }
    }
}

fn write_value(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (place, c) in value.chars().enumerate() {
        let at_edge = (place == 0 && matches!(c, ' ' | '#')) || (place == last && c == ' ');
        if at_edge || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            text.push('\\');
            text.push(c);
        } else if is_shown(c) {
            text.push(c);
        } else {
            escape(text, c);
        }
    }
}

/// A text without anything that a terminal obeys.
fn shown(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if is_shown(c) && c != '\\' {
            text.push(c);
        } else {
            escape(&mut text, c);
        }
    }
    text
}

/// Neither control characters nor what turns the direction of a text round.
fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn escape(text: &mut String, c: char) {
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        // Writing to a text cannot fail.
        write!(text, "\\{byte:02X}").unwrap_or_default();
    }
}

/// What directories and `openssl` call a kind of attribute, where they agree.
pub(crate) fn attribute_name(kind: &str) -> Option<&'static str> {
    let named = SHORT.iter().find(|(oid, _)| *oid == kind);
    named.map(|(_, short)| *short)
}

const SHORT: [(&str, &str); 13] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.42", "GN"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

const DAY: i64 = 24 * 60 * 60;
