//! What the files of a listener hold.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateRevocationListDer;

use super::names::Names;
use super::reading::{Read, authorities, lists, pair, read};
use super::wrong::{Fault, Wrong};
use super::{CallerRules, MinVersion, PairSource, Settings, callers};
use crate::clock::Timestamp;
use crate::secret::{Secret, SecretError, SecretSource};

/// By what is seen that a file has changed: its inode, size, and the times at which its content and
/// its rights changed.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Stamps(Vec<Option<[i128; 4]>>);

impl Stamps {
    pub(super) fn take(settings: &Settings) -> Self {
        let stamp = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            let nanos =
                |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
            Some([
                i128::from(metadata.ino()),
                i128::from(metadata.size()),
                nanos(metadata.mtime(), metadata.mtime_nsec()),
                nanos(metadata.ctime(), metadata.ctime_nsec()),
            ])
        };
        let callers = settings.callers.iter();
        let authorities = callers.flat_map(|rules| {
            let revoked = rules.revoked.as_deref();
            [Some(rules.authorities.as_path()), revoked]
        });
        let pairs = settings.pairs.iter().flat_map(|pair| {
            let key = match &pair.key {
                SecretSource::File(path) => Some(path.as_path()),
                SecretSource::Env(_) => None,
            };
            [Some(pair.certificate.as_path()), key]
        });
        Self(pairs.chain(authorities).flatten().map(stamp).collect())
    }
}

/// The files of a listener, read.
pub(super) struct Files {
    pairs: Vec<(Read, Result<Secret, SecretError>)>,
    authorities: Option<Read>,
    revoked: Option<Read>,
}

impl Files {
    pub(super) fn read(settings: &Settings) -> Self {
        let pair = |pair: &PairSource| (read(&pair.certificate), pair.key.read());
        let callers = settings.callers.as_ref();
        let revoked = callers.and_then(|rules| rules.revoked.as_ref());
        Self {
            pairs: settings.pairs.iter().map(pair).collect(),
            authorities: callers.map(|rules| read(&rules.authorities)),
            revoked: revoked.map(read),
        }
    }

    /// The same for the same content.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut all = digest::Context::new(&digest::SHA256);
        let mut add = |part: Option<&[u8]>| {
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            all.update(&length.to_be_bytes());
            all.update(part.unwrap_or_default());
        };
        for (certificate, key) in &self.pairs {
            add(certificate.as_deref().ok());
            add(key.as_ref().ok().map(|key| key.expose().as_bytes()));
        }
        for file in [&self.authorities, &self.revoked] {
            let file = file.as_ref().and_then(|file| file.as_deref().ok());
            add(file);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(all.finish().as_ref());
        digest
    }
}

/// All that the handshakes of a listener need.
pub(super) struct Material {
    pub(super) config: Arc<ServerConfig>,
    pub(super) names: Arc<Names>,
    pub(super) ends: Vec<Ends>,
    pub(super) digest: [u8; 32],
}

/// When something ends that is used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Ends {
    /// Its key, within the settings of the listener.
    pub(super) place: String,
    pub(super) kind: Kind,
    pub(super) file: String,
    pub(super) name: String,
    pub(super) begins: Timestamp,
    pub(super) expires: Timestamp,
}

/// What ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Certificate,
    Authority,
    Revoked,
}

impl Kind {
    /// As a label of metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Authority => "client_ca",
            Self::Revoked => "client_crl",
        }
    }
}

impl Ends {
    /// The key, and what an operator should know.
    pub(super) fn warning(&self, now: Timestamp) -> Option<(&str, String)> {
        let Self { name, file, .. } = self;
        let day = |at: Timestamp| {
            let text = at.text();
            String::from_utf8_lossy(text.get(..10).unwrap_or_default()).into_owned()
        };
        let what = match self.kind {
            Kind::Certificate => "the certificate of",
            Kind::Authority => "the authority",
            Kind::Revoked => "the list of what is revoked by",
        };
        let then = match self.kind {
            Kind::Certificate => "clients refuse it",
            Kind::Authority | Kind::Revoked => "client certificates that depend on it are refused",
        };
        let (begins, expires) = (day(self.begins), day(self.expires));
        let warning = if self.expires <= now {
            format!("{what} {name} ({file}) ended on {expires}: {then}")
        } else if self.begins > now {
            format!("{what} {name} ({file}) begins on {begins} only: {then} until then")
        } else if self.kind != Kind::Revoked && self.expires.0 - now.0 <= SOON {
            format!("{what} {name} ({file}) ends on {expires}")
        } else {
            return None;
        };
        Some((&self.place, warning))
    }
}

impl Material {
    /// Reads what the files hold.
    pub(super) fn of(
        settings: &Settings,
        files: Files,
        ticketer: &Arc<dyn ProducesTickets>,
    ) -> Result<Self, Vec<Fault>> {
        let digest = files.digest();
        let (mut faults, mut ends, mut names) = (Vec::new(), Vec::new(), Names::default());
        for (source, (chain, key)) in settings.pairs.iter().zip(files.pairs) {
            match pair(source, chain, key) {
                Ok((key, own, end)) => {
                    names.add(&key, &own);
                    ends.push(end);
                }
                Err(mut more) => faults.append(&mut more),
            }
        }
        let mut roots = RootCertStore::empty();
        let mut revoked = Vec::new();
        if let (Some(rules), Some(read)) = (&settings.callers, files.authorities) {
            match authorities(&rules.authorities, read, &mut roots) {
                Ok(mut more) => ends.append(&mut more),
                Err(wrong) => faults.push(Fault::of("client_ca", wrong)),
            }
            if let (Some(path), Some(read)) = (&rules.revoked, files.revoked) {
                match lists(path, read) {
                    Ok(mut lists) => {
                        ends.append(&mut lists.ends);
                        let subjects = roots.subjects();
                        let is_of = |issuer: &Vec<u8>| {
                            subjects.iter().any(|subject| subject.as_ref() == issuer)
                        };
                        if !roots.is_empty() && !lists.issuers.iter().any(is_of) {
                            let wrong = Wrong::ForeignList(path.display().to_string());
                            faults.push(Fault::of("client_crl", wrong));
                        }
                        revoked = lists.all;
                    }
                    Err(wrong) => faults.push(Fault::of("client_crl", wrong)),
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let names = Arc::new(names);
        let callers = settings.callers.as_ref();
        let callers = callers.map(|rules| (rules, roots, revoked));
        let config = config(settings.min_version, callers, Arc::clone(&names), ticketer)
            .map_err(|fault| vec![fault])?;
        Ok(Self {
            config: Arc::new(config),
            names,
            ends,
            digest,
        })
    }
}

type Callers<'a> = (
    &'a CallerRules,
    RootCertStore,
    Vec<CertificateRevocationListDer<'static>>,
);

fn config(
    min_version: MinVersion,
    callers: Option<Callers<'_>>,
    names: Arc<Names>,
    ticketer: &Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, Fault> {
    let provider = Arc::new(default_provider());
    let versions = match min_version {
        MinVersion::Tls12 => rustls::ALL_VERSIONS,
        MinVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| Fault::of("", Wrong::Tls(error)))?;
    let shows_certificates = callers.is_some();
    let builder = match callers {
        None => builder.with_no_client_auth(),
        Some((rules, roots, revoked)) => {
            let verifier = callers::verifier(rules, roots, revoked, provider);
            builder.with_client_cert_verifier(
                verifier.map_err(|wrong| Fault::of("client_crl", wrong))?,
            )
        }
    };
    let mut config = builder.with_cert_resolver(names);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Sessions are kept by callers only, sealed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if shows_certificates {
        // A session that is resumed shows no certificate: one that has been revoked or has expired
        // since would go on being good.
        config.send_tls13_tickets = 0;
    } else {
        config.ticketer = Arc::clone(ticketer);
    }
    Ok(config)
}

/// How long before its end there is a warning of a certificate, in microseconds: 14 days.
const SOON: i64 = 14 * 24 * 60 * 60 * 1_000_000;
