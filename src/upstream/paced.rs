//! A caller's body that must come, and not too slowly.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};

/// How slowly a caller's body may come.
///
/// Only the time counts in which the gateway waits for the caller. When it has waited for a
/// `window` in all, as much must have come since the window began as the rate asks for; then the
/// next begins. A body that is passed on slowly because the console takes it slowly is not slow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// The least bytes a second; 0 lets a body be as slow as it likes.
    pub bytes_per_second: u64,
    /// The time of waiting after which it is looked at.
    pub window: Duration,
}

impl Pace {
    /// A rate over windows of five seconds.
    pub fn of(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            window: Duration::from_secs(5),
        }
    }

    fn is_none(&self) -> bool {
        self.bytes_per_second == 0
    }

    /// The least bytes of a window.
    fn least(&self) -> u128 {
        u128::from(self.bytes_per_second) * self.window.as_millis() / 1000
    }
}

impl Default for Pace {
    /// As in a configuration that says nothing of it.
    fn default() -> Self {
        Self::of(240)
    }
}

/// A body that fails when it comes too slowly.
#[derive(Debug)]
pub(super) struct Paced<B> {
    body: B,
    pace: Pace,
    /// What came in this window.
    came: u64,
    /// How long was waited in this window, without the present wait.
    waited: Duration,
    /// Since when the body is waited for, if it is.
    since: Option<Instant>,
    /// Made when the body is first waited for.
    arrival: Option<Arc<Arrival>>,
    timer: Option<Pin<Box<Sleep>>>,
    stalled: bool,
}

/// A piece of a body, its failure, or its end.
type Polled<E> = Option<Result<Frame<Bytes>, E>>;

/// Why there is no more of a body.
#[derive(Debug)]
pub(super) enum Slow<E> {
    /// It ended with an error.
    Failed(E),
    /// It came too slowly.
    Stalled,
}

/// Notes when there is something again: whoever reads the body may be busy then and come much later,
/// which is not the caller's time.
#[derive(Debug, Default)]
struct Arrival(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    at: Option<Instant>,
    reader: Option<Waker>,
}

impl Arrival {
    /// When something came since it was last asked, and whom to wake when something comes again.
    fn follow(&self, reader: &Waker) -> Option<Instant> {
        let mut noted = self.0.lock();
        if !noted
            .reader
            .as_ref()
            .is_some_and(|old| old.will_wake(reader))
        {
            noted.reader = Some(reader.clone());
        }
        noted.at.take()
    }
}

impl Wake for Arrival {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let reader = {
            let mut noted = self.0.lock();
            noted.at.get_or_insert_with(Instant::now);
            noted.reader.clone()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl<B> Paced<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    pub(super) fn new(body: B, pace: Pace) -> Self {
        Self {
            body,
            pace,
            came: 0,
            waited: Duration::ZERO,
            since: None,
            arrival: None,
            timer: None,
            stalled: false,
        }
    }

    /// Whether its end has shown.
    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    /// Whether the body is waited for and nothing of it has come.
    pub(super) fn is_awaited(&self) -> bool {
        self.since.is_some()
            && self
                .arrival
                .as_ref()
                .is_some_and(|arrival| arrival.0.lock().at.is_none())
    }

    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Polled<Slow<B::Error>>> {
        if self.stalled {
            return Poll::Ready(Some(Err(Slow::Stalled)));
        }
        let (polled, arrived) = self.poll_body(context);
        let Poll::Ready(frame) = polled else {
            ready!(self.poll_late(context));
            return Poll::Ready(Some(Err(Slow::Stalled)));
        };
        if let Some(since) = self.since.take() {
            let until = arrived.unwrap_or_else(Instant::now);
            self.waited += until.saturating_duration_since(since);
        }
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok());
        let length = data.and_then(Frame::data_ref).map_or(0, Bytes::len);
        self.came = self.came.saturating_add(length as u64);
        // Nothing is said of what has come to its end.
        if data.is_some() && self.waited >= self.pace.window && !self.next_window() {
            return Poll::Ready(Some(Err(Slow::Stalled)));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Slow::Failed)))
    }

    /// What the body says, and when it had something to say again, if it was waited for.
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
    ) -> (Poll<Polled<B::Error>>, Option<Instant>) {
        if self.arrival.is_none() {
            // Most bodies are there already.
            if let ready @ Poll::Ready(_) = Pin::new(&mut self.body).poll_frame(context) {
                return (ready, None);
            }
        }
        let arrival = self.arrival.get_or_insert_default();
        let arrived = arrival.follow(context.waker());
        let waker = Waker::from(Arc::clone(arrival));
        let polled = Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(&waker));
        (polled, arrived)
    }

    /// Ready when the body that is waited for comes too slowly.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let pace = self.pace;
        let mut rearm = self.since.is_none();
        let since = *self.since.get_or_insert_with(Instant::now);
        if pace.is_none() {
            return Poll::Pending;
        }
        let mut until = since + pace.window.saturating_sub(self.waited);
        loop {
            let timer = self.timer.get_or_insert_with(|| {
                rearm = false;
                Box::pin(tokio::time::sleep_until(until))
            });
            if rearm {
                timer.as_mut().reset(until);
            }
            ready!(timer.as_mut().poll(context));
            if !self.next_window() {
                return Poll::Ready(());
            }
            self.since = Some(until);
            until += pace.window;
            rearm = true;
        }
    }

    /// Ends a window. Says whether enough has come in it.
    fn next_window(&mut self) -> bool {
        self.stalled = u128::from(self.came) < self.pace.least();
        (self.came, self.waited) = (0, Duration::ZERO);
        !self.stalled
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::future::poll_fn;

    use super::*;

    /// A body of which every piece comes some time after the one before was taken.
    struct Script {
        pieces: VecDeque<(Duration, usize)>,
        next: Pin<Box<Sleep>>,
    }

    impl Script {
        fn new(pieces: impl IntoIterator<Item = (u64, usize)>) -> Self {
            let pieces: VecDeque<_> = pieces
                .into_iter()
                .map(|(millis, length)| (Duration::from_millis(millis), length))
                .collect();
            let first = pieces.front().map_or(Duration::ZERO, |(after, _)| *after);
            let next = Box::pin(tokio::time::sleep(first));
            Self { pieces, next }
        }
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.pieces.is_empty() {
                return Poll::Ready(None);
            }
            if !self.pieces[0].0.is_zero() {
                ready!(self.next.as_mut().poll(context));
            }
            let (_, length) = self.pieces.pop_front().unwrap();
            if let Some((after, _)) = self.pieces.front() {
                let next = Instant::now() + *after;
                self.next.as_mut().reset(next);
            }
            Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; length])))))
        }
    }

    async fn frame<B>(body: &mut Paced<B>) -> Option<Result<usize, Slow<B::Error>>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let frame = poll_fn(|context| body.poll_frame(context)).await;
        frame.map(|frame| frame.map(|frame| frame.data_ref().unwrap().len()))
    }

    /// So many pieces of a length, each so many milliseconds after the one before.
    fn every(millis: u64, length: usize, pieces: usize) -> Script {
        Script::new(std::iter::repeat_n((millis, length), pieces))
    }

    /// How much comes, and after what time it is refused, if it is.
    async fn read(script: Script) -> (usize, Option<Duration>) {
        let started = Instant::now();
        let mut body = Paced::new(script, Pace::default());
        let mut all = 0;
        loop {
            match frame(&mut body).await {
                Some(Ok(length)) => all += length,
                None => return (all, None),
                Some(Err(Slow::Stalled)) => {
                    let took = started.elapsed();
                    let again = frame(&mut body).await;
                    assert!(matches!(again, Some(Err(Slow::Stalled))), "it stays so");
                    return (all, Some(took));
                }
            }
        }
    }

    const WINDOW: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn two_bytes_a_second_are_refused_after_a_window() {
        assert_eq!(read(every(500, 1, 1000)).await, (9, Some(WINDOW)));
        assert_eq!(read(every(3_600_000, 1, 1)).await, (0, Some(WINDOW)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_and_a_good_beginning_deceive_nobody() {
        assert_eq!(read(every(4_900, 1, 100)).await, (1, Some(WINDOW)));
        // However much came at once, the next window is looked at by itself.
        let good = [(0, 1 << 20)].into_iter().chain([(1_000, 1); 100]);
        let (came, refused) = read(Script::new(good)).await;
        assert_eq!(refused, Some(2 * WINDOW));
        assert!((came - (1 << 20)) < 10, "{came}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_keeps_to_the_rate_may_take_as_long_as_it_likes() {
        assert_eq!(read(every(1_000, 241, 3_600)).await, (3_600 * 241, None));
        // A pause that is made up for within the window.
        assert_eq!(read(every(4_800, 1_300, 100)).await, (130_000, None));
        // Short, and over before anything could be said of it.
        assert_eq!(read(every(4_900, 1, 1)).await, (1, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_in_which_the_body_is_not_asked_for_does_not_count() {
        let pieces = [(100, 1); 49].into_iter().chain([(1_000, 1)]);
        let mut body = Paced::new(Script::new(pieces), Pace::default());
        let mut all = 0;
        for _ in 0..49 {
            // It is there after a tenth of a second; who reads it comes back after a minute.
            let first = poll_fn(|context| Poll::Ready(body.poll_frame(context))).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            let length = match first {
                Poll::Ready(frame) => frame.unwrap().unwrap().data_ref().unwrap().len(),
                Poll::Pending => frame(&mut body).await.unwrap().unwrap(),
            };
            all += length;
        }
        assert_eq!(all, 49);
        // Its own tenths of a second were counted.
        let last = frame(&mut body).await;
        assert!(matches!(last, Some(Err(Slow::Stalled))), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_late_sees_that_nothing_came_meanwhile() {
        let mut body = Paced::new(Script::new([(600_000, 1)]), Pace::default());
        assert!(!body.is_awaited());
        let first = poll_fn(|context| Poll::Ready(body.poll_frame(context))).await;
        assert!(first.is_pending());
        assert!(body.is_awaited());
        tokio::time::sleep(Duration::from_secs(60)).await;
        let late = poll_fn(|context| Poll::Ready(body.poll_frame(context))).await;
        assert!(matches!(late, Poll::Ready(Some(Err(Slow::Stalled)))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_there_costs_no_timer_and_no_rate_is_none() {
        let mut body = Paced::new(Script::new([(0, 100), (0, 100)]), Pace::default());
        while let Some(piece) = frame(&mut body).await {
            piece.unwrap();
        }
        assert!(body.timer.is_none() && body.arrival.is_none());

        let mut body = Paced::new(Script::new([(600_000, 1); 3]), Pace::of(0));
        while let Some(piece) = frame(&mut body).await {
            piece.unwrap();
        }
        assert!(body.timer.is_none());
    }
}
