//! What a connection is waiting for, and for how long it may.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::Limits;
use super::budget::Excess;

/// What the reader and writer of a connection, the bodies of its answers and the watch over it know
/// of each other. Times are milliseconds since `begun`; 0 is never.
#[derive(Debug)]
pub(super) struct Ledger {
    begun: Instant,
    limits: Limits,
    /// Since when a part of a head or of a small frame is there.
    head: AtomicU64,
    /// When enough of the answers last went to the caller, or the first of them began to be due.
    moved: AtomicU64,
    /// How many answers have begun on the wire and not ended.
    answering: AtomicU32,
    /// Since when there is no request.
    idle: AtomicU64,
    /// Whether the caller takes no bytes at all.
    blocked: AtomicBool,
    /// Since when each body holds something that the caller does not take; 0 while it does not.
    bodies: Mutex<Vec<Arc<AtomicU64>>>,
    /// Whether the watch sleeps until something begins.
    parked: AtomicBool,
    begins: Notify,
    pub(super) excess: Mutex<Option<Excess>>,
}

/// Why a connection was given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(in crate::listen) enum Late {
    /// The rest of a head or of a small frame did not come.
    #[error("the rest of a head did not come")]
    Head,
    /// The caller does not take what is there for it.
    #[error("the answers are not read")]
    Unread,
}

impl Late {
    /// The same as a label of metrics.
    pub(in crate::listen) fn label(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Unread => "unread",
        }
    }
}

impl Ledger {
    /// The ledger of a connection that begins at `begun`.
    pub(super) fn new(limits: &Limits, begun: Instant) -> Self {
        let ledger = Self {
            begun,
            limits: *limits,
            head: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            answering: AtomicU32::new(0),
            idle: AtomicU64::new(1),
            blocked: AtomicBool::new(false),
            bodies: Mutex::default(),
            parked: AtomicBool::new(false),
            begins: Notify::new(),
            excess: Mutex::new(None),
        };
        // The preface is due from the beginning.
        ledger.head.store(1, Relaxed);
        ledger
    }

    /// The time, which is never 0.
    pub(super) fn now(&self) -> u64 {
        let millis = self.begun.elapsed().as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX - 1) + 1
    }

    /// A part of a head is there since `since`, or none.
    pub(super) fn head_since(&self, since: Option<u64>) {
        self.head.store(since.unwrap_or(0), Relaxed);
        if since.is_some() {
            self.wake();
        }
    }

    /// Takes in how many bytes of answers went to the caller since this last gave true: whether
    /// they are enough for all the answers that wait for it.
    pub(super) fn moved(&self, bytes: usize) -> bool {
        let enough = bytes >= PROGRESS && bytes >= PROGRESS.saturating_mul(self.due().max(1));
        if enough {
            self.begin();
        }
        enough
    }

    /// Begins the time anew that answers may wait for their caller.
    fn begin(&self) {
        self.moved.store(self.now(), Relaxed);
    }

    /// How many answers have begun and not ended.
    pub(super) fn answering(&self, answering: u32) {
        if self.answering.load(Relaxed) < answering && self.due() == 0 {
            self.begin();
        }
        self.answering.store(answering, Relaxed);
        if answering > 0 {
            self.wake();
        }
    }

    /// Whether there is a request.
    pub(super) fn busy(&self, busy: bool) {
        let was_busy = self.idle.load(Relaxed) == 0;
        if busy != was_busy {
            let since = if busy { 0 } else { self.now() };
            self.idle.store(since, Relaxed);
        }
    }

    /// Returns when there has been no request for the time that a connection may stay without one,
    /// and for `beyond` besides.
    pub(super) async fn idle(&self, beyond: Duration) {
        let most = self.limits.idle_timeout.saturating_add(beyond);
        let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        loop {
            let pause = match self.idle.load(Relaxed) {
                // Whatever ends from now on is not idle for long enough before that.
                0 => most,
                since => {
                    let left = since.saturating_add(millis).saturating_sub(self.now());
                    if left == 0 {
                        return;
                    }
                    Duration::from_millis(left)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether the connection takes no bytes.
    pub(super) fn blocked(&self, blocked: bool) {
        if blocked && self.due() == 0 {
            self.begin();
        }
        if self.blocked.swap(blocked, Relaxed) != blocked && blocked {
            self.wake();
        }
    }

    /// How many answers wait for the caller to take what is there of them.
    fn due(&self) -> usize {
        let bodies = self.bodies.lock();
        let held = bodies.iter().filter(|held| held.load(Relaxed) > 0).count();
        held + self.with_transport(bodies.len())
    }

    /// Of how many answers the transport has the rest.
    fn with_transport(&self, bodies: usize) -> usize {
        let answering = usize::try_from(self.answering.load(Relaxed)).unwrap_or(usize::MAX);
        let blocked = usize::from(self.blocked.load(Relaxed));
        answering.saturating_sub(bodies) + blocked
    }

    fn wake(&self) {
        if self.parked.load(Relaxed) && self.parked.swap(false, Relaxed) {
            self.begins.notify_one();
        }
    }

    /// When something is late next, and what.
    fn next(&self) -> Option<(u64, Late)> {
        let after = |since: u64, most: Duration| {
            since.saturating_add(u64::try_from(most.as_millis()).unwrap_or(u64::MAX))
        };
        let head = match self.head.load(Relaxed) {
            0 => None,
            since => Some((after(since, self.limits.head_timeout), Late::Head)),
        };
        let moved = self.moved.load(Relaxed);
        let bodies = self.bodies.lock();
        let held = bodies.iter().map(|held| held.load(Relaxed));
        let held = held
            .filter(|since| *since > 0)
            .map(|since| since.max(moved));
        let rest = (self.with_transport(bodies.len()) > 0).then_some(moved);
        let unread = held.chain(rest).min();
        let unread = unread.map(|since| (after(since, self.limits.unread_timeout), Late::Unread));
        drop(bodies);
        head.into_iter().chain(unread).min_by_key(|(at, _)| *at)
    }

    fn is_idle(&self) -> bool {
        self.head.load(Relaxed) == 0
            && self.answering.load(Relaxed) == 0
            && !self.blocked.load(Relaxed)
    }

    /// Returns when the connection is to be given up.
    pub(super) async fn late(&self) -> Late {
        // Nothing that begins now can be late before that.
        let step = self.limits.head_timeout.min(self.limits.unread_timeout);
        loop {
            self.parked.store(true, Relaxed);
            if self.is_idle() {
                self.begins.notified().await;
            }
            self.parked.store(false, Relaxed);
            let now = self.now();
            let mut pause = step;
            if let Some((at, late)) = self.next() {
                if at <= now {
                    return late;
                }
                pause = pause.min(Duration::from_millis(at - now));
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// The body of an answer, which tells since when the caller does not take what it holds.
#[derive(Debug)]
pub(in crate::listen) struct Watched<B> {
    body: B,
    held: Arc<AtomicU64>,
    ledger: Arc<Ledger>,
}

impl<B> Watched<B> {
    pub(super) fn new(body: B, ledger: Arc<Ledger>) -> Self {
        let held = Arc::new(AtomicU64::new(0));
        ledger.bodies.lock().push(Arc::clone(&held));
        Self { body, held, ledger }
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        // What is left of the answer is the transport's from now on.
        if self.ledger.due() == 0 {
            self.ledger.begin();
        }
        let mut bodies = self.ledger.bodies.lock();
        if let Some(at) = bodies
            .iter()
            .rposition(|held| Arc::ptr_eq(held, &self.held))
        {
            bodies.swap_remove(at);
        }
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        // Who is asked for more has got rid of what it held.
        self.held.store(0, Relaxed);
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(_))) = &frame {
            self.held.store(self.ledger.now(), Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The bytes that must go to the caller, for each answer that waits for it, within the time that it
/// may wait: with fewer it is held on purpose.
const PROGRESS: usize = 4096;
