//! Which of several addresses a request goes to, and the checks of those that nobody uses.
//!
//! The choice and the counting of checks are `pingora-load-balancing`'s. Each address has a pool of
//! connections of its own, so that the choice is made for each request, and what lies idle towards an
//! address that does not work stays there.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use parking_lot::Mutex;
use pingora_core::protocols::l4::socket::SocketAddr as BackendAddress;
use pingora_core::{Error, ErrorType};
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::health_check::HealthCheck;
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backend, Backends, Extensions, LoadBalancer};
use tower_service::Service as _;

use super::{Checks, Facts, Known};
use crate::upstream::breaker::Breaker;
use crate::upstream::pool::{Pools, Reach, Renewing};
use crate::upstream::{RequestBody, Settings, UpstreamError};

/// The addresses of a console that has several.
pub(in crate::upstream) struct Balance {
    balancer: LoadBalancer<RoundRobin>,
    known: Arc<Known>,
    checks: Checks,
}

/// One address, and the connections there.
pub(in crate::upstream) struct Place {
    facts: Arc<Facts>,
    pool: Renewing,
}

impl Balance {
    /// Prepares the choice; there is nothing to choose from before the first round.
    pub(in crate::upstream) fn new(
        settings: &Settings,
        known: Arc<Known>,
        pools: Pools,
        checks: Checks,
        breaker: Breaker,
    ) -> Self {
        let target = checks.path.clone();
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut backends = Backends::new(Box::new(Discovery {
            known: Arc::clone(&known),
            pools: pools.clone(),
            places: Mutex::default(),
        }));
        backends.set_health_check(Box::new(Check {
            console: settings.id.shared(),
            pools,
            checks: checks.clone(),
            breaker,
            // A path makes a target, always.
            target: settings.uri(target).unwrap_or_default(),
        }));
        Self {
            balancer: LoadBalancer::from_backends(backends),
            known,
            checks,
        }
    }

    /// Whose turn it is: those that work go round; where none does, all of them, since the checks may
    /// be wrong. `None` before the first round.
    pub(in crate::upstream) fn choose(&self) -> Option<Arc<Place>> {
        let among = |accept: fn(&Facts, bool) -> bool| {
            let chosen = self.balancer.select_with(b"", STEPS, |backend, healthy| {
                place(backend).is_some_and(|place| accept(&place.facts, healthy))
            });
            chosen.as_ref().and_then(place).map(Arc::clone)
        };
        among(|facts, healthy| healthy && !facts.is_suspect())
            .or_else(|| among(|_, healthy| healthy))
            .or_else(|| among(|_, _| true))
    }

    /// Looks names up and checks the addresses, in rounds. Never ends.
    pub(in crate::upstream) async fn run(&self) {
        loop {
            // Names that cannot be looked up lead where they led: it cannot fail.
            self.balancer.update().await.unwrap_or_default();
            self.balancer.backends().run_health_check(true).await;
            tokio::time::sleep(self.checks.interval).await;
        }
    }

    /// Whether what came of a request is the fault of an address, and another one answers.
    pub(in crate::upstream) fn excuses<T>(
        &self,
        answer: &Result<Response<T>, UpstreamError>,
    ) -> bool {
        let blamed = match answer {
            Ok(answer) => blames_address(answer.status()),
            Err(UpstreamError::Body(_) | UpstreamError::Unsendable(_)) => false,
            // None of them could be connected to.
            Err(UpstreamError::Tls(_) | UpstreamError::Unreachable(_)) => false,
            Err(UpstreamError::Cut(_) | UpstreamError::Invalid(_) | UpstreamError::Timeout) => true,
        };
        blamed && self.known.one_answers()
    }

    pub(in crate::upstream) fn known(&self) -> &Arc<Known> {
        &self.known
    }
}

impl fmt::Debug for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance")
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl Place {
    fn new(facts: Arc<Facts>, pools: &Pools) -> Self {
        let pool = pools.pool(Reach::First(facts.address));
        Self { facts, pool }
    }

    /// The connections there.
    pub(in crate::upstream) fn pool(&self) -> &Renewing {
        &self.pool
    }

    /// Drops the connections that lie idle: the other end may be gone without a word, and not know
    /// them any more when it is back.
    fn forget_connections(&self) {
        self.pool.forget();
    }

    /// Notes what came of a request that was to go there.
    pub(in crate::upstream) fn note<T>(&self, answer: &Result<Response<T>, UpstreamError>) {
        match answer {
            Ok(answer) if blames_address(answer.status()) => {
                self.facts
                    .broke(&format!("it answered {}", answer.status().as_u16()));
            }
            Ok(_) => self.facts.answered(),
            Err(UpstreamError::Body(_) | UpstreamError::Unsendable(_)) => {}
            Err(error) => self.facts.broke(&error.to_string()),
        }
    }
}

/// Whether an answer may be the fault of one address alone, or of what stands before it.
fn blames_address(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE
    )
}

fn place(backend: &Backend) -> Option<&Arc<Place>> {
    backend.ext.get::<Arc<Place>>()
}

/// The addresses that the names lead to. An address keeps its pool for as long as there is a name
/// that leads there.
struct Discovery {
    known: Arc<Known>,
    pools: Pools,
    places: Mutex<HashMap<SocketAddr, Arc<Place>>>,
}

#[async_trait]
impl ServiceDiscovery for Discovery {
    async fn discover(&self) -> pingora_core::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let found = self.known.look_up().await;
        let mut places = self.places.lock();
        let now: HashMap<SocketAddr, Arc<Place>> = found
            .into_iter()
            .map(|facts| {
                let address = facts.address;
                let place = places.remove(&address);
                let place = place.unwrap_or_else(|| Arc::new(Place::new(facts, &self.pools)));
                (address, place)
            })
            .collect();
        let backend = |(address, place): (&SocketAddr, &Arc<Place>)| {
            let mut ext = Extensions::new();
            ext.insert(Arc::clone(place));
            Backend {
                addr: BackendAddress::Inet(*address),
                weight: 1,
                ext,
            }
        };
        let backends = now.iter().map(backend).collect();
        *places = now;
        Ok((backends, HashMap::new()))
    }
}

/// Sets up a connection as for a request, and asks for something where the configuration says what.
struct Check {
    console: Arc<str>,
    pools: Pools,
    checks: Checks,
    breaker: Breaker,
    target: Uri,
}

impl Check {
    async fn try_out(&self, address: SocketAddr) -> Result<(), String> {
        let reach = Reach::Only(address);
        if self.checks.path.is_none() {
            let mut connector = self.pools.connector(reach);
            let connecting = connector.call(self.target.clone());
            let connection = connecting.await.map_err(|error| error.to_string())?;
            connection.close().await;
            return Ok(());
        }
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.target.clone();
        let pool = self.pools.unpooled(reach);
        let answer = tokio::time::timeout(self.pools.limit(), pool.request(request))
            .await
            .map_err(|_| UpstreamError::Timeout.to_string())?
            .map_err(|error| error.to_string())?;
        match answer.status() {
            status if status.is_server_error() => Err(format!("it answered {}", status.as_u16())),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl HealthCheck for Check {
    async fn check(&self, target: &Backend) -> pingora_core::Result<()> {
        let Some(place) = place(target) else {
            return Ok(());
        };
        match self.try_out(place.facts.address).await {
            Ok(()) => {
                place.facts.reached();
                if !place.facts.is_healthy() {
                    self.breaker.end_pause();
                }
                Ok(())
            }
            Err(error) => {
                place.facts.failed(&error);
                Err(Error::explain(ErrorType::ConnectError, error))
            }
        }
    }

    async fn health_status_change(&self, target: &Backend, healthy: bool) {
        let Some(place) = place(target) else {
            return;
        };
        let facts = &place.facts;
        facts.becomes(healthy);
        let (console, address, name) = (&*self.console, facts.address, facts.name());
        if healthy {
            tracing::info!(console, %address, name, "an address of the console works again");
        } else {
            place.forget_connections();
            let error = facts.error().unwrap_or_default();
            tracing::error!(console, %address, name, error,
                "an address of the console does not work: requests go to the others");
        }
    }

    fn health_threshold(&self, success: bool) -> usize {
        let checks = &self.checks;
        let threshold = if success {
            checks.successes
        } else {
            checks.failures
        };
        threshold.get()
    }
}

/// How many steps the search for an address may take. Others search at the same time and move what
/// it goes round by, so that some steps lead to the same address again.
const STEPS: usize = 64;
