//! Answers of consoles that are odd and right.

use super::answers::{body, passed};
use super::case::{Case, Gets, get_with, sees};
use super::upstream::Script;

pub(super) fn cases() -> Vec<Case> {
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
            "Latin-1 in a value of the console",
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
            "an empty value of the console",
            ok("X-A:\r\nContent-Length: 2\r\n", "ok"),
            200,
            has("x-a", b""),
        ),
        passed(
            0,
            "names in lower case from the console",
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
            "a header of 16 kB from the console",
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
