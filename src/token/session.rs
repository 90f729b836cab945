//! How the session of one of the gateway's own identities is obtained and kept alive.
//!
//! A session is its refresh token: that is what `as` needs, and what must not be lost. It is
//! exchanged at half its life, used or not. Its access token is only for calls in its own name.

mod log_in;
mod value;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::GrantKind;
use super::cell::{Fresh, Kind, Setback};
use super::desk::{Desk, Obtained, Purpose, Standing};
use super::renew::Queue;
use super::shared::Shared;
use super::slot::Upkeep;
use super::store::{Known, Ledger, Renewal};
use crate::tenant::IdentityId;
use crate::upstream::ConsoleId;
use crate::vspc::grant::{Access, IssueError, Outage, Subject};
pub(super) use value::Session;

/// What obtains the session of one identity.
pub(super) struct SessionKind {
    access: Access,
    desk: Arc<Desk>,
    identity: IdentityId,
    /// The session that was obtained last.
    kept: Mutex<Option<Session>>,
    /// The print of the credentials, once it was asked for.
    print: Mutex<Option<Option<u64>>>,
    /// What is stored was given up.
    shuns_store: AtomicBool,
    /// Failed refreshes of it in a row that were no refusals.
    stumbles: AtomicU32,
    /// Which drop of the session it is: what was begun before keeps nothing.
    epoch: AtomicU32,
    ledger: Mutex<Ledger>,
    /// When a session was last obtained.
    obtained_at: Mutex<Option<Instant>>,
    /// Why the last log-in did not go well.
    refusal: Mutex<Option<IssueError>>,
    /// What is held could not be kept: it is newer than what is stored.
    unsaved: AtomicBool,
}

/// What an attempt goes by.
#[derive(Clone, Copy)]
struct Attempt {
    epoch: u32,
    print: Option<u64>,
}

impl SessionKind {
    pub(super) fn new(identity: IdentityId, access: Access, desk: Arc<Desk>) -> Self {
        Self {
            access,
            desk,
            identity,
            kept: Mutex::new(None),
            print: Mutex::new(None),
            shuns_store: AtomicBool::new(false),
            stumbles: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            ledger: Mutex::default(),
            obtained_at: Mutex::default(),
            refusal: Mutex::default(),
            unsaved: AtomicBool::new(false),
        }
    }

    pub(super) fn console(&self) -> &ConsoleId {
        &self.desk.id
    }

    /// The print of the identity's credentials, as it was when somebody last looked.
    pub(super) async fn print(&self, shared: &Arc<Shared>) -> Option<u64> {
        let known = *self.print.lock();
        match known {
            Some(print) => print,
            None => {
                let print = self.look_at_credentials(shared).await;
                *self.print.lock().get_or_insert(print)
            }
        }
    }

    /// Looks at the credentials again. Whether they are others than before; ones that cannot be
    /// read just now are not.
    pub(super) async fn has_new_credentials(&self, shared: &Arc<Shared>) -> bool {
        let before = self.print(shared).await;
        let now = self.look_at_credentials(shared).await;
        if now.is_none() || now == before {
            return false;
        }
        *self.print.lock() = Some(now);
        true
    }

    /// Reads files.
    async fn look_at_credentials(&self, shared: &Arc<Shared>) -> Option<u64> {
        let (shared, identity) = (Arc::clone(shared), self.identity.clone());
        let look = move || shared.issuer().credential_print(&identity);
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    /// When a session was last obtained.
    pub(super) fn obtained_at(&self) -> Option<Instant> {
        *self.obtained_at.lock()
    }

    pub(super) fn access(&self) -> Access {
        self.access
    }

    pub(super) fn identity(&self) -> &IdentityId {
        &self.identity
    }

    fn purpose(&self, grant: GrantKind, asker: Option<Subject>) -> Purpose<'_> {
        Purpose {
            access: self.access,
            grant,
            standing: Standing::Own,
            target: None,
            tenant: self.identity.tenant(),
            user: None,
            asker,
        }
    }

    /// Whether what is held ends soon, and no exchange of it will help.
    fn is_ending(&self, shared: &Shared) -> bool {
        let kept = self.kept.lock();
        let now = Instant::now();
        kept.as_ref()
            .is_some_and(|kept| shared.policy().is_ending(kept.span(now)))
    }

    /// Whether this is the session of a user.
    pub(super) fn belongs_to(&self, subject: Subject) -> bool {
        let kept = self.kept.lock();
        kept.as_ref()
            .is_some_and(|kept| kept.subject() == Some(subject))
    }

    /// Whether the store has it.
    pub(super) async fn is_kept(&self, shared: &Arc<Shared>) -> bool {
        let print = self.print(shared).await;
        let known = shared.store().identity(&self.identity, print).await;
        matches!(known, Known::Session(_))
    }

    /// What another process, or this one before it was started, left: nothing where that is what is
    /// held already.
    pub(super) async fn stored(
        &self,
        shared: &Shared,
        print: Option<u64>,
    ) -> Option<Fresh<Session>> {
        let store = shared.store();
        if self.shuns_store.load(Ordering::Relaxed) {
            store.forget(&self.identity, None).await;
            return None;
        }
        if self.unsaved.load(Ordering::Relaxed) {
            return None;
        }
        let mut known = store.identity(&self.identity, print).await;
        for _ in 0..LOOKS {
            if !matches!(known, Known::Renewing) {
                break;
            }
            sleep(LOOK_AGAIN).await;
            known = store.identity(&self.identity, print).await;
        }
        let chain = match known {
            Known::Nothing => return None,
            Known::Lost | Known::Renewing => {
                let identity = &self.identity;
                tracing::warn!(%identity, "a process ended while it renewed a session: its refresh token is given up");
                store.forget(identity, None).await;
                *self.kept.lock() = None;
                return None;
            }
            Known::Session(chain) => chain,
        };
        let held = self.kept.lock().clone();
        if held.is_some_and(|held| held.refresh().is_some_and(|it| **it == chain.refresh)) {
            return None;
        }
        let session = Session::revived(shared, print, chain)?;
        Some(session.into_fresh())
    }

    /// Tries again to keep what could not be kept.
    async fn save(&self, shared: &Shared, session: &Session) {
        let store = shared.store();
        if let Some(chain) = session.to_stored(store.now()) {
            let kept = store.keep(&self.identity, session.print(), &chain).await;
            self.unsaved.store(!kept, Ordering::Relaxed);
        }
    }

    /// Exchanges the refresh token that is held, if there is one that may be good.
    async fn refresh(
        &self,
        shared: &Shared,
        attempt: Attempt,
    ) -> Result<Option<Fresh<Session>>, Setback> {
        let Some(held) = self.kept.lock().clone() else {
            return Ok(None);
        };
        let Some(refresh) = held.refresh() else {
            return Ok(None);
        };
        let store = shared.store();
        if self.unsaved.load(Ordering::Relaxed) {
            self.save(shared, &held).await;
        }
        // What is not on the disk cannot be marked there.
        let is_saved = !self.unsaved.load(Ordering::Relaxed);
        if is_saved && let Renewal::Overtaken = store.begin_renewal(&self.identity, refresh).await {
            let newer = self.stored(shared, attempt.print).await;
            if newer.is_none() {
                *self.kept.lock() = None;
            }
            return Ok(newer);
        }
        let purpose = self.purpose(GrantKind::Refresh, held.subject());
        let call = shared.issuer().refresh(&self.desk.id, refresh, self.access);
        match self.desk.call(shared, purpose, call).await {
            Ok(obtained) => Ok(Some(
                self.settle(shared, attempt, obtained, Some(&held)).await,
            )),
            Err(Setback::Failed(IssueError::Challenge(_) | IssueError::Refused { .. })) => {
                self.give_up(shared, &held).await;
                Ok(None)
            }
            Err(setback) => {
                self.stumble(shared, &held, &setback).await;
                Err(setback)
            }
        }
    }

    /// A refresh that failed without a refusal.
    async fn stumble(&self, shared: &Shared, held: &Session, setback: &Setback) {
        match setback {
            Setback::Blocked { .. } | Setback::Failed(IssueError::Throttled { .. }) => {
                shared.store().unsent(&self.identity).await;
            }
            // Without an answer nobody knows whether it was exchanged; sent twice, it may look stolen.
            Setback::Failed(
                IssueError::WrongSubject { .. } | IssueError::Unavailable(Outage::TimedOut),
            ) => self.give_up(shared, held).await,
            Setback::Failed(_) => {
                // What a dead refresh token is answered with is not documented. Should it look
                // like an outage, the next attempts go by log-in.
                if self.stumbles.fetch_add(1, Ordering::Relaxed) + 1 >= STUMBLES {
                    self.give_up(shared, held).await;
                }
            }
        }
    }

    /// Forgets a session whose refresh token is dead, unless it was replaced meanwhile.
    async fn give_up(&self, shared: &Shared, dead: &Session) {
        self.kept
            .lock()
            .take_if(|kept| kept.generation() == dead.generation());
        let refresh = dead.refresh().map(|it| &**it);
        shared.store().forget(&self.identity, refresh).await;
    }

    /// Keeps what was obtained, on the disk first.
    async fn settle(
        &self,
        shared: &Shared,
        attempt: Attempt,
        obtained: Obtained,
        held: Option<&Session>,
    ) -> Fresh<Session> {
        let session = Session::obtained(shared, attempt.print, obtained, held);
        // What was dropped meanwhile is not kept.
        if self.epoch.load(Ordering::Relaxed) == attempt.epoch {
            self.save(shared, &session).await;
            self.shuns_store.store(false, Ordering::Relaxed);
        }
        session.into_fresh()
    }
}

impl Kind for SessionKind {
    type Value = Session;

    async fn fetch(&self, shared: &Arc<Shared>) -> Result<Fresh<Session>, Setback> {
        let _turn = self.desk.turns.session(shared.places()).await;
        let epoch = self.epoch.load(Ordering::Relaxed);
        let print = self.print(shared).await;
        let attempt = Attempt { epoch, print };
        if let Some(fresh) = self.stored(shared, print).await {
            return Ok(fresh);
        }
        let held = self.kept.lock().clone();
        if let Some(held) = held.filter(|held| held.print() != print) {
            // The credentials are new, so they are used. Should they be wrong, what the old ones
            // gave is kept alive for as long as it takes.
            let now = Instant::now();
            let is_due = held.span(now).is_half_over();
            return match self.log_in(shared, attempt).await {
                Err(_) if is_due => {
                    let print = held.print();
                    let attempt = Attempt { print, ..attempt };
                    self.refresh(shared, attempt).await?.ok_or_else(lost)
                }
                result => result,
            };
        }
        if self.is_ending(shared) {
            return self.log_in(shared, attempt).await;
        }
        match self.refresh(shared, attempt).await? {
            Some(fresh) => Ok(fresh),
            None => self.log_in(shared, attempt).await,
        }
    }

    fn accept(&self, value: &Session) {
        self.stumbles.store(0, Ordering::Relaxed);
        *self.obtained_at.lock() = Some(Instant::now());
        *self.kept.lock() = Some(value.clone());
    }

    fn emptied(&self, _: &Shared) {
        *self.kept.lock() = None;
        self.epoch.fetch_add(1, Ordering::Relaxed);
        self.shuns_store.store(true, Ordering::Relaxed);
        self.unsaved.store(false, Ordering::Relaxed);
    }

    fn queue(&self) -> &Queue {
        &self.desk.queue
    }

    fn upkeep(&self, _: Instant) -> Upkeep {
        Upkeep::Always
    }

    fn recovered_at(&self) -> Option<Instant> {
        self.desk.recovered_at()
    }
}

/// The old session ended while the new credentials were refused.
fn lost() -> Setback {
    super::fetch::internal()
}

/// Failed refreshes after which a session is obtained by log-in.
const STUMBLES: u32 = 3;
/// How often another process is looked for that may be renewing the session just now.
const LOOKS: u32 = 60;
const LOOK_AGAIN: Duration = Duration::from_millis(250);
