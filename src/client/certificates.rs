//! Clients by their certificates.

mod subject;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use dashmap::DashMap;

use super::unfit::{Lack, Unfit};
use super::{Certificate, Client, SubjectName, Unidentified};
use crate::clock::Timestamp;
use crate::upstream::Fingerprint256;

/// What a certificate must say to be a client's: all of what is given, whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateTerms {
    fingerprints: Vec<Fingerprint256>,
    name: Option<String>,
    subject: Option<String>,
}

/// Two clients would have one certificate.
#[derive(Debug, thiserror::Error)]
#[error("a certificate of this kind is client {0}'s already")]
pub struct SharedCertificate(pub String);

/// All that clients' certificates must say. Found by the most particular of it, so that the time
/// does not grow with the number of clients.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    all: Vec<(Arc<Client>, CertificateTerms)>,
    by_fingerprint: HashMap<Fingerprint256, Vec<usize>>,
    by_name: HashMap<String, Vec<usize>>,
    by_subject: HashMap<String, Vec<usize>>,
    /// Whose the certificates are that were shown lately: a fingerprint is of one certificate.
    seen: DashMap<Fingerprint256, Arc<Shown>>,
}

/// A certificate that was shown, and whose it is.
#[derive(Debug)]
pub(super) struct Shown {
    whose: Whose,
    /// As records name it: `certificate:` and the first digits of its fingerprint.
    pub(super) credential: Arc<str>,
}

#[derive(Debug)]
enum Whose {
    Nobodys,
    One(Arc<Client>),
    Several,
}

/// What there is to compare in a certificate.
struct Facts {
    fingerprint: Option<Fingerprint256>,
    names: Vec<String>,
    subject: Option<String>,
}

impl CertificateTerms {
    /// Terms of a fingerprint (one of several), an alternative name and a subject; none if nothing
    /// is given. A subject is written as RFC 4514 says.
    ///
    /// # Errors
    /// Fails when the subject is none.
    pub fn new(
        fingerprints: Vec<Fingerprint256>,
        name: Option<&SubjectName>,
        subject: Option<&str>,
    ) -> Result<Option<Self>, &'static str> {
        if fingerprints.is_empty() && name.is_none() && subject.is_none() {
            return Ok(None);
        }
        const WRONG: &str =
            "must be a subject as RFC 4514 writes it, such as \"CN=zabbix,O=Example\"";
        let subject = subject.map(|text| subject::canonical(text).ok_or(WRONG));
        Ok(Some(Self {
            fingerprints,
            name: name.map(comparable),
            subject: subject.transpose()?,
        }))
    }

    fn fit(&self, facts: &Facts) -> bool {
        let has_print = |print: &Fingerprint256| self.fingerprints.contains(print);
        let has = |name: &String| facts.names.contains(name);
        (self.fingerprints.is_empty() || facts.fingerprint.as_ref().is_some_and(has_print))
            && self.name.as_ref().is_none_or(has)
            && (self.subject.is_none() || self.subject == facts.subject)
    }
}

impl Certificates {
    pub(super) fn add(&mut self, terms: CertificateTerms, client: &Arc<Client>) {
        let place = self.all.len();
        if !terms.fingerprints.is_empty() {
            for fingerprint in &terms.fingerprints {
                let places = self.by_fingerprint.entry(*fingerprint).or_default();
                places.push(place);
            }
        } else if let Some(name) = &terms.name {
            let places = self.by_name.entry(name.clone()).or_default();
            places.push(place);
        } else if let Some(subject) = &terms.subject {
            let places = self.by_subject.entry(subject.clone()).or_default();
            places.push(place);
        }
        self.all.push((Arc::clone(client), terms));
        self.seen.clear();
    }

    /// Whether a client has any.
    pub(super) fn has_any(&self, client: &str) -> bool {
        self.all.iter().any(|(known, _)| &*known.name == client)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether every certificate that fits these terms, or one of its fingerprints, is another
    /// client's as well.
    pub(super) fn shared(
        &self,
        terms: &CertificateTerms,
        client: &Arc<Client>,
    ) -> Result<(), SharedCertificate> {
        let prints = terms.fingerprints.iter().copied().map(Some);
        let prints = prints.chain(terms.fingerprints.is_empty().then_some(None));
        for fingerprint in prints {
            let facts = Facts {
                fingerprint,
                names: terms.name.iter().cloned().collect(),
                subject: terms.subject.clone(),
            };
            let mut others = self.fitting(&facts);
            if let Some(other) = others.find(|other| !Arc::ptr_eq(other, client)) {
                return Err(SharedCertificate(other.name.to_string()));
            }
        }
        Ok(())
    }

    /// The certificate that a caller showed, and whose it is.
    pub(super) fn look_up(&self, certificate: &Certificate) -> Arc<Shown> {
        if let Some(seen) = self.seen.get(&certificate.fingerprint) {
            return Arc::clone(&seen);
        }
        let facts = Facts {
            fingerprint: Some(certificate.fingerprint),
            names: certificate.names.iter().map(comparable).collect(),
            subject: subject::canonical(&certificate.subject),
        };
        let whose = self
            .fitting(&facts)
            .fold(Whose::Nobodys, |so_far, client| match so_far {
                Whose::Nobodys => Whose::One(Arc::clone(client)),
                Whose::One(one) if Arc::ptr_eq(&one, client) => Whose::One(one),
                Whose::One(_) | Whose::Several => Whose::Several,
            });
        let digits = format!("{:?}", certificate.fingerprint);
        let digits: String = digits.chars().take(8).collect();
        let shown = Arc::new(Shown {
            whose,
            credential: Arc::from(format!("certificate:{digits}")),
        });
        if self.seen.len() >= LIMIT {
            self.seen.clear();
        }
        self.seen
            .insert(certificate.fingerprint, Arc::clone(&shown));
        shown
    }

    fn fitting(&self, facts: &Facts) -> impl Iterator<Item = &Arc<Client>> {
        let of_print = facts
            .fingerprint
            .as_ref()
            .map(|it| at(&self.by_fingerprint, it));
        let of_names = facts.names.iter().flat_map(|name| at(&self.by_name, name));
        let of_subject = facts.subject.as_ref().map(|it| at(&self.by_subject, it));
        let places = of_print.into_iter().flatten().chain(of_names);
        places
            .chain(of_subject.into_iter().flatten())
            .filter_map(|place| self.all.get(*place))
            .filter(|(_, terms)| terms.fit(facts))
            .map(|(client, _)| client)
    }
}

impl Shown {
    /// The client that it names; none where it names nobody.
    ///
    /// # Errors
    /// Refuses one that names two, and one whose time is over: a connection may outlive it.
    pub(super) fn client(
        &self,
        certificate: &Certificate,
        now: Timestamp,
    ) -> Result<Option<&Arc<Client>>, Unidentified> {
        match &self.whose {
            Whose::Nobodys => Ok(None),
            Whose::One(client) if certificate.expires <= now => {
                let lack = Lack::Expired(format!("the certificate of {:?}", certificate.subject));
                Err(Unfit::of(client, Arc::clone(&self.credential), lack))
            }
            Whose::One(client) => Ok(Some(client)),
            Whose::Several => Err(Unidentified::Conflicting),
        }
    }
}

fn at<'a, K: Eq + Hash>(places: &'a HashMap<K, Vec<usize>>, key: &K) -> &'a [usize] {
    places.get(key).map(Vec::as_slice).unwrap_or_default()
}

/// A name as it is compared: as a whole, with its kind. Case counts but where it must not, in DNS
/// names.
fn comparable(name: &SubjectName) -> String {
    match name {
        SubjectName::Dns(name) => format!("dns:{}", name.to_ascii_lowercase()),
        SubjectName::Email(address) => match address.rsplit_once('@') {
            Some((local, host)) => format!("email:{local}@{}", host.to_ascii_lowercase()),
            None => format!("email:{address}"),
        },
        SubjectName::Ip(address) => format!("ip:{}", address.to_canonical()),
        SubjectName::Uri(uri) => format!("uri:{uri}"),
    }
}

/// Reads an alternative name: `dns:…`, `uri:…`, `email:…`, `ip:…`, or a bare DNS name.
///
/// # Errors
/// Says what is wrong with it.
pub fn read_name(text: &str) -> Result<SubjectName, &'static str> {
    let (kind, name) = match text.split_once(':') {
        Some((kind @ ("dns" | "email" | "ip" | "uri"), name)) => (kind, name),
        Some(_) => {
            return Err("must begin with dns:, uri:, email: or ip:, or be a bare DNS name");
        }
        None => ("dns", text),
    };
    if name.contains('*') {
        return Err("must be the whole name: what has a * in it names no client");
    }
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be a name of visible ASCII characters");
    }
    match kind {
        "ip" => name
            .parse()
            .map(SubjectName::Ip)
            .map_err(|_| "must be an IP address behind ip:"),
        "email"
            if name.split_once('@').is_none_or(|(local, host)| {
                local.is_empty() || host.is_empty() || host.contains('@')
            }) =>
        {
            Err("must be a mail address behind email:")
        }
        "email" => Ok(SubjectName::Email(name.to_owned())),
        "uri" if !name.contains(':') => Err("must be a whole URI behind uri:"),
        "uri" => Ok(SubjectName::Uri(name.to_owned())),
        _ if !is_dns(name) => Err("must be a DNS name"),
        _ => Ok(SubjectName::Dns(name.to_ascii_lowercase())),
    }
}

fn is_dns(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

/// The most certificates that are remembered.
const LIMIT: usize = 16_384;
