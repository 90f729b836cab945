//! Which process renews the session of somebody who logged in as itself: a refresh token is sent by
//! one alone, or the console would take the second for a thief.
//!
//! The rules are those of the gateway's own sessions, but for one: there is no log-in to go on by.
//! So where a process ended while it renewed, the refresh token is sent once more when its answer
//! cannot come any more. At worst the console refuses it, and the session ends as it would without.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{SessionStore, Stored, Written, report};
use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::state::Table;

impl SessionStore {
    /// Whether another process has sent the refresh token away less than `patience` ago, and not
    /// saved what it got for it.
    pub(in super::super) fn is_renewed_elsewhere(
        &self,
        stored: &Stored,
        patience: Duration,
    ) -> bool {
        stored
            .renewing
            .is_some_and(|mark| self.is_others(mark, patience))
    }

    /// Notes on the disk that a refresh token is about to be sent. Not if it is not the newest one
    /// any more, or another process is at it.
    pub(in super::super) async fn begin_visit(
        &self,
        id: Uuid,
        refresh: &Secret,
        patience: Duration,
    ) -> bool {
        let (store, refresh) = (self.clone(), refresh.duplicate());
        let begun = self.with_session(id, move |written| {
            let is_taken = written
                .renewing
                .is_some_and(|mark| store.is_others(mark, patience));
            if written.refresh != refresh.expose() || is_taken {
                return (false, false);
            }
            written.renewing = Some((store.process, store.clock.now().0));
            (true, true)
        });
        // A session that is not kept, and a disk that fails, must not stop the renewal.
        begun.await.unwrap_or(true)
    }

    /// Takes that note back: the refresh token was not sent.
    pub(in super::super) async fn unsent_visit(&self, id: Uuid) {
        let process = self.process;
        self.with_session(id, move |written| {
            let is_ours = written.renewing.is_some_and(|(by, _)| by == process);
            if is_ours {
                written.renewing = None;
            }
            ((), is_ours)
        })
        .await;
    }

    /// However wall time has jumped since.
    fn is_others(&self, (by, at): (Uuid, i64), patience: Duration) -> bool {
        let Timestamp(now) = self.clock.now();
        by != self.process && u128::from(now.abs_diff(at)) < patience.as_micros()
    }

    /// Looks at what is kept of a session, if it is, and writes it when it is told that it changed.
    async fn with_session<T: Send + 'static>(
        &self,
        id: Uuid,
        work: impl FnOnce(&mut Written) -> (T, bool) + Send + 'static,
    ) -> Option<T> {
        let state = Arc::clone(self.state.as_ref()?);
        let work = move || {
            let done = state.change(Table::Sessions, |change| {
                let value = change.get(id.as_bytes())?;
                let written = value.and_then(|value| serde_json::from_slice(&value).ok());
                let Some(mut written) = written else {
                    return Ok(None);
                };
                let (done, is_changed) = work(&mut written);
                if is_changed {
                    change.put(id.as_bytes(), &written.to_bytes())?;
                }
                Ok(Some(done))
            });
            report(done).flatten()
        };
        tokio::task::spawn_blocking(work).await.ok().flatten()
    }
}
