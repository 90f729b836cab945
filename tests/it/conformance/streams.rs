//! Rows 55 to 59: what HTTP/2 lets a caller say that HTTP/1 cannot.

use super::case::{Case, Expect, Seen, Step, get};
use super::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, HEADERS, Load, PREFACE, RST_STREAM, SETTINGS,
};

pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// The fields of a request, one of them replaced, or left out where there is no value.
pub(super) fn fields(changed: &[(&str, Option<&[u8]>)], more: &[(&[u8], &[u8])]) -> Fields {
    let plain: [(&str, &[u8]); 6] = [
        (":method", b"GET"),
        (":scheme", b"http"),
        (":path", b"/api/v3/{m}"),
        (":authority", b"gw.example"),
        ("x-api-key", b"{key}"),
        ("x-case", b"{m}.c4n4ry"),
    ];
    let change = |name: &str| changed.iter().find(|(other, _)| *other == name);
    let kept = plain.iter().filter_map(|(name, value)| match change(name) {
        Some((_, value)) => value.map(|value| (name.as_bytes().to_vec(), value.to_vec())),
        None => Some((name.as_bytes().to_vec(), value.to_vec())),
    });
    let more = more
        .iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()));
    kept.chain(more).collect()
}

pub(super) fn headers(stream: u32, flags: u8, fields: Fields) -> Frame {
    let load = Load::Fields(fields);
    Frame {
        kind: HEADERS,
        flags: flags | END_HEADERS,
        stream,
        load,
    }
}

pub(super) fn data(stream: u32, flags: u8, bytes: &str) -> Frame {
    Frame::bytes(DATA, flags, stream, bytes)
}

pub(super) fn settings() -> Frame {
    Frame::bytes(SETTINGS, 0, 0, "")
}

/// A connection with these frames, that its caller ends once there are so many outcomes.
pub(super) fn talk(row: u8, name: &str, frames: Vec<Frame>, outcomes: usize) -> Case {
    let frames = std::iter::once(settings()).chain(frames).collect();
    let steps = vec![
        Step::Send(PREFACE.to_vec()),
        Step::Frames(frames),
        Step::Answers(outcomes),
        Step::HalfClose,
    ];
    Case {
        http2: true,
        ..Case::of_steps(row, name, steps)
    }
}

/// One request that must not be understood.
fn shut(row: u8, name: &str, fields: Fields) -> Case {
    talk(row, name, vec![headers(1, END_STREAM, fields)], 1).expecting(Expect::Shut)
}

/// A POST with a body that must not be taken for whole.
fn shut_body(row: u8, name: &str, more: &[(&[u8], &[u8])], bodies: Vec<Frame>) -> Case {
    let head = headers(1, 0, fields(&[(":method", Some(b"POST"))], more));
    let frames = std::iter::once(head).chain(bodies).collect();
    talk(row, name, frames, 1).expecting(Expect::Shut)
}

pub(super) fn passes(row: u8, name: &str, frames: Vec<Frame>, seen: Vec<Seen>) -> Case {
    talk(row, name, frames, seen.len()).expecting(Expect::Passed(200, seen))
}

/// A pseudo header with a value that it must not have.
const BAD_PSEUDOS: [(&str, &str, &[u8]); 27] = [
    ("an empty path", ":path", b""),
    ("a path without a slash", ":path", b"api/v3/{m}"),
    ("a path of a blank", ":path", b"/api/v3/{m} x"),
    ("a path with a line end", ":path", b"/api/v3/{m}\r\nX-A: 1"),
    ("a path with LF", ":path", b"/api/v3/{m}\nX-A: 1"),
    ("a path with NUL", ":path", b"/api/v3/{m}\0"),
    ("a path with a tab", ":path", b"/api/v3/{m}\tx"),
    (
        "a path with a version",
        ":path",
        b"/api/v3/{m} HTTP/1.1\r\n\r\n",
    ),
    ("a path with broken UTF-8", ":path", b"/api/v3/{m}\xff"),
    ("an asterisk", ":path", b"*"),
    (
        "an absolute path",
        ":path",
        b"http://other.example/api/v3/{m}",
    ),
    ("an ambiguous path", ":path", b"/api/v3/../v3/{m}"),
    ("an empty method", ":method", b""),
    ("a method with a blank", ":method", b"GET /x"),
    (
        "a method with a line end",
        ":method",
        b"GET /api/v3/x HTTP/1.1\r\nX: y",
    ),
    ("a method with NUL", ":method", b"GET\0"),
    ("a method in lower case", ":method", b"get"),
    ("an empty scheme", ":scheme", b""),
    ("a scheme with a line end", ":scheme", b"http\r\nX-A: 1"),
    ("a scheme with a host", ":scheme", b"http://other.example/"),
    ("ftp", ":scheme", b"ftp"),
    ("an empty authority", ":authority", b""),
    (
        "an authority with a line end",
        ":authority",
        b"gw.example\r\nX-A: 1",
    ),
    ("an authority with a blank", ":authority", b"gw.example x"),
    (
        "an authority with user info",
        ":authority",
        b"user@gw.example",
    ),
    ("an authority with a path", ":authority", b"gw.example/x"),
    (
        "an authority with a bad port",
        ":authority",
        b"gw.example:99999",
    ),
];

/// Fields that no request of HTTP/2 may have.
const BAD_FIELDS: [(&str, &[u8], &[u8]); 28] = [
    ("connection", b"connection", b"close"),
    (
        "connection that names the key",
        b"connection",
        b"authorization",
    ),
    ("keep-alive", b"keep-alive", b"timeout=5"),
    ("proxy-connection", b"proxy-connection", b"keep-alive"),
    ("transfer-encoding", b"transfer-encoding", b"chunked"),
    (
        "transfer-encoding of identity",
        b"transfer-encoding",
        b"identity",
    ),
    ("upgrade", b"upgrade", b"h2c"),
    ("te of gzip", b"te", b"gzip"),
    ("te of trailers and gzip", b"te", b"trailers, gzip"),
    ("a name with upper case", b"X-Upper", b"1"),
    ("an owned name with upper case", b"X-Tenant", b"globex"),
    ("Authorization", b"Authorization", b"Bearer x"),
    ("no name", b"", b"1"),
    ("a colon in a name", b"x:a", b"1"),
    ("a colon behind a name", b"x-a:", b"1"),
    ("a name that ends in a value", b"x-a: 1\r\nx-b", b"2"),
    ("a blank in a name", b"x a", b"1"),
    ("a tab in a name", b"x\ta", b"1"),
    ("NUL in a name", b"x\0a", b"1"),
    ("LF in a name", b"x\na", b"1"),
    ("8 bit in a name", b"x\xe9a", b"1"),
    ("DEL in a name", b"x\x7fa", b"1"),
    ("NUL in a value", b"x-a", b"1\x002"),
    ("a line end in a value", b"x-a", b"1\r\nx-b: 2"),
    ("LF in a value", b"x-a", b"1\nx-b: 2"),
    ("CR in a value", b"x-a", b"1\r2"),
    ("SOH in a value", b"x-a", b"1\x012"),
    ("DEL in a value", b"x-a", b"1\x7f2"),
];

/// Lengths unlike the five bytes that follow.
const BAD_LENGTHS: [(&str, &[u8]); 11] = [
    ("more", b"10"),
    ("less", b"3"),
    ("nothing", b"0"),
    ("a plus", b"+5"),
    ("a minus", b"-5"),
    ("hex", b"0x5"),
    ("a list", b"5, 5"),
    ("a letter", b"5h"),
    ("no value", b""),
    ("over 64 bits", b"18446744073709551621"),
    ("over the limit", b"65537"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, pseudo, value) in BAD_PSEUDOS {
        cases.push(shut(55, name, fields(&[(pseudo, Some(value))], &[])));
    }
    for (name, field, value) in BAD_FIELDS {
        cases.push(shut(56, name, fields(&[], &[(field, value)])));
    }
    for (name, length) in BAD_LENGTHS {
        let length: (&[u8], &[u8]) = (b"content-length", length);
        cases.push(shut_body(
            57,
            name,
            &[length],
            vec![data(1, END_STREAM, "hello")],
        ));
    }
    cases.extend(pseudos());
    cases.extend(lengths());
    cases.extend(hosts());
    cases
}

fn pseudos() -> Vec<Case> {
    let mut cases = Vec::new();
    let with = |more: &[(&[u8], &[u8])]| fields(&[], more);
    for (name, value) in [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/api/v3/{m}"),
        (":authority", "gw.example"),
    ] {
        let mut twice = fields(&[], &[]);
        twice.insert(0, (name.into(), value.into()));
        cases.push(shut(55, &format!("{name} twice"), twice));
        let late = fields(&[(name, None)], &[(name.as_bytes(), value.as_bytes())]);
        cases.push(shut(55, &format!("{name} late"), late));
    }
    for name in [":method", ":scheme", ":path"] {
        cases.push(shut(
            55,
            &format!("no {name}"),
            fields(&[(name, None)], &[]),
        ));
    }
    let mut unknown = with(&[]);
    unknown.insert(0, (b":foo".to_vec(), b"1".to_vec()));
    let mut status = with(&[]);
    status.insert(0, (b":status".to_vec(), b"200".to_vec()));
    let tunnel = |more: &[(&str, &[u8])]| {
        let mut all = vec![(b":method".to_vec(), b"CONNECT".to_vec())];
        all.extend(
            more.iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())),
        );
        all.extend([
            (b"x-api-key".to_vec(), b"{key}".to_vec()),
            (b"x-case".to_vec(), b"{m}".to_vec()),
        ]);
        all
    };
    cases.extend([
        shut(55, "an unknown one", unknown),
        shut(55, ":status", status),
        shut(59, "CONNECT", tunnel(&[(":authority", b"gw.example:443")])),
        shut(
            59,
            "CONNECT with a path",
            tunnel(&[
                (":scheme", b"http"),
                (":path", b"/api/v3/{m}"),
                (":authority", b"gw.example"),
            ]),
        ),
        shut(
            59,
            "extended CONNECT",
            tunnel(&[
                (":protocol", b"websocket"),
                (":scheme", b"http"),
                (":path", b"/api/v3/{m}"),
                (":authority", b"gw.example"),
            ]),
        ),
        shut(59, "TRACE", fields(&[(":method", Some(b"TRACE"))], &[])),
    ]);
    cases
}

fn lengths() -> Vec<Case> {
    let five: (&[u8], &[u8]) = (b"content-length", b"5");
    let six: (&[u8], &[u8]) = (b"content-length", b"6");
    let body = || vec![data(1, END_STREAM, "hello")];
    vec![
        shut_body(57, "two that differ", &[five, six], body()),
        shut_body(57, "two equal ones", &[five, five], body()),
        shut(
            57,
            "a length and no body",
            fields(&[(":method", Some(b"POST"))], &[five]),
        ),
        shut_body(
            57,
            "cut short by a reset",
            &[five],
            vec![
                data(1, 0, "hel"),
                Frame::bytes(RST_STREAM, 0, 1, [0, 0, 0, 8]),
            ],
        )
        .and_gone(),
        shut_body(
            57,
            "outgrows its length in the second frame",
            &[five],
            vec![data(1, 0, "hel"), data(1, END_STREAM, "lo!")],
        ),
    ]
}

fn hosts() -> Vec<Case> {
    let with = |authority: Option<&[u8]>, hosts: &[(&[u8], &[u8])]| {
        fields(&[(":authority", authority)], hosts)
    };
    let host = |value: &'static [u8]| -> (&'static [u8], &'static [u8]) { (b"host", value) };
    let one = |fields: Fields| vec![headers(1, END_STREAM, fields)];
    let plain = || vec![get("/api/v3/{m}")];
    const OURS: Option<&[u8]> = Some(b"gw.example");
    vec![
        shut(58, "another host", with(OURS, &[host(b"other.example")])),
        shut(58, "another port", with(OURS, &[host(b"gw.example:1")])),
        shut(
            58,
            "two hosts",
            with(None, &[host(b"gw.example"), host(b"gw.example")]),
        ),
        shut(
            58,
            "two hosts beside the authority",
            with(OURS, &[host(b"gw.example"), host(b"gw.example")]),
        ),
        shut(58, "an empty host", with(OURS, &[host(b"")])),
        shut(58, "neither", with(None, &[])),
        shut(
            58,
            "an authority that is not served",
            with(Some(b"other.example"), &[]),
        ),
        passes(
            58,
            "both the same",
            one(with(OURS, &[host(b"gw.example")])),
            plain(),
        ),
        passes(
            58,
            "both in other letters",
            one(with(OURS, &[host(b"GW.example")])),
            plain(),
        ),
        passes(
            58,
            "a host alone",
            one(with(None, &[host(b"gw.example")])),
            plain(),
        ),
        passes(
            58,
            "an authority with a port",
            one(with(Some(b"gw.example:8280"), &[])),
            plain(),
        ),
    ]
}

impl Case {
    /// The caller itself gives up, so that there is nothing to wait for.
    fn and_gone(mut self) -> Self {
        self.steps.retain(|step| !matches!(step, Step::Answers(_)));
        self
    }
}
