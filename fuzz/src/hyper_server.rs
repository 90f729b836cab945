//! hyper's server over bytes in memory, as it stands behind the guard.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};

use bytes::Bytes;
use http::{Request, Response, request};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;

/// A request that hyper gave to its service.
pub(crate) struct Seen {
    pub(crate) head: request::Parts,
    /// The length of the body as the head tells it.
    pub(crate) length: Option<u64>,
    /// The body; none where it is malformed, or not whole.
    pub(crate) body: Option<Bytes>,
}

/// What hyper makes of a connection on which these bytes come, and no more for now.
pub(crate) fn serve(bytes: &[u8]) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let length = body.size_hint().exact();
            let at = seen.borrow().len();
            seen.borrow_mut().push(Seen {
                head,
                length,
                body: None,
            });
            let body = body.collect().await.ok().map(|body| body.to_bytes());
            seen.borrow_mut()[at].body = body;
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let io = Memory(Bytes::copy_from_slice(bytes));
    {
        let mut connection = pin!(http1::Builder::new().serve_connection(io, service));
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Arc::clone(&woken).into();
        // It wakes itself; nothing else could wake it.
        while woken.0.swap(false, Ordering::Relaxed) {
            let mut context = Context::from_waker(&waker);
            if connection.as_mut().poll(&mut context).is_ready() {
                break;
            }
        }
    }
    Rc::try_unwrap(seen).map_or_else(|_| Vec::new(), RefCell::into_inner)
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What there is to read; what is written is dropped.
struct Memory(Bytes);

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.is_empty() {
            return Poll::Pending;
        }
        let count = into.remaining().min(self.0.len());
        into.put_slice(&self.0.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
