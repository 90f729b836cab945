//! Rows 20 to 25: bodies that nobody reads, GET with a body, `Expect`, `Upgrade`, pipelining.

use super::case::{
    CANARY, Case, Expect, Gets, HOST, KEY, Seen, Step, get, get_with, length_of, post_with, sees,
};

/// A body that looks like a request.
const LURE: &str = "{next}";

/// Requests that the gateway answers by itself: the start line, the lines, the refusal.
const ANSWERED: [(&str, &str, &str, u16, &str); 10] = [
    (
        "no credentials",
        "POST /api/v3/{m}",
        "Host: gw.example\r\n",
        401,
        "no_credentials",
    ),
    (
        "bad credentials",
        "POST /api/v3/{m}",
        "Host: gw.example\r\nX-Api-Key: vgk_none_0000000000000000000000000000000\r\n",
        401,
        "bad_credentials",
    ),
    (
        "an unknown tenant",
        "POST /api/v3/{m}",
        "{auth}X-Tenant: nobody\r\n",
        403,
        "tenant_denied",
    ),
    (
        "a tenant of others",
        "POST /api/v3/{m}",
        "{auth}X-Tenant: globex\r\n",
        403,
        "tenant_denied",
    ),
    (
        "outside the API",
        "POST /proxy/{m}",
        "{auth}",
        403,
        "operation_denied",
    ),
    (
        "an expectation",
        "POST /api/v3/{m}",
        "{auth}Expect: more\r\n",
        417,
        "expectation_failed",
    ),
    (
        "a key in the query",
        "POST /api/v3/{m}?api_key=1",
        "{auth}",
        400,
        "key_in_query",
    ),
    (
        "an ambiguous path",
        "POST /api/v3//{m}",
        "{auth}",
        400,
        "ambiguous_path",
    ),
    (
        "a method",
        "PROPFIND /api/v3/{m}",
        "{auth}",
        405,
        "method_refused",
    ),
    (
        "another host",
        "POST /api/v3/{m}",
        "Host: other.example\r\nX-Api-Key: {key}\r\n",
        421,
        "wrong_host",
    ),
];

const EXPECTATIONS: [&str; 9] = [
    "200-ok",
    "100-continue, 100-continue",
    "100-continue, more",
    "100-continue;q=1",
    "100-continue 100-continue",
    "\"100-continue\"",
    "100",
    "continue",
    "",
];

const UPGRADES: [(u8, &str, &str); 8] = [
    (
        23,
        "to a WebSocket",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    ),
    (23, "to TLS", "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"),
    (
        23,
        "kept alive",
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
    ),
    (
        23,
        "to what is no protocol",
        "Connection: Upgrade\r\nUpgrade: , ,\r\n",
    ),
    (23, "without Connection", "Upgrade: websocket\r\n"),
    (
        24,
        "to h2c",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    ),
    (
        24,
        "to h2c without Connection",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    ),
    (
        24,
        "to h2c or a WebSocket",
        "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, start, lines, status, code) in ANSWERED {
        let length = length_of(LURE);
        let sized = format!("{start} HTTP/1.1\r\n{lines}Content-Length: {length}\r\n\r\n{LURE}");
        cases.push(followed(Case::new(20, name, sized).answered(status, code)));
        let chunks = format!("{length:x}\r\n{LURE}\r\n0\r\n\r\n");
        let chunked =
            format!("{start} HTTP/1.1\r\n{lines}Transfer-Encoding: chunked\r\n\r\n{chunks}");
        let name = format!("{name}, in chunks");
        cases.push(followed(
            Case::new(20, name, chunked).answered(status, code),
        ));
    }
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH"] {
        cases.push(with_body(method));
    }
    for expectation in EXPECTATIONS {
        let name = format!("{expectation:?}");
        let lines = format!("Expect: {expectation}\r\nContent-Length: 5\r\n");
        let case = Case::new(22, name, post_with(lines, "hello"));
        cases.push(followed(case.answered(417, "expectation_failed")));
    }
    for (row, name, lines) in UPGRADES {
        let plain = |seen: Seen| {
            seen.lacks("upgrade")
                .lacks("http2-settings")
                .lacks("connection")
        };
        cases.push(Case::new(row, name, get_with(lines)).passes(plain(get("/api/v3/{m}"))));
        let lines = format!("{lines}Content-Length: {}\r\n", length_of(LURE));
        cases.push(
            Case::new(row, format!("{name}, with a body"), post_with(lines, LURE))
                .passes(plain(sees("POST", "/api/v3/{m}", LURE))),
        );
    }
    cases.extend(chunked_get());
    cases.extend(continued());
    cases.extend(pipelined());
    cases
}

/// With a request behind it that may be answered too.
fn followed(case: Case) -> Case {
    Case {
        followed: true,
        ..case
    }
}

/// A body that looks like a request is a body, whatever the method.
fn with_body(method: &str) -> Case {
    let length = length_of(LURE);
    let bytes = format!(
        "{method} /api/v3/{{m}} HTTP/1.1\r\n{{auth}}Content-Length: {length}\r\n\r\n{LURE}"
    );
    Case::new(21, format!("{method} with a body"), bytes).passes(sees(method, "/api/v3/{m}", LURE))
}

fn chunked_get() -> Vec<Case> {
    let of = |method: &str| {
        let size = length_of(LURE);
        let bytes = format!(
            "{method} /api/v3/{{m}} HTTP/1.1\r\n{{auth}}Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{LURE}\r\n0\r\n\r\n"
        );
        Case::new(21, format!("{method} in chunks"), bytes)
    };
    vec![
        of("GET").refused(400, "bad_request"),
        of("HEAD").refused(400, "bad_request"),
        of("DELETE").passes(sees("DELETE", "/api/v3/{m}", LURE)),
        of("PUT").passes(sees("PUT", "/api/v3/{m}", LURE)),
    ]
}

/// `100-continue`: said by the gateway, and only once it is clear that the body is wanted.
fn continued() -> Vec<Case> {
    let head = |lines: &str| post_with(format!("Expect: 100-continue\r\n{lines}"), "");
    let waiting = |name: &str, head: Vec<u8>, body: &str| {
        let steps = vec![
            Step::Send(head),
            Step::Interim,
            Step::Send(body.as_bytes().to_vec()),
        ];
        Case::of_steps(22, name, steps)
            .passes(sees("POST", "/api/v3/{m}", "hello").lacks("expect"))
            .getting(Gets {
                interim: Some(1),
                ..Gets::default()
            })
    };
    let denied = |name: &str, lines: &str, status, code| {
        let bytes = format!(
            "POST /api/v3/{{m}} HTTP/1.1\r\n{lines}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        );
        let steps = vec![
            Step::Send(bytes.into_bytes()),
            Step::Answers(1),
            Step::HalfClose,
        ];
        Case::of_steps(22, name, steps)
            .answered(status, code)
            .getting(Gets {
                interim: Some(0),
                ..Gets::default()
            })
    };
    vec![
        waiting("a body that waits", head("Content-Length: 5\r\n"), "hello"),
        waiting(
            "chunks that wait",
            head("Transfer-Encoding: chunked\r\n"),
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        Case::new(
            22,
            "a body that does not wait",
            post_with("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"),
        )
        .passes(sees("POST", "/api/v3/{m}", "hello")),
        Case::new(
            22,
            "in other letters",
            post_with("Expect: 100-Continue\r\nContent-Length: 5\r\n", "hello"),
        )
        .passes(sees("POST", "/api/v3/{m}", "hello")),
        followed(
            Case::new(
                22,
                "two lines",
                post_with(
                    "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n",
                    "hello",
                ),
            )
            .answered(417, "expectation_failed"),
        ),
        denied(
            "no credentials",
            "Host: gw.example\r\n",
            401,
            "no_credentials",
        ),
        denied(
            "a tenant of others",
            "{auth}X-Tenant: globex\r\n",
            403,
            "tenant_denied",
        ),
    ]
}

/// Requests in a row, each with its own answer.
fn pipelined() -> Vec<Case> {
    let one = |place: &str, lines: &str, body: &str| {
        let method = if body.is_empty() { "GET" } else { "POST" };
        format!(
            "{method} /api/v3/{{m}}/{place} HTTP/1.1\r\nHost: {HOST}\r\nX-Api-Key: {KEY}\r\nX-Case: {{m}}.{CANARY}\r\n{lines}\r\n{body}"
        )
    };
    let first = |body: &str| {
        if body.is_empty() {
            get("/api/v3/{m}/1")
        } else {
            sees("POST", "/api/v3/{m}/1", body)
        }
    };
    let all = |requests: [String; 3], seen: [Seen; 3], name: &str| {
        let case = Case::new(25, name, requests.concat());
        Case {
            followed: true,
            ..case.expecting(Expect::Passed(200, seen.to_vec()))
        }
    };
    let plain = || [one("1", "", ""), one("2", "", ""), one("3", "", "")];
    let gets = || [first(""), get("/api/v3/{m}/2"), get("/api/v3/{m}/3")];
    vec![
        all(plain(), gets(), "three requests"),
        all(plain(), gets(), "three requests").trickled(),
        all(
            [
                one("1", "Content-Length: 5\r\n", "hello"),
                one("2", "", ""),
                one("3", "", ""),
            ],
            [first("hello"), get("/api/v3/{m}/2"), get("/api/v3/{m}/3")],
            "a body first",
        ),
        all(
            [
                one("1", "", ""),
                one(
                    "2",
                    "Transfer-Encoding: chunked\r\n",
                    "5\r\nhello\r\n0\r\n\r\n",
                ),
                one("3", "", ""),
            ],
            [
                first(""),
                sees("POST", "/api/v3/{m}/2", "hello"),
                get("/api/v3/{m}/3"),
            ],
            "chunks between",
        ),
    ]
}
