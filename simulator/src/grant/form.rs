//! The form of a token request: URL-encoded, as the console documents it, or multipart, as it once did.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::query::decode_pair_text;

/// The fields of a token request, each named once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    fields: Vec<(String, String)>,
}

/// Why a form cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    #[error("the field {0} is given more than once")]
    Duplicate(String),
    #[error("the content type is not supported")]
    MediaType,
    #[error("the body is not a form")]
    Malformed,
}

impl Form {
    /// Reads a body by the content type of its headers; one that has none is taken as URL-encoded.
    pub(crate) fn read(
        headers: &HeaderMap,
        body: &[u8],
        multipart: bool,
    ) -> Result<Self, FormError> {
        let mut kinds = headers.get_all(CONTENT_TYPE).iter();
        let kind = kinds.next().map_or(Ok(""), |kind| kind.to_str());
        let kind = kind.map_err(|_| FormError::MediaType)?;
        if kinds.next().is_some() {
            return Err(FormError::MediaType);
        }
        let (essence, parameters) = kind.split_once(';').unwrap_or((kind, ""));
        let essence = essence.trim();
        let text = std::str::from_utf8(body).map_err(|_| FormError::Malformed)?;
        if essence.is_empty() || essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            Self::encoded(text)
        } else if multipart && essence.eq_ignore_ascii_case("multipart/form-data") {
            let boundary = boundary(parameters).ok_or(FormError::Malformed)?;
            Self::multipart(text, boundary)
        } else {
            Err(FormError::MediaType)
        }
    }

    fn encoded(text: &str) -> Result<Self, FormError> {
        let mut form = Self::default();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decode_pair_text(name).ok_or(FormError::Malformed)?;
            let value = decode_pair_text(value).ok_or(FormError::Malformed)?;
            form.add(name, value)?;
        }
        Ok(form)
    }

    fn multipart(text: &str, boundary: &str) -> Result<Self, FormError> {
        let mut form = Self::default();
        let delimiter = format!("\r\n--{boundary}");
        let first = delimiter.strip_prefix("\r\n").unwrap_or(&delimiter);
        let mut rest = text.split_once(first).ok_or(FormError::Malformed)?.1;
        loop {
            if rest.starts_with("--") {
                return Ok(form);
            }
            let part = rest.strip_prefix("\r\n").ok_or(FormError::Malformed)?;
            let (head, after) = part.split_once("\r\n\r\n").ok_or(FormError::Malformed)?;
            let (value, after) = after.split_once(&delimiter).ok_or(FormError::Malformed)?;
            form.add(
                part_name(head).ok_or(FormError::Malformed)?,
                value.to_owned(),
            )?;
            rest = after;
        }
    }

    fn add(&mut self, name: String, value: String) -> Result<(), FormError> {
        if self.field(&name).is_some() {
            return Err(FormError::Duplicate(name));
        }
        self.fields.push((name, value));
        Ok(())
    }

    /// Returns the value of a field, which may be empty.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }
}

fn boundary(parameters: &str) -> Option<&str> {
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then_some(value.trim())
    })?;
    let value = value
        .strip_prefix('"')
        .map_or(value, |value| value.trim_end_matches('"'));
    (!value.is_empty()).then_some(value)
}

fn part_name(head: &str) -> Option<String> {
    let line = head.split("\r\n").find(|line| {
        line.split_once(':')
            .is_some_and(|(name, _)| name.eq_ignore_ascii_case("content-disposition"))
    })?;
    let name = line.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("name")
            .then_some(value.trim())
    })?;
    Some(name.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn read(kind: Option<&'static str>, body: &str) -> Result<Form, FormError> {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        Form::read(&headers, body.as_bytes(), true)
    }

    #[test]
    fn a_raw_backslash_and_encoded_characters_are_read() {
        let form = read(None, r"username=VSPC\odd&password=p%26ss%2Bw%25rd%3D%C3%BC").unwrap();
        assert_eq!(form.field("username"), Some(r"VSPC\odd"));
        assert_eq!(form.field("password"), Some("p&ss+w%rd=ü"));
    }

    #[test]
    fn a_charset_on_the_type_is_tolerated() {
        let kind = "application/x-www-form-urlencoded;charset=UTF-8";
        assert_eq!(read(Some(kind), "a=b+c").unwrap().field("a"), Some("b c"));
    }

    #[test]
    fn multipart_is_read_raw() {
        let body = "--X\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\npassword\r\n\
                    --X\r\nContent-Disposition: form-data; name=password\r\n\r\na+b%\r\n--X--\r\n";
        let form = read(Some("multipart/form-data; boundary=\"X\""), body).unwrap();
        assert_eq!(form.field("grant_type"), Some("password"));
        assert_eq!(form.field("password"), Some("a+b%"));
    }

    #[test]
    fn broken_forms_are_told_apart() {
        assert_eq!(
            read(None, "a=1&a=2"),
            Err(FormError::Duplicate("a".to_owned()))
        );
        assert_eq!(read(None, "a=%ff"), Err(FormError::Malformed));
        assert_eq!(
            read(Some("application/json"), "{}"),
            Err(FormError::MediaType)
        );
        assert_eq!(
            read(Some("multipart/form-data"), "x"),
            Err(FormError::Malformed)
        );
    }
}
