//! What operators see of the tokens, and do with them: an overview without a token in it, a renewal
//! by hand, a token dropped.

mod forget;
mod limit;
mod view;

pub use forget::Forgotten;
pub use limit::RenewalLimit;

use std::sync::Arc;

use tokio::time::Instant;

use super::account::Account;
use super::cell::Cell;
use super::fetch::Impersonation;
use super::session::SessionKind;
use super::shared::Shared;
use super::store::Doomed;
use super::{Broker, ConsoleId, Generation, TokenKey};
use crate::secret::Fingerprint;
use crate::tenant::{AccountKey, IdentityId};
use crate::vspc::grant::{Access, IssueError, Subject};
use view::{view_account, view_impersonation, view_login, view_session};

/// What a token is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TokenKind {
    /// The gateway's own session at a console.
    Session,
    /// One that acts as a user, obtained with that session.
    Impersonation,
    /// The session of somebody who logged in as itself.
    Login,
}

impl TokenKind {
    /// The kind of a name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Session, Self::Impersonation, Self::Login]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Impersonation => "impersonation",
            Self::Login => "login",
        }
    }
}

/// How it stands with a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenState {
    /// None is held, and one is being obtained.
    Acquiring,
    /// The last attempt failed, and the next one has to wait.
    CoolingOff,
    /// None is held.
    Empty,
    /// One is held.
    Held,
    /// One is held, and its successor is being obtained.
    Renewing,
}

impl TokenState {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acquiring => "acquiring",
            Self::CoolingOff => "cooling off",
            Self::Empty => "empty",
            Self::Held => "held",
            Self::Renewing => "renewing",
        }
    }
}

/// What may be told of a token. Nobody can use anything in it.
#[derive(Clone, Debug)]
pub struct TokenView {
    /// Where it is good.
    pub console: ConsoleId,
    /// What it is for.
    pub kind: TokenKind,
    /// The user that it acts as, of an impersonation.
    pub target: Option<Subject>,
    /// The tenant whose own account it is, where it is not the gateway's.
    pub tenant: Option<Arc<str>>,
    /// The name of who logged in, where it is known.
    pub user: Option<Arc<str>>,
    /// What it may do.
    pub access: Access,
    /// How it stands with it.
    pub state: TokenState,
    /// The token that is held.
    pub held: Option<Life>,
    /// For how many seconds nobody has asked for it; none if nobody ever did.
    pub idle: Option<i64>,
    /// Why the last attempt to get one failed, and in how many seconds the next may be made.
    pub trouble: Option<(IssueError, i64)>,
}

/// A token that is held, and its times in seconds from now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Life {
    /// Its number in this process.
    pub generation: Generation,
    /// Recognizes it without showing it.
    pub fingerprint: Fingerprint,
    /// How long ago it was issued.
    pub age: i64,
    /// From when on it is renewed, if it is in use.
    pub renew_in: i64,
    /// From when on no request starts with it.
    pub served_for: i64,
    /// When it is dead at the console.
    pub dead_in: i64,
}

/// Which tokens an overview is about: those that fit all that is said.
#[derive(Clone, Debug, Default)]
pub struct SurveyFilter {
    /// Those of a console.
    pub console: Option<ConsoleId>,
    /// Those of a kind.
    pub kind: Option<TokenKind>,
    /// Those that act as a user.
    pub target: Option<Subject>,
    /// That of a tenant's own account.
    pub account: Option<Arc<str>>,
}

/// Which tokens are to be renewed or dropped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Which {
    /// The session of a tenant's own account.
    Account(Arc<AccountKey>),
    /// The session of a console.
    Session(ConsoleId),
    /// All that act as a user, wherever.
    Target(Subject),
    /// All that act as a tenant's user; this is the tenant's own.
    Tenant(TokenKey),
}

/// Tokens that were picked. To pick them does nothing yet.
pub struct Picked {
    cells: Vec<Pick>,
    /// What else goes when they are dropped, in memory or on the disk.
    doomed: Option<Doomed>,
    shared: Arc<Shared>,
}

enum Pick {
    Account(Arc<Cell<Account>>),
    Session(Arc<Cell<SessionKind>>),
    Impersonation(Arc<Cell<Impersonation>>),
}

/// What a token is known by.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Name {
    Account(IdentityId),
    Session(ConsoleId),
    Impersonation(TokenKey),
}

/// What came of a renewal.
#[derive(Clone, Debug)]
pub struct Renewed {
    /// Whether there is a token now that was not there before.
    pub is_new: bool,
    /// The token after it.
    pub view: TokenView,
}

impl Broker {
    /// Looks at all tokens: at most `limit` of those that fit, ordered by console, kind and user.
    /// Walks over all of them.
    pub fn survey(&self, filter: &SurveyFilter, limit: usize) -> Vec<TokenView> {
        let (shared, now) = (&self.0, Instant::now());
        let mut views = Vec::new();
        if filter.target.is_none() {
            // Collected first: no list is held while a cell is looked at.
            let sessions = shared.consoles.iter();
            let sessions = sessions.map(|console| Arc::clone(&console.session));
            let sessions: Vec<_> = sessions.collect();
            let sessions = sessions.iter();
            views.extend(filter.of(sessions.map(|cell| view_session(cell, shared, now))));
            let accounts = shared.accounts.iter();
            let accounts: Vec<_> = accounts.map(|cell| Arc::clone(&cell)).collect();
            let accounts = accounts.iter();
            views.extend(filter.of(accounts.map(|cell| view_account(cell, shared, now))));
        }
        if filter.target.is_none() && filter.kind.is_none_or(|kind| kind == TokenKind::Login) {
            let logins = shared.sessions().all().into_iter();
            views.extend(filter.of(logins.map(|cell| view_login(&cell, shared, now))));
        }
        if filter
            .kind
            .is_none_or(|kind| kind == TokenKind::Impersonation)
        {
            let target = |key: &TokenKey| filter.target.is_none_or(|target| target == key.target);
            let cells = shared.impersonations_where(target).into_iter();
            views.extend(filter.of(cells.map(|cell| view_impersonation(&cell, shared, now))));
        }
        views.sort_by_cached_key(|view| {
            let target = view.target.map(|target| target.0);
            let place = (view.console.clone(), view.kind, target);
            (place, view.user.clone(), view.access == Access::ReadOnly)
        });
        views.truncate(limit);
        views
    }

    /// Picks the tokens to renew. A tenant's own is always there to be picked.
    pub fn to_renew(&self, which: &Which) -> Picked {
        let mut picked = self.to_drop(which);
        if let (Which::Tenant(key), true) = (which, picked.cells.is_empty()) {
            let cell = self.0.impersonation(key);
            picked.cells.push(Pick::Impersonation(cell));
        }
        picked
    }

    /// Picks the tokens to drop, among those that there are. A session goes with all that was
    /// obtained with it.
    pub fn to_drop(&self, which: &Which) -> Picked {
        let of_users = |doomed: &Doomed| {
            let cells = self.0.impersonations_where(|key| doomed.takes(key));
            cells.into_iter().map(Pick::Impersonation).collect()
        };
        let (cells, doomed) = match which {
            // It is on the list whether it was used since the start or not: it may be on the disk.
            Which::Account(key) => (vec![Pick::Account(self.0.account(key))], None),
            Which::Session(console) => {
                let session = Arc::clone(&self.0.console(console).session);
                let doomed = Doomed::Console(console.clone());
                (vec![Pick::Session(session)], Some(doomed))
            }
            Which::Target(target) => {
                let doomed = Doomed::Target(*target);
                (of_users(&doomed), Some(doomed))
            }
            Which::Tenant(own) => {
                let doomed = Doomed::TargetAt(own.console.clone(), own.target);
                (of_users(&doomed), Some(doomed))
            }
        };
        let shared = Arc::clone(&self.0);
        Picked {
            cells,
            doomed,
            shared,
        }
    }
}

impl Picked {
    /// How many they are.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    fn names(&self) -> impl Iterator<Item = Name> {
        self.cells.iter().map(|cell| match cell {
            Pick::Account(cell) => Name::Account(cell.kind.session.kind.identity().clone()),
            Pick::Session(cell) => Name::Session(cell.kind.console().clone()),
            Pick::Impersonation(cell) => Name::Impersonation(cell.kind.key.clone()),
        })
    }

    fn views(&self) -> Vec<TokenView> {
        let now = Instant::now();
        let cells = self.cells.iter();
        cells
            .map(|cell| match cell {
                Pick::Account(cell) => view_account(cell, &self.shared, now),
                Pick::Session(cell) => view_session(cell, &self.shared, now),
                Pick::Impersonation(cell) => view_impersonation(cell, &self.shared, now),
            })
            .collect()
    }

    /// Renews all of them, or obtains those that are not held, and waits until that is done or
    /// `deadline`. What is held is served meanwhile; what is cooling off goes on doing so.
    pub async fn renew(self, deadline: Instant) -> Vec<Renewed> {
        let before = self.views();
        for cell in &self.cells {
            match cell {
                Pick::Account(cell) => cell.force(&self.shared),
                Pick::Session(cell) => cell.force(&self.shared),
                Pick::Impersonation(cell) => cell.force(&self.shared),
            }
        }
        for cell in &self.cells {
            match cell {
                Pick::Account(cell) => cell.landed(deadline).await,
                Pick::Session(cell) => cell.landed(deadline).await,
                Pick::Impersonation(cell) => cell.landed(deadline).await,
            }
        }
        let generation = |view: &TokenView| view.held.map(|held| held.generation);
        let after = self.views().into_iter();
        after
            .zip(&before)
            .map(|(view, before)| Renewed {
                is_new: view.held.is_some() && generation(&view) != generation(before),
                view,
            })
            .collect()
    }
}

impl SurveyFilter {
    fn of(&self, views: impl Iterator<Item = TokenView>) -> impl Iterator<Item = TokenView> {
        views.filter(|view| {
            self.console.as_ref().is_none_or(|it| *it == view.console)
                && self.kind.is_none_or(|kind| kind == view.kind)
                && self.target.is_none_or(|it| Some(it) == view.target)
                && self
                    .account
                    .as_ref()
                    .is_none_or(|it| Some(it) == view.tenant.as_ref())
        })
    }
}

impl Shared {
    /// The impersonations that are meant. Collected, since to empty a cell takes the lock of the
    /// list.
    pub(super) fn impersonations_where(
        &self,
        is_meant: impl Fn(&TokenKey) -> bool,
    ) -> Vec<Arc<Cell<Impersonation>>> {
        self.impersonations
            .iter()
            .filter(|entry| is_meant(entry.key()))
            .map(|entry| Arc::clone(entry.value()))
            .collect()
    }
}
