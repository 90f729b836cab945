//! The answer, for people and for programs.

use std::fmt;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::policy::{Effect, Finding};

/// What would become of a request.
#[derive(Debug)]
pub struct Told {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) operation: Option<String>,
    pub(super) client: Option<String>,
    pub(super) credential: Option<String>,
    pub(super) tenant: Option<String>,
    /// The mapping rule that named the tenant.
    pub(super) mapping: Option<String>,
    pub(super) console: Option<String>,
    pub(super) target: Option<Uuid>,
    pub(super) acts_as: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) rules: Vec<Finding>,
    pub(super) sent: Option<Sent>,
    pub(super) at_run_time: Vec<String>,
    pub(super) not_looked_at: Vec<String>,
    pub(super) verdict: Verdict,
}

/// What becomes of it.
#[derive(Debug)]
pub enum Verdict {
    /// It goes to the console.
    Allowed,
    /// Only the running gateway can say.
    Open,
    /// The gateway refuses it.
    Refused(Refusal),
}

/// The same in a word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It goes to the console.
    Allowed,
    /// Only the running gateway can say.
    Open,
    /// The gateway refuses it.
    Refused,
}

/// Why it is refused, and what would change that.
#[derive(Debug)]
pub struct Refusal {
    /// The stable code.
    pub code: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// What the caller is told.
    pub message: String,
    /// What the audit record says besides.
    pub detail: Option<String>,
    /// What would change it.
    pub changes: Vec<String>,
}

/// What the console would get.
#[derive(Debug)]
pub struct Sent {
    /// Where it goes.
    pub url: String,
    /// The names of the caller's headers that pass.
    pub headers: Vec<String>,
    /// Those that do not.
    pub stripped: Vec<String>,
    /// What stands in the one `Authorization`.
    pub authorization: String,
    /// Whether that can change nothing.
    pub read_only: bool,
}

impl Told {
    pub(super) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            operation: None,
            client: None,
            credential: None,
            tenant: None,
            mapping: None,
            console: None,
            target: None,
            acts_as: None,
            rule: None,
            rules: Vec::new(),
            sent: None,
            at_run_time: Vec::new(),
            not_looked_at: Vec::new(),
            verdict: Verdict::Open,
        }
    }

    /// What becomes of the request.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The stable code: `ok`, that of the refusal, or `open`.
    pub fn code(&self) -> &'static str {
        match &self.verdict {
            Verdict::Allowed => "ok",
            Verdict::Open => "open",
            Verdict::Refused(refusal) => refusal.code,
        }
    }

    /// Everything, with names that stay.
    pub fn json(&self) -> Value {
        let refusal = match &self.verdict {
            Verdict::Refused(refusal) => Some(refusal),
            Verdict::Allowed | Verdict::Open => None,
        };
        let rules = self.rules.iter().filter(|finding| finding.covers_path());
        let rules: Vec<Value> = rules
            .map(|finding| {
                let effect = match finding.effect {
                    Effect::Allow => "allow",
                    Effect::Deny => "deny",
                };
                json!({"rule": &*finding.rule, "effect": effect, "applies": finding.applies(),
                    "text": finding.to_string()})
            })
            .collect();
        let sent = self.sent.as_ref().map(|sent| {
            json!({"url": sent.url, "headers": sent.headers, "stripped": sent.stripped,
                "authorization": sent.authorization, "read_only": sent.read_only})
        });
        json!({
            "outcome": match self.outcome() {
                Outcome::Allowed => "allowed",
                Outcome::Open => "open",
                Outcome::Refused => "refused",
            },
            "code": self.code(),
            "status": refusal.map(|refusal| refusal.status),
            "message": refusal.map(|refusal| &refusal.message),
            "detail": refusal.and_then(|refusal| refusal.detail.as_ref()),
            "changes": refusal.map_or(&[][..], |refusal| &refusal.changes),
            "method": self.method,
            "path": self.path,
            "operation": self.operation,
            "client": self.client,
            "credential": self.credential,
            "tenant": self.tenant,
            "mapping": self.mapping,
            "console": self.console,
            "target": self.target.map(|uid| json!({"uid": uid})),
            "acts_as": self.acts_as,
            "rule": self.rule,
            "rules": rules,
            "sent": sent,
            "at_run_time": self.at_run_time,
            "not_looked_at": self.not_looked_at,
        })
    }

    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Allowed => write!(f, "allowed")?,
            Verdict::Open => write!(f, "decided at run time")?,
            Verdict::Refused(refusal) => write!(f, "refused: {} {}", refusal.status, refusal.code)?,
        }
        writeln!(f, "  {} {}", self.method, self.path)
    }
}

/// Short lines, the verdict first.
impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        let client = match (&self.client, &self.credential) {
            (Some(client), Some(credential)) => Some(format!("{client}, by {credential}")),
            (client, _) => client.clone(),
        };
        line(f, "client", client.as_deref())?;
        let tenant = match (&self.tenant, &self.mapping) {
            (Some(tenant), Some(rule)) => Some(format!("{tenant}, by {rule}")),
            (tenant, _) => tenant.clone(),
        };
        line(f, "tenant", tenant.as_deref())?;
        line(f, "console", self.console.as_deref())?;
        line(f, "acts as", self.acts_as.as_deref())?;
        line(f, "rule", self.rule.as_deref())?;
        if let Verdict::Refused(refusal) = &self.verdict {
            line(f, "told", Some(&refusal.message))?;
            let detail = refusal.detail.as_deref();
            line(
                f,
                "because",
                detail.filter(|detail| *detail != refusal.message),
            )?;
            lines(f, "change", &refusal.changes)?;
        }
        if let Some(sent) = &self.sent {
            line(f, "sent to", Some(&sent.url))?;
            let read_only = if sent.read_only { ", read-only" } else { "" };
            let authorization = format!("{}{read_only}", sent.authorization);
            line(f, "token", Some(&authorization))?;
            let some = |names: &[String]| (!names.is_empty()).then(|| names.join(", "));
            line(f, "headers", some(&sent.headers).as_deref())?;
            line(f, "stripped", some(&sent.stripped).as_deref())?;
        }
        lines(f, "run time", &self.at_run_time)?;
        lines(f, "not seen", &self.not_looked_at)
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, text: Option<&str>) -> fmt::Result {
    let Some(text) = text else { return Ok(()) };
    // A name out of a request may hold anything.
    let text: String = text
        .chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    writeln!(f, "  {name:<9} {text}")
}

fn lines(f: &mut fmt::Formatter<'_>, name: &str, texts: &[String]) -> fmt::Result {
    for (index, text) in texts.iter().enumerate() {
        line(f, if index == 0 { name } else { "" }, Some(text))?;
    }
    Ok(())
}
