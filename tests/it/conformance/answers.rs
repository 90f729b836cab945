//! Rows 69 to 73: consoles whose answers have two readings, or none.

use super::case::{Case, Expect, Gets, Seen, get, get_with};
use super::upstream::Script;

/// Heads of answers that have two readings or none. Each is followed by a body.
const BAD_HEADS: [(&str, &[u8]); 36] = [
    (
        "a length and a coding",
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
    ),
    (
        "a coding and a length",
        b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
    ),
    ("two lengths", b"Content-Length: 6\r\nContent-Length: 0\r\n"),
    ("two lists of lengths", b"Content-Length: 6, 0\r\n"),
    ("a length with a plus", b"Content-Length: +6\r\n"),
    ("a length with a minus", b"Content-Length: -6\r\n"),
    ("a length in hex", b"Content-Length: 0x6\r\n"),
    ("a length with a blank", b"Content-Length: 6 6\r\n"),
    ("a length of nothing", b"Content-Length:\r\n"),
    ("a length with a letter", b"Content-Length: 6p\r\n"),
    (
        "a length over 64 bits",
        b"Content-Length: 18446744073709551622\r\n",
    ),
    ("a length with VT", b"Content-Length: \x0b6\r\n"),
    (
        "a coding twice",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ),
    (
        "chunked, then identity",
        b"Transfer-Encoding: chunked, identity\r\n",
    ),
    (
        "gzip, then chunked",
        b"Transfer-Encoding: gzip, chunked\r\n",
    ),
    ("a coding of none", b"Transfer-Encoding: cow\r\n"),
    ("a coding of nothing", b"Transfer-Encoding:\r\n"),
    ("a coding with VT", b"Transfer-Encoding: \x0bchunked\r\n"),
    ("NUL in a value", b"X-A: a\0b\r\nContent-Length: 6\r\n"),
    ("SOH in a value", b"X-A: a\x01b\r\nContent-Length: 6\r\n"),
    ("DEL in a value", b"X-A: a\x7fb\r\nContent-Length: 6\r\n"),
    ("CR in a value", b"X-A: a\rb\r\nContent-Length: 6\r\n"),
    ("LF behind a field", b"X-A: a\nContent-Length: 6\r\n"),
    ("CR CR LF", b"X-A: a\r\r\nContent-Length: 6\r\n"),
    ("a fold", b"X-A: a\r\n b\r\nContent-Length: 6\r\n"),
    ("a fold by a tab", b"X-A: a\r\n\tb\r\nContent-Length: 6\r\n"),
    ("a fold first", b" X-A: a\r\nContent-Length: 6\r\n"),
    ("a blank in a name", b"X A: a\r\nContent-Length: 6\r\n"),
    (
        "a blank before the colon",
        b"X-A : a\r\nContent-Length: 6\r\n",
    ),
    (
        "a tab before the colon",
        b"X-A\t: a\r\nContent-Length: 6\r\n",
    ),
    ("no name", b": a\r\nContent-Length: 6\r\n"),
    ("no colon", b"X-A\r\nContent-Length: 6\r\n"),
    ("NUL in a name", b"X\0A: a\r\nContent-Length: 6\r\n"),
    ("8 bit in a name", b"X\xe9A: a\r\nContent-Length: 6\r\n"),
    (
        "a length with a blank before the colon",
        b"Content-Length : 6\r\n",
    ),
    ("brackets in a name", b"(X-A): a\r\nContent-Length: 6\r\n"),
];

const BAD_STATUS_LINES: [(&str, &[u8]); 25] = [
    ("a word", b"FOO"),
    ("a greeting of SMTP", b"220 mail.example ESMTP"),
    ("ICY", b"ICY 200 OK"),
    ("99", b"HTTP/1.1 99 Low"),
    ("two digits", b"HTTP/1.1 20 OK"),
    ("1000", b"HTTP/1.1 1000 High"),
    ("four digits", b"HTTP/1.1 2000 OK"),
    ("zero", b"HTTP/1.1 000 None"),
    ("letters", b"HTTP/1.1 abc OK"),
    ("a plus", b"HTTP/1.1 +20 OK"),
    ("a minus", b"HTTP/1.1 -20 OK"),
    ("hex", b"HTTP/1.1 0xC8 OK"),
    ("no blank behind", b"HTTP/1.1 200OK"),
    ("no blank before", b"HTTP/1.1200 OK"),
    ("two blanks", b"HTTP/1.1  200 OK"),
    ("a tab", b"HTTP/1.1\t200 OK"),
    ("no status", b"HTTP/1.1"),
    ("lower case", b"http/1.1 200 OK"),
    ("HTTP/2.0", b"HTTP/2.0 200 OK"),
    ("HTTP/0.9", b"HTTP/0.9 200 OK"),
    ("HTTP/1.2", b"HTTP/1.2 200 OK"),
    ("HTTP/11.1", b"HTTP/11.1 200 OK"),
    ("a blank before", b" HTTP/1.1 200 OK"),
    ("NUL in the reason", b"HTTP/1.1 200 O\0K"),
    ("CR in the reason", b"HTTP/1.1 200 O\rK"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, lines) in BAD_HEADS {
        let bytes = [b"HTTP/1.1 200 OK\r\n", lines, b"\r\np0ison"].concat();
        cases.push(faulty(69, name, bytes));
    }
    for (name, line) in BAD_STATUS_LINES {
        let bytes = [line, b"\r\nContent-Length: 6\r\n\r\np0ison"].concat();
        cases.push(faulty(70, name, bytes));
    }
    cases.extend(heads());
    cases
}

/// A GET whose answer nobody may get to see.
pub(super) fn faulty(row: u8, name: &str, answer: impl Into<Vec<u8>>) -> Case {
    let case = Case::new(row, name, get_with("")).console(Script::SaysAndCloses(answer.into()));
    let expect = Expect::Fault(vec![(502, "upstream_invalid")]);
    Case {
        followed: true,
        ..case.expecting(expect)
    }
}

pub(super) fn plain() -> Seen {
    get("/api/v3/{m}")
}

/// A GET with an answer, and what the caller gets of it.
pub(super) fn passed(
    row: u8,
    name: &str,
    answer: impl Into<Vec<u8>>,
    status: u16,
    gets: Gets,
) -> Case {
    Case::new(row, name, get_with(""))
        .passes(plain())
        .with_status(status)
        .console(Script::Says(answer.into()))
        .getting(gets)
}

pub(super) fn body(text: &str) -> Gets {
    Gets {
        body: Some(text.into()),
        ..Gets::default()
    }
}

fn heads() -> Vec<Case> {
    let ok = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 6\r\n\r\np0ison");
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\np0ison";
    let asked = get_with("Connection: Upgrade\r\nUpgrade: websocket\r\n");
    let unasked = faulty(71, "101 that nobody asked for", switch);
    vec![
        faulty(70, "JSON", "{\"p0ison\":1}\r\n\r\n"),
        faulty(
            70,
            "noise",
            [0x16, 0x03, 0x01, 0, 2, 1, 0, b'\r', b'\n', b'\r', b'\n'],
        ),
        faulty(70, "half of a head", "HTTP/1.1 200 OK\r\nContent-Len").expecting(Expect::Fault(
            vec![(502, "upstream_invalid"), (502, "upstream_unreachable")],
        )),
        faulty(
            69,
            "LF for all",
            "HTTP/1.1 200 OK\nContent-Length: 6\n\np0ison",
        ),
        faulty(
            69,
            "LF before",
            "\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\np0ison",
        ),
        faulty(
            69,
            "chunked in HTTP/1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\np0ison\r\n0\r\n\r\n",
        ),
        unasked,
        Case {
            name: "101 that the caller asked for".to_owned(),
            ..faulty(71, "", switch)
        }
        .sending(asked),
        faulty(
            73,
            "a header of 200 kB",
            ok(&format!("X-A: {}\r\n", "x".repeat(200_000))),
        ),
        faulty(
            73,
            "5,000 headers of 40 bytes",
            ok(&format!("X-A: {}\r\n", "x".repeat(33)).repeat(5000)),
        ),
        faulty(
            73,
            "a status line of 200 kB",
            format!("HTTP/1.1 200 {}\r\n\r\n", "x".repeat(200_000)),
        ),
        faulty(
            73,
            "a head without an end",
            "HTTP/1.1 200 OK\r\n".to_owned() + &"X-A: b\r\n".repeat(50_000),
        ),
    ]
}
