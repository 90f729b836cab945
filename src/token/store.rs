//! What sessions live on by, kept over a restart.

mod access;
mod chain;
mod doomed;
mod leases;
mod ledger;
mod visits;

pub(super) use access::StoredAccess;
pub(super) use chain::{Known, Renewal, StoredChain};
pub(super) use doomed::Doomed;
pub(super) use ledger::{Came, Entry, Ledger};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use access::WrittenAccess;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::{Zeroize as _, Zeroizing};

use super::claims::Claims;
use crate::client::SessionKey;
use crate::clock::{Clock, Timestamp};
use crate::secret::Secret;
use crate::state::{State, StateError, Table};
use crate::upstream::ConsoleId;
use crate::vspc::grant::{Access, Subject};

/// Keeps sessions and tokens sealed in the state directory, or nowhere.
#[derive(Clone)]
pub struct SessionStore {
    clock: Clock,
    doomed: Arc<doomed::List>,
    /// Tells this process from others that use the same state.
    process: Uuid,
    state: Option<Arc<State>>,
}

/// A session as it is kept.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) key: SessionKey,
    pub(super) user: Option<Arc<str>>,
    pub(super) access: Option<StoredAccess>,
    pub(super) place: Option<u64>,
    pub(super) refresh: Secret,
    /// Whose it is, as far as its tokens said.
    pub(super) subject: Option<Subject>,
    renewing: Option<Mark>,
}

/// What is kept of a session beside its refresh token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside<'a> {
    pub(super) access: Option<(&'a Secret, Duration)>,
    pub(super) place: Option<u64>,
    pub(super) subject: Option<Subject>,
    pub(super) user: Option<&'a str>,
}

/// The process that sent the refresh token away, and when, in microseconds since 1970.
type Mark = (Uuid, i64);

#[derive(Deserialize, Serialize)]
struct Written {
    console: String,
    read_only: bool,
    user: Option<String>,
    #[serde(default)]
    access: Option<WrittenAccess>,
    /// Tells where the console is that it is good for.
    #[serde(default)]
    place: Option<u64>,
    refresh: String,
    #[serde(default)]
    renewing: Option<Mark>,
    /// In seconds since 1970.
    saved: i64,
    #[serde(default)]
    subject: Option<Uuid>,
}

impl SessionStore {
    /// Keeps nothing: sessions end with the process.
    pub fn nowhere() -> Self {
        Self::new(Clock::System, None)
    }

    /// As [`Self::nowhere`], by another clock.
    #[cfg(test)]
    pub(super) fn nowhere_by(clock: Clock) -> Self {
        Self::new(clock, None)
    }

    /// Keeps them in the state.
    pub fn sealed(state: Arc<State>, clock: Clock) -> Self {
        Self::new(clock, Some(state))
    }

    fn new(clock: Clock, state: Option<Arc<State>>) -> Self {
        Self {
            clock,
            doomed: Arc::default(),
            process: process_id(),
            state,
        }
    }

    /// Wall time, which tells how old what was kept is.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// All sessions that are kept; those are forgotten whose refresh tokens cannot live any more.
    /// Blocks.
    pub(super) fn all(&self) -> Vec<Stored> {
        let Some(state) = &self.state else {
            return Vec::new();
        };
        let now = self.clock.now().0.div_euclid(1_000_000);
        let all = state.change(Table::Sessions, |change| {
            let mut all = Vec::new();
            for (name, value) in change.all()? {
                match read(&name, &value) {
                    Some((saved, stored)) if saved.saturating_add(LIFE) > now => {
                        all.push(self.spared(stored));
                    }
                    _ => change.remove(&name)?,
                }
            }
            Ok(all)
        });
        report(all).unwrap_or_default()
    }

    /// A session, as whichever process left it last.
    pub(super) async fn load(&self, id: Uuid) -> Option<Stored> {
        let (state, store) = (Arc::clone(self.state.as_ref()?), self.clone());
        let load = move || {
            let value = report(state.get(Table::Sessions, id.as_bytes()))??;
            Some(store.spared(read(id.as_bytes(), &value)?.1))
        };
        tokio::task::spawn_blocking(load).await.ok()?
    }

    /// Keeps a session: it is on the disk when this returns true. Where that fails, it lives on in
    /// memory.
    pub(super) async fn save(
        &self,
        key: &SessionKey,
        beside: Beside<'_>,
        refresh: &Secret,
    ) -> bool {
        let Some(state) = self.state.as_ref().map(Arc::clone) else {
            return false;
        };
        let now = self.clock.now();
        let access = beside.access;
        let written = Written {
            console: key.console.to_string(),
            read_only: key.access == Access::ReadOnly,
            user: beside.user.map(str::to_owned),
            access: access
                .map(|(token, lifetime)| WrittenAccess::new(token.expose(), now, lifetime)),
            place: beside.place,
            refresh: refresh.expose().to_owned(),
            renewing: None,
            saved: now.0.div_euclid(1_000_000),
            subject: beside.subject.map(|subject| subject.0),
        };
        let (id, value) = (key.id, written.to_bytes());
        let save = move || {
            report(state.change(Table::Sessions, |change| change.put(id.as_bytes(), &value)))
        };
        matches!(tokio::task::spawn_blocking(save).await, Ok(Some(())))
    }

    /// Forgets a session whose refresh token was refused, unless another one was kept since.
    pub(super) async fn remove(&self, id: Uuid, refused: &Secret) {
        let Some(state) = self.state.as_ref().map(Arc::clone) else {
            return;
        };
        let refused = refused.duplicate();
        let remove = move || {
            report(state.change(Table::Sessions, |change| {
                let stored = change.get(id.as_bytes())?;
                let stored = stored.and_then(|value| read(id.as_bytes(), &value));
                match stored {
                    Some((_, stored)) if stored.refresh != refused => Ok(()),
                    _ => change.remove(id.as_bytes()),
                }
            }));
        };
        drop(tokio::task::spawn_blocking(remove).await);
    }
}

impl Written {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let access = self.access.as_ref().map_or(0, WrittenAccess::length);
        let user = self.user.as_ref().map_or(0, String::len);
        // Reserved in full, so that growing leaves no copy of a token behind.
        let length = 2 * (self.refresh.len() + access) + 6 * user + 512;
        let mut value = Zeroizing::new(Vec::with_capacity(length));
        // Writing plain members to memory cannot fail.
        drop(serde_json::to_writer(&mut *value, self));
        value
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.refresh.zeroize();
    }
}

impl fmt::Debug for SessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionStore").finish_non_exhaustive()
    }
}

/// A number that no other process has.
fn process_id() -> Uuid {
    let mut bytes = [0_u8; 16];
    // Without randomness the process has no name of its own, and a crash in the middle of a renewal
    // is not noticed: the console then refuses the old refresh token, which costs a log-in.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return Uuid::nil();
    }
    Uuid::from_bytes(bytes)
}

fn read(name: &[u8], value: &[u8]) -> Option<(i64, Stored)> {
    let id = Uuid::from_slice(name).ok()?;
    let mut written: Written = serde_json::from_slice(value).ok()?;
    let access = match written.read_only {
        true => Access::ReadOnly,
        false => Access::Full,
    };
    let console = ConsoleId::new(&written.console);
    let token = written.access.take().map(StoredAccess::from);
    let told = || Claims::read(&token.as_ref()?.access).subject;
    let stored = Stored {
        key: SessionKey {
            console,
            id,
            access,
        },
        user: written.user.take().map(Arc::from),
        subject: written.subject.map(Subject).or_else(told),
        access: token,
        place: written.place,
        refresh: Secret::new(std::mem::take(&mut written.refresh)),
        renewing: written.renewing,
    };
    Some((written.saved, stored))
}

/// A session that cannot be kept is a log-in more, later; nothing is refused for it.
fn report<T>(result: Result<T, StateError>) -> Option<T> {
    result
        .map_err(|error| tracing::error!(%error, "a session cannot be kept or read"))
        .ok()
}

/// As long as a console's refresh tokens live, in seconds.
const LIFE: i64 = 48 * 60 * 60;
