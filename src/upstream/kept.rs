//! Connections of HTTP/1 to a console, kept from one request to the next.
//!
//! Whoever sends a request without a body polls its connection itself, and so does the answer's body:
//! no task has to be woken on the way there and back. A request with a body has its connection polled
//! by a task, since body and answer may come at the same time; the next one without takes it back.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response};
use http_body::Body as _;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::answers::{Asking, Watched};
use super::connect::Reached;
use super::received::Received;
use super::tls::Late;
use super::{RequestBody, UpstreamError};
use crate::upstream::pool::ANSWER_HEAD_LIMIT;
use crate::wire::{Fault, LINES, Place, What};

type Stream = TokioIo<Watched<Reached>>;

type Driver = Connection<Stream, RequestBody>;

/// Idle connections, the last used last.
#[derive(Debug)]
pub(super) struct Kept {
    idle: Mutex<Idle>,
    /// The most that are kept.
    most: usize,
    /// How long.
    life: Duration,
}

#[derive(Debug, Default)]
struct Idle {
    /// Polled by who uses them.
    bare: Vec<(Instant, Box<Link>)>,
    /// Polled by tasks.
    driven: Vec<(Instant, Box<Link>)>,
    is_watched: bool,
    /// Requests that would take one. Some have another by now.
    waiting: VecDeque<oneshot::Sender<Box<Link>>>,
}

/// A connection. It is boxed for its whole life.
#[derive(Debug)]
pub(super) struct Link {
    sender: SendRequest<RequestBody>,
    /// What whoever uses it has to poll; `None` if a task does so, or if the connection has ended.
    driver: Option<Driver>,
    /// The task that polls it as long as there is something.
    task: Option<(Arc<Mutex<Option<Driver>>>, AbortHandle)>,
    asking: Asking,
    /// Whether it is for one request only.
    stray: bool,
    /// Where it will be found why TLS failed after the handshake, if it does.
    late: Option<Late>,
}

/// A request that was not sent, or not answered.
pub(super) struct NotSent {
    pub(super) error: UpstreamError,
    /// The request, if nothing of it was sent: the connection had ended before.
    pub(super) request: Option<Request<RequestBody>>,
}

impl Kept {
    pub(super) fn new(most: usize, life: Duration) -> Arc<Self> {
        Arc::new(Self {
            idle: Mutex::default(),
            most,
            life,
        })
    }

    /// A connection that lies idle and is open still, for a request with or without a body.
    pub(super) async fn take(&self, with_body: bool) -> Option<Box<Link>> {
        poll_fn(|context| {
            loop {
                // Others need not wait while this one is looked at.
                let last = self.idle.lock().pop(with_body);
                let Some(mut link) = last else {
                    return Poll::Ready(None);
                };
                // The console may have closed it since, or sent what nobody asked for.
                link.drive(context);
                if link.sender.is_ready() {
                    return Poll::Ready(Some(link));
                }
            }
        })
        .await
    }

    /// The next connection that a request is done with.
    pub(super) fn wait(&self) -> oneshot::Receiver<Box<Link>> {
        let (sender, receiver) = oneshot::channel();
        let waiting = &mut self.idle.lock().waiting;
        // Where no connection ever comes back, nobody else takes away those that have another.
        while waiting.front().is_some_and(oneshot::Sender::is_closed) {
            waiting.pop_front();
        }
        waiting.push_back(sender);
        receiver
    }

    /// Keeps a new connection for which nobody waits any more.
    pub(super) async fn put_new(self: Arc<Self>, mut link: Box<Link>) {
        // One that was never polled is not ready for a request.
        poll_fn(|context| {
            link.drive(context);
            Poll::Ready(())
        })
        .await;
        self.put(link);
    }

    /// Gives a connection that can be used again to whoever waits for one, or keeps it.
    pub(super) fn put(self: &Arc<Self>, mut link: Box<Link>) {
        if link.stray {
            return;
        }
        let now = Instant::now();
        let is_first = {
            let mut idle = self.idle.lock();
            while let Some(request) = idle.waiting.pop_front() {
                match request.send(link) {
                    Ok(()) => return,
                    Err(unused) => link = unused,
                }
            }
            if idle.bare.len() + idle.driven.len() >= self.most {
                return;
            }
            idle.list(link.is_driven()).push((now, link));
            !std::mem::replace(&mut idle.is_watched, true)
        };
        if is_first {
            tokio::spawn(watch(Arc::downgrade(self)));
        }
    }

    /// Takes back a connection whose answer has ended: at once where it is ready for the next request,
    /// as it is almost always.
    pub(super) fn settle(self: Arc<Self>, mut link: Box<Link>, context: &mut Context<'_>) {
        link.drive(context);
        if link.stray || link.sender.is_closed() {
            return;
        }
        if link.sender.is_ready() {
            self.put(link);
        } else if link.is_driven() {
            tokio::spawn(async move {
                if link.sender.ready().await.is_ok() {
                    self.put(link);
                }
            });
        }
    }

    /// Closes those that were idle for too long, and those of which something has come: the console
    /// closes them, or says what nobody asked for. Says whether there are others.
    fn sweep(&self, context: &mut Context<'_>) -> bool {
        let mut idle = self.idle.lock();
        let now = Instant::now();
        for with_body in [false, true] {
            idle.list(with_body).retain_mut(|(since, link)| {
                let age = now.duration_since(*since);
                if age >= SWEEP {
                    // From now on the kernel tells of it here.
                    link.drive(context);
                }
                age < self.life && link.sender.is_ready()
            });
        }
        idle.is_watched = !(idle.bare.is_empty() && idle.driven.is_empty());
        idle.is_watched
    }
}

impl Idle {
    /// The last that was used: one of the right kind, if there is.
    fn pop(&mut self, with_body: bool) -> Option<Box<Link>> {
        let last = self.list(with_body).pop();
        let (_, link) = last.or_else(|| self.list(!with_body).pop())?;
        Some(link)
    }

    fn list(&mut self, driven: bool) -> &mut Vec<(Instant, Box<Link>)> {
        if driven {
            &mut self.driven
        } else {
            &mut self.bare
        }
    }
}

/// Looks after connections that nobody uses, until there are none.
async fn watch(kept: Weak<Kept>) {
    let mut sweeps = tokio::time::interval(SWEEP);
    poll_fn(|context| {
        loop {
            if !kept.upgrade().is_some_and(|kept| kept.sweep(context)) {
                return Poll::Ready(());
            }
            ready!(sweeps.poll_tick(context));
        }
    })
    .await;
}

/// How often it is looked for connections that have begun to lie idle.
const SWEEP: Duration = Duration::from_secs(1);

impl Link {
    /// Begins HTTP/1 on a connection.
    pub(super) async fn begin(reached: Reached) -> Result<Box<Self>, UpstreamError> {
        let (stray, late) = (reached.is_stray(), reached.late());
        let asking = Asking::default();
        let stream = TokioIo::new(Watched::told(reached, asking.clone()));
        let mut builder = Builder::new();
        builder.max_buf_size(ANSWER_HEAD_LIMIT);
        let (sender, driver) = builder.handshake(stream).await?;
        Ok(Box::new(Self {
            sender,
            driver: Some(driver),
            task: None,
            asking,
            stray,
            late,
        }))
    }

    fn is_driven(&self) -> bool {
        self.task.is_some()
    }

    /// Has it polled by a task from now on, unless it has ended.
    fn have_driven(&mut self) {
        if let Some(driver) = self.driver.take() {
            let shared = Arc::new(Mutex::new(Some(driver)));
            let task = tokio::spawn(drive(Arc::clone(&shared)));
            self.task = Some((shared, task.abort_handle()));
        }
    }

    /// Takes it back from the task that polls it, if one does.
    fn take_back(&mut self) {
        if let Some((shared, task)) = self.task.take() {
            // It would not be woken any more.
            task.abort();
            self.driver = shared.lock().take();
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        mut self: Box<Self>,
        kept: &Arc<Kept>,
        request: Request<RequestBody>,
    ) -> Result<Response<Received>, NotSent> {
        if let Err(error) = check_lines(&request) {
            kept.put(self);
            return Err(NotSent {
                error,
                request: None,
            });
        }
        match request.body() {
            RequestBody::Empty => self.take_back(),
            _ => self.have_driven(),
        }
        self.asking.ask(request.method());
        let mut answering = pin!(self.sender.try_send_request(request));
        let answer = poll_fn(|context| {
            self.drive(context);
            answering.as_mut().poll(context)
        })
        .await
        .map_err(|error| self.not_sent(error))?;
        let (parts, body) = answer.into_parts();
        let mut body = Received::over(body, self, Arc::clone(kept));
        poll_fn(|context| {
            body.look_for_end(context);
            Poll::Ready(())
        })
        .await;
        Ok(Response::from_parts(parts, body))
    }

    /// What an error means, of which TLS may be the reason.
    fn not_sent(&self, error: TrySendError<Request<RequestBody>>) -> NotSent {
        let mut failed = NotSent::from(error);
        if let UpstreamError::Cut(_) = failed.error
            && let Some(failure) = self.late.as_ref().and_then(Late::failure)
        {
            failed.error = failure.into();
        }
        failed
    }

    /// Does what there is to do for the connection, unless a task does that.
    pub(super) fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && Pin::new(driver).poll(context).is_ready()
        {
            self.driver = None;
        }
    }
}

/// Polls a connection for as long as it is there, or is to be polled here.
async fn drive(shared: Arc<Mutex<Option<Driver>>>) {
    let ended = poll_fn(|context| {
        let mut shared = shared.lock();
        let Some(driver) = shared.as_mut() else {
            return Poll::Ready(Ok(()));
        };
        let ended = ready!(Pin::new(driver).poll(context));
        *shared = None;
        Poll::Ready(ended)
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "a connection to a console ended with an error");
    }
}

/// Whether a request has no more header lines than may stand in a head, with the one for the length
/// of its body that is added when it is written.
fn check_lines(request: &Request<RequestBody>) -> Result<(), UpstreamError> {
    let headers = request.headers();
    let is_told =
        || headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    let most = usize::from(LINES);
    if headers.len() < most
        || (headers.len() == most && (request.body().is_end_stream() || is_told()))
    {
        return Ok(());
    }
    // The first line has no header.
    Err(UpstreamError::Unsendable(Fault {
        what: What::HeadTooLarge,
        place: Place::Line(LINES + 2),
    }))
}

impl From<TrySendError<Request<RequestBody>>> for NotSent {
    fn from(mut error: TrySendError<Request<RequestBody>>) -> Self {
        let request = error.take_message();
        Self {
            error: error.into_error().into(),
            request,
        }
    }
}
