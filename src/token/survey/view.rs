//! One token as operators see it.

use std::time::Duration;

use tokio::time::Instant;

use super::{Life, TokenKind, TokenView};
use crate::secret::Fingerprint;
use crate::token::ConsoleId;
use crate::token::account::Account;
use crate::token::cell::{Cell, Kind};
use crate::token::fetch::Impersonation;
use crate::token::lease::Lease;
use crate::token::personal::Personal;
use crate::token::session::{Session, SessionKind};
use crate::token::shared::Shared;
use crate::token::slot::{HeldView, SlotView};
use crate::vspc::grant::Access;

pub(super) fn view_session(cell: &Cell<SessionKind>, shared: &Shared, now: Instant) -> TokenView {
    let console = cell.kind.console();
    let base = view(cell, shared, now, Session::fingerprint);
    base(console, TokenKind::Session, Access::Full)
}

pub(super) fn view_account(cell: &Cell<Account>, shared: &Shared, now: Instant) -> TokenView {
    let session = &cell.kind.session.kind;
    let base = view(cell, shared, now, Lease::fingerprint);
    TokenView {
        tenant: session.identity().tenant().cloned(),
        ..base(session.console(), TokenKind::Session, session.access())
    }
}

pub(super) fn view_impersonation(
    cell: &Cell<Impersonation>,
    shared: &Shared,
    now: Instant,
) -> TokenView {
    let key = &cell.kind.key;
    let base = view(cell, shared, now, Lease::fingerprint);
    TokenView {
        target: Some(key.target),
        ..base(&key.console, TokenKind::Impersonation, key.access)
    }
}

pub(super) fn view_login(cell: &Cell<Personal>, shared: &Shared, now: Instant) -> TokenView {
    let key = &cell.kind.key;
    let base = view(cell, shared, now, Lease::fingerprint);
    TokenView {
        user: cell.kind.user.clone(),
        ..base(&key.console, TokenKind::Login, key.access)
    }
}

/// What can be told of any cell, once it is said what it is.
fn view<K: Kind>(
    cell: &Cell<K>,
    shared: &Shared,
    now: Instant,
    print: impl Fn(&K::Value) -> Fingerprint,
) -> impl Fn(&ConsoleId, TokenKind, Access) -> TokenView {
    let SlotView {
        state,
        held,
        trouble,
    } = cell.look(|slot| slot.view());
    let life = held.map(|held| life(&held, print(&held.value), now));
    let trouble = trouble.map(|(error, until)| (error, seconds(until, now)));
    let used = cell.used(shared);
    // The first second of all stands for never.
    let idle = (used != shared.instant(0)).then(|| seconds(now, used).max(0));
    move |console, kind, access| TokenView {
        console: console.clone(),
        kind,
        target: None,
        tenant: None,
        user: None,
        access,
        state,
        held: life,
        idle,
        trouble: trouble.clone(),
    }
}

fn life<V>(held: &HeldView<V>, fingerprint: Fingerprint, now: Instant) -> Life {
    let life = &held.life;
    Life {
        generation: held.generation,
        fingerprint,
        // From its end: what was kept over a restart is older than this process.
        age: whole(life.lifetime) - seconds(life.dead_at, now),
        renew_in: seconds(life.renew_at, now),
        served_for: seconds(life.starts_until, now),
        dead_in: seconds(life.dead_at, now),
    }
}

fn whole(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// From one moment to another, in whole seconds; negative if it is the later one.
fn seconds(at: Instant, from: Instant) -> i64 {
    match at.checked_duration_since(from) {
        Some(later) => whole(later),
        None => -whole(from.saturating_duration_since(at)),
    }
}
