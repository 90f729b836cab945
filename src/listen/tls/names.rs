//! The certificate for the name that is asked for.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

/// Certificates by the names that they are good for.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// By name in lower case.
    exact: HashMap<String, Choice>,
    /// By what follows `*.` in a name.
    wild: HashMap<String, Choice>,
    default: Choice,
    all: Vec<Arc<CertifiedKey>>,
}

/// Certificates that are good for the same: one for each kind of key.
type Choice = Vec<Arc<CertifiedKey>>;

impl Names {
    /// Takes in a certificate and the names that it is good for, in lower case.
    pub(super) fn add(&mut self, key: &Arc<CertifiedKey>, names: &[String]) {
        for name in names {
            let choice = match name.strip_prefix("*.") {
                Some(rest) => self.wild.entry(rest.to_owned()).or_default(),
                None => self.exact.entry(name.clone()).or_default(),
            };
            choice.push(Arc::clone(key));
        }
        if self.all.is_empty() {
            self.default.push(Arc::clone(key));
        } else if let Some(first) = names.first()
            && let Some(same) = self.choice(first)
            && same.first().map(Arc::as_ptr) == self.default.first().map(Arc::as_ptr)
        {
            self.default.push(Arc::clone(key));
        }
        self.all.push(Arc::clone(key));
    }

    /// Whether one of the certificates is good for a name.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.choice(&name.to_ascii_lowercase()).is_some()
    }

    /// The certificates, without what has issued them.
    pub(super) fn own(&self) -> Vec<CertificateDer<'static>> {
        let own = self.all.iter().filter_map(|key| key.cert.first());
        own.cloned().collect()
    }

    fn choice(&self, name: &str) -> Option<&Choice> {
        let of_parent = || {
            let (_, parent) = name.split_once('.')?;
            self.wild.get(parent)
        };
        self.exact.get(name).or_else(of_parent)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let choice = name.and_then(|name| self.choice(&name));
        let choice = choice.unwrap_or(&self.default);
        let fits = |key: &&Arc<CertifiedKey>| {
            let schemes = hello.signature_schemes();
            key.key.choose_scheme(schemes).is_some()
        };
        let chosen = choice.iter().find(fits).or(choice.first());
        chosen.map(Arc::clone)
    }
}
