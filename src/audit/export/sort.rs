//! What sort of event a record tells of, and how that ended.

use super::members::Members;
use crate::audit::record::{Action, Code, Kind};

/// What sort of event a record tells of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sort {
    /// An identity of a user was made, changed or removed, or tokens were revoked.
    Account(Change),
    /// Something was asked of a console, or of the gateway by an operator.
    Call(Verb),
    /// Somebody logged in, or got a token in another way.
    Login(Way),
    /// Something became of the gateway itself.
    Life(Step),
}

/// What became of an identity.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    Changed,
    Created,
    Deleted,
    /// A device for codes was added.
    SecondFactor,
    /// Its tokens are good no more.
    Revoked,
}

/// What a call does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verb {
    Create,
    Delete,
    /// By an operator.
    Operate,
    Other,
    Read,
    Update,
}

/// How a token was got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// By grant `as`.
    ActAs,
    LogIn,
    Renew,
}

/// What became of the gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Its configuration.
    Config,
    Other,
    Start,
    Stop,
}

/// How something ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It was not done, or not as it was asked for.
    Failure,
    Success,
    /// Nobody can tell, or not yet.
    Unknown,
}

impl Sort {
    pub(super) fn of(members: &Members) -> Self {
        let is = |kind: Kind| members.text("kind") == Some(kind.as_str());
        let operation = members.text("operation").unwrap_or_default();
        if is(Kind::Token) {
            return Self::Login(Way::of(operation));
        }
        if is(Kind::Request) || is(Kind::Intent) {
            if operation.ends_with(" /token") {
                let grant = members.text("grant").unwrap_or_default();
                return Self::Login(Way::of(grant));
            }
            let change = Change::of(members.text_in("subject", "action"), operation);
            return change.map_or_else(
                || Self::Call(Verb::of(members.text("method"))),
                Self::Account,
            );
        }
        if members.text("operator").is_some() {
            return Self::Call(Verb::Operate);
        }
        Self::Life(match operation {
            "process.started" => Step::Start,
            "process.stopped" => Step::Stop,
            _ if is(Kind::Config) => Step::Config,
            _ => Step::Other,
        })
    }
}

impl Change {
    fn of(action: Option<&str>, operation: &str) -> Option<Self> {
        let is = |other: Action| action == Some(other.as_str());
        if is(Action::Created) {
            let is_device = operation.ends_with("/totp");
            Some(if is_device {
                Self::SecondFactor
            } else {
                Self::Created
            })
        } else if is(Action::Deleted) {
            let is_token = operation.ends_with("/tokens");
            Some(if is_token {
                Self::Revoked
            } else {
                Self::Deleted
            })
        } else if is(Action::Changed) {
            Some(Self::Changed)
        } else {
            None
        }
    }
}

impl Verb {
    fn of(method: Option<&str>) -> Self {
        match method {
            Some("DELETE") => Self::Delete,
            Some("GET" | "HEAD" | "OPTIONS") => Self::Read,
            Some("PATCH" | "PUT") => Self::Update,
            Some("POST") => Self::Create,
            _ => Self::Other,
        }
    }
}

impl Way {
    /// Of a grant: the gateway's own names for what it asks of a console, or those of `/token`.
    fn of(grant: &str) -> Self {
        match grant {
            "as" => Self::ActAs,
            "refresh" | "refresh_token" => Self::Renew,
            _ => Self::LogIn,
        }
    }
}

impl Outcome {
    /// A status of 400 and more is no success, though the record's code is `ok` where it was the
    /// console's own.
    pub(super) fn of(members: &Members) -> Self {
        let unsure = [Code::Aborted, Code::Unknown, Code::UpstreamCut].map(Code::as_str);
        match members.text("code") {
            _ if members.text("kind") == Some(Kind::Intent.as_str()) => Self::Unknown,
            None => Self::Unknown,
            Some(code) if unsure.contains(&code) => Self::Unknown,
            Some(code) if code != Code::Ok.as_str() => Self::Failure,
            Some(_) if members.number("status").is_some_and(|status| status >= 400) => {
                Self::Failure
            }
            Some(_) => Self::Success,
        }
    }
}

/// Whether the gateway refused.
pub(super) fn is_refused(members: &Members) -> bool {
    members.text("code").is_some_and(Code::is_refusal)
}

/// What happened, in a few words.
pub(super) fn message(members: &Members) -> String {
    let what = members.text("operation").or(members.text("kind"));
    let mut message = what.unwrap_or("event").to_owned();
    if members.text("kind") == Some(Kind::Intent.as_str()) {
        message += " is about to be sent";
    } else if let Some(code) = members.text("code") {
        message += ": ";
        message += code;
    }
    if let Some(status) = members.number("status") {
        message += &format!(" ({status})");
    }
    message
}
