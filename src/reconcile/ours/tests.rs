use std::fs;

use super::*;

const FROM: &str = "2026-03-04T00:00:00Z";
const TO: &str = "2026-03-05T00:00:00Z";

/// The acts of a log with these records.
fn acts(records: &[&str], refreshes: Refreshes) -> Ours {
    let folder = tempfile::tempdir().unwrap();
    let mut log = String::new();
    for (seq, record) in records.iter().enumerate() {
        let time = format!("2026-03-04T05:06:{seq:02}.000000Z");
        log += &format!("{{\"seq\":{seq},\"time\":\"{time}\",{record}}}\n");
    }
    fs::write(folder.path().join(format!("{:020}.jsonl", 0)), log).unwrap();
    let [from, to] = [FROM, TO].map(|text| Timestamp::parse(text).unwrap());
    assert!(begin(folder.path()).unwrap() > Some(from));
    read(folder.path(), (from, to), refreshes).unwrap()
}

fn sorts(records: &[&str], refreshes: Refreshes) -> Vec<(What, bool)> {
    let ours = acts(records, refreshes);
    assert_eq!((ours.unreadable, ours.damage), (0, Vec::<String>::new()));
    ours.acts
        .iter()
        .map(|act| (act.what, act.is_certain))
        .collect()
}

fn of(record: &str) -> Option<(What, bool)> {
    let found = sorts(&[record], Refreshes::Unlogged);
    assert!(found.len() < 2);
    found.first().copied()
}

#[test]
fn exchanges_leave_what_the_console_logs() {
    let token = |operation: &str, code: &str| {
        of(&format!(
            r#""kind":"token","console":"main","operation":"{operation}","code":"{code}""#
        ))
    };
    assert_eq!(token("as", "ok"), Some((What::Impersonation, true)));
    assert_eq!(token("as", "refused"), None);
    assert_eq!(
        token("as", "unavailable"),
        Some((What::Impersonation, false))
    );
    assert_eq!(token("login", "ok"), Some((What::Login, true)));
    assert_eq!(token("login", "refused"), Some((What::FailedLogin, false)));
    assert_eq!(token("login", "malformed"), Some((What::Login, false)));
    assert_eq!(token("refresh", "ok"), None);
    let refresh = r#""kind":"token","console":"main","operation":"refresh","code":"ok""#;
    let found = |refreshes| sorts(&[refresh], refreshes);
    assert_eq!(found(Refreshes::Perhaps), [(What::Login, false)]);
    assert_eq!(found(Refreshes::Logged), [(What::Login, true)]);
}

#[test]
fn requests_leave_what_the_console_logs() {
    let request = |operation: &str, method: &str, rest: &str| {
        of(&format!(
            r#""kind":"request","console":"main","operation":"{operation}","method":"{method}",{rest}"#
        ))
    };
    let created = r#""subject":{"action":"created"},"#;
    let ok = r#""code":"ok","status":200,"attempts":1"#;
    let key = "POST /users/{userUid}/logins/apikey";
    let tokens = "DELETE /users/{userUid}/tokens";
    let of = |rest: &str| request(key, "POST", &format!("{created}{rest}"));
    assert_eq!(of(ok), Some((What::IdentityCreated, true)));
    assert_eq!(
        of(r#""code":"ok","status":202"#),
        Some((What::IdentityCreated, false))
    );
    assert_eq!(of(r#""code":"ok","status":403"#), None);
    assert_eq!(
        of(r#""code":"ok","status":520"#),
        Some((What::IdentityCreated, false))
    );
    assert_eq!(of(r#""code":"frozen","status":403"#), None);
    let cut = r#""code":"upstream_timeout","status":504,"attempts":1"#;
    assert_eq!(of(cut), Some((What::IdentityCreated, false)));
    assert_eq!(
        of(r#""code":"aborted","status":null"#),
        Some((What::IdentityCreated, false))
    );
    let deleted = format!(r#""subject":{{"action":"deleted"}},{ok}"#);
    assert_eq!(
        request(tokens, "DELETE", &deleted),
        Some((What::Revocation, true))
    );
    let login = "DELETE /users/{userUid}/logins/{userLoginId}";
    assert_eq!(
        request(login, "DELETE", &deleted),
        Some((What::IdentityRemoved, true))
    );
    assert_eq!(
        request("PATCH /users/{id}", "PATCH", ok),
        Some((What::User, false))
    );
    assert_eq!(request("GET /users", "GET", ok), None);
    let passed = format!(r#""user":"Acme\\ann",{ok}"#);
    assert_eq!(
        request("POST /token", "POST", &passed),
        Some((What::Login, false))
    );
    let own = format!(r#""client":"zabbix",{ok}"#);
    assert_eq!(request("POST /token", "POST", &own), None);
}

#[test]
fn an_intent_counts_where_nobody_knows_how_the_request_ended() {
    let intent = |id: &str| {
        format!(
            r#""kind":"intent","request_id":"{id}","console":"main","operation":"DELETE /users/{{userUid}}/tokens","method":"DELETE""#
        )
    };
    let outcome = |id: &str, rest: &str| intent(id).replace("intent", "request") + rest;
    let (a, b, c) = (intent("a"), intent("b"), intent("c"));
    let done = outcome("a", r#","code":"ok","status":200"#);
    let refused = outcome("b", r#","code":"ok","status":403"#);
    let found = sorts(&[&a, &b, &c, &done, &refused], Refreshes::Unlogged);
    assert_eq!(found, [(What::Revocation, true), (What::Revocation, false)]);
}

#[test]
fn by_whom_is_told_as_far_as_records_tell() {
    let uid = Uuid::from_u128(7);
    let login = r#""kind":"token","console":"main","operation":"login","code":"ok""#;
    for (rest, who) in [
        (String::new(), Who::Service),
        (r#","tenant":"acme""#.to_owned(), Who::Tenant("acme".into())),
        (
            r#","user":"Acme\\ann""#.to_owned(),
            Who::User("Acme\\ann".into()),
        ),
        (
            format!(r#","tenant":"acme","target":{{"uid":"{uid}"}}"#),
            Who::As(uid),
        ),
    ] {
        let ours = acts(&[&format!("{login}{rest}")], Refreshes::Unlogged);
        assert_eq!(ours.acts[0].who, who);
    }
}

#[test]
fn what_cannot_be_read_is_counted_and_told() {
    let ours = acts(&[r#""kind":7"#, r#""kind":"token""#], Refreshes::Unlogged);
    assert_eq!(ours.unreadable, 1);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(begin(folder.path()).unwrap(), None);
    let log = "{\"seq\":0,\"time\":\"2026-03-04T05:06:07.000000Z\",\"kind\":\"admin\"}\n{\"seq\":2,\"time\":\"2026-03-04T05:06:08.000000Z\",\"kind\":\"admin\"}\n";
    fs::write(folder.path().join(format!("{:020}.jsonl", 0)), log).unwrap();
    let [from, to] = [FROM, TO].map(|text| Timestamp::parse(text).unwrap());
    let ours = read(folder.path(), (from, to), Refreshes::Unlogged).unwrap();
    assert_eq!(ours.damage.len(), 1, "{:?}", ours.damage);
}
