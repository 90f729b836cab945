use std::task::Waker;

use tokio::io::DuplexStream;

use super::*;

const GET: &[u8] = b"GET /api/v3/users/me HTTP/1.1\r\nhost: vspc\r\n\r\n";
const HEAD: &[u8] = b"HEAD /api/v3/users/me HTTP/1.1\r\nhost: vspc\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nright";

type Near = Watched<DuplexStream>;

/// A connection, and what the console has of it, which takes so many bytes at once.
fn connect(room: usize) -> (Near, DuplexStream) {
    let (near, far) = tokio::io::duplex(room);
    let near = Watched {
        stream: near,
        watch: Some(Box::default()),
    };
    (near, far)
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn write(far: &mut DuplexStream, bytes: &[u8]) {
    let written = Pin::new(far).poll_write(&mut context(), bytes);
    assert!(matches!(written, Poll::Ready(Ok(all)) if all == bytes.len()));
}

/// Sends a request, and takes it at the other end.
fn ask(near: &mut Near, far: &mut DuplexStream, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut sent = 0;
    let mut arrived = Vec::new();
    while sent < request.len() {
        if let Poll::Ready(taken) =
            Pin::new(&mut *near).poll_write(&mut context(), &request[sent..])
        {
            sent += taken?;
        }
        read(far, 4096, &mut arrived)?;
    }
    Ok(arrived)
}

/// How reading has ended.
#[derive(Debug, Eq, PartialEq)]
enum End {
    /// More may come.
    Waits,
    Over,
}

/// Reads all there is, with so much room each time.
fn read(stream: &mut (impl AsyncRead + Unpin), room: usize, into: &mut Vec<u8>) -> io::Result<End> {
    loop {
        let mut space = vec![0; room];
        // What stands there before is not the connection's.
        let mut buffer = ReadBuf::new(&mut space);
        buffer.put_slice(b"#");
        match Pin::new(&mut *stream).poll_read(&mut context(), &mut buffer) {
            Poll::Pending => return Ok(End::Waits),
            Poll::Ready(result) => result?,
        }
        let (before, fresh) = buffer.filled().split_at(1);
        assert_eq!(before, b"#");
        if fresh.is_empty() {
            return Ok(End::Over);
        }
        into.extend_from_slice(fresh);
    }
}

/// What passes of an answer that comes in pieces, and how it ends.
fn answered(request: &[u8], pieces: &[&[u8]], room: usize) -> (Vec<u8>, io::Result<End>) {
    let (mut near, mut far) = connect(64 * 1024);
    ask(&mut near, &mut far, request).unwrap();
    let mut passed = Vec::new();
    for piece in pieces {
        write(&mut far, piece);
        let end = read(&mut near, room, &mut passed);
        if !matches!(end, Ok(End::Waits)) {
            return (passed, end);
        }
    }
    (passed, Ok(End::Waits))
}

#[test]
fn an_answer_passes_wherever_it_is_cut() {
    let answers = [
        OK.to_vec(),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
          5;a=b\r\nright\r\n0\r\nX-Sum: 1\r\n\r\n"
            .to_vec(),
        b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nuntil the end".to_vec(),
        b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
    ];
    for answer in &answers {
        for room in [2, 3, 17, 4096] {
            for cut in 0..answer.len() {
                let (one, two) = answer.split_at(cut);
                let pieces: Vec<_> = [one, two].into_iter().filter(|p| !p.is_empty()).collect();
                let (passed, end) = answered(GET, &pieces, room);
                assert_eq!(passed, *answer, "cut at {cut}, room for {room}");
                assert_eq!(end.unwrap(), End::Waits, "cut at {cut}");
            }
            let bytes: Vec<_> = answer.chunks(1).collect();
            assert_eq!(answered(GET, &bytes, room).0, *answer);
        }
    }
}

#[test]
fn nothing_of_a_head_passes_before_it_is_whole_and_nothing_of_it_is_kept() {
    let (mut near, mut far) = connect(4096);
    ask(&mut near, &mut far, GET).unwrap();
    let head = OK.len() - "right".len();
    let mut passed = Vec::new();
    for byte in &OK[..head - 1] {
        write(&mut far, &[*byte]);
        assert_eq!(read(&mut near, 64, &mut passed).unwrap(), End::Waits);
        assert_eq!(passed, b"");
    }
    write(&mut far, &OK[head - 1..]);
    assert_eq!(read(&mut near, 64, &mut passed).unwrap(), End::Waits);
    assert_eq!(passed, OK);
    let gate = &near.watch.as_ref().unwrap().gate;
    assert_eq!(gate.held_capacity(), 0);
}

#[test]
fn what_cannot_be_read_in_one_way_ends_the_connection_before_it() {
    for (good, bad, told) in [
        ("", "HTTP/1.1 200 OK\nX: y\r\n\r\n", "does not end in CR LF"),
        ("", "HTTP/1.1 1000 OK\r\n\r\n", "the status line"),
        ("", "HTTP/1.1 101 Up\r\nUpgrade: x\r\n\r\n", "switch"),
        ("", "SSH-2.0-x\r\n", "the status line"),
        (
            "",
            "HTTP/1.1 100 Go\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "two ways",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc",
            "d\r\n0\r\n\r\n",
            "not as long",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "+1\r\nx\r\n0\r\n\r\n",
            "size of a chunk",
        ),
    ] {
        let answer = [good.as_bytes(), bad.as_bytes()].concat();
        for cut in 1..answer.len() {
            let (one, two) = answer.split_at(cut);
            let (passed, end) = answered(GET, &[one, two], 32);
            let error = end.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(told), "{bad:?}: {error}");
            assert!(good.as_bytes().starts_with(&passed), "{bad:?} at {cut}");
            let head = good.find("\r\n\r\n").map_or(0, |end| end + 4);
            assert!(passed.len() >= head, "{bad:?} at {cut}");
            let fault = fault_of(&error).unwrap();
            assert!(matches!(fault, UpstreamError::Invalid(text) if text.contains(told)));
        }
    }
}

#[test]
fn the_connection_ends_where_nothing_was_asked_for() {
    for (request, answer, surplus) in [
        (GET, OK, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"),
        (GET, OK, "\r\n"),
        (HEAD, &OK[..OK.len() - 5], "right"),
        (
            GET,
            b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n".as_slice(),
            "right",
        ),
        (
            GET,
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            "right",
        ),
        (
            GET,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "0\r\n\r\n",
        ),
        (
            GET,
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.0 200 OK\r\n\r\n",
        ),
    ] {
        let all = [answer, surplus.as_bytes()].concat();
        for cut in 0..all.len() {
            let (one, two) = all.split_at(cut);
            let pieces: Vec<_> = [one, two].into_iter().filter(|p| !p.is_empty()).collect();
            let (passed, end) = answered(request, &pieces, 32);
            assert_eq!(passed, answer, "{surplus:?} at {cut}");
            assert_eq!(end.unwrap(), End::Over, "{surplus:?} at {cut}");
        }
    }
    let (mut near, mut far) = connect(4096);
    write(&mut far, OK);
    let mut passed = Vec::new();
    assert_eq!(read(&mut near, 32, &mut passed).unwrap(), End::Over);
    assert_eq!(passed, b"");
}

#[test]
fn one_request_follows_the_other_however_little_is_taken_at_once() {
    let post = b"POST /a HTTP/1.1\r\nhost: vspc\r\ncontent-length: 4\r\n\r\nbody";
    let chunked =
        b"POST /b HTTP/1.1\r\nhost: vspc\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    for room in [1, 2, 7, 4096] {
        let (mut near, mut far) = connect(room);
        for request in [GET, post, HEAD, chunked, GET] {
            assert_eq!(ask(&mut near, &mut far, request).unwrap(), request);
            let head = &OK[..OK.len() - 5];
            let answer = if request == HEAD { head } else { OK };
            let mut passed = Vec::new();
            for piece in answer.chunks(room) {
                write(&mut far, piece);
                assert_eq!(read(&mut near, 16, &mut passed).unwrap(), End::Waits);
            }
            assert_eq!(passed, answer);
        }
    }
}

#[test]
fn who_says_what_is_asked_need_not_be_read() {
    for reads in [false, true] {
        let (mut near, mut far) = connect(4096);
        let asking = Asking::default();
        let watch = near.watch.as_mut().unwrap();
        watch.asking = Some(asking.clone());
        watch.sent = reads.then(Sent::default);
        let head = &OK[..OK.len() - 5];
        for (method, request, answer) in [
            (Method::GET, GET, OK),
            (Method::HEAD, HEAD, head),
            (Method::GET, GET, OK),
        ] {
            asking.ask(&method);
            assert_eq!(ask(&mut near, &mut far, request).unwrap(), request);
            write(&mut far, answer);
            let mut passed = Vec::new();
            assert_eq!(read(&mut near, 16, &mut passed).unwrap(), End::Waits);
            assert_eq!(passed, answer);
        }
        // What is only told is not sent yet.
        asking.ask(&Method::GET);
        write(&mut far, OK);
        let mut passed = Vec::new();
        assert_eq!(read(&mut near, 16, &mut passed).unwrap(), End::Over);
        assert_eq!(passed, b"");
    }
}

#[test]
fn what_is_sent_is_what_was_said() {
    let (mut near, mut far) = connect(4096);
    let asking = Asking::default();
    near.watch.as_mut().unwrap().asking = Some(asking.clone());
    asking.ask(&Method::HEAD);
    let error = ask(&mut near, &mut far, GET).unwrap_err();
    assert!(error.to_string().contains("two ways"), "{error}");
}

#[test]
fn pieces_are_read_as_one() {
    for room in [1, 5, 48, 4096] {
        let (mut near, mut far) = connect(room);
        let pieces: [&[u8]; 5] = [
            b"POST /b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            b"4\r\n",
            b"body",
            b"\r\n",
            b"0\r\n\r\n",
        ];
        let all = pieces.concat();
        let mut arrived = Vec::new();
        while arrived.len() < all.len() {
            let mut skip = arrived.len();
            let rest: Vec<_> = pieces
                .iter()
                .map(|piece| {
                    let (gone, left) = piece.split_at(skip.min(piece.len()));
                    skip -= gone.len();
                    IoSlice::new(left)
                })
                .collect();
            let written = Pin::new(&mut near).poll_write_vectored(&mut context(), &rest);
            assert!(matches!(written, Poll::Ready(Ok(1..))));
            read(&mut far, 4096, &mut arrived).unwrap();
        }
        assert_eq!(arrived, all);
        let sent = near.watch.as_ref().unwrap().sent.as_ref().unwrap();
        assert_eq!((sent.ahead, sent.due), (0, None));
    }
}

#[test]
fn a_request_that_could_be_read_in_two_ways_does_not_leave() {
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
    for request in [
        "GET / HTTP/1.1\r\na: b\nauthorization: x\r\n\r\n",
        "GET / HTTP/1.1\r\na: b\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbody\r\n",
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
        &many,
    ] {
        let (mut near, mut far) = connect(64 * 1024);
        let error = ask(&mut near, &mut far, request.as_bytes()).unwrap_err();
        let fault = fault_of(&error);
        assert!(
            matches!(fault, Some(UpstreamError::Unsendable(_))),
            "{request:?}: {error}"
        );
        let mut arrived = Vec::new();
        assert_eq!(read(&mut far, 64, &mut arrived).unwrap(), End::Waits);
        assert_eq!(arrived, b"");
    }
}

#[test]
fn a_head_is_as_long_as_it_may_be() {
    let start = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ";
    let fits = |size: usize| format!("{start}{}\r\n\r\n", "x".repeat(size - start.len() - 4));
    let largest = fits(ANSWER_HEAD_LIMIT);
    let pieces: Vec<_> = largest.as_bytes().chunks(8192).collect();
    let (passed, end) = answered(GET, &pieces, 4096);
    assert_eq!(
        (passed.len(), end.unwrap()),
        (ANSWER_HEAD_LIMIT, End::Waits)
    );
    let larger = fits(ANSWER_HEAD_LIMIT + 1);
    let pieces: Vec<_> = larger.as_bytes().chunks(8192).collect();
    let (passed, end) = answered(GET, &pieces, 4096);
    assert_eq!(passed, b"");
    assert!(end.unwrap_err().to_string().contains("larger than"));
}

#[test]
fn http_2_is_not_read() {
    let (near, mut far) = tokio::io::duplex(4096);
    let mut near = Watched::unread(near);
    let sent = Pin::new(&mut near).poll_write(&mut context(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(matches!(sent, Poll::Ready(Ok(24))));
    write(&mut far, b"\0\0\0\x04\0\0\0\0\0");
    let mut passed = Vec::new();
    assert_eq!(read(&mut near, 64, &mut passed).unwrap(), End::Waits);
    assert_eq!(passed, b"\0\0\0\x04\0\0\0\0\0");
}

#[test]
fn what_is_kept_for_a_connection_is_small() {
    assert!(size_of::<Watch>() <= 384, "{}", size_of::<Watch>());
    assert!(size_of::<Watched<()>>() <= 2 * size_of::<usize>());
}
