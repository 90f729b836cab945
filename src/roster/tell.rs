//! What has changed in a directory, as log lines and audit records.

use std::borrow::Cow;
use std::sync::Arc;

use super::book::Renamed;
use crate::audit::{Auditor, Code, Kind, Record, Target as Acted};
use crate::tenant::{Gone, Target, Tenant};
use crate::upstream::ConsoleId;
use crate::vspc::grant::Subject;

/// One thing that is different from the reading before.
#[derive(Debug)]
pub(super) enum Change {
    /// Several companies have a name, which stands for none of them.
    Ambiguous(Arc<str>),
    /// A company has another name.
    Renamed(Renamed),
    /// Another user acts for a tenant, or nobody does, or somebody does again.
    Turned {
        tenant: Arc<Tenant>,
        before: Arc<Target>,
        now: Result<Subject, Gone>,
    },
}

impl Change {
    /// A tenant that was aimed anew; `None` where that is no news.
    ///
    /// What a company is when it is first seen has not changed: only of a tenant that the file
    /// names is it told that nobody can act for it.
    pub(super) fn turned(
        tenant: &Arc<Tenant>,
        before: Arc<Target>,
        now: Result<Subject, Gone>,
        is_configured: bool,
    ) -> Option<Self> {
        if *before == Target::NotYet && (now.is_ok() || !is_configured) {
            return None;
        }
        let tenant = Arc::clone(tenant);
        Some(Self::Turned {
            tenant,
            before,
            now,
        })
    }

    /// The user whose tokens are of no use any more.
    pub(super) fn retired(&self) -> Option<Subject> {
        match self {
            Self::Turned { before, .. } => match &**before {
                Target::Known(key) => Some(key.target),
                Target::Account(_) | Target::Gone(_) | Target::NotYet => None,
            },
            Self::Ambiguous(_) | Self::Renamed(_) => None,
        }
    }

    /// Writes the log line. Names come from the console: they are quoted.
    pub(super) fn log(&self, console: &ConsoleId) {
        let what = self.what();
        match self {
            Self::Turned { tenant, now, .. } => {
                let tenant = &*tenant.name;
                match now {
                    Ok(_) => tracing::info!(%console, ?tenant, what, "a tenant has changed"),
                    Err(gone) => {
                        let code = gone.code();
                        tracing::warn!(%console, ?tenant, code, what, "nobody can act for a tenant");
                    }
                }
            }
            Self::Renamed(_) => tracing::info!(%console, what, "a company has another name"),
            Self::Ambiguous(_) => {
                tracing::warn!(%console, what, "a name stands for no company");
            }
        }
    }

    /// Writes the audit record.
    pub(super) async fn record(&self, console: &ConsoleId, auditor: &Auditor) {
        let mut record = Record {
            console: Some(console.shared()),
            operation: Some(Cow::Borrowed("directory.changed")),
            code: Some(Code::Ok),
            detail: Some(Cow::Owned(self.what())),
            ..Record::default()
        };
        match self {
            Self::Turned { tenant, now, .. } => {
                record.tenant = Some(Arc::clone(&tenant.name));
                record.target = now.ok().map(|user| Acted {
                    uid: Some(user.0),
                    ..Acted::default()
                });
            }
            Self::Renamed(renamed) => record.tenant.clone_from(&renamed.now),
            Self::Ambiguous(_) => {}
        }
        if let Err(error) = auditor.note(Kind::Admin, &record).await {
            auditor.report_unrecorded(Kind::Admin, &record, error);
        }
    }

    fn what(&self) -> String {
        match self {
            Self::Ambiguous(name) => {
                format!("several companies are called {name:?}: use the alias or the UID")
            }
            Self::Renamed(Renamed {
                company,
                before,
                now,
            }) => {
                let nameless = || Arc::from("");
                let before = before.clone().unwrap_or_else(nameless);
                let now = now.clone().unwrap_or_else(nameless);
                format!("the company {company}, which was called {before:?}, is called {now:?}")
            }
            Self::Turned { before, now, .. } => match (&**before, now) {
                (Target::Known(old), Ok(user)) => {
                    format!("the user {user} acts for it, in place of {}", old.target)
                }
                (_, Ok(user)) => format!("the user {user} acts for it again"),
                (Target::Known(old), Err(gone)) => {
                    let (code, text) = (gone.code(), gone.text());
                    format!("{code}: {text}; the user {} acted for it", old.target)
                }
                (_, Err(gone)) => format!("{}: {}", gone.code(), gone.text()),
            },
        }
    }
}
