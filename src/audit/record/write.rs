//! How a record is written: one line of JSON, each text within its limit.

use http::Method;
use uuid::Uuid;

use super::{Action, Code, Kind, Record, Subject};
use crate::audit::json;
use crate::clock::Timestamp;
use crate::request::RequestId;

/// The most bytes kept of a path.
const PATH_LIMIT: usize = 2048;
/// The most bytes kept of a redacted query.
const QUERY_LIMIT: usize = 1024;
/// The most bytes kept of any other text.
const TEXT_LIMIT: usize = 512;
/// The most entries kept of a list.
const LIST_LIMIT: usize = 16;
/// What a usual record takes, so that writing one allocates once.
const USUAL_BYTES: usize = 768;

impl Record {
    /// The record's line without the start `{"seq":N,`, which only the one writer can give. `config`
    /// is the version of the configuration by which it came about, if it does not say itself.
    pub(in crate::audit) fn body(
        &self,
        kind: Kind,
        time: Timestamp,
        config: Option<&str>,
    ) -> Vec<u8> {
        let mut body = Vec::with_capacity(USUAL_BYTES);
        let out = &mut body;
        json::name(out, "time");
        out.push(b'"');
        out.extend_from_slice(&time.text());
        out.push(b'"');
        text(out, "kind", Some(kind.as_str()));
        self.put_actors(out, config);
        self.put_request(out);
        self.put_outcome(out, kind);
        out.extend_from_slice(b"}\n");
        body
    }

    fn put_actors(&self, out: &mut Vec<u8>, config: Option<&str>) {
        let id = self.request_id.as_ref();
        text(out, "request_id", id.map(RequestId::as_str));
        text(out, "config", self.config.as_deref().or(config));
        text(out, "client", self.client.as_deref());
        text(out, "credential", self.credential.as_deref());
        text(out, "certificate", self.certificate.as_deref());
        text(out, "principal", self.principal.as_deref());
        if let Some(session) = self.session {
            let mut buffer = Uuid::encode_buffer();
            let id = session.0.hyphenated().encode_lower(&mut buffer);
            text(out, "session", Some(id));
        }
        text(out, "user", self.user.as_deref());
        if let Some(source) = self.source {
            json::name(out, "source");
            json::address(out, source);
        }
        text(out, "operator", self.operator.as_deref());
        text(out, "peer", self.peer.as_deref());
        text(out, "tenant", self.tenant.as_deref());
        text(out, "mapping", self.mapping.as_deref());
        text(out, "console", self.console.as_deref());
        if let Some(target) = &self.target {
            json::name(out, "target");
            out.push(b'{');
            if let Some(uid) = target.uid {
                let mut buffer = Uuid::encode_buffer();
                text(out, "uid", Some(uid.hyphenated().encode_lower(&mut buffer)));
            }
            text(out, "name", target.name.as_deref());
            text(out, "role", target.role.as_deref());
            out.push(b'}');
        }
        text(out, "access", self.access);
    }

    fn put_request(&self, out: &mut Vec<u8>) {
        text(out, "operation", self.operation.as_deref());
        text(out, "grant", self.grant);
        text(out, "cause", self.cause);
        text(out, "method", self.method.as_ref().map(Method::as_str));
        if let Some(path) = &self.path {
            json::name(out, "path");
            json::text(out, path, PATH_LIMIT);
        }
        if let Some(query) = &self.query {
            json::name(out, "query");
            json::text(out, query.as_str(), QUERY_LIMIT);
        }
        text(out, "rule", self.rule.as_deref());
        text(out, "reason", self.reason.as_deref());
    }

    fn put_outcome(&self, out: &mut Vec<u8>, kind: Kind) {
        text(out, "code", self.code.map(Code::as_str));
        if kind == Kind::Request && self.status.is_none() {
            json::name(out, "status");
            out.extend_from_slice(b"null");
        }
        number(out, "status", self.status.map(u64::from));
        number(out, "bytes_in", self.bytes_in);
        number(out, "bytes_out", self.bytes_out);
        number(out, "duration_us", self.duration_us);
        number(out, "attempts", self.attempts.map(u64::from));
        let lease = self.lease.map(|lease| lease.hex());
        text(out, "lease", lease.as_ref().map(|hex| ascii(hex)));
        if let Some(subject) = &self.subject {
            json::name(out, "subject");
            put_subject(out, subject);
        }
        if let Some(range) = &self.range {
            json::name(out, "range");
            out.push(b'{');
            number(out, "first", Some(range.start));
            number(out, "next", Some(range.end));
            out.push(b'}');
        }
        text(out, "detail", self.detail.as_deref());
    }
}

pub(in crate::audit) fn put_subject(out: &mut Vec<u8>, subject: &Subject) {
    out.push(b'{');
    text(out, "action", subject.action.map(Action::as_str));
    text(out, "user_uid", subject.user_uid.as_deref());
    number(
        out,
        "login_id",
        subject.login_id.and_then(|id| u64::try_from(id).ok()),
    );
    text(out, "provider", subject.provider.as_deref());
    if !subject.scopes.is_empty() {
        json::name(out, "scopes");
        put_list(out, &subject.scopes);
    }
    if let Some(read_only) = subject.read_only {
        json::name(out, "read_only");
        out.extend_from_slice(if read_only { b"true" } else { b"false" });
    }
    text(out, "description", subject.description.as_deref());
    text(out, "key_fingerprint", subject.key_fingerprint.as_deref());
    text(out, "status", subject.status.as_deref());
    number(out, "count", subject.count);
    if !subject.login_ids.is_empty() {
        json::name(out, "login_ids");
        put_numbers(out, &subject.login_ids);
    }
    if subject.remembered {
        json::name(out, "remembered");
        out.extend_from_slice(b"true");
    }
    out.push(b'}');
}

fn put_numbers(out: &mut Vec<u8>, list: &[i64]) {
    out.push(b'[');
    let numbers = list.iter().filter_map(|id| u64::try_from(*id).ok());
    for (index, number) in numbers.take(LIST_LIMIT).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::number(out, number);
    }
    if list.len() > LIST_LIMIT {
        out.push(b',');
        let more = format!("~more:{}", list.len() - LIST_LIMIT);
        json::text(out, &more, TEXT_LIMIT);
    }
    out.push(b']');
}

fn put_list(out: &mut Vec<u8>, list: &[String]) {
    out.push(b'[');
    for (index, entry) in list.iter().take(LIST_LIMIT).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::text(out, entry, TEXT_LIMIT);
    }
    if list.len() > LIST_LIMIT {
        out.push(b',');
        json::text(
            out,
            &format!("~more:{}", list.len() - LIST_LIMIT),
            TEXT_LIMIT,
        );
    }
    out.push(b']');
}

#[inline]
fn text(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        json::name(out, name);
        json::text(out, value, TEXT_LIMIT);
    }
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn number(out: &mut Vec<u8>, name: &str, value: Option<u64>) {
    if let Some(value) = value {
        json::name(out, name);
        json::number(out, value);
    }
}
