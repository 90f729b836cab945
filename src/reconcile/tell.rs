//! What came of a comparison, as log lines and an audit record.

use std::borrow::Cow;
use std::sync::Arc;

use super::report::Report;
use super::{Finding, Last};
use crate::audit::{Auditor, Code, Kind, Record};

impl Last {
    /// Tells of a report: each finding once, and that there was a comparison each time. `begun` is
    /// the beginning of the record, which says who asked for it.
    pub async fn tell(&self, report: &Report, begun: Record, auditor: &Auditor) {
        let news = self.news(report);
        log(report, &news);
        let record = Record {
            operation: Some(Cow::Borrowed("audit.reconciled")),
            console: Some(Arc::from(report.console.as_str())),
            code: Some(report.failure().map_or(Code::Ok, Code::Refused)),
            detail: Some(Cow::Owned(report.summary())),
            ..begun
        };
        if let Err(error) = auditor.note(Kind::Admin, &record).await {
            auditor.report_unrecorded(Kind::Admin, &record, error);
        }
    }
}

fn log(report: &Report, news: &[&Finding]) {
    let console = report.console.as_str();
    // What the console says is quoted: it may have been chosen by whoever it is about.
    for finding in news.iter().take(LINES) {
        let (side, kind, time) = (finding.side, finding.kind, finding.time.as_str());
        let (seq, user, what) = (finding.seq, finding.user, finding.what.as_str());
        let user = user.map(|user| user.to_string());
        tracing::warn!(
            console,
            side,
            kind,
            time,
            seq,
            user,
            ?what,
            "the console's own log and the audit log do not match"
        );
    }
    let summary = report.summary();
    match report.failure() {
        None => {
            tracing::info!(console, %summary, "the audit log was compared with the console's own")
        }
        Some(code) => {
            tracing::warn!(console, code, %summary, "the audit log was compared with the console's own");
        }
    }
}

/// How many findings are told one by one.
const LINES: usize = 100;
