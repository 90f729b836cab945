//! The borrowed head that the steps of the data path look at.
//!
//! [`RequestHead::parse`] reads a request once, strictly: what could mean two things is refused
//! here, so that policy, the token broker and the console all speak of the same request.

mod id;
mod lines;
mod operation;
mod path;
#[cfg(test)]
mod tests;

pub use id::RequestId;
pub use lines::{Line, Lines};
pub use operation::{LoginsCall, Operation, needs_intent};
pub use path::{CanonicalPath, PathFault};

use http::header::HeaderMap;
use http::request::Parts;
use http::{Method, Version};

use crate::wire;

/// The methods that are served; everything else is refused.
pub const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Bounds on what a request head may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most bytes of path and query together.
    pub target: usize,
    /// The most bytes of names and values of all headers together.
    pub head: usize,
    /// The most bytes of a request body.
    pub body: u64,
    /// The hosts that are served, in lower case and without port; empty serves every host.
    pub names: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            target: 16 * 1024,
            head: 64 * 1024,
            body: 1 << 30,
            names: Vec::new(),
        }
    }
}

/// A request head that has exactly one reading.
#[derive(Debug)]
pub struct RequestHead<'a> {
    /// The method, one of [`METHODS`].
    pub method: &'a Method,
    /// The path that policy judges.
    pub path: CanonicalPath,
    /// What the request asks for.
    pub operation: Operation,
    /// The headers as they came.
    pub headers: &'a HeaderMap,
    /// Those of them that are looked for at every request.
    pub lines: Lines<'a>,
    /// The host the caller asked for, with its port.
    pub host: &'a str,
}

impl<'a> RequestHead<'a> {
    /// Reads a head.
    ///
    /// # Errors
    /// Names the first thing that is wrong with the request.
    pub fn parse(parts: &'a Parts, limits: &Limits) -> Result<Self, HeadFault> {
        if !served(&parts.method) {
            return Err(HeadFault::Method);
        }
        let raw = parts
            .uri
            .path_and_query()
            .map_or("", http::uri::PathAndQuery::as_str);
        if raw.len() > limits.target {
            return Err(HeadFault::TargetTooLong);
        }
        if parts.headers.len() > usize::from(wire::LINES) {
            return Err(HeadFault::HeadTooLarge);
        }
        let lines = Lines::of(&parts.headers);
        // hyper's own limit is one of buffers, and lets through what came in one piece.
        if lines.size > limits.head {
            return Err(HeadFault::HeadTooLarge);
        }
        if lines.has_outer_blank {
            return Err(HeadFault::Blank);
        }
        let host = host(parts, &lines)?;
        if !limits.names.is_empty() && !limits.names.iter().any(|name| same_host(host, name)) {
            return Err(HeadFault::WrongHost);
        }
        let path = CanonicalPath::parse(parts.uri.path())?;
        if parts.uri.query().is_some_and(carries_key) || path.segment_bytes().any(is_plain_key) {
            return Err(HeadFault::KeyInQuery);
        }
        check_expect(&lines)?;
        if declared_length(&lines)?.is_some_and(|length| length > limits.body) {
            return Err(HeadFault::BodyTooLarge);
        }
        let operation = Operation::of(&parts.method, &path);
        Ok(Self {
            method: &parts.method,
            path,
            operation,
            headers: &parts.headers,
            lines,
            host,
        })
    }

    /// The host without its port.
    pub fn host_name(&self) -> &'a str {
        split_port(self.host).0
    }
}

/// Why a request head is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeadFault {
    /// The path could be read in two ways.
    #[error(
        "the path could be read in two ways (dot segments, doubled, encoded or backward slashes, \
         semicolons or encoded controls): send it in its plain form"
    )]
    AmbiguousPath,
    /// A value with blanks around it, which HTTP/2 forbids and the console would take away.
    #[error("a header must not begin or end with a blank")]
    Blank,
    /// The declared body is larger than the limit.
    #[error("the body is larger than this gateway accepts")]
    BodyTooLarge,
    /// An `Expect` other than `100-continue`.
    #[error("only `Expect: 100-continue` is understood")]
    Expectation,
    /// `Host` is missing, doubled, malformed, or unlike the target's authority.
    #[error("exactly one well-formed Host is required")]
    Host,
    /// The headers are larger than the limit, or too many.
    #[error("the headers are larger than this gateway accepts, or more than 100 lines")]
    HeadTooLarge,
    /// A key in the query string or the path, where logs would keep it.
    #[error("credentials are not accepted in the target: send the key in the X-Api-Key header")]
    KeyInQuery,
    /// `Content-Length` is not one number.
    #[error("Content-Length must be one decimal number")]
    Length,
    /// A method that is not served.
    #[error("this method is not served")]
    Method,
    /// The target is not a well-formed origin-form or absolute-form target.
    #[error("the request target is malformed")]
    Target,
    /// Path and query are longer than the limit.
    #[error("the request target is longer than this gateway accepts")]
    TargetTooLong,
    /// A GET or HEAD with a body of unknown length, which many a reader would pass over.
    #[error("a body of GET or HEAD must tell its length")]
    Unannounced,
    /// A host that is not in `[server] names`.
    #[error("this host is not served here")]
    WrongHost,
}

impl HeadFault {
    /// Whether what follows on the connection is in doubt too.
    pub fn is_doubtful(self) -> bool {
        matches!(
            self,
            Self::BodyTooLarge
                | Self::Expectation
                | Self::HeadTooLarge
                | Self::Host
                | Self::Length
                | Self::Unannounced
        )
    }
}

impl From<PathFault> for HeadFault {
    fn from(fault: PathFault) -> Self {
        match fault {
            PathFault::Ambiguous => Self::AmbiguousPath,
            PathFault::Malformed => Self::Target,
        }
    }
}

fn served(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET
            | Method::HEAD
            | Method::POST
            | Method::PUT
            | Method::PATCH
            | Method::DELETE
            | Method::OPTIONS
    )
}

/// The one host of a request: `Host`, or the authority of an HTTP/2 or absolute-form target. Where
/// both are there they must agree.
fn host<'a>(parts: &'a Parts, lines: &Lines<'a>) -> Result<&'a str, HeadFault> {
    let line = lines.only(Line::Host).map_err(|_| HeadFault::Host)?;
    let line = line
        .map(|value| value.to_str().map_err(|_| HeadFault::Host))
        .transpose()?;
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    if authority.is_some() && !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(HeadFault::Target);
    }
    let host = match (line, authority) {
        (Some(line), Some(authority)) if !line.eq_ignore_ascii_case(authority) => {
            return Err(HeadFault::Host);
        }
        (Some(host), _) => host,
        (None, Some(host)) if parts.version == Version::HTTP_2 => host,
        (None, _) => return Err(HeadFault::Host),
    };
    if wire::is_host(host.as_bytes()) {
        Ok(host)
    } else {
        Err(HeadFault::Host)
    }
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

fn same_host(host: &str, name: &str) -> bool {
    split_port(host).0.eq_ignore_ascii_case(name)
}

/// Whether the query holds something that looks like a credential.
fn carries_key(query: &str) -> bool {
    query.as_bytes().split(|byte| *byte == b'&').any(|pair| {
        let end = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = pair
            .split_at_checked(end.unwrap_or(pair.len()))
            .unwrap_or_default();
        let value = value.get(1..).unwrap_or_default();
        is_key(name) || is_key(value) || KEY_PARAMETERS.iter().any(|key| spells(name, key))
    })
}

/// Whether a raw path, in order or not, holds something that looks like a credential.
pub fn holds_key(path: &str) -> bool {
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    let apart = |byte: &u8| matches!(byte, b'/' | b'\\' | b';');
    let mut segments = decoded.split(apart);
    segments.any(|segment| is_credential(segment.trim_ascii().iter().copied()))
}

/// Whether a percent-encoded text looks like a key or a token.
fn is_key(text: &[u8]) -> bool {
    // A look at how it begins is enough for most.
    matches!(text.first(), Some(b'%' | b'E' | b'V' | b'e' | b'v'))
        && is_credential(percent_encoding::percent_decode(text))
}

/// The same of a text as it is.
fn is_plain_key(text: &[u8]) -> bool {
    matches!(text.first(), Some(b'E' | b'V' | b'e' | b'v')) && is_credential(text.iter().copied())
}

/// Whether a text begins as the keys do that `keys new` makes, or is built as a token (JWT) is.
fn is_credential(text: impl Iterator<Item = u8> + Clone) -> bool {
    let begins = |start: &[u8]| {
        let beginning = text.clone().take(start.len());
        beginning
            .map(|byte| byte.to_ascii_lowercase())
            .eq(start.iter().copied())
    };
    begins(KEY_START) || (begins(b"eyj") && text.filter(|byte| *byte == b'.').count() >= 2)
}

/// How the keys begin that `keys new` makes.
pub const KEY_START: &[u8] = b"vgk_";

/// Whether the letters and digits of a percent-encoded name, in any case, are those of a key.
fn spells(name: &[u8], key: &str) -> bool {
    // What is encoded is longer than what it says.
    name.len() >= key.len()
        && may_begin(name, key)
        && percent_encoding::percent_decode(name)
            .filter(u8::is_ascii_alphanumeric)
            .map(|byte| byte.to_ascii_lowercase())
            .eq(key.bytes())
}

/// Whether a name may spell a key, as far as its first byte tells.
fn may_begin(name: &[u8], key: &str) -> bool {
    let first = name.first().map(u8::to_ascii_lowercase);
    first == key.bytes().next() || !first.is_some_and(|first| first.is_ascii_alphanumeric())
}

fn check_expect(lines: &Lines<'_>) -> Result<(), HeadFault> {
    match lines.only(Line::Expect) {
        Ok(None) => Ok(()),
        Ok(Some(value)) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        _ => Err(HeadFault::Expectation),
    }
}

fn declared_length(lines: &Lines<'_>) -> Result<Option<u64>, HeadFault> {
    let line = lines
        .only(Line::ContentLength)
        .map_err(|_| HeadFault::Length)?;
    let Some(line) = line else {
        return Ok(None);
    };
    let text = line.to_str().map_err(|_| HeadFault::Length)?;
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(HeadFault::Length);
    }
    text.parse().map(Some).map_err(|_| HeadFault::Length)
}

/// Names of parameters that hold credentials, as far as their letters go.
const KEY_PARAMETERS: [&str; 4] = ["accesstoken", "apikey", "authorization", "xapikey"];
