//! The configuration file: read once, every fault of it told at once, compiled into values that
//! cannot be wrong.

mod compile;
mod fault;
mod outline;
mod reader;
#[cfg(test)]
mod tests;
mod value;
mod warnings;

pub use fault::{ConfigError, Fault, Faults};
pub use outline::Differences;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use toml::de::DeTable;

use crate::audit;
use crate::client;
use crate::client::Lifetimes;
use crate::gateway::Forwarded;
use crate::listen;
use crate::policy::Policy;
use crate::quota;
use crate::request::Limits;
use crate::roster;
use crate::secret::Secret;
use crate::state;
use crate::tenant;
use crate::tenant::IdentityId;
use crate::token::{Login, RefreshPolicy};
use crate::upstream;

/// The configuration as a JSON Schema (draft 2020-12), for editors. What only the reader can tell, such
/// as names that stand twice, is not in it.
pub const SCHEMA: &str = include_str!("config/schema.json");

/// What the program runs on.
#[derive(Debug)]
pub struct Settings {
    /// The file itself
    pub source: Source,
    /// `[server]`
    pub server: Server,
    /// `[admin]`
    pub admin: Option<AdminListener>,
    /// `[log]`
    pub log: Log,
    /// `[audit]`
    pub audit: audit::Settings,
    /// `[state]`
    pub state: state::Settings,
    /// `[tokens]`
    pub refresh: RefreshPolicy,
    /// `[[consoles]]`
    pub consoles: Vec<Console>,
    /// `[[issuers]]`
    pub issuers: Vec<client::jwt::IssuerSettings>,
    /// `[[clients]]`, by their keys
    pub clients: client::Directory,
    /// `[[tenants]]`, by name and alias
    pub tenants: tenant::Directory,
    /// The accounts of tenants that impersonate nobody
    pub tenant_logins: HashMap<IdentityId, Login>,
    /// `[mapping]`
    pub mapping: tenant::Mapping,
    /// The rules of `[[clients]]`
    pub policy: Policy,
    /// The limits at the door
    pub quotas: quota::Settings,
}

/// What a configuration was read from.
#[derive(Clone)]
pub struct Source {
    /// The text of the file, in which no secret stands.
    text: Arc<str>,
    /// By what records and operators tell it from others: the start of its SHA-256.
    pub version: Arc<str>,
}

impl Source {
    fn of(text: &str) -> Self {
        let mut version = hex::encode(digest::digest(&digest::SHA256, text.as_bytes()));
        version.truncate(VERSION_DIGITS);
        Self {
            text: Arc::from(text),
            version: Arc::from(version),
        }
    }

    /// The version of a file, whether it can be used or not; none where it cannot be read.
    pub fn version_of(path: &Path) -> Option<Arc<str>> {
        let text = std::fs::read_to_string(path).ok()?;
        Some(Self::of(&text).version)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.version).finish()
    }
}

/// How many hex digits a version has.
const VERSION_DIGITS: usize = 12;

/// The listening side.
#[derive(Debug)]
pub struct Server {
    /// Where clients connect.
    pub listen: Vec<listen::Listener>,
    /// How many threads serve them.
    pub workers: usize,
    /// Bounds on requests.
    pub limits: Limits,
    /// Bounds on connections.
    pub connections: listen::Limits,
    /// Where they are lower than what is configured.
    pub shortages: Vec<listen::Shortage>,
    /// How slowly a request body may come.
    pub body_pace: upstream::Pace,
    /// Whom proxies in front are believed to speak for.
    pub proxies: client::Proxies,
    /// Whether consoles are told where requests come from.
    pub forwarded: Forwarded,
    /// How often a source may show a wrong credential.
    pub guesses: Option<quota::Rate>,
    /// How many bytes of a request body are kept for a second sending.
    pub replay_limit: usize,
    /// The most time a request waits for a token.
    pub token_wait: Duration,
    /// How long the gateway's own tokens live.
    pub lifetimes: Lifetimes,
    /// Whether `/token` refuses a wrong name or key in VSPC's words.
    pub vspc_errors: bool,
    /// The origin for rewritten `Location`s.
    pub public_url: Option<String>,
    /// The most time that requests get to end after SIGTERM.
    pub drain: Duration,
    /// Where a new process takes the listening sockets over.
    pub upgrade_socket: PathBuf,
}

impl Server {
    /// Whether a listener asks callers for certificates.
    pub fn asks_for_certificates(&self) -> bool {
        let mut tls = self
            .listen
            .iter()
            .filter_map(|listener| listener.tls.as_ref());
        tls.any(|tls| tls.asks_for_certificates())
    }
}

/// The operators' listener.
#[derive(Debug)]
pub struct AdminListener {
    /// Where operators connect.
    pub listen: AdminAddress,
    /// What they must present.
    pub token: Option<Secret>,
}

/// Where operators connect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AdminAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What operators' commands need to know.
#[derive(Debug)]
pub struct Operations {
    /// `[admin]`
    pub admin: Option<AdminListener>,
    /// Where the state is kept.
    pub state_directory: PathBuf,
    /// The names and aliases of tenants, each with the tenant's name.
    pub tenants: HashMap<String, String>,
    /// The names of clients.
    pub clients: HashSet<String>,
}

/// What is logged, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// The most detailed level that is written.
    pub level: tracing::Level,
    /// Lines for people or objects for machines.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text.
    #[default]
    Text,
}

/// A console and the gateway's account on it.
#[derive(Debug)]
pub struct Console {
    /// How it is reached.
    pub upstream: upstream::Settings,
    /// Who the gateway is there.
    pub login: Login,
    /// Sent as `X-Client-Version` on the gateway's own calls.
    pub client_version: Option<http::HeaderValue>,
    /// Whether and how the console's own users may log in.
    pub passthrough: Passthrough,
    /// How its directory of companies and users is used.
    pub directory: roster::Settings,
}

impl Console {
    /// Whether the console's own users may log in.
    pub fn lets_log_in(&self) -> bool {
        self.passthrough != Passthrough::No
    }
}

/// Whether the console's own users may log in through the gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Passthrough {
    /// They may not.
    No,
    /// They may; their tokens stay in the gateway.
    Kept,
    /// They may, and get the console's own tokens.
    Exposed,
}

impl Settings {
    /// Reads and compiles a configuration file. Relative paths in it are relative to it.
    ///
    /// # Errors
    /// Tells every fault of the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        read(path, reader::FaultList::default(), compile::settings)
    }

    /// As [`Self::load`], from the file alone: the secrets, keys and certificates that it names are
    /// not looked at. Good for questions about it, not to serve by.
    ///
    /// # Errors
    /// Tells every fault of the file itself.
    pub fn load_alone(path: &Path) -> Result<Self, ConfigError> {
        read(path, reader::FaultList::alone(), compile::settings)
    }

    /// Reads only where and how the audit log is kept: whoever may read the log need not be able to
    /// read the secrets that the file names.
    ///
    /// # Errors
    /// Tells the faults of `[audit]`.
    pub fn load_audit(path: &Path) -> Result<audit::Settings, ConfigError> {
        read(path, reader::FaultList::alone(), compile::audit::audit)
    }

    /// Reads only where and how the state is kept.
    ///
    /// # Errors
    /// Tells the faults of `[state]`.
    pub fn load_state(path: &Path) -> Result<state::Settings, ConfigError> {
        read(path, reader::FaultList::default(), compile::server::state)
    }

    /// Reads only what it takes to reach the gateway that runs by a file, and to freeze without it:
    /// an operator need not be able to read the other secrets that the file names.
    ///
    /// # Errors
    /// Tells the faults of `[admin]` and `[state]`.
    pub fn load_operations(path: &Path) -> Result<Operations, ConfigError> {
        let faults = reader::FaultList::default();
        read(path, faults, compile::operations::operations)
    }

    /// Whether a name may be a client's, a tenant's or a console's.
    pub fn is_name(text: &str) -> bool {
        compile::consoles::name(text.to_owned()).is_ok()
    }

    /// Whether a text may be the label of a key.
    pub fn is_label(text: &str) -> bool {
        compile::credentials::label(text.to_owned()).is_ok()
    }

    /// Compiles a configuration; `folder` is what relative paths are relative to.
    ///
    /// # Errors
    /// Tells every fault.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Vec<Fault>> {
        let faults = reader::FaultList::default();
        parse(text, faults, |root| compile::settings(root, folder))
    }

    /// As [`Self::parse`], from the text alone: see [`Self::load_alone`].
    ///
    /// # Errors
    /// Tells every fault of the text itself.
    pub fn parse_alone(text: &str, folder: &Path) -> Result<Self, Vec<Fault>> {
        let faults = reader::FaultList::alone();
        parse(text, faults, |root| compile::settings(root, folder))
    }
}

fn read<T>(
    path: &Path,
    list: reader::FaultList,
    compile: impl FnOnce(&mut reader::Section<'_>, &Path) -> Option<T>,
) -> Result<T, ConfigError> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: name(),
        source,
    })?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    parse(&text, list, |root| compile(root, folder)).map_err(|faults| ConfigError::Faulty {
        path: name(),
        faults: Faults(faults),
    })
}

fn parse<T>(
    text: &str,
    faults: reader::FaultList,
    compile: impl FnOnce(&mut reader::Section<'_>) -> Option<T>,
) -> Result<T, Vec<Fault>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = error.span().map(|span| reader::line_of(text, span.start));
        faults.add(Fault {
            path: String::new(),
            line,
            message: error.message().to_owned(),
        });
    }
    if faults.is_empty() {
        let mut root = reader::Section::root(text, table.get_ref(), &faults);
        if let Some(compiled) = compile(&mut root) {
            return faults.into_result(compiled);
        }
    }
    Err(faults.take())
}
