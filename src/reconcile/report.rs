//! What came of a comparison.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::compare::What;
use crate::clock::Timestamp;

/// How a console's own log and the gateway's fit together.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The console.
    pub console: String,
    /// Whether all was read, and each has what the other has.
    pub reconciled: bool,
    /// The name of the account that is the gateway's there.
    pub account: Option<String>,
    /// From when on was compared.
    pub from: Option<String>,
    /// Until when.
    pub to: Option<String>,
    /// Why nothing was compared.
    pub error: Option<String>,
    /// What could not be read or understood: because of it more may not match than is told.
    pub problems: Vec<String>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// How many entries of the console were looked at.
    pub logged: usize,
    /// How many things that the gateway did.
    pub done: usize,
    /// How many of them are the same.
    pub matched: usize,
    /// How many entries of the gateway's accounts the gateway has no record of, by sort.
    pub past_gateway: BTreeMap<&'static str, u64>,
    /// How many things that the gateway did the console has not logged, by sort.
    pub not_logged: BTreeMap<&'static str, u64>,
    /// The first of both.
    pub findings: Vec<Finding>,
}

/// One thing that only one of both has.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Finding {
    /// `past_gateway` or `not_logged`.
    pub side: &'static str,
    /// What sort of thing.
    pub kind: &'static str,
    /// When, by the clock of whoever has it.
    pub time: String,
    /// The number of the gateway's record.
    pub seq: Option<u64>,
    /// The id of the request.
    pub request_id: Option<String>,
    /// Who did it.
    pub user: Option<Uuid>,
    /// Of which organization.
    pub organization: Option<Uuid>,
    /// The console's words, or the name of the operation.
    pub what: String,
}

/// What the side of the console has.
pub(super) const PAST_GATEWAY: &str = "past_gateway";
/// What the side of the gateway has.
pub(super) const NOT_LOGGED: &str = "not_logged";

impl Report {
    /// Of a console with which nothing could be compared.
    pub(super) fn failed(console: &str, error: String) -> Self {
        Self {
            console: console.to_owned(),
            error: Some(error),
            ..Self::default()
        }
    }

    /// How many do not match.
    pub fn unreconciled(&self) -> u64 {
        self.past_gateway.values().sum::<u64>() + self.not_logged.values().sum::<u64>()
    }

    /// How it ended, as audit records name it; `None` if all is well.
    pub fn failure(&self) -> Option<&'static str> {
        if self.reconciled {
            None
        } else if self.unreconciled() > 0 {
            Some("unreconciled")
        } else {
            Some("not_compared")
        }
    }

    pub(super) fn count(&mut self, side: &'static str, what: What) {
        let counts = match side {
            PAST_GATEWAY => &mut self.past_gateway,
            _ => &mut self.not_logged,
        };
        *counts.entry(what.as_str()).or_default() += 1;
    }

    pub(super) fn add(&mut self, finding: Finding) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// In a few words.
    pub fn summary(&self) -> String {
        if let Some(error) = &self.error {
            return error.clone();
        }
        let (past, lost) = (&self.past_gateway, &self.not_logged);
        let mut text = format!("{} matched", self.matched);
        for (counts, what) in [
            (past, "past the gateway"),
            (lost, "not logged by the console"),
        ] {
            for (kind, count) in counts {
                text += &format!(", {count} {kind} {what}");
            }
        }
        for problem in &self.problems {
            text += "; ";
            text += problem;
        }
        text
    }
}

/// As records write times.
pub(super) fn stamp(at: Timestamp) -> String {
    at.text().iter().copied().map(char::from).collect()
}

/// How many findings are told one by one; all are counted.
const MOST_FINDINGS: usize = 1000;
