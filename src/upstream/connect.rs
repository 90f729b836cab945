//! Connecting to a console: within a bound, and to whichever of its addresses works.

mod race;
mod reached;

pub(super) use race::NoConnection;
pub(super) use reached::Reached;

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, Ready, ready};
use std::iter;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use tokio::net::TcpStream;
use tower_service::Service;

use super::addresses::{Facts, Known};
use super::pool::Reach;
use super::tls::Live;
use reached::Stream;

/// Makes connections. It gives up after a time, whatever it is doing: looking names up, setting up
/// TCP, or waiting for TLS with somebody who says nothing.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    reach: Reach,
    known: Arc<Known>,
    tls: Option<Arc<Live>>,
    limit: Duration,
}

impl Connector {
    pub(super) fn new(
        reach: Reach,
        known: Arc<Known>,
        tls: Option<Arc<Live>>,
        limit: Duration,
    ) -> Self {
        Self {
            reach,
            known,
            tls,
            limit,
        }
    }

    async fn connect(self) -> Result<Reached, NoConnection> {
        let deadline = tokio::time::Instant::now() + self.limit;
        let looked_up = tokio::time::timeout_at(deadline, self.candidates()).await;
        let candidates = looked_up.unwrap_or_default();
        if candidates.is_empty() {
            return Err(NoConnection::nowhere(&self.known.why_nowhere()));
        }
        let attempt = |address| connect_to(address, self.tls.as_deref());
        let (address, connection) = race::race(candidates, self.limit, deadline, attempt).await?;
        let stray = matches!(self.reach, Reach::First(home) if Some(home) != address);
        Ok(connection.astray(stray))
    }

    /// The addresses, in the order in which they are tried.
    async fn candidates(&self) -> Vec<Arc<Facts>> {
        let mut candidates = match self.reach {
            Reach::Any => self.known.look_up_soon().await,
            Reach::First(_) | Reach::Only(_) => self.known.all(),
        };
        match self.reach {
            Reach::Any => candidates.sort_by_key(|facts| facts.rank()),
            Reach::First(home) => {
                candidates.sort_by_key(|facts| (facts.address != home, facts.rank()));
            }
            Reach::Only(home) => candidates.retain(|facts| facts.address == home),
        }
        candidates
    }
}

impl Service<Uri> for Connector {
    type Response = Reached;
    type Error = NoConnection;
    type Future = Pin<Box<dyn Future<Output = Result<Reached, NoConnection>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NoConnection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// Sets up TCP with an address, and TLS where the console has it.
async fn connect_to(
    address: SocketAddr,
    tls: Option<&Live>,
) -> Result<Reached, Box<dyn Error + Send + Sync>> {
    let tcp = connect_tcp(address).await?;
    let Some(tls) = tls else {
        return Ok(Reached::new(Stream::Plain(tcp), None));
    };
    let secured = tls.secure(address, tcp).await?;
    let stream = Stream::Secured(Box::new(secured.stream));
    Ok(Reached::new(stream, secured.doubt))
}

/// Sets up TCP with an address.
pub(super) async fn connect_tcp(
    address: SocketAddr,
) -> Result<TcpStream, Box<dyn Error + Send + Sync>> {
    let mut tcp = HttpConnector::new_with_resolver(At(address));
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    // Without a port, so that the address's own stays.
    let connected = tcp.call(Uri::from_static("http://console/")).await?;
    Ok(connected.into_inner())
}

/// Says of every name that it is at one address.
#[derive(Clone, Copy)]
struct At(SocketAddr);

impl Service<Name> for At {
    type Response = iter::Once<SocketAddr>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        ready(Ok(iter::once(self.0)))
    }
}

const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
