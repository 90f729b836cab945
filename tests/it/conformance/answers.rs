//! Rows 69 to 80: consoles whose answers cannot be believed, and the odd ones that can.

use super::case::{Case, Expect, Gets, POISON, Seen, get, get_with, post_with, sees};
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

/// Bodies that break off or break their framing.
const BAD_BODIES: [(&str, &str, &[u8]); 18] = [
    ("shorter than told", "Content-Length: 10\r\n", b"hello"),
    ("nothing of what was told", "Content-Length: 10\r\n", b""),
    (
        "no last chunk",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n",
    ),
    (
        "half of a chunk",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhel",
    ),
    ("no chunk at all", "Transfer-Encoding: chunked\r\n", b""),
    (
        "no last line end",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n0\r\n",
    ),
    (
        "a size of none",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\nzz\r\np0ison\r\n0\r\n\r\n",
    ),
    (
        "a size with 0x",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n0x6\r\np0ison\r\n0\r\n\r\n",
    ),
    (
        "a size with a plus",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n+6\r\np0ison\r\n0\r\n\r\n",
    ),
    (
        "a size with a blank before",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n 6\r\np0ison\r\n0\r\n\r\n",
    ),
    (
        "a size over 64 bits",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n10000000000000006\r\np0ison\r\n0\r\n\r\n",
    ),
    (
        "more than the size",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhellop0ison\r\n0\r\n\r\n",
    ),
    (
        "LF behind a size",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n6\np0ison\r\n0\r\n\r\n",
    ),
    (
        "LF behind data",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\n6\r\np0ison\r\n0\r\n\r\n",
    ),
    (
        "CR behind a size",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n6\rp0ison\r\n0\r\n\r\n",
    ),
    (
        "LF in an extension",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n6;a\nb\r\np0ison\r\n0\r\n\r\n",
    ),
    (
        "LF at the end",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n0\n\n",
    ),
    (
        "a bad trailer",
        "Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n0\r\nX A: 1\r\n\r\n",
    ),
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
    for (name, lines, body) in BAD_BODIES {
        let bytes = [format!("HTTP/1.1 200 OK\r\n{lines}\r\n").as_bytes(), body].concat();
        let script = Script::SaysAndCloses(bytes.clone());
        cases.push(
            Case::new(74, name, get_with(""))
                .console(script)
                .expecting(Expect::Torn),
        );
        if !body.ends_with(b"\r\n\r\n") {
            let script = Script::SaysAndResets(bytes);
            let name = format!("{name}, then a reset");
            cases.push(
                Case::new(74, name, get_with(""))
                    .console(script)
                    .expecting(Expect::Torn),
            );
        }
    }
    cases.extend(heads());
    cases.extend(surplus());
    cases.extend(silence());
    cases.extend(relayed());
    cases.extend(interim());
    cases.extend(well_formed());
    cases
}

/// A GET whose answer nobody may get to see.
fn faulty(row: u8, name: &str, answer: impl Into<Vec<u8>>) -> Case {
    let case = Case::new(row, name, get_with("")).console(Script::SaysAndCloses(answer.into()));
    let expect = Expect::Fault(vec![(502, "upstream_invalid")]);
    Case {
        followed: true,
        ..case.expecting(expect)
    }
}

fn plain() -> Seen {
    get("/api/v3/{m}")
}

/// A GET with an answer, and what the caller gets of it.
fn passed(row: u8, name: &str, answer: impl Into<Vec<u8>>, status: u16, gets: Gets) -> Case {
    Case::new(row, name, get_with(""))
        .passes(plain())
        .with_status(status)
        .console(Script::Says(answer.into()))
        .getting(gets)
}

fn body(text: &str) -> Gets {
    Gets {
        body: Some(text.into()),
        ..Gets::default()
    }
}

fn lacking(names: &[&str]) -> Gets {
    Gets {
        lacks: names.iter().map(|name| (*name).to_owned()).collect(),
        ..body("ok")
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
        unasked.clone(),
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

/// Bytes that belong to no answer: whoever comes next gets none of them.
fn surplus() -> Vec<Case> {
    let poison = format!("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{POISON}");
    let of = |name: &str, head: &str, status: u16| {
        passed(75, name, format!("{head}{poison}"), status, Gets::default())
    };
    let head_case = |name: &str, head: &str| {
        let bytes = "HEAD /api/v3/{m} HTTP/1.1\r\n{auth}\r\n";
        Case::new(75, name, bytes)
            .passes(sees("HEAD", "/api/v3/{m}", ""))
            .console(Script::Says(format!("{head}{poison}").into()))
    };
    vec![
        of(
            "behind a length",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            200,
        ),
        of(
            "behind chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            200,
        ),
        of(
            "behind nothing",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            200,
        ),
        of("behind 204", "HTTP/1.1 204 No Content\r\n\r\n", 204),
        of(
            "behind 304",
            "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
            304,
        ),
        of(
            "behind 304 with a length",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n",
            304,
        ),
        head_case(
            "behind an answer to HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
        ),
        head_case(
            "behind an answer to HEAD in chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        of(
            "behind 204 with a length",
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            204,
        )
        .or_a_fault(),
        of(
            "behind 204 that tells of a body",
            "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n",
            204,
        )
        .or_a_fault(),
        of(
            "behind 204 in chunks",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            204,
        )
        .or_a_fault(),
    ]
}

fn silence() -> Vec<Case> {
    let post = || post_with("Content-Length: 5\r\n", "hello");
    let fault = |case: Case, status, code| Case {
        followed: true,
        ..case.expecting(Expect::Fault(vec![(status, code)]))
    };
    vec![
        fault(
            Case::new(77, "silent", get_with("")).console(Script::Silent),
            504,
            "upstream_timeout",
        ),
        fault(
            Case::new(77, "silent to a POST", post()).console(Script::Silent),
            504,
            "upstream_timeout",
        ),
        fault(
            Case::new(77, "closed", get_with("")).console(Script::Closes),
            502,
            "upstream_unreachable",
        ),
        fault(
            Case::new(77, "closed to a POST", post()).console(Script::Closes),
            502,
            "upstream_unreachable",
        ),
        fault(
            Case::new(77, "reset", get_with("")).console(Script::SaysAndResets(Vec::new())),
            502,
            "upstream_unreachable",
        ),
        fault(
            Case::new(77, "reset to a POST", post()).console(Script::SaysAndResets(Vec::new())),
            502,
            "upstream_unreachable",
        ),
        Case::new(77, "silent within a body", get_with(""))
            .console(Script::SaysEarly(
                b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello".to_vec(),
            ))
            .expecting(Expect::Torn),
    ]
}

/// Headers that end at the gateway, redirects, packed bodies.
fn relayed() -> Vec<Case> {
    let ok = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok");
    let moved =
        |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 2\r\n\r\nok");
    let at = |location: &str| Gets {
        has: vec![("location".into(), location.into())],
        ..body("ok")
    };
    let bomb = "x".repeat(30_000);
    let packed =
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 30000\r\n\r\n{bomb}");
    let gets = Gets {
        has: vec![("content-encoding".into(), "gzip".into())],
        ..body(&bomb)
    };
    vec![
        passed(
            76,
            "a header that Connection names",
            ok("Connection: X-Hop\r\nX-Hop: 1\r\n"),
            200,
            lacking(&["x-hop"]),
        ),
        passed(
            76,
            "several",
            ok(
                "Connection: x-hop, X-Other\r\nConnection: X-Third\r\nX-Hop: 1\r\nX-Other: 2\r\nX-Third: 3\r\n",
            ),
            200,
            lacking(&["x-hop", "x-other", "x-third"]),
        ),
        passed(
            76,
            "its own length",
            ok("Connection: Content-Length\r\n"),
            200,
            body("ok"),
        ),
        passed(
            76,
            "Keep-Alive",
            ok("Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n"),
            200,
            lacking(&["keep-alive"]),
        ),
        passed(
            76,
            "Proxy-Connection",
            ok("Proxy-Connection: keep-alive\r\n"),
            200,
            lacking(&["proxy-connection"]),
        ),
        passed(
            76,
            "Upgrade",
            ok("Upgrade: h2c\r\nConnection: Upgrade\r\n"),
            200,
            lacking(&["upgrade"]),
        ),
        passed(
            76,
            "the gateway's own code",
            ok("X-Gateway-Code: p0ison\r\n"),
            200,
            lacking(&["x-gateway-code"]),
        ),
        passed(
            79,
            "a redirect elsewhere",
            moved("https://login.example/a?b=c"),
            302,
            at("https://login.example/a?b=c"),
        ),
        passed(
            79,
            "a redirect to another scheme",
            moved("ldap://login.example/"),
            302,
            at("ldap://login.example/"),
        ),
        passed(
            79,
            "a permanent redirect elsewhere",
            "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://login.example/\r\nContent-Length: 2\r\n\r\nok",
            308,
            at("https://login.example/"),
        ),
        passed(
            79,
            "a redirect within the console",
            moved("/api/v3/elsewhere"),
            302,
            at("http://gw.example/api/v3/elsewhere"),
        ),
        passed(80, "a packed body", packed, 200, gets),
    ]
}

fn interim() -> Vec<Case> {
    let of = |name: &str, row: u8, before: &str, times: usize| {
        let answer = before.repeat(times) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        passed(
            row,
            name,
            answer,
            200,
            Gets {
                interim: Some(0),
                ..body("ok")
            },
        )
    };
    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    vec![
        of("100", 72, "HTTP/1.1 100 Continue\r\n\r\n", 1),
        of("102", 72, "HTTP/1.1 102 Processing\r\n\r\n", 1),
        of("103", 72, HINTS, 1),
        of(
            "a status that is not known",
            72,
            "HTTP/1.1 199 Other\r\n\r\n",
            1,
        ),
        of("eight", 72, HINTS, 8),
        of("nine", 72, HINTS, 9).or_a_fault(),
        of("sixty", 72, HINTS, 60).or_a_fault(),
        faulty(72, "nothing else", HINTS.repeat(3)).expecting(Expect::Fault(vec![
            (502, "upstream_invalid"),
            (502, "upstream_unreachable"),
        ])),
    ]
}

/// Answers that are odd and right.
fn well_formed() -> Vec<Case> {
    let ok = |lines: &str, rest: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n{rest}");
    let has = |name: &str, value: &[u8]| Gets {
        has: vec![(name.into(), value.into())],
        ..body("ok")
    };
    let closing = |name: &str, answer: String, gets: Gets| {
        passed(0, name, "", 200, gets).console(Script::SaysAndCloses(answer.into()))
    };
    let trailed = "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
    let trailers = |asked: bool| {
        let lines = if asked {
            "Connection: TE\r\nTE: trailers\r\n"
        } else {
            ""
        };
        let answer = ok("Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n", trailed);
        let gets = Gets {
            trailers: Some(asked),
            ..body("ok")
        };
        passed(
            18,
            if asked {
                "trailers for who takes them"
            } else {
                "trailers for others"
            },
            answer,
            200,
            gets,
        )
        .sending(get_with(lines))
    };
    let statuses = [
        201, 202, 206, 400, 403, 404, 409, 410, 415, 429, 500, 501, 503, 520, 599,
    ];
    let of_status = |status: u16| {
        let answer = format!("HTTP/1.1 {status} Odd\r\nContent-Length: 2\r\n\r\nok");
        passed(
            0,
            &format!("a console that answers {status}"),
            answer,
            status,
            body("ok"),
        )
    };
    let mut cases: Vec<Case> = statuses.into_iter().map(of_status).collect();
    cases.extend([
        passed(
            0,
            "an answer in chunks",
            ok(
                "Transfer-Encoding: chunked\r\n",
                "1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
            ),
            200,
            body("ok"),
        ),
        passed(
            0,
            "an answer in chunks with extensions",
            ok(
                "Transfer-Encoding: chunked\r\n",
                "2;a=b\r\nok\r\n0;c\r\n\r\n",
            ),
            200,
            body("ok"),
        ),
        passed(
            0,
            "an empty answer in chunks",
            ok("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            200,
            body(""),
        ),
        passed(
            0,
            "an empty answer",
            ok("Content-Length: 0\r\n", ""),
            200,
            body(""),
        ),
        passed(
            0,
            "no reason",
            "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
            200,
            body("ok"),
        ),
        passed(
            0,
            "a reason of many words",
            "HTTP/1.1 200 It went (very) well\r\nContent-Length: 2\r\n\r\nok",
            200,
            body("ok"),
        ),
        passed(
            0,
            "Latin-1 in the reason",
            b"HTTP/1.1 200 \xe9\r\nContent-Length: 2\r\n\r\nok".as_slice(),
            200,
            body("ok"),
        ),
        passed(
            0,
            "Latin-1 in a value",
            b"HTTP/1.1 200 OK\r\nX-A: \xe9\r\nContent-Length: 2\r\n\r\nok".as_slice(),
            200,
            has("x-a", b"\xe9"),
        ),
        passed(
            0,
            "blanks around a value",
            ok("X-A: \t 1 \t \r\nContent-Length: 2\r\n", "ok"),
            200,
            has("x-a", b"1"),
        ),
        passed(
            0,
            "an empty value",
            ok("X-A:\r\nContent-Length: 2\r\n", "ok"),
            200,
            has("x-a", b""),
        ),
        passed(
            0,
            "lower case",
            ok("content-length: 2\r\nx-a: 1\r\n", "ok"),
            200,
            has("x-a", b"1"),
        ),
        passed(
            0,
            "60 headers",
            ok(&("X-Pad: 1\r\n".repeat(60) + "Content-Length: 2\r\n"), "ok"),
            200,
            body("ok"),
        ),
        passed(
            0,
            "a header of 16 kB",
            ok(
                &format!("X-Pad: {}\r\nContent-Length: 2\r\n", "x".repeat(16_000)),
                "ok",
            ),
            200,
            body("ok"),
        ),
        passed(0, "204", "HTTP/1.1 204 No Content\r\n\r\n", 204, body("")),
        passed(
            0,
            "304",
            "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
            304,
            body(""),
        ),
        closing(
            "an answer that ends with its connection",
            ok("", "ok"),
            body("ok"),
        ),
        closing(
            "the same, announced",
            ok("Connection: close\r\n", "ok"),
            body("ok"),
        ),
        closing(
            "HTTP/1.0",
            "HTTP/1.0 200 OK\r\n\r\nok".to_owned(),
            body("ok"),
        ),
        closing(
            "HTTP/1.0 with a length",
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
            body("ok"),
        ),
        closing(
            "a length and the end",
            ok("Content-Length: 2\r\nConnection: close\r\n", "ok"),
            body("ok"),
        ),
        trailers(true),
        trailers(false),
    ]);
    let head = "HEAD /api/v3/{m} HTTP/1.1\r\n{auth}\r\n";
    for (name, lines) in [
        ("a length in the answer to HEAD", "Content-Length: 5000\r\n"),
        (
            "a coding in the answer to HEAD",
            "Transfer-Encoding: chunked\r\n",
        ),
        ("neither in the answer to HEAD", ""),
    ] {
        cases.push(
            Case::new(0, name, head)
                .passes(sees("HEAD", "/api/v3/{m}", ""))
                .console(Script::Says(ok(lines, "").into()))
                .getting(body("")),
        );
    }
    cases
}

impl Case {
    /// The same for other bytes of the caller.
    fn sending(mut self, bytes: Vec<u8>) -> Self {
        self.steps = Self::new(0, "", bytes).steps;
        self
    }

    /// A 502 instead is as good.
    fn or_a_fault(self) -> Self {
        let fault = Expect::Fault(vec![(502, "upstream_invalid")]);
        let both = Expect::Either(vec![self.expect.clone(), fault]);
        self.expecting(both)
    }
}
