//! `request::CanonicalPath`: the path that policy judges is the path that the console gets.
//!
//! - It accepts what a second decoder accepts, which goes by a table and segment by segment, and
//!   reads the same segments.
//! - Readers with the habits of servers (decoding twice, resolving dots, taking `\` for `/`, …) see
//!   the same segments in the bytes that are forwarded.
//! - Every spelling of a canonical path has that canonical path, and what is asked is told by it.

use std::collections::VecDeque;

use http::Request;
use vspc_gateway::request::{CanonicalPath, HeadFault, Limits, Operation, PathFault, RequestHead};

/// Takes the input for a path; what is not UTF-8 in it, which cannot come here, is encoded.
pub fn check(data: &[u8]) {
    let raw = typed(data);
    let path = match (CanonicalPath::parse(&raw), by_table(&raw)) {
        (Ok(path), Some(segments)) => {
            assert!(path.segments().eq(&segments), "{raw:?} is {path:?}");
            path
        }
        (Err(fault), None) => return check_fault(&raw, fault),
        (read, expected) => panic!("{raw:?} is {read:?}, by the table {expected:?}"),
    };
    check_form(&path);
    for (habit, reader) in HABITS {
        let seen = reader(&raw);
        let same = seen.iter().map(upper).eq(path.segments().map(upper));
        assert!(same, "who {habit} sees {seen:?} in {raw:?}, not {path:?}");
    }
    for spelling in spellings(&path) {
        let again = CanonicalPath::parse(&spelling);
        assert_eq!(again.as_ref(), Ok(&path), "{spelling:?} of {raw:?}");
    }
    check_operation(&raw, &path);
}

fn typed(data: &[u8]) -> String {
    let mut typed = String::with_capacity(data.len());
    for chunk in data.utf8_chunks() {
        typed.push_str(chunk.valid());
        for byte in chunk.invalid() {
            typed.push_str(&format!("%{byte:02X}"));
        }
    }
    typed
}

/// What a byte of a path is.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Plain,
    Code,
    Slash,
    Never,
}

/// Which bytes are what as they are typed: from, to, kind. Those not listed are plain.
const TABLE: [(u8, u8, Kind); 6] = [
    (0x00, 0x1f, Kind::Never),
    (b'%', b'%', Kind::Code),
    (b'/', b'/', Kind::Slash),
    (b';', b';', Kind::Never),
    (b'\\', b'\\', Kind::Never),
    (0x7f, 0x7f, Kind::Never),
];

fn kind(byte: u8) -> Kind {
    let row = TABLE
        .iter()
        .find(|(from, to, _)| (*from..=*to).contains(&byte));
    row.map_or(Kind::Plain, |(_, _, kind)| *kind)
}

/// The segments of a path that has one reading.
fn by_table(raw: &str) -> Option<Vec<String>> {
    let rest = raw.strip_prefix('/')?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.is_empty() {
        // The root, and one slash more, which would be an empty segment.
        return (raw == "/").then(Vec::new);
    }
    rest.split('/').map(segment).collect()
}

fn segment(raw: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest: VecDeque<u8> = raw.bytes().collect();
    while let Some(byte) = rest.pop_front() {
        match kind(byte) {
            Kind::Plain => bytes.push(byte),
            Kind::Code => {
                let byte = hex(rest.pop_front()?)? * 16 + hex(rest.pop_front()?)?;
                if !matches!(kind(byte), Kind::Plain | Kind::Code) {
                    return None;
                }
                bytes.push(byte);
            }
            Kind::Slash | Kind::Never => return None,
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    let ends_badly = text.is_empty() || text.ends_with(['.', ' ']);
    if ends_badly || decode(&text) != text.as_bytes() {
        return None;
    }
    text.chars().map(fold).collect()
}

fn hex(byte: u8) -> Option<u8> {
    let digit = b"0123456789abcdef"
        .iter()
        .position(|digit| *digit == byte.to_ascii_lowercase());
    digit.and_then(|digit| u8::try_from(digit).ok())
}

/// The lower case of a character, if nothing else could be taken for it by a reader who does not tell
/// case apart.
fn fold(c: char) -> Option<char> {
    if c.is_ascii() {
        return Some(c.to_ascii_lowercase());
    }
    let cases = [lower(c), simple_upper(c)];
    let whole = c.to_lowercase().chain(c.to_uppercase());
    let is_alone = lower(cases[1]) == cases[0] && simple_upper(cases[0]) == cases[1];
    let is_odd = c.is_whitespace() || c.is_control() || whole.into_iter().any(|c| c.is_ascii());
    (is_alone && !is_odd).then_some(cases[0])
}

fn lower(c: char) -> char {
    let mut all = c.to_lowercase();
    match (all.next(), all.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

fn simple_upper(c: char) -> char {
    let mut all = c.to_uppercase();
    match (all.next(), all.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// As .NET compares without regard to case: by the simple upper case of each character.
fn upper(text: impl AsRef<str>) -> String {
    text.as_ref().chars().map(simple_upper).collect()
}

fn check_fault(raw: &str, fault: PathFault) {
    let spoilt = raw.split('%').skip(1).any(|code| {
        let mut digits = code.bytes().take(2).filter_map(hex);
        (digits.next(), digits.next()).1.is_none()
    });
    match fault {
        PathFault::Malformed => assert!(!raw.starts_with('/') || spoilt, "{raw:?}"),
        PathFault::Ambiguous => assert!(raw.starts_with('/'), "{raw:?}"),
    }
}

fn check_form(path: &CanonicalPath) {
    let text = path.as_str();
    assert!(text.starts_with('/') && (text == "/" || !text.ends_with('/')));
    assert!(
        !text.contains("//") && !text.contains(['\\', ';']),
        "{text:?}"
    );
    assert!(
        !text
            .chars()
            .any(|c| c.is_control() || c.is_ascii_uppercase())
    );
    let listed: String = path
        .segments()
        .map(|segment| format!("/{segment}"))
        .collect();
    assert!(
        listed == text || (listed.is_empty() && text == "/"),
        "{text:?}"
    );
    for segment in path.segments() {
        assert!(!segment.is_empty() && !segment.contains('/'));
        assert!(!segment.ends_with(['.', ' ']), "{text:?}");
    }
}

/// Gives the segments of a path.
type Reader = fn(&str) -> Vec<String>;

/// What servers do to paths, and the segments that each sees then.
const HABITS: [(&str, Reader); 9] = [
    ("decodes once", |raw| split(&once(raw))),
    ("decodes twice", |raw| split(&once(&once(raw)))),
    ("splits first", |raw| {
        split(raw).iter().map(|part| once(part)).collect()
    }),
    ("resolves dots as they are typed", |raw| {
        split(&once(&resolved(raw)))
    }),
    ("resolves dots after decoding", |raw| {
        split(&resolved(&once(raw)))
    }),
    ("takes backslashes for slashes", |raw| {
        split(&resolved(&once(raw).replace('\\', "/")))
    }),
    ("drops parameters", |raw| {
        let bare = |part: &String| part.split(';').next().unwrap_or_default().to_owned();
        split(&once(raw)).iter().map(bare).collect()
    }),
    ("trims dots and blanks", |raw| {
        let bare = |part: &String| part.trim_end_matches(['.', ' ']).to_owned();
        split(&once(raw)).iter().map(bare).collect()
    }),
    ("stops at a NUL", |raw| {
        split(once(raw).split('\0').next().unwrap_or_default())
    }),
];

fn split(path: &str) -> Vec<String> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let parts = path.split('/').map(str::to_owned);
    parts.filter(|_| !path.is_empty()).collect()
}

fn once(text: &str) -> String {
    String::from_utf8_lossy(&decode(text)).into_owned()
}

/// Decodes what is encoded and leaves the rest.
fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| hex(*byte));
    let (mut decoded, mut at) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high * 16 + low);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

/// Without dot segments and doubled slashes.
fn resolved(path: &str) -> String {
    let mut kept = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}

/// Ways to type a canonical path.
fn spellings(path: &CanonicalPath) -> Vec<String> {
    let text = path.as_str();
    let encoded = |plain: fn(char) -> bool| {
        let mut spelling = String::new();
        for c in text.chars() {
            if plain(c) {
                spelling.push(c);
                continue;
            }
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                spelling.push_str(&format!("%{byte:02x}"));
            }
        }
        spelling
    };
    let mut spellings = vec![
        encoded(|c| c != '%'),
        encoded(|c| c.is_ascii_alphanumeric() || "/-._~".contains(c)),
        encoded(|c| c == '/'),
        encoded(|c| c != '%').to_uppercase(),
    ];
    // Upper case of several letters is another word: `ŉ` becomes `ʼN`.
    if text.chars().any(|c| c.to_uppercase().count() > 1) {
        spellings.pop();
    }
    if text != "/" {
        spellings.push(format!("{}/", encoded(|c| c != '%')));
    }
    spellings
}

/// What the whole head makes of the path. Targets that hyper's type cannot hold do not come here.
fn check_operation(raw: &str, path: &CanonicalPath) {
    let in_api = path.segments().take(2).eq(["api", "v3"]);
    let is_token = path.segments().eq(["api", "v3", "token"]);
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let request = Request::builder()
            .method(method)
            .uri(raw)
            .header("host", "a");
        let Ok(request) = request.body(()) else {
            return;
        };
        let (parts, ()) = request.into_parts();
        if parts.uri.path() != raw {
            return;
        }
        let head = match RequestHead::parse(&parts, &Limits::default()) {
            Ok(head) => head,
            Err(fault) => {
                assert!(matches!(
                    fault,
                    HeadFault::KeyInQuery | HeadFault::TargetTooLong
                ));
                return;
            }
        };
        assert_eq!(head.path, *path);
        assert_eq!(head.operation == Operation::OutsideApi, !in_api, "{path:?}");
        assert_eq!(head.operation == Operation::Token, is_token, "{path:?}");
        let name = head.operation.name(head.method, path);
        assert!(name.starts_with(method), "{name:?}");
    }
}
