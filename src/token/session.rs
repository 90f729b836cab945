//! How the session of one of the gateway's own identities is obtained and kept alive.
//!
//! A session is its refresh token: that is what `as` needs, and what must not be lost. It is
//! exchanged at half its life, used or not. Its access token is only for calls in its own name.

mod tries;
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
use super::store::Renewal;
use crate::tenant::IdentityId;
use crate::upstream::ConsoleId;
use crate::vspc::grant::{Access, IssueError, Subject};
use tries::Tries;
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
    tries: Mutex<Tries>,
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
            tries: Mutex::default(),
        }
    }

    pub(super) fn console(&self) -> &ConsoleId {
        &self.desk.id
    }

    /// The print of the identity's credentials, as it was when somebody last looked.
    pub(super) fn print(&self, shared: &Shared) -> Option<u64> {
        let mut print = self.print.lock();
        *print.get_or_insert_with(|| shared.issuer().credential_print(&self.identity))
    }

    /// Looks at the credentials again. Whether they are others than before; ones that cannot be
    /// read just now are not.
    pub(super) fn has_new_credentials(&self, shared: &Shared) -> bool {
        let now = shared.issuer().credential_print(&self.identity);
        let before = self.print(shared);
        if now.is_none() || now == before {
            return false;
        }
        *self.print.lock() = Some(now);
        true
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

    /// Whether the last log-in was refused, with the credentials of then.
    pub(super) fn is_refused(&self) -> bool {
        self.tries.lock().is_refused()
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
    pub(super) async fn is_kept(&self, shared: &Shared) -> bool {
        let print = self.print(shared);
        let known = shared.store().identity(&self.identity, print).await;
        known.is_some_and(|known| known.chain.is_some())
    }

    /// What another process, or this one before it was started, left: nothing where that is what is
    /// held already.
    async fn stored(&self, shared: &Shared, print: Option<u64>) -> Option<Fresh<Session>> {
        if self.shuns_store.load(Ordering::Relaxed) {
            return None;
        }
        let store = shared.store();
        let mut known = store.identity(&self.identity, print).await?;
        for _ in 0..LOOKS {
            if !known.is_renewing {
                break;
            }
            sleep(LOOK_AGAIN).await;
            known = store.identity(&self.identity, print).await?;
        }
        self.tries
            .lock()
            .learn(print, known.refusals, store.now(), Instant::now());
        let chain = known.chain.filter(|_| !known.is_renewing);
        if chain.is_none() && known.is_renewing {
            let identity = &self.identity;
            tracing::warn!(%identity, "a process ended while it renewed a session: its refresh token is given up");
            store.forget(identity, None).await;
            *self.kept.lock() = None;
        }
        let chain = chain?;
        let held = self.kept.lock().clone();
        if held.is_some_and(|held| held.refresh().is_some_and(|it| **it == chain.refresh)) {
            return None;
        }
        let session = Session::revived(shared, print, chain)?;
        Some(session.into_fresh())
    }

    /// Exchanges the refresh token that is held, if there is one that may be good.
    async fn refresh(
        &self,
        shared: &Shared,
        print: Option<u64>,
    ) -> Result<Option<Fresh<Session>>, Setback> {
        let Some(held) = self.kept.lock().clone() else {
            return Ok(None);
        };
        let Some(refresh) = held.refresh() else {
            return Ok(None);
        };
        let store = shared.store();
        if let Renewal::Overtaken = store.begin_renewal(&self.identity, refresh).await {
            let newer = self.stored(shared, print).await;
            if newer.is_none() {
                *self.kept.lock() = None;
            }
            return Ok(newer);
        }
        let purpose = self.purpose(GrantKind::Refresh, held.subject());
        let call = shared.issuer().refresh(&self.desk.id, refresh, self.access);
        match self.desk.call(shared, purpose, call).await {
            Ok(obtained) => Ok(Some(
                self.settle(shared, print, obtained, Some(&held)).await,
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
            Setback::Failed(IssueError::WrongSubject { .. }) => self.give_up(shared, held).await,
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

    async fn log_in(&self, shared: &Shared, print: Option<u64>) -> Result<Fresh<Session>, Setback> {
        let store = shared.store();
        let begun = self.tries.lock().begin(print, Instant::now());
        let before = begun.map_err(|(error, until)| Setback::Blocked { error, until })?;
        // As if it were refused: whoever starts next must know, should this process die of it.
        let noted = before.and_one_more(store.now());
        store.note_refusals(&self.identity, print, noted).await;
        let purpose = self.purpose(GrantKind::Login, None);
        let call = shared.issuer().login(&self.identity);
        match self.desk.call(shared, purpose, call).await {
            Ok(obtained) => Ok(self.settle(shared, print, obtained, None).await),
            Err(Setback::Failed(
                error @ (IssueError::Challenge(_) | IssueError::Refused { .. }),
            )) => {
                let now = Instant::now();
                let until = self.tries.lock().refused(print, &error, now);
                let (identity, tries) = (&self.identity, noted.count);
                if tries >= NEAR_A_LOCK_OUT {
                    let minutes = (until - now).as_secs().div_ceil(60);
                    tracing::error!(%identity, tries, minutes,
                        "the console refuses the gateway's log-in, and locks accounts that go on: the next try comes in some minutes, or at once when the secret is another one");
                }
                Err(Setback::Blocked { error, until })
            }
            Err(setback) => {
                store.note_refusals(&self.identity, print, before).await;
                Err(setback)
            }
        }
    }

    /// Keeps what was obtained, on the disk first.
    async fn settle(
        &self,
        shared: &Shared,
        print: Option<u64>,
        obtained: Obtained,
        held: Option<&Session>,
    ) -> Fresh<Session> {
        let session = Session::obtained(shared, print, obtained, held);
        if let Some(chain) = session.to_stored(shared.store().now()) {
            shared.store().keep(&self.identity, print, &chain).await;
        }
        self.shuns_store.store(false, Ordering::Relaxed);
        session.into_fresh()
    }
}

impl Kind for SessionKind {
    type Value = Session;

    async fn fetch(&self, shared: &Arc<Shared>) -> Result<Fresh<Session>, Setback> {
        let _turn = self.desk.turns.session(shared.places()).await;
        let print = self.print(shared);
        if let Some(fresh) = self.stored(shared, print).await {
            return Ok(fresh);
        }
        let held = self.kept.lock().clone();
        if let Some(held) = held.filter(|held| held.print() != print) {
            // The credentials are new, so they are used. Should they be wrong, what the old ones
            // gave is kept alive for as long as it takes.
            let now = Instant::now();
            let is_due = held.span(now).is_half_over();
            return match self.log_in(shared, print).await {
                Err(_) if is_due => self.refresh(shared, held.print()).await?.ok_or_else(lost),
                result => result,
            };
        }
        if self.is_ending(shared) {
            return self.log_in(shared, print).await;
        }
        match self.refresh(shared, print).await? {
            Some(fresh) => Ok(fresh),
            None => self.log_in(shared, print).await,
        }
    }

    fn accept(&self, value: &Session) {
        self.stumbles.store(0, Ordering::Relaxed);
        if value.proved_at().is_some() {
            self.tries.lock().forget();
        }
        *self.kept.lock() = Some(value.clone());
    }

    fn emptied(&self, _: &Shared) {
        *self.kept.lock() = None;
        self.shuns_store.store(true, Ordering::Relaxed);
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
/// Directories lock an account after some five refusals.
const NEAR_A_LOCK_OUT: u32 = 3;
/// How often another process is looked for that may be renewing the session just now.
const LOOKS: u32 = 8;
const LOOK_AGAIN: Duration = Duration::from_millis(250);
