//! Both logs side by side, for one console.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::compare::{Bounds, Done, Logged, What, compare};
use super::ours::{Act, Ours, Who};
use super::report::{Finding, NOT_LOGGED, PAST_GATEWAY, Report, stamp};
use super::theirs::{self, Read};
use super::{Span, Theirs, micros};
use crate::audit::{Named, ReconcileSettings};
use crate::vspc::directory::{Activity, User};

/// Makes the report of one console.
pub(super) fn side_by_side(
    console: String,
    ours: &Ours,
    theirs: &Theirs,
    (span, settings): (Span, ReconcileSettings),
) -> Report {
    let acts: Vec<&Act> = ours
        .acts
        .iter()
        .filter(|act| *act.console == *console)
        .collect();
    let done = acts
        .iter()
        .map(|act| done(act, theirs, &settings))
        .collect::<Vec<_>>();
    let (entries, logged, unnamed) = entries(theirs, &settings);
    let bounds = Bounds {
        from: span.from.0,
        to: span.to.0,
        skew: micros(settings.skew),
    };
    let compared = compare(&logged, &done, bounds);
    let mut report = Report {
        console,
        account: theirs.me.name.as_deref().map(str::to_owned),
        from: Some(stamp(span.from)),
        to: Some(stamp(span.to)),
        problems: problems(ours, unnamed),
        logged: logged.len(),
        done: done.len(),
        matched: compared.matched,
        ..Report::default()
    };
    if theirs.users.is_none() {
        let note =
            "the users of the console cannot be read: impersonations are compared by time alone";
        report.notes.push(note.to_owned());
    }
    for at in &compared.strangers {
        if let (Some(entry), Some(activity)) = (logged.get(*at), entries.get(*at)) {
            report.count(PAST_GATEWAY, entry.what);
            report.add(stranger(entry.what, activity));
        }
    }
    for at in &compared.unlogged {
        if let (Some(act), Some(done)) = (acts.get(*at), done.get(*at)) {
            report.count(NOT_LOGGED, act.what);
            report.add(unlogged(act, done));
        }
    }
    report.reconciled = report.unreconciled() == 0 && report.problems.is_empty();
    report
}

/// What of the console's log is compared, with how it is read; and how much cannot be read.
fn entries<'a>(
    theirs: &'a Theirs,
    settings: &ReconcileSettings,
) -> (Vec<&'a Activity>, Vec<Logged>, u64) {
    let (mut entries, mut logged, mut unnamed) = (Vec::new(), Vec::new(), 0_u64);
    for activity in &theirs.activities {
        match theirs::read(activity, theirs.me.uid, settings.impersonation_by) {
            Read::Entry(entry) => {
                entries.push(activity);
                logged.push(entry);
            }
            Read::Other => {}
            Read::Unnamed => unnamed += 1,
        }
    }
    (entries, logged, unnamed)
}

fn stranger(what: What, activity: &Activity) -> Finding {
    Finding {
        side: PAST_GATEWAY,
        kind: what.as_str(),
        time: stamp(activity.at),
        seq: None,
        request_id: None,
        user: activity.user,
        organization: activity.organization,
        what: format!("{}: {}", activity.kind, activity.message),
    }
}

fn unlogged(act: &Act, done: &Done) -> Finding {
    Finding {
        side: NOT_LOGGED,
        kind: act.what.as_str(),
        time: stamp(act.at),
        seq: Some(act.seq),
        request_id: act.request_id.as_deref().map(str::to_owned),
        user: match act.who {
            Who::As(target) => Some(target),
            Who::Service | Who::Tenant(_) | Who::User(_) => done.by.first().copied(),
        },
        organization: done.organization,
        what: act.operation.to_string(),
    }
}

/// What keeps a comparison from saying that all is well.
pub(super) fn problems(ours: &Ours, unnamed: u64) -> Vec<String> {
    let mut problems = ours.damage.clone();
    if ours.unreadable > 0 {
        let count = ours.unreadable;
        problems.push(format!(
            "{count} records of the audit log cannot be understood"
        ));
    }
    if unnamed > 0 {
        problems.push(format!(
            "of {unnamed} entries of its own account the console does not say what they are: set a \
             newer client_version"
        ));
    }
    problems
}

/// As whose doing the console may have logged it.
fn done(act: &Act, theirs: &Theirs, settings: &ReconcileSettings) -> Done {
    let service = theirs.me.uid;
    let users = theirs.users.as_ref();
    let organization = match (act.what, &act.who) {
        (What::Impersonation, Who::As(target)) => {
            let target = users.and_then(|users| users.get(target));
            target.and_then(|target| target.organization)
        }
        _ => None,
    };
    let by = match (&act.who, act.what) {
        (Who::As(target), What::Impersonation) => match settings.impersonation_by {
            Named::Impersonator => vec![service],
            Named::Target => vec![*target],
        },
        (Who::As(target), _) => vec![*target, service],
        (Who::Service, _) => vec![service],
        (Who::Tenant(_), _) => Vec::new(),
        (Who::User(name), _) => named(users, name).into_iter().collect(),
    };
    Done {
        what: act.what,
        span: (act.at.0.saturating_sub(act.took), act.at.0),
        by,
        organization,
        is_certain: act.is_certain && !is_by_key(act, theirs),
    }
}

/// Whether the record is that of reading a permanent key, of which a console knows nothing.
fn is_by_key(act: &Act, theirs: &Theirs) -> bool {
    let of = match &act.who {
        Who::Service => None,
        Who::Tenant(tenant) => Some(Arc::from(&**tenant)),
        Who::As(_) | Who::User(_) => return false,
    };
    act.what == What::Login && theirs.keyed.contains(&of)
}

fn named(users: Option<&HashMap<Uuid, User>>, name: &str) -> Option<Uuid> {
    let name = name.to_lowercase();
    let mut users = users?.values();
    let found = users.find(|user| {
        let theirs = user.name.as_ref();
        theirs.is_some_and(|theirs| theirs.to_lowercase() == name)
    });
    found.map(|user| user.uid.0)
}
