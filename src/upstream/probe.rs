//! Trying a console out from outside, for an operator who wants to know what is there.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use http::uri::Scheme;
use tokio::time::Instant;

use super::addresses::{Known, Lookup};
use super::connect::connect_tcp;
use super::error::innermost;
use super::tls::{CertificateFacts, Live, TlsFailure, TlsFault};
use super::{Address, Settings};

/// What came of trying one address.
#[derive(Debug)]
pub struct Probe {
    /// How long TCP took, or why there is none.
    pub tcp: Result<Duration, String>,
    /// What TLS showed; `None` where it was not tried.
    pub tls: Option<Result<Secure, String>>,
}

/// What TLS with one address showed. Nothing was sent over it.
#[derive(Debug)]
pub struct Secure {
    /// The version, as `TLSv1.3`.
    pub version: String,
    /// What was agreed on: `h2`, `http/1.1`, or nothing.
    pub alpn: Option<String>,
    /// What the console presented.
    pub certificate: Option<CertificateFacts>,
    /// Whether a request would be sent there, or why not.
    pub judgement: Result<(), TlsFailure>,
}

/// Where a console's names lead now: each as the configuration has it, with its addresses or the
/// reason why there are none.
pub async fn places(settings: &Settings) -> Vec<(String, Result<Vec<SocketAddr>, String>)> {
    join_all(settings.places().into_iter().map(|address| async {
        let label = address.to_string();
        let alone = Settings {
            addresses: vec![address],
            ..settings.clone()
        };
        let known = Known::new(&alone, Lookup::default());
        let found: Vec<_> = known.look_up().await;
        let found: Vec<_> = found.iter().map(|facts| facts.address).collect();
        let found = match found.is_empty() {
            true => Err(known.why_nowhere()),
            false => Ok(found),
        };
        (label, found)
    }))
    .await
}

impl Settings {
    /// The same console at one of its addresses alone.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Self {
        Self {
            addresses: vec![Address::at(address)],
            checks: None,
            ..self.clone()
        }
    }

    /// Connects to an address as a request would, and sends nothing. Takes the time to connect at
    /// most.
    ///
    /// # Errors
    /// TLS cannot be set up as it is configured.
    pub async fn probe(&self, address: SocketAddr) -> Result<Probe, TlsFault> {
        let live = match self.scheme == Scheme::HTTP {
            true => None,
            false => Some(Live::new(self)?),
        };
        let begun = Instant::now();
        let deadline = begun + self.connect_timeout;
        let connecting = tokio::time::timeout_at(deadline, connect_tcp(address)).await;
        let tcp = match in_time(connecting) {
            Ok(tcp) => tcp,
            Err(why) => {
                return Ok(Probe {
                    tcp: Err(why),
                    tls: None,
                });
            }
        };
        let took = begun.elapsed();
        let tls = match live {
            None => None,
            Some(live) => {
                let inspecting = tokio::time::timeout_at(deadline, live.inspect(tcp)).await;
                Some(in_time(inspecting).map(|seen| {
                    Secure {
                        version: seen.version.map_or_else(String::new, |version| {
                            version.as_str().unwrap_or("unknown").replace('_', ".")
                        }),
                        alpn: seen
                            .alpn
                            .map(|name| String::from_utf8_lossy(&name).into_owned()),
                        certificate: seen.certificate,
                        judgement: seen.judgement,
                    }
                }))
            }
        };
        Ok(Probe { tcp: Ok(took), tls })
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

fn in_time<T>(came: Result<Result<T, BoxError>, tokio::time::error::Elapsed>) -> Result<T, String> {
    match came {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(innermost(&*error)),
        Err(_) => Err("no answer within connect_timeout".to_owned()),
    }
}
