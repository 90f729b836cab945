//! Comparing the audit log with the consoles' own, by hand.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::operator::Operator;
use super::reply::{Refusal, as_json, no_such_console, parse};
use crate::reconcile::ReconcileError;

/// What is to be compared.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// How far back.
    since_seconds: Option<u64>,
    console: Option<String>,
}

impl Admin {
    /// `POST /audit/reconcile`
    pub(super) async fn reconcile(
        &self,
        who: &Operator,
        body: &[u8],
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let asked: Asked = parse(body)?;
        let gateway = self.gateway();
        let reconciler = &gateway.reconciler;
        if let Some(console) = asked
            .console
            .as_deref()
            .filter(|name| !reconciler.has(name))
        {
            return Ok(no_such_console(console));
        }
        let window = asked.since_seconds.map(Duration::from_secs);
        let reports = match reconciler.run(window, asked.console.as_deref()).await {
            Err(error @ ReconcileError::TooShort { .. }) => {
                return Err(Refusal::bad_request(error.to_string()));
            }
            Err(error) => reconciler.failed(&error),
            Ok(reports) => reports,
        };
        for report in &reports {
            let begun = who.record("audit.reconciled");
            reconciler
                .last()
                .tell(report, begun, &gateway.auditor)
                .await;
        }
        let reconciled = reports.iter().all(|report| report.reconciled);
        let body = json!({"reconciled": reconciled, "consoles": reports});
        Ok(as_json(StatusCode::OK, &body))
    }
}
