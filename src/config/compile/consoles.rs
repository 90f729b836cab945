//! `[[consoles]]`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};

use super::conditions::Whose;
use super::login::login;
use super::{addresses, console_tls, rules, shares};
use crate::config::reader::{Item, Section};
use crate::config::value::{Time, at_least};
use crate::config::{Console, Passthrough};
use crate::policy::{PathPattern, Rule, Rules};
use crate::roster::{self, RestAccess};
use crate::upstream::{self, ConsoleId, HttpVersions, Tls};

/// The consoles, and the names of all that the file speaks of: a console with a fault must not make
/// its tenants faulty too.
pub(super) struct Consoles {
    /// What relative paths are relative to.
    folder: PathBuf,
    pub(super) consoles: Vec<Console>,
    pub(super) names: HashSet<String>,
    /// Whether there is one all of whose companies are tenants.
    pub(super) has_directory: bool,
    /// What those may do who log in as themselves.
    pub(super) rules: Rules,
}

impl Consoles {
    /// What relative paths are relative to.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A console without faults.
    pub(super) fn named(&self, name: &str) -> Option<&Console> {
        let mut consoles = self.consoles.iter();
        consoles.find(|console| console.upstream.id.as_str() == name)
    }
}

pub(super) fn consoles(root: &mut Section<'_>, folder: &Path) -> Consoles {
    let mut all = Consoles {
        folder: folder.to_owned(),
        consoles: Vec::new(),
        names: HashSet::new(),
        has_directory: false,
        rules: Rules::default(),
    };
    let sections = root.sections("consoles");
    if sections.is_empty() {
        root.fault("consoles", "at least one console is needed: [[consoles]]");
    }
    for mut section in sections {
        let name = section
            .required("name")
            .and_then(|item| item.read_with(name));
        if let Some(name) = &name
            && !all.names.insert(name.clone())
        {
            section.fault(
                "name",
                format!("another console is called {name:?} already"),
            );
        }
        let (passthrough, rules) = passthrough(&mut section, name.as_deref());
        if let Some(rules) = rules {
            let taken = all.consoles.iter().any(Console::lets_log_in);
            if taken {
                section.fault(
                    "passthrough_logins",
                    "another console has it: a name and a password do not say which they are for",
                );
            }
            all.rules = rules;
        }
        let directory = directory(&mut section);
        // A faulty one must not make the clients' tenants faulty too.
        all.has_directory |= directory.is_none_or(|directory| directory.all);
        let more = passthrough.zip(directory);
        if let Some(console) = console(section, name, folder, more) {
            all.consoles.push(console);
        }
    }
    all
}

/// Whether the console's own users may log in, and then what they may do.
fn passthrough(
    section: &mut Section<'_>,
    name: Option<&str>,
) -> (Option<Passthrough>, Option<Rules>) {
    let allowed = section.or("passthrough_logins", false);
    let exposed = section.or("expose_tokens", false);
    let rules = section.optional("passthrough_rules");
    let on = allowed == Some(true);
    if exposed == Some(true) && !on {
        section.fault(
            "expose_tokens",
            "means nothing without passthrough_logins = true",
        );
    }
    if rules.is_some() && !on {
        section.fault(
            "passthrough_rules",
            "mean nothing without passthrough_logins = true",
        );
    }
    let name = format!("consoles.{}.passthrough_rules", name.unwrap_or_default());
    let rules = match rules {
        None => Some(default_rules(&name)),
        Some(item) => item.section().map(|mut section| {
            let rules = rules::rules(&mut section, &name, &Whose::Logins);
            let is_empty = |item: Item<'_>| item.raw().as_array().is_some_and(|it| it.is_empty());
            if section.optional("allow").is_none_or(is_empty) {
                section.fault("allow", "is missing: nothing listed is nothing allowed");
            }
            section.finish();
            rules
        }),
    };
    let passthrough = match (allowed, exposed) {
        (Some(false), Some(_)) => Some(Passthrough::No),
        (Some(true), Some(false)) => Some(Passthrough::Kept),
        (Some(true), Some(true)) => Some(Passthrough::Exposed),
        (None, _) | (_, None) => None,
    };
    (passthrough, rules.filter(|_| on))
}

/// Whatever the console allows its user, less the roads that must be named.
fn default_rules(name: &str) -> Rules {
    Rules {
        allow: vec![Rule {
            name: Arc::from(format!("{name}.allow[0]")),
            // A pattern that is written here can be read.
            paths: PathPattern::parse("/api/v3/**").into_iter().collect(),
            ..Rule::default()
        }],
        ..Rules::default()
    }
}

/// How the console's directory is used.
fn directory(section: &mut Section<'_>) -> Option<roster::Settings> {
    let default = roster::Settings::default();
    let all = section.optional("tenants").map_or(Some(false), |item| {
        item.read_with(|text: String| match text.as_str() {
            "directory" => Ok(true),
            _ => Err(r#"must be "directory", which makes every company a tenant"#),
        })
    });
    let refresh = section
        .optional("directory_refresh")
        .map_or(Some(default.refresh), |item| {
            item.read_with(|time: Duration| {
                let allowed = SHORTEST_REFRESH..=LONGEST_REFRESH;
                let fits = allowed.contains(&time);
                fits.then_some(time).ok_or("must be between 1s and 24h")
            })
        });
    let rest_access = section
        .optional("rest_access")
        .map_or(Some(default.rest_access), |item| {
            item.read_with(|text: String| match text.as_str() {
                "ignore" => Ok(RestAccess::Ignore),
                "require" => Ok(RestAccess::Require),
                _ => Err(r#"must be "require" or "ignore""#),
            })
        });
    Some(roster::Settings {
        all: all?,
        refresh: refresh?,
        rest_access: rest_access?,
    })
}

fn console(
    mut section: Section<'_>,
    name: Option<String>,
    folder: &Path,
    more: Option<(Passthrough, roster::Settings)>,
) -> Option<Console> {
    let plaintext = section.or("danger_plaintext", false);
    let url = section
        .required("url")
        .and_then(|item| item.read_with(|text: String| url(&text, plaintext.unwrap_or(false))));
    let tls = section.optional("tls");
    let has_tls = tls.is_some();
    let tls = tls.map_or(Some(Tls::default()), |item| console_tls::tls(&item, folder));
    let http = section.optional("http");
    let http = http.map_or(Some(HttpVersions::Auto), |item| http_versions(&item));
    let client_version = section
        .optional("client_version")
        .map_or(Some(None), |item| version(&item).map(Some));
    let login = section
        .required("login")
        .and_then(|item| login(&item, folder));
    let timeouts = timeouts(&mut section);
    let sharing = shares::sharing(&mut section);
    let (scheme, authority) = url.unzip();
    let plaintext = plaintext.unwrap_or(false) || scheme != Some(Scheme::HTTP);
    let places = addresses::addresses(&mut section, plaintext);
    if scheme == Some(Scheme::HTTP) && has_tls {
        section.fault("tls", "means nothing for an http:// url");
    }
    let upstream = (|| {
        let (addresses, checks) = places?;
        let [connect_timeout, first_byte_timeout, idle_timeout] = timeouts?;
        Some(upstream::Settings {
            id: ConsoleId::at(&name?, scheme.as_ref()?, authority.as_ref()?),
            scheme: scheme?,
            authority: authority?,
            addresses,
            checks,
            tls: tls?,
            http: http?,
            connect_timeout,
            first_byte_timeout,
            idle_timeout,
            sharing: sharing?,
        })
    })();
    let tried = (upstream.clone()).filter(|it| uses_tls(it) && !section.is_alone());
    if let Some(Err(error)) = tried.map(upstream::Console::new) {
        section.fault("tls", error.to_string());
    }
    section.finish();
    let (passthrough, directory) = more?;
    Some(Console {
        upstream: upstream?,
        login: login?,
        client_version: client_version?,
        passthrough,
        directory,
    })
}

/// To connect, to the head of an answer, and within it.
fn timeouts(section: &mut Section<'_>) -> Option<[Duration; 3]> {
    let connect =
        section
            .optional("connect_timeout")
            .map_or(Some(Time(Duration::from_secs(5))), |item| {
                item.read_with(|time: Time| match time.0 {
                    connect if connect < SHORTEST_CONNECT => Err("must be at least 10ms"),
                    connect if connect <= LONGEST_CONNECT => Ok(time),
                    _ => Err("must be at most 5m"),
                })
            });
    let (first_byte, idle) = (Duration::from_secs(60), Duration::from_secs(90));
    let first_byte = at_least(section, "first_byte_timeout", first_byte, ANSWERED);
    let idle = at_least(section, "idle_timeout", idle, SILENT);
    Some([connect?.0, first_byte?, idle?])
}

fn version(item: &Item<'_>) -> Option<http::HeaderValue> {
    item.read_with(|text: String| {
        http::HeaderValue::from_str(&text).map_err(|_| "must be a version such as \"3.7\"")
    })
}

fn http_versions(item: &Item<'_>) -> Option<HttpVersions> {
    item.read_with(|text: String| match text.as_str() {
        "auto" => Ok(HttpVersions::Auto),
        "1" => Ok(HttpVersions::Http1),
        "2" => Ok(HttpVersions::Http2),
        _ => Err(r#"must be "auto", "1" or "2""#),
    })
}

fn uses_tls(settings: &upstream::Settings) -> bool {
    settings.scheme == Scheme::HTTPS
}

fn url(text: &str, plaintext_allowed: bool) -> Result<(Scheme, Authority), String> {
    const WRONG: &str = "must be a URL such as \"https://vspc.example.com:1280\", without a path";
    let uri: http::Uri = text.parse().map_err(|_| WRONG)?;
    let bare = uri.path_and_query().is_none_or(|target| target == "/");
    let parts = uri.into_parts();
    let (Some(scheme), Some(authority), true) = (parts.scheme, parts.authority, bare) else {
        return Err(WRONG.to_owned());
    };
    if authority.as_str().contains('@') || (scheme != Scheme::HTTP && scheme != Scheme::HTTPS) {
        return Err(WRONG.to_owned());
    }
    if scheme == Scheme::HTTP && !plaintext_allowed && !is_loopback(authority.host()) {
        return Err(addresses::PLAINTEXT.to_owned());
    }
    Ok((scheme, authority))
}

pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// Names stand in headers, records and URLs: printable, without blanks and separators.
pub(in crate::config) fn name(text: String) -> Result<String, &'static str> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !text.is_empty() && text.len() <= 128 && text.chars().all(fits) {
        return Ok(text);
    }
    Err("must be 1 to 128 letters, digits, - _ or .")
}

const SHORTEST_REFRESH: Duration = Duration::from_secs(1);
const LONGEST_REFRESH: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_CONNECT: Duration = Duration::from_secs(5 * 60);
const SHORTEST_CONNECT: Duration = Duration::from_millis(10);
const ANSWERED: (Duration, &str) = (
    Duration::from_millis(10),
    "requests would be given up while the console works on them",
);
const SILENT: (Duration, &str) = (
    Duration::from_millis(100),
    "answers would be cut while the console still sends them",
);
