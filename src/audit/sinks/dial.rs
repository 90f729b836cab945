//! Connections to other ends: TCP, and TLS unless it is not wanted.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::SendError;
use crate::upstream::{Tls, client_config};

/// Where another end is, and how it is believed.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name or address; of IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS with it; none: what is sent can be read on the way.
    pub tls: Option<Tls>,
}

/// A connection.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Makes connections to one place.
pub(super) struct Dialer {
    place: Place,
    /// What the files of `tls` said. Read again after a failure.
    config: Option<Arc<ClientConfig>>,
}

impl Dialer {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            config: None,
        }
    }

    /// The place, as errors name it.
    pub(super) fn authority(&self) -> String {
        let Place { host, port, .. } = &self.place;
        match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }
    }

    pub(super) async fn connect(&mut self) -> Result<Box<dyn Duplex>, SendError> {
        // Taken, so that files which were replaced are read after any failure.
        let config = self.config.take();
        let place = &self.place;
        let failed = |what: &str, error: &dyn Error| {
            let why = causes(error);
            SendError::Unreachable(format!("{what} {}: {why}", self.authority()))
        };
        let tcp = TcpStream::connect((place.host.as_str(), place.port)).await;
        let tcp = tcp.map_err(|error| failed("cannot connect to", &error))?;
        // Records are small and go out one batch at a time.
        tcp.set_nodelay(true).ok();
        let Some(tls) = &place.tls else {
            return Ok(Box::new(tcp));
        };
        let config = match config {
            Some(config) => config,
            None => {
                let config = client_config(tls);
                Arc::new(config.map_err(|error| failed("cannot use the tls of", &error))?)
            }
        };
        let name = match &tls.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(place.host.clone())
                .map_err(|error| failed("set tls.server_name for", &error))?,
        };
        let stream = TlsConnector::from(Arc::clone(&config)).connect(name, tcp);
        let stream = stream
            .await
            .map_err(|error| failed("no TLS with", &error))?;
        self.config = Some(config);
        Ok(Box::new(stream))
    }
}

/// An error with what is behind it.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a text cannot fail.
        write!(text, ": {error}").unwrap_or_default();
        cause = error.source();
    }
    text
}
