//! What is noted of a request: the members of its record, one after the other, and how a record is
//! made of them again.

use std::net::IpAddr;

use uuid::Uuid;

use crate::audit::json;
use crate::audit::record::{Code, Kind, Record, put_subject};
use crate::clock::Timestamp;

/// The bytes that members have in a note.
pub(super) const ROOM: usize = 1000;
/// The most bytes kept of a text that has no limit of its own below.
const TEXT: usize = 160;
const LONG_TEXT: usize = 240;
const PATH: usize = 400;
/// Where members end: the last three bytes are for the mark that something has no room.
const LAST: usize = ROOM - 3;
/// What the mark of a cut text takes at most.
const MARK: usize = 48;
/// Starts a member that stands for those without room.
const MORE: u8 = u8::MAX;

/// Declares the members that are texts, in the order of a record. A number is never used again.
macro_rules! members {
    ($($member:ident = $number:literal, $name:literal;)*) => {
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        enum Member { $($member = $number),* }
        impl Member {
            const ALL: &'static [Self] = &[$(Self::$member),*];
            fn name(self) -> &'static str {
                match self { $(Self::$member => $name),* }
            }
        }
    };
}

members! {
    RequestId = 1, "request_id";
    Config = 2, "config";
    Client = 3, "client";
    Credential = 4, "credential";
    Principal = 5, "principal";
    Session = 6, "session";
    User = 7, "user";
    Source = 8, "source";
    Tenant = 9, "tenant";
    Mapping = 10, "mapping";
    Console = 11, "console";
    TargetUid = 12, "uid";
    TargetName = 13, "name";
    TargetRole = 24, "role";
    Operation = 14, "operation";
    Access = 25, "access";
    Grant = 15, "grant";
    Method = 16, "method";
    Path = 17, "path";
    Query = 18, "query";
    Rule = 19, "rule";
    Reason = 20, "reason";
    Lease = 21, "lease";
    Subject = 22, "subject";
    Certificate = 23, "certificate";
}

/// A note that is being written.
pub(super) struct Note {
    /// When the request was about to be sent.
    pub(super) began: Timestamp,
    len: usize,
    bytes: [u8; ROOM],
    more: bool,
}

impl Note {
    /// A note that says nothing yet.
    pub(super) fn new(began: Timestamp) -> Self {
        Self {
            began,
            len: 0,
            bytes: [0; ROOM],
            more: false,
        }
    }

    /// Notes what a record says so far. What is not needed to know the request comes last, where
    /// the room may end.
    pub(super) fn put_record(&mut self, record: &Record) {
        self.put_who(record);
        self.put_what(record);
        if self.more {
            self.put(MORE, &[]);
        }
    }

    /// The bytes of the members.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn put_who(&mut self, record: &Record) {
        if let Some(id) = &record.request_id {
            self.put(Member::RequestId as u8, id.as_bytes());
        }
        self.text(Member::Client, record.client.as_deref(), TEXT);
        self.text(Member::Tenant, record.tenant.as_deref(), TEXT);
        self.text(Member::Console, record.console.as_deref(), TEXT);
        if let Some(target) = &record.target {
            self.uuid(Member::TargetUid, target.uid);
            self.text(Member::TargetName, target.name.as_deref(), TEXT);
            self.text(Member::TargetRole, target.role.as_deref(), TEXT);
        }
        match record.source {
            Some(IpAddr::V4(source)) => self.put(Member::Source as u8, &source.octets()),
            Some(IpAddr::V6(source)) => self.put(Member::Source as u8, &source.octets()),
            None => {}
        }
        self.text(Member::Credential, record.credential.as_deref(), TEXT);
        self.uuid(Member::Session, record.session.map(|session| session.0));
        self.text(Member::User, record.user.as_deref(), TEXT);
    }

    fn put_what(&mut self, record: &Record) {
        let method = record.method.as_ref();
        self.text(Member::Method, method.map(http::Method::as_str), TEXT);
        self.text(Member::Path, record.path.as_deref(), PATH);
        let lease = record.lease.map(|lease| lease.hex());
        if let Some(lease) = &lease {
            self.put(Member::Lease as u8, lease);
        }
        self.text(Member::Rule, record.rule.as_deref(), TEXT);
        self.text(Member::Access, record.access, TEXT);
        self.text(Member::Config, record.config.as_deref(), TEXT);
        self.text(Member::Operation, record.operation.as_deref(), TEXT);
        self.text(Member::Grant, record.grant, TEXT);
        self.text(Member::Mapping, record.mapping.as_deref(), TEXT);
        self.text(Member::Principal, record.principal.as_deref(), LONG_TEXT);
        self.text(Member::Certificate, record.certificate.as_deref(), TEXT);
        if let Some(subject) = &record.subject {
            // Few requests have one, so that it may take memory.
            let mut json = Vec::new();
            put_subject(&mut json, subject);
            self.put(Member::Subject as u8, &json);
        }
        let query = record.query.as_ref().map(|query| query.as_str());
        self.text(Member::Query, query, LONG_TEXT);
        self.text(Member::Reason, record.reason.as_deref(), LONG_TEXT);
    }

    fn uuid(&mut self, member: Member, id: Option<Uuid>) {
        if let Some(id) = id {
            self.put(member as u8, id.as_bytes());
        }
    }

    /// Notes a text, or the start of one and the mark that records have for it.
    #[inline]
    fn text(&mut self, member: Member, text: Option<&str>, limit: usize) {
        if let Some(text) = text {
            let whole = text.len() <= limit && self.try_put(member as u8, text.as_bytes(), LAST);
            if !whole {
                self.put_cut(member, text, limit);
            }
        }
    }

    #[cold]
    fn put_cut(&mut self, member: Member, text: &str, limit: usize) {
        let room = (ROOM - self.len).saturating_sub(6);
        let kept = limit.min(room.saturating_sub(MARK));
        if kept == 0 {
            self.more = true;
            return;
        }
        let cut = format!("{}{}", json::start(text, kept), json::cut_mark(text));
        self.put(member as u8, cut.as_bytes());
    }

    fn put(&mut self, member: u8, value: &[u8]) {
        let end = if member == MORE { ROOM } else { LAST };
        self.more |= !self.try_put(member, value, end);
    }

    /// Notes a member, if it ends before `limit`.
    fn try_put(&mut self, member: u8, value: &[u8], limit: usize) -> bool {
        let space = self.bytes.get_mut(self.len..limit);
        let Some([kind, low, high, rest @ ..]) = space else {
            return false;
        };
        let (Some(space), Ok(len)) = (rest.get_mut(..value.len()), u16::try_from(value.len()))
        else {
            return false;
        };
        space.copy_from_slice(value);
        [*low, *high] = len.to_le_bytes();
        *kind = member;
        self.len += 3 + value.len();
        true
    }
}

/// A note as it was found.
#[derive(Debug, Default)]
pub(in crate::audit) struct Noted {
    /// When the request was about to be sent.
    began: Option<Timestamp>,
    members: Vec<(Member, Vec<u8>)>,
    more: bool,
}

impl Noted {
    /// Reads a note; nothing if it is none.
    pub(super) fn read(began: Timestamp, mut bytes: &[u8]) -> Option<Self> {
        let mut noted = Self {
            began: Some(began),
            ..Self::default()
        };
        while let Some((&[kind, low, high], rest)) = bytes.split_first_chunk() {
            let len = usize::from(u16::from_le_bytes([low, high]));
            let (value, rest) = rest.split_at_checked(len)?;
            bytes = rest;
            if kind == MORE {
                noted.more = true;
            } else {
                let mut all = Member::ALL.iter();
                let member = all.find(|member| **member as u8 == kind)?;
                noted.members.push((*member, value.to_vec()));
            }
        }
        bytes.is_empty().then_some(noted)
    }

    /// The request's id.
    pub(in crate::audit) fn request_id(&self) -> Option<&str> {
        std::str::from_utf8(self.get(Member::RequestId)?).ok()
    }

    fn get(&self, member: Member) -> Option<&[u8]> {
        let mut members = self.members.iter();
        let (_, value) = members.find(|(each, _)| *each == member)?;
        Some(value)
    }

    /// The record, without its start, of a request whose end nobody knows.
    pub(in crate::audit) fn outcome(&self, now: Timestamp) -> Vec<u8> {
        let mut body = Vec::with_capacity(ROOM);
        let out = &mut body;
        put_start(out, now);
        for member in Member::ALL {
            match member {
                Member::TargetUid | Member::TargetName | Member::TargetRole => {}
                Member::Operation => {
                    self.put_target(out);
                    self.put(out, *member);
                }
                _ => self.put(out, *member),
            }
        }
        put_end(out, self.began, ENDED, self.more);
        body
    }

    fn put_target(&self, out: &mut Vec<u8>) {
        if self.get(Member::TargetUid).is_none() && self.get(Member::TargetName).is_none() {
            return;
        }
        json::name(out, "target");
        out.push(b'{');
        self.put(out, Member::TargetUid);
        self.put(out, Member::TargetName);
        self.put(out, Member::TargetRole);
        out.push(b'}');
    }

    fn put(&self, out: &mut Vec<u8>, member: Member) {
        let Some(value) = self.get(member) else {
            return;
        };
        json::name(out, member.name());
        match member {
            Member::Source => put_source(out, value),
            Member::Session | Member::TargetUid => {
                let id = Uuid::from_slice(value).unwrap_or_default();
                json::text(out, &id.hyphenated().to_string(), usize::MAX);
            }
            // Written as records are; what somebody else put there is taken as a text.
            Member::Subject => match serde_json::from_slice(value) {
                Ok(subject) => json::value(out, &subject, usize::MAX),
                Err(_) => json::text(out, &String::from_utf8_lossy(value), usize::MAX),
            },
            _ => json::text(out, &String::from_utf8_lossy(value), usize::MAX),
        }
    }
}

fn put_source(out: &mut Vec<u8>, value: &[u8]) {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        json::address(out, octets.into());
    } else if let Ok(octets) = <[u8; 16]>::try_from(value) {
        json::address(out, octets.into());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Begins the body of an outcome.
pub(in crate::audit) fn put_start(out: &mut Vec<u8>, now: Timestamp) {
    json::name(out, "time");
    out.push(b'"');
    out.extend_from_slice(&now.text());
    out.push(b'"');
    json::name(out, "kind");
    json::text(out, Kind::Request.as_str(), usize::MAX);
}

/// Ends the body of an outcome that nobody knows.
pub(in crate::audit) fn put_end(
    out: &mut Vec<u8>,
    began: Option<Timestamp>,
    detail: &str,
    more: bool,
) {
    json::name(out, "code");
    json::text(out, Code::Unknown.as_str(), usize::MAX);
    json::name(out, "status");
    out.extend_from_slice(b"null");
    if let Some(began) = began {
        json::name(out, "began");
        out.push(b'"');
        out.extend_from_slice(&began.text());
        out.push(b'"');
    }
    json::name(out, "detail");
    let left_out = "; what had no room in its note is left out";
    let detail = format!("{detail}{}", if more { left_out } else { "" });
    json::text(out, &detail, usize::MAX);
    out.extend_from_slice(b"}\n");
}

const ENDED: &str = "the process ended before the request did: whether the console has done it is \
                     not known";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::audit::{Action, Subject, Target, redact_query};
    use crate::client::LoginId;
    use crate::request::RequestId;
    use crate::secret::Secret;

    const NOW: Timestamp = Timestamp(1_772_600_767_000_089);

    fn full(path: &str) -> Record {
        Record {
            request_id: Some(RequestId::new(NOW)),
            config: Some("3f".into()),
            client: Some("zabbix".into()),
            credential: Some("api_key:12345678".into()),
            principal: Some("entra|5c0e".into()),
            session: Some(LoginId(Uuid::from_u128(3))),
            user: Some("ACME\\ann".into()),
            grant: Some("password"),
            source: Some([10, 0, 0, 1].into()),
            tenant: Some("acme".into()),
            mapping: Some("mapping.rules[3]".into()),
            console: Some("main".into()),
            target: Some(Target {
                uid: Some(Uuid::from_u128(1)),
                name: Some("ann".into()),
                role: Some("CompanyOwner".into()),
            }),
            access: Some("full"),
            certificate: Some("sha256:00".into()),
            operation: Some("GET /a".into()),
            method: Some(http::Method::GET),
            path: Some(path.to_owned()),
            query: Some(redact_query("limit=5&filter=x")),
            rule: Some("allow[0]".into()),
            reason: Some("ticket 7".to_owned()),
            lease: Some(Secret::new("token".to_owned()).fingerprint()),
            subject: Some(Box::new(Subject {
                action: Some(Action::Created),
                scopes: vec!["\u{202e}rest".to_owned()],
                login_id: Some(7),
                read_only: Some(true),
                ..Subject::default()
            })),
            ..Record::default()
        }
    }

    fn noted(record: &Record) -> (Vec<u8>, Value) {
        let mut note = Note::new(NOW);
        note.put_record(record);
        let noted = Noted::read(note.began, note.bytes()).unwrap();
        let id = record.request_id.as_ref().map(RequestId::as_str);
        assert_eq!(noted.request_id(), id);
        let body = noted.outcome(Timestamp(NOW.0 + 1));
        let line = [b"{\"seq\":7,".as_slice(), &body].concat();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value = serde_json::from_slice(&line).unwrap();
        (line, value)
    }

    /// Whatever the record of an intent has is in the one that closes it.
    #[test]
    fn a_note_has_all_that_an_intent_has() {
        for source in ["10.0.0.1", "2001:db8::1"] {
            let mut record = full("/api/v3/a");
            record.source = Some(source.parse().unwrap());
            let body = record.body(Kind::Intent, NOW, None);
            let line = [b"{\"seq\":7,".as_slice(), &body].concat();
            let mut expected: Value = serde_json::from_slice(&line).unwrap();
            expected["kind"] = "request".into();
            expected["time"] = "2026-03-04T05:06:07.000090Z".into();
            expected["code"] = "unknown".into();
            expected["status"] = Value::Null;
            expected["began"] = "2026-03-04T05:06:07.000089Z".into();
            expected["detail"] = ENDED.into();
            let (line, value) = noted(&record);
            assert_eq!(value, expected);
            assert!(!String::from_utf8(line).unwrap().contains('\u{202e}'));
        }
    }

    #[test]
    fn long_texts_are_cut_as_in_records() {
        let path = format!("/api/v3/{}", "é".repeat(40_000));
        let (_, value) = noted(&full(&path));
        let kept = value["path"].as_str().unwrap();
        assert!(kept.starts_with("/api/v3/é"), "{kept}");
        assert!(kept.len() <= PATH + MARK, "{}", kept.len());
        assert!(kept.contains("~cut:80008:sha256:"), "{kept}");
        assert_eq!(value["client"], "zabbix");
        assert_eq!(value["detail"], ENDED);
    }

    #[test]
    fn what_has_no_room_is_said_to_be_missing() {
        let long: Arc<str> = "x".repeat(5_000).into();
        let mut record = full(&"p".repeat(3_000));
        record.client = Some(Arc::clone(&long));
        record.tenant = Some(Arc::clone(&long));
        record.credential = Some(Arc::clone(&long));
        record.rule = Some(Arc::clone(&long));
        record.principal = Some(long);
        let (_, value) = noted(&record);
        assert!(value["path"].as_str().unwrap().contains("~cut:3000:"));
        assert_eq!(value["target"]["uid"].as_str().unwrap().len(), 36);
        let detail = value["detail"].as_str().unwrap();
        assert!(detail.ends_with("is left out"), "{detail}");
    }

    proptest! {
        #[test]
        fn any_record_has_a_note(texts in proptest::collection::vec(any::<String>(), 6), long in 0_usize..3000) {
            let [a, b, c, d, e, f] = <[String; 6]>::try_from(texts).unwrap();
            let mut record = full(&format!("{a}{}", "q".repeat(long)));
            record.client = Some(b.into());
            record.user = Some(c.into());
            record.reason = Some(d.repeat(9));
            record.rule = Some(e.into());
            record.principal = Some(f.into());
            noted(&record);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(noted) = Noted::read(NOW, &bytes) {
                let line = [b"{\"seq\":7,".as_slice(), &noted.outcome(NOW)].concat();
                prop_assert!(serde_json::from_slice::<Value>(&line).is_ok());
            }
        }
    }
}
