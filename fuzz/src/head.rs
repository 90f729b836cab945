//! `wire::HeadReader`, and `wire::Requests` with it: the strict reading of HTTP/1 heads.
//!
//! - A head is accepted where a second reader, which takes lines apart as RFC 9112 does, accepts it,
//!   and means the same.
//! - `httparse` reads its method, target, version, names and values in the same way, and hyper serves
//!   it with the same length of a body.
//! - However the bytes come, the outcome is the same; no more is waited for than a head may have.
//! - Heads of answers, for input that begins as one: the same by `wire::AnswerReader` and
//!   `wire::Answers`.

use http::{HeaderName, HeaderValue, Uri};
use vspc_gateway::wire::{
    Answer, AnswerReader, Answers, Asked, Bounds, Fault, Framing, Head, HeadReader, LINES, Look,
    Minor, Requests,
};

use super::hyper_server::serve;

/// Takes the input for the first bytes of a connection.
pub fn check(data: &[u8]) {
    if data.starts_with(b"HTTP/") {
        return check_answer(data);
    }
    for bounds in [WIDE, NARROW] {
        let read = HeadReader::new(bounds).read(data);
        let parts = by_lines(data, bounds);
        match (&read, &parts) {
            (Ok(Some(head)), Some(lines)) => check_head(&data[..head.size], head, lines),
            (Ok(None) | Err(_), None) => {}
            (read, lines) => panic!("{read:?}, by lines {lines:?}"),
        }
        check_pieces(data, bounds, &read);
        check_stream(data, bounds);
    }
}

const WIDE: Bounds = Bounds {
    head: 64 * 1024,
    target: 16 * 1024,
    body: 1 << 30,
};

/// Bounds that small inputs reach.
const NARROW: Bounds = Bounds {
    head: 160,
    target: 24,
    body: 20,
};

/// A head taken apart.
#[derive(Debug)]
struct Lines<'a> {
    method: &'a str,
    target: &'a str,
    version: Minor,
    fields: Vec<(&'a str, &'a [u8])>,
    size: usize,
}

/// Takes a whole head apart, if it is one.
fn by_lines(data: &[u8], bounds: Bounds) -> Option<Lines<'_>> {
    let end = data.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    // One empty line may stand before it.
    let head = data[..end].strip_prefix(b"\r\n").unwrap_or(&data[..end]);
    let size = end + 4;
    let lines = split_lines(head);
    let broken = |line: &&[u8]| line.contains(&b'\r') || line.contains(&b'\n');
    if size > bounds.head || lines.iter().any(broken) {
        return None;
    }
    let (first, fields) = lines.split_first()?;
    let first = str::from_utf8(first).ok()?;
    let words: Vec<&str> = first.split(' ').collect();
    let &[method, target, version] = words.as_slice() else {
        return None;
    };
    let version = minor(version)?;
    let method_fits = !method.is_empty()
        && method.len() <= 32
        && method != "CONNECT"
        && method.bytes().all(is_token);
    if !method_fits || target.len() > bounds.target || !is_target(target) {
        return None;
    }
    let fields = self::fields(fields)?;
    framing(&fields, version)?;
    Some(Lines {
        method,
        target,
        version,
        fields,
        size,
    })
}

fn split_lines(head: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut rest) = (Vec::new(), head);
    while let Some(end) = rest.windows(2).position(|bytes| bytes == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines
}

fn minor(version: &str) -> Option<Minor> {
    match version {
        "HTTP/1.0" => Some(Minor::Zero),
        "HTTP/1.1" => Some(Minor::One),
        _ => None,
    }
}

fn fields<'a>(lines: &[&'a [u8]]) -> Option<Vec<(&'a str, &'a [u8])>> {
    if lines.len() > usize::from(LINES) {
        return None;
    }
    let field = |line: &&'a [u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = str::from_utf8(&line[..colon]).ok()?;
        let value = &line[colon + 1..];
        let name_fits = !name.is_empty() && name.bytes().all(is_token);
        let value_fits = value
            .iter()
            .all(|byte| *byte == b'\t' || !byte.is_ascii_control());
        (name_fits && value_fits).then(|| (name, value.trim_ascii()))
    };
    lines.iter().map(field).collect()
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte)
}

/// What hyper's type can hold of an origin-form, an absolute-form or the asterisk, without a fragment
/// and without user information.
fn is_target(target: &str) -> bool {
    let Ok(uri) = target.parse::<Uri>() else {
        return false;
    };
    let clean = !target.contains('#');
    match (uri.scheme_str(), uri.authority()) {
        (None, None) => clean && (target == "*" || target.starts_with('/')),
        (Some("http" | "https"), Some(authority)) => {
            let behind = target.split_once("://").map_or("", |(_, behind)| behind);
            clean && behind.starts_with(authority.as_str()) && is_host(authority.as_str())
        }
        _ => false,
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let port_fits = port.is_none_or(|port| {
        port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    let inner = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let name_fits = match inner {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        }
    };
    port_fits && name_fits
}

/// What the lines say about a body, if they say one thing.
fn framing(fields: &[(&str, &[u8])], version: Minor) -> Option<Framing> {
    let of = |wanted: &str| -> Vec<&[u8]> {
        let lines = fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        lines.map(|(_, value)| *value).collect()
    };
    let (lengths, codings) = (of("content-length"), of("transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Some(Framing::None),
        ([length], []) => {
            let text = str::from_utf8(length).ok()?;
            let value: u64 = text.parse().ok()?;
            let plain = value.to_string() == text && value <= u64::MAX - 2;
            plain.then_some(Framing::Length(value))
        }
        ([], [coding]) => {
            let chunked = coding.eq_ignore_ascii_case(b"chunked") && version == Minor::One;
            chunked.then_some(Framing::Chunked)
        }
        _ => None,
    }
}

fn check_head(bytes: &[u8], head: &Head, lines: &Lines<'_>) {
    assert_eq!(head.size, lines.size);
    assert_eq!(head.version, lines.version);
    assert_eq!(head.is_head, lines.method == "HEAD");
    assert_eq!(Some(head.framing), framing(&lines.fields, lines.version));

    let mut room = [httparse::EMPTY_HEADER; LINES as usize];
    let mut parsed = httparse::Request::new(&mut room);
    assert_eq!(
        parsed.parse(bytes),
        Ok(httparse::Status::Complete(head.size))
    );
    assert_eq!(parsed.method, Some(lines.method));
    assert_eq!(parsed.path, Some(lines.target));
    assert_eq!(parsed.version == Some(1), lines.version == Minor::One);
    let fields = parsed
        .headers
        .iter()
        .map(|field| (field.name, field.value.trim_ascii()));
    assert!(fields.eq(lines.fields.iter().copied()));
    check_hyper(bytes, head, lines);
}

/// That hyper serves it: what hyper refuses by itself would miss the audit log.
fn check_hyper(bytes: &[u8], head: &Head, lines: &Lines<'_>) {
    let seen = serve(bytes);
    let [seen] = seen.as_slice() else {
        panic!("hyper serves {} requests of {lines:?}", seen.len());
    };
    assert_eq!(seen.head.method, lines.method);
    let target = lines.target.parse::<Uri>();
    assert_eq!(target.ok().as_ref(), Some(&seen.head.uri));
    let fields: Vec<_> = seen.head.headers.iter().collect();
    assert_eq!(fields.len(), lines.fields.len());
    for (name, value) in &lines.fields {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(*name), HeaderValue::from_bytes(value))
        else {
            panic!("{name:?} is no header for hyper");
        };
        assert!(fields.contains(&(&name, &value)));
    }
    let length = match head.framing {
        Framing::Length(length) => Some(length),
        Framing::None => Some(0),
        Framing::Chunked | Framing::UntilClose => None,
    };
    assert_eq!(seen.length, length, "{lines:?}");
}

/// That the outcome does not hang on where the bytes are cut.
fn check_pieces(data: &[u8], bounds: Bounds, whole: &Result<Option<Head>, Fault>) {
    let every = (0..=data.len().min(512)).chain((data.len() > 512).then_some(data.len()));
    for cuts in [super::cuts(data), every.collect()] {
        let mut reader = HeadReader::new(bounds);
        let mut outcome = Ok(None);
        for end in cuts {
            outcome = reader.read(&data[..end]);
            if !matches!(outcome, Ok(None)) {
                break;
            }
            assert!(end < bounds.head, "{end} bytes are a part of a head");
        }
        match (&outcome, whole) {
            // A fault may be certain before its line has come to its end.
            (Err(_), Err(_)) => {}
            (outcome, whole) => assert_eq!(outcome, whole),
        }
    }
}

/// That a connection's requests are the same however they come.
fn check_stream(data: &[u8], bounds: Bounds) {
    let whole = follow(data, &[0, data.len()], bounds);
    let pieces = follow(data, &super::cuts(data), bounds);
    assert_eq!(whole.heads, pieces.heads);
    assert_eq!(whole.fault, pieces.fault);
    assert!(data.starts_with(&whole.passed) && data.starts_with(&pieces.passed));
    // Of a body that breaks off, the part before may have gone on.
    if whole.fault {
        assert!(pieces.passed.starts_with(&whole.passed));
    } else {
        assert_eq!(whole.passed.len(), pieces.passed.len());
    }
    let mut bytes = whole.heads.iter().map(|head| head.size).sum::<usize>();
    for head in &whole.heads {
        bytes = bytes.saturating_add(match head.framing {
            Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
            Framing::Chunked | Framing::None | Framing::UntilClose => 0,
        });
    }
    let chunked = whole
        .heads
        .iter()
        .any(|head| head.framing == Framing::Chunked);
    assert!(
        chunked || whole.passed.len() <= bytes,
        "more passes than was announced"
    );
}

struct Followed {
    passed: Vec<u8>,
    heads: Vec<Head>,
    fault: bool,
}

fn follow(data: &[u8], cuts: &[usize], bounds: Bounds) -> Followed {
    let mut requests = Requests::new(bounds);
    let (mut passed, mut heads, mut withheld) = (Vec::new(), Vec::new(), Vec::new());
    for piece in cuts.windows(2) {
        withheld.extend_from_slice(&data[piece[0]..piece[1]]);
        let look = requests.look(&withheld, |head| heads.push(head));
        let (Look::Pass(count) | Look::Last(count) | Look::Fault(count, _)) = look;
        passed.extend(withheld.drain(..count));
        match look {
            Look::Pass(_) => assert!(withheld.len() < bounds.head),
            Look::Last(_) | Look::Fault(..) => {
                let fault = matches!(look, Look::Fault(..));
                return Followed {
                    passed,
                    heads,
                    fault,
                };
            }
        }
    }
    Followed {
        passed,
        heads,
        fault: false,
    }
}

fn check_answer(data: &[u8]) {
    for asked in [Asked::Head, Asked::Other] {
        let read = AnswerReader::new(asked, 400).read(data);
        let mut reader = AnswerReader::new(asked, 400);
        let mut outcome = Ok(None);
        for end in super::cuts(data) {
            outcome = reader.read(&data[..end]);
            if !matches!(outcome, Ok(None)) {
                break;
            }
        }
        assert_eq!(outcome.is_err(), read.is_err());
        if let Ok(Some(answer)) = &read {
            assert_eq!(outcome.as_ref().ok(), Some(&Some(*answer)));
            assert!(answer.size <= 400);
            check_answer_head(&data[..answer.size], answer, asked);
        }
        let [whole, pieces] =
            [vec![0, data.len()], super::cuts(data)].map(|cuts| follow_answer(data, &cuts, asked));
        assert_eq!(whole.end, pieces.end);
        assert!(data.starts_with(&whole.passed) && data.starts_with(&pieces.passed));
        if whole.end == End::Fault {
            assert!(pieces.passed.starts_with(&whole.passed));
        } else {
            assert_eq!(whole.passed.len(), pieces.passed.len());
        }
    }
}

struct Answered {
    passed: Vec<u8>,
    end: End,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Fault,
    Last,
    Open,
}

/// Follows the answer to one request.
fn follow_answer(data: &[u8], cuts: &[usize], asked: Asked) -> Answered {
    let mut answers = Answers::new(400);
    answers.expect(asked);
    let (mut passed, mut withheld) = (Vec::new(), Vec::new());
    for piece in cuts.windows(2) {
        withheld.extend_from_slice(&data[piece[0]..piece[1]]);
        let look = answers.look(&withheld);
        let (Look::Pass(count) | Look::Last(count) | Look::Fault(count, _)) = look;
        passed.extend(withheld.drain(..count));
        let end = match look {
            Look::Pass(_) => continue,
            Look::Last(_) => End::Last,
            Look::Fault(..) => End::Fault,
        };
        return Answered { passed, end };
    }
    Answered {
        passed,
        end: End::Open,
    }
}

fn check_answer_head(bytes: &[u8], answer: &Answer, asked: Asked) {
    let mut room = [httparse::EMPTY_HEADER; LINES as usize];
    let mut parsed = httparse::Response::new(&mut room);
    assert_eq!(
        parsed.parse(bytes),
        Ok(httparse::Status::Complete(answer.size))
    );
    assert_eq!(parsed.code, Some(answer.status));
    let fields = parsed
        .headers
        .iter()
        .map(|field| (field.name, field.value.trim_ascii()));
    let fields: Vec<_> = fields.collect();
    let version = if parsed.version == Some(1) {
        Minor::One
    } else {
        Minor::Zero
    };
    assert_eq!(answer.version, version);
    let told = framing(&fields, version);
    let empty = answer.status < 200 || matches!(answer.status, 204 | 304) || asked == Asked::Head;
    let expected = match told {
        Some(_) if empty => Framing::None,
        Some(Framing::None) => Framing::UntilClose,
        Some(told) => told,
        None => panic!("the lines say several things about the body"),
    };
    assert_eq!(answer.framing, expected);
}
