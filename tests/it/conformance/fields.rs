//! Rows 34 to 38: names, values and line ends of headers, too many of them, and what is no HTTP.

use super::case::{Case, Expect, Step, get_with, joined};

/// Bytes that no name may hold.
const NOT_IN_NAMES: [(&str, u8); 34] = [
    ("a blank", b' '),
    ("a tab", b'\t'),
    ("NUL", 0),
    ("SOH", 1),
    ("BS", 8),
    ("VT", 0x0b),
    ("FF", 0x0c),
    ("CR", b'\r'),
    ("LF", b'\n'),
    ("ESC", 0x1b),
    ("US", 0x1f),
    ("DEL", 0x7f),
    ("0x80", 0x80),
    ("0x85", 0x85),
    ("0xA0", 0xa0),
    ("0xC3", 0xc3),
    ("0xFF", 0xff),
    ("a quote", b'"'),
    ("(", b'('),
    (")", b')'),
    ("a comma", b','),
    ("a slash", b'/'),
    (";", b';'),
    ("<", b'<'),
    ("=", b'='),
    (">", b'>'),
    ("?", b'?'),
    ("@", b'@'),
    ("[", b'['),
    ("a backslash", b'\\'),
    ("]", b']'),
    ("{", b'{'),
    ("}", b'}'),
    ("0xB2", 0xb2),
];

const NOT_FIELDS: [(&str, &str); 8] = [
    ("no name", ": 1\r\n"),
    ("no name and no value", ":\r\n"),
    ("no colon", "X-A\r\n"),
    ("no colon but a value", "X-A 1\r\n"),
    ("only a blank", " \r\n"),
    ("a blank before the colon", "X-A : 1\r\n"),
    ("a start line", "GET /api/v3/{m} HTTP/1.1\r\n"),
    ("a name of digits without colon", "123\r\n"),
];

/// What ends, folds or breaks lines otherwise; each stands for the whole head behind the start line.
const LINE_ENDS: [(&str, &[u8]); 24] = [
    ("a fold by a blank", b"{auth}X-A: 1\r\n 2\r\n\r\n"),
    ("a fold by a tab", b"{auth}X-A: 1\r\n\t2\r\n\r\n"),
    ("a fold of nothing", b"{auth}X-A: 1\r\n \r\n\r\n"),
    ("a fold first", b" X-A: 1\r\n{auth}\r\n"),
    ("a fold by a tab first", b"\tX-A: 1\r\n{auth}\r\n"),
    (
        "a fold of Host",
        b"Host:\r\n gw.example\r\nX-Api-Key: {key}\r\n\r\n",
    ),
    ("a fold of a length", b"{auth}Content-Length:\r\n 0\r\n\r\n"),
    (
        "a fold of a coding",
        b"{auth}Transfer-Encoding:\r\n chunked\r\n\r\n",
    ),
    (
        "a fold that looks like a field",
        b"{auth}X-A: 1\r\n Content-Length: 7\r\n\r\n",
    ),
    ("LF behind a field", b"{auth}X-A: 1\nX-B: 2\r\n\r\n"),
    ("LF behind the last field", b"{auth}X-A: 1\n\r\n"),
    ("LF for the empty line", b"{auth}X-A: 1\r\n\n"),
    ("LF for all", b"Host: gw.example\nX-Api-Key: {key}\n\n"),
    ("two LF at the end", b"{auth}X-A: 1\n\n"),
    ("LF in a value", b"{auth}X-A: 1\n2\r\n\r\n"),
    ("LF in a name", b"{auth}X\n-A: 1\r\n\r\n"),
    ("CR in a value", b"{auth}X-A: 1\r2\r\n\r\n"),
    ("CR before a field", b"{auth}\rX-A: 1\r\n\r\n"),
    (
        "CR that hides a field",
        b"{auth}X-A: 1\rTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        "CR CR LF behind a field",
        b"{auth}X-A: 1\r\r\nX-B: 2\r\n\r\n",
    ),
    ("CR CR LF at the end", b"{auth}X-A: 1\r\n\r\r\n"),
    ("CR at the end of a value", b"{auth}X-A: 1\r\r\n\r\n"),
    ("LF CR", b"{auth}X-A: 1\n\rX-B: 2\r\n\r\n"),
    ("CR before the colon", b"{auth}X-A\r: 1\r\n\r\n"),
];

/// The start line with another end, or something before it.
const STARTS: [(&str, &[u8]); 10] = [
    (
        "LF behind the start line",
        b"GET /api/v3/{m} HTTP/1.1\n{auth}\r\n",
    ),
    (
        "CR behind the start line",
        b"GET /api/v3/{m} HTTP/1.1\r{auth}\r\n",
    ),
    (
        "CR CR LF behind the start line",
        b"GET /api/v3/{m} HTTP/1.1\r\r\n{auth}\r\n",
    ),
    (
        "LF before the start line",
        b"\nGET /api/v3/{m} HTTP/1.1\r\n{auth}\r\n",
    ),
    (
        "CR before the start line",
        b"\rGET /api/v3/{m} HTTP/1.1\r\n{auth}\r\n",
    ),
    (
        "CR CR LF before the start line",
        b"\r\r\nGET /api/v3/{m} HTTP/1.1\r\n{auth}\r\n",
    ),
    (
        "LF CR before the start line",
        b"\n\rGET /api/v3/{m} HTTP/1.1\r\n{auth}\r\n",
    ),
    (
        "a blank line of a blank",
        b" \r\nGET /api/v3/{m} HTTP/1.1\r\n{auth}\r\n",
    ),
    (
        "two empty lines before the start line",
        b"\r\n\r\nGET /api/v3/{m} HTTP/1.1\r\n{auth}\r\n",
    ),
    (
        "a BOM before the start line",
        b"\xef\xbb\xbfGET /api/v3/{m} HTTP/1.1\r\n{auth}\r\n",
    ),
];

/// Openings that are no HTTP/1 request.
const NO_HTTP: [(&str, &[u8]); 17] = [
    (
        "TLS 1.2",
        b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03abcdefghijklmnopqrstuvwxyz012345\0\0\r\n\r\n",
    ),
    ("TLS alert", b"\x15\x03\x01\x00\x02\x02\x28\r\n\r\n"),
    (
        "SSL 2",
        b"\x80\x2e\x01\0\x02\0\x15\0\0\0\x10\x01\0\x80\x02\0\x80\r\n\r\n",
    ),
    ("half a preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\n"),
    (
        "a preface that ends otherwise",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ),
    ("a preface of HTTP/3.0", b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n"),
    (
        "a method like that preface",
        b"PRI /api/v3/x HTTP/1.1\r\nHost: gw.example\r\n\r\n",
    ),
    ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    ("SMTP", b"EHLO mail.example\r\n\r\n"),
    ("SOCKS 5", b"\x05\x01\x00\r\n\r\n"),
    (
        "PROXY, version 1",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n\r\n",
    ),
    (
        "PROXY, version 2",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x02",
    ),
    ("JSON", b"{\"jsonrpc\":\"2.0\",\"method\":\"x\"}\r\n\r\n"),
    ("an answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("zeros", &[0; 64]),
    ("many empty lines", &[b'\n'; 64]),
    ("0xFF", &[0xff; 64]),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut refuse = |row: u8, name: String, lines: &[u8]| {
        let bytes = joined(&[&get_with(lines), b"{next}"]);
        cases.push(Case::new(row, name, bytes).refused(400, "bad_request"));
    };
    for (name, byte) in NOT_IN_NAMES {
        let byte = &[byte];
        refuse(
            34,
            format!("{name} within a name"),
            &joined(&[b"X-A", byte, b"B: 1\r\n"]),
        );
        refuse(
            34,
            format!("{name} behind a name"),
            &joined(&[b"X-A", byte, b": 1\r\n"]),
        );
        refuse(
            34,
            format!("{name} before a name"),
            &joined(&[byte, b"X-A: 1\r\n"]),
        );
    }
    for (name, line) in NOT_FIELDS {
        refuse(34, name.to_owned(), line.as_bytes());
    }
    for control in (0..0x20)
        .chain([0x7f])
        .filter(|byte| !b"\t\r\n".contains(byte))
    {
        let name = format!("0x{control:02x}");
        refuse(
            36,
            format!("{name} within a value"),
            &joined(&[b"X-A: a", &[control], b"b\r\n"]),
        );
    }
    for control in [0, 1, 0x0b, 0x0c, 0x7f] {
        let name = format!("0x{control:02x}");
        refuse(
            36,
            format!("{name} before a value"),
            &joined(&[b"X-A:", &[control], b"b\r\n"]),
        );
        refuse(
            36,
            format!("{name} behind a value"),
            &joined(&[b"X-A: a", &[control], b"\r\n"]),
        );
        refuse(
            36,
            format!("{name} for a value"),
            &joined(&[b"X-A: ", &[control], b"\r\n"]),
        );
        refuse(
            36,
            format!("{name} in a tenant"),
            &joined(&[b"X-Tenant: acme", &[control], b"\r\n"]),
        );
        refuse(
            36,
            format!("{name} in a cookie"),
            &joined(&[b"Cookie: a=", &[control], b"\r\n"]),
        );
    }
    cases.extend(ends());
    cases.extend(large());
    cases.extend(strangers());
    cases
}

fn ends() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, head) in LINE_ENDS {
        let bytes = joined(&[b"GET /api/v3/{m} HTTP/1.1\r\n", head, b"{next}"]);
        cases.push(Case::new(35, name, bytes).refused(400, "bad_request"));
    }
    for (name, head) in STARTS {
        cases.push(Case::new(35, name, joined(&[head, b"{next}"])).refused(400, "bad_request"));
    }
    for (name, head) in [LINE_ENDS[9], LINE_ENDS[18]] {
        let bytes = joined(&[b"GET /api/v3/{m} HTTP/1.1\r\n", head, b"{next}"]);
        cases.push(
            Case::new(35, name, bytes)
                .refused(400, "bad_request")
                .trickled(),
        );
    }
    cases
}

fn large() -> Vec<Case> {
    let refused = |name: &str, bytes: Vec<u8>, refusals: &[(u16, &'static str)]| {
        Case::new(37, name, bytes).expecting(Expect::Refused(refusals.to_vec()))
    };
    const HEAD: (u16, &str) = (431, "head_too_large");
    const TARGET: (u16, &str) = (414, "target_too_long");
    let value = |length| format!("X-A: {}\r\n", "x".repeat(length));
    let target = |length| {
        let target = "x".repeat(length);
        format!("GET /api/v3/{{m}}/{target} HTTP/1.1\r\n{{auth}}\r\n").into_bytes()
    };
    let query = format!(
        "GET /api/v3/{{m}}?{} HTTP/1.1\r\n{{auth}}\r\n",
        "x".repeat(17_000)
    );
    vec![
        refused("a header of 100 kB", get_with(value(100_000)), &[HEAD]),
        refused("a header of 1 MB", get_with(value(1_000_000)), &[HEAD]),
        refused(
            "a thousand headers of 1 kB",
            get_with(value(1000).repeat(1000)),
            &[HEAD],
        ),
        refused(
            "three thousand headers of 40 bytes",
            get_with(value(33).repeat(3000)),
            &[HEAD],
        ),
        refused(
            "a name of 70 kB",
            get_with("x".repeat(70_000) + ": 1\r\n"),
            &[HEAD],
        ),
        refused(
            "a line without an end",
            get_with("x".repeat(200_000)),
            &[HEAD],
        ),
        refused("a target of 64 kB", target(65_536), &[TARGET, HEAD]),
        refused("a target of 200 kB", target(200_000), &[TARGET, HEAD]),
        refused(
            "a start line without an end",
            vec![b'G'; 200_000],
            &[TARGET, HEAD, (400, "bad_request"), (405, "method_refused")],
        ),
        Case {
            followed: true,
            ..Case::new(37, "a target of 17 kB", target(17_000)).answered(414, TARGET.1)
        },
        Case {
            followed: true,
            ..Case::new(37, "a query of 17 kB", query).answered(414, TARGET.1)
        },
    ]
}

fn strangers() -> Vec<Case> {
    let mut cases: Vec<Case> = NO_HTTP
        .into_iter()
        .map(|(name, opening)| {
            let steps = vec![
                Step::Send(opening.to_vec()),
                Step::Idle(50),
                Step::HalfClose,
            ];
            Case::of_steps(38, name, steps)
        })
        .collect();
    // From a generator of its own, so that a case that fails once fails again.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 1..=8 {
        let bytes: Vec<u8> = (0..512)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .collect();
        let steps = vec![
            Step::Send(bytes),
            Step::Send(b"\r\n\r\n".to_vec()),
            Step::Idle(50),
            Step::HalfClose,
        ];
        cases.push(Case::of_steps(38, format!("noise, {number}"), steps));
    }
    cases
}
