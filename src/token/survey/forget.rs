//! Tokens dropped by hand.

use tokio::task::JoinHandle;

use super::{Pick, Picked};
use crate::state::StateError;
use crate::tenant::IdentityId;
use crate::token::store::SessionStore;

/// Tokens that are served no more. They are on their way off the disk, whether that is waited for or
/// not.
#[derive(Debug)]
pub struct Forgotten {
    /// How many were dropped in memory.
    count: usize,
    on_disk: JoinHandle<Result<usize, StateError>>,
    /// Whose sessions were dropped.
    sessions: Vec<IdentityId>,
    store: SessionStore,
}

impl Picked {
    /// Forgets all of them: whoever asks next has a new one obtained. A session is obtained at once,
    /// by a log-in, since without one the gateway is not ready; what was obtained with the old one
    /// goes with it.
    pub fn forget(self) -> Forgotten {
        let Self {
            mut cells,
            doomed,
            shared,
        } = self;
        // First, so that nobody finds on the disk what is dropped here.
        shared.store().doom(doomed.clone());
        if cells.iter().any(|cell| matches!(cell, Pick::Session(_)))
            && let Some(doomed) = &doomed
        {
            let obtained = shared.impersonations_where(|key| doomed.takes(key));
            cells.extend(obtained.into_iter().map(Pick::Impersonation));
        }
        for cell in &cells {
            match cell {
                Pick::Session(cell) => {
                    cell.discard(&shared);
                    cell.wake(&shared);
                }
                Pick::Account(cell) => {
                    cell.kind.session.discard(&shared);
                    cell.discard(&shared);
                }
                Pick::Impersonation(cell) => cell.discard(&shared),
            }
        }
        let sessions = cells.iter().filter_map(|cell| match cell {
            Pick::Session(cell) => Some(cell.kind.identity().clone()),
            Pick::Account(cell) => Some(cell.kind.session.kind.identity().clone()),
            Pick::Impersonation(_) => None,
        });
        let store = shared.store().clone();
        Forgotten {
            count: cells.len(),
            sessions: sessions.collect(),
            store: store.clone(),
            on_disk: tokio::task::spawn_blocking(move || store.carry_out()),
        }
    }
}

impl Forgotten {
    /// Waits until they are off the disk, and says how many they were: those that were only there,
    /// since nobody had asked for them after a start, are among them.
    ///
    /// # Errors
    /// Fails when the disk does. This process will not serve them; after its end they may come back.
    pub async fn settled(self) -> Result<usize, StateError> {
        for identity in &self.sessions {
            self.store.forget(identity, None).await;
        }
        match self.on_disk.await {
            Ok(on_disk) => Ok(self.count + on_disk?),
            // The process ends.
            Err(_) => Ok(self.count),
        }
    }
}
