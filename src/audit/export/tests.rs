mod schemas;

use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::audit::{Action, Code, Kind, Record, Subject, Target, redact_query};
use crate::client::LoginId;
use crate::clock::Timestamp;
use crate::request::RequestId;
use crate::secret::Secret;

const ORIGIN: &str = "vspc-gateway/0123456789abcdef";

fn exported(format: Format, line: &[u8]) -> Value {
    let mut out = Vec::new();
    write(format, ORIGIN, line, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains(is_hidden), "{text:?}");
    serde_json::from_str(&text).unwrap()
}

fn faults(format: Format, event: &Value) -> Vec<String> {
    match format {
        Format::CloudEvents => schemas::of_cloudevents(event),
        Format::Ecs => schemas::of_ecs(event),
        Format::Ocsf => schemas::of_ocsf(event),
    }
}

fn line(seq: u64, record: &Record, kind: Kind) -> Vec<u8> {
    let body = record.body(kind, Timestamp(1_772_600_767_000_089), None);
    let mut line = format!("{{\"seq\":{seq},").into_bytes();
    line.extend_from_slice(body.strip_suffix(b"\n").unwrap());
    line
}

fn impersonated() -> Record {
    Record {
        request_id: Some(RequestId::new(Timestamp(0))),
        client: Some("zabbix".into()),
        credential: Some("api_key:12345678".into()),
        source: Some([10, 0, 0, 1].into()),
        tenant: Some("acme".into()),
        console: Some("main".into()),
        target: Some(Target {
            uid: Some(Uuid::from_u128(1)),
            name: Some("Acme\\ann".into()),
            role: None,
        }),
        operation: Some("GET /organizations/companies".into()),
        method: Some(Method::GET),
        path: Some("/api/v3/organizations/companies".to_owned()),
        query: Some(redact_query("limit=5&filter=x")),
        rule: Some("clients.zabbix.allow[0]".into()),
        reason: Some("ticket 7".to_owned()),
        code: Some(Code::Ok),
        status: Some(200),
        bytes_in: Some(0),
        bytes_out: Some(12),
        duration_us: Some(34_567),
        attempts: Some(1),
        ..Record::default()
    }
}

#[test]
fn an_impersonated_call_has_its_members_where_each_form_has_them() {
    let record = impersonated();
    let line = line(7, &record, Kind::Request);
    let id = record.request_id.unwrap();
    let ecs = exported(Format::Ecs, &line);
    let expected = json!({
        "@timestamp": "2026-03-04T05:06:07.000089Z",
        "ecs": {"version": "8.11.0"},
        "message": "GET /organizations/companies: ok (200)",
        "observer": {"name": ORIGIN, "type": "proxy", "product": "vspc-gateway"},
        "related": {"ip": ["10.0.0.1"], "user": ["zabbix", "Acme\\ann"]},
        "event": {
            "kind": "event", "category": ["api"], "type": ["access"], "outcome": "success",
            "module": "vspc_gateway", "dataset": "vspc_gateway.audit", "id": format!("{ORIGIN}#7"),
            "sequence": 7, "action": "GET /organizations/companies", "code": "ok", "reason": "ticket 7",
            "duration": 34_567_000,
        },
        "http": {
            "request": {"id": id.as_str(), "method": "GET", "body": {"bytes": 0}},
            "response": {"status_code": 200, "body": {"bytes": 12}},
        },
        "url": {"path": "/api/v3/organizations/companies", "query": "limit=5&filter"},
        "user": {
            "name": "zabbix",
            "effective": {"id": Uuid::from_u128(1).to_string(), "name": "Acme\\ann"},
        },
        "source": {"ip": "10.0.0.1", "address": "10.0.0.1"},
        "organization": {"name": "acme"},
        "rule": {"name": "clients.zabbix.allow[0]"},
        "vspc": {
            "kind": "request", "client": "zabbix", "credential": "api_key:12345678", "tenant": "acme",
            "console": "main", "attempts": 1,
        },
    });
    assert_eq!(ecs, expected);

    let ocsf = exported(Format::Ocsf, &line);
    let uid = Uuid::from_u128(1).to_string();
    for (member, value) in [
        ("/class_uid", json!(6003)),
        ("/activity_id", json!(2)),
        ("/type_uid", json!(600_302)),
        ("/severity_id", json!(1)),
        ("/status_id", json!(1)),
        ("/status_code", json!("ok")),
        ("/time", json!(1_772_600_767_000_i64)),
        ("/duration", json!(34)),
        ("/metadata/uid", json!(format!("{ORIGIN}#7"))),
        ("/metadata/tenant_uid", json!("acme")),
        ("/actor/user/name", json!("zabbix")),
        ("/resources/0/uid", json!(uid)),
        ("/resources/0/owner/org/name", json!("acme")),
        ("/src_endpoint/ip", json!("10.0.0.1")),
        ("/api/response/code", json!(200)),
        ("/api/service/name", json!("main")),
        ("/http_request/url/query_string", json!("limit=5&filter")),
        ("/unmapped/reason", json!("ticket 7")),
        ("/unmapped/target/uid", json!(uid)),
    ] {
        assert_eq!(ocsf.pointer(member), Some(&value), "{member} of {ocsf}");
    }
}

#[test]
fn the_data_of_a_cloud_event_is_the_record_byte_for_byte() {
    let line = line(7, &impersonated(), Kind::Request);
    let mut out = b"before".to_vec();
    write(Format::CloudEvents, "a b:c/ä#", &line, &mut out).unwrap();
    let mut end = b",\"data\":".to_vec();
    end.extend_from_slice(&line);
    end.push(b'}');
    assert!(out.starts_with(b"before{") && out.ends_with(&end));
    let event: Value = serde_json::from_slice(out.strip_prefix(b"before").unwrap()).unwrap();
    assert_eq!(event["id"], "a b:c/ä##7");
    assert_eq!(event["source"], "a%20b%3Ac/%C3%A4%23");
    assert_eq!(event["type"], "vspc-gateway.audit.request");
    assert_eq!(event["subject"], "tenant/acme");
    assert_eq!(event["time"], "2026-03-04T05:06:07.000089Z");
    assert_eq!(schemas::of_cloudevents(&event), Vec::<String>::new());
}

#[test]
fn each_sort_of_event_has_its_class() {
    let subject = |action| Subject {
        action: Some(action),
        user_uid: Some("u".to_owned()),
        ..Subject::default()
    };
    let call = |operation: &'static str, method: Method, action: Option<Action>| Record {
        operation: Some(operation.into()),
        method: Some(method),
        subject: action.map(|action| Box::new(subject(action))),
        code: Some(Code::Ok),
        ..Record::default()
    };
    let named = |operation: &'static str| call(operation, Method::POST, None);
    let operated = Record {
        operator: Some("ann@host".into()),
        peer: Some("uid 0".to_owned()),
        ..named("freeze")
    };
    let key = call(
        "POST /users/{userUid}/logins/apikey",
        Method::POST,
        Some(Action::Created),
    );
    let device = call(
        "POST /users/{userUid}/logins/totp",
        Method::POST,
        Some(Action::Created),
    );
    let gone = call(
        "DELETE /users/{userUid}/logins/{userLoginId}",
        Method::DELETE,
        Some(Action::Deleted),
    );
    let revoked = call(
        "DELETE /users/{userUid}/tokens",
        Method::DELETE,
        Some(Action::Deleted),
    );
    let listed = call("GET /users/logins", Method::GET, Some(Action::Listed));
    for (record, kind, class, activity, category, types) in [
        (
            named("as"),
            Kind::Token,
            3002,
            4,
            "authentication",
            json!(["start"]),
        ),
        (
            named("login"),
            Kind::Token,
            3002,
            1,
            "authentication",
            json!(["start"]),
        ),
        (
            named("refresh"),
            Kind::Token,
            3002,
            5,
            "authentication",
            json!(["info"]),
        ),
        (
            named("POST /token"),
            Kind::Request,
            3002,
            1,
            "authentication",
            json!(["start"]),
        ),
        (
            key,
            Kind::Request,
            3001,
            1,
            "iam",
            json!(["user", "creation"]),
        ),
        (
            device,
            Kind::Intent,
            3001,
            10,
            "iam",
            json!(["user", "creation"]),
        ),
        (
            gone,
            Kind::Request,
            3001,
            6,
            "iam",
            json!(["user", "deletion"]),
        ),
        (
            revoked,
            Kind::Request,
            3001,
            99,
            "iam",
            json!(["user", "change"]),
        ),
        (listed, Kind::Request, 6003, 2, "api", json!(["access"])),
        (
            call("x", Method::PATCH, None),
            Kind::Request,
            6003,
            3,
            "api",
            json!(["change"]),
        ),
        (operated, Kind::Admin, 6003, 99, "api", json!(["admin"])),
        (
            named("config.loaded"),
            Kind::Config,
            6002,
            99,
            "configuration",
            json!(["change"]),
        ),
        (
            named("process.started"),
            Kind::Admin,
            6002,
            3,
            "process",
            json!(["start"]),
        ),
        (
            named("process.stopped"),
            Kind::Admin,
            6002,
            4,
            "process",
            json!(["end"]),
        ),
        (
            named("state.begun"),
            Kind::Admin,
            6002,
            99,
            "process",
            json!(["info"]),
        ),
    ] {
        let told = record.operation.clone();
        let line = line(1, &record, kind);
        let ocsf = exported(Format::Ocsf, &line);
        let found = (&ocsf["class_uid"], &ocsf["activity_id"], &ocsf["type_uid"]);
        let expected = (
            &json!(class),
            &json!(activity),
            &json!(class * 100 + activity),
        );
        assert_eq!(found, expected, "{told:?}");
        let ecs = exported(Format::Ecs, &line);
        assert_eq!(ecs["event"]["category"], json!([category]), "{told:?}");
        assert_eq!(ecs["event"]["type"], types, "{told:?}");
        for format in Format::ALL {
            let event = exported(format, &line);
            assert_eq!(faults(format, &event), Vec::<String>::new(), "{event}");
        }
    }
}

#[test]
fn how_it_ended_is_told_in_the_words_of_each_form() {
    for (code, status, kind, ecs_outcome, status_id, severity_id) in [
        (Code::Ok, Some(200), Kind::Request, "success", 1, 1),
        (Code::Ok, Some(404), Kind::Request, "failure", 2, 2),
        (
            Code::Refused("tenant_denied"),
            Some(403),
            Kind::Request,
            "failure",
            2,
            2,
        ),
        (Code::Aborted, None, Kind::Request, "unknown", 0, 1),
        (Code::Ok, None, Kind::Intent, "unknown", 0, 1),
        (Code::Refused("refused"), None, Kind::Token, "failure", 2, 2),
    ] {
        let record = Record {
            code: Some(code),
            status,
            detail: Some("why".into()),
            ..Record::default()
        };
        let line = line(1, &record, kind);
        let ecs = exported(Format::Ecs, &line);
        assert_eq!(ecs["event"]["outcome"], ecs_outcome, "{ecs}");
        let is_told = ecs.pointer("/error/message") == Some(&json!("why"));
        assert_eq!(is_told, ecs_outcome == "failure", "{ecs}");
        let ocsf = exported(Format::Ocsf, &line);
        let found = (&ocsf["status_id"], &ocsf["severity_id"]);
        assert_eq!(found, (&json!(status_id), &json!(severity_id)), "{ocsf}");
    }
}

#[test]
fn a_schema_that_is_not_kept_is_noticed() {
    let line = line(7, &impersonated(), Kind::Request);
    for (format, member, wrong) in [
        (Format::CloudEvents, "/source", json!("a b")),
        (Format::CloudEvents, "/time", json!("yesterday")),
        (Format::Ecs, "/event/category", json!(["gateway"])),
        (Format::Ecs, "/event/type", json!(["end", "indicator"])),
        (Format::Ecs, "/source/ip", json!("here")),
        (Format::Ecs, "/user", json!({"nick": "x"})),
        (Format::Ocsf, "/activity_id", json!(5)),
        (Format::Ocsf, "/metadata", json!({"version": "1.3.0"})),
        (Format::Ocsf, "/actor", json!({})),
        (
            Format::Ocsf,
            "/http_request",
            json!({"http_method": "PATCH"}),
        ),
    ] {
        let mut event = exported(format, &line);
        assert_eq!(faults(format, &event), Vec::<String>::new());
        *event.pointer_mut(member).unwrap() = wrong;
        assert!(!faults(format, &event).is_empty(), "{member}");
    }
}

#[test]
fn members_of_another_version_go_along() {
    let line = br#"{"seq":9,"time":"2026-03-04T05:06:07Z","kind":"new","status":"odd","range":{"first":1},"source":"here","code":7,"bytes_in":18446744073709551615,"target":[1],"none":null}"#;
    for (format, rest) in [(Format::Ecs, "vspc"), (Format::Ocsf, "unmapped")] {
        let event = exported(format, line);
        assert_eq!(faults(format, &event), Vec::<String>::new());
        let rest = &event[rest];
        assert_eq!(rest["range"], json!({"first": 1}));
        assert_eq!(rest["status"], "odd");
        assert_eq!(rest["source"], "here");
        assert_eq!(rest["code"], 7);
        assert_eq!(rest["bytes_in"], u64::MAX);
        assert!(rest.get("none").is_none());
    }
}

#[test]
fn what_is_no_record_is_refused_and_nothing_is_written() {
    for line in [
        "",
        "7",
        "[]",
        r#"{"seq":1}"#,
        r#"{"time":"2026-03-04T05:06:07Z"}"#,
        r#"{"seq":-1,"time":"2026-03-04T05:06:07Z"}"#,
        r#"{"seq":1,"time":"then"}"#,
        r#"{"seq":1,"time":"2026-03-04T05:06:07Z"} x"#,
    ] {
        for format in Format::ALL {
            let mut out = Vec::new();
            let refused = write(format, ORIGIN, line.as_bytes(), &mut out);
            assert_eq!(refused, Err(NotARecord), "{line}");
            assert!(out.is_empty());
        }
    }
}

#[test]
fn a_log_is_called_by_its_present_key() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(origin_of(folder.path()).unwrap(), "vspc-gateway");
    let keys = folder.path().join("verifier.keys");
    fs::write(
        &keys,
        "old+01234567+AQ==\nvspc-gateway/ff+89abcdef+A+Q=\n\n",
    )
    .unwrap();
    assert_eq!(origin_of(folder.path()).unwrap(), "vspc-gateway/ff");
}

// Boxed, since strategies are as large as all that they are made of, and live on the stack.
fn text() -> BoxedStrategy<String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,40}",
        Just(String::new()),
        Just("\u{202e}\u{1b}\"\\\n".repeat(200)),
    ]
    .boxed()
}

fn shared() -> BoxedStrategy<Option<Arc<str>>> {
    of(text().prop_map(Arc::from)).boxed()
}

fn operation() -> BoxedStrategy<String> {
    prop_oneof![
        text(),
        prop::sample::select(vec![
            "as",
            "refresh",
            "login",
            "POST /token",
            "process.started",
            "POST /users/{userUid}/logins/totp",
            "DELETE /users/{userUid}/tokens",
        ])
        .prop_map(str::to_owned),
    ]
    .boxed()
}

fn code() -> impl Strategy<Value = Code> {
    prop::sample::select(vec![
        Code::Aborted,
        Code::Ok,
        Code::Refused("tenant_denied"),
        Code::Unknown,
        Code::UpstreamCut,
    ])
}

prop_compose! {
    fn subject()(
        action in of(prop::sample::select(Action::ALL.to_vec())),
        user_uid in of(text()),
        login_id in of(any::<i64>()),
        provider in of(text()),
        scopes in vec(text(), 0..20),
        read_only in of(any::<bool>()),
        count in of(any::<u64>()),
    ) -> Subject {
        Subject { action, user_uid, login_id, provider, scopes, read_only, count, ..Subject::default() }
    }
}

prop_compose! {
    fn actors()(
        request_id in of(0..1_i64 << 50),
        (client, credential, principal, user) in (shared(), shared(), shared(), shared()),
        session in of(any::<u128>()),
        source in of(any::<IpAddr>()),
        (operator, peer) in (shared(), of(text())),
        (tenant, mapping, console) in (shared(), shared(), shared()),
        target in of((of(any::<u128>()), shared())),
    ) -> Record {
        Record {
            request_id: request_id.map(|at| RequestId::new(Timestamp(at))),
            session: session.map(|id| LoginId(Uuid::from_u128(id))),
            target: target.map(|(uid, name)| Target { uid: uid.map(Uuid::from_u128), name, role: None }),
            client, credential, principal, user, source, operator, peer, tenant, mapping, console,
            ..Record::default()
        }
    }
}

prop_compose! {
    fn record()(
        actors in actors().boxed(),
        operation in of(operation()),
        grant in of(prop::sample::select(vec!["password", "as", "refresh_token"])),
        method in of(prop::sample::select(vec!["GET", "PATCH", "POST", "DELETE", "BREW", "PUT"])),
        (path, query, reason) in (of(text()), of(text()), of(text())),
        rule in shared(),
        code in of(code()),
        status in of(any::<u16>()),
        (bytes_in, bytes_out, duration_us) in (of(any::<u64>()), of(any::<u64>()), of(any::<u64>())),
        lease in any::<bool>(),
        subject in of(subject().boxed()),
        detail in of(text()),
    ) -> Record {
        Record {
            operation: operation.map(Into::into),
            method: method.map(|method| method.parse().unwrap()),
            query: query.map(|query| redact_query(&query)),
            lease: lease.then(|| Secret::new("x".to_owned()).fingerprint()),
            subject: subject.map(Box::new),
            detail: detail.map(Into::into),
            grant, path, reason, rule, code, status, bytes_in, bytes_out, duration_us,
            ..actors
        }
    }
}

/// All texts and numbers of a value, by what they are.
fn leaves(value: &Value, into: &mut Vec<Value>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| leaves(value, into)),
        Value::Object(members) => members.values().for_each(|value| leaves(value, into)),
        Value::Null => {}
        leaf => into.push(leaf.clone()),
    }
}

proptest! {
    #[test]
    fn any_record_is_valid_in_every_form_and_nothing_of_it_is_lost(
        record in record().boxed(),
        kind in prop::sample::select(Kind::ALL.to_vec()),
        seq in 0..1_u64 << 53,
    ) {
        let line = line(seq, &record, kind);
        let mut said = Vec::new();
        let mut value: Value = serde_json::from_slice(&line).unwrap();
        // Told in another unit.
        value.as_object_mut().unwrap().remove("duration_us");
        leaves(&value, &mut said);
        for format in Format::ALL {
            let event = exported(format, &line);
            let faults = faults(format, &event);
            prop_assert!(faults.is_empty(), "{format:?}: {faults:?} in {event}");
            let mut told = Vec::new();
            leaves(&event, &mut told);
            for leaf in &said {
                prop_assert!(told.contains(leaf), "{format:?} does not tell {leaf}: {event}");
            }
        }
    }
}
