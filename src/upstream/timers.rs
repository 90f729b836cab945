//! Timers that are used again.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};
use tokio::time::{Instant, Sleep};

/// Timers that nobody waits for.
///
/// A timer that is set and taken back for each request costs more than the request's own look at the
/// clock. One that was set for a request before goes off early, most often long after the answer has
/// come: then it is set to the time that counts.
#[derive(Debug, Default)]
pub(super) struct Timers(Mutex<Vec<Timer>>);

#[derive(Debug)]
struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// Whose it is: it ends with its runtime.
    runtime: Id,
}

impl Timers {
    /// What comes of something within a time; `None` if the time is over first.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        what: impl Future<Output = T>,
    ) -> Option<T> {
        let mut what = pin!(what);
        let mut deadline = None;
        let mut timer = None;
        let came = poll_fn(|context| {
            if let Poll::Ready(came) = what.as_mut().poll(context) {
                return Poll::Ready(Some(came));
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
            let timer = timer.get_or_insert_with(|| self.take(deadline));
            poll_until(timer.sleep.as_mut(), deadline, context).map(|()| None)
        })
        .await;
        if let Some(timer) = timer {
            self.put(timer);
        }
        came
    }

    fn take(&self, deadline: Instant) -> Timer {
        let runtime = Handle::current().id();
        let unused = self.0.lock().pop();
        let fits = unused.filter(|timer| timer.runtime == runtime);
        fits.unwrap_or_else(|| Timer {
            sleep: Box::pin(tokio::time::sleep_until(deadline)),
            runtime,
        })
    }

    fn put(&self, timer: Timer) {
        let mut unused = self.0.lock();
        if unused.len() < KEPT {
            unused.push(timer);
        }
    }
}

/// Ready at the deadline, whatever the timer was set to.
fn poll_until(
    mut timer: Pin<&mut Sleep>,
    deadline: Instant,
    context: &mut Context<'_>,
) -> Poll<()> {
    if timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    loop {
        ready!(timer.as_mut().poll(context));
        if timer.deadline() >= deadline {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline);
    }
}

/// The most timers that are kept.
const KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_timer_is_used_again_and_keeps_the_time_of_its_user() {
        let timers = Timers::default();
        let sleep = |seconds| tokio::time::sleep(seconds * SECOND);
        assert_eq!(timers.within(5 * SECOND, async { 1 }).await, Some(1));
        assert_eq!(timers.0.lock().len(), 0, "nothing was waited for");
        assert_eq!(timers.within(5 * SECOND, sleep(1)).await, Some(()));
        assert_eq!(timers.0.lock().len(), 1);
        // It was set to less, to more, and has gone off.
        for limit in [7, 2, 60, 1] {
            let begun = Instant::now();
            let late = timers.within(limit * SECOND, pending::<()>()).await;
            assert_eq!((late, begun.elapsed()), (None, limit * SECOND));
            assert_eq!(timers.within(90 * SECOND, sleep(1)).await, Some(()));
            assert_eq!(timers.0.lock().len(), 1);
        }
        let other = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.unwrap().handle().id()
        });
        let other = other.join().unwrap();
        timers.0.lock()[0].runtime = other;
        assert_eq!(timers.within(5 * SECOND, sleep(1)).await, Some(()));
        assert_ne!(timers.0.lock()[0].runtime, other);
    }
}
