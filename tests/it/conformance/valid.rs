//! What real clients send, and what the grammar allows: strictness may not cost one of them.

use super::case::{Case, Seen, chunks, get, get_with, joined, length_of, post_with, sees};

/// Header lines that reach the console: the line, the name, the value.
const FIELDS: [(&str, &[u8], &str, &[u8]); 34] = [
    ("a name in lower case", b"x-a: 1\r\n", "x-a", b"1"),
    ("a name with upper case", b"X-A: 1\r\n", "x-a", b"1"),
    ("all upper case", b"X-AAA: 1\r\n", "x-aaa", b"1"),
    ("no blank", b"X-A:1\r\n", "x-a", b"1"),
    ("two blanks", b"X-A:  1\r\n", "x-a", b"1"),
    ("a tab", b"X-A:\t1\r\n", "x-a", b"1"),
    ("a blank behind", b"X-A: 1 \r\n", "x-a", b"1"),
    ("a tab behind", b"X-A: 1\t\r\n", "x-a", b"1"),
    ("blanks and tabs all around", b"X-A: \t 1 \t \r\n", "x-a", b"1"),
    ("no value", b"X-A:\r\n", "x-a", b""),
    ("a blank for a value", b"X-A: \r\n", "x-a", b""),
    ("a tab within a value", b"X-A: 1\t2\r\n", "x-a", b"1\t2"),
    ("blanks within a value", b"X-A: 1  2\r\n", "x-a", b"1  2"),
    ("Latin-1 in a value", b"X-A: caf\xe9\r\n", "x-a", b"caf\xe9"),
    ("UTF-8 in a value", b"X-A: caf\xc3\xa9\r\n", "x-a", b"caf\xc3\xa9"),
    ("0x80 and 0xFF in a value", b"X-A: \x80\xff\r\n", "x-a", b"\x80\xff"),
    ("a colon in a value", b"X-A: a:b: c\r\n", "x-a", b"a:b: c"),
    ("quotes in a value", b"X-A: \"a, b\"\r\n", "x-a", b"\"a, b\""),
    ("every sign in a value", b"X-A: !#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\r\n", "x-a",
        b"!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ("every byte that a name may have", b"!#$%&'*+-.^_`|~09azAZ: 1\r\n", "!#$%&'*+-.^_`|~09azaz", b"1"),
    ("a name of one letter", b"A: 1\r\n", "a", b"1"),
    ("a name of a digit", b"1: 1\r\n", "1", b"1"),
    ("a long name", b"X-Abcdefghijklmnopqrstuvwxyz-Abcdefghijklmnopqrstuvwxyz-0123456789: 1\r\n",
        "x-abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-0123456789", b"1"),
    ("Accept", b"Accept: application/json, text/json;q=0.9, */*;q=0.1\r\n", "accept",
        b"application/json, text/json;q=0.9, */*;q=0.1"),
    ("Accept-Encoding", b"Accept-Encoding: gzip, deflate, br, zstd\r\n", "accept-encoding",
        b"gzip, deflate, br, zstd"),
    ("User-Agent of PowerShell",
        b"User-Agent: Mozilla/5.0 (Windows NT 10.0; Microsoft Windows 10.0.20348; en-US) PowerShell/7.4.1\r\n",
        "user-agent",
        b"Mozilla/5.0 (Windows NT 10.0; Microsoft Windows 10.0.20348; en-US) PowerShell/7.4.1"),
    ("X-Client-Version", b"x-client-version: 3.6.1\r\n", "x-client-version", b"3.6.1"),
    ("X-Request-id", b"X-Request-id: 0b04b3a1-5a6c-4b57-9b7a-000000000001\r\n", "x-request-id",
        b"0b04b3a1-5a6c-4b57-9b7a-000000000001"),
    ("a type of JSON on a GET", b"Content-Type: application/json\r\n", "content-type",
        b"application/json"),
    ("Range", b"Range: bytes=0-99\r\n", "range", b"bytes=0-99"),
    ("If-None-Match", b"If-None-Match: W/\"a\", \"b\"\r\n", "if-none-match", b"W/\"a\", \"b\""),
    ("Pragma", b"Pragma: no-cache\r\n", "pragma", b"no-cache"),
    ("Origin", b"Origin: null\r\n", "origin", b"null"),
    ("TraceParent", b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        "traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
];

const TARGETS: [&str; 18] = [
    "/api/v3/{m}",
    "/api/v3/{m}?",
    "/api/v3/{m}??",
    "/api/v3/{m}?a",
    "/api/v3/{m}?a=1&b=2&a=3",
    "/api/v3/{m}?&&==&",
    "/api/v3/{m}?limit=500&offset=0",
    "/api/v3/{m}?filter=[{'property':'type','operation':'equals','value':'Provider'}]&limit=500",
    "/api/v3/{m}?filter=[{%22property%22:%22name%22,%22operation%22:%22contains%22}]",
    "/api/v3/{m}?filter=%5B%7B%22property%22%3A%22a%20b%22%7D%5D",
    "/api/v3/{m}?select=name,uid&sort=%5B%7B%22direction%22%3A%22ascending%22%7D%5D",
    "/api/v3/{m}?a=b+c%2Bd",
    "/api/v3/{m}?q=!$'()*+,;:@/?~-._",
    "/api/v3/{m}?a={b|c}^",
    "/api/v3/organizations/companies/{m}/sites",
    "/api/v3/infrastructure/managementAgents/packages/windows/{m}",
    "/api/v3/{m}/(x)/$count",
    "/api/v3/{m}/,/=/@",
];

/// Hosts that are served, as callers spell them.
const HOSTS: [&str; 10] = [
    "gw.example",
    "GW.Example",
    "gw.example:80",
    "gw.example:8280",
    "gw.example:65535",
    "gw.example:1",
    "192.0.2.7",
    "192.0.2.7:8280",
    "[2001:db8::7]",
    "[2001:db8::7]:8280",
];

/// Lengths and codings as the grammar allows them, before a body of `hello`.
const FRAMINGS: [(&str, &[u8], &str); 13] = [
    ("a length", b"Content-Length: 5\r\n", "hello"),
    ("a length without a blank", b"Content-Length:5\r\n", "hello"),
    ("a length in lower case", b"content-length: 5\r\n", "hello"),
    (
        "a length between blanks",
        b"Content-Length: \t5 \t\r\n",
        "hello",
    ),
    (
        "chunked",
        b"Transfer-Encoding: chunked\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "chunked in other letters",
        b"transfer-encoding: Chunked\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "chunked in upper case",
        b"TRANSFER-ENCODING: CHUNKED\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "chunked between blanks",
        b"Transfer-Encoding: \t chunked \t\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "two chunks",
        b"Transfer-Encoding: chunked\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ),
    (
        "five chunks",
        b"Transfer-Encoding: chunked\r\n",
        "1\r\nh\r\n1\r\ne\r\n1\r\nl\r\n1\r\nl\r\n1\r\no\r\n0\r\n\r\n",
    ),
    (
        "zeros before a size",
        b"Transfer-Encoding: chunked\r\n",
        "0005\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "many zeros at the end",
        b"Transfer-Encoding: chunked\r\n",
        "5\r\nhello\r\n0000\r\n\r\n",
    ),
    (
        "Connection: Transfer-Encoding",
        b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, line, field, value) in FIELDS {
        cases.push(Case::new(0, name, get_with(line)).passes(get("/api/v3/{m}").has(field, value)));
    }
    for target in TARGETS {
        let bytes = format!("GET {target} HTTP/1.1\r\n{{auth}}\r\n");
        cases.push(Case::new(0, target, bytes).passes(get(target)));
    }
    for host in HOSTS {
        let bytes = format!(
            "GET /api/v3/{{m}} HTTP/1.1\r\nHost: {host}\r\nX-Api-Key: {{key}}\r\nX-Case: {{m}}\r\n\r\n"
        );
        cases.push(Case::new(0, format!("host {host}"), bytes).passes(get("/api/v3/{m}")));
    }
    for (name, lines, rest) in FRAMINGS {
        cases.push(Case::new(0, name, post_with(lines, rest)).passes(hello()));
    }
    cases.extend(bodies());
    cases.extend(methods());
    cases.extend(shapes());
    cases.extend(old());
    cases.extend(pieces());
    cases
}

fn hello() -> Seen {
    sees("POST", "/api/v3/{m}", "hello")
}

fn bodies() -> Vec<Case> {
    let large = "x".repeat(65_536);
    let json = r#"{"name":"Ä","data":[1,2,3]}"#;
    let binary: Vec<u8> = (0..=255).collect();
    let sized = |name: &str, body: &[u8]| {
        let lines = format!("Content-Length: {}\r\n", length_of(body));
        Case::new(0, name, post_with(lines, body)).passes(sees("POST", "/api/v3/{m}", body))
    };
    let chunked = |name: &str, body: &[u8]| {
        let size = format!("{:X}\r\n", length_of(body));
        let rest = joined(&[size.as_bytes(), body, b"\r\n0\r\n\r\n"]);
        Case::new(0, name, chunks(rest)).passes(sees("POST", "/api/v3/{m}", body))
    };
    vec![
        sized("a body at the limit", large.as_bytes()),
        chunked("chunks at the limit", large.as_bytes()),
        sized("a body of JSON", json.as_bytes()),
        sized("a body of every byte", &binary),
        chunked("a chunk of every byte", &binary),
        sized("a body that looks like requests", b"{next}{next}"),
        chunked("a chunk that looks like requests", b"{next}{next}"),
        sized("a body that looks like chunks", b"5\r\nhello\r\n0\r\n\r\n"),
        sized("a body of line ends", b"\r\n\r\n\r\n"),
        sized("an empty body", b""),
        Case::new(0, "no chunk but the last", chunks("0\r\n\r\n")).passes(sees(
            "POST",
            "/api/v3/{m}",
            "",
        )),
        Case::new(0, "a POST that says nothing of a body", post_with("", "")).passes(sees(
            "POST",
            "/api/v3/{m}",
            "",
        )),
        Case::new(
            0,
            "a POST with a type and no body",
            post_with("Content-Type: application/json\r\n", ""),
        )
        .passes(sees("POST", "/api/v3/{m}", "").has("content-type", "application/json")),
    ]
}

fn methods() -> Vec<Case> {
    let of = |method: &str| {
        let bytes = format!("{method} /api/v3/{{m}} HTTP/1.1\r\n{{auth}}\r\n");
        Case::new(0, format!("{method} without a body"), bytes).passes(sees(
            method,
            "/api/v3/{m}",
            "",
        ))
    };
    let with_body = |method: &str| {
        let bytes = format!(
            "{method} /api/v3/{{m}} HTTP/1.1\r\n{{auth}}Content-Type: application/json-patch+json\r\n\
             Content-Length: 2\r\n\r\n[]"
        );
        Case::new(0, format!("{method} with a body"), bytes).passes(sees(
            method,
            "/api/v3/{m}",
            "[]",
        ))
    };
    let bare = ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "PATCH"].map(of);
    bare.into_iter()
        .chain(["PUT", "PATCH", "DELETE", "POST"].map(with_body))
        .collect()
}

fn shapes() -> Vec<Case> {
    let plain = || get("/api/v3/{m}");
    let of = |name: &str, lines: &str| Case::new(0, name, get_with(lines));
    let many: String = (0..90)
        .map(|number| format!("X-Many-{number}: {number}\r\n"))
        .collect();
    let query = format!("/api/v3/{{m}}?filter={}", "x".repeat(15_000));
    let long_target = format!("GET {query} HTTP/1.1\r\n{{auth}}\r\n");
    let long = "x".repeat(16_000);
    vec![
        Case::new(0, "an empty line before", joined(&[b"\r\n", &get_with("")])).passes(plain()),
        Case::new(
            0,
            "an empty line between",
            joined(&[&get_with(""), b"\r\n"]),
        )
        .passes(plain()),
        Case::new(
            0,
            "an empty line behind a body",
            post_with("Content-Length: 5\r\n", "hello\r\n"),
        )
        .passes(hello()),
        of("kept alive", "Connection: keep-alive\r\n").passes(plain()),
        of(
            "kept alive, in other letters",
            "connection: Keep-Alive\r\nKeep-Alive: timeout=5\r\n",
        )
        .passes(plain()),
        of("an empty Connection", "Connection:\r\n").passes(plain()),
        of("closed", "Connection: close\r\n").passes_last(plain()),
        of("closed, in other letters", "connection: Close\r\n").passes_last(plain()),
        of(
            "closed, in a list",
            "Connection: TE, close\r\nTE: trailers\r\n",
        )
        .passes_last(plain()),
        of("TE: trailers", "Connection: TE\r\nTE: trailers\r\n").passes(plain().lacks("te")),
        of("TE: nothing", "Connection: TE\r\nTE:\r\n").passes(plain().lacks("te")),
        of("Proxy-Connection", "Proxy-Connection: keep-alive\r\n").passes(plain()),
        of("a name twice", "Accept: a/b\r\nX-A: 1\r\nAccept: c/d\r\n")
            .passes(plain().has("x-a", "1")),
        of("90 headers", &many).passes(plain().has("x-many-89", "89")),
        of("a header of 16 kB", &format!("X-A: {long}\r\n")).passes(plain().has("x-a", long)),
        Case::new(0, "a query of 15 kB", long_target).passes(get(&query)),
        of("a tenant", "X-Tenant: acme\r\n").passes(plain()),
        of("the alias of a tenant", "X-Tenant: 1001\r\n").passes(plain()),
        of("a tenant between blanks", "X-Tenant: \t acme \t\r\n").passes(plain()),
    ]
}

/// HTTP/1.0: one request, one answer, the end.
fn old() -> Vec<Case> {
    let of = |name: &str, start: &str, lines: &str, rest: &str| {
        let bytes = format!("{start} HTTP/1.0\r\n{{auth}}{lines}\r\n{rest}");
        Case::new(0, format!("HTTP/1.0: {name}"), bytes)
    };
    let plain = || get("/api/v3/{m}");
    vec![
        of("a GET", "GET /api/v3/{m}", "", "").passes_last(plain()),
        of(
            "kept alive",
            "GET /api/v3/{m}",
            "Connection: keep-alive\r\n",
            "",
        )
        .passes_last(plain()),
        of("closed", "GET /api/v3/{m}", "Connection: close\r\n", "").passes_last(plain()),
        of("a HEAD", "HEAD /api/v3/{m}", "", "").passes_last(sees("HEAD", "/api/v3/{m}", "")),
        of(
            "a POST",
            "POST /api/v3/{m}",
            "Content-Length: 5\r\n",
            "hello",
        )
        .passes_last(hello()),
        of(
            "a POST without a body",
            "POST /api/v3/{m}",
            "Content-Length: 0\r\n",
            "",
        )
        .passes_last(sees("POST", "/api/v3/{m}", "")),
    ]
}

/// The same in pieces, so that every boundary falls between two reads once.
fn pieces() -> Vec<Case> {
    vec![
        Case::new(0, "a GET", get_with("X-A: 1\r\n"))
            .passes(get("/api/v3/{m}"))
            .trickled(),
        Case::new(
            0,
            "an empty line and a GET",
            joined(&[b"\r\n", &get_with("")]),
        )
        .passes(get("/api/v3/{m}"))
        .trickled(),
        Case::new(0, "a POST", post_with("Content-Length: 5\r\n", "hello"))
            .passes(hello())
            .trickled(),
        Case::new(
            0,
            "chunks with extensions and trailers",
            chunks("2;a=\"b\"\r\nhe\r\n3\r\nllo\r\n0;c\r\nX-A: 1\r\n\r\n"),
        )
        .passes(hello())
        .trickled(),
        Case::new(
            0,
            "a folded path",
            b"GET /api/v3/%75sers/{m}?a=b HTTP/1.1\r\n{auth}\r\n",
        )
        .passes(get("/api/v3/%75sers/{m}?a=b"))
        .trickled(),
    ]
}
