//! What is known of one tenant.

use tokio::time::Instant;

use super::Limits;
use super::bucket::Bucket;
use super::queue::Queue;

#[derive(Debug)]
pub(super) struct Tenant<W> {
    pub(super) running: usize,
    pub(super) queue: Queue<W>,
    pub(super) bucket: Bucket,
    pub(super) pause: Option<Instant>,
    pub(super) stand: Stand,
}

/// Where a tenant stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stand {
    /// All its places are taken; one of them calls it.
    Full,
    /// Nobody of it waits.
    Idle,
    /// Its rate or its pause holds it back until then.
    Later(Instant),
    /// It is called when the console has a place: before those with a higher number.
    Ready(u64),
}

impl<W> Tenant<W> {
    /// When its own rate or pause lets it go.
    pub(super) fn opens(&self, limits: &Limits) -> Option<Instant> {
        self.pause.max(self.bucket.opens(limits.tenant_rate))
    }

    pub(super) fn go(&mut self, limits: &Limits, now: Instant) {
        self.running += 1;
        self.bucket.take(limits.tenant_rate, now);
    }

    pub(super) fn is_forgettable(&self, now: Instant) -> bool {
        self.running == 0
            && self.queue.is_empty()
            && self.bucket.is_whole(now)
            && self.pause.is_none_or(|until| until <= now)
    }
}

impl<W> Default for Tenant<W> {
    fn default() -> Self {
        Self {
            running: 0,
            queue: Queue::default(),
            bucket: Bucket::default(),
            pause: None,
            stand: Stand::Idle,
        }
    }
}
