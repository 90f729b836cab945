//! Composition: from settings to a running process, and to its end.

mod connect;
mod freezes;
mod notes;
mod observer;
pub mod online;
mod reconciling;
mod reload;
mod renewed;
mod services;
mod signals;
mod succession;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server};

use crate::admin::Reloads;
use crate::audit::sinks::Sinks;
use crate::audit::{Auditor, Kind, OpenError};
use crate::client::{self, GatewayTokens};
use crate::clock::{Clock, Timestamp};
use crate::config::{self, Settings};
use crate::freeze::{FreezeError, Freezer};
use crate::gateway::{Gateway, Live, OwnedHeaders, Passthrough};
use crate::listen::{Connections, Drain, descriptors};
use crate::quota::Quotas;
use crate::roster::Roster;
use crate::secret::fingerprint_by;
use crate::state::{self, State, StateError};
use crate::telemetry::Telemetry;
use crate::token::{Broker, SessionStore, VspcIssuer};
use crate::upstream::TlsFault;
use crate::vspc::login::Codes;

use notes::{note, note_lifecycle};

pub use reload::SetLevel;
pub use signals::withstand_hangups;
pub use succession::Next;

use connect::{Connected, connect};
use observer::{broker, issuers};
use reconciling::{reached, reconciler};
use reload::Reloader;
use services::{AdminService, DataPlane, Shared, TokenService};
use signals::Signals;
use succession::Lasting;

/// How long the end of the process waits for sinks that still take records.
const SINKS_TIME: Duration = Duration::from_secs(5);

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
    Audit(#[from] OpenError),
    /// What is frozen cannot be read: it may be everything.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// The trust material of an issuer cannot be used.
    #[error("an issuer's tls: {0}")]
    IssuerTrust(TlsFault),
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
        source: TlsFault,
    },
}

/// How a process was started.
pub struct Process {
    /// Its configuration file, which reloads read.
    pub file: PathBuf,
    /// Where it gets its listening sockets.
    pub start: Start,
    /// Says from now on how detailed its log is.
    pub set_level: SetLevel,
}

/// Serves until a signal ends it.
///
/// # Errors
/// Says why the process could not start, or why it had to stop.
pub fn run(settings: Settings, process: Process) -> Result<(), RunError> {
    use_descriptors(&settings.server);
    let (auditor, writer) = Auditor::open(settings.audit.clone())?;
    auditor.by_config(&settings.source.version);
    let sinks = Sinks::start(&settings.audit.directory, &settings.audit.sinks, &auditor);
    let sinks = sinks.map_err(OpenError::Thread)?;
    let start = process.start;
    let shared = Arc::new(Shared::new(Drain::new(), settings.server.drain));
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
    let mut server = Server::new_with_opt_and_conf(Some(opt), conf);
    let state = open_state(&settings.state, start, &auditor)?;
    let file = process.file.display().to_string();
    note(&auditor, Kind::Config, "config.loaded", file.into());
    let (reloads, broker) =
        add_services(&mut server, settings, process, (&auditor, &shared, &state))?;
    bootstrap(&mut server, start, &upgrade_socket)?;
    note_lifecycle(&auditor, "process.started", start);
    let signals = Signals {
        auditor: auditor.clone(),
        shared: Arc::clone(&shared),
        reloads,
        upgrade_socket,
    };
    server.run(RunArgs {
        shutdown_signal: Box::new(signals),
    });
    note_lifecycle(&auditor, "process.stopped", start);
    // The runtimes are gone and with them every request; what they left to be written is written.
    broker.save();
    drop(broker);
    // It is logged if it fails; what it is about may be lost.
    state.flush().ok();
    let closed = writer.close();
    sinks.close(SINKS_TIME);
    closed.map_err(|error| RunError::Service(error.to_string()))?;
    shared
        .failure()
        .map_or(Ok(()), |failure| Err(RunError::Service(failure)))
}

/// Adds all that serves to the server.
fn add_services(
    server: &mut Server,
    settings: Settings,
    process: Process,
    (auditor, shared, state): (&Auditor, &Arc<Shared>, &Arc<State>),
) -> Result<(Reloads, Broker), RunError> {
    let (listen, workers) = (settings.server.listen.clone(), settings.server.workers);
    let (limits, source) = (settings.server.connections, settings.source.clone());
    let (gateway, admin) = assemble(settings, auditor, Arc::clone(state))?;
    let (broker, telemetry) = (gateway.broker.clone(), gateway.telemetry.clone());
    let live = Live::new(gateway);
    let (reloads, asked) = Reloads::new();
    let admin = admin.map(|listener| {
        let from = (Arc::clone(&live), reloads.clone());
        AdminService::new(from, listener, process.start, Arc::clone(shared))
    });
    let reloader = Reloader {
        live: Arc::clone(&live),
        listeners: listen.clone(),
        shared: Arc::clone(shared),
        admin: admin.as_ref().map(AdminService::place),
        file: process.file,
        set_level: process.set_level,
        started: source.clone(),
        present: source,
        asked,
    };
    let tokens = TokenService::new(Arc::clone(&live), reloader, Arc::clone(shared));
    let tokens = server.add_service(tokens);
    let connections = Connections::new(limits, telemetry);
    let data = DataPlane::new(live, listen, connections, workers, Arc::clone(shared));
    server.add_service(data).add_dependency(&tokens);
    if let Some(admin) = admin {
        server.add_service(admin).add_dependency(&tokens);
    }
    Ok((reloads, broker))
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
    auditor.by_config(&settings.source.version);
    let state = open_state(&settings.state, Start::Fresh, auditor)?;
    assemble(settings, auditor, state)
}

fn assemble(
    mut settings: Settings,
    auditor: &Auditor,
    state: Arc<State>,
) -> Result<(Arc<Gateway>, Option<config::AdminListener>), RunError> {
    let telemetry = Telemetry::default();
    let clock = Clock::System;
    let lifetimes = settings.server.lifetimes;
    let tokens = GatewayTokens::open(Arc::clone(&state), lifetimes, clock.now())?;
    warn_of(&settings, clock.now());
    let connected = connect(&mut settings, None)?;
    let codes = Codes::new(Arc::clone(&state), clock.clone());
    let store = SessionStore::sealed(state, clock.clone());
    let issuer = Arc::new(VspcIssuer::new(
        connected.accounts.clone(),
        codes,
        settings.refresh.expected(),
    ));
    let told = (auditor, &telemetry);
    let issuers = issuers(&mut settings, told)?;
    let lasting = Lasting {
        freezer: Arc::new(Freezer::open(&settings.state.directory)?),
        broker: broker(Arc::clone(&issuer), settings.refresh.clone(), told, store),
        issuer,
        tokens: Arc::new(tokens),
        issuers,
        quotas: Quotas::new(std::mem::take(&mut settings.quotas), None),
        actions: Arc::default(),
        identities: Arc::default(),
        reconciled: Arc::default(),
        auditor: auditor.clone(),
        telemetry,
        clock,
    };
    let admin = settings.admin.take();
    let gateway = gateway(settings, connected, lasting);
    if let Some(to) = &gateway.passthrough {
        gateway.broker.restore_sessions(to.console.id());
    }
    Ok((Arc::new(gateway), admin))
}

/// What a configuration means, around what outlives it.
fn gateway(settings: Settings, connected: Connected, lasting: Lasting) -> Gateway {
    let Connected {
        consoles,
        accounts,
        sources,
        passthrough,
    } = connected;
    let Lasting {
        freezer,
        broker,
        issuer,
        tokens,
        issuers,
        quotas,
        actions,
        identities,
        reconciled,
        auditor,
        telemetry,
        clock,
    } = lasting;
    let reached = reached(&sources, &accounts);
    let reconciler = reconciler(settings.audit, reached, &broker, &clock, reconciled);
    let told = (auditor.clone(), telemetry.clone());
    let roster = Roster::new(sources, &settings.tenants, broker.clone(), told);
    let reason_header = settings.policy.reason_header();
    let owned = OwnedHeaders::new(settings.mapping.owned().chain(reason_header));
    let clients = accepting(settings.clients, &tokens, passthrough.as_ref());
    Gateway {
        version: settings.source.version,
        limits: settings.server.limits,
        clients,
        issuers,
        owned,
        mapping: settings.mapping,
        tenants: settings.tenants,
        roster,
        policy: settings.policy,
        freezer,
        broker,
        issuer,
        tokens,
        passthrough,
        actions,
        identities,
        vspc_errors: settings.server.vspc_errors,
        consoles,
        reconciler,
        auditor,
        telemetry,
        clock,
        public_url: settings.server.public_url,
        proxies: settings.server.proxies,
        quotas,
        forwarded: settings.server.forwarded,
        replay_limit: settings.server.replay_limit,
        body_pace: settings.server.body_pace,
        token_wait: settings.server.token_wait,
    }
}

/// The clients, who may also come with the gateway's own tokens or as users of a console.
fn accepting(
    mut clients: client::Directory,
    tokens: &Arc<GatewayTokens>,
    passthrough: Option<&Passthrough>,
) -> client::Directory {
    let own_users = passthrough.map(|to| to.console.id().clone());
    clients.accept(Arc::clone(tokens), own_users);
    clients
}

/// Tells in the log what `check` would: which keys end soon, and what nobody can prove itself with.
fn warn_of(settings: &Settings, now: Timestamp) {
    for warning in settings.warnings(now) {
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
        note(auditor, Kind::Admin, "state.set_aside", detail.into());
    }
    if let Some(backup) = state.restored() {
        note(
            auditor,
            Kind::Admin,
            "state.restored",
            backup.to_owned().into(),
        );
    }
    match state.fingerprint_key() {
        Ok(key) if fingerprint_by(&key) => {}
        Ok(_) => tracing::debug!("fingerprints are taken by the key of another state"),
        Err(error) => tracing::warn!(%error, "the fingerprints of tokens in audit records cannot \
            be compared with those of other processes: their key cannot be kept"),
    }
    if state.is_new() {
        let directory = settings.directory.display();
        tracing::warn!(%directory, "a new state was begun: tokens given out before are not known");
        note_lifecycle(auditor, "state.begun", start);
    }
    Ok(Arc::new(state))
}
