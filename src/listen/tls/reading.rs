//! Reading certificates, keys and lists of what is revoked.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::PairSource;
use super::material::{Ends, Kind};
use super::wrong::{Fault, Wrong};
use crate::client::{Certificate, CertificateFault, SubjectName};
use crate::clock::Timestamp;
use crate::secret::{Secret, SecretError};

/// The bytes of a file.
pub(super) type Read = Result<Vec<u8>, Wrong>;

pub(super) fn read(path: impl AsRef<Path>) -> Read {
    let path = path.as_ref();
    fs::read(path).map_err(|source| Wrong::File {
        path: path.display().to_string(),
        source,
    })
}

/// A certificate with its key, the names that it is good for, and when it ends.
pub(super) fn pair(
    source: &PairSource,
    chain: Read,
    key: Result<Secret, SecretError>,
) -> Result<(Arc<CertifiedKey>, Vec<String>, Ends), Vec<Fault>> {
    let path = source.certificate.display().to_string();
    let place = format!("{}certificate", source.place);
    let key_place = format!("{}key", source.place);
    let key = key.map_err(Wrong::from).and_then(|key| private_key(&key));
    let key = key.map_err(|wrong| Fault::of(key_place.clone(), wrong));
    let chain = chain.and_then(|pem| certificates(&path, &pem));
    let chain = chain.map_err(|wrong| Fault::of(place.clone(), wrong));
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
    };
    let at_certificate = |wrong| vec![Fault::of(place.clone(), wrong)];
    let key = default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| vec![Fault::of(key_place.clone(), Wrong::Key(error))])?;
    let matches = |certificate: &CertificateDer<'static>| {
        let pair = CertifiedKey::new(vec![certificate.clone()], Arc::clone(&key));
        let known = Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch));
        pair.keys_match() != known
    };
    let of_key = chain.iter().position(matches);
    match of_key {
        Some(0) => {}
        Some(at) => {
            let number = at + 1;
            return Err(at_certificate(Wrong::Order { path, number }));
        }
        None => return Err(vec![Fault::of(key_place, Wrong::KeyMismatch(path))]),
    }
    let (names, end) = read_chain(&path, &place, &chain).map_err(at_certificate)?;
    let key = CertifiedKey::new(chain, key);
    Ok((Arc::new(key), names, end))
}

/// The names that the first certificate of a chain is good for, and the end of whichever ends
/// first.
fn read_chain(
    path: &str,
    place: &str,
    chain: &[CertificateDer<'static>],
) -> Result<(Vec<String>, Ends), Wrong> {
    let mut names = Vec::new();
    let mut all: Option<Ends> = None;
    let mut issuer: Option<Vec<u8>> = None;
    for (index, der) in chain.iter().enumerate() {
        let number = index + 1;
        let fail = |fault| Wrong::Malformed {
            path: path.to_owned(),
            number,
            fault,
        };
        let (_, read) =
            X509Certificate::from_der(der).map_err(|_| fail(CertificateFault::Malformed))?;
        if issuer.is_some_and(|issuer| issuer != read.subject().as_raw()) {
            let path = path.to_owned();
            return Err(Wrong::Order { path, number });
        }
        issuer = Some(read.issuer().as_raw().to_vec());
        let begins = seconds(read.validity().not_before.timestamp());
        let expires = seconds(read.validity().not_after.timestamp());
        match &mut all {
            Some(all) => {
                all.begins = all.begins.max(begins);
                all.expires = all.expires.min(expires);
            }
            None => {
                let own = Certificate::read(der).map_err(fail)?;
                let name = served_names(&own, &mut names);
                all = Some(Ends {
                    place: place.to_owned(),
                    kind: Kind::Certificate,
                    file: path.to_owned(),
                    name: name.ok_or_else(|| Wrong::NoName(path.to_owned()))?,
                    begins,
                    expires,
                });
            }
        }
    }
    let all = all.ok_or_else(|| Wrong::NoCertificate(path.to_owned()))?;
    Ok((names, all))
}

/// Gathers the DNS names of a certificate, and gives the first of its names and addresses.
fn served_names(own: &Certificate, names: &mut Vec<String>) -> Option<String> {
    let mut first = None;
    for name in &own.names {
        let text = match name {
            SubjectName::Dns(name) => {
                names.push(name.clone());
                name.clone()
            }
            SubjectName::Ip(address) => address.to_string(),
            SubjectName::Email(_) | SubjectName::Uri(_) => continue,
        };
        first.get_or_insert(text);
    }
    first
}

fn certificates(path: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| Wrong::Pem {
        path: path.to_owned(),
        error,
    })?;
    if read.is_empty() {
        return Err(Wrong::NoCertificate(path.to_owned()));
    }
    Ok(read)
}

fn private_key(key: &Secret) -> Result<PrivateKeyDer<'static>, Wrong> {
    let text = key.expose();
    if text.contains("ENCRYPTED") {
        return Err(Wrong::Encrypted);
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| Wrong::NoKey)
}

pub(super) fn authorities(
    path: &Path,
    read: Read,
    roots: &mut RootCertStore,
) -> Result<Vec<Ends>, Wrong> {
    let path = path.display().to_string();
    let mut ends = Vec::new();
    for (index, der) in certificates(&path, &read?)?.into_iter().enumerate() {
        let number = index + 1;
        let own = Certificate::read(&der).map_err(|fault| Wrong::Malformed {
            path: path.clone(),
            number,
            fault,
        })?;
        roots.add(der).map_err(|error| Wrong::Authority {
            path: path.clone(),
            number,
            error,
        })?;
        ends.push(Ends {
            place: "client_ca".to_owned(),
            kind: Kind::Authority,
            file: path.clone(),
            name: own.subject,
            begins: Timestamp(i64::MIN),
            expires: own.expires,
        });
    }
    Ok(ends)
}

/// Lists of what is revoked.
pub(super) struct Lists {
    pub(super) all: Vec<CertificateRevocationListDer<'static>>,
    /// Whose they are, as DER.
    pub(super) issuers: Vec<Vec<u8>>,
    pub(super) ends: Vec<Ends>,
}

pub(super) fn lists(path: &Path, read: Read) -> Result<Lists, Wrong> {
    let path = path.display().to_string();
    let pem = read?;
    let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
    let all = read.map_err(|error| Wrong::Pem {
        path: path.clone(),
        error,
    })?;
    if all.is_empty() {
        return Err(Wrong::NoList(path));
    }
    let (mut issuers, mut ends) = (Vec::new(), Vec::new());
    for (index, list) in all.iter().enumerate() {
        let (_, parsed) =
            CertificateRevocationList::from_der(list).map_err(|_| Wrong::Revocation {
                path: path.clone(),
                number: index + 1,
            })?;
        issuers.push(parsed.issuer().as_raw().to_vec());
        if let Some(next) = parsed.next_update() {
            ends.push(Ends {
                place: "client_crl".to_owned(),
                kind: Kind::Revoked,
                file: path.clone(),
                name: parsed.issuer().to_string(),
                begins: Timestamp(i64::MIN),
                expires: seconds(next.timestamp()),
            });
        }
    }
    Ok(Lists { all, issuers, ends })
}

fn seconds(timestamp: i64) -> Timestamp {
    Timestamp(timestamp.saturating_mul(1_000_000))
}
