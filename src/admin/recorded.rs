//! What operators do by hand, in the audit log: first that it is about to be done, then how it ended.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::Admin;
use super::operator::Operator;
use super::reply::Refusal;
use crate::audit::{Code, Kind, Record};

impl Admin {
    /// Records what is about to be done: it is on the disk when this returns.
    pub(super) async fn record_first(&self, record: &Record) -> Result<(), Refusal> {
        let gateway = self.gateway();
        let noted = gateway.auditor.note_durable(Kind::Admin, record);
        let why = match tokio::time::timeout(AUDIT_TIME, noted).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the disk does not answer".to_owned(),
        };
        let message = format!("it cannot be recorded, so it is not done: {why}");
        Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "audit_unavailable",
            message,
        ))
    }

    /// Records a use that changes nothing, or was refused.
    pub(super) async fn record_use(&self, mut record: Record, refused: Option<&Refusal>) {
        if let Some(refusal) = refused {
            record.code = Some(Code::Refused(refusal.code()));
            let what = record.detail.take();
            record.detail = Some(match what {
                Some(what) => Cow::Owned(format!("{what}: {refusal}")),
                None => Cow::Owned(refusal.to_string()),
            });
        }
        let gateway = self.gateway();
        let auditor = &gateway.auditor;
        if let Err(error) = auditor.note(Kind::Admin, &record).await {
            auditor.report_unrecorded(Kind::Admin, &record, error);
        }
    }

    /// Records a use that is refused.
    pub(super) async fn or_record<T>(
        &self,
        record: &Record,
        result: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if let Err(refusal) = &result {
            self.record_use(record.clone(), Some(refusal)).await;
        }
        result
    }

    /// Records how something ended that was recorded before it was done, and waits for nothing: it is
    /// done, whatever becomes of this.
    pub(super) fn record_done(&self, begun: &Record, operation: &'static str, detail: String) {
        let record = Record {
            operation: Some(Cow::Borrowed(operation)),
            code: Some(Code::Ok),
            detail: Some(Cow::Owned(detail)),
            ..begun.clone()
        };
        let auditor = self.gateway().auditor.clone();
        drop(tokio::spawn(async move {
            if let Err(error) = auditor.note(Kind::Admin, &record).await {
                auditor.report_unrecorded(Kind::Admin, &record, error);
            }
        }));
    }

    /// Records that somebody was turned away who may not operate: once a second at most, since anybody
    /// who reaches the listener can have it done.
    pub(super) async fn record_stranger(&self, who: &Operator, what: String, refusal: &Refusal) {
        let now = Instant::now();
        {
            let mut last = self.last_stranger.lock();
            if last.is_some_and(|last| now < last + STRANGERS_EVERY) {
                return;
            }
            *last = Some(now);
        }
        let record = Record {
            detail: Some(Cow::Owned(what)),
            ..who.record("admin.refused")
        };
        self.record_use(record, Some(refusal)).await;
    }
}

/// How long what is to be recorded first is waited for.
const AUDIT_TIME: Duration = Duration::from_secs(5);
/// How often it is recorded that somebody may not operate.
const STRANGERS_EVERY: Duration = Duration::from_secs(1);
