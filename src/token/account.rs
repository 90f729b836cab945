//! How the token of a tenant's own account is obtained: it is the access token of that account's
//! session, and renewed by exchanging the session's refresh token, or by a log-in where there is none.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::cell::{Cell, Fresh, Kind, Setback};
use super::desk::Desk;
use super::fetch::{deadline, settled};
use super::lease::{Generation, Lease};
use super::renew::Queue;
use super::session::{Session, SessionKind};
use super::shared::Shared;
use super::slot::Upkeep;
use crate::tenant::IdentityId;
use crate::vspc::grant::{Access, IssueError};

/// What obtains the tokens of one account.
pub(super) struct Account {
    desk: Arc<Desk>,
    pub(super) session: Arc<Cell<SessionKind>>,
    /// The session whose token was handed out last: another one is wanted now.
    last: Mutex<Option<Generation>>,
}

impl Account {
    pub(super) fn new(identity: IdentityId, access: Access, desk: Arc<Desk>, cell: u64) -> Self {
        let kind = SessionKind::new(identity, access, Arc::clone(&desk));
        Self {
            desk,
            session: Arc::new(Cell::new(cell, kind)),
            last: Mutex::new(None),
        }
    }

    /// The session's token, unless it is the one that is to be replaced.
    fn take(&self, session: &Session) -> Option<Fresh<Lease>> {
        let mut last = self.last.lock();
        let generation = session.generation();
        if *last == Some(generation) {
            return None;
        }
        let (value, span) = session.token(Instant::now())?;
        *last = Some(generation);
        Some(Fresh {
            generation,
            span,
            value,
        })
    }
}

impl Kind for Account {
    type Value = Lease;

    async fn fetch(&self, shared: &Arc<Shared>) -> Result<Fresh<Lease>, Setback> {
        let deadline = deadline(shared);
        let session = settled(self.session.obtain(shared, deadline).await)?;
        if let Some(fresh) = self.take(&session) {
            return Ok(fresh);
        }
        let generation = session.generation();
        let session = settled(self.session.renewed(shared, generation, deadline).await)?;
        let fresh = self.take(&session);
        fresh.ok_or(Setback::Failed(IssueError::Malformed("no newer token")))
    }

    fn accept(&self, _: &Lease) {}

    fn emptied(&self, _: &Shared) {}

    fn queue(&self) -> &Queue {
        &self.desk.queue
    }

    fn upkeep(&self, used: Instant) -> Upkeep {
        Upkeep::UsedAt(used)
    }

    fn recovered_at(&self) -> Option<Instant> {
        self.desk
            .recovered_at()
            .max(self.session.kind.obtained_at())
    }
}
