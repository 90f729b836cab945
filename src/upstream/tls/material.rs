//! What TLS with a console is made of: authorities, pins, and a certificate of the gateway's own.

use std::path::Path;
use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::facts::CertificateFacts;
use super::live::{Ending, Presenter};
use super::verify::Verifier;
use super::{Identity, Tls, TlsFault, TlsVersion, Trust};

/// What was made of settings and files.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) config: ClientConfig,
    pub(super) verifier: Arc<Verifier>,
    /// When the certificates in the files end.
    pub(super) endings: Vec<Ending>,
}

/// Reads the files.
///
/// # Errors
/// Tells the first fault.
pub(super) fn read(tls: &Tls) -> Result<Material, TlsFault> {
    let provider = Arc::new(default_provider());
    let (authorities, mut endings) = authorities(&tls.trust, &provider)?;
    let identity = match &tls.identity {
        Some(identity) => {
            let (key, ending) = certified(identity, &provider)?;
            endings.push(ending);
            Some(Arc::new(key))
        }
        None => None,
    };
    let verifier = Arc::new(Verifier::new(tls, authorities, Arc::clone(&provider)));
    let versions: &[&SupportedProtocolVersion] = match tls.oldest {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let verifying = Arc::clone(&verifier);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifying)
        .with_client_cert_resolver(Arc::new(Presenter(identity)));
    // A resumed session would be believed without another look at the certificate, which may have
    // ended meanwhile.
    config.resumption = Resumption::disabled();
    Ok(Material {
        config,
        verifier,
        endings,
    })
}

/// Everything that is wrong.
pub(super) fn faults(tls: &Tls) -> Vec<TlsFault> {
    let provider = Arc::new(default_provider());
    let mut faults: Vec<_> = authorities(&tls.trust, &provider)
        .err()
        .into_iter()
        .collect();
    let identity = tls.identity.as_ref();
    faults.extend(identity.and_then(|identity| certified(identity, &provider).err()));
    faults
}

type Authorities = (Option<Arc<WebPkiServerVerifier>>, Vec<Ending>);

fn authorities(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Authorities, TlsFault> {
    let (roots, endings) = match trust {
        Trust::Pins => return Ok((None, Vec::new())),
        Trust::Authorities(path) => {
            let (roots, ending) = read_authorities(path)?;
            (roots, vec![ending])
        }
        Trust::System => (system_roots()?, Vec::new()),
    };
    let builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let verifier = builder.build().map_err(|_| TlsFault::NoSystemRoots)?;
    Ok((Some(verifier), endings))
}

fn read_authorities(path: &Path) -> Result<(RootCertStore, Ending), TlsFault> {
    let unusable = |reason: String| TlsFault::Authorities {
        path: path.display().to_string(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    let mut first: Option<CertificateFacts> = None;
    for certificate in certificates(path).map_err(unusable)? {
        let facts = CertificateFacts::read(&certificate)
            .ok_or_else(|| unusable("it holds something that is no certificate".to_owned()))?;
        if !facts.is_authority {
            let (subject, fingerprint) = (&facts.subject, facts.fingerprint);
            return Err(unusable(format!(
                "{subject} is not a certificate authority: for a console that signs for itself write \
                 fingerprint_sha256 = [\"{fingerprint}\"] instead"
            )));
        }
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
        if first.as_ref().is_none_or(|first| facts.ends < first.ends) {
            first = Some(facts);
        }
    }
    let Some(first) = first else {
        return Err(unusable(NO_CERTIFICATE.to_owned()));
    };
    Ok((roots, Ending::of_file("ca", &first)))
}

fn system_roots() -> Result<RootCertStore, TlsFault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        Err(TlsFault::NoSystemRoots)
    } else {
        Ok(roots)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let read: Result<Vec<_>, _> = read.collect();
    read.map_err(|error| error.to_string())
}

fn certified(
    identity: &Identity,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, Ending), TlsFault> {
    let path = identity.certificate.display();
    let unusable = |reason: String| TlsFault::Certificate {
        path: path.to_string(),
        reason,
    };
    let chain = certificates(&identity.certificate).map_err(unusable)?;
    let first = chain
        .first()
        .ok_or_else(|| unusable(NO_CERTIFICATE.to_owned()))?;
    let facts = CertificateFacts::read(first)
        .ok_or_else(|| unusable("it holds something that is no certificate".to_owned()))?;
    let key = private_key(identity, provider)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // Not every key can tell.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            let key = identity.key_path.display();
            return Err(TlsFault::Key(format!(
                "{key} is not the key of {}, the first certificate in {path}: its own certificate \
                 comes first there, then what is between it and its authority",
                facts.subject
            )));
        }
        Err(error) => return Err(unusable(error.to_string())),
    }
    Ok((certified, Ending::of_file("certificate", &facts)))
}

fn private_key(
    identity: &Identity,
    provider: &CryptoProvider,
) -> Result<Arc<dyn rustls::sign::SigningKey>, TlsFault> {
    let path = identity.key_path.display();
    let unusable =
        |reason: &dyn std::fmt::Display| TlsFault::Key(format!("cannot use {path}: {reason}"));
    let pem = identity
        .key
        .read()
        .map_err(|error| TlsFault::Key(error.to_string()))?;
    if pem.expose().contains("ENCRYPTED") {
        return Err(unusable(
            &"the key is encrypted: write it plain (openssl pkey -in … -out …), readable by the \
              gateway alone",
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes())
        .map_err(|_| unusable(&"it holds no private key in PEM"))?;
    provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| unusable(&error))
}

const NO_CERTIFICATE: &str = "it holds no certificate in PEM";
