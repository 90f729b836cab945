//! The end of tokens before their time, and the count of those that live.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use uuid::Uuid;

use super::{Kind, Token, Tokens};

/// Which tokens are revoked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Revocation {
    /// The user whose tokens are meant, or everybody.
    pub(crate) user: Option<Uuid>,
    /// The identity whose tokens are meant, or all.
    pub(crate) login: Option<u64>,
    /// Whether refresh tokens die too.
    pub(crate) sessions: bool,
    /// Whether all that the user's sessions were lent dies too.
    pub(crate) lent: bool,
}

impl Tokens {
    /// Revokes access tokens, and refresh tokens where asked; API keys live on. Returns how many.
    pub(crate) fn revoke(&self, which: Revocation) -> usize {
        let meant = |token: &Token| match token.kind {
            Kind::Access => true,
            Kind::ApiKey => false,
            Kind::Refresh => which.sessions,
        };
        let of_user = |token: &Token, user: Uuid| {
            token.subject == user || (which.lent && token.lent_to(user))
        };
        let of_login = |token: &Token, login: u64| {
            token.login == login
                || token
                    .session
                    .as_ref()
                    .is_some_and(|session| session.login == login)
        };
        self.revoke_where(|token| {
            meant(token)
                && which.user.is_none_or(|user| of_user(token, user))
                && which.login.is_none_or(|login| of_login(token, login))
        })
    }

    /// Revokes a user's tokens as the console does it: what its sessions were lent lives on, unless
    /// the switch says otherwise.
    pub(crate) fn revoke_of(&self, user: Uuid, login: Option<u64>) -> usize {
        self.revoke(Revocation {
            user: Some(user),
            login,
            sessions: true,
            lent: !self.outlives_parent,
        })
    }

    /// Ends the sessions that a user has opened; tokens that others were lent to act as the user
    /// live on.
    pub(super) fn supersede(&self, user: Uuid) {
        self.revoke_where(|token| {
            token.lent_to(user) && (!token.is_lent() || !self.outlives_parent)
        });
    }

    fn revoke_where(&self, meant: impl Fn(&Token) -> bool) -> usize {
        let mut count = 0;
        for shard in &self.shards {
            for token in shard.read().values() {
                if meant(token) && !token.revoked.swap(true, Ordering::Relaxed) {
                    count += 1;
                }
            }
        }
        count
    }

    /// Switches the API key of an identity on or off.
    pub(crate) fn enable_api_key(&self, login: u64, enabled: bool) {
        for shard in &self.shards {
            for token in shard.read().values() {
                if token.kind == Kind::ApiKey && token.login == login {
                    token.revoked.store(!enabled, Ordering::Relaxed);
                }
            }
        }
    }

    /// Counts the tokens and sessions that are alive now.
    pub(crate) fn live(&self) -> Live {
        let now = Instant::now();
        let mut live = Live::default();
        let mut sessions = HashSet::new();
        for shard in &self.shards {
            for token in shard.read().values() {
                let dead = token.expired(now)
                    || token.revoked.load(Ordering::Relaxed)
                    || token.spent.load(Ordering::Relaxed);
                match token.kind {
                    _ if dead => {}
                    Kind::Access => live.access_tokens += 1,
                    Kind::ApiKey => live.api_keys += 1,
                    Kind::Refresh => sessions.extend(token.session.as_ref().map(|s| s.id)),
                }
            }
        }
        live.sessions = sessions.len();
        live
    }
}

/// How much is alive.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Live {
    pub(crate) access_tokens: usize,
    pub(crate) api_keys: usize,
    pub(crate) sessions: usize,
}
