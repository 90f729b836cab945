//! The list of them, and what has to leave it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::super::cell::Cell;
use super::super::shared::Shared;
use super::Personal;
use crate::client::SessionKey;
use crate::upstream::ConsoleId;
use crate::vspc::grant::Subject;

/// All such sessions.
#[derive(Default)]
pub(in super::super) struct Sessions(DashMap<Uuid, Arc<Cell<Personal>>>, Sweeping);

impl Sessions {
    pub(in super::super) fn get(&self, key: &SessionKey) -> Option<Arc<Cell<Personal>>> {
        self.0.get(&key.id).map(|entry| Arc::clone(&entry))
    }

    /// All of them.
    pub(in super::super) fn all(&self) -> Vec<Arc<Cell<Personal>>> {
        self.0.iter().map(|entry| Arc::clone(&entry)).collect()
    }

    /// Takes the sessions of consoles off the list that are there no more.
    pub(in super::super) fn leave(
        &self,
        consoles: &HashSet<ConsoleId>,
    ) -> Vec<Arc<Cell<Personal>>> {
        let mut left = Vec::new();
        self.0.retain(|_, cell| {
            let stays = !consoles.contains(&cell.kind.key.console);
            if !stays {
                left.push(Arc::clone(cell));
            }
            stays
        });
        left
    }

    /// The sessions of users.
    pub(in super::super) fn of(&self, subjects: &HashSet<Subject>) -> Vec<Arc<Cell<Personal>>> {
        let all = self.0.iter();
        all.filter(|cell| cell.kind.subject().is_some_and(|it| subjects.contains(&it)))
            .map(|cell| Arc::clone(&cell))
            .collect()
    }

    /// Puts a session on the list. Whoever came first stays: there is one renewal at a time.
    pub(super) fn add(&self, id: Uuid, cell: Arc<Cell<Personal>>) -> Arc<Cell<Personal>> {
        Arc::clone(&self.0.entry(id).or_insert(cell))
    }

    /// Takes a session off the list that holds nothing and has nothing to go on by.
    pub(super) fn remove_empty(&self, key: &SessionKey) {
        self.0.remove_if(&key.id, |_, cell| cell.close_if_empty());
    }

    /// Makes room for one more: those go that nobody has used for as long as a refresh token
    /// lives, and where that is not enough the one that was not used for longest.
    pub(super) fn make_room(&self, shared: &Shared) {
        let now = Instant::now();
        if self.0.len() < SESSIONS && !self.1.is_due(now) {
            return;
        }
        let store = shared.store().clone();
        // What is too old is forgotten on the disk as well.
        drop(tokio::task::spawn_blocking(move || drop(store.all())));
        self.0
            .retain(|_, cell| now.saturating_duration_since(cell.used(shared)) < IDLE);
        if self.0.len() >= SESSIONS {
            let oldest = self
                .0
                .iter()
                .min_by_key(|entry| entry.used(shared))
                .map(|entry| *entry.key());
            oldest.map(|id| self.0.remove(&id));
        }
    }
}

/// When what is over was last cleared away.
#[derive(Debug, Default)]
pub(in super::super) struct Sweeping(Mutex<Option<Instant>>);

impl Sweeping {
    /// Whether it is time again; says so once.
    pub(in super::super) fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|last| now >= last + SWEEP_EVERY);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

/// As long as a console's refresh tokens live.
const IDLE: Duration = Duration::from_secs(48 * 60 * 60);
/// The most sessions that are kept.
const SESSIONS: usize = 10_000;
const SWEEP_EVERY: Duration = Duration::from_secs(60);
