//! Composition: from settings to a running process, and to its end.

mod freezes;
mod observer;
mod services;
mod signals;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server};

use crate::audit::{self, Auditor, Code, Kind, Record, Unavailable};
use crate::client::jwt::Issuers;
use crate::client::{self, GatewayTokens};
use crate::clock::{Clock, Timestamp};
use crate::config::{self, Settings};
use crate::freeze::{FreezeError, Freezer};
use crate::gateway::{Gateway, OwnedHeaders, Passthrough};
use crate::listen::{Connections, Drain, descriptors};
use crate::quota::Quotas;
use crate::roster::{Roster, Source};
use crate::state::{self, State, StateError};
use crate::telemetry::Telemetry;
use crate::token::{Account, Broker, Logins, RefreshPolicy, SessionStore, VspcIssuer};
use crate::upstream::{Console, ConsoleId, TrustError};
use crate::vspc::login::Codes;

use observer::Observer;
use services::{AdminService, DataPlane, Shared, TokenService};
use signals::Signals;

/// Where a process gets its listening sockets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// It binds them.
    Fresh,
    /// The process before hands them over.
    Upgrade,
}

/// Why the process cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The audit log cannot be used: nothing is served without it.
    #[error("the audit log cannot be used: {0}")]
    Audit(#[from] audit::OpenError),
    /// What is frozen cannot be read: it may be everything.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// The trust material of an issuer cannot be used.
    #[error("an issuer's tls: {0}")]
    IssuerTrust(TrustError),
    /// A service failed, for instance because its address is taken.
    #[error("{0}")]
    Service(String),
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// TLS with a console cannot be set up.
    #[error("console {console}: {source}")]
    Trust {
        /// The console.
        console: String,
        /// What is wrong.
        source: TrustError,
    },
}

/// Serves until a signal ends it.
///
/// # Errors
/// Says why the process could not start, or why it had to stop.
pub fn run(settings: Settings, start: Start) -> Result<(), RunError> {
    use_descriptors(&settings.server);
    let (auditor, writer) = Auditor::open(settings.audit.clone())?;
    let drain = Drain::new();
    let drain_time = settings.server.drain;
    let upgrade_socket = settings.server.upgrade_socket.clone();
    let conf = ServerConf {
        upgrade_sock: upgrade_socket.display().to_string(),
        work_stealing: true,
        ..ServerConf::default()
    };
    let opt = Opt {
        upgrade: start == Start::Upgrade,
        ..Opt::default()
    };
    let shared = Arc::new(Shared::new(drain));
    let mut server = Server::new_with_opt_and_conf(Some(opt), conf);
    let (listen, workers) = (settings.server.listen.clone(), settings.server.workers);
    let state = open_state(&settings.state, start, &auditor)?;
    let limits = settings.server.connections;
    let (gateway, admin) = assemble(settings, &auditor, Arc::clone(&state))?;

    let tokens = server.add_service(TokenService::new(Arc::clone(&gateway), Arc::clone(&shared)));
    let data = server.add_service(DataPlane::new(
        Arc::clone(&gateway),
        listen,
        Connections::new(limits, gateway.telemetry.clone()),
        workers,
        Arc::clone(&shared),
    ));
    data.add_dependency(&tokens);
    if let Some(admin) = admin {
        let service = AdminService::new(Arc::clone(&gateway), admin, start, Arc::clone(&shared));
        server.add_service(service).add_dependency(&tokens);
    }

    bootstrap(&mut server, start, &upgrade_socket)?;
    note_lifecycle(&auditor, "process.started");
    let signals = Signals {
        auditor: auditor.clone(),
        shared: Arc::clone(&shared),
        drain_time,
        upgrade_socket,
    };
    server.run(RunArgs {
        shutdown_signal: Box::new(signals),
    });
    note_lifecycle(&auditor, "process.stopped");
    // The runtimes are gone and with them every request; what they left to be written is written.
    gateway.broker.save();
    drop(gateway);
    // It is logged if it fails; what it is about may be lost.
    state.flush().ok();
    writer
        .close()
        .map_err(|error| RunError::Service(error.to_string()))?;
    shared
        .failure()
        .map_or(Ok(()), |failure| Err(RunError::Service(failure)))
}

/// Allows the process as many descriptors as it may have, and tells when they are too few.
fn use_descriptors(server: &config::Server) {
    if let Err(error) = descriptors::raise() {
        tracing::warn!(%error, "the limit of descriptors cannot be raised");
    }
    for shortage in &server.shortages {
        tracing::warn!("{shortage}");
    }
}

/// Takes over what a running process sends.
fn bootstrap(server: &mut Server, start: Start, socket: &Path) -> Result<(), RunError> {
    if start == Start::Upgrade {
        // pingora replaces whatever has that name.
        services::refuse_other_files(socket).map_err(|error| {
            let place = socket.display();
            RunError::Service(format!("cannot use server.upgrade_socket {place}: {error}"))
        })?;
        // pingora ends the process without a word if they do not come.
        tracing::info!(
            "waiting seven seconds for the listening sockets: send SIGQUIT to the running process"
        );
    }
    server.bootstrap();
    Ok(())
}

/// Puts the gateway together. Nothing is connected or bound yet.
///
/// # Errors
/// Fails when trust material or the state directory cannot be used.
pub fn compose(
    settings: Settings,
    auditor: &Auditor,
) -> Result<(Arc<Gateway>, Option<config::AdminListener>), RunError> {
    let state = open_state(&settings.state, Start::Fresh, auditor)?;
    assemble(settings, auditor, state)
}

fn assemble(
    settings: Settings,
    auditor: &Auditor,
    state: Arc<State>,
) -> Result<(Arc<Gateway>, Option<config::AdminListener>), RunError> {
    let telemetry = Telemetry::default();
    let clock = Clock::System;
    let lifetimes = settings.server.lifetimes;
    let tokens = GatewayTokens::open(Arc::clone(&state), lifetimes, clock.now())?;
    let tokens = Arc::new(tokens);
    warn_of(&settings.clients, &settings.server, clock.now());
    let Connected {
        consoles,
        accounts,
        sources,
        passthrough,
    } = connect(settings.consoles)?;
    let codes = Codes::new(Arc::clone(&state), clock.clone());
    let store = SessionStore::sealed(state, clock.clone());
    let issuer = VspcIssuer::new(accounts, settings.tenant_logins, codes);
    let broker = broker(issuer, settings.refresh, (auditor, &telemetry), store);
    if let Some(to) = &passthrough {
        broker.restore_sessions(to.console.id());
    }
    let told = (auditor.clone(), telemetry.clone());
    let roster = Roster::new(sources, &settings.tenants, broker.clone(), told);
    let mut clients = settings.clients;
    let own_users = passthrough.as_ref().map(|to| to.console.id().clone());
    clients.accept(Arc::clone(&tokens), own_users);
    let issuers = issuers(auditor, &telemetry);
    let trusted = issuers
        .prepare(settings.issuers)
        .map_err(RunError::IssuerTrust)?;
    clients.trust(&trusted);
    issuers.keep(trusted);
    let gateway = Gateway {
        limits: settings.server.limits,
        clients,
        issuers,
        owned: OwnedHeaders::new(
            settings
                .mapping
                .owned()
                .chain(settings.policy.reason_header()),
        ),
        mapping: settings.mapping,
        tenants: settings.tenants,
        roster,
        policy: settings.policy,
        freezer: Arc::new(Freezer::open(&settings.state.directory)?),
        broker,
        tokens,
        passthrough,
        actions: Arc::default(),
        vspc_errors: settings.server.vspc_errors,
        consoles,
        auditor: auditor.clone(),
        telemetry,
        clock,
        public_url: settings.server.public_url,
        proxies: settings.server.proxies,
        quotas: Quotas::new(settings.quotas, None),
        forwarded: settings.server.forwarded,
        replay_limit: settings.server.replay_limit,
        body_pace: settings.server.body_pace,
        token_wait: settings.server.token_wait,
    };
    Ok((Arc::new(gateway), settings.admin))
}

/// Tells in the log what `check` would: which keys end soon, and what nobody can prove itself with.
fn warn_of(clients: &client::Directory, server: &config::Server, now: Timestamp) {
    for warning in clients.warnings(now, server.asks_for_certificates()) {
        tracing::warn!("{warning}");
    }
}

/// Opens the state, and records what became of the one before.
fn open_state(
    settings: &state::Settings,
    start: Start,
    auditor: &Auditor,
) -> Result<Arc<State>, StateError> {
    let state = match start {
        Start::Fresh => State::open(settings)?,
        Start::Upgrade => State::open_beside(settings)?,
    };
    if let Some(aside) = state.set_aside() {
        let detail = format!(
            "{} is now {}: {}",
            aside.from.display(),
            aside.to.display(),
            aside.reason
        );
        note(auditor, "state.set_aside", detail.into());
    }
    if let Some(backup) = state.restored() {
        note(auditor, "state.restored", backup.to_owned().into());
    }
    if state.is_new() {
        let directory = settings.directory.display();
        tracing::warn!(%directory, "a new state was begun: tokens given out before are not known");
        note_lifecycle(auditor, "state.begun");
    }
    Ok(Arc::new(state))
}

/// Makes the keeper of sessions and leases.
fn broker(
    issuer: VspcIssuer,
    policy: RefreshPolicy,
    (auditor, telemetry): (&Auditor, &Telemetry),
    store: SessionStore,
) -> Broker {
    let observer = Observer {
        telemetry: telemetry.clone(),
        auditor: auditor.clone(),
    };
    Broker::new(Arc::new(issuer), policy, Arc::new(observer), store)
}

/// Makes the keeper of issuers' keys.
fn issuers(auditor: &Auditor, telemetry: &Telemetry) -> Arc<Issuers> {
    let observer = Observer {
        telemetry: telemetry.clone(),
        auditor: auditor.clone(),
    };
    Arc::new(Issuers::new(Arc::new(observer)))
}

/// The consoles, and who the gateway is there.
#[derive(Default)]
struct Connected {
    consoles: HashMap<ConsoleId, Arc<Console>>,
    accounts: HashMap<ConsoleId, Account>,
    sources: Vec<Source>,
    passthrough: Option<Passthrough>,
}

fn connect(settings: Vec<config::Console>) -> Result<Connected, RunError> {
    let mut all = Connected::default();
    for console in settings {
        let id = console.upstream.id.clone();
        let connected = Console::new(console.upstream).map_err(|source| RunError::Trust {
            console: id.to_string(),
            source,
        })?;
        let connected = Arc::new(connected);
        if console.passthrough != config::Passthrough::No {
            all.passthrough = Some(Passthrough {
                console: Arc::clone(&connected),
                // A login without a name has none that anybody could try.
                own_name: console.login.username().unwrap_or_default().to_lowercase(),
                client_version: console.client_version.clone(),
                expose: console.passthrough == config::Passthrough::Exposed,
                logins: Arc::new(Logins::new().map_err(StateError::from)?),
            });
        }
        all.sources.push(Source {
            console: Arc::clone(&connected),
            client_version: console.client_version.clone(),
            settings: console.directory,
        });
        let account = Account {
            console: Arc::clone(&connected),
            login: console.login,
            client_version: console.client_version,
        };
        all.accounts.insert(id.clone(), account);
        all.consoles.insert(id, connected);
    }
    Ok(all)
}

/// Records that the process begins or ends. There is a place: nothing else is under way.
fn note_lifecycle(auditor: &Auditor, operation: &'static str) {
    let version = concat!("vspc-gateway ", env!("CARGO_PKG_VERSION"));
    note(auditor, operation, Cow::Borrowed(version));
}

fn note(auditor: &Auditor, operation: &'static str, detail: Cow<'static, str>) {
    let record = Record {
        operation: Some(Cow::Borrowed(operation)),
        code: Some(Code::Ok),
        detail: Some(detail),
        ..Record::default()
    };
    match auditor.note(Kind::Admin, &record).now_or_never() {
        Some(Ok(())) => {}
        Some(Err(error)) => auditor.report_unrecorded(Kind::Admin, &record, error),
        None => auditor.report_unrecorded(Kind::Admin, &record, Unavailable::QueueFull),
    }
}
