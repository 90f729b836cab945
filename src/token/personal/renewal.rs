//! How such a session is renewed: by one process alone, the others take what that one gets.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::GrantKind;
use super::super::cell::{Fresh, Setback};
use super::super::claims::Claims;
use super::super::desk::{Obtained, Purpose, Standing};
use super::super::lease::Lease;
use super::super::shared::Shared;
use super::super::store::{Stored, StoredAccess};
use super::{Kept, Personal, blocked, ended};
use crate::secret::Secret;
use crate::vspc::grant::IssueError;

/// What a renewal gave.
pub(super) enum Renewed {
    /// What another process got meanwhile.
    Elsewhere(Fresh<Lease>),
    /// What the console answered.
    Here(Obtained),
}

impl Personal {
    /// Goes on with what is stored: another process may have renewed the session.
    pub(super) async fn go_on(&self, shared: &Shared) -> Result<Renewed, Setback> {
        let stored = self.newest(shared).await;
        let stored = stored.ok_or_else(|| blocked(ended()))?;
        match self.take(shared, stored) {
            Ok(fresh) => Ok(Renewed::Elsewhere(fresh)),
            Err(refresh) => self.renew(shared, refresh).await,
        }
    }

    /// A token that was kept, while it is good.
    pub(super) fn found(&self, shared: &Shared, stored: &StoredAccess) -> Option<Fresh<Lease>> {
        let span = stored.span(shared.store().now())?;
        let generation = shared.next_generation();
        let value = Lease::new(&stored.access, generation)?;
        if let Some(subject) = Claims::read(&stored.access).subject {
            self.subject.get_or_init(|| subject);
        }
        Some(Fresh {
            generation,
            span,
            value,
        })
    }

    /// Exchanges the refresh token, unless another process has done so, or is about to.
    pub(super) async fn renew(
        &self,
        shared: &Shared,
        kept: Arc<Secret>,
    ) -> Result<Renewed, Setback> {
        let mut refresh = kept;
        loop {
            if let Some(newer) = self.left_by_another(shared, &refresh).await {
                match self.take(shared, newer) {
                    Ok(fresh) => return Ok(Renewed::Elsewhere(fresh)),
                    Err(newer) => refresh = newer,
                }
            }
            let turn = self.desk.turns.visitor().await;
            if !self.begin(shared, &refresh).await {
                continue;
            }
            let refused = match self.refresh(shared, &refresh).await {
                Ok(obtained) => return Ok(Renewed::Here(obtained)),
                Err(setback) => self.refusal(shared, setback).await?,
            };
            drop(turn);
            match self.newer_than(shared, &refresh).await {
                Some(newer) => match self.take(shared, newer) {
                    Ok(fresh) => return Ok(Renewed::Elsewhere(fresh)),
                    Err(newer) => refresh = newer,
                },
                None => {
                    *self.kept.lock() = Kept::Ended;
                    return Err(blocked(refused));
                }
            }
        }
    }

    /// Goes on by a refresh token that another process left, or by its access token, while that is
    /// good.
    fn take(&self, shared: &Shared, newer: Stored) -> Result<Fresh<Lease>, Arc<Secret>> {
        let refresh = Arc::new(newer.refresh);
        *self.kept.lock() = Kept::Session(Arc::clone(&refresh));
        let found = newer.access.and_then(|access| self.found(shared, &access));
        found.ok_or(refresh)
    }

    /// What another process has made of a refresh token. Waits for one that is at it.
    async fn left_by_another(&self, shared: &Shared, refresh: &Secret) -> Option<Stored> {
        // What is stored is older than what is kept.
        if self.unsaved.load(Ordering::Relaxed) {
            return None;
        }
        loop {
            let stored = self.newest(shared).await?;
            if stored.refresh != *refresh {
                return Some(stored);
            }
            let patience = patience(shared);
            if !shared.store().is_renewed_elsewhere(&stored, patience) {
                return None;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether the refresh token may be sent: the disk knows of it then.
    async fn begin(&self, shared: &Shared, refresh: &Secret) -> bool {
        let store = shared.store();
        self.unsaved.load(Ordering::Relaxed)
            || store
                .begin_visit(self.key.id, refresh, patience(shared))
                .await
    }

    /// The refusal in a setback, if it is one that may end the session.
    async fn refusal(&self, shared: &Shared, setback: Setback) -> Result<IssueError, Setback> {
        let error = match setback {
            Setback::Failed(error) => error,
            blocked @ Setback::Blocked { .. } => {
                shared.store().unsent_visit(self.key.id).await;
                return Err(blocked);
            }
        };
        // What is no answer of the endpoint, a page of something before it perhaps, ends nothing.
        if error.is_unreadable() {
            let unreadable = IssueError::Malformed("a refusal that cannot be read");
            return Err(Setback::Failed(unreadable));
        }
        match error {
            IssueError::Challenge(_) | IssueError::Refused { .. } => Ok(error),
            error => {
                if let IssueError::Throttled { .. } = error {
                    shared.store().unsent_visit(self.key.id).await;
                }
                Err(Setback::Failed(error))
            }
        }
    }

    /// What another process has made of a refused refresh token, or is just making of it. Where it
    /// has made nothing, the session is forgotten.
    async fn newer_than(&self, shared: &Shared, refused: &Secret) -> Option<Stored> {
        for _ in 0..LOOKS {
            match self.newest(shared).await {
                Some(newer) if newer.refresh != *refused => return Some(newer),
                Some(_) => tokio::time::sleep(LOOK_AGAIN).await,
                None => return None,
            }
        }
        shared.store().remove(self.key.id, refused).await;
        self.newest(shared).await
    }

    async fn newest(&self, shared: &Shared) -> Option<Stored> {
        let stored = shared.store().load(self.key.id).await?;
        let is_at_home = stored.place == shared.issuer().place_print(&self.key.console);
        is_at_home.then_some(stored)
    }

    async fn refresh(&self, shared: &Shared, refresh: &Secret) -> Result<Obtained, Setback> {
        self.renewed.begins();
        let purpose = Purpose {
            access: self.key.access,
            grant: GrantKind::Refresh,
            standing: Standing::Other,
            target: None,
            tenant: None,
            user: self.user.as_deref(),
            asker: self.subject(),
        };
        let (issuer, console) = (shared.issuer(), &self.key.console);
        let call = issuer.refresh(console, refresh, self.key.access);
        self.desk.call(shared, purpose, call).await
    }
}

/// How long the answer to another process may be on its way.
fn patience(shared: &Shared) -> Duration {
    shared.policy().call_limit() + SAVING
}

/// How often another process is looked for, and how long it may take to save what it got.
const LOOKS: u32 = 4;
const LOOK_AGAIN: Duration = Duration::from_millis(250);
const SAVING: Duration = Duration::from_secs(5);
