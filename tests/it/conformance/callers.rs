//! Rows 39 to 47: who calls, and headers that end at the gateway.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::case::{Case, Gets, KEY, get, get_with, post_with, sees};
use super::upstream::Script;

/// Names that belong to the gateway, each in spellings that a server behind may take for it.
const OWNED: [(u8, &[&str]); 5] = [
    (
        40,
        &[
            "x-tenant_",
            "X_Tenant",
            "X.Tenant",
            "x~tenant",
            "XTENANT",
            "X--Tenant",
            "X-Ten-ant",
        ],
    ),
    (
        40,
        &[
            "X_Api_Key",
            "x.api.key",
            "X-Api_Key",
            "XApiKey",
            "x-API~key",
            "X-Api-Key-",
        ],
    ),
    (
        40,
        &[
            "Authorization_",
            "Author-ization",
            "_authorization",
            "AUTHORIZATION.",
            "Authori_zation",
        ],
    ),
    (
        44,
        &[
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "X-Forwarded-Prefix",
            "X-Forwarded-User",
            "X_Forwarded_For",
            "X.Forwarded.For",
            "XForwardedFor",
            "Forwarded",
            "For-warded",
            "X-Real-IP",
            "X_Real_IP",
            "Via",
            "X-Client-IP",
            "True-Client-IP",
            "CF-Connecting-IP",
        ],
    ),
    (
        45,
        &[
            "X-Original-URL",
            "X_Original_URL",
            "X-Rewrite-URL",
            "X-Original-Host",
            "X-HTTP-Method",
            "X-HTTP-Method-Override",
            "X_HTTP_Method_Override",
            "X-Method-Override",
            "X-Accel-Redirect",
            "Proxy",
            "Remote-User",
            "Remote_User",
            "Cookie",
            "Proxy-Authorization",
            "X-Gateway-Request-Id",
            "X-Gateway-Code",
        ],
    ),
];

/// What `Connection` names, with lines of that name.
const NOMINATED: [(&str, &str); 15] = [
    ("Authorization", ""),
    ("authorization, keep-alive", ""),
    ("X-Tenant", "X-Tenant: acme\r\n"),
    ("X-Api-Key", ""),
    ("Host", ""),
    ("Content-Length", "Content-Length: 0\r\n"),
    ("Transfer-Encoding", ""),
    ("X-Forwarded-For", "X-Forwarded-For: 192.0.2.1\r\n"),
    ("Cookie", "Cookie: a=b\r\n"),
    ("X-Hop", "X-Hop: 1\r\n"),
    ("x-hop , X-Other", "X-Hop: 1\r\nX-Other: 2\r\n"),
    ("keep-alive, X-Hop", "Keep-Alive: 5\r\nX-Hop: 1\r\n"),
    (",,X-Hop,,", "X-Hop: 1\r\n"),
    ("X-Hop\r\nConnection: X-Other", "X-Hop: 1\r\nX-Other: 2\r\n"),
    ("TE, Authorization", "TE: trailers\r\n"),
];

const WRONG_KEYS: [(&str, &str, &str); 8] = [
    (
        "another last byte",
        "vgk_conformance_solo_000000000000000001",
        "bad_credentials",
    ),
    (
        "another first byte",
        "Vgk_conformance_solo_000000000000000000",
        "bad_credentials",
    ),
    (
        "one byte short",
        "vgk_conformance_solo_00000000000000000",
        "bad_credentials",
    ),
    (
        "one byte long",
        "vgk_conformance_solo_0000000000000000000",
        "bad_credentials",
    ),
    (
        "the start of one",
        "vgk_conformance_solo",
        "bad_credentials",
    ),
    (
        "upper case",
        "VGK_CONFORMANCE_SOLO_000000000000000000",
        "bad_credentials",
    ),
    (
        "in quotes",
        "\"vgk_conformance_solo_000000000000000000\"",
        "bad_credentials",
    ),
    ("empty", "", "bad_credentials"),
];

const KEYS_IN_TARGETS: [(&str, &str); 8] = [
    ("api_key", "/api/v3/{m}?api_key={key}"),
    ("another spelling", "/api/v3/{m}?Api-Key={key}"),
    ("access_token", "/api/v3/{m}?access_token=eyJh.eyJi.c"),
    ("an escaped name", "/api/v3/{m}?%61pi_key=1"),
    ("behind another", "/api/v3/{m}?limit=5&x-api-key={key}"),
    ("the value of something else", "/api/v3/{m}?filter={key}"),
    ("a name", "/api/v3/{m}?{key}"),
    ("in the path", "/api/v3/{m}/{key}"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = credentials();
    let plain = || get("/api/v3/{m}");
    for (row, names) in OWNED {
        for name in names {
            let lines = format!("{name}: evil\r\n");
            cases.push(Case::new(row, *name, get_with(lines)).passes(plain().lacks(name)));
        }
    }
    for (names, lines) in NOMINATED {
        let all = format!("Connection: {names}\r\n{lines}");
        let seen = plain()
            .lacks("x-hop")
            .lacks("x-other")
            .lacks("content-length");
        cases.push(Case::new(43, names, get_with(all)).passes(seen));
    }
    let body = post_with(
        "Connection: Content-Length\r\nContent-Length: 5\r\n",
        "hello",
    );
    cases.push(Case::new(43, "a length that is needed", body).passes(sees(
        "POST",
        "/api/v3/{m}",
        "hello",
    )));
    let cookies =
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 2\r\n\r\nok";
    cases.push(
        Case::new(45, "cookies of the console", get_with(""))
            .passes(plain())
            .console(Script::Says(cookies.to_vec()))
            .getting(Gets {
                lacks: vec!["set-cookie".to_owned()],
                ..Gets::default()
            }),
    );
    cases
}

fn credentials() -> Vec<Case> {
    let of = |row: u8, name: &str, lines: &str| {
        let bytes = format!(
            "GET /api/v3/{{m}} HTTP/1.1\r\nHost: gw.example\r\nX-Case: {{m}}\r\n{lines}\r\n"
        );
        Case {
            followed: true,
            ..Case::new(row, name, bytes)
        }
    };
    let basic = |user: &str| {
        format!(
            "Authorization: Basic {}\r\n",
            STANDARD.encode(format!("{user}:{KEY}"))
        )
    };
    let plain = || get("/api/v3/{m}");
    let mut cases = vec![
        of(39, "a key as a bearer", "Authorization: Bearer {key}\r\n").passes(plain()),
        of(
            39,
            "a key as a bearer, other letters",
            "authorization: bearer {key}\r\n",
        )
        .passes(plain()),
        of(
            39,
            "a key twice",
            "X-Api-Key: {key}\r\nAuthorization: Bearer {key}\r\n",
        )
        .passes(plain()),
        of(39, "Basic", &basic("solo")).passes(plain()),
        of(39, "Basic with a tenant", &basic("acme\\solo")).passes(plain()),
        of(39, "Basic of another name", &basic("other")).answered(401, "bad_credentials"),
        of(
            39,
            "two Authorizations",
            "Authorization: Bearer {key}\r\nAuthorization: Bearer {key}\r\n",
        )
        .answered(401, "conflicting_credentials"),
        of(
            39,
            "an Authorization of another",
            "X-Api-Key: {key}\r\nAuthorization: Bearer {both}\r\n",
        )
        .answered(401, "conflicting_credentials"),
        of(
            39,
            "an Authorization of nobody",
            "X-Api-Key: {key}\r\nAuthorization: Bearer evil\r\n",
        )
        .answered(401, "conflicting_credentials"),
        of(
            39,
            "an empty Authorization",
            "X-Api-Key: {key}\r\nAuthorization:\r\n",
        )
        .answered(401, "conflicting_credentials"),
        of(39, "two keys", "X-Api-Key: {key}\r\nX-Api-Key: {both}\r\n")
            .answered(401, "conflicting_credentials"),
        of(39, "a list of keys", "X-Api-Key: {key}, {both}\r\n").answered(401, "bad_credentials"),
        of(39, "a scheme of none", "Authorization: {key}\r\n").answered(401, "bad_credentials"),
        of(46, "none", "").answered(401, "no_credentials"),
    ];
    for (name, key, code) in WRONG_KEYS {
        cases.push(of(46, name, &format!("X-Api-Key: {key}\r\n")).answered(401, code));
        cases.push(
            of(
                46,
                &format!("{name}, as a bearer"),
                &format!("Authorization: Bearer {key}\r\n"),
            )
            .answered(401, code),
        );
    }
    for (name, target) in KEYS_IN_TARGETS {
        let bytes = format!("GET {target} HTTP/1.1\r\n{{auth}}\r\n");
        let case = Case::new(47, name, bytes).answered(400, "key_in_query");
        cases.push(Case {
            followed: true,
            ..case
        });
    }
    cases
}
