//! The tasks of HTTP/2 streams, which hyper parts from their connection.

use std::future::Future;

use hyper::rt::Executor;

use super::Drain;

/// Runs streams so that a drain waits for them and can cut them off.
#[derive(Clone, Debug)]
pub(super) struct Streams(Drain);

impl Streams {
    pub(super) fn new(drain: &Drain) -> Self {
        Self(drain.clone())
    }
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let mut draining = self.0.watch();
        tokio::spawn(async move {
            tokio::select! {
                _ = stream => {}
                () = draining.cut() => {}
            }
        });
    }
}
