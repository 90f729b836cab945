use std::future::poll_fn;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty, Full};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;

use super::*;
use crate::wire::{Framing, Head, Minor};

const BOUNDS: Bounds = Bounds {
    head: 16 * 1024,
    target: 4 * 1024,
    body: 1 << 20,
};
const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &str =
    "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

/// A caller's end of a connection, the guard at the other, and what it has read.
fn connect() -> (DuplexStream, Guard<DuplexStream>, Arc<Readings>) {
    let (near, far) = duplex(64 * 1024);
    let readings = Arc::new(Readings::default());
    let guard = Guard::new(
        far,
        BOUNDS,
        &Limits::default(),
        Instant::now(),
        Arc::clone(&readings),
    );
    (near, guard, readings)
}

/// What there is to read, in buffers of a size.
async fn read_now(guard: &mut Guard<DuplexStream>, size: usize) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut piece = vec![0; size];
    loop {
        // Or else the runtime makes this task wait, because it has done so much.
        tokio::task::yield_now().await;
        let mut buffer = ReadBuf::new(&mut piece);
        let read = poll_fn(|context| {
            Poll::Ready(
                match Pin::new(&mut *guard).poll_read(context, &mut buffer) {
                    Poll::Ready(read) => Some(read),
                    Poll::Pending => None,
                },
            )
        });
        match read.await {
            Some(read) => read?,
            None => return Ok(all),
        }
        if buffer.filled().is_empty() {
            all.extend_from_slice(b"[end]");
            return Ok(all);
        }
        all.extend_from_slice(buffer.filled());
    }
}

/// The request that hyper would parse from a head.
fn parsed(framing: Framing) -> Request<Empty<Bytes>> {
    assert_eq!(framing, Framing::None);
    Request::new(Empty::new())
}

fn head(text: &str) -> Head {
    let size = text.find("\r\n\r\n").unwrap() + 4;
    Head {
        size,
        framing: Framing::None,
        version: Minor::One,
        is_head: false,
    }
}

#[tokio::test]
async fn what_can_be_read_goes_on_however_it_comes() {
    let stream = [GET, POST, CHUNKED, GET].concat();
    for size in [1, 7, 8192] {
        for cut in 0..stream.len() {
            let (mut near, mut guard, _) = connect();
            let (first, rest) = stream.split_at(cut);
            near.write_all(first.as_bytes()).await.unwrap();
            let mut read = read_now(&mut guard, size).await.unwrap();
            near.write_all(rest.as_bytes()).await.unwrap();
            read.extend(read_now(&mut guard, size).await.unwrap());
            assert_eq!(String::from_utf8(read).unwrap(), stream, "cut at {cut}");
            assert!(guard.gate.held_capacity() == 0, "nothing is kept");
        }
    }
}

#[tokio::test]
async fn no_byte_of_a_head_goes_on_before_its_last() {
    let (mut near, mut guard, readings) = connect();
    let (last, rest) = GET.as_bytes().split_last().unwrap();
    for byte in rest {
        near.write_all(&[*byte]).await.unwrap();
        assert!(read_now(&mut guard, 8192).await.unwrap().is_empty());
        assert!(readings.is_idle());
    }
    near.write_all(&[*last]).await.unwrap();
    assert_eq!(read_now(&mut guard, 8192).await.unwrap(), GET.as_bytes());
    assert!(!readings.is_idle());
    let (read, answering) = readings.next(&parsed(Framing::None));
    assert_eq!(read, Ok(()));
    drop(answering);
    assert!(readings.is_idle());
}

#[tokio::test]
async fn a_fault_is_told_behind_the_requests_before_it() {
    let bad = "GET /x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n";
    for cut in 0..GET.len() + bad.len() {
        let (mut near, mut guard, readings) = connect();
        let stream = [GET, bad, GET].concat();
        let (first, rest) = stream.split_at(cut);
        near.write_all(first.as_bytes()).await.unwrap();
        let mut read = read_now(&mut guard, 8192).await.unwrap();
        near.write_all(rest.as_bytes()).await.unwrap();
        read.extend(read_now(&mut guard, 8192).await.unwrap());
        let expected = [GET.as_bytes(), STAND_IN].concat();
        assert_eq!(read, expected, "cut at {cut}");
        let (first, _answering) = readings.next(&parsed(head(GET).framing));
        assert_eq!(first, Ok(()));
        let (second, _answering) = readings.next(&parsed(Framing::None));
        let fault = second.unwrap_err();
        assert_eq!((fault.what, fault.place), (What::LineEnd, Place::Line(2)));
        // What follows is thrown away, and so is the end of the caller's side until the answer.
        near.shutdown().await.unwrap();
        assert!(read_now(&mut guard, 8192).await.unwrap().is_empty());
        drop(_answering);
    }
}

#[tokio::test]
async fn a_fault_in_a_body_is_an_error_behind_what_was_good() {
    let (mut near, mut guard, readings) = connect();
    let (start, _) = CHUNKED.split_at(CHUNKED.find("5\r\nhello").unwrap());
    let stream = format!("{start}5\nhello\r\n0\r\n\r\n");
    near.write_all(stream.as_bytes()).await.unwrap();
    let mut piece = [0; 8192];
    let count = guard.read(&mut piece).await.unwrap();
    assert_eq!(&piece[..count], start.as_bytes());
    let error = guard.read(&mut piece).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(!readings.has_fault());
}

#[tokio::test]
async fn another_reading_by_the_parser_is_a_fault() {
    let (mut near, mut guard, readings) = connect();
    near.write_all(POST.as_bytes()).await.unwrap();
    read_now(&mut guard, 8192).await.unwrap();
    let (read, _answering) = readings.next(&parsed(Framing::None));
    assert_eq!(read.unwrap_err().what, What::Doubtful);
    let (read, _answering) = readings.next(&parsed(Framing::None));
    assert_eq!(read.unwrap_err().what, What::Doubtful);
}

#[tokio::test(start_paused = true)]
async fn a_head_has_its_time_from_its_first_byte() {
    let (mut near, mut guard, readings) = connect();
    let began = Instant::now();
    let writing = tokio::spawn(async move {
        // Each line comes in good time, the head does not.
        near.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        for line in 0.. {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let line = format!("X-{line}: y\r\n");
            if near.write_all(line.as_bytes()).await.is_err() {
                break;
            }
        }
    });
    let mut piece = [0; 8192];
    let count = guard.read(&mut piece).await.unwrap();
    assert_eq!(&piece[..count], STAND_IN);
    assert_eq!(began.elapsed().as_millis().div_ceil(10), 500);
    let (read, answering) = readings.next(&parsed(Framing::None));
    assert_eq!(read.unwrap_err().what, What::Slow);
    drop((answering, guard));
    writing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_be_idle_for_its_time_and_an_answer_takes_as_long_as_it_takes() {
    let (mut near, mut guard, readings) = connect();
    let began = Instant::now();
    // An empty line is no request yet.
    near.write_all(b"\r\n").await.unwrap();
    let mut piece = [0; 8192];
    assert_eq!(guard.read(&mut piece).await.unwrap(), 0);
    assert_eq!(began.elapsed().as_secs(), 75);

    let (mut near, mut guard, _) = {
        drop(readings);
        connect()
    };
    near.write_all(GET.as_bytes()).await.unwrap();
    assert!(guard.read(&mut piece).await.unwrap() > 0);
    let (_, answering) = guard.readings.next(&parsed(Framing::None));
    // The answer takes an hour.
    let hour = Duration::from_secs(3600);
    assert!(timeout(hour, guard.read(&mut piece)).await.is_err());
    drop(answering);
    let answered = Instant::now();
    assert_eq!(guard.read(&mut piece).await.unwrap(), 0);
    assert_eq!(answered.elapsed().as_secs(), 75);
}

#[tokio::test(start_paused = true)]
async fn who_still_sends_gets_the_time_to_take_the_answer() {
    let (mut near, mut guard, readings) = connect();
    near.write_all(b"\x16\x03\x01").await.unwrap();
    let mut piece = [0; 8192];
    assert!(guard.read(&mut piece).await.unwrap() > 0);
    let (_, answering) = readings.next(&parsed(Framing::None));
    drop(answering);
    let began = Instant::now();
    let sending = tokio::spawn(async move {
        // Nobody reads it, but the connection is not reset.
        while near.write_all(&[0; 1024]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    guard.shutdown().await.unwrap();
    assert_eq!(began.elapsed().as_millis().div_ceil(10), 200);
    drop(guard);
    sending.await.unwrap();

    // Who has sent all of it is not waited for.
    let (mut near, mut guard, _) = connect();
    near.write_all(GET.as_bytes()).await.unwrap();
    assert!(guard.read(&mut piece).await.unwrap() > 0);
    let began = Instant::now();
    guard.shutdown().await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn nothing_is_read_behind_a_request_of_http_1_0() {
    let (mut near, mut guard, readings) = connect();
    let old = "POST /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    near.write_all([old, GET].concat().as_bytes())
        .await
        .unwrap();
    assert_eq!(read_now(&mut guard, 8192).await.unwrap(), old.as_bytes());
    assert!(!readings.has_fault());
    // But it is noticed that the caller goes away.
    near.shutdown().await.unwrap();
    assert_eq!(read_now(&mut guard, 8192).await.unwrap(), b"[end]");
}

/// What hyper reads behind the guard of a stream that comes in two pieces: whether each request is
/// the one that the guard has read, and its body if it is whole.
async fn through_hyper(stream: &[u8], cut: usize) -> Vec<(Result<(), Fault>, Option<Bytes>)> {
    let (mut near, guard, readings) = connect();
    let (seen, mut all) = tokio::sync::mpsc::unbounded_channel();
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (read, answering) = readings.next(&request);
        let seen = seen.clone();
        async move {
            let body = request.into_body().collect().await;
            drop(answering);
            let body = body.ok().map(http_body_util::Collected::to_bytes);
            seen.send((read, body)).unwrap();
            Ok::<_, std::convert::Infallible>(http::Response::new(Empty::<Bytes>::new()))
        }
    });
    let io = hyper_util::rt::TokioIo::new(guard);
    let mut builder = hyper::server::conn::http1::Builder::new();
    let connection = builder
        .header_read_timeout(None)
        .serve_connection(io, service);
    let (first, rest) = stream.split_at(cut);
    let calling = async {
        near.write_all(first).await.unwrap();
        tokio::task::yield_now().await;
        // It may have been closed meanwhile.
        near.write_all(rest).await.ok();
        // Nobody waits longer than this, but for the rest of a body, which does not come.
        tokio::time::sleep(Duration::from_secs(100)).await;
        near.shutdown().await.ok();
        let mut answers = Vec::new();
        near.read_to_end(&mut answers).await.ok();
    };
    let (ended, ()) = tokio::join!(connection, calling);
    drop(ended);
    let mut requests = Vec::new();
    while let Ok(request) = all.try_recv() {
        requests.push(request);
    }
    requests
}

#[test]
fn hyper_reads_every_message_as_the_guard_does() {
    let pieces = prop::sample::select(vec![
        "GET /a HTTP/1.1\r\n",
        "POST /b HTTP/1.1\r\n",
        "HEAD /c HTTP/1.1\r\n",
        "POST /d HTTP/1.0\r\n",
        "Host: a\r\n",
        "X-A: \u{e4}\r\n",
        "Content-Length: 3\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "Connection: close\r\n",
        "Connection: Upgrade\r\nUpgrade: x\r\n",
        "\r\n",
        "\r\n",
        "\r\n",
        "abc",
        "3\r\nabc\r\n",
        "3;a=\"b\"\r\nabc\r\n",
        "0\r\n\r\n",
        "0\r\nX: y\r\n\r\n",
        "\n",
        " ",
        "0",
    ]);
    let streams = prop::collection::vec(pieces, 1..12).prop_map(|pieces| pieces.concat());
    let config = ProptestConfig::with_cases(3_000);
    TestRunner::new(config)
        .run(&(streams, any::<prop::sample::Index>()), |(stream, cut)| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let stream = stream.as_bytes();
            let cut = cut.index(stream.len() + 1);
            let requests = runtime.block_on(through_hyper(stream, cut));
            for (read, body) in &requests {
                let doubted = matches!(read, Err(fault) if fault.what == What::Doubtful);
                prop_assert!(!doubted, "{:?} cut at {}: {:?}", stream, cut, requests);
                // Every length that is told is a multiple of three.
                if let (Ok(()), Some(body)) = (read, body) {
                    prop_assert!(body.len() % 3 == 0, "{:?}", requests);
                }
            }
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_caller_that_sends_without_end_is_lingered_for_no_longer_than_others() {
    let readings = Arc::new(Readings::default());
    // There is always more to read.
    let stream = tokio::io::join(tokio::io::repeat(b'\0'), tokio::io::sink());
    let mut guard = Guard::new(stream, BOUNDS, &Limits::default(), Instant::now(), readings);
    let mut room = [0; 1024];
    let mut buffer = ReadBuf::new(&mut room);
    poll_fn(|context| Pin::new(&mut guard).poll_read(context, &mut buffer))
        .await
        .unwrap();
    assert_eq!(buffer.filled(), STAND_IN);
    let ending = poll_fn(|context| Pin::new(&mut guard).poll_shutdown(context));
    let ended = timeout(3 * LINGER, ending).await;
    assert!(ended.is_ok(), "it lingers still");
}

/// An answer, with which its request counts as answered.
struct Held(Full<Bytes>, #[expect(dead_code)] readings::Answering);

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.size_hint()
    }
}

/// A caller's end of a connection that hyper serves with answers of a size, each after a moment.
fn served(size: usize, idle_timeout: Duration) -> DuplexStream {
    let (near, far) = duplex(1024);
    let limits = Limits {
        idle_timeout,
        ..Limits::default()
    };
    let readings = Arc::new(Readings::default());
    let guard = Guard::new(far, BOUNDS, &limits, Instant::now(), Arc::clone(&readings));
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (read, answering) = readings.next(&request);
        read.unwrap();
        async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let body = Full::new(Bytes::from(vec![b'x'; size]));
            Ok::<_, std::convert::Infallible>(http::Response::new(Held(body, answering)))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.header_read_timeout(None).max_buf_size(64 * 1024);
    tokio::spawn(builder.serve_connection(hyper_util::rt::TokioIo::new(guard), service));
    near
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_answer_may_be_taken_slowly() {
    const SIZE: usize = 32 * 1024;
    let mut near = served(SIZE, Duration::from_secs(5));
    near.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut all = 0;
    let mut piece = [0; 1024];
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match near.read(&mut piece).await.unwrap() {
            0 => break,
            count => all += count,
        }
    }
    assert!(all > SIZE, "only {all} bytes of the answer came");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_idle_after_an_answer_is_closed() {
    let mut near = served(10, Duration::from_secs(5));
    near.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut all = Vec::new();
    let ended = timeout(Duration::from_secs(60), near.read_to_end(&mut all)).await;
    assert!(
        ended.is_ok(),
        "it is still open: {}",
        String::from_utf8_lossy(&all)
    );
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_late_behind_an_unanswered_request_wakes_nobody_at_each_flush() {
    let (mut near, mut guard, readings) = connect();
    let begun = [GET, "GET /late HTT"].concat();
    near.write_all(begun.as_bytes()).await.unwrap();
    assert_eq!(read_now(&mut guard, 8192).await.unwrap(), GET.as_bytes());
    let (_, answering) = readings.next(&parsed(Framing::None));
    tokio::time::sleep(Duration::from_secs(6)).await;
    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    let mut context = Context::from_waker(&waker);
    for _ in 0..3 {
        assert!(Pin::new(&mut guard).poll_flush(&mut context).is_ready());
    }
    assert_eq!(woken.0.load(std::sync::atomic::Ordering::Relaxed), 0);
    drop(answering);
    assert_eq!(read_now(&mut guard, 8192).await.unwrap(), STAND_IN);
}
