//! TLS in front of a simulator that speaks none: with any certificate, and any behaviour.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use vspc_simulator::Simulator;

use crate::harness::{World, unsigned_settings, write_secret};

/// Versions of TLS.
pub(crate) type Versions = &'static [&'static SupportedProtocolVersion];

pub(crate) static TLS12: Versions = &[&rustls::version::TLS12];
pub(crate) static TLS13: Versions = &[&rustls::version::TLS13];

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
    pub(crate) key_pem: String,
    key: PrivateKeyDer<'static>,
}

/// How a certificate is made.
pub(crate) struct Wish {
    pub(crate) names: &'static [&'static str],
    /// The year from whose beginning, and to whose beginning, it is good.
    pub(crate) years: (i32, i32),
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            names: &["localhost", "127.0.0.1"],
            years: (2020, 2100),
        }
    }
}

impl Wish {
    fn params(&self) -> CertificateParams {
        let names: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "the, front");
        params.is_ca = IsCa::ExplicitNoCa;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.not_before = date_time_ymd(self.years.0, 1, 1);
        params.not_after = date_time_ymd(self.years.1, 1, 1);
        params
    }

    pub(crate) fn self_signed(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let made = self.params().self_signed(&key).unwrap();
        Identity::new(&made, &key)
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "the front's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_after = date_time_ymd(2101, 1, 1);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn sign(&self, wish: &Wish) -> Identity {
        let key = KeyPair::generate().unwrap();
        let made = wish.params().signed_by(&key, &self.0).unwrap();
        Identity::new(&made, &key)
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes its certificate into a file.
    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, self.pem()).unwrap();
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }
}

impl Identity {
    fn new(made: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self {
            certificate: made.der().clone(),
            pem: made.pem(),
            key_pem: key.serialize_pem(),
            key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        }
    }

    /// The fingerprint as it is pinned.
    pub(crate) fn pin(&self) -> String {
        let digest = vspc_gateway::upstream::Fingerprint256::of(&self.certificate);
        digest.to_string()
    }

    /// Writes certificate and key into a folder, and gives the lines that name them.
    pub(crate) fn write(&self, folder: &Path) -> String {
        std::fs::write(folder.join("own.pem"), &self.pem).unwrap();
        write_secret(&folder.join("own.key"), &self.key_pem);
        let folder = folder.display();
        format!("certificate = \"{folder}/own.pem\", key = \"{folder}/own.key\"")
    }
}

/// How a front speaks.
pub(crate) struct Manner {
    pub(crate) versions: Versions,
    pub(crate) alpn: &'static [&'static str],
    /// Whose certificates it demands of clients.
    pub(crate) demands: Option<Arc<RootCertStore>>,
    /// What it says in clear before the handshake.
    pub(crate) blurts: &'static [u8],
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            versions: rustls::DEFAULT_VERSIONS,
            alpn: &["h2", "http/1.1"],
            demands: None,
            blurts: b"",
        }
    }
}

impl Manner {
    pub(crate) fn demanding(authority: &Authority) -> Self {
        Self {
            demands: Some(authority.roots()),
            ..Self::default()
        }
    }

    fn config(&self, identity: &Identity) -> Arc<ServerConfig> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions)
            .unwrap();
        let builder = match &self.demands {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let chain = vec![identity.certificate.clone()];
        let mut config = builder
            .with_single_cert(chain, identity.key.clone_key())
            .unwrap();
        config.alpn_protocols = self
            .alpn
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Arc::new(config)
    }
}

/// A listener with TLS that passes everything on to a simulator.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    /// The host names that clients asked for, and the certificates they showed.
    pub(crate) guests: Arc<Mutex<Vec<Guest>>>,
    /// Handshakes that came to their end.
    pub(crate) shaken: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

/// What a client said of itself in a handshake.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Guest {
    pub(crate) server_name: Option<String>,
    pub(crate) alpn: Option<String>,
    pub(crate) certificate: Option<Vec<u8>>,
    pub(crate) version: String,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Front {
    pub(crate) async fn start(target: SocketAddr, identity: &Identity, manner: &Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(Mutex::new(manner.config(identity)));
        let (guests, shaken) = (Arc::default(), Arc::default());
        let serving = tokio::spawn(serve(
            listener,
            target,
            Arc::clone(&config),
            (Arc::clone(&guests), Arc::clone(&shaken)),
            manner.blurts,
        ));
        Self {
            address,
            config,
            guests,
            shaken,
            serving,
        }
    }

    /// Presents another certificate from now on.
    pub(crate) fn becomes(&self, identity: &Identity, manner: &Manner) {
        *self.config.lock() = manner.config(identity);
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub(crate) fn handshakes(&self) -> usize {
        self.shaken.load(Ordering::SeqCst)
    }

    pub(crate) fn last_guest(&self) -> Guest {
        self.guests.lock().last().cloned().unwrap_or_default()
    }
}

type Noted = (Arc<Mutex<Vec<Guest>>>, Arc<AtomicUsize>);

async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    noted: Noted,
    blurts: &'static [u8],
) {
    let mut open = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = TlsAcceptor::from(Arc::clone(&config.lock()));
        let noted = noted.clone();
        open.spawn(async move { pass(stream, target, acceptor, noted, blurts).await.ok() });
    }
}

async fn pass(
    mut near: TcpStream,
    target: SocketAddr,
    acceptor: TlsAcceptor,
    (guests, shaken): Noted,
    blurts: &[u8],
) -> std::io::Result<()> {
    tokio::io::AsyncWriteExt::write_all(&mut near, blurts).await?;
    let mut near = acceptor.accept(near).await?;
    let session = near.get_ref().1;
    let chain = session.peer_certificates().unwrap_or_default();
    let alpn = session.alpn_protocol();
    guests.lock().push(Guest {
        server_name: session.server_name().map(str::to_owned),
        alpn: alpn.map(|name| String::from_utf8_lossy(name).into_owned()),
        certificate: chain.first().map(|certificate| certificate.to_vec()),
        version: format!("{:?}", session.protocol_version().unwrap()),
    });
    shaken.fetch_add(1, Ordering::SeqCst);
    let mut far = TcpStream::connect(target).await?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}

/// A gateway before a front before a simulator.
pub(crate) async fn world(identity: &Identity, manner: &Manner, lines: &str) -> (World, Front) {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let front = Front::start(simulator.addr(), identity, manner).await;
    let url = front.url();
    let world = World::start_on(simulator, &url, lines).await;
    (world, front)
}

/// A file of an authority in a folder of its own.
pub(crate) fn ca_file(folder: &Path, authority: &Authority) -> PathBuf {
    let path = folder.join("ca.pem");
    authority.write(&path);
    path
}
