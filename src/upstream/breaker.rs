//! A console that does not work is left alone for a while.
//!
//! After so many faults in a row the breaker opens: no request goes to the console for a pause. Then
//! one goes, and what comes of it decides; it goes at once when a check finds that an address works
//! which did not. `Circuit` is the state alone.
//!
//! VSPC answers every error of its own with 520, also one in a single report, and a report may take
//! longer than the console may. So a 520, no answer in time, and one that cannot be understood count
//! only when those in a row come from two different operations at least; and when the one request
//! that tries the console ends so, the console is tried on, but the next operation of which the same
//! comes opens the breaker again. While the one that tries takes its time, another may every few
//! seconds: whichever ends first decides.

#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::UpstreamError;
use crate::request::CanonicalPath;

/// When a console counts as one that does not work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Faults in a row that open the breaker.
    pub faults: NonZeroU32,
    /// How long the console is left alone.
    pub pause: Duration,
}

/// What the answer to a request says about the console.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It fails, or something before it does.
    Fault,
    /// It answers.
    Fine,
    /// It fails, maybe in this operation alone, of which this is the digest.
    FaultIn(u64),
}

/// The console is left alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the console does not work just now")]
pub struct Open {
    /// When it is tried next.
    pub retry_after: Duration,
}

impl Verdict {
    /// Judges what came of a request; `None` says nothing about the console.
    pub fn of<T>(
        answer: &Result<http::Response<T>, UpstreamError>,
        path: &CanonicalPath,
    ) -> Option<Self> {
        match answer {
            Ok(answer) => Some(match answer.status() {
                StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Self::Fault,
                // Somebody before the console did not wait for as long as the gateway does.
                StatusCode::GATEWAY_TIMEOUT => Self::FaultIn(operation(path)),
                status if status.as_u16() == SERVER_ERROR => Self::FaultIn(operation(path)),
                _ => Self::Fine,
            }),
            Err(UpstreamError::Body(_) | UpstreamError::Unsendable(_)) => None,
            Err(UpstreamError::Invalid(_) | UpstreamError::Timeout) => {
                Some(Self::FaultIn(operation(path)))
            }
            Err(UpstreamError::Cut(_) | UpstreamError::Tls(_) | UpstreamError::Unreachable(_)) => {
                Some(Self::Fault)
            }
        }
    }
}

/// A digest of the operation that a path belongs to: ids in it do not count.
fn operation(path: &CanonicalPath) -> u64 {
    let mut digest = DefaultHasher::new();
    for segment in path.segments() {
        let segment = if is_id(segment) { "*" } else { segment };
        segment.hash(&mut digest);
    }
    digest.finish()
}

/// Whether a segment is a number or a UUID.
fn is_id(segment: &str) -> bool {
    let is_number = segment.bytes().all(|byte| byte.is_ascii_digit());
    is_number || uuid::Uuid::try_parse(segment).is_ok()
}

/// The breaker of one console. Cheap to clone; clones are one.
#[derive(Clone, Debug)]
pub struct Breaker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    console: Box<str>,
    settings: Settings,
    circuit: Mutex<Circuit>,
    /// Whether nothing speaks against the console, so that most requests need no lock.
    calm: AtomicBool,
    epoch: AtomicU64,
}

/// Leave to ask the console. Whoever holds it reports what comes of it; if it is dropped without,
/// the next one may try.
#[derive(Debug)]
pub struct Call {
    breaker: Breaker,
    epoch: u64,
}

impl Breaker {
    /// A closed breaker of a console, which is named when it opens and closes.
    pub fn new(console: &str, settings: Settings) -> Self {
        Self(Arc::new(Inner {
            console: console.into(),
            settings,
            circuit: Mutex::new(Circuit::default()),
            calm: AtomicBool::new(true),
            epoch: AtomicU64::new(0),
        }))
    }

    /// Refuses while the console is left alone, but takes no leave yet.
    ///
    /// # Errors
    /// Says when the console is tried next.
    pub fn check(&self) -> Result<(), Open> {
        if self.0.calm.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.0.circuit.lock().check(Instant::now())
    }

    /// Asks for leave to send a request.
    ///
    /// # Errors
    /// Says when the console is tried next.
    pub fn admit(&self) -> Result<Call, Open> {
        let epoch = if self.0.calm.load(Ordering::Relaxed) {
            self.0.epoch.load(Ordering::Relaxed)
        } else {
            self.change(|circuit| circuit.admit(Instant::now()))?
        };
        let breaker = self.clone();
        Ok(Call { breaker, epoch })
    }

    /// Lets the next request try the console at once if it is left alone: something says that it
    /// may work again.
    pub fn end_pause(&self) {
        if !self.0.calm.load(Ordering::Relaxed) {
            self.change(|circuit| circuit.end_pause(Instant::now()));
        }
    }

    /// Whether the console is left alone, or is just being tried.
    pub fn is_open(&self) -> bool {
        !self.0.calm.load(Ordering::Relaxed) && self.0.circuit.lock().is_open()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Circuit) -> T) -> T {
        let mut circuit = self.0.circuit.lock();
        let was_open = circuit.is_open();
        let changed = change(&mut circuit);
        let console = &*self.0.console;
        match (was_open, circuit.is_open()) {
            (false, true) => tracing::error!(
                console,
                "the console failed several times in a row: requests are refused for a while"
            ),
            (true, false) => tracing::info!(console, "the console answers again"),
            _ => {}
        }
        self.0.epoch.store(circuit.epoch, Ordering::Relaxed);
        self.0.calm.store(circuit.is_calm(), Ordering::Relaxed);
        changed
    }
}

impl Call {
    /// Reports what came of a request.
    pub fn report(&self, verdict: Verdict) {
        let Breaker(inner) = &self.breaker;
        if verdict == Verdict::Fine && inner.calm.load(Ordering::Relaxed) {
            return;
        }
        let settings = &inner.settings;
        self.breaker
            .change(|circuit| circuit.report(self.epoch, verdict, Instant::now(), settings));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.breaker.0.calm.load(Ordering::Relaxed) {
            let now = Instant::now();
            self.breaker
                .change(|circuit| circuit.abandon(self.epoch, now));
        }
    }
}

/// What is known of a console. Each change of phase begins an epoch; what comes of a request that
/// was sent in one before says nothing any more.
#[derive(Debug, Default)]
struct Circuit {
    phase: Phase,
    epoch: u64,
}

#[derive(Debug)]
enum Phase {
    /// Requests go to the console.
    Closed(Streak),
    /// None does.
    Open { until: Instant },
    /// One does; another may then, too.
    Trying { next: Instant },
}

/// The faults since the last answer that was none.
#[derive(Clone, Copy, Debug, Default)]
struct Streak {
    faults: u32,
    single_faults: u32,
    /// The first operation with a fault that may be its own.
    operation: Option<u64>,
    /// Whether another one has them too.
    is_general: bool,
}

impl Default for Phase {
    fn default() -> Self {
        Self::Closed(Streak::default())
    }
}

impl Circuit {
    fn is_calm(&self) -> bool {
        matches!(&self.phase, Phase::Closed(streak) if streak.faults == 0 && streak.single_faults == 0)
    }

    fn is_open(&self) -> bool {
        match self.phase {
            Phase::Closed(_) => false,
            Phase::Open { .. } | Phase::Trying { .. } => true,
        }
    }

    fn check(&self, now: Instant) -> Result<(), Open> {
        match self.phase {
            Phase::Open { until } if until > now => Err(Open {
                retry_after: until - now,
            }),
            // What comes of it may be known sooner.
            Phase::Trying { next } if next > now => Err(Open {
                retry_after: (next - now).min(Duration::from_secs(1)),
            }),
            Phase::Closed(_) | Phase::Open { .. } | Phase::Trying { .. } => Ok(()),
        }
    }

    /// The epoch that a request begins in.
    fn admit(&mut self, now: Instant) -> Result<u64, Open> {
        self.check(now)?;
        let next = now + NEXT_TRY;
        match &mut self.phase {
            Phase::Closed(_) => {}
            Phase::Open { .. } => self.enter(Phase::Trying { next }),
            Phase::Trying { next: at } => *at = next,
        }
        Ok(self.epoch)
    }

    fn report(&mut self, epoch: u64, verdict: Verdict, now: Instant, settings: &Settings) {
        if epoch != self.epoch {
            return;
        }
        let open = Phase::Open {
            until: now + settings.pause,
        };
        match (&mut self.phase, verdict) {
            (Phase::Closed(streak), Verdict::Fine) => *streak = Streak::default(),
            (Phase::Closed(streak), verdict) => {
                if streak.add(verdict) >= settings.faults.get() {
                    self.enter(open);
                }
            }
            (Phase::Trying { .. }, Verdict::Fault) => self.enter(open),
            (Phase::Trying { .. }, Verdict::Fine) => self.enter(Phase::default()),
            (Phase::Trying { .. }, Verdict::FaultIn(operation)) => {
                self.enter(Phase::Closed(Streak {
                    single_faults: settings.faults.get().saturating_sub(1).max(1),
                    operation: Some(operation),
                    ..Streak::default()
                }));
            }
            (Phase::Open { .. }, _) => {}
        }
    }

    /// A request ended without saying anything about the console.
    fn abandon(&mut self, epoch: u64, now: Instant) {
        if epoch == self.epoch
            && let Phase::Trying { .. } = self.phase
        {
            // Its time was over; the next one tries.
            self.enter(Phase::Open { until: now });
        }
    }

    fn end_pause(&mut self, now: Instant) {
        if let Phase::Open { until } = &mut self.phase {
            *until = now.min(*until);
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }
}

impl Streak {
    /// Counts one more, and says how many of them count.
    fn add(&mut self, verdict: Verdict) -> u32 {
        match verdict {
            Verdict::Fine => {}
            Verdict::Fault => self.faults = self.faults.saturating_add(1),
            Verdict::FaultIn(operation) => {
                self.single_faults = self.single_faults.saturating_add(1);
                self.is_general |= *self.operation.get_or_insert(operation) != operation;
            }
        }
        let general = if self.is_general {
            self.single_faults
        } else {
            0
        };
        self.faults.saturating_add(general)
    }
}

/// What VSPC answers to every error of its own.
const SERVER_ERROR: u16 = 520;
/// For how long one request tries the console alone.
const NEXT_TRY: Duration = Duration::from_secs(5);
