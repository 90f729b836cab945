//! Whether requests can be served, and why not.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value, json};

use super::reply::{as_json, no_such_console};
use crate::audit::Health;
use crate::gateway::{Gateway, Live};
use crate::listen::Drain;
use crate::roster::Report;
use crate::token::{SessionState, SurveyFilter, TokenKind, TokenState, TokenView};
use crate::upstream::{AddressState, ConsoleId};

/// Ready means: the process is not draining, not everything is frozen, audit works, and at least one
/// console has a usable session; with `?console=NAME`, that one.
pub(super) fn answer(
    live: &Live,
    drain: &Drain,
    query: Option<&str>,
    trusted: bool,
) -> Response<Full<Bytes>> {
    let gateway = &*live.now();
    let asked = query.and_then(|query| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix("console="))
            .map(str::to_owned)
    });
    let mut names: Vec<&ConsoleId> = gateway.consoles.keys().collect();
    names.sort();
    if let Some(asked) = &asked {
        names.retain(|name| name.as_str() == asked);
        if names.is_empty() {
            return no_such_console(asked);
        }
    }
    let audit = gateway.auditor.health();
    let states: Vec<(&ConsoleId, SessionState)> = names
        .into_iter()
        .map(|name| (name, gateway.broker.session_state(name)))
        .collect();
    let usable = states
        .iter()
        .any(|(_, state)| matches!(state, SessionState::Usable { .. }));
    let draining = drain.has_begun();
    let (freezes, everything) = gateway.freezer.state();
    let ready = usable && audit == Health::Working && !draining && everything.is_none();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if !trusted {
        return as_json(status, &json!({"ready": ready}));
    }
    let consoles: Map<String, Value> = states
        .iter()
        .map(|(name, state)| (name.to_string(), tell(gateway, name, state)))
        .collect();
    let audit = match audit {
        Health::Failing { reason, .. } => json!({"failing": &*reason}),
        Health::Working => json!("working"),
    };
    let frozen = match everything {
        Some(hold) => json!({"freezes": freezes, "everything": hold.to_string()}),
        None => json!({"freezes": freezes}),
    };
    as_json(
        status,
        &json!({"ready": ready, "draining": draining, "audit": audit, "consoles": consoles,
            "frozen": frozen, "config": config(live, gateway)}),
    )
}

/// By which configuration, and what came of the last attempt to load another.
fn config(live: &Live, gateway: &Gateway) -> Value {
    let mut told = json!({"version": &*gateway.version});
    if let (Some(last), Some(told)) = (live.last_reload(), told.as_object_mut()) {
        let text = last.at.text();
        let at = String::from_utf8_lossy(&text);
        told.insert(
            "last_reload".to_owned(),
            json!({"succeeded": last.succeeded, "time": at}),
        );
    }
    told
}

fn tell(gateway: &Gateway, name: &ConsoleId, state: &SessionState) -> Value {
    let mut told = describe(state);
    if let Some(told) = told.as_object_mut() {
        tell_sessions(gateway, name, told);
    }
    if let (Some(report), Some(told)) = (gateway.roster.report(name), told.as_object_mut()) {
        told.insert("directory".to_owned(), directory(&report));
    }
    if let (Some(console), Some(told)) = (gateway.consoles.get(name), told.as_object_mut()) {
        let open = console.breaker().is_open();
        let breaker = if open { "open" } else { "closed" };
        told.insert("breaker".to_owned(), breaker.into());
        let waiting = console.shares().waiting();
        told.insert("turns_waiting".to_owned(), waiting.into());
        let addresses = console.addresses();
        if !addresses.is_empty() {
            let addresses = addresses.iter().map(address).collect::<Vec<_>>();
            told.insert("addresses".to_owned(), addresses.into());
        }
    }
    told
}

/// Why a session that works cannot be renewed, as after a new secret that the console refuses; and how
/// it stands with the accounts of tenants that log in by themselves.
fn tell_sessions(gateway: &Gateway, name: &ConsoleId, told: &mut Map<String, Value>) {
    let filter = SurveyFilter {
        console: Some(name.clone()),
        kind: Some(TokenKind::Session),
        ..SurveyFilter::default()
    };
    let mut views = gateway.broker.survey(&filter, usize::MAX);
    if let Some(own) = views.iter().find(|view| view.tenant.is_none())
        && let (Some(_), Some((error, retry_in))) = (&own.held, &own.trouble)
    {
        let renewal = json!({"error": error.to_string(), "retry_in_seconds": retry_in.max(&0)});
        told.insert("renewal".to_owned(), renewal);
    }
    // Those that were removed from the configuration are not asked about any more.
    let is_there = |tenant: &str| gateway.tenants.get(tenant).is_some();
    views.retain(|view| view.tenant.as_deref().is_some_and(is_there));
    if views.is_empty() {
        return;
    }
    views.sort_by_key(|view| view.trouble.is_none());
    let accounts: Vec<Value> = views.iter().take(MOST_ACCOUNTS).map(account).collect();
    told.insert("accounts".to_owned(), accounts.into());
}

fn account(view: &TokenView) -> Value {
    let session = match (&view.held, view.state) {
        (Some(_), _) => "usable",
        (None, TokenState::Acquiring) => "logging in",
        (None, TokenState::CoolingOff) => "failed",
        (None, _) => "none",
    };
    let mut told = json!({"tenant": view.tenant.as_deref(), "session": session});
    if let (Some((error, retry_in)), Some(told)) = (&view.trouble, told.as_object_mut()) {
        told.insert("error".to_owned(), error.to_string().into());
        told.insert("retry_in_seconds".to_owned(), (*retry_in).max(0).into());
    }
    told
}

fn describe(state: &SessionState) -> Value {
    match state {
        SessionState::Acquiring => json!({"session": "logging in"}),
        SessionState::CoolingOff { error, retry_in } => json!({
            "session": "failed", "error": error.to_string(), "retry_in_seconds": retry_in.as_secs(),
        }),
        SessionState::None => json!({"session": "none"}),
        SessionState::Usable { expires_in } => json!({
            "session": "usable", "expires_in_seconds": expires_in.as_secs(),
        }),
    }
}

fn address(state: &AddressState) -> Value {
    json!({
        "address": state.address, "name": state.name, "healthy": state.healthy,
        "error": state.error,
    })
}

/// What of a console's directory is known, and what is wrong with it.
fn directory(report: &Report) -> Value {
    let refused = report.refused.iter();
    let refused: Vec<Value> = refused
        .map(|(tenant, code)| json!({"tenant": &**tenant, "code": code}))
        .collect();
    let ambiguous: Vec<&str> = report.ambiguous.iter().map(|name| &**name).collect();
    json!({
        "read_seconds_ago": report.read.map(|read| read.elapsed().as_secs()),
        "error": report.error,
        "companies": report.companies,
        "users_unchecked": report.is_unchecked,
        "tenants": report.states,
        "refused": refused,
        "ambiguous": ambiguous,
    })
}

/// How many accounts of tenants are told of, those in trouble first.
const MOST_ACCOUNTS: usize = 20;
