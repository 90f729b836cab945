//! A session that is held.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::cell::Fresh;
use super::super::claims::Claims;
use super::super::desk::Obtained;
use super::super::lease::{Generation, Lease};
use super::super::policy::{Span, SpanKind};
use super::super::shared::Shared;
use super::super::store::{StoredAccess, StoredChain};
use crate::clock::Timestamp;
use crate::secret::{Fingerprint, Secret};
use crate::vspc::grant::Subject;

/// A session. A clone costs a counter.
#[derive(Clone)]
pub(in super::super) struct Session(Arc<Inner>);

struct Inner {
    access: Option<Access>,
    generation: Generation,
    /// When the console last answered to its refresh token; unknown for one from the store.
    proved_at: Option<Instant>,
    /// Tells the credentials that it was obtained with.
    print: Option<u64>,
    refresh: Option<Arc<Secret>>,
    /// What was left of its refresh token's life, and when.
    span: (Span, Instant),
    subject: Option<Subject>,
}

/// Its access token, for calls in its own name.
struct Access {
    lease: Lease,
    lifetime: Duration,
    /// How much of its life is left then.
    margin: Duration,
    /// No call starts with it after that.
    until: Instant,
}

impl Session {
    /// The session that was kept, as long as its refresh token lives.
    pub(super) fn revived(shared: &Shared, print: Option<u64>, chain: StoredChain) -> Option<Self> {
        let (wall, now) = (shared.store().now(), Instant::now());
        let span = chain.span(wall)?;
        let generation = shared.next_generation();
        let access = chain.access.as_ref().and_then(|stored| {
            let left = stored.span(wall)?;
            let margin = shared.policy().margin(left.lifetime);
            Some(Access {
                lease: Lease::new(&stored.access, generation)?,
                lifetime: left.lifetime,
                margin,
                until: now + left.lifetime.saturating_sub(left.age + margin),
            })
        });
        Some(Self(Arc::new(Inner {
            access,
            generation,
            proved_at: None,
            print,
            refresh: Some(Arc::new(chain.refresh)),
            span: (span, now),
            subject: chain.subject,
        })))
    }

    /// The session that an answer of the console makes, in place of the one that was held.
    pub(super) fn obtained(
        shared: &Shared,
        print: Option<u64>,
        obtained: Obtained,
        held: Option<&Self>,
    ) -> Self {
        let now = Instant::now();
        let old = held.and_then(Self::refresh);
        // An answer without a refresh token leaves the old one good.
        let new = obtained.refresh.as_ref();
        let goes_on = new.is_none_or(|new| old.is_some_and(|old| **old == *new));
        let refresh = obtained.refresh.map(Arc::new).or(old.cloned());
        let span = match (&refresh, held) {
            (None, _) => Span::token(obtained.lifetime),
            (Some(_), Some(held)) if goes_on => Span {
                kind: SpanKind::Tail,
                ..held.span(now)
            },
            (Some(refresh), _) => {
                let most = shared.policy().settings().chain_lifetime;
                let own = Claims::read(refresh).lifetime;
                Span {
                    age: Duration::ZERO,
                    kind: SpanKind::Chain,
                    lifetime: own.map_or(most, |own| own.min(most)),
                }
            }
        };
        let margin = shared.policy().margin(obtained.lifetime);
        Self(Arc::new(Inner {
            access: Some(Access {
                lease: obtained.lease,
                lifetime: obtained.lifetime,
                margin,
                until: now + obtained.lifetime.saturating_sub(margin),
            }),
            generation: obtained.generation,
            proved_at: Some(now),
            print,
            refresh,
            span: (span, now),
            subject: obtained.claims.subject.or(held.and_then(Self::subject)),
        }))
    }

    pub(super) fn into_fresh(self) -> Fresh<Self> {
        Fresh {
            generation: self.0.generation,
            span: self.0.span.0,
            value: self,
        }
    }

    /// As it is kept, having been obtained just now; none without a refresh token.
    pub(super) fn to_stored(&self, wall: Timestamp) -> Option<StoredChain> {
        let refresh = self.0.refresh.as_ref()?;
        let (span, _) = self.0.span;
        let age = i64::try_from(span.age.as_micros()).unwrap_or(i64::MAX);
        Some(StoredChain {
            access: self.0.access.as_ref().map(|access| StoredAccess {
                access: Secret::new(access.lease.text()),
                issued: wall,
                lifetime: access.lifetime,
            }),
            issued: Timestamp(wall.0.saturating_sub(age)),
            lifetime: span.lifetime,
            refresh: refresh.duplicate(),
            subject: self.0.subject,
        })
    }

    /// Recognizes it without showing it.
    pub(in super::super) fn fingerprint(&self) -> Fingerprint {
        let access = self.0.access.as_ref();
        let refresh = || self.0.refresh.as_ref().map(|it| it.fingerprint());
        let print = access.map(|it| it.lease.fingerprint()).or_else(refresh);
        print.unwrap_or_else(|| Secret::new(String::new()).fingerprint())
    }

    pub(in super::super) fn generation(&self) -> Generation {
        self.0.generation
    }

    pub(in super::super) fn refresh(&self) -> Option<&Arc<Secret>> {
        self.0.refresh.as_ref()
    }

    pub(in super::super) fn subject(&self) -> Option<Subject> {
        self.0.subject
    }

    pub(in super::super) fn print(&self) -> Option<u64> {
        self.0.print
    }

    pub(in super::super) fn proved_at(&self) -> Option<Instant> {
        self.0.proved_at
    }

    /// Its access token, while calls may start with it.
    pub(in super::super) fn access(&self, now: Instant) -> Option<&Lease> {
        let access = self.0.access.as_ref()?;
        (now < access.until).then_some(&access.lease)
    }

    /// Its access token and what is left of its life.
    pub(in super::super) fn token(&self, now: Instant) -> Option<(Lease, Span)> {
        let access = self.0.access.as_ref()?;
        let left = (access.until + access.margin).checked_duration_since(now)?;
        let span = Span {
            age: access.lifetime.saturating_sub(left),
            ..Span::token(access.lifetime)
        };
        Some((access.lease.clone(), span))
    }

    /// What is left of its refresh token's life.
    pub(super) fn span(&self, now: Instant) -> Span {
        let (span, at) = self.0.span;
        Span {
            age: span.age + now.saturating_duration_since(at),
            ..span
        }
    }
}
