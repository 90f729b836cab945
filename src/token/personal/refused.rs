//! Tokens of such a session that the console refuses.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::Broker;
use crate::client::SessionKey;
use crate::vspc::grant::Subject;

/// When the console was last asked for a newer token, or that was last called for.
#[derive(Default)]
pub(super) struct LastRenewed(Mutex<Option<Instant>>);

impl Broker {
    /// Gives the token of a session up that the console refuses, however young it is: whoever asks
    /// next has it renewed, or finds out that the session has ended. One that was renewed just now
    /// stays: a console that refuses every token is not asked for one by every request.
    pub fn give_up(&self, key: &SessionKey) {
        let Some(cell) = self.0.sessions().get(key) else {
            return;
        };
        if cell.kind.renewed.may_again(self.0.policy().forced_gap()) {
            cell.discard(&self.0);
        }
    }

    /// Whom a session belongs to, as far as its tokens said.
    pub fn subject_of(&self, key: &SessionKey) -> Option<Subject> {
        self.0.sessions().get(key)?.kind.subject()
    }
}

impl LastRenewed {
    /// A renewal begins.
    pub(super) fn begins(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Whether the last renewal is so long ago. If it is, another one begins: of those who ask at
    /// once, one is told so.
    fn may_again(&self, gap: Duration) -> bool {
        let (mut renewed, now) = (self.0.lock(), Instant::now());
        let may = renewed.is_none_or(|at| now.saturating_duration_since(at) >= gap);
        if may {
            *renewed = Some(now);
        }
        may
    }
}
