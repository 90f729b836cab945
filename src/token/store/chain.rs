//! The sessions of the gateway's own identities, as they are kept: nothing is sent to a console
//! that the disk does not know of, so that whoever starts next knows what to make of it.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::{Zeroize as _, Zeroizing};

use super::super::policy::{Span, SpanKind};
use super::access::{StoredAccess, WrittenAccess, span};
use super::ledger::{Came, Entry, Ledger};
use super::{SessionStore, report};
use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::state::{Change, StateError, Table};
use crate::tenant::IdentityId;
use crate::vspc::grant::Subject;

/// A session as it is kept.
#[derive(Debug)]
pub(in super::super) struct StoredChain {
    pub(in super::super) access: Option<StoredAccess>,
    pub(in super::super) issued: Timestamp,
    pub(in super::super) lifetime: Duration,
    pub(in super::super) refresh: Secret,
    pub(in super::super) subject: Option<Subject>,
}

impl StoredChain {
    /// What is left of the refresh token's life.
    pub(in super::super) fn span(&self, now: Timestamp) -> Option<Span> {
        span(SpanKind::Chain, self.issued, self.lifetime, now)
    }
}

/// What is known of an identity.
#[derive(Debug)]
pub(in super::super) enum Known {
    /// No session, or one that was obtained with other credentials.
    Nothing,
    /// A process ended after it had sent the refresh token and before it had kept what it got.
    Lost,
    /// Another process has sent the refresh token, and is waiting.
    Renewing,
    /// A session.
    Session(StoredChain),
}

/// Whether a refresh token may be sent.
#[derive(Debug)]
pub(in super::super) enum Renewal {
    /// It may, and the disk knows.
    Begun,
    /// Another process was faster, or is at it.
    Overtaken,
}

#[derive(Default, Deserialize, Serialize)]
struct Written {
    /// Tells the credentials that the session was obtained with.
    print: Option<u64>,
    chain: Option<WrittenChain>,
    #[serde(default)]
    ledger: Ledger,
}

#[derive(Deserialize, Serialize)]
struct WrittenChain {
    access: Option<WrittenAccess>,
    /// In microseconds since 1970.
    issued: i64,
    /// In seconds.
    lifetime: u64,
    refresh: String,
    subject: Option<Uuid>,
    /// Who sent the refresh token.
    renewing: Option<Mark>,
}

/// A process that has sent a refresh token.
#[derive(Clone, Copy, Deserialize, Serialize)]
struct Mark {
    process: Uuid,
    pid: u32,
}

impl Mark {
    fn is_alive(self) -> bool {
        if self.pid == std::process::id() {
            // Another process of this number is gone; in tests two of them share one.
            return cfg!(test);
        }
        Path::new("/proc").join(self.pid.to_string()).exists()
    }
}

impl Drop for WrittenChain {
    fn drop(&mut self) {
        self.refresh.zeroize();
    }
}

impl SessionStore {
    /// What is known of an identity, under the credentials that it has now. Nothing where the disk
    /// does not answer.
    pub(in super::super) async fn identity(
        &self,
        identity: &IdentityId,
        print: Option<u64>,
    ) -> Known {
        let Some(state) = self.state.clone() else {
            return Known::Nothing;
        };
        let (name, process) = (identity.to_string().into_bytes(), self.process);
        let look = move || {
            let value = match state.get(Table::Chains, &name) {
                Err(StateError::Damaged) => None,
                other => report(other).flatten(),
            };
            let written: Written = value
                .and_then(|value| serde_json::from_slice(&value).ok())
                .unwrap_or_default();
            match written.chain {
                Some(chain) if written.print == print => match chain.renewing {
                    Some(mark) if mark.process == process => Known::Nothing,
                    Some(mark) if mark.is_alive() => Known::Renewing,
                    Some(_) => Known::Lost,
                    None => Known::Session(chain.into()),
                },
                _ => Known::Nothing,
            }
        };
        self.within(look).await.unwrap_or(Known::Nothing)
    }

    /// Notes on the disk that a refresh token is about to be sent, if it is still the newest one.
    pub(in super::super) async fn begin_renewal(
        &self,
        identity: &IdentityId,
        refresh: &Secret,
    ) -> Renewal {
        let (process, refresh) = (self.process, refresh.duplicate());
        let begun = self.with(identity, move |mut written, entry| {
            let Some(chain) = &mut written.chain else {
                return Ok(Renewal::Begun);
            };
            let is_ours = chain.renewing.is_none_or(|by| by.process == process);
            if chain.refresh != refresh.expose() || !is_ours {
                return Ok(Renewal::Overtaken);
            }
            chain.renewing = Some(Mark {
                process,
                pid: std::process::id(),
            });
            entry.put(&written)?;
            Ok(Renewal::Begun)
        });
        // A disk that fails must not stop the renewal.
        begun.await.unwrap_or(Renewal::Begun)
    }

    /// Takes that note back: the refresh token was not sent.
    pub(in super::super) async fn unsent(&self, identity: &IdentityId) {
        let process = self.process;
        self.with(identity, move |mut written, entry| {
            if let Some(chain) = &mut written.chain
                && chain.renewing.is_some_and(|by| by.process == process)
            {
                chain.renewing = None;
                entry.put(&written)?;
            }
            Ok(())
        })
        .await;
    }

    /// Keeps a session: it is on the disk when this returns true, or nothing is ever kept.
    pub(in super::super) async fn keep(
        &self,
        identity: &IdentityId,
        print: Option<u64>,
        chain: &StoredChain,
    ) -> bool {
        if self.state.is_none() {
            return true;
        }
        let chain = Some(WrittenChain::from(chain));
        let kept = self.with(identity, move |mut written, entry| {
            written.print = print;
            written.chain = chain;
            entry.put(&written)
        });
        kept.await.is_some()
    }

    /// Forgets a session whose refresh token is dead, unless another process has a newer one; with
    /// none given, whatever there is.
    pub(in super::super) async fn forget(&self, identity: &IdentityId, refresh: Option<&Secret>) {
        let refresh = refresh.map(Secret::duplicate);
        self.with(identity, move |mut written, entry| {
            let is_it = match (&written.chain, &refresh) {
                (Some(chain), Some(dead)) => chain.refresh == dead.expose(),
                (Some(_), None) => true,
                (None, _) => false,
            };
            if is_it {
                written.chain = None;
                entry.put(&written)?;
            }
            Ok(())
        })
        .await;
    }

    /// Asks for a log-in, and writes down that it is tried: a process that dies and starts over and
    /// over, or two of them, must not lock the account. Where the disk does not answer, only `own`
    /// counts, which is what this process knows.
    pub(in super::super) async fn begin_login(
        &self,
        identity: &IdentityId,
        print: Option<u64>,
        own: &Ledger,
        patience: Duration,
    ) -> (Entry, Ledger) {
        let (process, now, mut mine) = (self.process, self.now(), own.clone());
        let begun = self.with(identity, move |mut written, entry| {
            let begun = written.ledger.begin(print, now, process, patience);
            entry.put(&written)?;
            Ok((begun, written.ledger.clone()))
        });
        match begun.await {
            Some(begun) => begun,
            None => (mine.begin(print, now, process, patience), mine),
        }
    }

    /// Writes down what became of the log-in.
    pub(in super::super) async fn login_ended(
        &self,
        identity: &IdentityId,
        print: Option<u64>,
        came: Came,
    ) {
        let process = self.process;
        self.with(identity, move |mut written, entry| {
            written.ledger.ended(print, process, came);
            entry.put(&written)
        })
        .await;
    }

    /// Tells this process from others.
    pub(in super::super) fn process(&self) -> Uuid {
        self.process
    }

    /// Looks at what is kept of an identity, and changes it.
    async fn with<T: Send + 'static>(
        &self,
        identity: &IdentityId,
        work: impl FnOnce(Written, &mut Place<'_, '_>) -> Result<T, StateError> + Send + 'static,
    ) -> Option<T> {
        let state = self.state.clone()?;
        let name = identity.to_string().into_bytes();
        let work = move || {
            let done = state.change(Table::Chains, |change| {
                let written = match change.get(&name) {
                    // It is written anew.
                    Err(StateError::Damaged) => None,
                    other => other?,
                };
                let written = written.and_then(|value| serde_json::from_slice(&value).ok());
                let mut place = Place {
                    change,
                    name: &name,
                };
                work(written.unwrap_or_default(), &mut place)
            });
            report(done)
        };
        self.within(work).await.flatten()
    }

    /// Does something on a thread that may block. A disk that hangs is one that fails.
    async fn within<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let work = tokio::task::spawn_blocking(work);
        match tokio::time::timeout(DISK_TIME, work).await {
            Ok(done) => done.ok(),
            Err(_) => {
                tracing::error!("the state directory does not answer: sessions are not kept");
                None
            }
        }
    }
}

/// The place of one identity in a change.
struct Place<'a, 'c> {
    change: &'a mut Change<'c>,
    name: &'a [u8],
}

impl Place<'_, '_> {
    fn put(&mut self, written: &Written) -> Result<(), StateError> {
        let tokens = written.chain.as_ref().map_or(0, |chain| {
            let access = chain.access.as_ref().map_or(0, WrittenAccess::length);
            chain.refresh.len() + access
        });
        // Reserved in full, so that growing leaves no copy of a token behind.
        let mut value = Zeroizing::new(Vec::with_capacity(2 * tokens + 4096));
        // Writing plain members to memory cannot fail.
        drop(serde_json::to_writer(&mut *value, written));
        self.change.put(self.name, &value)
    }
}

impl From<&StoredChain> for WrittenChain {
    fn from(chain: &StoredChain) -> Self {
        let access = chain.access.as_ref();
        Self {
            access: access.map(|it| WrittenAccess::new(it.access.expose(), it.issued, it.lifetime)),
            issued: chain.issued.0,
            lifetime: chain.lifetime.as_secs(),
            refresh: chain.refresh.expose().to_owned(),
            subject: chain.subject.map(|subject| subject.0),
            renewing: None,
        }
    }
}

impl From<WrittenChain> for StoredChain {
    fn from(mut written: WrittenChain) -> Self {
        Self {
            access: written.access.take().map(StoredAccess::from),
            issued: Timestamp(written.issued),
            lifetime: Duration::from_secs(written.lifetime),
            refresh: Secret::new(std::mem::take(&mut written.refresh)),
            subject: written.subject.map(Subject),
        }
    }
}

/// The most time that anybody waits for the disk.
const DISK_TIME: Duration = Duration::from_secs(2);
