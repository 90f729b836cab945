//! `[[issuers]]`, and which of their tokens are a client.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::console_tls::tls;
use super::consoles::name;
use crate::client::jwt::{
    Conditions, Issuer, IssuerSettings, KeySource, Rules, algorithm, overlaps, place,
};
use crate::client::{Client, Directory};
use crate::config::reader::{Item, Section};
use crate::config::value::{self, Time};
use crate::upstream::Tls;

/// The issuers without faults, and the names of all that the file speaks of.
#[derive(Default)]
pub(super) struct Issuers {
    pub(super) settings: Vec<IssuerSettings>,
    names: HashSet<String>,
}

pub(super) fn issuers(root: &mut Section<'_>, folder: &Path) -> Issuers {
    let mut all = Issuers::default();
    let mut texts = HashSet::new();
    for mut section in root.sections("issuers") {
        let name = section
            .required("name")
            .and_then(|item| item.read_with(name));
        if let Some(name) = &name
            && !all.names.insert(name.clone())
        {
            section.fault("name", format!("another issuer is called {name:?} already"));
        }
        let source = section.optional("jwks");
        let source = source.map_or(Some(KeySource::Discovery), |item| keys(&item, folder));
        let issuer = section
            .required("issuer")
            .and_then(|item| issuer(&item, source.as_ref()));
        if let Some(issuer) = &issuer
            && !texts.insert(issuer.clone())
        {
            section.fault(
                "issuer",
                "another issuer has it: a token would not say whose it is",
            );
        }
        let rules = rules(&mut section, issuer);
        let times = times(&mut section);
        let tls = section
            .optional("tls")
            .map_or_else(|| Some(Tls::default()), |item| tls(&item, folder));
        if let Some(settings) = settings((name, rules, source, tls), times) {
            match Issuer::new(settings.clone()) {
                _ if section.is_alone() => all.settings.push(settings),
                Ok(_) => all.settings.push(settings),
                Err(error) => section.fault("tls", error.to_string()),
            }
        }
        section.finish();
    }
    all
}

fn settings(
    (name, rules, source, tls): (
        Option<String>,
        Option<Rules>,
        Option<KeySource>,
        Option<Tls>,
    ),
    times: Option<[Duration; 3]>,
) -> Option<IssuerSettings> {
    let [refresh, refetch, max_stale] = times?;
    Some(IssuerSettings {
        name: Arc::from(name?),
        rules: rules?,
        source: source?,
        tls: tls?,
        refresh,
        refetch,
        max_stale,
    })
}

/// What tokens have as `iss`, to the letter. It is a URL where the keys are found by it.
fn issuer(item: &Item<'_>, source: Option<&KeySource>) -> Option<String> {
    item.read_with(|text: String| {
        if text.is_empty() || text.len() > LONGEST_TEXT || text.contains(char::is_control) {
            return Err("must be what the tokens have as iss, to the letter");
        }
        if source == Some(&KeySource::Discovery) {
            place(&text)?;
            if text.contains('?') {
                return Err("must have no query: write where the keys are, jwks = { url = \"…\" }");
            }
        }
        Ok(text)
    })
}

/// Where the keys are. Those in a file must be good now.
fn keys(item: &Item<'_>, folder: &Path) -> Option<KeySource> {
    let mut section = item.section()?;
    let url = section.optional("url");
    let file = section.optional("file");
    let source = match (url, file) {
        (Some(url), None) => url
            .read_with(|text: String| place(&text))
            .map(KeySource::Url),
        (None, Some(file)) => value::path(&file, folder).and_then(|path| {
            let source = KeySource::File(path);
            match source.check() {
                _ if file.is_alone() => Some(source),
                Ok(()) => Some(source),
                Err(error) => {
                    file.fault(error.to_string());
                    None
                }
            }
        }),
        _ => {
            section.fault("", "needs exactly one of url and file");
            None
        }
    };
    section.finish();
    source
}

fn rules(section: &mut Section<'_>, issuer: Option<String>) -> Option<Rules> {
    let audience = section
        .required("audience")
        .and_then(|item| texts(&item, "at least one audience is needed"));
    let algorithms = match section.optional("algorithms") {
        None => algorithm("RS256")
            .zip(algorithm("ES256"))
            .map(|(rsa, ec)| vec![rsa, ec]),
        Some(item) => texts(&item, "at least one algorithm is needed").and_then(|_| {
            let elements = item.elements()?;
            let read = elements.iter().map(|item| {
                item.read_with(|text: String| {
                    algorithm(&text).ok_or(
                        "must be RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA: \
                         signatures that only the issuer can make",
                    )
                })
            });
            read.collect::<Vec<_>>().into_iter().collect()
        }),
    };
    let leeway = section
        .optional("leeway")
        .map_or(Some(Duration::from_secs(30)), |item| {
            within(
                &item,
                Duration::ZERO..=Duration::from_secs(300),
                "0s and 5m",
            )
        });
    let max_lifetime = section.optional("max_lifetime").map_or(Some(DAY), |item| {
        within(&item, MINUTE..=DAY * 30, "1m and 30d")
    });
    let kind = section.optional("type").map_or(Some(None), |item| {
        item.read_with(|text: String| match text.is_empty() {
            true => Err("must be what the tokens have as typ, such as \"at+jwt\""),
            false => Ok(Some(text)),
        })
    });
    Some(Rules {
        issuer: issuer?,
        audience: audience?,
        algorithms: algorithms?,
        leeway: leeway?,
        max_lifetime: max_lifetime?,
        kind: kind?,
    })
}

/// How often keys are fetched, how often because of an unknown one, and how old they may get.
fn times(section: &mut Section<'_>) -> Option<[Duration; 3]> {
    let refresh = section.or("refresh", Time(MINUTE * 10));
    let refetch = section.or("refetch", Time(MINUTE / 2));
    let max_stale = section.or("max_stale", Time(DAY));
    let [refresh, refetch, max_stale] = [refresh?.0, refetch?.0, max_stale?.0];
    if refresh < SECOND || refresh > DAY {
        section.fault("refresh", "must be between 1s and 24h");
        return None;
    }
    if refetch < SECOND || refetch > DAY {
        section.fault("refetch", "must be between 1s and 24h");
        return None;
    }
    if max_stale < refresh || max_stale > DAY * 7 {
        section.fault("max_stale", "must be between refresh and 7d");
        return None;
    }
    Some([refresh, refetch, max_stale])
}

fn within(
    item: &Item<'_>,
    range: std::ops::RangeInclusive<Duration>,
    shown: &str,
) -> Option<Duration> {
    item.read_with(|time: Duration| match range.contains(&time) {
        true => Ok(time),
        false => Err(format!("must be between {shown}")),
    })
}

/// A list that is not empty, of texts that are not.
fn texts(item: &Item<'_>, empty: &str) -> Option<Vec<String>> {
    let elements = item.elements()?;
    if elements.is_empty() {
        item.fault(empty);
        return None;
    }
    let read = |item: &Item<'_>| {
        item.read_with(|text: String| match text.is_empty() {
            true => Err("must not be empty"),
            false => Ok(text),
        })
    };
    let read: Vec<_> = elements.iter().map(read).collect();
    read.into_iter().collect()
}

/// The `jwt` of a client, with or without faults.
pub(super) struct Jwt<'a> {
    item: Item<'a>,
    conditions: Option<Conditions>,
    names_tenant: bool,
}

impl Jwt<'_> {
    /// Whether the client's tokens name their tenant.
    pub(super) fn names_tenant(&self) -> bool {
        self.names_tenant
    }
}

/// Reads which tokens a client is known by.
pub(super) fn jwt<'a>(section: &mut Section<'a>, issuers: &Issuers) -> Option<Jwt<'a>> {
    let tenant = section.optional("tenant_claim");
    let Some(item) = section.optional("jwt") else {
        if let Some(tenant) = tenant {
            tenant.fault("means nothing without jwt");
        }
        return None;
    };
    let names_tenant = tenant.is_some();
    let tenant_claim = tenant.map_or(Some(None), |item| {
        item.read_with(|text: String| match text.is_empty() {
            true => Err("must be the name of a claim"),
            false => Ok(Some(text)),
        })
    });
    Some(Jwt {
        conditions: conditions(&item, issuers, tenant_claim),
        item,
        names_tenant,
    })
}

fn conditions(
    item: &Item<'_>,
    issuers: &Issuers,
    tenant_claim: Option<Option<String>>,
) -> Option<Conditions> {
    let mut section = item.section()?;
    let issuer = section.required("issuer").and_then(|item| {
        item.read_with(|name: String| match issuers.names.contains(&name) {
            true => Ok(name),
            false => Err(format!("no issuer is called {name:?}")),
        })
    });
    let claims = section.required("claims").and_then(|item| claims(&item));
    section.finish();
    Some(Conditions {
        issuer: Arc::from(issuer?),
        claims: claims?,
        tenant_claim: tenant_claim?,
    })
}

fn claims(item: &Item<'_>) -> Option<BTreeMap<String, String>> {
    let entries = item.entries()?;
    if entries.is_empty() {
        item.fault("needs at least one claim: every token of the issuer would be this client");
        return None;
    }
    let read = entries.into_iter().map(|(name, item)| {
        let value = item.read_with(|text: String| match text.len() {
            1..=LONGEST_TEXT => Ok(text),
            _ => Err("must be what the claim is, or has among others: 1 to 1024 bytes"),
        });
        Some((name, value?))
    });
    read.collect::<Vec<_>>().into_iter().collect()
}

/// The clients that are known by tokens, to see whether one token could be two of them.
#[derive(Default)]
pub(super) struct Conditioned<'a> {
    names: Vec<Arc<str>>,
    items: Vec<Item<'a>>,
    all: Vec<Conditions>,
}

impl<'a> Conditioned<'a> {
    pub(super) fn add(&mut self, client: &Arc<Client>, jwt: Jwt<'a>, directory: &mut Directory) {
        let Some(conditions) = jwt.conditions else {
            return;
        };
        directory.add_jwt(client, conditions.clone());
        self.names.push(Arc::clone(&client.name));
        self.items.push(jwt.item);
        self.all.push(conditions);
    }

    pub(super) fn finish(self) {
        for (later, earlier) in overlaps(&self.all) {
            if let (Some(item), Some(name)) = (self.items.get(later), self.names.get(earlier)) {
                item.fault(format!(
                    "a token could be client {name:?} too: give one claim another value in each"
                ));
            }
        }
    }
}

const LONGEST_TEXT: usize = 1024;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
