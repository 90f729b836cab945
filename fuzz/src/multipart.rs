//! `vspc::TokenForm` of the type `multipart/form-data`.
//!
//! - It accepts what a second strict reader accepts, which takes the body apart at its delimiters, and
//!   has the same fields.
//! - What it accepts the crate `multer` reads in the same way, which is lenient.
//! - Fields that are written again, as this or as a URL-encoded form, are the same fields.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::stream;
use vspc_gateway::vspc::{FormFault, TokenForm};

use super::form::{Fields, check_fields, check_written, gather, granted};

/// Takes the first line of the input for the content type, and what is behind it for the body.
pub fn check(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (kind, body) = data.split_at(end.unwrap_or_default());
    let body = body.get(1..).unwrap_or_default();
    let Some(kind) = str::from_utf8(kind)
        .ok()
        .filter(|kind| http::HeaderValue::from_str(kind).is_ok())
    else {
        // It does not come here.
        return;
    };
    let Some((essence, parameters)) = kind.split_once(';') else {
        return;
    };
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return;
    }
    let read = TokenForm::read(Some(kind), body);
    let parts = by_delimiter(parameters, body);
    if let (Some(parts), Err(FormFault::Malformed)) = (&parts, &read) {
        panic!("it is malformed, though it has the parts {parts:?}");
    }
    let expected = match body.trim_ascii_start().first() {
        Some(b'{') => Err(FormFault::Json),
        _ => parts
            .as_ref()
            .ok_or(FormFault::Malformed)
            .and_then(|parts| {
                let pairs = parts
                    .iter()
                    .map(|part| (part.name.clone(), part.value.clone()));
                granted(gather(pairs)?)
            }),
    };
    match (read, expected) {
        (Ok(form), Ok((grant, fields))) => {
            check_fields(&form, grant, &fields);
            assert_eq!(
                form.passwords().count(),
                form.field("password").iter().count()
            );
            check_written(&form, &fields);
            check_rewritten(&fields);
            check_lenient(kind, body, &parts.unwrap_or_default());
        }
        // Parts are read one after the other: the second of a name before a malformed one is told.
        (Err(FormFault::Repeated(_)), Err(FormFault::Malformed)) => {}
        (Err(fault), Err(expected)) => assert_eq!(fault, expected),
        (Ok(_), Err(fault)) => panic!("it is read, not refused: {fault}"),
        (Err(fault), Ok(_)) => panic!("it is refused: {fault}"),
    }
}

#[derive(Debug)]
struct Part {
    name: Vec<u8>,
    /// Whether `name` stands in its head once only.
    simple: bool,
    value: Vec<u8>,
}

/// Takes a body apart at its delimiters.
fn by_delimiter(parameters: &str, body: &[u8]) -> Option<Vec<Part>> {
    let boundary = parameter(parameters.as_bytes(), "boundary")?;
    let allowed = |c: &u8| c.is_ascii_alphanumeric() || "'()+_,-./:=? ".contains(char::from(*c));
    let length = boundary.len();
    if length == 0 || length > 70 || boundary.ends_with(b" ") || !boundary.iter().all(allowed) {
        return None;
    }
    let delimiter = [b"\r\n--", boundary.as_slice()].concat();
    let mut pieces = split_at(&[b"\r\n", body].concat(), &delimiter);
    let before = pieces.remove(0);
    let behind = pieces.pop()?;
    if !(before.is_empty() || before == b"\r\n") || !(behind == b"--" || behind == b"--\r\n") {
        return None;
    }
    // What looks like the end in the middle is the end of nothing.
    pieces.iter().map(|piece| part(piece)).collect()
}

fn split_at(text: &[u8], delimiter: &[u8]) -> Vec<Vec<u8>> {
    let (mut pieces, mut piece, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(byte) = text.get(at) {
        if text[at..].starts_with(delimiter) {
            pieces.push(std::mem::take(&mut piece));
            at += delimiter.len();
        } else {
            piece.push(*byte);
            at += 1;
        }
    }
    pieces.push(piece);
    pieces
}

fn part(piece: &[u8]) -> Option<Part> {
    let piece = piece.strip_prefix(b"\r\n")?;
    let end = piece.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut names = Vec::new();
    for line in split_at(&piece[..end], b"\r\n") {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let field = http::HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = http::HeaderValue::from_bytes(&line[colon + 1..]).ok()?;
        match field.as_str() {
            "content-disposition" => {
                let value = value.as_bytes();
                let end = value.iter().position(|byte| *byte == b';')?;
                let kind = value[..end].trim_ascii();
                if !kind.eq_ignore_ascii_case(b"form-data") {
                    return None;
                }
                names.push(parameter(&value[end + 1..], "name")?);
            }
            "content-transfer-encoding" => {
                let coding = value.to_str().ok()?.to_ascii_lowercase();
                if !["7bit", "8bit", "binary"].contains(&coding.trim()) {
                    return None;
                }
            }
            _ => {}
        }
    }
    let name = names.pop().filter(|_| names.is_empty())?;
    let value = piece[end + 4..].to_vec();
    let head = piece[..end].to_ascii_lowercase();
    let simple = split_at(&head, b"name").len() == 2;
    Some(Part {
        name,
        simple,
        value,
    })
}

/// The value of a parameter, among parameters with semicolons between them, if it is there once.
fn parameter(parameters: &[u8], wanted: &str) -> Option<Vec<u8>> {
    let mut quoted = false;
    let parts = parameters.split(|byte| {
        quoted ^= *byte == b'"';
        *byte == b';' && !quoted
    });
    let mut found = Vec::new();
    for part in parts {
        let part = part.trim_ascii();
        let equals = part.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&part[..equals], &part[equals + 1..]);
        http::HeaderName::from_bytes(name).ok()?;
        let value = match value.strip_prefix(b"\"") {
            Some(value) => value.strip_suffix(b"\"")?,
            None if value.contains(&b' ') || value.contains(&b'\t') => return None,
            None => value,
        };
        if value.contains(&b'"') || value.contains(&b'\\') {
            return None;
        }
        if name.eq_ignore_ascii_case(wanted.as_bytes()) {
            found.push(value.to_vec());
        }
    }
    found.pop().filter(|_| found.is_empty())
}

/// That the fields, written as a multipart form, are the same.
pub(crate) fn check_rewritten(fields: &Fields) {
    let mut boundary = String::from("b");
    while fields
        .values()
        .any(|value| split_at(value, boundary.as_bytes()).len() > 1)
    {
        boundary.push('x');
    }
    let mut body = Vec::new();
    for (name, value) in fields {
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; name={name}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let kind = format!("multipart/form-data; boundary=\"{boundary}\"");
    let again = TokenForm::read(Some(&kind), &body);
    match (again, granted(fields.clone())) {
        (Ok(again), Ok((grant, fields))) => check_fields(&again, grant, &fields),
        (again, expected) => panic!("{:?} {:?}", again.err(), expected.err()),
    }
}

/// That a lenient reader has the same parts.
fn check_lenient(kind: &str, body: &[u8], parts: &[Part]) {
    let Ok(boundary) = multer::parse_boundary(kind) else {
        // It wants quotes where others do not.
        return;
    };
    let body = Bytes::copy_from_slice(body);
    let read = pin!(async {
        let stream = stream::iter([Ok::<Bytes, multer::Error>(body)]);
        let mut reader = multer::Multipart::new(stream, boundary);
        let mut read = Vec::new();
        while let Some(field) = reader.next_field().await? {
            let name = field.name().map(|name| name.as_bytes().to_vec());
            read.push((name, field.bytes().await?));
        }
        Ok::<_, multer::Error>(read)
    });
    let read = match read.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(read)) => read,
        // It has less room for lines of a part.
        Poll::Ready(Err(_)) => return,
        Poll::Pending => panic!("a body that is there is waited for"),
    };
    assert_eq!(read.len(), parts.len());
    for ((name, value), part) in read.iter().zip(parts) {
        assert_eq!(value[..], part.value);
        // It looks for names within quotes too.
        if part.simple && name.is_some() {
            assert_eq!(name.as_ref(), Some(&part.name));
        }
    }
}
