//! What a client's certificate says.

use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, Oid, Tag, ToDer as _};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::clock::Timestamp;
use crate::upstream::Fingerprint256;

/// A certificate that was verified during the handshake.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The digest of the whole.
    pub fingerprint: Fingerprint256,
    /// Its subject as RFC 4514 writes it, e.g. `CN=zabbix,O=Example`. Text that is not ASCII stands as
    /// it is. Empty where the certificate has only alternative names.
    pub subject: String,
    /// Its alternative names.
    pub names: Vec<SubjectName>,
    /// When it ends.
    pub expires: Timestamp,
}

/// An alternative name of a certificate, whole and without a NUL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SubjectName {
    /// A DNS name, in lower case.
    Dns(String),
    /// A mail address.
    Email(String),
    /// An IP address.
    Ip(IpAddr),
    /// A URI, e.g. a SPIFFE id.
    Uri(String),
}

/// Why the names of a certificate are not believed, whoever has signed it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CertificateFault {
    /// A name holds a character that programs read differently: a control such as NUL, or in an
    /// alternative name anything but visible ASCII.
    #[error("a name in the certificate holds a character that no name may hold")]
    Character,
    /// It is not built as RFC 5280 says.
    #[error("the certificate is malformed")]
    Malformed,
}

impl Certificate {
    /// Reads a certificate whose signature was verified.
    ///
    /// # Errors
    /// Fails when a name in it could be read in two ways, or it is malformed.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, CertificateFault> {
        let (rest, read) =
            X509Certificate::from_der(der).map_err(|_| CertificateFault::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateFault::Malformed);
        }
        let mut names = Vec::new();
        let alternatives = read.subject_alternative_name();
        if let Some(extension) = alternatives.map_err(|_| CertificateFault::Malformed)? {
            for name in &extension.value.general_names {
                names.extend(alternative(name)?);
            }
        }
        let ends = read.validity().not_after.timestamp();
        Ok(Self {
            fingerprint: Fingerprint256::of(der),
            subject: distinguished(read.subject())?,
            names,
            expires: Timestamp(ends.saturating_mul(1_000_000)),
        })
    }
}

/// An alternative name; `None` for kinds that nothing is matched by.
fn alternative(name: &GeneralName<'_>) -> Result<Option<SubjectName>, CertificateFault> {
    Ok(Some(match name {
        GeneralName::DNSName(text) => SubjectName::Dns(visible(text)?.to_ascii_lowercase()),
        GeneralName::RFC822Name(text) => SubjectName::Email(visible(text)?),
        GeneralName::URI(text) => SubjectName::Uri(visible(text)?),
        GeneralName::IPAddress(bytes) => SubjectName::Ip(address(bytes)?),
        GeneralName::DirectoryName(directory) => {
            distinguished(directory)?;
            return Ok(None);
        }
        GeneralName::Invalid(..) => return Err(CertificateFault::Malformed),
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_) => return Ok(None),
    }))
}

/// What DNS names, mail addresses and URIs consist of in certificates.
fn visible(text: &str) -> Result<String, CertificateFault> {
    if text.is_empty() {
        return Err(CertificateFault::Malformed);
    }
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(CertificateFault::Character)
    }
}

fn address(bytes: &[u8]) -> Result<IpAddr, CertificateFault> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .map_err(|_| CertificateFault::Malformed)
}

/// A name as RFC 4514 writes it: the most particular part first.
fn distinguished(name: &X509Name<'_>) -> Result<String, CertificateFault> {
    let mut written = String::new();
    let parts: Vec<_> = name.iter().collect();
    for part in parts.into_iter().rev() {
        let mut separator = if written.is_empty() { "" } else { "," };
        for attribute in part.iter() {
            written.push_str(separator);
            write_attribute(&mut written, attribute)?;
            separator = "+";
        }
    }
    Ok(written)
}

fn write_attribute(
    written: &mut String,
    attribute: &AttributeTypeAndValue<'_>,
) -> Result<(), CertificateFault> {
    let (kind, value) = (attribute.attr_type(), attribute.attr_value());
    let short = short_name(kind);
    let text = text(value)?;
    match short {
        Some(short) => written.push_str(short),
        None => written.push_str(&kind.to_id_string()),
    }
    written.push('=');
    match text.filter(|_| short.is_some()) {
        Some(text) => escape(written, &text),
        None => {
            let der = value
                .to_der_vec_raw()
                .map_err(|_| CertificateFault::Malformed)?;
            written.push('#');
            written.push_str(&hex::encode(der));
        }
    }
    Ok(())
}

/// The text of a value; `None` where it is of a kind that is not text, or whose letters nobody
/// agrees about.
fn text(value: &Any<'_>) -> Result<Option<String>, CertificateFault> {
    let read = match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            std::str::from_utf8(value.data)
                .map_err(|_| CertificateFault::Malformed)?
                .to_owned()
        }
        Tag::BmpString => {
            let pairs = value.data.chunks(2);
            let units = pairs.map(|pair| <[u8; 2]>::try_from(pair).map(u16::from_be_bytes));
            let units: Vec<_> = units
                .collect::<Result<_, _>>()
                .map_err(|_| CertificateFault::Malformed)?;
            String::from_utf16(&units).map_err(|_| CertificateFault::Malformed)?
        }
        _ => return Ok(None),
    };
    if read.chars().any(char::is_control) {
        return Err(CertificateFault::Character);
    }
    Ok(Some(read))
}

/// The descriptors that directories and `openssl` agree about.
fn short_name(kind: &Oid<'_>) -> Option<&'static str> {
    Some(match kind.to_id_string().as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.42" => "GN",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// RFC 4514, 2.4.
fn escape(written: &mut String, text: &str) {
    let last = text.chars().count().saturating_sub(1);
    for (place, c) in text.chars().enumerate() {
        let outer = (c == ' ' && (place == 0 || place == last)) || (c == '#' && place == 0);
        if outer || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            written.push('\\');
        }
        written.push(c);
    }
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, CustomExtension, DnType, DnValue, KeyPair, SanType};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    fn subject(parts: &[(DnType, DnValue)]) -> Result<String, CertificateFault> {
        let der = made(|params| {
            for (kind, value) in parts {
                params.distinguished_name.push(kind.clone(), value.clone());
            }
        });
        Certificate::read(&der).map(|certificate| certificate.subject)
    }

    fn alternatives(name: SanType) -> Result<Vec<SubjectName>, CertificateFault> {
        let der = made(|params| params.subject_alt_names = vec![name]);
        Certificate::read(&der).map(|certificate| certificate.names)
    }

    fn ia5(text: &str) -> Ia5String {
        text.try_into().unwrap()
    }

    #[test]
    fn all_that_a_certificate_says_is_read() {
        let der = made(|params| {
            let subject = &mut params.distinguished_name;
            subject.push(DnType::OrganizationName, "Example");
            subject.push(DnType::CommonName, "zabbix");
            params.subject_alt_names = vec![
                SanType::DnsName(ia5("Zabbix.Example.COM")),
                SanType::URI(ia5("spiffe://example/Zabbix")),
                SanType::Rfc822Name(ia5("Ops@example.com")),
                SanType::IpAddress([192, 0, 2, 7].into()),
                SanType::IpAddress("2001:db8::7".parse().unwrap()),
            ];
            params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        });
        let read = Certificate::read(&der).unwrap();
        assert_eq!(read.subject, "CN=zabbix,O=Example");
        assert_eq!(
            read.names,
            [
                SubjectName::Dns("zabbix.example.com".to_owned()),
                SubjectName::Uri("spiffe://example/Zabbix".to_owned()),
                SubjectName::Email("Ops@example.com".to_owned()),
                SubjectName::Ip([192, 0, 2, 7].into()),
                SubjectName::Ip("2001:db8::7".parse().unwrap()),
            ]
        );
        assert_eq!(read.expires, Timestamp(1_927_843_200_000_000));
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
        assert_eq!(format!("{:?}", read.fingerprint), hex::encode(digest));
    }

    #[test]
    fn a_subject_that_looks_like_another_is_escaped() {
        let common = |text: &str| subject(&[(DnType::CommonName, DnValue::from(text))]).unwrap();
        assert_eq!(common("a,O=b"), r"CN=a\,O=b");
        assert_eq!(common(" #a "), r"CN=\ #a\ ");
        assert_eq!(common("#a"), r"CN=\#a");
        assert_eq!(common("a+b;\"<>\\"), r#"CN=a\+b\;\"\<\>\\"#);
        assert_eq!(common("Müller"), "CN=Müller");
        assert_eq!(subject(&[]).unwrap(), "");
    }

    #[test]
    fn values_that_are_not_plain_text_are_shown_as_bytes() {
        let own = DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99]);
        let written = subject(&[(own, DnValue::from("ab"))]).unwrap();
        assert_eq!(written, "1.3.6.1.4.1.99=#0c026162");
        let teletex = DnValue::TeletexString("ab".try_into().unwrap());
        let written = subject(&[(DnType::CommonName, teletex)]).unwrap();
        assert_eq!(written, "CN=#14026162");
        let wide = DnValue::BmpString("äb".try_into().unwrap());
        let written = subject(&[(DnType::CommonName, wide)]).unwrap();
        assert_eq!(written, "CN=äb");
    }

    #[test]
    fn a_nul_or_a_control_in_any_name_is_a_fault() {
        let fault = Some(CertificateFault::Character);
        for bad in ["a\0.evil", "a\nb", "a\u{7f}"] {
            for name in [SanType::DnsName, SanType::URI, SanType::Rfc822Name] {
                assert_eq!(alternatives(name(ia5(bad))).err(), fault, "{bad:?}");
            }
            let common = subject(&[(DnType::CommonName, DnValue::from(bad))]);
            assert_eq!(common.err(), fault, "{bad:?}");
            let wide = DnValue::BmpString(bad.try_into().unwrap());
            assert_eq!(subject(&[(DnType::CommonName, wide)]).err(), fault);
        }
        assert_eq!(alternatives(SanType::DnsName(ia5("a b"))).err(), fault);
    }

    #[test]
    fn a_malformed_certificate_is_a_fault() {
        let good = made(|_| ());
        let fault = Some(CertificateFault::Malformed);
        let longer = CertificateDer::from([good.as_ref(), b"x"].concat());
        assert_eq!(Certificate::read(&longer).err(), fault);
        let shorter = CertificateDer::from(good.get(..100).unwrap().to_vec());
        assert_eq!(Certificate::read(&shorter).err(), fault);
        // An address of five bytes, and two lists of names.
        for contents in [
            vec![vec![0x30, 7, 0x87, 5, 1, 2, 3, 4, 5]],
            vec![vec![0x30, 0]; 2],
        ] {
            let der = made(|params| {
                for content in contents {
                    let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
                    params.custom_extensions.push(names);
                }
            });
            assert_eq!(Certificate::read(&der).err(), fault);
        }
    }
}
