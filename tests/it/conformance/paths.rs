//! Rows 52 to 54: paths that could mean two things, and rules that match no more than they say.

use super::case::{Case, get};

const AMBIGUOUS: [&str; 44] = [
    "/api/v3//{m}",
    "/api//v3/{m}",
    "//api/v3/{m}",
    "/api/v3/{m}//",
    "/api/v3/./{m}",
    "/api/v3/{m}/.",
    "/api/v3/../v3/{m}",
    "/api/v3/{m}/..",
    "/api/v3/x/../{m}",
    "/../api/v3/{m}",
    "/api/v3/.../{m}",
    "/api/v3/%2e/{m}",
    "/api/v3/%2e%2e/{m}",
    "/api/v3/%2E%2e/{m}",
    "/api/v3/.%2e/{m}",
    "/api/v3/%2e./{m}",
    "/api/v3/{m}/%2e%2e%2f",
    "/api/v3%2f{m}",
    "/api/v3%2F{m}",
    "/api/v3/{m}%2f..%2fx",
    "/api/v3%5c{m}",
    "/api/v3%5C{m}",
    "/api/v3/..;/{m}",
    "/api/v3/x;/{m}",
    "/api/v3;a=b/{m}",
    "/api/v3/{m};a",
    "/api/v3/{m}%3ba",
    "/api/v3/%00{m}",
    "/api/v3/{m}%00",
    "/api/v3/{m}%0d%0a",
    "/api/v3/{m}%0aX-A:%201",
    "/api/v3/{m}%7f",
    "/api/v3/%252e%252e/{m}",
    "/api/v3/%25%32%65/{m}",
    "/api/v3/{m}%252f",
    "/api/v3/%c0%ae%c0%ae/{m}",
    "/api/v3/%c0%af{m}",
    "/api/v3/%e0%80%ae/{m}",
    "/api/v3/{m}.",
    "/api/v3/{m}./x",
    "/api/v3/{m}%20",
    "/api/v3/{m}%2e",
    "/api/v3/{m}%c2%a0",
    "/api/v3/u%C5%BFers/{m}",
];

/// Nothing of these changes what is asked for, so they go on as they came.
const HARMLESS: [(u8, &str); 22] = [
    (52, "/API/V3/{m}"),
    (52, "/api/v3/{m}/"),
    (52, "/api/v3/%75sers/{m}"),
    (52, "/api/v3/a%20b/{m}"),
    (52, "/api/v3/{m}/a.b.c"),
    (52, "/api/v3/{m}/.hidden"),
    (52, "/api/v3/{m}/..hidden"),
    (52, "/api/v3/{m}/100%25"),
    (52, "/api/v3/{m}/b%C3%BCro"),
    (52, "/api/v3/{m}/[x]{y}|'"),
    (52, "/api/v3/{m}/a:b@c!$&()*+,="),
    (52, "/api/v3/{m}/~_-"),
    (53, "/api/v3/{m}?a=../../x"),
    (53, "/api/v3/{m}?a=//x/./y"),
    (53, "/api/v3/{m}?a=%2e%2e%2f"),
    (53, "/api/v3/{m}?a=%00%0d%0a"),
    (53, "/api/v3/{m}?a=;b;c"),
    (53, "/api/v3/{m}?a=\\b"),
    (53, "/api/v3/{m}?a=b?c=d"),
    (53, "/api/v3/{m}?a=%252e"),
    (53, "/api/v3/{m}?a=%c0%ae"),
    (53, "/api/v3/{m}?/api/v3/token"),
];

/// Beside what the client's rule allows.
const OUTSIDE: [&str; 9] = [
    "/api/v3x/{m}",
    "/api/v33/{m}",
    "/api/v3_/{m}",
    "/api/v3.1/{m}",
    "/api/v2/{m}",
    "/apix/v3/{m}",
    "/xapi/v3/{m}",
    "/proxy/{m}/api/v3",
    "/uiapi/{m}",
];

pub(super) fn cases() -> Vec<Case> {
    let of = |row: u8, target: &str| {
        let bytes = format!("GET {target} HTTP/1.1\r\n{{auth}}\r\n");
        Case {
            followed: true,
            ..Case::new(row, target, bytes)
        }
    };
    let ambiguous = AMBIGUOUS.map(|target| of(52, target).answered(400, "ambiguous_path"));
    let harmless = HARMLESS.map(|(row, target)| of(row, target).passes(get(target)));
    let outside = OUTSIDE.map(|target| of(54, target).answered(403, "operation_denied"));
    ambiguous
        .into_iter()
        .chain(harmless)
        .chain(outside)
        .collect()
}
