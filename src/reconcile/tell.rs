//! What came of the last comparisons, and telling of it: as log lines and audit records.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::report::{Finding, Report};
use crate::audit::{Auditor, Code, Kind, Record};
use crate::clock::Timestamp;

/// What came of the last comparisons. It outlives a configuration.
#[derive(Debug, Default)]
pub struct Last {
    reports: Mutex<BTreeMap<String, (Timestamp, Report)>>,
    /// One at a time: a comparison costs the console some, and the gateway's memory too.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// What was told already.
    told: Mutex<HashSet<Finding>>,
}

impl Last {
    pub(super) fn keep_all(&self, reports: &[Report], now: Timestamp) {
        let mut kept = self.reports.lock();
        for report in reports {
            kept.insert(report.console.clone(), (now, report.clone()));
        }
    }

    /// What came of the last comparison with each console, and when that was.
    pub fn reports(&self) -> Vec<(Timestamp, Report)> {
        self.reports.lock().values().cloned().collect()
    }

    /// Forgets consoles that there are no more.
    pub fn keep(&self, consoles: impl Fn(&str) -> bool) {
        self.reports.lock().retain(|console, _| consoles(console));
    }

    /// Those findings that were not told before.
    pub fn news<'a>(&self, report: &'a Report) -> Vec<&'a Finding> {
        let mut told = self.told.lock();
        if told.len() > MOST_TOLD {
            told.clear();
        }
        let findings = report.findings.iter();
        findings
            .filter(|finding| told.insert((*finding).clone()))
            .collect()
    }

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
/// How many findings are remembered as told.
const MOST_TOLD: usize = 100_000;
