//! What the gateway has recorded, as a console would have logged it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use uuid::Uuid;

use super::compare::What;
use crate::audit::query::{Bound, Filter, Order, Query, Reach, Scan, Step};
use crate::audit::{Action, Code, Fault, Kind, Refreshes};
use crate::clock::Timestamp;

/// One thing that the gateway did, or had done, at a console.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Act {
    pub(super) seq: u64,
    pub(super) what: What,
    pub(super) console: Box<str>,
    /// When it ended, and how long it took, in microseconds.
    pub(super) at: Timestamp,
    pub(super) took: i64,
    pub(super) who: Who,
    pub(super) operation: Box<str>,
    pub(super) request_id: Option<Box<str>>,
    /// Whether the console must have logged it; else it may have.
    pub(super) is_certain: bool,
}

/// By whom it was done, as far as records tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Who {
    /// By the gateway's own account, as this user.
    As(Uuid),
    /// By the gateway's own account.
    Service,
    /// By the own account of this tenant.
    Tenant(Box<str>),
    /// By a user of the console with this name.
    User(Box<str>),
}

/// What a log says.
#[derive(Debug, Default)]
pub(super) struct Ours {
    pub(super) acts: Vec<Act>,
    /// What is wrong with it, in sentences.
    pub(super) damage: Vec<String>,
    /// Records of the time that cannot be understood.
    pub(super) unreadable: u64,
}

/// What of a record matters here. A member of another type than foreseen makes it unreadable.
#[derive(Deserialize)]
struct View<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    console: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tenant: Option<Cow<'a, str>>,
    #[serde(borrow)]
    client: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    operation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    target: Option<TargetView>,
    #[serde(borrow)]
    subject: Option<SubjectView<'a>>,
    status: Option<u16>,
    attempts: Option<u32>,
    duration_us: Option<u64>,
}

#[derive(Deserialize)]
struct TargetView {
    uid: Option<Uuid>,
}

#[derive(Deserialize)]
struct SubjectView<'a> {
    #[serde(borrow)]
    action: Option<Cow<'a, str>>,
}

/// All that is asked of the first record, which another version may have written.
#[derive(Deserialize)]
struct Stamp<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// When the oldest record there is was written.
///
/// # Errors
/// Fails when the log cannot be read.
pub(super) fn begin(directory: &Path) -> Result<Option<Timestamp>, Fault> {
    let query = Query {
        limit: Some(1),
        order: Order::OldestFirst,
        reach: Reach::AllFiles,
        ..Query::default()
    };
    let mut scan = Scan::new(directory, query)?;
    loop {
        match scan.step()? {
            Step::End => return Ok(None),
            Step::Working => {}
            Step::Found(found) => {
                let stamp: Result<Stamp<'_>, _> = serde_json::from_slice(found.json);
                return Ok(stamp.ok().and_then(|it| Timestamp::parse(&it.time)));
            }
        }
    }
}

/// Reads what was done at consoles within a time. Blocks on the disk.
///
/// # Errors
/// Fails when the log cannot be read.
pub(super) fn read(
    directory: &Path,
    (from, to): (Timestamp, Timestamp),
    refreshes: Refreshes,
) -> Result<Ours, Fault> {
    let filter = Filter {
        since: Some(Bound::from(from)),
        until: Some(Bound::from(to)),
        ..Filter::default()
    };
    let query = Query {
        filter,
        ..Query::default()
    };
    let mut scan = Scan::new(directory, query)?;
    let mut ours = Ours::default();
    let mut intents: HashMap<Box<str>, Act> = HashMap::new();
    let mut ended: HashSet<Box<str>> = HashSet::new();
    loop {
        let found = match scan.step()? {
            Step::End => break,
            Step::Working => continue,
            Step::Found(found) => found,
        };
        let Ok(view) = serde_json::from_slice::<View<'_>>(found.json) else {
            ours.unreadable += 1;
            continue;
        };
        let is = |kind: Kind| view.kind == kind.as_str();
        let Some(act) = act(found.seq, &view, refreshes) else {
            // A request that was refused after its intent did nothing.
            if is(Kind::Request) {
                ended.extend(view.request_id.as_deref().map(Box::from));
            }
            continue;
        };
        match act.request_id.clone() {
            Some(id) if is(Kind::Intent) => drop(intents.insert(id, act)),
            id => {
                ended.extend(id);
                ours.acts.push(act);
            }
        }
    }
    // Requests of which nobody knows how they ended.
    intents.retain(|id, _| !ended.contains(id));
    ours.acts.extend(intents.into_values());
    ours.damage = scan.damage();
    Ok(ours)
}

/// What a record tells of, if that leaves a trace at a console.
fn act(seq: u64, view: &View<'_>, refreshes: Refreshes) -> Option<Act> {
    let console = view.console.as_deref()?;
    let (what, is_certain) = match &*view.kind {
        kind if kind == Kind::Token.as_str() => exchange(view, refreshes)?,
        kind if kind == Kind::Request.as_str() || kind == Kind::Intent.as_str() => request(view)?,
        _ => return None,
    };
    let target = view.target.as_ref().and_then(|target| target.uid);
    let who = match (target, &view.user, &view.tenant) {
        (Some(target), ..) => Who::As(target),
        (None, Some(user), _) => Who::User(user.as_ref().into()),
        (None, None, Some(tenant)) => Who::Tenant(tenant.as_ref().into()),
        (None, None, None) => Who::Service,
    };
    let took = view.duration_us.and_then(|took| i64::try_from(took).ok());
    Some(Act {
        seq,
        what,
        console: console.into(),
        at: Timestamp::parse(&view.time)?,
        took: took.unwrap_or(0),
        who,
        operation: view.operation.as_deref().unwrap_or_default().into(),
        request_id: view.request_id.as_deref().map(Box::from),
        is_certain,
    })
}

/// What asking for a token leaves behind, and whether surely.
fn exchange(view: &View<'_>, refreshes: Refreshes) -> Option<(What, bool)> {
    let code = view.code.as_deref()?;
    let is_ok = code == Code::Ok.as_str();
    // What else there is may have been carried out, and its answer lost.
    match view.operation.as_deref()? {
        "as" if code == REFUSED => None,
        "as" => Some((What::Impersonation, is_ok)),
        "login" if code == REFUSED => Some((What::FailedLogin, false)),
        "login" => Some((What::Login, is_ok)),
        "refresh" if code == REFUSED => None,
        "refresh" => match refreshes {
            Refreshes::Logged => Some((What::Login, is_ok)),
            Refreshes::Perhaps => Some((What::Login, false)),
            Refreshes::Unlogged => None,
        },
        _ => None,
    }
}

/// What a request leaves behind, and whether surely.
fn request(view: &View<'_>) -> Option<(What, bool)> {
    let operation = view.operation.as_deref()?;
    if operation.ends_with(" /token") {
        return passed_login(view);
    }
    let method = view.method.as_deref()?;
    if matches!(method, "GET" | "HEAD" | "OPTIONS") {
        return None;
    }
    let is_certain = match (view.code.as_deref(), view.status) {
        // An intent.
        (None, _) => false,
        (Some(code), Some(status)) if code == Code::Ok.as_str() => match status {
            200 | 201 | 204 => true,
            // Carried out later, or not; or nobody can tell.
            202 | 500.. => false,
            // The console said no.
            _ => return None,
        },
        // Refused before it was sent.
        (Some(code), _) if Code::is_refusal(code) && view.attempts.unwrap_or(0) == 0 => {
            return None;
        }
        (Some(_), _) => false,
    };
    let action = view.subject.as_ref().and_then(|it| it.action.as_deref());
    let is = |other: Action| action == Some(other.as_str());
    if operation == "DELETE /users/{userUid}/tokens" {
        return Some((What::Revocation, is_certain));
    }
    if is(Action::Created) {
        Some((What::IdentityCreated, is_certain))
    } else if is(Action::Deleted) {
        Some((What::IdentityRemoved, is_certain))
    } else {
        // Which writing requests change users, nobody has written down.
        Some((What::User, false))
    }
}

/// A log-in of a console's own user through the gateway, which may answer it by itself.
fn passed_login(view: &View<'_>) -> Option<(What, bool)> {
    if view.client.is_some() || view.user.is_none() {
        return None;
    }
    match view.status? {
        200..300 => Some((What::Login, false)),
        400..500 => Some((What::FailedLogin, false)),
        _ => None,
    }
}

/// The code of a token that the console did not give.
const REFUSED: &str = "refused";

#[cfg(test)]
mod tests;
