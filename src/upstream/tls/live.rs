//! What TLS with a console takes now: it changes with its files, while connections go on.

mod files;

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use http::Extensions;
use hyper_util::client::legacy::connect::Connected;
use parking_lot::Mutex;
use rustls::client::{ClientConfig, ResolvesClientCert};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, SignatureScheme};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use files::Look;

use super::facts::{CertificateFacts, Moment};
use super::failure::{Asked, TlsFailure, TlsKind};
use super::material::{self, Material};
use super::verify::{Onlooker, Verifier};
use super::{Tls, TlsFault};
use crate::clock::Clock;
use crate::upstream::{HttpVersions, Settings};

/// TLS with one console.
#[derive(Debug)]
pub(in crate::upstream) struct Live {
    console: Arc<str>,
    tls: Tls,
    name: Option<ServerName<'static>>,
    http: HttpVersions,
    used: ArcSwap<Used>,
    /// Goes up when there is new material.
    edition: AtomicU64,
    /// Whether the files as they are now cannot be used.
    files_fail: AtomicBool,
    /// What the console last presented, by address.
    presented: Mutex<HashMap<SocketAddr, Arc<CertificateFacts>>>,
    /// How the files looked when they were read first.
    looks: Vec<Look>,
    clock: Clock,
}

/// What new connections are made with.
#[derive(Debug)]
struct Used {
    config: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
    endings: Vec<Ending>,
}

/// When a certificate ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ending {
    /// `console` for what it presents, `ca` and `certificate` for the files of these keys.
    pub what: &'static str,
    /// Where the console presented it.
    pub address: Option<SocketAddr>,
    /// Whom it is for.
    pub subject: String,
    /// The last moment at which it is good.
    pub ends: Moment,
}

type BoxError = Box<dyn Error + Send + Sync>;

/// A connection with TLS.
pub(in crate::upstream) struct Secured {
    pub(in crate::upstream) stream: TlsStream<TcpStream>,
    /// Where the console may still say that it wants a certificate, or another one.
    pub(in crate::upstream) doubt: Option<Doubt>,
}

/// What is to be seen of a console that need not be believed.
#[derive(Debug)]
pub(in crate::upstream) struct Inspected {
    pub(in crate::upstream) version: Option<ProtocolVersion>,
    pub(in crate::upstream) alpn: Option<Vec<u8>>,
    pub(in crate::upstream) certificate: Option<CertificateFacts>,
    /// Whether it is believed.
    pub(in crate::upstream) judgement: Result<(), TlsFailure>,
}

impl Live {
    pub(in crate::upstream) fn new(settings: &Settings) -> Result<Self, TlsFault> {
        let tls = settings.tls.clone();
        let looks = files::looks(&tls.files());
        let material = material::read(&tls)?;
        let live = Self {
            console: settings.id.shared(),
            name: tls.name_for(&settings.authority),
            tls,
            http: settings.http,
            used: ArcSwap::from_pointee(Used::new(material, settings.http)),
            edition: AtomicU64::new(0),
            files_fail: AtomicBool::new(false),
            presented: Mutex::default(),
            looks,
            clock: Clock::System,
        };
        Ok(live)
    }

    /// A number that goes up when connections made before were made with something else.
    pub(in crate::upstream) fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    /// Whether the files as they are now cannot be used, so that what was read before is.
    pub(in crate::upstream) fn files_fail(&self) -> bool {
        self.files_fail.load(Ordering::Relaxed)
    }

    /// When the certificates end that are used, and that were presented.
    pub(in crate::upstream) fn endings(&self) -> Vec<Ending> {
        let mut endings = self.used.load().endings.clone();
        let presented = self.presented.lock();
        endings.extend(presented.iter().map(|(address, facts)| Ending {
            what: "console",
            address: Some(*address),
            subject: facts.subject.clone(),
            ends: facts.ends,
        }));
        endings
    }

    /// Sets TLS up. Nothing that came before the handshake counts.
    pub(in crate::upstream) async fn secure(
        &self,
        address: SocketAddr,
        tcp: TcpStream,
    ) -> Result<Secured, BoxError> {
        let config = Arc::clone(&self.used.load().config);
        let (stream, asked) = self.shake_hands(config, tcp).await?;
        self.note(address, &stream);
        self.check_protocol(&stream)?;
        let doubt = (asked != Asked::No).then(|| Doubt::new(asked));
        Ok(Secured { stream, doubt })
    }

    /// Sets TLS up with whoever answers, to see what is presented.
    pub(in crate::upstream) async fn inspect(&self, tcp: TcpStream) -> Result<Inspected, BoxError> {
        let used = self.used.load_full();
        let onlooker = Arc::new(Onlooker::new(Arc::clone(&used.verifier)));
        let mut config = (*used.config).clone();
        let verifying = Arc::clone(&onlooker);
        config.dangerous().set_certificate_verifier(verifying);
        let (stream, _) = self.shake_hands(Arc::new(config), tcp).await?;
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let judgement = onlooker.judgement().unwrap_or_else(|| {
            let text = "no certificate was presented";
            Err(TlsFailure::new(TlsKind::InvalidCertificate, text))
        });
        Ok(Inspected {
            version: session.protocol_version(),
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            certificate: certificate.and_then(|der| CertificateFacts::read(der)),
            judgement: judgement.and_then(|()| self.check_protocol(&stream)),
        })
    }

    async fn shake_hands(
        &self,
        config: Arc<ClientConfig>,
        tcp: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Asked), BoxError> {
        let name = self.name.clone().ok_or_else(|| {
            let text = "the host of the URL cannot be a name in TLS: set tls.server_name";
            TlsFailure::new(TlsKind::WrongName, text)
        })?;
        let note = Arc::new(Note::default());
        let shaking = TlsConnector::from(config).connect(name, tcp);
        let shaken = NOTE.scope(Arc::clone(&note), shaking).await;
        match shaken {
            Ok(stream) => Ok((stream, note.asked())),
            Err(error) => Err(match TlsFailure::of(&error, note.asked()) {
                Some(failure) => failure.into(),
                None => error.into(),
            }),
        }
    }

    /// HTTP/2 that was asked for must be agreed on: sent to somebody who does not speak it, it would
    /// fail in ways that nobody understands.
    fn check_protocol(&self, stream: &TlsStream<TcpStream>) -> Result<(), TlsFailure> {
        let agreed = stream.get_ref().1.alpn_protocol();
        if self.http == HttpVersions::Http2 && agreed != Some(HTTP2) {
            let text = "the console does not agree to HTTP/2, and http = \"2\" allows nothing else";
            return Err(TlsFailure::new(TlsKind::Alpn, text));
        }
        Ok(())
    }

    fn note(&self, address: SocketAddr, stream: &TlsStream<TcpStream>) {
        let chain = stream.get_ref().1.peer_certificates();
        let Some(der) = chain.and_then(|chain| chain.first()) else {
            return;
        };
        let fingerprint = super::Fingerprint256::of(der);
        let mut presented = self.presented.lock();
        let before = presented.get(&address);
        if before.is_some_and(|facts| facts.fingerprint == fingerprint) {
            return;
        }
        let Some(facts) = CertificateFacts::read(der) else {
            return;
        };
        // Names may lead to ever new addresses.
        if before.is_none() && presented.len() >= MOST_ADDRESSES {
            presented.clear();
        }
        presented.insert(address, Arc::new(facts));
    }
}

impl Used {
    fn new(material: Material, http: HttpVersions) -> Self {
        let mut config = material.config;
        config.alpn_protocols = match http {
            HttpVersions::Auto => vec![HTTP2.to_vec(), HTTP1.to_vec()],
            HttpVersions::Http1 => vec![HTTP1.to_vec()],
            HttpVersions::Http2 => vec![HTTP2.to_vec()],
        };
        Self {
            config: Arc::new(config),
            verifier: material.verifier,
            endings: material.endings,
        }
    }
}

impl Ending {
    pub(super) fn of_file(what: &'static str, facts: &CertificateFacts) -> Self {
        Self {
            what,
            address: None,
            subject: facts.subject.clone(),
            ends: facts.ends,
        }
    }
}

tokio::task_local! {
    /// The handshake that is being done: rustls does not tell a resolver which one it is asked for.
    static NOTE: Arc<Note>;
}

/// What is noted of a handshake.
#[derive(Debug, Default)]
struct Note(AtomicU8);

impl Note {
    fn asked(&self) -> Asked {
        match self.0.load(Ordering::Relaxed) {
            0 => Asked::No,
            1 => Asked::Shown,
            _ => Asked::ShownNone,
        }
    }
}

/// Shows the gateway's certificate to a console that asks for one, and notes that it did.
#[derive(Debug)]
pub(super) struct Presenter(pub(super) Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Presenter {
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let shown = self.0.as_ref().filter(fits).map(Arc::clone);
        let asked = if shown.is_some() { 1 } else { 2 };
        // Without a note nobody wants to know.
        NOTE.try_with(|note| note.0.store(asked, Ordering::Relaxed))
            .unwrap_or_default();
        shown
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// In TLS 1.3 a console says only after the handshake what it thinks of the gateway's certificate.
#[derive(Debug)]
pub(in crate::upstream) struct Doubt {
    asked: Asked,
    late: Late,
}

impl Doubt {
    fn new(asked: Asked) -> Self {
        let late = Late(Arc::default());
        Self { asked, late }
    }

    /// What an error that came before anything else means.
    pub(in crate::upstream) fn resolve(&self, error: &io::Error) {
        if let Some(failure) = TlsFailure::of(error, self.asked) {
            self.late.0.get_or_init(|| failure);
        }
    }

    /// Where the failure will be found.
    pub(in crate::upstream) fn late(&self) -> Late {
        self.late.clone()
    }
}

/// Why TLS failed after the handshake, once it has.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct Late(Arc<OnceLock<TlsFailure>>);

impl Late {
    /// The failure of a connection, if it had one.
    pub(in crate::upstream) fn of(connected: &Connected) -> Option<TlsFailure> {
        let mut extras = Extensions::new();
        connected.get_extras(&mut extras);
        extras.get::<Self>()?.failure()
    }

    /// The failure, if there was one.
    pub(in crate::upstream) fn failure(&self) -> Option<TlsFailure> {
        self.0.get().cloned()
    }
}

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// More than a console has.
const MOST_ADDRESSES: usize = 64;
