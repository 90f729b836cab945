//! A reload of the configuration, as operators ask for it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Admin;
use super::operator::Operator;
use super::reply::{Refusal, as_json, parse};
use crate::audit::{Code, Record};

/// Has the configuration loaded anew: one reload at a time, in the order in which they were asked
/// for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<Asked>);

/// Somebody wants the configuration loaded anew.
#[derive(Debug)]
pub struct Asked {
    /// The beginning of the record of that: who asks, and why.
    pub by: Record,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Outcome>,
}

/// What came of a reload.
pub type Outcome = Result<Loaded, NotLoaded>;

/// The configuration was loaded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Loaded {
    /// Its version.
    pub version: Arc<str>,
    /// The version before.
    pub before: Arc<str>,
    /// What is different.
    pub changes: Vec<String>,
    /// What would be different after a restart, and is not now.
    pub restarts: Vec<String>,
    /// What else an operator should know.
    pub warnings: Vec<String>,
}

/// The configuration was not loaded: everything goes on as it was.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotLoaded {
    /// The file has faults.
    #[error("the file has faults: nothing was changed")]
    Faulty {
        /// All of them.
        faults: Vec<String>,
    },
    /// This is no time for it.
    #[error("{0}: nothing was changed")]
    NotNow(&'static str),
    /// What cannot be recorded is not done.
    #[error("it cannot be recorded, so nothing was changed: {0}")]
    Unrecorded(String),
}

impl Reloads {
    /// Both ends: whoever asks, and whoever does it.
    pub fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Has the configuration loaded anew, and waits for what comes of it.
    ///
    /// # Errors
    /// Says why it was not loaded.
    pub async fn ask(&self, by: Record) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        if self.0.try_send(Asked { by, answer }).is_err() {
            return Err(NotLoaded::NotNow("other reloads wait already"));
        }
        let ended = |_| Err(NotLoaded::NotNow("the process is ending"));
        outcome.await.unwrap_or_else(ended)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    reason: Option<String>,
}

impl Admin {
    /// `POST /reload`: of the file that the process was started with.
    pub(super) async fn reload(
        &self,
        who: &Operator,
        body: &[u8],
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let mut record = who.record("config.reload");
        let wanted: Result<Wanted, _> = parse(body);
        let reason = wanted.and_then(|wanted| super::freeze::checked_reason(wanted.reason));
        record.reason = self.or_record(&record, reason).await?;
        let none = || Refusal::not_found("this gateway was not started from a file");
        let reloads = self.reloads.as_ref().ok_or_else(none)?;
        let late = || {
            let message = "it takes longer than expected; the log will tell what comes of it";
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, "timed_out", message)
        };
        let outcome = timeout(PATIENCE, reloads.ask(record.clone())).await;
        match outcome.map_err(|_| late())? {
            Ok(loaded) => Ok(as_json(
                StatusCode::OK,
                &json!({"version": &*loaded.version, "before": &*loaded.before,
                    "changes": loaded.changes, "restarts": loaded.restarts,
                    "warnings": loaded.warnings}),
            )),
            Err(error) => {
                if let NotLoaded::NotNow(why) = error {
                    record.code = Some(Code::Refused("not_now"));
                    record.detail = Some(Cow::Borrowed(why));
                    self.record_use(record, None).await;
                }
                Ok(refused(&error))
            }
        }
    }
}

fn refused(error: &NotLoaded) -> Response<Full<Bytes>> {
    let (status, code) = match error {
        NotLoaded::Faulty { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "bad_config"),
        NotLoaded::NotNow(_) => (StatusCode::CONFLICT, "not_now"),
        NotLoaded::Unrecorded(_) => (StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable"),
    };
    let mut body = json!({"error": error.to_string(), "code": code});
    if let (NotLoaded::Faulty { faults }, Some(body)) = (error, body.as_object_mut()) {
        body.insert("faults".to_owned(), json!(faults));
    }
    as_json(status, &body)
}

/// How many reloads may wait.
const WAITING: usize = 4;
/// How long an operator waits for one.
const PATIENCE: Duration = Duration::from_secs(25);
