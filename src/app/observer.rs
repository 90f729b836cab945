//! Exchanges with `/token`, and what happens to issuers' keys, as log lines, counters and audit
//! records.

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::RunError;
use crate::audit::{Auditor, Code, Kind, Record, Target};
use crate::client::jwt::{Issuers, KeyEvent, KeyWatch};
use crate::clock::Clock;
use crate::config::Settings;
use crate::telemetry::{Exchanged, Telemetry};
use crate::token::{
    Broker, GivenUp, RefreshPolicy, SessionStore, TokenEvent, TokenObserver, VspcIssuer,
};
use crate::upstream::ConsoleId;
use crate::vspc::grant::IssueError;

/// Tells everybody of every exchange.
#[derive(Debug)]
pub(super) struct Observer {
    pub(super) telemetry: Telemetry,
    pub(super) auditor: Auditor,
}

/// Makes the keeper of sessions and leases.
pub(super) fn broker(
    issuer: Arc<VspcIssuer>,
    policy: RefreshPolicy,
    (auditor, telemetry): (&Auditor, &Telemetry),
    store: SessionStore,
) -> Broker {
    let observer = Observer {
        telemetry: telemetry.clone(),
        auditor: auditor.clone(),
    };
    Broker::new(issuer, policy, Arc::new(observer), store)
}

/// Makes the keeper of issuers' keys; clients are known by their tokens from then on.
pub(super) fn issuers(
    settings: &mut Settings,
    (auditor, telemetry): (&Auditor, &Telemetry),
) -> Result<Arc<Issuers>, RunError> {
    let observer = Observer {
        telemetry: telemetry.clone(),
        auditor: auditor.clone(),
    };
    let issuers = Arc::new(Issuers::new(Arc::new(observer)));
    let trusted = issuers
        .prepare(std::mem::take(&mut settings.issuers))
        .map_err(RunError::IssuerTrust)?;
    settings.clients.trust(&trusted);
    issuers.keep(trusted);
    Ok(issuers)
}

impl TokenObserver for Observer {
    fn observe(&self, event: &TokenEvent<'_>) {
        let target = event.target.map(|target| target.0.to_string());
        self.telemetry.exchanged(&Exchanged {
            console: event.console.as_str(),
            grant: event.grant.as_str(),
            target: target.as_deref(),
            tenant: event.tenant.map(|tenant| &**tenant),
            took: event.duration,
            outcome: match event.outcome {
                Ok(_) => Ok(()),
                Err(error) => Err((kind(error), error)),
            },
        });
        let mut record = Record {
            console: Some(event.console.shared()),
            target: event.target.map(|target| Target {
                uid: Some(target.0),
                ..Target::default()
            }),
            operation: Some(Cow::Borrowed(event.grant.as_str())),
            access: Some(event.access.as_str()),
            cause: Some(event.cause.as_str()),
            tenant: event.tenant.map(Arc::clone),
            user: event.user.map(Arc::from),
            duration_us: u64::try_from(event.duration.as_micros()).ok(),
            ..Record::default()
        };
        match event.outcome {
            Ok(issued) => {
                record.code = Some(Code::Ok);
                record.lease = Some(issued.fingerprint);
                let seconds = issued.lifetime.as_secs();
                record.detail = Some(Cow::Owned(format!("good for {seconds} s")));
            }
            Err(error) => {
                record.code = Some(Code::Refused(kind(error)));
                record.detail = Some(Cow::Owned(error.to_string()));
            }
        }
        self.record(Kind::Token, record);
    }

    fn gave_up(&self, token: &GivenUp<'_>) {
        let target = token.target.map(|target| Target {
            uid: Some(target.0),
            ..Target::default()
        });
        let record = Record {
            console: token.console.map(ConsoleId::shared),
            target,
            operation: Some(Cow::Borrowed("given_up")),
            cause: Some(token.cause.as_str()),
            code: Some(Code::Ok),
            tenant: token.tenant.map(Arc::clone),
            lease: token.lease,
            ..Record::default()
        };
        self.record(Kind::Token, record);
    }
}

impl KeyWatch for Observer {
    fn saw(&self, event: KeyEvent<'_>) {
        let (issuer, outcome) = match event {
            KeyEvent::Failed {
                issuer,
                error,
                is_new,
                are_usable,
            } => {
                self.telemetry.keys_fetched(issuer, None);
                if !is_new {
                    return;
                }
                tracing::warn!(%issuer, are_usable, %error, "the keys of an issuer cannot be fetched");
                (issuer, Err(error.to_string()))
            }
            KeyEvent::Fetched {
                issuer,
                change,
                passed_over,
            } => {
                self.telemetry
                    .keys_fetched(issuer, Some(Clock::System.now()));
                let Some(change) = change else { return };
                if let Some(keys) = passed_over {
                    tracing::warn!(%issuer, keys, "keys of an issuer cannot be used");
                }
                tracing::info!(%issuer, change, "an issuer has other keys");
                (issuer, Ok(change))
            }
        };
        let (operation, code, what) = match outcome {
            Ok(change) => ("issuer.keys_changed", Code::Ok, change),
            Err(error) => {
                let code = Code::Refused("issuer_unavailable");
                ("issuer.keys_not_fetched", code, error)
            }
        };
        self.record(
            Kind::Config,
            Record {
                operation: Some(Cow::Borrowed(operation)),
                code: Some(code),
                detail: Some(Cow::Owned(format!("{issuer}: {what}"))),
                ..Record::default()
            },
        );
    }
}

impl Observer {
    /// Records at once where there is a place, else as soon as there is one.
    fn record(&self, kind: Kind, record: Record) {
        if let Some(Ok(())) = self.auditor.note(kind, &record).now_or_never() {
            return;
        }
        let auditor = self.auditor.clone();
        tokio::spawn(async move {
            if let Err(error) = auditor.note(kind, &record).await {
                auditor.report_unrecorded(kind, &record, error);
            }
        });
    }
}

/// The kind of a failure, as metrics and records name it.
fn kind(error: &IssueError) -> &'static str {
    match error {
        IssueError::Challenge(_) => "challenge",
        IssueError::Malformed(_) => "malformed",
        IssueError::NextCode { .. } => "next_code",
        IssueError::Refused { .. } => "refused",
        IssueError::Throttled { .. } => "throttled",
        IssueError::Unavailable(_) => "unavailable",
        IssueError::WrongSubject { .. } => "wrong_subject",
    }
}
