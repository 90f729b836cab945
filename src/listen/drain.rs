//! The end of a process: stop accepting, answer what is there, go.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Tells everything that serves when to stop, and knows when it has. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain(Arc<watch::Sender<bool>>);

/// Sees when the drain begins. As long as one is alive, the drain is not complete.
#[derive(Debug)]
pub struct Draining(watch::Receiver<bool>);

impl Drain {
    /// A drain that has not begun.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// A watcher for something that serves.
    pub fn watch(&self) -> Draining {
        Draining(self.0.subscribe())
    }

    /// Begins the drain and waits until nothing serves any more, or for `deadline`. Says whether
    /// everything ended by itself.
    pub async fn run(&self, deadline: Duration) -> bool {
        self.0.send_replace(true);
        tokio::time::timeout(deadline, self.0.closed())
            .await
            .is_ok()
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Draining {
    /// Waits until the drain begins.
    pub async fn begun(&mut self) {
        // A drain that is gone cannot begin any more, but its process ends all the same.
        if self.0.wait_for(|begun| *begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

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
}
