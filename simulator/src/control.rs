//! The simulator's own paths, `/_simulator/…`: counters, faults and revocation without the library.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::{self, ApiError, Reply};
use crate::faults::Fault;
use crate::inbound::OPERATION_LIMIT;
use crate::tokens::Revocation;
use crate::{Shared, tally};

/// Which tokens `POST /_simulator/revoke` kills; by default the access tokens of everybody.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Revoke {
    user: Option<Uuid>,
    /// Refresh tokens too, and with them all that the user's sessions were lent.
    sessions: bool,
}

/// The lives that `POST /_simulator/lifetimes` gives to new tokens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lifetimes {
    access_ms: u64,
    refresh_ms: u64,
}

pub(crate) async fn answer(
    shared: &Shared,
    method: &Method,
    path: &[&str],
    body: Incoming,
) -> Reply {
    let limited = Limited::new(body, OPERATION_LIMIT).collect().await;
    let body = limited.map(|body| body.to_bytes()).unwrap_or_default();
    carry_out(shared, method, path, &body).unwrap_or_else(ApiError::into_reply)
}

fn carry_out(
    shared: &Shared,
    method: &Method,
    path: &[&str],
    body: &[u8],
) -> Result<Reply, ApiError> {
    let value = match (method.as_str(), path) {
        ("GET", ["state"]) => to_json(&tally::state(shared))?,
        ("GET", ["requests"]) => to_json(&shared.seen.all())?,
        ("GET", ["faults"]) => to_json(&shared.faults.waiting())?,
        ("POST", ["faults"]) => {
            let faults = match from_json(body)? {
                Value::Array(faults) => faults,
                fault => vec![fault],
            };
            let faults: Vec<Fault> = typed(Value::Array(faults))?;
            let count = faults.len();
            faults
                .into_iter()
                .for_each(|fault| shared.faults.push(fault));
            json!({ "queued": count })
        }
        ("DELETE", ["faults"]) => {
            shared.faults.clear();
            json!({})
        }
        ("POST", ["reset"]) => {
            shared.clear();
            shared.faults.clear();
            json!({})
        }
        ("POST", ["revoke"]) => {
            let revoke: Revoke = if body.is_empty() {
                Revoke::default()
            } else {
                typed(from_json(body)?)?
            };
            let count = shared.tokens.revoke(Revocation {
                user: revoke.user,
                login: None,
                sessions: revoke.sessions,
                lent: revoke.sessions,
            });
            json!({ "revoked": count })
        }
        ("POST", ["lifetimes"]) => {
            let lifetimes: Lifetimes = typed(from_json(body)?)?;
            let access = Duration::from_millis(lifetimes.access_ms);
            shared
                .tokens
                .set_lifetimes(access, Duration::from_millis(lifetimes.refresh_ms));
            json!({})
        }
        _ => return Err(ApiError::not_found("The path")),
    };
    Ok(answer::json(StatusCode::OK, &value))
}

fn from_json(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::property("", error.to_string()))
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_json::from_value(value).map_err(|error| ApiError::property("", error.to_string()))
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(|error| ApiError::property("", error.to_string()))
}
