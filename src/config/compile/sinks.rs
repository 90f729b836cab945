//! `[[audit.sinks]]`.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use super::console_tls;
use super::consoles::{is_loopback, name};
use super::postgres::postgres;
use crate::audit;
use crate::audit::sinks::{
    Endpoint, Format, From, Kind, Place, Settings, SyslogSettings, Token, WebhookSettings,
};
use crate::config::reader::{Item, Section};
use crate::config::value::{Time, secret};
use crate::secret::SecretSource;
use crate::upstream::Tls;

pub(super) fn sinks(audit: &mut Section<'_>, folder: &Path) -> Option<Vec<Settings>> {
    let mut names = HashSet::new();
    let mut all = Vec::new();
    for mut section in audit.sections("sinks") {
        let name = section
            .required("name")
            .and_then(|item| item.read_with(name));
        if let Some(name) = &name
            && !names.insert(name.clone())
        {
            section.fault("name", format!("another sink is called {name:?} already"));
        }
        let kind = section.required("kind").and_then(|item| item.read());
        let kind = kind.and_then(|kind: String| match &*kind {
            "otlp" => endpoint(&mut section, folder).map(Kind::Otlp),
            "postgres" => postgres(&mut section, folder).map(Kind::Postgres),
            "syslog" => syslog(&mut section, folder).map(Kind::Syslog),
            "webhook" => webhook(&mut section, folder).map(Kind::Webhook),
            _ => {
                section.fault(
                    "kind",
                    r#"must be "postgres", "syslog", "otlp" or "webhook""#,
                );
                None
            }
        });
        all.push(sink(&mut section, name, kind));
        section.finish();
    }
    all.into_iter().collect()
}

/// What all sinks have.
fn sink(section: &mut Section<'_>, name: Option<String>, kind: Option<Kind>) -> Option<Settings> {
    let kinds = section
        .optional("kinds")
        .map_or(Some(Vec::new()), |item| kinds(&item));
    let from = section.optional("from").map_or(Some(From::Now), |item| {
        item.read_with(|text: String| match text.as_str() {
            "now" => Ok(From::Now),
            "start" => Ok(From::Start),
            _ => Err(r#"must be "now" or "start""#),
        })
    });
    let is_postgres = matches!(kind, Some(Kind::Postgres(_)));
    let checkpoints = section.or("checkpoints", is_postgres);
    let batch = section.or("batch", if is_postgres { 5_000 } else { 500 });
    if batch.is_some_and(|batch| !(1..=10_000).contains(&batch)) {
        section.fault("batch", "must be between 1 and 10000 records");
    }
    let linger = section.or("linger", Duration::from_millis(200));
    if linger.is_some_and(|linger| linger > LONGEST_LINGER) {
        section.fault("linger", "must be at most 1m");
    }
    let timeout = section.or("timeout", Time(Duration::from_secs(30)));
    if timeout.is_some_and(|Time(limit)| !(SHORTEST..=LONGEST).contains(&limit)) {
        section.fault("timeout", "must be between 1s and 10m");
    }
    Some(Settings {
        name: name?,
        kind: kind?,
        kinds: kinds?,
        from: from?,
        checkpoints: checkpoints?,
        batch: batch?,
        batch_bytes: BATCH_BYTES,
        linger: linger?,
        timeout: timeout?.0,
    })
}

/// Which kinds of records are sent.
fn kinds(item: &Item<'_>) -> Option<Vec<&'static str>> {
    let known = audit::Kind::ALL.map(audit::Kind::as_str);
    let read = |item: &Item<'_>| {
        item.read_with(|text: String| {
            let kind = known.iter().find(|kind| **kind == text).copied();
            kind.ok_or_else(|| format!("must be one of {}", known.join(", ")))
        })
    };
    let elements = item.elements()?;
    if elements.is_empty() {
        item.fault("an empty list would send nothing: leave it out to send all");
        return None;
    }
    let read: Vec<_> = elements.iter().map(read).collect();
    read.into_iter().collect()
}

fn syslog(section: &mut Section<'_>, folder: &Path) -> Option<SyslogSettings> {
    let address = section
        .required("address")
        .and_then(|item| item.read_with(|text: String| address(&text)));
    let tls = section
        .optional("tls")
        .map(|item| console_tls::tls(&item, folder));
    let plaintext = section.or("danger_plaintext", false);
    if let (Some((host, _)), None, Some(false)) = (&address, &tls, plaintext)
        && !is_loopback(host)
    {
        section.fault("tls", PLAIN_SYSLOG);
    }
    let facility = section.optional("facility").map_or(Some(AUDIT), |item| {
        item.read_with(|text: String| facility(&text))
    });
    let hostname = section.optional("hostname").map_or(Some(None), |item| {
        item.read_with(|text: String| {
            let fits =
                (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
            fits.then_some(Some(text))
                .ok_or("must be 1 to 255 printable ASCII characters without blanks")
        })
    });
    let enterprise = section.or("enterprise", 32_473);
    let (host, port) = address?;
    let tls = match tls {
        Some(tls) => Some(tls?),
        None => None,
    };
    Some(SyslogSettings {
        place: Place { host, port, tls },
        facility: facility?,
        hostname: hostname?,
        enterprise: enterprise?,
    })
}

fn webhook(section: &mut Section<'_>, folder: &Path) -> Option<WebhookSettings> {
    let endpoint = endpoint(section, folder);
    let format = section
        .optional("format")
        .map_or(Some(Format::default()), |item| {
            item.read_with(|text: String| match text.as_str() {
                "array" => Ok(Format::Array),
                "lines" => Ok(Format::Lines),
                _ => Err(r#"must be "lines" or "array""#),
            })
        });
    let signing_secret = source(section.optional("signing_secret"), folder);
    Some(WebhookSettings {
        endpoint: endpoint?,
        format: format?,
        signing_secret: signing_secret?,
    })
}

/// A URL, and who the gateway is there.
fn endpoint(section: &mut Section<'_>, folder: &Path) -> Option<Endpoint> {
    let plaintext = section.or("danger_plaintext", false);
    let url = section
        .required("url")
        .and_then(|item| item.read_with(|text: String| url(&text, plaintext == Some(true))));
    let tls = section.optional("tls");
    if let (Some((false, ..)), Some(_)) = (&url, &tls) {
        section.fault("tls", "means nothing with an http:// URL");
    }
    let tls = tls.map_or(Some(Tls::default()), |item| console_tls::tls(&item, folder));
    let token = source(section.optional("token"), folder);
    let header = section.optional("token_header").map_or(Some(None), |item| {
        item.read_with(|text: String| {
            let header = HeaderName::try_from(text).map(Some);
            header.map_err(|_| "must be the name of a header")
        })
    });
    if let (Some(None), Some(Some(_))) = (&token, &header) {
        section.fault("token_header", "means nothing without token");
    }
    let (is_secure, host, port, authority, target) = url?;
    let (tls, token, header) = (tls?, token?, header?);
    Some(Endpoint {
        place: Place {
            host,
            port,
            tls: is_secure.then_some(tls),
        },
        authority,
        target,
        token: token.map(|source| Token { source, header }),
    })
}

pub(super) fn source(item: Option<Item<'_>>, folder: &Path) -> Option<Option<SecretSource>> {
    match item {
        None => Some(None),
        Some(item) => secret(&item, folder).map(|(source, _)| Some(source)),
    }
}

/// Whether it is https, host and port, what `Host` says, and path and query.
type Url = (bool, String, u16, HeaderValue, http::uri::PathAndQuery);

fn url(text: &str, plaintext_allowed: bool) -> Result<Url, String> {
    const WRONG: &str = "must be a URL such as \"https://collector.example.com:4318/v1/logs\"";
    let uri: http::Uri = text.parse().map_err(|_| WRONG)?;
    let authority = uri.authority().ok_or(WRONG)?;
    if authority.as_str().contains('@') || text.contains('#') {
        return Err("must hold no user name and no fragment: set `token`".to_owned());
    }
    let is_secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") if plaintext_allowed || is_loopback(authority.host()) => false,
        Some("http") => return Err(PLAIN_HTTP.to_owned()),
        _ => return Err(WRONG.to_owned()),
    };
    let port = authority
        .port_u16()
        .unwrap_or(if is_secure { 443 } else { 80 });
    let host = bare(authority.host());
    let named = HeaderValue::try_from(authority.as_str()).map_err(|_| WRONG)?;
    let root = http::uri::PathAndQuery::from_static("/");
    let target = uri.path_and_query().cloned().unwrap_or(root);
    Ok((is_secure, host, port, named, target))
}

fn address(text: &str) -> Result<(String, u16), &'static str> {
    const WRONG: &str = "must be a host and a port, such as \"logs.example.com:6514\"";
    let authority: http::uri::Authority = text.parse().map_err(|_| WRONG)?;
    match authority.port_u16() {
        Some(port) if port > 0 && !text.contains('@') => Ok((bare(authority.host()), port)),
        _ => Err(WRONG),
    }
}

/// An address of IPv6 without its brackets.
fn bare(host: &str) -> String {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned()
}

fn facility(text: &str) -> Result<u8, String> {
    let place = FACILITIES.iter().position(|name| *name == text);
    let number = place.and_then(|place| u8::try_from(place).ok());
    number.ok_or_else(|| format!("must be one of {}", FACILITIES.join(", ")))
}

/// By their numbers in RFC 5424 §6.2.1.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];
const AUDIT: u8 = 13;
const PLAIN_SYSLOG: &str = "is missing: the network would see every record. Set tls = {} (RFC 5425, usually \
     port 6514), or danger_plaintext = true";
const PLAIN_HTTP: &str = "plain HTTP would show every record to the network: use https://, or set danger_plaintext = true";
const BATCH_BYTES: usize = 4 * 1024 * 1024;
const LONGEST_LINGER: Duration = Duration::from_secs(60);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(600);
