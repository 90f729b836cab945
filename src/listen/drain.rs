//! The end of a process: stop accepting, answer what is there, go.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Tells everything that serves when to stop, and knows when it has. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain(Arc<watch::Sender<Phase>>);

/// Sees when the drain begins. As long as one is alive, the drain is not complete.
#[derive(Debug)]
pub struct Draining(watch::Receiver<Phase>);

/// How far the end has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Phase {
    Serving,
    /// What is under way may end by itself.
    Ending,
    /// What is still under way is dropped.
    Cut,
}

impl Drain {
    /// A drain that has not begun.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Serving)))
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow() >= Phase::Ending
    }

    /// A watcher for something that serves.
    pub fn watch(&self) -> Draining {
        Draining(self.0.subscribe())
    }

    /// Begins the drain and waits until nothing serves any more, or for `deadline`. Says whether
    /// everything ended by itself.
    pub async fn run(&self, deadline: Duration) -> bool {
        self.0.send_replace(Phase::Ending);
        tokio::time::timeout(deadline, self.0.closed())
            .await
            .is_ok()
    }

    /// Has everything dropped that still serves, and waits until it is, so that its end can be
    /// recorded. What does not heed it is not waited for long.
    pub async fn cut(&self) {
        self.0.send_replace(Phase::Cut);
        if tokio::time::timeout(CUT_TIME, self.0.closed())
            .await
            .is_err()
        {
            tracing::error!("something that was cut off goes on");
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Draining {
    /// A watcher beside this one.
    pub(super) fn beside(&self) -> Self {
        Self(self.0.clone())
    }

    /// Whether the drain has begun.
    pub(super) fn has_begun(&self) -> bool {
        *self.0.borrow() >= Phase::Ending
    }

    /// Waits until the drain begins.
    pub async fn begun(&mut self) {
        self.until(Phase::Ending).await;
    }

    /// Waits until the time for the drain is over: what serves then is to be dropped.
    pub async fn cut(&mut self) {
        self.until(Phase::Cut).await;
    }

    async fn until(&mut self, phase: Phase) {
        // A drain that is gone cannot begin any more, but its process ends all the same.
        if self.0.wait_for(|now| *now >= phase).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The most time between the cut and the end of what is cut.
const CUT_TIME: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_the_last_watcher_and_no_longer_than_its_deadline() {
        let drain = Drain::new();
        let mut first = drain.watch();
        let second = drain.watch();
        let running = tokio::spawn({
            let drain = drain.clone();
            async move { drain.run(Duration::from_secs(60)).await }
        });
        first.begun().await;
        drop(first);
        assert!(!running.is_finished());
        drop(second);
        assert!(running.await.unwrap());

        let _stays = drain.watch();
        assert!(!drain.run(Duration::from_secs(60)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_is_cut_and_waited_for() {
        let drain = Drain::new();
        let mut stays = drain.watch();
        assert!(!drain.run(Duration::from_secs(60)).await);
        let cutting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.cut().await }
        });
        stays.cut().await;
        assert!(!cutting.is_finished());
        drop(stays);
        let before = tokio::time::Instant::now();
        cutting.await.unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO);

        let _deaf = drain.watch();
        drain.cut().await;
    }
}
