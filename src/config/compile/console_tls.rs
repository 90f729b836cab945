//! Of `[[consoles]]`: TLS.

use std::path::Path;

use rustls_pki_types::ServerName;

use crate::config::reader::{Item, Section};
use crate::config::value::path;
use crate::secret::SecretSource;
use crate::upstream::{Fingerprint256, Identity, Tls, TlsVersion, Trust};

/// How TLS is set up. The files are read once, so that what is wrong with them is told at their keys.
pub(super) fn tls(item: &Item<'_>, folder: &Path) -> Option<Tls> {
    let mut section = item.section()?;
    let ca = section.optional("ca");
    let ca = ca.map_or(Some(None), |item| path(&item, folder).map(Some));
    let pins = section.optional("fingerprint_sha256");
    let pins = pins.map_or(Some(Vec::new()), |item| pins_of(&item));
    let identity = identity(&mut section, folder);
    let server_name = section
        .optional("server_name")
        .map_or(Some(None), |item| item.read_with(server_name).map(Some));
    let oldest = section
        .optional("min_version")
        .map_or(Some(TlsVersion::default()), |item| {
            item.read_with(|text: String| match text.as_str() {
                "1.2" => Ok(TlsVersion::Tls12),
                "1.3" => Ok(TlsVersion::Tls13),
                _ => Err(r#"must be "1.2" or "1.3""#),
            })
        });
    section.finish();
    let (ca, pins) = (ca?, pins?);
    let tls = Tls {
        trust: match (ca, pins.is_empty()) {
            (Some(ca), _) => Trust::Authorities(ca),
            (None, false) => Trust::Pins,
            (None, true) => Trust::System,
        },
        pins,
        identity: identity?,
        server_name: server_name?,
        oldest: oldest?,
    };
    let faults = match section.is_alone() {
        true => Vec::new(),
        false => tls.faults(),
    };
    for fault in &faults {
        section.fault(fault.key(), fault.to_string());
    }
    faults.is_empty().then_some(tls)
}

/// What the gateway shows of itself.
fn identity(section: &mut Section<'_>, folder: &Path) -> Option<Option<Identity>> {
    let certificate = section.optional("certificate");
    let key = section.optional("key");
    match (certificate, key) {
        (None, None) => Some(None),
        (Some(certificate), Some(key)) => {
            let (certificate, key) = (path(&certificate, folder), path(&key, folder));
            let key_path = key?;
            Some(Some(Identity {
                certificate: certificate?,
                key: SecretSource::File(key_path.clone()),
                key_path,
            }))
        }
        (Some(_), None) => {
            section.fault("certificate", "needs its key: set `key` beside it");
            None
        }
        (None, Some(_)) => {
            section.fault("key", "needs its certificate: set `certificate` beside it");
            None
        }
    }
}

fn server_name(text: String) -> Result<ServerName<'static>, &'static str> {
    ServerName::try_from(text).map_err(
        |_| "must be a name such as \"vspc.example.com\", or an IP address, without a port",
    )
}

fn pins_of(item: &Item<'_>) -> Option<Vec<Fingerprint256>> {
    let elements = item.elements()?;
    if elements.is_empty() {
        item.fault("needs at least one fingerprint; leave it out to believe authorities alone");
        return None;
    }
    let pin = |item: &Item<'_>| {
        item.read_with(|text: String| {
            let digits = text.chars().filter(|c| *c != ':').count();
            Fingerprint256::parse(&text).ok_or_else(|| match digits {
                64 => "must be hex digits, colons allowed".to_owned(),
                40 => "has 40 digits, as a SHA-1 fingerprint (Windows' thumbprint) has: the SHA-256 has \
                       64; `vspc-gateway check --online` prints it"
                    .to_owned(),
                digits => format!(
                    "must be the SHA-256 of the certificate, 64 hex digits, colons allowed; it has \
                     {digits}"
                ),
            })
        })
    };
    let read: Vec<_> = elements.iter().map(pin).collect();
    read.into_iter().collect()
}

#[cfg(test)]
mod tests;
