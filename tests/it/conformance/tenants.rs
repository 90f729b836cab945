//! Rows 41 to 51: for whom, and log-ins that are nobody's.

use super::case::{Case, Expect, get, get_with};

/// Tenant headers that name several, or none.
const AMBIGUOUS: [(&str, &str); 9] = [
    ("twice", "X-Tenant: acme\r\nX-Tenant: globex\r\n"),
    ("twice the same", "X-Tenant: acme\r\nX-Tenant: acme\r\n"),
    (
        "twice, other letters",
        "X-Tenant: acme\r\nx-tenant: globex\r\n",
    ),
    ("a list", "X-Tenant: acme, globex\r\n"),
    ("a tight list", "X-Tenant: acme,globex\r\n"),
    ("a list with nothing behind", "X-Tenant: acme,\r\n"),
    ("a comma", "X-Tenant: ,\r\n"),
    ("empty", "X-Tenant:\r\n"),
    ("blank", "X-Tenant:   \r\n"),
];

/// Tenants that there are not; no answer says more than that.
const NOBODY: [(&str, &[u8]); 18] = [
    ("unknown", b"initech"),
    ("a blank within", b"ac me"),
    ("a tab within", b"ac\tme"),
    ("two names", b"acme globex"),
    ("8 bit", b"acme\xe9"),
    ("0xFF", b"\xff"),
    ("a Cyrillic letter", "\u{430}cme".as_bytes()),
    ("full-width letters", "\u{ff41}cme".as_bytes()),
    ("a zero-width space", "acme\u{200b}".as_bytes()),
    ("a combining mark", "acme\u{301}".as_bytes()),
    ("a soft hyphen", "ac\u{ad}me".as_bytes()),
    ("an escape", b"%61cme"),
    ("an escaped NUL", b"acme%00"),
    ("a path", b"../acme"),
    ("a parameter", b"acme;x"),
    ("quotes", b"\"acme\""),
    ("a pattern", b"*"),
    ("a user", b"b3ffc78b-7982-44f3-ae66-1384415f2bea"),
];

/// `/token`, however it is spelled: never the console's.
const LOG_INS: [(&str, &str); 12] = [
    ("GET", "/api/v3/token?{m}"),
    ("POST", "/api/v3/Token?{m}"),
    ("POST", "/API/V3/TOKEN?{m}"),
    ("POST", "/api/v3/%74oken?{m}"),
    ("POST", "/api/v3/t%6Fken?{m}"),
    ("POST", "/api/v3/token/?{m}"),
    ("POST", "/api/v3//token?{m}"),
    ("POST", "/api/v3/./token?{m}"),
    ("POST", "/api/v3/x/../token?{m}"),
    ("POST", "/api/v3/token;x?{m}"),
    ("POST", "/api/v3/token%20?{m}"),
    ("POST", "/api/v3/to%E2%84%AAen?{m}"),
];

/// Forms of `as` that name a user as no user is named.
const NO_USERS: [(&str, &str); 5] = [
    ("a word", "root"),
    (
        "another field",
        "b3ffc78b-7982-44f3-ae66-1384415f2bea%26grant_type=password",
    ),
    (
        "a line end",
        "b3ffc78b-7982-44f3-ae66-1384415f2bea%0d%0aX: y",
    ),
    ("nothing", ""),
    ("braces", "%7Bb3ffc78b-7982-44f3-ae66-1384415f2bea%7D"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = tenants();
    cases.extend(log_ins());
    cases
}

fn tenants() -> Vec<Case> {
    let of = |row: u8, name: &str, lines: &[u8]| {
        let head =
            b"GET /api/v3/{m} HTTP/1.1\r\nHost: gw.example\r\nX-Api-Key: {both}\r\nX-Case: {m}\r\n";
        let bytes = [head.as_slice(), lines, b"\r\n"].concat();
        Case {
            followed: true,
            ..Case::new(row, name, bytes)
        }
    };
    let mut cases = Vec::new();
    for (name, lines) in AMBIGUOUS {
        cases.push(of(41, name, lines.as_bytes()).answered(400, "tenant_ambiguous"));
    }
    for (name, tenant) in NOBODY {
        let line = [b"X-Tenant: ", tenant, b"\r\n"].concat();
        cases.push(of(42, name, &line).answered(403, "tenant_denied"));
    }
    let long = format!("X-Tenant: {}\r\n", "a".repeat(300));
    let foreign = get_with("X-Tenant: globex\r\n");
    cases.extend([
        of(42, "300 bytes", long.as_bytes()).answered(403, "tenant_denied"),
        of(41, "none of two", b"").answered(403, "tenant_required"),
        Case {
            followed: true,
            ..Case::new(48, "a tenant of others", foreign).answered(403, "tenant_denied")
        },
        of(
            41,
            "one spelling that counts and one that does not",
            b"X-Tenant: acme\r\nX_Tenant: globex\r\n",
        )
        .passes(get("/api/v3/{m}")),
    ]);
    cases
}

fn log_ins() -> Vec<Case> {
    let refusals = || {
        Expect::Answered(vec![
            (405, "method_refused"),
            (400, "bad_request"),
            (400, "ambiguous_path"),
        ])
    };
    let mut cases = Vec::new();
    for (method, target) in LOG_INS {
        let name = format!("{method} {target}");
        let bytes = format!("{method} {target} HTTP/1.1\r\n{{auth}}Content-Length: 0\r\n\r\n");
        let case = Case::new(51, name, bytes).expecting(refusals());
        cases.push(Case {
            followed: true,
            ..case
        });
    }
    for (name, user) in NO_USERS {
        let form = format!("grant_type=as&refresh_token=x&userUid={user}");
        let bytes = format!(
            "POST /api/v3/token HTTP/1.1\r\n{{auth}}Content-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            form.len()
        );
        let case = Case::new(50, name, bytes).expecting(Expect::Answered(vec![
            (400, "bad_request"),
            (400, "bad_credentials"),
        ]));
        cases.push(Case {
            followed: true,
            ..case
        });
    }
    cases
}
