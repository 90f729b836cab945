//! `[server]`, `[admin]`, `[state]` and `[log]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::listeners::listeners;
use super::{connections, quotas};
use crate::client::Lifetimes;
use crate::config::reader::{Item, Section};
use crate::config::value::{Size, Time, at_least, path, secret};
use crate::config::{AdminAddress, AdminListener, Console, Log, LogFormat, Server};
use crate::request::Limits;
use crate::secret::SecretSource;
use crate::state;

pub(super) fn server(
    root: &mut Section<'_>,
    folder: &Path,
    upgrade_default: Option<PathBuf>,
    consoles: &[Console],
) -> Option<Server> {
    let mut section = root.required("server")?.section()?;
    let proxies = quotas::proxies(&mut section);
    let listen = listeners(&mut section, folder, proxies.as_ref());
    let limits = limits(&mut section);
    let public_url = section.optional("public_url").map_or(Some(None), |item| {
        item.read_with(|text: String| origin(&text)).map(Some)
    });
    let workers = section.or("workers", default_workers());
    let replay_limit = section.or("replay_limit", Size(64 * 1024));
    let token_wait = Duration::from_secs(10);
    let token_wait = at_least(&mut section, "token_wait", token_wait, TOKEN);
    let lifetimes = lifetimes(&mut section);
    let vspc_errors = section.or("vspc_errors", false);
    let connections = connections::connections(&mut section, consoles);
    let body_pace = connections::body_pace(&mut section);
    let forwarded = quotas::forwarded(&mut section);
    let guesses = quotas::guesses(&mut section);
    let drain = section.or("drain", Duration::from_secs(30));
    let upgrade_socket = match section.optional("upgrade_socket") {
        Some(item) => path(&item, folder),
        None => upgrade_default.or_else(|| Some(PathBuf::new())),
    };
    if workers.is_some_and(|workers| !(1..=1024).contains(&workers)) {
        section.fault("workers", "must be between 1 and 1024");
    }
    if replay_limit.is_some_and(|limit| limit.0 > 16 << 20) {
        section.fault("replay_limit", "is kept for every request: at most 16MiB");
    }
    section.finish();
    let (connections, shortages) = connections?;
    Some(Server {
        listen: listen?,
        workers: workers?,
        limits: limits?,
        connections,
        shortages,
        body_pace: body_pace?,
        proxies: proxies?,
        forwarded: forwarded?,
        guesses,
        replay_limit: usize::try_from(replay_limit?.0).ok()?,
        token_wait: token_wait?,
        lifetimes: lifetimes?,
        vspc_errors: vspc_errors?,
        public_url: public_url?,
        drain: drain?,
        upgrade_socket: upgrade_socket?,
    })
}

/// Bounds on requests, and the hosts that are served.
fn limits(section: &mut Section<'_>) -> Option<Limits> {
    let names = section
        .optional("names")
        .map_or(Some(Vec::new()), |item| names(&item));
    let body_limit = section.or("body_limit", Size(1 << 30));
    let header_limit = section.or("header_limit", Size(64 * 1024));
    let head = header_limit.map(|limit| limit.0);
    let head = head.filter(|head| (1024..=65_536).contains(head));
    if header_limit.is_some() && head.is_none() {
        section.fault("header_limit", "must be between 1KiB and 64KiB");
    }
    let head = head.unwrap_or(u64::MAX);
    // A target that could be no longer than its head would never be the one that is too long.
    let target_limit = section.or("target_limit", Size(TARGET.min(head / 2)));
    if target_limit.is_some_and(|limit| !(256..=65_536).contains(&limit.0)) {
        section.fault("target_limit", "must be between 256B and 64KiB");
    } else if target_limit.is_some_and(|limit| limit.0 >= head) {
        let message =
            format!("must be less than server.header_limit, {head}B, which counts it too");
        section.fault("target_limit", message);
    }
    Some(Limits {
        target: usize::try_from(target_limit?.0).ok()?,
        head: usize::try_from(header_limit?.0).ok()?,
        body: body_limit?.0,
        names: names?,
    })
}

/// How long the gateway's own tokens live.
fn lifetimes(section: &mut Section<'_>) -> Option<Lifetimes> {
    let access = section
        .optional("token_lifetime")
        .map_or(Some(HOUR), |item| {
            item.read_with(|life: Time| match life.0 {
                life if (MINUTE..=24 * HOUR).contains(&life) => Ok(life),
                _ => Err("must be between 1m and 24h"),
            })
        });
    let refresh = section
        .optional("refresh_lifetime")
        .map_or(Some(48 * HOUR), |item| {
            item.read_with(|life: Time| match life.0 {
                life if life >= access.unwrap_or(life) && life <= 90 * 24 * HOUR => Ok(life),
                _ => Err("must be between token_lifetime and 2160h (90 days)"),
            })
        });
    let keys = section
        .optional("token_key_rotation")
        .map_or(Some(Some(30 * 24 * HOUR)), |item| {
            item.read_with(|life: Duration| match life {
                life if life.is_zero() => Ok(None),
                life if (HOUR..=3650 * 24 * HOUR).contains(&life) => Ok(Some(life)),
                _ => Err("must be between 1h and 3650d, or \"0s\" for never"),
            })
        });
    Some(Lifetimes {
        access: access?,
        refresh: refresh?,
        keys: keys?,
    })
}

pub(in crate::config) fn state(root: &mut Section<'_>, folder: &Path) -> Option<state::Settings> {
    let Some(item) = root.optional("state") else {
        let directory = folder.join("state");
        if !root.is_alone() {
            own_key(&directory, |fault| root.fault("state", fault));
        }
        return Some(state::Settings {
            directory,
            key: None,
        });
    };
    let mut section = item.section()?;
    let directory = section
        .required("directory")
        .and_then(|item| path(&item, folder).filter(|path| is_directory(&item, path)));
    let key = match section.optional("key") {
        None => Some(None),
        Some(item) => secret(&item, folder).and_then(|(source, key)| {
            if !item.is_alone() && !state::is_key(&key) {
                item.fault(
                    "must be 64 hex digits, as `openssl rand -hex 32` prints, or several of them, \
                     one a line",
                );
                return None;
            }
            Some(Some(source))
        }),
    };
    if let (Some(directory), Some(None), false) = (&directory, &key, section.is_alone()) {
        own_key(directory, |fault| section.fault("directory", fault));
    }
    section.finish();
    Some(state::Settings {
        directory: directory?,
        key: key?,
    })
}

/// Whether the key in a state directory, if there is one yet, can be used.
fn own_key(directory: &Path, fault: impl FnOnce(String)) {
    let path = directory.join("key");
    if !path.exists() {
        return;
    }
    match SecretSource::File(path.clone()).read() {
        Ok(key) if state::is_key(&key) => {}
        Ok(_) => fault(format!(
            "{} must hold 64 hex digits on each line",
            path.display()
        )),
        Err(error) => fault(error.to_string()),
    }
}

pub(super) fn admin(root: &mut Section<'_>, folder: &Path) -> Option<Option<AdminListener>> {
    let Some(item) = root.optional("admin") else {
        return Some(None);
    };
    let mut section = item.section()?;
    let listen = section
        .required("listen")
        .and_then(|item| item.read_with(|text: String| admin_address(&text)));
    let token = section.optional("token").map(|item| secret(&item, folder));
    if let (Some(AdminAddress::Tcp(address)), None) = (&listen, &token)
        && !address.ip().is_loopback()
    {
        section.fault(
            "token",
            "is required unless the admin listener is on loopback or unix:",
        );
    }
    section.finish();
    let token = match token {
        Some(read) => Some(read?.1),
        None => None,
    };
    let listen = match listen? {
        AdminAddress::Unix(path) => AdminAddress::Unix(folder.join(path)),
        tcp @ AdminAddress::Tcp(_) => tcp,
    };
    Some(Some(AdminListener { listen, token }))
}

pub(super) fn log(root: &mut Section<'_>) -> Option<Log> {
    let default = Log {
        level: tracing::Level::INFO,
        format: LogFormat::Text,
    };
    let Some(item) = root.optional("log") else {
        return Some(default);
    };
    let mut section = item.section()?;
    let level = section
        .optional("level")
        .map_or(Some(default.level), |item| {
            item.read_with(|text: String| match text.as_str() {
                "error" => Ok(tracing::Level::ERROR),
                "warn" => Ok(tracing::Level::WARN),
                "info" => Ok(tracing::Level::INFO),
                "debug" => Ok(tracing::Level::DEBUG),
                _ => Err(r#"must be "error", "warn", "info" or "debug""#),
            })
        });
    let format = section
        .optional("format")
        .map_or(Some(default.format), |item| {
            item.read_with(|text: String| match text.as_str() {
                "json" => Ok(LogFormat::Json),
                "text" => Ok(LogFormat::Text),
                _ => Err(r#"must be "text" or "json""#),
            })
        });
    section.finish();
    Some(Log {
        level: level?,
        format: format?,
    })
}

pub(super) fn is_directory(item: &Item<'_>, path: &Path) -> bool {
    let other = path.exists() && !path.is_dir();
    if other {
        item.fault("is there, but is no directory");
    }
    !other
}

/// The hosts that are served: without a port, since a host is served on whichever it is asked.
fn names(item: &Item<'_>) -> Option<Vec<String>> {
    let read: Vec<_> = item
        .elements()?
        .iter()
        .map(|item| {
            item.read_with(|text: String| {
                let authority = text.parse::<http::uri::Authority>();
                match authority.is_ok_and(|a| a.host() == text && !text.contains('@')) {
                    true => Ok(text.to_ascii_lowercase()),
                    false => Err("must be a host name or address, without a port"),
                }
            })
        })
        .collect();
    read.into_iter().collect()
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is not an address with a port, such as \"0.0.0.0:8280\" or \"[::]:8280\"")
    })
}

fn admin_address(text: &str) -> Result<AdminAddress, String> {
    match text.strip_prefix("unix:") {
        Some("") => Err("needs a path behind unix:".to_owned()),
        Some(path) => Ok(AdminAddress::Unix(path.into())),
        None => socket_address(text).map(AdminAddress::Tcp),
    }
}

/// An origin without a slash at its end.
fn origin(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "must be an origin such as \"https://vspc.example.net\", without a path";
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    let uri: http::Uri = trimmed.parse().map_err(|_| WRONG)?;
    let plain = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri
            .authority()
            .is_some_and(|authority| !authority.as_str().contains('@'))
        && uri.path_and_query().is_none_or(|target| target == "/");
    if plain {
        Ok(trimmed.to_owned())
    } else {
        Err(WRONG)
    }
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How long a request waits for a token at least.
const TOKEN: (Duration, &str) = (
    Duration::from_millis(10),
    "only a console close by gives a token sooner, so requests that need a new one would be refused",
);

/// The longest target, where no other is written.
const TARGET: u64 = 16 * 1024;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
