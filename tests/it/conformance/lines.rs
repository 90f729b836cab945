//! Rows 26 to 33: versions, targets, methods, hosts.

use super::case::{Case, Expect, get, joined};

const VERSIONS: [(&str, &[u8]); 24] = [
    ("HTTP/0.9", b" HTTP/0.9"),
    ("HTTP/1.2", b" HTTP/1.2"),
    ("HTTP/1.9", b" HTTP/1.9"),
    ("HTTP/2.0", b" HTTP/2.0"),
    ("HTTP/2", b" HTTP/2"),
    ("HTTP/3.0", b" HTTP/3.0"),
    ("two digits behind", b" HTTP/1.10"),
    ("two digits before", b" HTTP/11.1"),
    ("a zero before", b" HTTP/01.1"),
    ("lower case", b" http/1.1"),
    ("mixed case", b" Http/1.1"),
    ("no minor", b" HTTP/1"),
    ("no minor behind a dot", b" HTTP/1."),
    ("no major", b" HTTP/.1"),
    ("a comma", b" HTTP/1,1"),
    ("no slash", b" HTTP1.1"),
    ("another name", b" HTTPS/1.1"),
    ("a plus", b" HTTP/+1.1"),
    ("a letter behind", b" HTTP/1.1x"),
    ("a blank behind", b" HTTP/1.1 "),
    ("a tab behind", b" HTTP/1.1\t"),
    ("a blank within", b" HTTP /1.1"),
    ("missing", b""),
    ("missing behind a blank", b" "),
];

/// Between a target and what follows it.
const BETWEEN: [(&str, &[u8]); 8] = [
    (
        "two blanks behind the method",
        b"GET  /api/v3/{m} HTTP/1.1\r\n",
    ),
    (
        "a blank before the method",
        b" GET /api/v3/{m} HTTP/1.1\r\n",
    ),
    ("a tab before the method", b"\tGET /api/v3/{m} HTTP/1.1\r\n"),
    (
        "two blanks before the version",
        b"GET /api/v3/{m}  HTTP/1.1\r\n",
    ),
    ("a tab behind the method", b"GET\t/api/v3/{m} HTTP/1.1\r\n"),
    ("a tab before the version", b"GET /api/v3/{m}\tHTTP/1.1\r\n"),
    ("VT before the version", b"GET /api/v3/{m}\x0bHTTP/1.1\r\n"),
    ("no target", b"GET HTTP/1.1\r\n"),
];

/// Bytes that no target may hold.
const IN_TARGET: [(&str, &[u8]); 17] = [
    ("a blank", b" "),
    ("a tab", b"\t"),
    ("VT", b"\x0b"),
    ("FF", b"\x0c"),
    ("NUL", b"\0"),
    ("CR", b"\r"),
    ("LF", b"\n"),
    ("SOH", b"\x01"),
    ("ESC", b"\x1b"),
    ("US", b"\x1f"),
    ("DEL", b"\x7f"),
    ("half of UTF-8", b"\xc3"),
    ("broken UTF-8", b"\xc3\x28"),
    ("overlong UTF-8", b"\xc0\xaf"),
    ("0xFF", b"\xff"),
    ("a surrogate", b"\xed\xa0\x80"),
    ("0x85", b"\x85"),
];

const BAD_TARGETS: [(&str, &str); 22] = [
    ("a bare percent", "/api/v3/{m}%"),
    ("half an escape", "/api/v3/{m}%2"),
    ("an escape that is none", "/api/v3/{m}%zz"),
    ("an escape with one digit", "/api/v3/{m}%2g"),
    ("an escape with a plus", "/api/v3/{m}%+2"),
    ("an escape of %u", "/api/v3/{m}%u002e"),
    ("a fragment", "/api/v3/{m}#a"),
    ("an empty fragment", "/api/v3/{m}#"),
    ("a fragment behind a query", "/api/v3/{m}?a#b"),
    ("a backslash", "/api/v3\\{m}"),
    ("a backslash first", "\\api\\v3\\{m}"),
    ("no slash", "api/v3/{m}"),
    ("a query only", "?{m}"),
    ("an asterisk", "*"),
    ("a dot first", "./api/v3/{m}"),
    ("an angle bracket", "/api/v3/{m}<"),
    ("an angle bracket in the query", "/api/v3/{m}?a=>"),
    ("quotes in the query", "/api/v3/{m}?a=\"b\""),
    ("a backtick", "/api/v3/{m}`"),
    ("two slashes first", "//gw.example/api/v3/{m}"),
    ("three slashes first", "///api/v3/{m}"),
    ("a semicolon first", ";/api/v3/{m}"),
];

const METHODS: [(&str, &[u8]); 25] = [
    ("CONNECT", b"CONNECT"),
    ("TRACE", b"TRACE"),
    ("TRACK", b"TRACK"),
    ("DEBUG", b"DEBUG"),
    ("PROPFIND", b"PROPFIND"),
    ("MKCOL", b"MKCOL"),
    ("LOCK", b"LOCK"),
    ("PURGE", b"PURGE"),
    ("QUERY", b"QUERY"),
    ("BREW", b"BREW"),
    ("PRIX", b"PRIX"),
    ("lower case", b"get"),
    ("mixed case", b"Get"),
    ("a letter behind", b"GETX"),
    ("a dash", b"GE-T"),
    ("a dot", b".GET"),
    ("every byte that a name may have", b"!#$%&'*+-.^_`|~09azAZ"),
    ("brackets", b"(GET)"),
    ("a colon", b"GET:"),
    ("a comma", b"GET,POST"),
    ("NUL behind", b"GET\0"),
    ("0xFF", b"G\xffT"),
    ("quotes", b"\"GET\""),
    ("nothing", b""),
    ("an at", b"G@T"),
];

/// Absolute targets that lead elsewhere or nowhere; the Host is gw.example.
const ABSOLUTE: [(&str, &str); 17] = [
    ("another host", "http://other.example/api/v3/{m}"),
    ("another port", "http://gw.example:99/api/v3/{m}"),
    ("user info", "http://user@gw.example/api/v3/{m}"),
    (
        "user and password",
        "http://user:pass@gw.example/api/v3/{m}",
    ),
    (
        "the host as user info",
        "http://gw.example@other.example/api/v3/{m}",
    ),
    ("ftp", "ftp://gw.example/api/v3/{m}"),
    ("ws", "ws://gw.example/api/v3/{m}"),
    ("file", "file:///api/v3/{m}"),
    ("a script", "javascript:alert(1)"),
    ("no host", "http:///api/v3/{m}"),
    ("no slashes", "http:/api/v3/{m}"),
    ("one slash", "http:gw.example/api/v3/{m}"),
    ("no scheme", "gw.example/api/v3/{m}"),
    ("a port too large", "http://gw.example:99999/api/v3/{m}"),
    ("a port that is none", "http://gw.example:x/api/v3/{m}"),
    ("an empty port", "http://gw.example:/api/v3/{m}"),
    (
        "a backslash",
        "http://gw.example\\@other.example/api/v3/{m}",
    ),
];

const WITHOUT_HOST: [(&str, &str); 9] = [
    ("none", ""),
    (
        "two that differ",
        "Host: gw.example\r\nHost: other.example\r\n",
    ),
    (
        "two that differ, the other first",
        "Host: other.example\r\nHost: gw.example\r\n",
    ),
    ("two equal ones", "Host: gw.example\r\nHost: gw.example\r\n"),
    (
        "two in other letters",
        "Host: gw.example\r\nhost: gw.example\r\n",
    ),
    (
        "three",
        "Host: gw.example\r\nHost: gw.example\r\nHost: gw.example\r\n",
    ),
    ("an empty one", "Host:\r\n"),
    ("a blank one", "Host:  \r\n"),
    (
        "an empty one and a real one",
        "Host:\r\nHost: gw.example\r\n",
    ),
];

const BAD_HOSTS: [&[u8]; 34] = [
    b"user@gw.example",
    b"user:pass@gw.example",
    b"gw.example/",
    b"gw.example/api",
    b"gw.example,gw.example",
    b"gw.example, other.example",
    b"gw.example other.example",
    b"gw.example\tother.example",
    b"\"gw.example\"",
    b"'gw.example'",
    b"gw%2eexample",
    b"gw.example%00",
    b"gw.example:",
    b"gw.example:x",
    b"gw.example:0x50",
    b"gw.example:99999",
    b"gw.example:-1",
    b"gw.example:+80",
    b"gw.example:80:80",
    b"gw.example: 80",
    b"gw.example:8 0",
    b":80",
    b"gw.example?x",
    b"gw.example#x",
    b"gw.example;x",
    b"gw.example\\x",
    b"<gw.example>",
    b"[::1",
    b"::1]",
    b"[::1]x",
    b"[]",
    b"[zz::1]",
    b"gw.ex\xc3\xa4mple",
    b"gw.example\x01",
];

const OTHER_HOSTS: [&str; 10] = [
    "other.example",
    "gw.example.evil",
    "xgw.example",
    "example",
    "gw",
    "localhost",
    "192.0.2.8",
    "192.0.2.70",
    "[2001:db8::8]",
    "other.example:8280",
];

const MALFORMED: [(u16, &str); 2] = [(400, "bad_request"), (400, "bad_target")];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let refused = || Expect::Refused(MALFORMED.to_vec());
    for (name, version) in VERSIONS {
        let bytes = joined(&[b"GET /api/v3/{m}", version, b"\r\n{auth}\r\n{next}"]);
        cases.push(Case::new(26, name, bytes).refused(400, "bad_request"));
    }
    for (name, line) in BETWEEN {
        let bytes = joined(&[line, b"{auth}\r\n{next}"]);
        cases.push(Case::new(27, name, bytes).expecting(refused()));
    }
    for (name, byte) in IN_TARGET {
        for (place, before, behind) in [
            ("in the path", b"/api/v3/{m}".as_slice(), b"x".as_slice()),
            ("at its end", b"/api/v3/{m}", b""),
            ("in the query", b"/api/v3/{m}?a=", b"&b"),
        ] {
            let target = joined(&[b"GET ", before, byte, behind]);
            let bytes = joined(&[&target, b" HTTP/1.1\r\n{auth}\r\n{next}"]);
            cases.push(Case::new(27, format!("{name} {place}"), bytes).expecting(refused()));
        }
    }
    cases.extend(targets());
    cases.extend(methods());
    cases.extend(hosts());
    cases
}

fn request(start: &[u8], lines: &[u8]) -> Vec<u8> {
    joined(&[start, b" HTTP/1.1\r\n", lines, b"\r\n"])
}

fn targets() -> Vec<Case> {
    let mut cases = Vec::new();
    let allowed = vec![
        (400, "bad_request"),
        (400, "bad_target"),
        (400, "ambiguous_path"),
    ];
    for (name, target) in BAD_TARGETS {
        let bytes = request(format!("GET {target}").as_bytes(), b"{auth}");
        let case = Case::new(28, name, bytes).expecting(Expect::Answered(allowed.clone()));
        cases.push(Case {
            followed: true,
            ..case
        });
    }
    let elsewhere = [allowed, vec![(421, "wrong_host")]].concat();
    for (name, target) in ABSOLUTE {
        let bytes = request(format!("GET {target}").as_bytes(), b"{auth}");
        let case = Case::new(30, name, bytes).expecting(Expect::Answered(elsewhere.clone()));
        cases.push(Case {
            followed: true,
            ..case
        });
    }
    for (name, target, host) in [
        ("the host", "http://gw.example/api/v3/{m}?a=b", "gw.example"),
        (
            "the host and a port",
            "http://gw.example:8280/api/v3/{m}?a=b",
            "gw.example:8280",
        ),
        ("https", "https://gw.example/api/v3/{m}?a=b", "gw.example"),
        ("an address", "http://192.0.2.7/api/v3/{m}?a=b", "192.0.2.7"),
        (
            "an address of IPv6",
            "http://[2001:db8::7]:8280/api/v3/{m}?a=b",
            "[2001:db8::7]:8280",
        ),
        (
            "other letters",
            "HTTP://GW.example/api/v3/{m}?a=b",
            "gw.EXAMPLE",
        ),
    ] {
        let lines = format!("Host: {host}\r\nX-Api-Key: {{key}}\r\nX-Case: {{m}}\r\n");
        let bytes = request(format!("GET {target}").as_bytes(), lines.as_bytes());
        cases.push(Case::new(30, name, bytes).passes(get("/api/v3/{m}?a=b")));
    }
    cases
}

fn methods() -> Vec<Case> {
    let refusals = vec![
        (405, "method_refused"),
        (400, "bad_request"),
        (400, "bad_target"),
    ];
    let named = |method: &[u8]| {
        let bytes = joined(&[method, b" /api/v3/{m} HTTP/1.1\r\n{auth}\r\n"]);
        let case = Case::new(29, "", bytes).expecting(Expect::Answered(refusals.clone()));
        Case {
            followed: true,
            ..case
        }
    };
    let mut cases = Vec::new();
    for (name, method) in METHODS {
        cases.push(Case {
            name: name.to_owned(),
            ..named(method)
        });
    }
    let long = |length| named("G".repeat(length).as_bytes());
    cases.push(Case {
        name: "300 letters".to_owned(),
        ..long(300)
    });
    cases.push(
        Case {
            name: "70,000 letters".to_owned(),
            followed: false,
            ..long(70_000)
        }
        .expecting(Expect::Refused(
            [
                refusals.clone(),
                vec![(431, "head_too_large"), (414, "target_too_long")],
            ]
            .concat(),
        )),
    );
    let authority = "CONNECT gw.example:443 HTTP/1.1\r\n{auth}\r\n";
    let case = Case::new(29, "CONNECT to a host", authority).expecting(Expect::Answered(refusals));
    cases.push(Case {
        followed: true,
        ..case
    });
    cases
}

fn hosts() -> Vec<Case> {
    let with = |row: u8, name: String, lines: &[u8]| {
        let lines = joined(&[lines, b"X-Api-Key: {key}\r\nX-Case: {m}\r\n"]);
        Case::new(
            row,
            name,
            joined(&[&request(b"GET /api/v3/{m}", &lines), b"{next}"]),
        )
    };
    let mut cases = Vec::new();
    for (name, lines) in WITHOUT_HOST {
        cases.push(with(31, name.to_owned(), lines.as_bytes()).refused(400, "bad_request"));
    }
    for host in BAD_HOSTS {
        let name = host.escape_ascii().to_string();
        let lines = joined(&[b"Host: ", host, b"\r\n"]);
        cases.push(with(32, name, &lines).refused(400, "bad_request"));
    }
    for host in OTHER_HOSTS {
        let lines = format!("Host: {host}\r\nX-Api-Key: {{key}}\r\nX-Case: {{m}}\r\n");
        let bytes = request(b"GET /api/v3/{m}", lines.as_bytes());
        let case = Case::new(33, host, bytes).answered(421, "wrong_host");
        cases.push(Case {
            followed: true,
            ..case
        });
    }
    cases
}
