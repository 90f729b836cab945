//! What every request at the console, and every record, must be like.

use serde_json::Value;

use super::case::{BOTH, CANARY, KEY, Seen};
use super::upstream::{Reached, bearer};
use super::wire::shown;

pub(super) type Met = Result<(), String>;

/// Fails with a reason unless something holds.
pub(super) fn demand(holds: bool, otherwise: impl FnOnce() -> String) -> Met {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// What no request that reaches a console may lack or have.
pub(super) fn is_pure(request: &Reached, user: &str, console: &str) -> Met {
    let head = &request.head;
    let own = format!("Bearer {}", bearer(user));
    let authorization = head.all("authorization");
    demand(authorization == [own.as_bytes()], || {
        format!("Authorization at the console: {authorization:?}")
    })?;
    demand(head.all("host") == [console.as_bytes()], || {
        format!("Host at the console: {:?}", head.all("host"))
    })?;
    demand(request.trailers == 0, || {
        "trailers at the console".to_owned()
    })?;
    let folded = head.fields.iter().map(|(name, _)| fold(name));
    let foreign = folded.filter(|name| name != "authorization" && is_owned(name));
    let foreign: Vec<String> = foreign.collect();
    demand(foreign.is_empty(), || format!("{foreign:?} at the console"))?;
    demand(!request.target.ends_with("/smuggled"), || {
        "a request that nobody sent".to_owned()
    })
}

pub(super) fn is_as_sent(request: &Reached, seen: &Seen) -> Met {
    let (method, target) = (&request.method, &request.target);
    demand(request.complete, || {
        "an unfinished request at the console".to_owned()
    })?;
    demand(*method == seen.method && *target == seen.target, || {
        format!("{method} {target} at the console")
    })?;
    demand(request.body == seen.body, || {
        format!("the body {} at the console", shown(&request.body))
    })?;
    for (name, value) in &seen.has {
        let values = request.head.all(name);
        demand(values == [value.as_slice()], || {
            format!("{name} at the console: {values:?}")
        })?;
    }
    for name in &seen.lacks {
        demand(request.head.all(name).is_empty(), || {
            format!("{name} at the console")
        })?;
    }
    Ok(())
}

pub(super) fn is_clean(record: &Value) -> Met {
    let text = record.to_string();
    for raw in [CANARY, KEY, BOTH] {
        demand(!text.contains(raw), || {
            format!("the record holds {raw:?}: {text}")
        })?;
    }
    Ok(())
}

/// The letters and digits of a name.
fn fold(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Whether a name means something to the gateway, or to what stands between it and the console, so
/// that no caller may set it.
fn is_owned(folded: &str) -> bool {
    const NAMES: [&str; 24] = [
        "authorization",
        "cfconnectingip",
        "clientip",
        "connection",
        "cookie",
        "expect",
        "forwarded",
        "http2settings",
        "keepalive",
        "proxy",
        "proxyauthorization",
        "proxyconnection",
        "remoteuser",
        "te",
        "trailer",
        "trueclientip",
        "upgrade",
        "via",
        "xapikey",
        "xhttpmethod",
        "xmethodoverride",
        "xrealip",
        "xtenant",
        "xclientip",
    ];
    const STARTS: [&str; 6] = [
        "xforwarded",
        "xoriginal",
        "xrewrite",
        "xaccel",
        "xhttpmethodoverride",
        "xgateway",
    ];
    NAMES.contains(&folded) || STARTS.iter().any(|start| folded.starts_with(start))
}
