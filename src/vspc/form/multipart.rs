//! Multipart forms (RFC 7578), read so that there is one reading.
//!
//! What readers of such forms do not agree about is refused: text before the first part and behind
//! the last, a boundary within a part, several dispositions or names, backslashes in quotes, parts
//! that are encoded once more.

use memchr::memmem;

use super::FormFault;

/// Takes the parts of a body one after the other.
pub(super) struct Parts<'a> {
    /// A line's end, two dashes and the boundary.
    delimiter: Vec<u8>,
    /// What comes behind the last delimiter that was read.
    rest: &'a [u8],
}

/// A name and its value, as they came.
pub(super) type Part<'a> = (&'a [u8], &'a [u8]);

impl<'a> Parts<'a> {
    /// Begins with the first part of a body.
    ///
    /// # Errors
    /// Says that the type names no boundary, or that the body does not begin with it.
    pub(super) fn new(content_type: &str, body: &'a [u8]) -> Result<Self, FormFault> {
        let boundary = boundary(content_type).ok_or(FormFault::Malformed)?;
        let delimiter = [b"\r\n--", boundary].concat();
        let start = delimiter.get(2..).unwrap_or_default();
        let body = body.strip_prefix(b"\r\n").unwrap_or(body);
        let rest = body.strip_prefix(start).ok_or(FormFault::Malformed)?;
        Ok(Self { delimiter, rest })
    }

    /// The next part; `None` behind the last one.
    ///
    /// # Errors
    /// Says that it is malformed, or that the body ends within.
    pub(super) fn next(&mut self) -> Result<Option<Part<'a>>, FormFault> {
        if matches!(self.rest, b"--" | b"--\r\n") {
            return Ok(None);
        }
        self.part().map(Some).ok_or(FormFault::Malformed)
    }

    fn part(&mut self) -> Option<Part<'a>> {
        // From the end of the delimiter's line on: that of an empty part is the next one's beginning.
        let end = memmem::find(self.rest, &self.delimiter)?;
        let part = self.rest.get(..end)?.strip_prefix(b"\r\n")?;
        self.rest = self.rest.get(end + self.delimiter.len()..)?;
        let (head, value) = part.split_at(memmem::find(part, b"\r\n\r\n")?);
        Some((name(head)?, value.get(4..)?))
    }
}

/// The boundary that a content type names, which names one only.
fn boundary(content_type: &str) -> Option<&[u8]> {
    if content_type.contains(|c: char| c.is_control() && c != '\t') {
        return None;
    }
    let (_, parameters) = content_type.as_bytes().split_at(content_type.find(';')?);
    let boundary = only(parameters, b"boundary")?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte);
    let fits = (1..=70).contains(&boundary.len())
        && boundary.last() != Some(&b' ')
        && boundary.iter().all(is_plain);
    fits.then_some(boundary)
}

/// The name of a part with this head.
fn name(head: &[u8]) -> Option<&[u8]> {
    let mut name = None;
    let mut rest = Some(head);
    while let Some(lines) = rest {
        let line = match memmem::find(lines, b"\r\n") {
            Some(end) => {
                rest = lines.get(end + 2..);
                lines.get(..end)?
            }
            None => {
                rest = None;
                lines
            }
        };
        let (field, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
        let value = value.get(1..)?;
        let is_text = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
        if field.is_empty() || !field.iter().all(is_token) || !value.iter().all(is_text) {
            return None;
        }
        // No blanks but these are left.
        let value = value.trim_ascii();
        if field.eq_ignore_ascii_case(b"content-disposition") {
            let (kind, parameters) = value.split_at(value.iter().position(|byte| *byte == b';')?);
            let is_field = kind.trim_ascii().eq_ignore_ascii_case(b"form-data");
            if !is_field || name.is_some() {
                return None;
            }
            name = Some(only(parameters, b"name")?);
        } else if field.eq_ignore_ascii_case(b"content-transfer-encoding") {
            let as_it_is: [&[u8]; 3] = [b"7bit", b"8bit", b"binary"];
            if !as_it_is.iter().any(|word| value.eq_ignore_ascii_case(word)) {
                return None;
            }
        }
    }
    name
}

/// The value of a parameter that is there once, among parameters that begin with a semicolon each.
fn only<'a>(mut parameters: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    loop {
        parameters = parameters.trim_ascii_start();
        let Some((b';', rest)) = parameters.split_first() else {
            return if parameters.is_empty() { found } else { None };
        };
        let rest = rest.trim_ascii_start();
        let (name, rest) = rest.split_at(rest.iter().position(|byte| !is_token(byte))?);
        let rest = rest.strip_prefix(b"=").filter(|_| !name.is_empty())?;
        let (value, rest) = match rest.strip_prefix(b"\"") {
            Some(quoted) => {
                let end = quoted
                    .iter()
                    .position(|byte| matches!(byte, b'"' | b'\\'))?;
                let (value, rest) = quoted.split_at(end);
                (value, rest.strip_prefix(b"\"")?)
            }
            None => {
                let blank = |byte: &u8| matches!(byte, b';' | b' ' | b'\t' | b'"' | b'\\');
                rest.split_at(rest.iter().position(blank).unwrap_or(rest.len()))
            }
        };
        if name.eq_ignore_ascii_case(wanted) && found.replace(value).is_some() {
            return None;
        }
        parameters = rest;
    }
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "multipart/form-data; boundary=X";

    fn read(kind: &str, body: &str) -> Option<Vec<(String, String)>> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut parts = Parts::new(kind, body.as_bytes()).ok()?;
        let mut read = Vec::new();
        while let Some((name, value)) = parts.next().ok()? {
            read.push((text(name), text(value)));
        }
        Some(read)
    }

    fn field(head: &str) -> Option<String> {
        let read = read(KIND, &format!("--X\r\n{head}\r\n\r\nv\r\n--X--\r\n"))?;
        read.into_iter().next().map(|(name, _)| name)
    }

    #[test]
    fn the_parts_of_real_clients_are_read() {
        for head in [
            "Content-Disposition: form-data; name=\"a\"",
            "content-disposition:form-data;name=a",
            "Content-Disposition: Form-Data; Name=\"a\"; filename=\"b\"",
            "Content-Disposition: form-data; filename=b; filename*=utf-8''b; name=a",
            "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=a",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Length: 1",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: 8bit",
        ] {
            assert_eq!(field(head).as_deref(), Some("a"), "{head}");
        }
        let body = "--X\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n\
                    --X\r\nContent-Disposition: form-data; name=b\r\n\r\n-\r\n-X\r\n\r\n--X--";
        let expected = [("a", ""), ("b", "-\r\n-X\r\n")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        for kind in [
            KIND,
            "multipart/form-data;boundary=\"X\"",
            "multipart/form-data; charset=utf-8; Boundary=X",
        ] {
            assert_eq!(read(kind, body).as_deref(), Some(&expected[..]), "{kind}");
        }
        assert_eq!(read(KIND, "\r\n--X--\r\n"), Some(Vec::new()));
    }

    #[test]
    fn what_readers_do_not_agree_about_is_refused() {
        for head in [
            "",
            "Content-Type: text/plain",
            "Content-Disposition: form-data",
            "Content-Disposition: attachment; name=a",
            "Content-Disposition: form-data; name=a; name=b",
            "Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b",
            "Content-Disposition: form-data; name=\"a\\\"b\"",
            "Content-Disposition: form-data; name=\"a",
            "Content-Disposition: form-data; name=\"a\"b",
            "Content-Disposition: form-data; name=a b",
            "Content-Disposition: form-data; name=a;",
            "Content-Disposition: form-data; name = a",
            "Content-Disposition : form-data; name=a",
            "Content-Disposition: form-data;\r\n name=a",
            "Content-Disposition: form-data; name=a\nB: c",
            "Content-Disposition: form-data; name=a\0",
            "Content-Disposition: form-data; name=a\n",
            "Content-Disposition: form-data; name=a\u{c}",
            "Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64",
            "--X: form-data; name=a",
        ] {
            assert_eq!(field(head), None, "{head}");
        }
        // Readers have taken the name from within the quotes.
        let quoted = "Content-Disposition: form-data; filename=\"; name=password \"; name=a";
        assert_eq!(field(quoted).as_deref(), Some("a"));
        let part = "Content-Disposition: form-data; name=a\r\n\r\nv";
        for body in [
            String::new(),
            format!("before\r\n--X\r\n{part}\r\n--X--"),
            format!("--X\r\n{part}\r\n--X--\r\nbehind"),
            format!("--X \r\n{part}\r\n--X--"),
            format!("--X\n{part}\r\n--X--"),
            format!("--X\r\n{part}\r\n--X"),
            format!("--X\r\n{part}\r\n--X-"),
            format!("--X\r\n{part}\r\n--Xy\r\n--X--"),
            "--X\r\nContent-Disposition: form-data; name=a\r\n\r\n--X--".to_owned(),
        ] {
            assert_eq!(read(KIND, &body), None, "{body:?}");
        }
        let body = format!("--X\r\n{part}\r\n--X--");
        for kind in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"X",
            "multipart/form-data; boundary=X; boundary=X",
            "multipart/form-data; boundary=\"X \"",
            "multipart/form-data; boundary=X y",
            "multipart/form-data; boundary=X\u{e4}",
        ] {
            assert_eq!(read(kind, &body), None, "{kind}");
        }
    }
}
