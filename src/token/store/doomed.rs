//! What must not come back from the disk: tokens that were dropped, and those of users who are gone.
//!
//! From the moment it is noted here nobody finds it; it is off the disk once that was carried out.
//! Where the disk fails it is tried again with whatever is dropped next, every hour, and at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::{SessionStore, Stored, Written, report};
use crate::state::{Change, State, StateError, Table};
use crate::tenant::TokenKey;
use crate::upstream::ConsoleId;
use crate::vspc::grant::Subject;

/// What is to be gone from the disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in super::super) enum Doomed {
    /// What was obtained with the session of a console.
    Console(ConsoleId),
    /// What acts as a user, wherever.
    Target(Subject),
    /// What acts as a user of a console.
    TargetAt(ConsoleId, Subject),
    /// What acts as a user, and the access tokens of the sessions that it logged in to as itself.
    User(Subject),
}

impl Doomed {
    /// Whether it is about a token.
    pub(in super::super) fn takes(&self, key: &TokenKey) -> bool {
        match self {
            Self::Console(console) => key.console == *console,
            Self::Target(target) | Self::User(target) => key.target == *target,
            Self::TargetAt(console, target) => key.console == *console && key.target == *target,
        }
    }
}

/// What is noted.
#[derive(Default)]
pub(super) struct List {
    /// Somebody will carry it out.
    is_scheduled: AtomicBool,
    /// New ones come last; whoever works takes off the first.
    waiting: Mutex<Vec<Doomed>>,
    /// Held by whoever takes it off the disk.
    working: Mutex<()>,
}

impl SessionStore {
    /// From now on nobody finds it any more.
    pub(in super::super) fn doom(&self, doomed: impl IntoIterator<Item = Doomed>) {
        if self.state.is_some() {
            self.doomed.waiting.lock().extend(doomed);
        }
    }

    /// Has it taken off the disk soon, and what is noted until then with it.
    pub(in super::super) fn carry_out_soon(&self) {
        let is_idle = self.doomed.waiting.lock().is_empty();
        if is_idle || self.doomed.is_scheduled.swap(true, Ordering::AcqRel) {
            return;
        }
        let store = self.clone();
        let work = move || {
            store.doomed.is_scheduled.store(false, Ordering::Release);
            report(store.carry_out());
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(work)),
            Err(_) => work(),
        }
    }

    /// Takes all of it off the disk: it is gone when this returns. Says how many impersonated tokens
    /// that were. Blocks.
    ///
    /// # Errors
    /// Fails when the disk does. This process goes on not finding it.
    pub(in super::super) fn carry_out(&self) -> Result<usize, StateError> {
        let _working = self.doomed.working.lock();
        let doomed = self.doomed.waiting.lock().clone();
        let Some(state) = self.state.as_ref().filter(|_| !doomed.is_empty()) else {
            return Ok(0);
        };
        let count = state.change(Table::Leases, |change| {
            let names = names(change, &doomed)?;
            names.iter().try_for_each(|name| change.remove(name))?;
            Ok(names.len())
        })?;
        strip(state, &doomed)?;
        self.doomed.waiting.lock().drain(..doomed.len());
        Ok(count)
    }

    /// Whether a token must not be taken off the disk and used.
    pub(super) fn is_doomed(&self, key: &TokenKey) -> bool {
        let waiting = self.doomed.waiting.lock();
        waiting.iter().any(|doomed| doomed.takes(key))
    }

    /// A session, without an access token that must not be used.
    pub(super) fn spared(&self, mut stored: Stored) -> Stored {
        let waiting = self.doomed.waiting.lock();
        if let Some(subject) = stored.subject
            && waiting.contains(&Doomed::User(subject))
        {
            stored.access = None;
        }
        stored
    }
}

/// The names of the impersonated tokens: users come first in them.
fn names(change: &Change<'_>, doomed: &[Doomed]) -> Result<Vec<Vec<u8>>, StateError> {
    let mut names = Vec::new();
    for doomed in doomed {
        match doomed {
            Doomed::Console(console) => {
                let mut all = change.names()?;
                all.retain(|name| is_at(name, console));
                names.append(&mut all);
            }
            Doomed::Target(target) | Doomed::User(target) => {
                names.append(&mut change.names_under(target.0.as_bytes())?);
            }
            Doomed::TargetAt(console, target) => {
                let mut all = change.names_under(target.0.as_bytes())?;
                all.retain(|name| is_at(name, console));
                names.append(&mut all);
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn is_at(name: &[u8], console: &ConsoleId) -> bool {
    super::leases::console_of(name) == Some(console.as_str().as_bytes())
}

/// Users' own sessions go on by their refresh tokens: the console says whether they may.
fn strip(state: &Arc<State>, doomed: &[Doomed]) -> Result<(), StateError> {
    if !doomed.iter().any(|it| matches!(it, Doomed::User(_))) {
        return Ok(());
    }
    state.change(Table::Sessions, |change| {
        for (name, value) in change.all()? {
            let subject = super::read(&name, &value).and_then(|(_, stored)| stored.subject);
            let is_meant = subject.is_some_and(|it| doomed.contains(&Doomed::User(it)));
            let written = serde_json::from_slice::<Written>(&value).ok();
            if let Some(mut written) = written.filter(|_| is_meant)
                && written.access.take().is_some()
            {
                // It said whose it is.
                written.subject = subject.map(|subject| subject.0);
                change.put(&name, &written.to_bytes())?;
            }
        }
        Ok(())
    })
}
