//! A caller that speaks TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authority::{Authority, Pair};
use crate::harness::{Answer, ZABBIX, collect};

/// The name that the certificates of the tests are good for.
pub(super) const NAME: &str = "gw.example.net";

/// What a caller believes, and what it speaks.
pub(super) struct Caller {
    pub(super) config: ClientConfig,
}

impl Caller {
    pub(super) fn new(believes: &Authority) -> Self {
        Self::speaking(believes, rustls::ALL_VERSIONS, None)
    }

    /// One that cannot verify a kind of signature.
    pub(super) fn without(believes: &Authority, scheme: SignatureScheme) -> Self {
        let mut provider = default_provider();
        let algorithms = &mut provider.signature_verification_algorithms;
        let mut others = algorithms.mapping.to_vec();
        others.retain(|(other, _)| *other != scheme);
        algorithms.mapping = others.leak();
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots(believes))
            .with_no_client_auth();
        Self { config }
    }

    pub(super) fn showing(believes: &Authority, pair: &Pair) -> Self {
        Self::speaking(believes, rustls::ALL_VERSIONS, Some(pair))
    }

    pub(super) fn speaking(
        believes: &Authority,
        versions: &[&'static SupportedProtocolVersion],
        shows: Option<&Pair>,
    ) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots(believes));
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(pair) => builder
                .with_client_auth_cert(vec![pair.der.clone()], pair.key_der())
                .unwrap(),
        };
        Self { config }
    }

    pub(super) fn offering(mut self, protocols: &[&str]) -> Self {
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec());
        self.config.alpn_protocols = protocols.collect();
        self
    }

    pub(super) async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await.unwrap();
        self.secure(stream, name).await
    }

    /// Speaks TLS on a connection that is there.
    pub(super) async fn secure(
        &self,
        stream: TcpStream,
        name: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        connector.connect(name, stream).await
    }

    /// A GET on a connection of its own. An error where there is no handshake.
    pub(super) async fn get(&self, address: SocketAddr, path: &str) -> Result<Answer, String> {
        let connected = self.connect(address, NAME).await;
        let stream = connected.map_err(|error| error.to_string())?;
        let answer = ask(stream, path).await?;
        Ok(collect(answer).await)
    }
}

fn roots(believes: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(believes.der()).unwrap();
    roots
}

/// A GET on a connection.
pub(super) async fn ask(
    stream: TlsStream<TcpStream>,
    path: &str,
) -> Result<Response<Incoming>, String> {
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let request = request(path, is_h2);
    let answer = if is_h2 {
        let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| told(&error))?;
        tokio::spawn(connection);
        sender
            .send_request(request)
            .await
            .map_err(|error| told(&error))?
    } else {
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| told(&error))?;
        tokio::spawn(connection);
        sender
            .send_request(request)
            .await
            .map_err(|error| told(&error))?
    };
    let expected = if is_h2 {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    };
    assert_eq!(answer.version(), expected);
    Ok(answer)
}

/// A request of zabbix for acme.
pub(super) fn request(path: &str, is_h2: bool) -> Request<Full<Bytes>> {
    let target = if is_h2 {
        format!("https://{NAME}{path}")
    } else {
        path.to_owned()
    };
    let request = Request::get(target)
        .header("x-api-key", ZABBIX)
        .header("x-tenant", "acme");
    let request = if is_h2 {
        request
    } else {
        request.header("host", NAME)
    };
    request.body(Full::default()).unwrap()
}

/// An error with what is behind it.
fn told(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
