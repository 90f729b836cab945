//! A strict reading of HTTP/1 of the suite's own: what is in doubt is an error, never repaired.

/// The start line and the fields of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) start: String,
    pub(super) fields: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The values of a field.
    pub(super) fn all(&self, name: &str) -> Vec<&[u8]> {
        let fields = self.fields.iter();
        fields
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
            .collect()
    }

    /// The value of a field, as text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let first = self.all(name).first().copied();
        first.map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

/// What a message's length is told by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    Length(usize),
    Chunked,
    UntilTheEnd,
}

/// A body that is whole, and how many bytes it took on the wire.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) trailers: Vec<(String, Vec<u8>)>,
    pub(super) taken: usize,
}

/// Reads a head and says how long it is; `None` when there is more to come.
pub(super) fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, String> {
    let Some(length) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = lines(&bytes[..length])?.into_iter();
    let start = lines.next().unwrap_or_default();
    let start = std::str::from_utf8(start).map_err(|_| format!("start line {}", shown(start)))?;
    let fields = lines.map(field).collect::<Result<_, _>>()?;
    let head = Head {
        start: start.to_owned(),
        fields,
    };
    Ok(Some((head, length + 4)))
}

/// How long a request's body is.
pub(super) fn framing_of_request(head: &Head) -> Result<Framing, String> {
    Ok(declared(head)?.unwrap_or(Framing::Length(0)))
}

/// How long an answer's body is.
pub(super) fn framing_of_answer(head: &Head, status: u16, method: &str) -> Result<Framing, String> {
    if method == "HEAD" || status < 200 || matches!(status, 204 | 304) {
        return Ok(Framing::Length(0));
    }
    Ok(declared(head)?.unwrap_or(Framing::UntilTheEnd))
}

fn declared(head: &Head) -> Result<Option<Framing>, String> {
    let lengths = head.all("content-length");
    let codings = head.all("transfer-encoding");
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(None),
        ([], [b"chunked"]) => Ok(Some(Framing::Chunked)),
        ([length], []) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let text = String::from_utf8_lossy(length);
            match text.parse() {
                Ok(length) if digits => Ok(Some(Framing::Length(length))),
                _ => Err(format!("a length of {text:?}")),
            }
        }
        _ => Err(format!("framing in doubt: {:?}", head.fields)),
    }
}

/// Reads a body, as far as it is there; `None` when there is more to come.
pub(super) fn body(bytes: &[u8], framing: Framing) -> Result<Option<Body>, String> {
    match framing {
        Framing::Length(length) => Ok(bytes.get(..length).map(|body| Body {
            bytes: body.to_vec(),
            trailers: Vec::new(),
            taken: length,
        })),
        Framing::Chunked => chunked(bytes),
        Framing::UntilTheEnd => Ok(None),
    }
}

fn chunked(bytes: &[u8]) -> Result<Option<Body>, String> {
    let mut read = Body::default();
    loop {
        let rest = &bytes[read.taken..];
        let Some(end) = find(rest, b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&rest[..end]).unwrap_or("?");
        let hex = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = match usize::from_str_radix(size, 16) {
            Ok(size) if hex => size,
            _ => return Err(format!("a chunk of {size:?}")),
        };
        read.taken += end + 2;
        if size == 0 {
            return trailers(bytes, read);
        }
        let rest = &bytes[read.taken..];
        let Some(chunk) = rest.get(..size + 2) else {
            return Ok(None);
        };
        let (data, end) = chunk.split_at(size);
        if end != b"\r\n" {
            return Err(format!("a chunk that ends in {}", shown(end)));
        }
        read.bytes.extend_from_slice(data);
        read.taken += size + 2;
    }
}

fn trailers(bytes: &[u8], mut read: Body) -> Result<Option<Body>, String> {
    let rest = &bytes[read.taken..];
    if rest.starts_with(b"\r\n") {
        read.taken += 2;
        return Ok(Some(read));
    }
    let Some(length) = find(rest, b"\r\n\r\n") else {
        return Ok(None);
    };
    let lines = lines(&rest[..length])?.into_iter();
    read.trailers = lines.map(field).collect::<Result<_, _>>()?;
    read.taken += length + 4;
    Ok(Some(read))
}

fn lines(block: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut lines = Vec::new();
    let mut rest = block;
    loop {
        let end = find(rest, b"\r\n").unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        if line
            .iter()
            .any(|byte| *byte < b' ' && *byte != b'\t' || *byte == 0x7f)
        {
            return Err(format!("a control in {}", shown(line)));
        }
        lines.push(line);
        let Some(after) = after.get(2..) else {
            return Ok(lines);
        };
        rest = after;
    }
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), String> {
    let doubtful = || format!("a field of {}", shown(line));
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line.split_at(colon.ok_or_else(doubtful)?);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(doubtful());
    }
    let name = String::from_utf8_lossy(name).into_owned();
    Ok((name, value[1..].trim_ascii().to_vec()))
}

/// Whether a byte may be part of a name.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Where something begins.
pub(super) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// Whether something is in it.
pub(super) fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    find(bytes, wanted).is_some()
}

/// Bytes as a person reads them, the middle of long ones left out.
pub(super) fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 700;
    if bytes.len() <= 2 * MOST {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    let (start, end) = (&bytes[..MOST], &bytes[bytes.len() - MOST..]);
    let left = bytes.len() - 2 * MOST;
    let (start, end) = (start.escape_ascii(), end.escape_ascii());
    format!("\"{start}\" … {left} bytes … \"{end}\"")
}
