//! The sessions of the gateway's own identities, as they are kept: nothing is sent to a console
//! that the disk does not know of, so that whoever starts next knows what to make of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::{Zeroize as _, Zeroizing};

use super::super::policy::{Span, SpanKind};
use super::access::{StoredAccess, WrittenAccess, span};
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

/// Log-ins that the console refused, in a row.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in super::super) struct Refusals {
    pub(in super::super) count: u32,
    /// The last one.
    pub(in super::super) last: Option<Timestamp>,
}

/// What is known of an identity.
#[derive(Debug)]
pub(in super::super) struct Known {
    /// The session; none when it was lost, or obtained with other credentials.
    pub(in super::super) chain: Option<StoredChain>,
    pub(in super::super) refusals: Refusals,
    /// Another process sent the refresh token away, and has not saved what it got for it.
    pub(in super::super) is_renewing: bool,
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
    /// Tells the credentials that the rest was obtained with.
    print: Option<u64>,
    chain: Option<WrittenChain>,
    refused: u32,
    refused_at: Option<i64>,
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
    /// The process that sent the refresh token away.
    renewing: Option<Uuid>,
}

impl Drop for WrittenChain {
    fn drop(&mut self) {
        self.refresh.zeroize();
    }
}

impl SessionStore {
    /// What is known of an identity, under the credentials that it has now.
    pub(in super::super) async fn identity(
        &self,
        identity: &IdentityId,
        print: Option<u64>,
    ) -> Option<Known> {
        let process = self.process;
        let known = self.with(identity, move |written, _| {
            if written.print != print {
                return Ok(None);
            }
            let renewing = written.chain.as_ref().and_then(|chain| chain.renewing);
            Ok(Some(Known {
                is_renewing: renewing.is_some_and(|by| by != process),
                refusals: Refusals {
                    count: written.refused,
                    last: written.refused_at.map(Timestamp),
                },
                chain: written.chain.map(StoredChain::from),
            }))
        });
        known.await?
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
            let is_ours = chain.renewing.is_none_or(|by| by == process);
            if chain.refresh != refresh.expose() || !is_ours {
                return Ok(Renewal::Overtaken);
            }
            chain.renewing = Some(process);
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
                && chain.renewing == Some(process)
            {
                chain.renewing = None;
                entry.put(&written)?;
            }
            Ok(())
        })
        .await;
    }

    /// Keeps a session: it is on the disk when this returns true.
    pub(in super::super) async fn keep(
        &self,
        identity: &IdentityId,
        print: Option<u64>,
        chain: &StoredChain,
    ) -> bool {
        let written = Written {
            print,
            chain: Some(WrittenChain::from(chain)),
            ..Written::default()
        };
        let kept = self.with(identity, move |_, entry| entry.put(&written));
        kept.await.is_some()
    }

    /// Forgets a session whose refresh token is dead, unless another process has a newer one.
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

    /// Keeps how often the console refused a log-in, before the next one is sent: a process that
    /// dies and starts over and over must not lock the account.
    pub(in super::super) async fn note_refusals(
        &self,
        identity: &IdentityId,
        print: Option<u64>,
        refusals: Refusals,
    ) {
        self.with(identity, move |mut written, entry| {
            if written.print != print {
                written.chain = None;
            }
            written.print = print;
            written.refused = refusals.count;
            written.refused_at = refusals.last.map(|last| last.0);
            entry.put(&written)
        })
        .await;
    }

    /// Looks at what is kept of an identity, and changes it.
    async fn with<T: Send + 'static>(
        &self,
        identity: &IdentityId,
        work: impl FnOnce(Written, &mut Entry<'_, '_>) -> Result<T, StateError> + Send + 'static,
    ) -> Option<T> {
        let state = self.state.clone()?;
        let name = identity.to_string().into_bytes();
        let work = move || {
            let done = state.change(Table::Chains, |change| {
                let written = change.get(&name)?;
                let written = written.and_then(|value| serde_json::from_slice(&value).ok());
                let mut entry = Entry {
                    change,
                    name: &name,
                };
                work(written.unwrap_or_default(), &mut entry)
            });
            report(done)
        };
        tokio::task::spawn_blocking(work).await.ok().flatten()
    }
}

/// The place of one identity in a change.
struct Entry<'a, 'c> {
    change: &'a mut Change<'c>,
    name: &'a [u8],
}

impl Entry<'_, '_> {
    fn put(&mut self, written: &Written) -> Result<(), StateError> {
        let tokens = written.chain.as_ref().map_or(0, |chain| {
            let access = chain.access.as_ref().map_or(0, WrittenAccess::length);
            chain.refresh.len() + access
        });
        // Reserved in full, so that growing leaves no copy of a token behind.
        let mut value = Zeroizing::new(Vec::with_capacity(2 * tokens + 512));
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
