use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds {
    head: 64 * 1024,
    target: 16 * 1024,
    body: u64::MAX,
};

/// What becomes of bytes that come in one piece.
fn read(bytes: &[u8]) -> Result<Option<Head>, Fault> {
    HeadReader::new(BOUNDS).read(bytes)
}

fn with(lines: &str) -> Vec<u8> {
    format!("POST /api/v3/x HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

fn framing(lines: &str) -> Result<Framing, What> {
    read(&with(lines))
        .map(|head| head.unwrap().framing)
        .map_err(|fault| fault.what)
}

#[test]
fn the_length_of_a_body_is_told_once_and_plainly() {
    for (lines, expected) in [
        ("", Framing::None),
        ("Content-Length: 0\r\n", Framing::Length(0)),
        ("Content-Length: 12\r\n", Framing::Length(12)),
        ("content-LENGTH:12\r\n", Framing::Length(12)),
        ("Content-Length: \t 12 \t\r\n", Framing::Length(12)),
        ("Transfer-Encoding: chunked\r\n", Framing::Chunked),
        ("transfer-encoding:  CHUNKED \r\n", Framing::Chunked),
        (
            "Content-Length: 18446744073709551613\r\n",
            Framing::Length(u64::MAX - 2),
        ),
    ] {
        assert_eq!(framing(lines), Ok(expected), "{lines:?}");
    }
    for (lines, expected) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            What::LengthAndCoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            What::LengthAndCoding,
        ),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", What::Lengths),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", What::Lengths),
        ("Content-Length: 5, 5\r\n", What::Length),
        ("Content-Length:\r\n", What::Length),
        ("Content-Length: +5\r\n", What::Length),
        ("Content-Length: -5\r\n", What::Length),
        ("Content-Length: 0x5\r\n", What::Length),
        ("Content-Length: 5.0\r\n", What::Length),
        ("Content-Length: 5e0\r\n", What::Length),
        ("Content-Length: 5_0\r\n", What::Length),
        ("Content-Length: 5 0\r\n", What::Length),
        ("Content-Length: 05\r\n", What::Length),
        ("Content-Length: 00\r\n", What::Length),
        ("Content-Length: ٥\r\n", What::Length),
        (
            "Content-Length: 18446744073709551615\r\n",
            What::BodyTooLarge,
        ),
        ("Content-Length: 18446744073709551616\r\n", What::Length),
        ("Content-Length: 99999999999999999999999\r\n", What::Length),
        ("Content-Length: \u{b}5\r\n", What::Length),
        ("Content-Length: 5\0\r\n", What::Length),
        ("Transfer-Encoding: gzip, chunked\r\n", What::Coding),
        ("Transfer-Encoding: chunked, identity\r\n", What::Coding),
        ("Transfer-Encoding: identity\r\n", What::Coding),
        ("Transfer-Encoding: xchunked\r\n", What::Coding),
        ("Transfer-Encoding: \"chunked\"\r\n", What::Coding),
        ("Transfer-Encoding: chunked;a=b\r\n", What::Coding),
        ("Transfer-Encoding:\r\n", What::Coding),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            What::Coding,
        ),
        ("Transfer-Encoding: \u{b}chunked\r\n", What::Coding),
    ] {
        assert_eq!(framing(lines), Err(expected), "{lines:?}");
    }
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(read(old).unwrap_err().what, What::CodingInOld);
}

#[test]
fn header_lines_are_names_colons_and_values() {
    for lines in [
        "X-A: b\r\n",
        "X-A:b\r\n",
        "X-A:\r\n",
        "X-A: \r\n",
        "X-A:\tb\tc\t\r\n",
        "X-A: \u{e4}\u{f6}\r\n",
        "!#$%&'*+-.^_`|~09azAZ: x\r\n",
        "X-A: a:b:c\r\n",
    ] {
        assert!(framing(lines).is_ok(), "{lines:?}");
    }
    for (lines, expected) in [
        ("X-A : b\r\n", What::Name),
        ("X-A\t: b\r\n", What::Name),
        ("X A: b\r\n", What::Name),
        (": b\r\n", What::Name),
        ("X-A\r\n", What::Name),
        ("X(A): b\r\n", What::Name),
        ("X-\u{e4}: b\r\n", What::Name),
        ("X-A\0: b\r\n", What::Name),
        ("Content-Length\u{b}: 5\r\n", What::Name),
        (" X-A: b\r\n", What::Folded),
        ("X-A: b\r\n c\r\n", What::Folded),
        ("X-A: b\r\n\tc\r\n", What::Folded),
        ("X-A: b\n", What::LineEnd),
        ("X-A: b\rc\r\n", What::Value),
        ("X-A: b\r\r\n", What::Value),
        ("X-A: b\0c\r\n", What::Value),
        ("X-A: b\u{7f}\r\n", What::Value),
        ("X-A: b\u{1b}[2J\r\n", What::Value),
    ] {
        assert_eq!(framing(lines), Err(expected), "{lines:?}");
    }
    let many = |count: usize| "X: y\r\n".repeat(count);
    assert!(framing(&many(99)).is_ok());
    assert_eq!(framing(&many(100)), Err(What::HeadTooLarge));
}

#[test]
fn a_control_character_is_found_wherever_it_stands() {
    // More places than are looked at at once.
    for before in 0..20 {
        for byte in 0..=u8::MAX {
            let value = [&[b'a'].repeat(before)[..], &[byte], b"bc"].concat();
            let head = [b"GET / HTTP/1.1\r\nX:", &value[..], b"\r\n\r\n"].concat();
            let fault = read(&head).err();
            let expected = match byte {
                b'\t' | b' '..=b'~' | 0x80.. => None,
                b'\n' => Some(What::LineEnd.in_line(2)),
                _ => Some(What::Value.in_line(2)),
            };
            assert_eq!(fault, expected, "{byte:#x} behind {before}");
        }
    }
    // What is wrong with a line as such counts before what stands in a value.
    assert_eq!(framing("X: \0\r\nY : a\r\n"), Err(What::Name));
    assert_eq!(framing("X: \0\r\nContent-Length: x\r\n"), Err(What::Length));
    let part = b"GET / HTTP/1.1\r\nX: \0\r\nY: a\r\nZ";
    assert_eq!(read(part), Err(What::Value.in_line(2)));
}

#[test]
fn a_first_line_is_a_method_a_target_and_a_version() {
    for line in [
        "GET / HTTP/1.1",
        "get / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET /a?b=c&d=[1]|{}'%20 HTTP/1.1",
        "GET /\u{e4}?\u{f6} HTTP/1.1",
        "GET http://a HTTP/1.1",
        "GET HTTP://a.b:8280/c?d HTTP/1.1",
        "GET https://[::1]:8280/ HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "\r\nGET / HTTP/1.1",
    ] {
        let head = read(format!("{line}\r\n\r\n").as_bytes());
        assert!(matches!(head, Ok(Some(_))), "{line:?}: {head:?}");
    }
    for (line, expected) in [
        ("GET /", What::RequestLine),
        ("GET", What::RequestLine),
        ("", What::RequestLine),
        (" GET / HTTP/1.1", What::RequestLine),
        ("GET  / HTTP/1.1", What::RequestLine),
        ("GET /  HTTP/1.1", What::RequestLine),
        ("GET / HTTP/1.1 ", What::RequestLine),
        ("GET\t/ HTTP/1.1", What::RequestLine),
        ("G(T / HTTP/1.1", What::RequestLine),
        ("GET / http/1.1", What::Version),
        ("GET / HTTP/1.2", What::Version),
        ("GET / HTTP/11", What::Version),
        ("GET / HTTP/1.10", What::Version),
        ("GET / HTTP/0.9", What::Version),
        ("PRI * HTTP/2.0", What::Version),
        ("GET / XTTP/1.1", What::Version),
        ("CONNECT a:80 HTTP/1.1", What::Method),
        ("GET a HTTP/1.1", What::Target),
        ("GET a:80 HTTP/1.1", What::Target),
        ("GET ftp://a/ HTTP/1.1", What::Target),
        ("GET http:///x HTTP/1.1", What::Target),
        ("GET http://u@a/ HTTP/1.1", What::Target),
        ("GET http://a:99999/ HTTP/1.1", What::Target),
        ("GET http://a%41/ HTTP/1.1", What::Target),
        ("GET /a#b HTTP/1.1", What::Target),
        ("GET /a<b HTTP/1.1", What::Target),
        ("GET /a`b HTTP/1.1", What::Target),
        ("GET /a?b\"c HTTP/1.1", What::Target),
        ("GET /a\tb HTTP/1.1", What::Target),
        ("GET /a\0b HTTP/1.1", What::Target),
        ("GET /a\u{b}b HTTP/1.1", What::Target),
        ("GET /a\u{7f}b HTTP/1.1", What::Target),
    ] {
        let head = read(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
        // An empty line may stand there once.
        let head = if line.is_empty() {
            read(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        } else {
            head
        };
        let at = if line.is_empty() { 2 } else { 1 };
        assert_eq!(head.unwrap_err(), expected.in_line(at), "{line:?}");
    }
    assert_eq!(
        read(b"GET /\xff HTTP/1.1\r\n\r\n").unwrap_err().what,
        What::Target
    );
    let odd = format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(33));
    assert_eq!(read(odd.as_bytes()).unwrap_err().what, What::Method);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_whole() {
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(length - 1));
    let whole = target(BOUNDS.target) + "\r\n";
    assert!(matches!(read(whole.as_bytes()), Ok(Some(_))));
    for part in 0..whole.len() {
        assert_eq!(read(&whole.as_bytes()[..part]), Ok(None), "{part}");
    }
    let long = target(BOUNDS.target + 1) + "\r\n";
    assert_eq!(read(long.as_bytes()).unwrap_err().what, What::TargetTooLong);
    let endless = format!("GET /{}", "a".repeat(BOUNDS.target + 20));
    assert_eq!(
        read(endless.as_bytes()).unwrap_err(),
        What::TargetTooLong.in_line(1)
    );

    let head = |length: usize| {
        let start = "GET / HTTP/1.1\r\nX: ";
        format!("{start}{}\r\n\r\n", "a".repeat(length - start.len() - 4))
    };
    assert!(matches!(read(head(BOUNDS.head).as_bytes()), Ok(Some(_))));
    let large = head(BOUNDS.head + 3);
    assert_eq!(
        read(large.as_bytes()).unwrap_err(),
        What::HeadTooLarge.in_line(2)
    );
    let part = &large.as_bytes()[..BOUNDS.head];
    assert_eq!(read(part).unwrap_err().what, What::HeadTooLarge);
    assert_eq!(read(&part[..BOUNDS.head - 1]), Ok(None));
}

#[test]
fn what_cannot_become_a_request_is_not_waited_for() {
    for start in [
        &b"\x16\x03\x01\x02"[..],
        b"\0",
        b"{\"a\"",
        b"\r\r",
        b"\rG",
        b"GE(",
        b" ",
    ] {
        let fault = read(start).unwrap_err();
        assert_eq!(fault, What::RequestLine.in_line(1), "{start:?}");
    }
    for start in [&b""[..], b"\r", b"\r\n", b"G", b"GET ", b"\r\nGET /a"] {
        assert_eq!(read(start), Ok(None), "{start:?}");
    }
}

/// The decoded length of a body, and where it ends.
fn body(bytes: &[u8]) -> Result<Portion, What> {
    Chunks::new(u64::MAX, 1024).read(bytes)
}

#[test]
fn chunks_are_sizes_data_and_nothing_else() {
    for whole in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "00005\r\nhello\r\n000\r\n\r\n",
        "A\r\n0123456789\r\n0\r\n\r\n",
        "a;x\r\n0123456789\r\n0;last=1\r\n\r\n",
        "5;a=b;c=\"d\\\"e;\t\"\r\nhello\r\n0\r\n\r\n",
        "5; a = b ; c\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Trailer: a\r\nY:\r\n\r\n",
    ] {
        assert_eq!(
            body(whole.as_bytes()),
            Ok(Portion::End(whole.len())),
            "{whole:?}"
        );
        let with_more = format!("{whole}GET");
        assert_eq!(body(with_more.as_bytes()), Ok(Portion::End(whole.len())));
        let part = &whole.as_bytes()[..whole.len() - 1];
        assert_eq!(body(part), Ok(Portion::All), "{whole:?}");
    }
    for (bytes, expected) in [
        ("0x5\r\nhello\r\n", What::ChunkSize),
        ("+5\r\nhello\r\n", What::ChunkSize),
        ("-5\r\nhello\r\n", What::ChunkSize),
        ("5_0\r\nhello\r\n", What::ChunkSize),
        (" 5\r\nhello\r\n", What::ChunkSize),
        ("5 \r\nhello\r\n", What::ChunkSize),
        ("5\t\r\nhello\r\n", What::ChunkSize),
        ("5\0\r\nhello\r\n", What::ChunkSize),
        ("g\r\n", What::ChunkSize),
        ("00000000000000005\r\nhello\r\n", What::ChunkSize),
        ("\r\nhello\r\n", What::LineEnd),
        (";a\r\nhello\r\n", What::ChunkSize),
        ("5\nhello\r\n", What::LineEnd),
        ("5\rhello\r\n", What::LineEnd),
        ("5;a\nhello\r\n", What::LineEnd),
        ("5;a\rb\r\nhello\r\n", What::LineEnd),
        ("5;\r\nhello\r\n", What::LineEnd),
        ("5;a=\r\nhello\r\n", What::LineEnd),
        ("5;a \r\nhello\r\n", What::LineEnd),
        ("5;a=\"b\r\nhello\r\n", What::LineEnd),
        ("5;a=b c\r\nhello\r\n", What::ChunkExtension),
        ("5;=b\r\nhello\r\n", What::ChunkExtension),
        ("5;a=\"b\"c\r\nhello\r\n", What::ChunkExtension),
        ("5;a=\u{1}\r\nhello\r\n", What::ChunkExtension),
        ("5\r\nhello!\r\n", What::ChunkData),
        ("5\r\nhell\r\n0\r\n", What::ChunkData),
        ("5\r\nhello\n0\r\n\r\n", What::ChunkData),
        ("5\r\nhello0\r\n\r\n", What::ChunkData),
        ("0\r\nX\r\n\r\n", What::LineEnd),
        ("0\r\nX : a\r\n\r\n", What::Name),
        ("0\r\n X: a\r\n\r\n", What::Folded),
        ("0\r\nX: a\n\r\n", What::LineEnd),
        ("0\r\nX: a\0\r\n\r\n", What::Value),
        ("0\r\n\n", What::LineEnd),
        ("0\r\n\rX", What::LineEnd),
    ] {
        assert_eq!(body(bytes.as_bytes()), Err(expected), "{bytes:?}");
    }
    let largest = "ffffffffffffffff\r\nx";
    assert_eq!(body(largest.as_bytes()), Ok(Portion::All));
}

#[test]
fn extensions_trailers_and_data_have_bounds() {
    let mut chunks = Chunks::new(10, 1024);
    assert_eq!(chunks.read(b"5\r\nhello\r\n5\r\n"), Ok(Portion::All));
    assert_eq!(chunks.read(b"hello\r\n1\r\n"), Err(What::BodyTooLarge));
    let huge = Chunks::new(10, 1024).read(b"ffffffffffffffff\r\n");
    assert_eq!(huge, Err(What::BodyTooLarge));
    let extended = |length: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(length));
    assert!(body(extended(4095).as_bytes()).is_ok());
    assert_eq!(body(extended(4097).as_bytes()), Err(What::ChunkExtensions));
    let many = "1;a\r\nx\r\n".repeat(2100);
    assert_eq!(body(many.as_bytes()), Err(What::ChunkExtensions));
    let trailers = format!("0\r\nX: {}\r\n\r\n", "a".repeat(1025));
    assert_eq!(body(trailers.as_bytes()), Err(What::HeadTooLarge));
    let many = format!("0\r\n{}\r\n", "X:\r\n".repeat(101));
    assert_eq!(body(many.as_bytes()), Err(What::HeadTooLarge));
}

fn answer(asked: Asked, text: &str) -> Result<Answer, What> {
    let read = AnswerReader::new(asked, 1024).read(text.as_bytes());
    read.map(Option::unwrap).map_err(|fault| fault.what)
}

#[test]
fn answers_have_one_reading_too() {
    for (asked, text, expected) in [
        (Asked::Other, "HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose),
        (Asked::Other, "HTTP/1.1 200\r\n\r\n", Framing::UntilClose),
        (Asked::Other, "HTTP/1.1 200 \r\n\r\n", Framing::UntilClose),
        (
            Asked::Other,
            "HTTP/1.0 404 Nicht da \u{e4}\r\n\r\n",
            Framing::UntilClose,
        ),
        (
            Asked::Other,
            "HTTP/1.1 520 \r\nContent-Length: 3\r\n\r\n",
            Framing::Length(3),
        ),
        (
            Asked::Other,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Framing::Chunked,
        ),
        (
            Asked::Head,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            Framing::None,
        ),
        (
            Asked::Other,
            "HTTP/1.1 204 No Content\r\n\r\n",
            Framing::None,
        ),
        (
            Asked::Other,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
            Framing::None,
        ),
        (Asked::Other, "HTTP/1.1 100 Continue\r\n\r\n", Framing::None),
    ] {
        let read = answer(asked, text).unwrap();
        assert_eq!((read.framing, read.doubtful), (expected, false), "{text:?}");
    }
    for (text, expected) in [
        ("HTTP/1.1 99 Low\r\n\r\n", What::StatusLine),
        ("HTTP/1.1 1000 High\r\n\r\n", What::StatusLine),
        ("HTTP/1.1 600 High\r\n\r\n", What::StatusLine),
        ("HTTP/1.1 2x0 OK\r\n\r\n", What::StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", What::StatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", What::StatusLine),
        ("HTTP/1.1 200 O\0K\r\n\r\n", What::Value),
        ("ICY 200 OK\r\n\r\n", What::StatusLine),
        ("HTTP/1.1 101 Switching\r\n\r\n", What::Switched),
        ("HTTP/1.1 200 OK\nA: b\r\n\r\n", What::LineEnd),
        ("HTTP/1.1 200 OK\r\nA: b\n\r\n", What::LineEnd),
        ("HTTP/1.1 200 OK\r\nA b\r\n\r\n", What::Name),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", What::Folded),
        ("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", What::Value),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            What::Lengths,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            What::LengthAndCoding,
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            What::CodingInOld,
        ),
    ] {
        assert_eq!(answer(Asked::Other, text), Err(expected), "{text:?}");
    }
    let doubtful = "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n";
    assert!(answer(Asked::Other, doubtful).unwrap().doubtful);
}

#[test]
fn what_comes_without_a_question_is_no_answer() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut answers = Answers::new(1024);
    assert_eq!(answers.look(ok), Look::Last(0));
    let mut answers = Answers::new(1024);
    answers.expect(Asked::Other);
    assert_eq!(answers.look(ok), Look::Pass(ok.len()));
    answers.expect(Asked::Other);
    assert_eq!(answers.look(&ok[..20]), Look::Pass(0));
    assert_eq!(answers.look(ok), Look::Pass(ok.len()));
    let two = ok.repeat(2);
    answers.expect(Asked::Other);
    assert_eq!(answers.look(&two), Look::Last(ok.len()));
    assert_eq!(answers.look(ok), Look::Last(0));
}

#[test]
fn eight_interim_answers_are_enough() {
    let mut answers = Answers::new(1024);
    answers.expect(Asked::Other);
    let interim = b"HTTP/1.1 103 Early Hints\r\n\r\n";
    let eight = interim.repeat(8);
    assert_eq!(answers.look(&eight), Look::Pass(eight.len()));
    let nine = answers.look(interim);
    assert!(matches!(nine, Look::Fault(_, fault) if fault.what == What::Interims));
}

#[test]
fn nothing_follows_a_request_of_http_1_0() {
    for request in [
        "POST / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let mut requests = Requests::new(BOUNDS);
        let smuggled = format!("{request}GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut heads = 0;
        let look = requests.look(smuggled.as_bytes(), |_| heads += 1);
        assert_eq!((look, heads), (Look::Last(request.len()), 1));
    }
}

/// Follows a stream that comes in pieces as a connection does: what passed, in which order.
fn follow(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, Vec<Head>, Option<Fault>) {
    let mut requests = Requests::new(BOUNDS);
    let (mut passed, mut heads, mut withheld) = (Vec::new(), Vec::new(), Vec::new());
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    for piece in cuts.windows(2) {
        withheld.extend_from_slice(&bytes[piece[0]..piece[1]]);
        match requests.look(&withheld, |head| heads.push(head)) {
            Look::Pass(count) => {
                passed.extend(withheld.drain(..count));
            }
            Look::Last(count) => {
                passed.extend(withheld.drain(..count));
                return (passed, heads, None);
            }
            Look::Fault(count, fault) => {
                passed.extend(withheld.drain(..count));
                return (passed, heads, Some(fault));
            }
        }
    }
    (passed, heads, None)
}

/// Streams that are nearly requests.
fn nearly_requests() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "GET ",
        "POST ",
        "HEAD ",
        "/",
        "/a?b",
        "/ä",
        "*",
        "http://a/",
        " ",
        " HTTP/1.1",
        " HTTP/1.0",
        "\r\n",
        "\r\n",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        "Host: a",
        "X-A: b",
        "X-A : b",
        "X-A:",
        ":",
        "Content-Length: 3",
        "Content-Length: 03",
        "Content-Length: 0",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "abc",
        "3\r\nabc\r\n",
        "0\r\n\r\n",
        "0\r\nX: y\r\n\r\n",
        "\0",
        "\t",
        "\u{7f}",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n",
    ]);
    prop::collection::vec(piece, 1..14).prop_map(|pieces| pieces.concat().into_bytes())
}

/// The grammar of RFC 9112 once more, written down as its rules stand there.
mod grammar {
    use std::sync::LazyLock;

    use regex::bytes::Regex;

    use super::Framing;

    const TOKEN: &str = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+";

    fn regex(text: &str) -> Regex {
        Regex::new(&format!("(?s-u)^(?:{})", text.replace("TOKEN", TOKEN))).unwrap()
    }

    static HEAD: LazyLock<Regex> = LazyLock::new(|| {
        let line = r"(TOKEN) ([^\x00-\x20\x7f]+) HTTP/1\.([01])\r\n";
        let fields = r"((?:TOKEN:[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n";
        regex(&format!(r"(?:\r\n)?{line}{fields}"))
    });
    static FIELD: LazyLock<Regex> = LazyLock::new(|| regex(r"(TOKEN):[\t ]*([^\r]*?)[\t ]*\r\n"));
    static LENGTH: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:0|[1-9][0-9]{0,18})$"));
    static ABSOLUTE: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?i)https?://[a-z0-9._-]+(?::[0-9]{1,4})?(?:[/?].*)?$"));

    /// The size of a head and the length of its body, if it is one.
    pub(super) fn read(bytes: &[u8]) -> Option<(usize, Framing)> {
        let head = HEAD.captures(bytes)?;
        let (method, target) = (&head[1], &head[2]);
        let origin = target.starts_with(b"/") || target == b"*" || ABSOLUTE.is_match(target);
        let fits = std::str::from_utf8(target)
            .is_ok_and(|target| target.parse::<http::Uri>().is_ok() && !target.contains('#'));
        if method == b"CONNECT" || !origin || !fits {
            return None;
        }
        let mut lines = &head[4];
        let (mut lengths, mut codings, mut count) = (Vec::new(), Vec::new(), 0);
        while let Some(field) = FIELD.captures(lines) {
            match field[1].to_ascii_lowercase().as_slice() {
                b"content-length" => lengths.push(field[2].to_vec()),
                b"transfer-encoding" => codings.push(field[2].to_ascii_lowercase()),
                _ => {}
            }
            lines = &lines[field[0].len()..];
            count += 1;
        }
        assert!(lines.is_empty(), "{lines:?}");
        let framing = match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Framing::None,
            ([], [coding]) if coding == b"chunked" && &head[3] == b"1" => Framing::Chunked,
            ([length], []) if LENGTH.is_match(length) => {
                Framing::Length(std::str::from_utf8(length).unwrap().parse().unwrap())
            }
            _ => return None,
        };
        (count <= 100).then_some((head[0].len(), framing))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_does_not_matter_how_the_bytes_come(
        bytes in nearly_requests(),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let (passed, heads, fault) = follow(&bytes, &[]);
        let (passed_cut, heads_cut, fault_cut) = follow(&bytes, &cuts);
        prop_assert_eq!(&heads, &heads_cut);
        prop_assert_eq!(fault.is_some(), fault_cut.is_some());
        // Of a body that breaks off more or less may have gone on.
        if fault.is_none() {
            prop_assert_eq!(passed, passed_cut);
        }
    }

    #[test]
    fn what_is_read_the_parser_behind_reads_the_same_way(bytes in nearly_requests()) {
        if let Ok(Some(head)) = read(&bytes) {
            let mut lines = [httparse::EMPTY_HEADER; 100];
            let mut parsed = httparse::Request::new(&mut lines);
            let size = parsed.parse(&bytes).unwrap();
            prop_assert_eq!(size, httparse::Status::Complete(head.size));
            prop_assert_eq!(parsed.version == Some(1), head.version == Minor::One);
            prop_assert_eq!(parsed.method == Some("HEAD"), head.is_head);
            prop_assert!(parsed.path.unwrap().parse::<http::Uri>().is_ok());
            let of = |name: &str| {
                let lines = parsed.headers.iter();
                let found: Vec<_> = lines.filter(|line| line.name.eq_ignore_ascii_case(name)).collect();
                found
            };
            match head.framing {
                Framing::Length(length) => {
                    let lines = of("content-length");
                    prop_assert_eq!(lines.len(), 1);
                    let digits = length.to_string();
                    prop_assert_eq!(lines[0].value, digits.as_bytes());
                    prop_assert!(of("transfer-encoding").is_empty());
                }
                Framing::Chunked => {
                    let lines = of("transfer-encoding");
                    prop_assert_eq!(lines.len(), 1);
                    prop_assert!(lines[0].value.eq_ignore_ascii_case(b"chunked"));
                    prop_assert!(of("content-length").is_empty());
                }
                Framing::None => {
                    prop_assert!(of("content-length").is_empty());
                    prop_assert!(of("transfer-encoding").is_empty());
                }
                Framing::UntilClose => prop_assert!(false, "a request ends by itself"),
            }
        }
    }

    #[test]
    fn what_is_read_is_what_the_grammar_says(bytes in nearly_requests()) {
        // Both look at whole heads only.
        let (whole, read) = (grammar::read(&bytes), read(&bytes));
        match read {
            Ok(None) => prop_assert_eq!(whole, None),
            Ok(Some(head)) => prop_assert_eq!(whole, Some((head.size, head.framing))),
            Err(_) => prop_assert_eq!(whole, None),
        }
    }

    #[test]
    fn every_target_that_is_read_fits_the_type_behind(target in "[ -~äöé\\x7f\t]{1,24}") {
        let target = format!("/{target}");
        let fits = target.parse::<http::Uri>().is_ok() && !target.contains('#');
        prop_assert_eq!(target::is_target(target.as_bytes()), fits);
    }
}
