//! Serving a connection until somebody wants its end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::Notify;

use super::Draining;

/// Serves a connection to its end. `None` where a drain, or `idle`, wants its end first.
pub(super) async fn until_told<C>(
    mut connection: Pin<&mut C>,
    draining: &mut Draining,
    asked: &Notify,
    idle: impl Future<Output = ()>,
) -> Option<Result<(), hyper::Error>>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let beside = draining.beside();
    // It is asked once and must have said by then whom to wake, however much the task has done before.
    let end = tokio::task::unconstrained(async {
        draining.begun().await;
        // Who has only just connected has a request under way: a new connection that is closed
        // without a word is a failure to its caller, unlike one that lay idle.
        drop(tokio::time::timeout(FIRST_REQUEST, asked.notified()).await);
    });
    let (mut end, mut idle) = (pin!(end), pin!(idle));
    let mut waits = false;
    poll_fn(|context| {
        // Nearly always it is the connection for which the task was woken.
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            return Poll::Ready(Some(ended));
        }
        // The drain wakes what has once waited for it: to look is cheaper than to wait anew each
        // time that bytes come.
        let has_begun = beside.has_begun();
        if (has_begun || !waits) && end.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        waits = true;
        if has_begun {
            return Poll::Pending;
        }
        idle.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// The most time that a drain waits for the first request of a connection.
pub(super) const FIRST_REQUEST: Duration = Duration::from_secs(1);
