//! The log-in: only when the account bears it, and written down before it is sent.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::GrantKind;
use super::super::cell::{Fresh, Setback};
use super::super::policy::login_cooldown;
use super::super::shared::Shared;
use super::super::store::{Came, Entry};
use super::{Attempt, LOOK_AGAIN, LOOKS, Session, SessionKind};
use crate::vspc::grant::{IssueError, Outage};

impl SessionKind {
    pub(super) async fn log_in(
        &self,
        shared: &Shared,
        attempt: Attempt,
    ) -> Result<Fresh<Session>, Setback> {
        let print = attempt.print;
        let (store, patience) = (shared.store(), shared.policy().call_limit());
        let own = self.ledger.lock().clone();
        let identity = &self.identity;
        let begin = || store.begin_login(identity, print, &own, patience);
        let (mut entry, mut ledger) = begin().await;
        for _ in 0..LOOKS {
            if entry != Entry::Elsewhere {
                break;
            }
            sleep(LOOK_AGAIN).await;
            // What the other process gets is good for this one.
            if let Some(fresh) = self.stored(shared, print).await {
                return Ok(fresh);
            }
            (entry, ledger) = begin().await;
        }
        *self.ledger.lock() = ledger;
        let before = match entry {
            Entry::Begun(before) => before,
            Entry::Elsewhere => {
                let error = IssueError::Unavailable(Outage::Internal);
                let until = Instant::now() + ELSEWHERE;
                return Err(Setback::Blocked { error, until });
            }
            Entry::Wait(wait) => {
                let error = self.refusal.lock().clone().unwrap_or_else(before_the_start);
                let until = Instant::now() + wait;
                return Err(Setback::Blocked { error, until });
            }
        };
        let purpose = self.purpose(GrantKind::Login, None);
        let call = shared.issuer().login(identity);
        let result = self.desk.call(shared, purpose, call).await;
        let came = match &result {
            Ok(_) => Came::Well,
            Err(Setback::Failed(IssueError::Challenge(_) | IssueError::Refused { .. })) => {
                Came::Refused
            }
            Err(Setback::Failed(IssueError::Unavailable(Outage::TimedOut))) => Came::Unclear,
            Err(_) => Came::Uncounted,
        };
        self.ledger.lock().ended(print, store.process(), came);
        store.login_ended(identity, print, came).await;
        match result {
            Ok(obtained) => Ok(self.settle(shared, attempt, obtained, None).await),
            Err(Setback::Failed(error)) if came == Came::Refused => {
                *self.refusal.lock() = Some(error.clone());
                let until = Instant::now() + login_cooldown(before);
                self.warn(before + 1);
                Err(Setback::Blocked { error, until })
            }
            Err(setback) => Err(setback),
        }
    }

    fn warn(&self, tries: u32) {
        let identity = &self.identity;
        if tries >= NEAR_A_LOCK_OUT {
            tracing::error!(%identity, tries,
                "the console refuses the gateway's log-in, and locks accounts that go on: the next try comes in 15 minutes, or soon when the secret is another one");
        }
    }
}

/// The refusal itself is not known any more.
fn before_the_start() -> IssueError {
    IssueError::Refused {
        error: "refused".into(),
        description: "log-ins were refused, or did not end, before".into(),
    }
}

/// How soon another process's log-in is looked for again.
const ELSEWHERE: Duration = Duration::from_secs(1);
/// Directories lock an account after some five refusals.
const NEAR_A_LOCK_OUT: u32 = 3;
