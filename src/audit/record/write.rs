//! How a record is written: one line of JSON, each text within its limit.

use http::Method;
use uuid::Uuid;

use super::{Action, Code, Kind, Record, Subject, Target};
use crate::audit::RedactedQuery;
use crate::audit::json;
use crate::clock::Timestamp;
use crate::request::RequestId;
use crate::secret::Fingerprint;

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

/// What stands before the value of a member that is not the first: a constant, which is copied in
/// one go.
macro_rules! member {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}

/// Writes a member that is a text, if there is one.
macro_rules! put_text {
    ($out:ident, $name:literal, $value:expr) => {
        put_text!($out, $name, $value, TEXT_LIMIT)
    };
    ($out:ident, $name:literal, $value:expr, $limit:expr) => {
        if let Some(value) = $value {
            $out.extend_from_slice(concat!(",\"", $name, "\":\"").as_bytes());
            json::rest_of_text($out, value, $limit);
        }
    };
}

/// Writes a member that is a text, if there is one, and is known to need no escape.
macro_rules! put_plain {
    ($out:ident, $name:literal, $value:expr) => {
        if let Some(value) = $value {
            $out.extend_from_slice(concat!(",\"", $name, "\":\"").as_bytes());
            $out.extend_from_slice(value.as_ref());
            $out.push(b'"');
        }
    };
}

/// Writes a member that is a number, if there is one.
macro_rules! put_number {
    ($out:ident, $name:literal, $value:expr) => {
        if let Some(value) = $value {
            $out.extend_from_slice(member!($name));
            json::number($out, u64::from(value));
        }
    };
}

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
        out.extend_from_slice(b"\"time\":\"");
        out.extend_from_slice(&time.text());
        out.push(b'"');
        put_plain!(out, "kind", Some(kind.as_str()));
        self.put_actors(out, config);
        self.put_request(out);
        self.put_outcome(out, kind);
        out.extend_from_slice(b"}\n");
        body
    }

    fn put_actors(&self, out: &mut Vec<u8>, config: Option<&str>) {
        let id = self.request_id.as_ref();
        put_plain!(out, "request_id", id.map(RequestId::as_bytes));
        put_text!(out, "config", self.config.as_deref().or(config));
        put_text!(out, "client", self.client.as_deref());
        put_text!(out, "credential", self.credential.as_deref());
        put_text!(out, "certificate", self.certificate.as_deref());
        put_text!(out, "principal", self.principal.as_deref());
        if let Some(session) = self.session {
            let mut buffer = Uuid::encode_buffer();
            let id = session.0.hyphenated().encode_lower(&mut buffer);
            put_plain!(out, "session", Some(id));
        }
        put_text!(out, "user", self.user.as_deref());
        if let Some(source) = self.source {
            out.extend_from_slice(member!("source"));
            json::address(out, source);
        }
        put_text!(out, "operator", self.operator.as_deref());
        put_text!(out, "peer", self.peer.as_deref());
        put_text!(out, "tenant", self.tenant.as_deref());
        put_text!(out, "mapping", self.mapping.as_deref());
        put_text!(out, "console", self.console.as_deref());
        if let Some(target) = &self.target {
            out.extend_from_slice(member!("target"));
            put_target(out, target);
        }
        put_plain!(out, "access", self.access);
    }

    fn put_request(&self, out: &mut Vec<u8>) {
        put_text!(out, "operation", self.operation.as_deref());
        put_plain!(out, "grant", self.grant);
        put_plain!(out, "cause", self.cause);
        put_text!(out, "method", self.method.as_ref().map(Method::as_str));
        put_text!(out, "path", self.path.as_deref(), PATH_LIMIT);
        let query = self.query.as_ref().map(RedactedQuery::as_str);
        put_text!(out, "query", query, QUERY_LIMIT);
        put_text!(out, "rule", self.rule.as_deref());
        put_text!(out, "reason", self.reason.as_deref());
    }

    fn put_outcome(&self, out: &mut Vec<u8>, kind: Kind) {
        put_plain!(out, "code", self.code.map(Code::as_str));
        if kind == Kind::Request && self.status.is_none() {
            out.extend_from_slice(b",\"status\":null");
        }
        put_number!(out, "status", self.status);
        put_number!(out, "bytes_in", self.bytes_in);
        put_number!(out, "bytes_out", self.bytes_out);
        put_number!(out, "duration_us", self.duration_us);
        put_number!(out, "attempts", self.attempts);
        put_plain!(out, "lease", self.lease.map(Fingerprint::hex));
        if let Some(subject) = &self.subject {
            out.extend_from_slice(member!("subject"));
            put_subject(out, subject);
        }
        if let Some(range) = &self.range {
            out.extend_from_slice(member!("range"));
            out.push(b'{');
            number(out, "first", Some(range.start));
            number(out, "next", Some(range.end));
            out.push(b'}');
        }
        put_text!(out, "detail", self.detail.as_deref());
    }
}

fn put_target(out: &mut Vec<u8>, target: &Target) {
    let (name, role) = (target.name.as_deref(), target.role.as_deref());
    out.push(b'{');
    if let Some(uid) = target.uid {
        let mut buffer = Uuid::encode_buffer();
        let uid = uid.hyphenated().encode_lower(&mut buffer);
        out.extend_from_slice(b"\"uid\":\"");
        out.extend_from_slice(uid.as_bytes());
        out.push(b'"');
        put_text!(out, "name", name);
        put_text!(out, "role", role);
    } else {
        text(out, "name", name);
        text(out, "role", role);
    }
    out.push(b'}');
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

fn text(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        json::name(out, name);
        json::text(out, value, TEXT_LIMIT);
    }
}

fn number(out: &mut Vec<u8>, name: &str, value: Option<u64>) {
    if let Some(value) = value {
        json::name(out, name);
        json::number(out, value);
    }
}
