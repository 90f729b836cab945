//! Connections to consoles: addresses, pools, TLS, timeouts, whose turn it is, and what went wrong.

mod addresses;
mod answers;
mod body;
pub mod breaker;
mod connect;
mod error;
mod kept;
mod paced;
mod pool;
mod probe;
mod received;
pub mod share;
mod timers;
mod tls;
mod turn;

pub use addresses::{Address, AddressFault, AddressState, Checks};
pub use answers::fault_within;
pub use body::{BodyFault, BodyProgress, ReplayHandle, RequestBody};
pub use error::UpstreamError;
pub use paced::Pace;
pub use probe::{Probe, Secure, places};
pub use received::Received;
pub(crate) use tls::client_config;
pub use tls::{
    CertificateFacts, Ending, Fingerprint256, Identity, Moment, Tls, TlsFailure, TlsFault, TlsKind,
    TlsVersion, Trust,
};
pub(crate) use tls::{address, attribute_name};
pub use turn::{NoTurn, Turn};

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};

use addresses::{Balance, Known, Lookup};
use breaker::Breaker;
use pool::{POOL_SIZE, Pools, Reach, Renewing};
use share::Shares;
use timers::Timers;

/// A console: its name, as the configuration gives it, and where it is. One that is somewhere else
/// from some time on is another console, which must not be shown what the first one gave.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConsoleId {
    name: Arc<str>,
    /// A digest of scheme, host and port.
    place: u64,
}

impl ConsoleId {
    /// Names a console of which it is not known where it is.
    pub fn new(name: &str) -> Self {
        let name = Arc::from(name);
        Self { name, place: 0 }
    }

    /// Names a console at a place.
    pub fn at(name: &str, scheme: &Scheme, authority: &Authority) -> Self {
        let mut place = DefaultHasher::new();
        scheme.as_str().hash(&mut place);
        authority.as_str().to_ascii_lowercase().hash(&mut place);
        Self {
            name: Arc::from(name),
            place: place.finish(),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The name, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Whether a console has the name of this one, wherever it is.
    pub fn has_name_of(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for ConsoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ConsoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Which HTTP versions are spoken with a console.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HttpVersions {
    /// What ALPN settles on; HTTP/1.1 without TLS.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only, with prior knowledge where there is no TLS.
    Http2,
}

/// How a console is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Its name.
    pub id: ConsoleId,
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port: what the console is called.
    pub authority: Authority,
    /// Where it is reached; empty: at the authority.
    pub addresses: Vec<Address>,
    /// How the addresses are checked. `None`: they are looked up and tried at each connection.
    pub checks: Option<Checks>,
    /// How TLS is set up. Means nothing for `http`.
    pub tls: Tls,
    /// Which HTTP versions are spoken.
    pub http: HttpVersions,
    /// The most time for the name to be looked up and TCP and TLS to be set up.
    pub connect_timeout: Duration,
    /// The most time from sending a request to the head of its answer.
    pub first_byte_timeout: Duration,
    /// The most silence within an answer.
    pub idle_timeout: Duration,
    /// How it is shared.
    pub sharing: Sharing,
}

impl Settings {
    /// The most connections to the console that there may be at once: those in use, and idle ones.
    pub fn most_connections(&self) -> usize {
        // Each address has a pool of its own.
        let idle = POOL_SIZE.saturating_mul(self.addresses.len().max(1));
        self.sharing.limits.concurrency.saturating_add(idle)
    }
}

/// How a console is shared, and when it is left alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sharing {
    /// What it and each tenant may use.
    pub limits: share::Limits,
    /// The most time a request waits for its turn.
    pub turn_wait: Duration,
    /// The most time, all in all, a request is held because the console throttles.
    pub throttle_wait: Duration,
    /// When it is left alone.
    pub breaker: breaker::Settings,
}

impl Default for Sharing {
    /// As in a configuration that says nothing of it.
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            limits: share::Limits {
                concurrency: 1024,
                tenant_concurrency: 512,
                rate: None,
                tenant_rate: None,
                waiting: 20_000,
                tenant_waiting: 15_000,
            },
            turn_wait: 10 * second,
            throttle_wait: 10 * second,
            breaker: breaker::Settings {
                faults: NonZeroU32::MIN.saturating_add(4),
                pause: 30 * second,
            },
        }
    }
}

/// One VSPC server.
pub struct Console {
    settings: Settings,
    shares: Shares,
    breaker: Breaker,
    /// The connections of a console whose addresses are not checked, or not known yet.
    pool: Renewing,
    pools: Pools,
    balance: Option<Arc<Balance>>,
    timers: Timers,
}

impl Console {
    /// Prepares the connections to a console; nothing is sent yet.
    ///
    /// # Errors
    /// Fails when the trust material cannot be used.
    pub fn new(settings: Settings) -> Result<Self, TlsFault> {
        Self::with_lookup(settings, Lookup::default())
    }

    fn with_lookup(settings: Settings, lookup: Lookup) -> Result<Self, TlsFault> {
        let known = Arc::new(Known::new(&settings, lookup));
        let pools = Pools::new(&settings, Arc::clone(&known))?;
        let pool = pools.pool(Reach::Any);
        let breaker = Breaker::new(settings.id.as_str(), settings.sharing.breaker);
        let checks = settings.checks.clone();
        let balance = checks.map(|checks| {
            let balance = Balance::new(&settings, known, pools.clone(), checks, breaker.clone());
            Arc::new(balance)
        });
        Ok(Self {
            shares: Shares::new(settings.sharing.limits),
            breaker,
            settings,
            pool,
            pools,
            balance,
            timers: Timers::default(),
        })
    }

    /// The console's name.
    pub fn id(&self) -> &ConsoleId {
        &self.settings.id
    }

    /// How the console is reached.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether these settings lead to the console just as it was made. The files that they name are
    /// looked at by the console itself.
    pub fn is_reached_by(&self, settings: &Settings) -> bool {
        self.settings == *settings
    }

    /// Who waits for a turn.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Whether it is left alone.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// What is known of the addresses that are checked.
    pub fn addresses(&self) -> Vec<AddressState> {
        let known = self.balance.as_ref().map(|balance| balance.known());
        known.map(|known| known.report()).unwrap_or_default()
    }

    /// When the certificates end that TLS takes and that the console has presented.
    pub fn certificates(&self) -> Vec<Ending> {
        self.pools.tls().map_or_else(Vec::new, |tls| tls.endings())
    }

    /// Whether the files of TLS as they are now cannot be used, so that what was read before is.
    pub fn tls_files_fail(&self) -> bool {
        self.pools.tls().is_some_and(|tls| tls.files_fail())
    }

    /// A number that goes up when the files of TLS were read again; 0 before that.
    pub fn tls_edition(&self) -> u64 {
        self.pools.tls().map_or(0, |tls| tls.edition())
    }

    /// Checks the addresses, and watches certificates and their files, for as long as it is polled.
    /// Ends only where there is nothing to do.
    pub async fn watch_addresses(&self) {
        let addresses = async {
            if let Some(balance) = &self.balance {
                balance.run().await;
            }
        };
        let files = async {
            if let Some(tls) = self.pools.tls() {
                tls.watch().await;
            }
        };
        tokio::join!(addresses, files);
    }

    /// The address of a resource of this console; path and query go out byte for byte.
    ///
    /// # Errors
    /// Fails only if the target cannot be a target at all.
    pub fn uri(&self, target: PathAndQuery) -> Result<Uri, http::uri::InvalidUriParts> {
        self.settings.uri(target)
    }

    /// Sends a request and waits for the head of the answer. While more of the caller's body keeps
    /// coming, as `progress` tells, the time for that head has not begun.
    ///
    /// # Errors
    /// Says who is at fault: the connection, the console, or the caller's body.
    pub async fn send(
        &self,
        request: Request<RequestBody>,
        progress: Option<&BodyProgress>,
    ) -> Result<Response<Received>, UpstreamError> {
        let place = self.balance.as_ref().and_then(|balance| balance.choose());
        let Some(place) = place else {
            let answering = Box::pin(self.pool.request(request));
            return self.await_answer(answering, progress).await;
        };
        let pool = place.pool();
        // Boxed, since not all of the road has to have room for it.
        let answering = Box::pin(pool.request(request));
        let answer = self.await_answer(answering, progress).await;
        place.note(&answer);
        answer
    }

    async fn await_answer(
        &self,
        mut answering: Pin<Box<impl Future<Output = Result<Response<Received>, UpstreamError>>>>,
        progress: Option<&BodyProgress>,
    ) -> Result<Response<Received>, UpstreamError> {
        let received = || progress.map_or(0, BodyProgress::received);
        let mut before = received();
        let answer = loop {
            let limit = self.settings.first_byte_timeout;
            if let Some(answer) = self.timers.within(limit, answering.as_mut()).await {
                // Over HTTP/2 a body that fails is told as a stream that ended.
                let fault = || progress.and_then(BodyProgress::fault);
                break answer.map_err(|error| fault().map_or(error, UpstreamError::Body))?;
            }
            let now = received();
            if now == before {
                // What the console does not take is not the caller's silence.
                let awaited = progress.is_some_and(BodyProgress::is_awaited);
                return Err(if awaited {
                    UpstreamError::Body(BodyFault::Stalled)
                } else {
                    UpstreamError::Timeout
                });
            }
            before = now;
        };
        if answer.status() == http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(UpstreamError::Invalid(
                "an unasked switch of protocols".to_owned(),
            ));
        }
        Ok(answer)
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
