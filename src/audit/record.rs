//! What one record says.

mod write;

pub(super) use write::put_subject;

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use http::Method;
use uuid::Uuid;

use super::redact::RedactedQuery;
use crate::client::LoginId;
use crate::request::RequestId;
use crate::secret::Fingerprint;

/// What a record is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// An administrator, or the gateway itself, did something.
    Admin,
    /// The configuration was loaded or refused.
    Config,
    /// A request is about to be sent to a console.
    Intent,
    /// A request came to its end, whichever it was.
    Request,
    /// The gateway asked a console for a token.
    Token,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Admin,
        Self::Config,
        Self::Intent,
        Self::Request,
        Self::Token,
    ];

    /// The text in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Config => "config",
            Self::Intent => "intent",
            Self::Request => "request",
            Self::Token => "token",
        }
    }
}

/// How something ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Code {
    /// The caller went away, or the request's handler panicked.
    Aborted,
    /// The console answered, with whatever status.
    Ok,
    /// The gateway refused, with this stable code.
    Refused(&'static str),
    /// The process ended before the request did; found out at a later start.
    Unknown,
    /// The console's answer broke off.
    UpstreamCut,
}

impl Code {
    /// The text in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::Ok => "ok",
            Self::Refused(code) => code,
            Self::Unknown => "unknown",
            Self::UpstreamCut => "upstream_cut",
        }
    }

    /// Whether the text in a record says that the gateway refused.
    pub(crate) fn is_refusal(text: &str) -> bool {
        let others = [Self::Aborted, Self::Ok, Self::Unknown, Self::UpstreamCut];
        others.iter().all(|other| other.as_str() != text)
    }
}

/// The user of a console whom a request acted as.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The console's `userUid`.
    pub uid: Option<Uuid>,
    /// The user's name, where the console's directory told it.
    pub name: Option<Arc<str>>,
    /// The user's role in the console's words, where the directory told it.
    pub role: Option<Arc<str>>,
}

/// What was done to an identity.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Its status or description was changed.
    Changed,
    /// It was made.
    Created,
    /// It was deleted.
    Deleted,
    /// It was one of a list, or a list was read.
    Listed,
    /// It was read.
    Read,
}

impl Action {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Changed,
        Self::Created,
        Self::Deleted,
        Self::Listed,
        Self::Read,
    ];

    /// The text in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Created => "created",
            Self::Deleted => "deleted",
            Self::Listed => "listed",
            Self::Read => "read",
        }
    }
}

/// The identity that a call of the `/users/logins` family concerned. Nothing in it is secret.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// What was done.
    pub action: Option<Action>,
    /// The user whom the identity belongs to.
    pub user_uid: Option<String>,
    /// The number of the identity.
    pub login_id: Option<i64>,
    /// The identity provider, e.g. `AK`.
    pub provider: Option<String>,
    /// What the identity may be used for; at most 16 are written, then how many more there were.
    pub scopes: Vec<String>,
    /// Whether the identity may only read.
    pub read_only: Option<bool>,
    /// The description given to it.
    pub description: Option<String>,
    /// `sha256:` and the hex SHA-256 of a public key: of the one that was submitted, or that the
    /// console shows for the identity.
    pub key_fingerprint: Option<String>,
    /// Whether the console says that it is enabled, in its words; of a change, what was asked for.
    pub status: Option<String>,
    /// How many identities a list had, as far as the gateway read it.
    pub count: Option<u64>,
    /// The numbers of the identities of a list; at most 16 are written, then how many more there
    /// were.
    pub login_ids: Vec<i64>,
    /// What the request and its answer did not say is what an earlier answer said.
    pub remembered: bool,
}

/// What is known of one event. Members that are `None` are not written, but for `status`: the
/// outcome of a request always has it, as null when the caller got no answer.
///
/// Texts are cut at 2048 bytes (`path`), 1024 (`query`) or 512 (all others).
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The correlation id, also given to the caller.
    pub request_id: Option<RequestId>,
    /// The version of the configuration that decided.
    pub config: Option<Arc<str>>,
    /// Who called.
    pub client: Option<Arc<str>>,
    /// By which of the client's credentials; a label, never the credential.
    pub credential: Option<Arc<str>>,
    /// `sha256:` and the digest of the certificate that the caller's connection showed.
    pub certificate: Option<Arc<str>>,
    /// The issuer and the subject of an identity provider's token: `entra|5c0e…`.
    pub principal: Option<Arc<str>>,
    /// The log-in at the gateway that the credential came from.
    pub session: Option<LoginId>,
    /// The name of a user of the console who acts as itself; of a log-in with a wrong key, the
    /// client's name that it was tried with.
    pub user: Option<Arc<str>>,
    /// From where.
    pub source: Option<IpAddr>,
    /// The operator, by the name that it gave itself.
    pub operator: Option<Arc<str>>,
    /// The other end of an operator's connection: address and port, or uid and pid.
    pub peer: Option<String>,
    /// For whom.
    pub tenant: Option<Arc<str>>,
    /// The mapping rule that named the tenant.
    pub mapping: Option<Arc<str>>,
    /// Which console.
    pub console: Option<Arc<str>>,
    /// Whom the request acted as.
    pub target: Option<Target>,
    /// What the token may do: `full` or `read_only`.
    pub access: Option<&'static str>,
    /// The class of the operation, or the name of an event.
    pub operation: Option<Cow<'static, str>>,
    /// What a log-in asked for.
    pub grant: Option<&'static str>,
    /// What made the gateway ask for a token, or give one up.
    pub cause: Option<&'static str>,
    /// The method as typed.
    pub method: Option<Method>,
    /// The path as typed.
    pub path: Option<String>,
    /// The query without its secrets.
    pub query: Option<RedactedQuery>,
    /// The rule that allowed or denied.
    pub rule: Option<Arc<str>>,
    /// The reason that the caller gave.
    pub reason: Option<String>,
    /// How it ended. [`Entry::close`](super::Entry::close) sets it.
    pub code: Option<Code>,
    /// The status that the caller got.
    pub status: Option<u16>,
    /// The bytes of the request's body.
    pub bytes_in: Option<u64>,
    /// The bytes of the answer's body.
    pub bytes_out: Option<u64>,
    /// How long it took, in microseconds. [`Entry::close`](super::Entry::close) sets it.
    pub duration_us: Option<u64>,
    /// How many times the request was sent to the console.
    pub attempts: Option<u32>,
    /// Which token was used; a name or keyed hash, never the token.
    pub lease: Option<Fingerprint>,
    /// The identity that a `/users/logins` call concerned.
    pub subject: Option<Box<Subject>>,
    /// The records that an event was about: of those that were removed, the first and the one after
    /// the last.
    pub range: Option<Range<u64>>,
    /// What else there is to say.
    pub detail: Option<Cow<'static, str>>,
}

impl Record {
    /// The record of an event that has a name and a description and nothing else.
    pub(super) fn event(operation: &'static str, detail: String) -> Self {
        Self {
            operation: Some(Cow::Borrowed(operation)),
            detail: Some(Cow::Owned(detail)),
            code: Some(Code::Ok),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::audit::redact_query;
    use crate::clock::Timestamp;
    use crate::secret::Secret;

    fn read(record: &Record, kind: Kind) -> Value {
        let body = record.body(kind, Timestamp(1_772_600_767_000_089), None);
        let line = [b"{\"seq\":7,".as_slice(), body.as_slice()].concat();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(line.last(), Some(&b'\n'));
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn addresses_are_written_as_usual() {
        for text in ["0.0.0.0", "10.0.200.19", "255.255.255.255", "2001:db8::1"] {
            let record = Record {
                source: Some(text.parse().unwrap()),
                ..Record::default()
            };
            assert_eq!(read(&record, Kind::Request)["source"], text);
        }
    }

    fn full() -> Record {
        let lease = Secret::new("token".to_owned()).fingerprint();
        Record {
            request_id: Some(RequestId::new(Timestamp(0))),
            config: Some("3".into()),
            client: Some("zabbix".into()),
            credential: Some("api_key:12345678".into()),
            certificate: Some("sha256:00".into()),
            principal: Some("entra|5c0e".into()),
            session: Some(LoginId(Uuid::from_u128(3))),
            user: Some("ACME\\ann".into()),
            grant: Some("password"),
            source: Some([10, 0, 0, 1].into()),
            operator: Some("ann@host".into()),
            peer: Some("uid 0, pid 7".to_owned()),
            tenant: Some("acme".into()),
            mapping: Some("mapping.rules[3]".into()),
            console: Some("main".into()),
            target: Some(Target {
                uid: Some(Uuid::from_u128(1)),
                name: Some("ann".into()),
                role: Some("CompanyOwner".into()),
            }),
            access: Some("full"),
            cause: Some("ahead"),
            operation: Some("plain".into()),
            method: Some(Method::GET),
            path: Some("/api/v3/a".to_owned()),
            query: Some(redact_query("limit=5&filter=x")),
            rule: Some("allow[0]".into()),
            reason: Some("ticket 7".to_owned()),
            code: Some(Code::Ok),
            status: Some(200),
            bytes_in: Some(0),
            bytes_out: Some(12),
            duration_us: Some(34),
            attempts: Some(1),
            lease: Some(lease),
            subject: Some(Box::new(Subject {
                action: Some(Action::Created),
                user_uid: Some("u2".to_owned()),
                login_id: Some(9),
                provider: Some("AK".to_owned()),
                scopes: vec!["rest".to_owned(), "ui".to_owned()],
                read_only: Some(true),
                description: Some("d".to_owned()),
                key_fingerprint: Some("ff".to_owned()),
                status: Some("enabled".to_owned()),
                count: Some(2),
                login_ids: vec![9, 10],
                remembered: true,
            })),
            range: Some(3..9),
            detail: Some("more".into()),
        }
    }

    #[test]
    fn a_line_has_its_members_in_this_order_and_no_more_bytes() {
        let mut record = full();
        let time = Timestamp(1_772_600_767_000_089);
        let line = |record: &Record, kind| {
            String::from_utf8(record.body(kind, time, Some("present"))).unwrap()
        };
        let (id, lease) = (record.request_id.unwrap(), record.lease.unwrap());
        let subject = "{\"action\":\"created\",\"user_uid\":\"u2\",\"login_id\":9,\"provider\":\"AK\",\
            \"scopes\":[\"rest\",\"ui\"],\"read_only\":true,\"description\":\"d\",\
            \"key_fingerprint\":\"ff\",\"status\":\"enabled\",\"count\":2,\"login_ids\":[9,10],\
            \"remembered\":true}";
        let expected = format!(
            "\"time\":\"2026-03-04T05:06:07.000089Z\",\"kind\":\"request\",\"request_id\":\"{}\",\
             \"config\":\"3\",\"client\":\"zabbix\",\"credential\":\"api_key:12345678\",\
             \"certificate\":\"sha256:00\",\"principal\":\"entra|5c0e\",\
             \"session\":\"00000000-0000-0000-0000-000000000003\",\"user\":\"ACME\\\\ann\",\
             \"source\":\"10.0.0.1\",\"operator\":\"ann@host\",\"peer\":\"uid 0, pid 7\",\
             \"tenant\":\"acme\",\"mapping\":\"mapping.rules[3]\",\"console\":\"main\",\
             \"target\":{{\"uid\":\"00000000-0000-0000-0000-000000000001\",\"name\":\"ann\",\
             \"role\":\"CompanyOwner\"}},\"access\":\"full\",\"operation\":\"plain\",\
             \"grant\":\"password\",\"cause\":\"ahead\",\"method\":\"GET\",\
             \"path\":\"/api/v3/a\",\"query\":\"limit=5&filter\",\"rule\":\"allow[0]\",\
             \"reason\":\"ticket 7\",\"code\":\"ok\",\"status\":200,\"bytes_in\":0,\
             \"bytes_out\":12,\"duration_us\":34,\"attempts\":1,\"lease\":\"{lease}\",\
             \"subject\":{subject},\"range\":{{\"first\":3,\"next\":9}},\"detail\":\"more\"}}\n",
            id.as_str()
        );
        assert_eq!(line(&record, Kind::Request), expected);
        record = Record {
            target: Some(Target {
                uid: None,
                ..record.target.unwrap()
            }),
            ..Record::default()
        };
        assert_eq!(
            line(&record, Kind::Token),
            "\"time\":\"2026-03-04T05:06:07.000089Z\",\"kind\":\"token\",\"config\":\"present\",\
             \"target\":{\"name\":\"ann\",\"role\":\"CompanyOwner\"}}\n"
        );
    }

    #[test]
    fn a_full_record_has_the_contract_s_members() {
        let record = full();
        let (id, lease) = (record.request_id.unwrap(), record.lease.unwrap());
        let target = json!({"uid": "00000000-0000-0000-0000-000000000001", "name": "ann",
                "role": "CompanyOwner"});
        let subject = json!({"action": "created", "user_uid": "u2", "login_id": 9, "provider": "AK",
                "scopes": ["rest", "ui"], "read_only": true, "description": "d",
                "key_fingerprint": "ff", "status": "enabled", "count": 2, "login_ids": [9, 10],
                "remembered": true});
        let expected = json!({
            "seq": 7, "time": "2026-03-04T05:06:07.000089Z", "kind": "request",
            "request_id": id.as_str(), "config": "3", "client": "zabbix",
            "credential": "api_key:12345678", "certificate": "sha256:00", "principal": "entra|5c0e", "user": "ACME\\ann", "grant": "password",
            "session": "00000000-0000-0000-0000-000000000003", "source": "10.0.0.1", "tenant": "acme", "mapping": "mapping.rules[3]",
            "operator": "ann@host", "peer": "uid 0, pid 7",
            "console": "main", "target": target, "access": "full", "operation": "plain", "cause": "ahead",
            "method": "GET", "path": "/api/v3/a", "query": "limit=5&filter", "rule": "allow[0]",
            "reason": "ticket 7", "code": "ok", "status": 200, "bytes_in": 0, "bytes_out": 12,
            "duration_us": 34, "attempts": 1, "lease": lease.to_string(),
            "subject": subject,
            "range": {"first": 3, "next": 9}, "detail": "more",
        });
        assert_eq!(read(&record, Kind::Request), expected);
    }

    #[test]
    fn an_empty_record_has_a_null_status_only_as_an_outcome() {
        let time = "2026-03-04T05:06:07.000089Z";
        assert_eq!(
            read(&Record::default(), Kind::Request),
            json!({"seq": 7, "time": time, "kind": "request", "status": null})
        );
        assert_eq!(
            read(&Record::default(), Kind::Token),
            json!({"seq": 7, "time": time, "kind": "token"})
        );
    }

    #[test]
    fn no_text_leaves_its_member_or_its_line() {
        let hostile = format!("\r\n\0\u{1b}[2J\u{202e}\"}}\\{}", "x".repeat(65536));
        let shared = || Some(Arc::from(hostile.as_str()));
        let owned = || Some(hostile.clone());
        let record = Record {
            config: shared(),
            client: shared(),
            credential: shared(),
            certificate: shared(),
            principal: shared(),
            user: shared(),
            operator: shared(),
            peer: owned(),
            tenant: shared(),
            mapping: shared(),
            console: shared(),
            target: Some(Target {
                uid: None,
                name: shared(),
                role: shared(),
            }),
            operation: Some(hostile.clone().into()),
            path: owned(),
            rule: shared(),
            reason: owned(),
            subject: Some(Box::new(Subject {
                user_uid: owned(),
                provider: owned(),
                scopes: vec![hostile.clone()],
                description: owned(),
                key_fingerprint: owned(),
                status: owned(),
                ..Subject::default()
            })),
            detail: Some(hostile.clone().into()),
            ..Record::default()
        };
        let body = record.body(Kind::Request, Timestamp(0), None);
        let text = std::str::from_utf8(&body).unwrap().trim_end_matches('\n');
        assert!(
            !text
                .chars()
                .any(|char| char.is_control() || char == '\u{202e}')
        );
        let value = read(&record, Kind::Request);
        let mut texts = Vec::new();
        collect(&value, &mut texts);
        let hostile: Vec<_> = texts
            .iter()
            .filter(|text| text.contains('\u{1b}'))
            .collect();
        assert_eq!(hostile.len(), 24);
        assert!(
            hostile
                .iter()
                .all(|text| text.contains("~cut:") && text.len() < 2200)
        );
    }

    fn collect(value: &Value, texts: &mut Vec<String>) {
        match value {
            Value::String(text) => texts.push(text.clone()),
            Value::Array(list) => list.iter().for_each(|it| collect(it, texts)),
            Value::Object(members) => members.values().for_each(|it| collect(it, texts)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    #[test]
    fn hostile_texts_stay_in_their_members_and_within_their_limits() {
        let hostile = format!("\r\n\u{1b}[2J\u{202e}\"}}\\{}", "x".repeat(65536));
        let record = Record {
            path: Some(hostile.clone()),
            query: Some(redact_query(&format!("limit={hostile}"))),
            reason: Some(hostile),
            target: Some(Target::default()),
            subject: Some(Box::new(Subject {
                scopes: vec!["s".to_owned(); 1000],
                login_ids: vec![7; 20],
                ..Subject::default()
            })),
            ..Record::default()
        };
        let value = read(&record, Kind::Intent);
        for (member, limit) in [("path", 2048), ("query", 1024), ("reason", 512)] {
            let kept = value[member]
                .as_str()
                .unwrap()
                .split("~cut:")
                .next()
                .unwrap();
            assert_eq!(kept.len(), limit, "{member}");
        }
        assert_eq!(value["target"], json!({}));
        assert_eq!(value["subject"]["scopes"].as_array().unwrap().len(), 17);
        assert_eq!(value["subject"]["scopes"][16], "~more:984");
        assert_eq!(value["subject"]["login_ids"][16], "~more:4");
    }
}
