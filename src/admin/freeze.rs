//! The emergency stop in operators' hands.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::Admin;
use super::operator::Operator;
use super::reply::{Refusal, as_json, parse};
use crate::audit::{Kind, Record, Unavailable};
use crate::freeze::{Freezer, Hold, Scope};
use crate::policy::says_nothing;

/// What is to be frozen or thawed: neither of them is everything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    tenant: Option<String>,
    client: Option<String>,
    reason: Option<String>,
}

impl Admin {
    /// `GET /frozen`
    pub(super) fn list_frozen(&self) -> Response<Full<Bytes>> {
        let body = json!({"frozen": self.gateway().freezer.holds()});
        as_json(StatusCode::OK, &body)
    }

    /// `POST /freeze`: depends on neither audit nor disk. What of them fails is told.
    pub(super) async fn freeze(
        &self,
        who: &Operator,
        body: &[u8],
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let mut record = who.record("freeze");
        let mut warnings = Vec::new();
        let asked = self.asked(body, &mut record, &mut warnings);
        let (scope, reason) = self.or_record(&record, asked).await?;
        let recorded = self.record_if_possible(&record).await;
        if !recorded {
            warnings.push("it could not be recorded in the audit log in time".to_owned());
        }
        let hold = Hold::new(scope, self.gateway().clock.now(), who.to_string(), reason);
        let earlier = self.gateway().freezer.hold(hold.clone());
        tracing::warn!(%hold, recorded, "an operator has frozen");
        let kept = on_disk(&self.gateway().freezer, Freezer::keep).await;
        if let Err(error) = &kept {
            tracing::error!(%error, "a freeze is in force, but would not survive a restart");
            warnings.push(format!(
                "it is in force, but would not survive a restart yet: {error}"
            ));
        }
        let outlives = match &kept {
            Ok(_) => "it outlives a restart",
            Err(_) => "it would not outlive a restart",
        };
        self.record_done(&record, "frozen", format!("{}: {outlives}", hold.scope));
        let (was_frozen, hold) = (earlier.is_some(), earlier.unwrap_or(hold));
        let body = json!({"frozen": hold, "was_frozen": was_frozen, "recorded": recorded,
            "kept": kept.is_ok(), "warnings": warnings});
        Ok(as_json(StatusCode::OK, &body))
    }

    /// Records a stop, if that can be done in a second: it must not wait for longer. What comes too
    /// late for that may still be recorded.
    async fn record_if_possible(&self, record: &Record) -> bool {
        let gateway = self.gateway();
        let auditor = &gateway.auditor;
        let noted = timeout(PATIENCE, auditor.note_durable(Kind::Admin, record)).await;
        let error = match noted {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(_) => Unavailable::Disk,
        };
        auditor.report_unrecorded(Kind::Admin, record, error);
        false
    }

    /// `POST /thaw`: only what is recorded, and off the disk, is thawed.
    pub(super) async fn thaw(
        &self,
        who: &Operator,
        body: &[u8],
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let mut record = who.record("thaw");
        let asked = self.asked(body, &mut record, &mut Vec::new());
        let asked = asked.and_then(|(scope, _)| {
            let holds = self.gateway().freezer.holds();
            match holds.iter().find(|hold| hold.is_of(&scope)) {
                Some(hold) => Ok(hold.scope.clone()),
                None => Err(not_frozen(&scope, &holds)),
            }
        });
        let scope = self.or_record(&record, asked).await?;
        self.record_first(&record).await?;
        let of_scope = scope.clone();
        let thawed = on_disk(&self.gateway().freezer, move |freezer| {
            freezer.thaw(&of_scope)
        })
        .await;
        let thawed = thawed.map_err(|error| {
            let message = format!("nothing is thawed: {error}");
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "state_unavailable",
                message,
            )
        });
        let left = self.gateway().freezer.holds();
        let thawed = thawed.and_then(|hold| hold.ok_or_else(|| not_frozen(&scope, &left)));
        let thawed = self.or_record(&record, thawed).await?;
        tracing::warn!(%who, hold = %thawed, "an operator has thawed");
        self.record_done(&record, "thawed", thawed.scope.to_string());
        let body = json!({"thawed": thawed, "still_frozen": left});
        Ok(as_json(StatusCode::OK, &body))
    }

    /// What a body means, and that in the record. Names need not be in the configuration: a client
    /// that is only planned, or was taken out by mistake, can be frozen as well.
    fn asked(
        &self,
        body: &[u8],
        record: &mut Record,
        warnings: &mut Vec<String>,
    ) -> Result<(Scope, Option<String>), Refusal> {
        let asked: Asked = parse(body)?;
        let reason = checked_reason(asked.reason)?;
        record.reason.clone_from(&reason);
        let scope = match (asked.tenant, asked.client) {
            (None, None) => Scope::Everything,
            (Some(tenant), None) => {
                let known = self.gateway().tenants.get(&tenant);
                if known.is_none() {
                    warnings.push(unknown("tenant", &tenant));
                }
                let name = known.map_or(tenant, |known| known.id.to_string());
                record.tenant = Some(Arc::from(name.as_str()));
                Scope::Tenant(name)
            }
            (None, Some(client)) => {
                if self.gateway().clients.named(&client).is_none() {
                    warnings.push(unknown("client", &client));
                }
                record.client = Some(Arc::from(client.as_str()));
                Scope::Client(client)
            }
            (Some(_), Some(_)) => {
                let message = "name a tenant or a client, or neither for everything";
                return Err(Refusal::bad_request(message));
            }
        };
        if !scope.is_possible() {
            return Err(Refusal::bad_request(Scope::NAMES));
        }
        record.detail = Some(Cow::Owned(scope.to_string()));
        Ok((scope, reason))
    }
}

/// Does what waits for the disk, and does not wait for ever.
async fn on_disk<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
    freezer: &Arc<Freezer>,
    work: impl FnOnce(&Freezer) -> Result<T, E> + Send + 'static,
) -> Result<T, String> {
    let freezer = Arc::clone(freezer);
    let working = tokio::task::spawn_blocking(move || work(&freezer));
    match timeout(DISK_TIME, working).await {
        Ok(Ok(result)) => result.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the disk does not answer".to_owned()),
    }
}

fn not_frozen(scope: &Scope, holds: &[Hold]) -> Refusal {
    let frozen: Vec<String> = holds.iter().map(|hold| hold.scope.to_string()).collect();
    let frozen = match frozen.is_empty() {
        true => "nothing is".to_owned(),
        false => format!("frozen: {}", frozen.join(", ")),
    };
    Refusal::not_found(format!("{scope} is not frozen by itself; {frozen}"))
}

fn unknown(what: &str, name: &str) -> String {
    format!("no {what} of the running configuration is called {name:?}")
}

/// A reason of bearable length; one of which nothing can be seen is none.
pub(super) fn checked_reason(reason: Option<String>) -> Result<Option<String>, Refusal> {
    let reason = reason.filter(|reason| !says_nothing(reason));
    if reason.as_ref().is_some_and(|it| it.len() > LONGEST_REASON) {
        let message = format!("a reason may have {LONGEST_REASON} bytes");
        return Err(Refusal::bad_request(message));
    }
    Ok(reason)
}

/// How long a stop waits for its record.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the file is waited for.
const DISK_TIME: Duration = Duration::from_secs(6);
const LONGEST_REASON: usize = 512;
