//! What clients prove who they are with, and where they may call from.

use std::collections::HashSet;
use std::sync::Arc;

use crate::client::{
    CertificateTerms, Client, Directory, KeyTerms, Networks, Require, Terms, read_name,
};
use crate::clock::Timestamp;
use crate::config::reader::{FromItem, Item, Section};
use crate::secret::KeyDigest;
use crate::upstream::Fingerprint256;

/// What a client proves who it is with, as it stands in the file.
pub(super) struct Proofs<'a> {
    keys: Vec<Item<'a>>,
    certificates: Vec<(Item<'a>, CertificateTerms)>,
}

/// A client's certificates, to be compared with all others' once those are read.
pub(super) type Certificates<'a> = Vec<(Item<'a>, CertificateTerms, Arc<Client>)>;

impl<'a> Proofs<'a> {
    /// Reads the proofs of a client, of which it needs one at least, unless it has others.
    pub(super) fn read(section: &mut Section<'a>, has_others: bool) -> Self {
        let keys = section.optional("api_keys");
        let certificate = section.optional("certificate");
        let is_one = keys.is_some() || certificate.is_some() || has_others;
        if !is_one {
            section.fault(
                "api_keys",
                "is missing: a client needs api_keys, a certificate, jwt, or several of these",
            );
        }
        let keys = keys.inspect(|item| {
            if item.raw().as_array().is_some_and(|keys| keys.is_empty()) {
                item.fault("an empty list would let nobody call");
            }
        });
        let keys = keys.and_then(|item| item.elements()).unwrap_or_default();
        let certificates = certificate
            .map(|item| certificates(&item))
            .unwrap_or_default();
        Self { keys, certificates }
    }

    /// Where the client may call from, and how many of its proofs it must give.
    pub(super) fn terms(&self, section: &mut Section<'a>) -> Terms {
        let networks = section
            .optional("networks")
            .and_then(|item| networks(&item));
        let require = section.optional("require").and_then(|item| {
            item.read_with(|text: String| match text.as_str() {
                "any" => Ok(Require::Any),
                "all" if self.keys.is_empty() || self.certificates.is_empty() => {
                    Err("\"all\" is a certificate and a key: the client needs both here")
                }
                "all" => Ok(Require::All),
                _ => Err(r#"must be "any" or "all""#),
            })
        });
        Terms {
            networks: networks.unwrap_or_default(),
            require: require.unwrap_or_default(),
        }
    }

    /// Adds the proofs of a client.
    pub(super) fn add(
        self,
        client: &Arc<Client>,
        directory: &mut Directory,
        all: &mut Certificates<'a>,
    ) {
        directory.know(client);
        for item in &self.keys {
            add_key(item, client, directory);
        }
        for (item, terms) in self.certificates {
            directory.add_certificate(terms.clone(), client);
            all.push((item, terms, Arc::clone(client)));
        }
    }
}

/// Reports certificates that are two clients'.
pub(super) fn compare(all: &Certificates<'_>, directory: &Directory) {
    let mut told = HashSet::new();
    for (item, terms, client) in all {
        if let Err(shared) = directory.check_certificate(terms, client) {
            // Where both say the same, it is told at the second.
            if told.contains(&(shared.0.clone(), client.name.to_string())) {
                continue;
            }
            item.fault(shared.to_string());
            told.insert((client.name.to_string(), shared.0));
        }
    }
}

fn add_key(item: &Item<'_>, client: &Arc<Client>, directory: &mut Directory) {
    let read = if item.raw().is_table() {
        item.section().and_then(|mut section| {
            let digest = section.required("digest").and_then(|item| digest(&item));
            let label = section.optional("label").map(|item| item.read_with(label));
            let expires = section.optional("expires").map(|item| item.read());
            section.finish();
            let terms = KeyTerms {
                label: label.map_or(Some(None), |read| read.map(Some))?,
                expires: expires.map_or(Some(None), |read| read.map(Some))?,
            };
            Some((digest?, terms))
        })
    } else {
        digest(item).map(|digest| (digest, KeyTerms::default()))
    };
    if let Some(Err(fault)) = read.map(|(digest, terms)| directory.add_key(digest, terms, client)) {
        item.fault(fault.to_string());
    }
}

fn digest(item: &Item<'_>) -> Option<KeyDigest> {
    item.read_with(|text: String| {
        // The text itself is not repeated: somebody may have put the key there.
        KeyDigest::parse(&text).ok_or(
            "must be sha256: and 64 hex digits, as `vspc-gateway keys new` prints it; the key \
             itself never stands in this file",
        )
    })
}

/// Reads the label of a key. It stands in audit records and metrics.
pub(in crate::config) fn label(text: String) -> Result<String, &'static str> {
    let is_fit = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if is_fit {
        Ok(text)
    } else {
        Err("must be 1 to 64 letters, digits, - _ and .")
    }
}

impl FromItem for Timestamp {
    fn from_item(item: &Item<'_>) -> Option<Self> {
        let text = match item.raw().as_datetime() {
            Some(datetime) => datetime.to_string(),
            None => item.read::<String>()?,
        };
        let read = Self::parse(&text);
        if read.is_none() {
            item.fault(
                "must be a date and a time with its offset, such as \"2026-12-31T00:00:00Z\"",
            );
        }
        read
    }
}

/// One table, or several of which one must fit.
fn certificates<'a>(item: &Item<'a>) -> Vec<(Item<'a>, CertificateTerms)> {
    let tables = if item.raw().is_table() {
        vec![item.clone()]
    } else {
        item.elements().unwrap_or_default()
    };
    if tables.is_empty() && item.raw().is_array() {
        item.fault("an empty list would let nobody call");
    }
    let read = tables.into_iter().filter_map(|item| {
        let terms = certificate(&item)?;
        Some((item, terms))
    });
    read.collect()
}

fn certificate(item: &Item<'_>) -> Option<CertificateTerms> {
    let mut section = item.section()?;
    let prints = section.optional("fingerprint_sha256");
    let prints = prints.map_or(Some(Vec::new()), |item| fingerprints(&item));
    let name = section.optional("san").map_or(Some(None), |item| {
        item.read_with(|text: String| read_name(&text)).map(Some)
    });
    let subject = section
        .optional("subject")
        .map_or(Some(None), |item| item.read::<String>().map(Some));
    section.finish();
    let (prints, name, subject) = (prints?, name?, subject?);
    match CertificateTerms::new(prints, name.as_ref(), subject.as_deref()) {
        Ok(Some(terms)) => Some(terms),
        Ok(None) => {
            item.fault("needs at least one of san, subject and fingerprint_sha256");
            None
        }
        Err(fault) => {
            section.fault("subject", fault);
            None
        }
    }
}

fn fingerprints(item: &Item<'_>) -> Option<Vec<Fingerprint256>> {
    let elements = if item.raw().is_str() {
        vec![item.clone()]
    } else {
        item.elements()?
    };
    if elements.is_empty() {
        item.fault("an empty list would fit no certificate");
        return None;
    }
    let read = elements.iter().map(|item| {
        item.read_with(|text: String| {
            Fingerprint256::parse(&text).ok_or("must be 64 hex digits, with or without colons")
        })
    });
    let read: Vec<_> = read.collect();
    read.into_iter().collect()
}

fn networks(item: &Item<'_>) -> Option<Networks> {
    let elements = item.elements()?;
    if elements.is_empty() {
        item.fault("an empty list would let the client call from nowhere: leave it out");
    }
    let read = elements
        .iter()
        .map(|item| item.read_with(|text: String| Networks::read(&text)));
    let read: Vec<_> = read.collect();
    read.into_iter().collect::<Option<_>>().map(Networks::new)
}
