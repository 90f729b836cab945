//! Rows 72 to 80: answers that break off, or that nobody asked for.

use super::answers::{body, faulty, passed};
use super::case::{Case, Expect, Gets, POISON, get_with, post_with, sees};
use super::upstream::Script;

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
    cases.extend(to_old_callers());
    cases.extend(surplus());
    cases.extend(silence());
    cases.extend(relayed());
    cases.extend(interim());
    cases
}

/// To a caller of HTTP/1.0 the end of the connection is the end of an answer without a length: where
/// it is not, the connection must not end like that.
fn to_old_callers() -> Vec<Case> {
    let old = b"GET /api/v3/{m} HTTP/1.0\r\n{auth}\r\n";
    let without_length = BAD_BODIES
        .iter()
        .filter(|(_, lines, _)| lines.starts_with("Transfer-Encoding"));
    let mut cases: Vec<Case> = without_length
        .map(|(name, lines, body)| {
            let bytes = [format!("HTTP/1.1 200 OK\r\n{lines}\r\n").as_bytes(), body].concat();
            Case::new(74, format!("{name}, to HTTP/1.0"), old).console(Script::SaysAndCloses(bytes))
        })
        .collect();
    let silent = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    cases.extend([
        Case::new(74, "no end, then a reset, to HTTP/1.0", old).console(Script::SaysAndResets(
            b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\nhello".to_vec(),
        )),
        Case::new(77, "silent within chunks, to HTTP/1.0", old)
            .console(Script::SaysEarly(silent.into())),
    ]);
    cases
        .into_iter()
        .map(|case| case.expecting(Expect::Torn))
        .collect()
}

fn lacking(names: &[&str]) -> Gets {
    Gets {
        lacks: names.iter().map(|name| (*name).to_owned()).collect(),
        ..body("ok")
    }
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
