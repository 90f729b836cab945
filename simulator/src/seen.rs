//! The last requests as they arrived, so that a test can judge what was sent.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Uri, Version};
use parking_lot::Mutex;
use serde::Serialize;
use uuid::Uuid;

/// How much of a body is remembered, in bytes.
const BODY_KEPT: usize = 64 * 1024;

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeenRequest {
    /// The number of the request since the start, counted from 1.
    pub seq: u64,
    /// The number of the connection it came on, counted from 1.
    pub connection: u64,
    /// The method, as sent.
    pub method: String,
    /// The target byte for byte as sent: path and query, of HTTP/1 also in absolute form.
    pub target: String,
    /// The version, as in `HTTP/1.1`.
    pub version: String,
    /// The headers in order of arrival, equal names next to each other; names are in lower case. A
    /// value that is not UTF-8 is given byte by byte as Latin-1.
    pub headers: Vec<(String, String)>,
    /// How many `Authorization` headers there were.
    pub authorization_headers: usize,
    /// The operation, by the name that counters use.
    pub operation: &'static str,
    /// The grant of a token request.
    pub grant: Option<&'static str>,
    /// The user of the bearer, if it was valid.
    pub subject: Option<Uuid>,
    /// The length of the body in bytes, as far as it has been read.
    pub body_length: u64,
    /// The first 64 KiB of the body.
    #[serde(skip)]
    pub body: Vec<u8>,
    /// Whether the body has been read to its end.
    pub body_complete: bool,
    /// The status it was answered with; `None` while there is none, and when the connection was cut.
    pub status: Option<u16>,
}

impl SeenRequest {
    /// Returns the first value of a header, whose name is given in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_values(name).next()
    }

    /// Returns all values of a header, whose name is given in any case.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// A request that is still being noted.
#[derive(Clone, Debug)]
pub(crate) struct Record(Arc<Mutex<SeenRequest>>);

impl Record {
    pub(crate) fn note(&self, change: impl FnOnce(&mut SeenRequest)) {
        change(&mut self.0.lock());
    }

    pub(crate) fn body(&self, bytes: &Bytes) {
        let mut seen = self.0.lock();
        seen.body_length += bytes.len() as u64;
        let room = BODY_KEPT.saturating_sub(seen.body.len());
        seen.body.extend(bytes.iter().take(room));
    }
}

/// The last requests, oldest first.
#[derive(Debug)]
pub(crate) struct Seen {
    kept: usize,
    requests: Mutex<VecDeque<Record>>,
}

impl Seen {
    pub(crate) fn new(kept: usize) -> Self {
        Self {
            kept,
            requests: Mutex::default(),
        }
    }

    pub(crate) fn open(
        &self,
        head: &Parts,
        seq: u64,
        connection: u64,
        operation: &'static str,
    ) -> Option<Record> {
        if self.kept == 0 {
            return None;
        }
        let record = Record(Arc::new(Mutex::new(SeenRequest {
            seq,
            connection,
            method: head.method.as_str().to_owned(),
            target: target(&head.uri, head.version),
            version: format!("{:?}", head.version),
            headers: pairs(&head.headers),
            authorization_headers: head
                .headers
                .get_all(http::header::AUTHORIZATION)
                .iter()
                .count(),
            operation,
            grant: None,
            subject: None,
            body_length: 0,
            body: Vec::new(),
            body_complete: false,
            status: None,
        })));
        let mut requests = self.requests.lock();
        if requests.len() >= self.kept {
            requests.pop_front();
        }
        requests.push_back(record.clone());
        Some(record)
    }

    pub(crate) fn all(&self) -> Vec<SeenRequest> {
        let requests = self.requests.lock();
        requests
            .iter()
            .map(|record| record.0.lock().clone())
            .collect()
    }

    pub(crate) fn clear(&self) {
        self.requests.lock().clear();
    }
}

/// Returns the target as it was on the wire.
pub(crate) fn target(uri: &Uri, version: Version) -> String {
    match uri.path_and_query() {
        // HTTP/2 takes the target apart, so that its URI is absolute whatever was meant.
        Some(path) if version == Version::HTTP_2 => path.as_str().to_owned(),
        _ => uri.to_string(),
    }
}

/// Returns all headers as text.
pub(crate) fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())))
        .collect()
}

fn text(value: &[u8]) -> String {
    std::str::from_utf8(value).map_or_else(
        |_| value.iter().map(|byte| char::from(*byte)).collect(),
        str::to_owned,
    )
}
