//! `wire::Chunks`: where a body in chunks ends, and what is in it.
//!
//! - It ends where a second decoder says, which reads whole lines, and has the same data.
//! - What is wrong is wrong however the bytes come, and at the same byte.
//! - hyper's decoder, which reads the bytes after it, finds the same data; so does `httparse` for the
//!   sizes.

use super::hyper_server::{Seen, serve};
use vspc_gateway::wire::{Chunks, LINES, Portion, What};

/// Takes the input for the bytes behind a head.
pub fn check(data: &[u8]) {
    for room in [u64::MAX, 300] {
        check_within(data, room);
    }
}

/// With so many bytes of data at most.
fn check_within(data: &[u8], room: u64) {
    let read = Chunks::new(room, TRAILERS).read(data);
    if let Ok(Portion::End(end)) = read {
        assert!(end <= data.len());
    }
    let every: Vec<usize> = (0..=data.len()).collect();
    for cuts in [super::cuts(data), every] {
        assert_eq!(in_pieces(data, room, &cuts), read, "cut at {cuts:?}");
    }
    match (by_lines(data, room), read) {
        (Body::Whole { end, data: body }, Ok(Portion::End(read))) => {
            assert_eq!(end, read);
            check_sizes(data, &body);
            check_hyper(&data[..end], &body);
        }
        (Body::Part, Ok(Portion::All)) | (Body::Wrong, Err(_)) => {}
        (expected, read) => panic!("{read:?}, by lines {expected:?}"),
    }
}

/// That the parser behind reads the same body, and nothing after it.
fn check_hyper(chunks: &[u8], body: &[u8]) {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let seen = serve(&[head.as_bytes(), chunks, next.as_bytes()].concat());
    let bodies: Vec<_> = seen
        .iter()
        .map(|Seen { body, .. }| body.as_deref())
        .collect();
    assert_eq!(bodies, [Some(body), Some(&[])], "hyper's");
}

/// The most bytes of trailers.
const TRAILERS: usize = 200;

fn in_pieces(data: &[u8], room: u64, cuts: &[usize]) -> Result<Portion, What> {
    let mut reader = Chunks::new(room, TRAILERS);
    for piece in cuts.windows(2) {
        match reader.read(&data[piece[0]..piece[1]])? {
            Portion::All => {}
            Portion::End(end) => return Ok(Portion::End(piece[0] + end)),
        }
    }
    Ok(Portion::All)
}

#[derive(Debug)]
enum Body {
    Whole { end: usize, data: Vec<u8> },
    Part,
    Wrong,
}

/// A line and what is behind it.
enum Line<'a> {
    Whole(&'a [u8], &'a [u8]),
    /// Its end has not come.
    Part(&'a [u8]),
    /// It ends in something else.
    Wrong,
}

fn line(bytes: &[u8]) -> Line<'_> {
    match bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        None => Line::Part(bytes),
        Some(end) => match &bytes[end..] {
            [b'\r', b'\n', rest @ ..] => Line::Whole(&bytes[..end], rest),
            [b'\r'] => Line::Part(&bytes[..end + 1]),
            _ => Line::Wrong,
        },
    }
}

/// Reads a body line by line. A part of a line is right if some end makes it a right line.
fn by_lines(bytes: &[u8], mut room: u64) -> Body {
    let (mut rest, mut data, mut extensions) = (bytes, Vec::new(), 0);
    loop {
        let (text, behind) = match line(rest) {
            Line::Whole(text, behind) => (text, behind),
            Line::Part(part) => {
                let right = is_begun(part) && extensions + extension(part) <= EXTENSIONS;
                return if right { Body::Part } else { Body::Wrong };
            }
            Line::Wrong => return Body::Wrong,
        };
        // Its semicolon does not count, its end does.
        extensions += extension(text) + usize::from(text.contains(&b';'));
        let Some(size) = size_line(text).filter(|_| extensions <= EXTENSIONS) else {
            return Body::Wrong;
        };
        rest = behind;
        if size == 0 {
            break;
        }
        match room.checked_sub(size) {
            Some(left) => room = left,
            None => return Body::Wrong,
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if rest.len() < size {
            return Body::Part;
        }
        let (here, behind) = rest.split_at(size);
        data.extend_from_slice(here);
        match behind {
            [b'\r', b'\n', behind @ ..] => rest = behind,
            [] | [b'\r'] => return Body::Part,
            _ => return Body::Wrong,
        }
    }
    trailers(bytes, rest, data)
}

fn trailers(bytes: &[u8], mut rest: &[u8], data: Vec<u8>) -> Body {
    let (mut read, mut lines) = (0, 0);
    loop {
        match line(rest) {
            Line::Whole(b"", behind) => {
                let end = bytes.len() - behind.len();
                // The first byte of the empty line counts.
                return if read < TRAILERS {
                    Body::Whole { end, data }
                } else {
                    Body::Wrong
                };
            }
            Line::Whole(text, behind) => {
                read += text.len() + 2;
                lines += 1;
                if !is_field(text) || read > TRAILERS || lines > usize::from(LINES) {
                    return Body::Wrong;
                }
                rest = behind;
            }
            Line::Part(part) => {
                let begun = part.is_empty() || part == b"\r" || is_field(strip_cr(part));
                let begun = begun || (!part.contains(&b':') && part.iter().all(is_token));
                let lines = lines + usize::from(!part.is_empty() && part != b"\r");
                let right = begun && read + part.len() <= TRAILERS && lines <= usize::from(LINES);
                return if right { Body::Part } else { Body::Wrong };
            }
            Line::Wrong => return Body::Wrong,
        }
    }
}

fn strip_cr(part: &[u8]) -> &[u8] {
    part.strip_suffix(b"\r").unwrap_or(part)
}

fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return false;
    };
    let name = &line[..colon];
    let value = &line[colon + 1..];
    !name.is_empty()
        && name.iter().all(is_token)
        && value
            .iter()
            .all(|byte| *byte == b'\t' || !byte.is_ascii_control())
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte)
}

/// Bytes of extensions behind the first semicolon.
fn extension(line: &[u8]) -> usize {
    let semicolon = line.iter().position(|byte| *byte == b';');
    semicolon.map_or(0, |at| line.len() - at - 1)
}

/// The most of them.
const EXTENSIONS: usize = 4096;

/// Whether a line can begin so. One that has its CR is whole.
fn is_begun(part: &[u8]) -> bool {
    let ends: [&[u8]; 7] = [b"", b"0", b"a", b"=a", b";a", b"\"", b"a\""];
    match part.strip_suffix(b"\r") {
        Some(whole) => size_line(whole).is_some(),
        None => ends
            .iter()
            .any(|end| size_line(&[part, *end].concat()).is_some()),
    }
}

/// chunk-size [ chunk-ext ], as RFC 9112 has it: `*( BWS ";" BWS name [ BWS "=" BWS value ] )`, but no
/// blanks behind the size.
fn size_line(line: &[u8]) -> Option<u64> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (size, mut rest) = line.split_at(digits);
    let size = str::from_utf8(size).ok().filter(|size| size.len() <= 16)?;
    let size = u64::from_str_radix(size, 16).ok()?;
    let mut first = true;
    while !rest.is_empty() {
        rest = if first { rest } else { blanks(rest) };
        first = false;
        rest = token(blanks(rest.strip_prefix(b";")?))?;
        if let Some(value) = blanks(rest).strip_prefix(b"=") {
            rest = match blanks(value).strip_prefix(b"\"") {
                Some(quoted) => behind_quotes(quoted)?,
                None => token(blanks(value))?,
            };
        }
    }
    Some(size)
}

fn blanks(text: &[u8]) -> &[u8] {
    let count = text.iter().take_while(|byte| b" \t".contains(byte)).count();
    &text[count..]
}

/// What is behind a token.
fn token(text: &[u8]) -> Option<&[u8]> {
    let count = text.iter().take_while(|byte| is_token(byte)).count();
    (count > 0).then(|| &text[count..])
}

fn behind_quotes(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        text = match text {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', byte, rest @ ..] if *byte == b'\t' || !byte.is_ascii_control() => rest,
            [b'\\', ..] => return None,
            [byte, rest @ ..] if *byte == b'\t' || !byte.is_ascii_control() => rest,
            _ => return None,
        }
    }
}

/// That the sizes are those that `httparse` reads.
fn check_sizes(bytes: &[u8], body: &[u8]) {
    let (mut rest, mut read) = (bytes, Vec::new());
    loop {
        let parsed = httparse::parse_chunk_size(rest);
        let Ok(httparse::Status::Complete((start, size))) = parsed else {
            panic!("the size is {parsed:?}");
        };
        let Some(data) = usize::try_from(size)
            .ok()
            .and_then(|size| rest[start..].get(..size))
        else {
            panic!("a chunk of {size} bytes is none for the reader");
        };
        if data.is_empty() {
            break;
        }
        read.extend_from_slice(data);
        rest = &rest[start + data.len() + 2..];
    }
    assert_eq!(read, body);
}
