//! What the log says, and when it says it.

use std::time::Duration;

use serde_json::{Value, json};
use vspc_simulator::{Action, Fault};

use crate::harness::{ACME, BILLING, World, ZABBIX, ok, until};

/// While the console works on a request that changes something, its intent is on the disk already.
#[tokio::test]
async fn an_intent_is_on_the_disk_before_the_console_sees_the_request() {
    let world = World::start().await;
    let slow = Fault::new(Action::Delay)
        .under("/api/v3/_test")
        .delay(Duration::from_millis(300));
    world.simulator.fault(slow.times(0));
    for method in ["POST", "PUT"] {
        let headers = [("x-api-key", BILLING)];
        let call = world.call(method, "/api/v3/_test/echo", &headers, "x");
        let seen = until(|| {
            let seen = world
                .reached()
                .into_iter()
                .find(|seen| seen.method == method)?;
            Some((seen, world.records()))
        });
        let (answer, (seen, on_disk)) = tokio::join!(call, seen);
        assert!(ok(&answer));
        assert_eq!(seen.status, None, "the console was still at work");
        let intent = on_disk
            .iter()
            .find(|record| record["kind"] == "intent" && record["method"] == method)
            .expect("the intent was not on the disk");
        assert_eq!(intent["request_id"], answer.request_id());
        assert_eq!(intent["client"], "billing");
        assert_eq!(intent["target"]["uid"], ACME);
        assert_eq!(world.outcome(&answer).await["code"], "ok");
    }
}

#[tokio::test]
async fn reads_have_one_record_and_changes_have_two() {
    let world = World::start().await;
    let read = world.get(ZABBIX, "acme", "/api/v3/users/me").await;
    let headers = [("x-api-key", BILLING)];
    let change = world
        .call("POST", "/api/v3/_test/echo", &headers, "x")
        .await;
    let records = world.stop().await;
    let kinds = |id: &str| -> Vec<Value> {
        records
            .iter()
            .filter(|r| r["request_id"] == id)
            .map(|r| r["kind"].clone())
            .collect()
    };
    assert_eq!(kinds(read.request_id()), ["request"]);
    assert_eq!(kinds(change.request_id()), ["intent", "request"]);
    for (number, record) in records.iter().enumerate() {
        assert_eq!(record["seq"], number);
    }
}

#[tokio::test]
async fn a_record_says_who_acted_for_whom_and_what_was_done() {
    let world = World::start().await;
    let path =
        "/api/v3/organizations/companies/49dcc517-a32c-438e-b53d-ee0084dc7feb?limit=5&filter=x";
    let answer = world.get(ZABBIX, "1001", path).await;
    let record = world.outcome(&answer).await;
    for (member, expected) in [
        ("kind", json!("request")),
        ("client", json!("zabbix")),
        ("source", json!("127.0.0.1")),
        ("tenant", json!("acme")),
        ("console", json!("main")),
        ("target", json!({"uid": ACME})),
        ("operation", json!("GET /organizations/companies/{id}")),
        ("method", json!("GET")),
        (
            "path",
            json!("/api/v3/organizations/companies/49dcc517-a32c-438e-b53d-ee0084dc7feb"),
        ),
        ("query", json!("limit=5&filter")),
        ("rule", json!("clients.zabbix.allow[0]")),
        ("status", json!(answer.status)),
        ("bytes_in", json!(0)),
        ("bytes_out", json!(answer.body.len())),
        ("attempts", json!(1)),
    ] {
        assert_eq!(record[member], expected, "{member}: {record}");
    }
    assert_eq!(record["lease"].as_str().unwrap().len(), 16);
    let token = world
        .record(|record| record["kind"] == "token" && record["operation"] == "as")
        .await;
    assert_eq!(token["lease"], record["lease"]);
    assert_eq!(token["target"]["uid"], ACME);
}

#[tokio::test]
async fn the_logins_family_is_recorded_with_its_identities_and_without_its_secrets() {
    let world = World::start().await;
    let headers = [
        ("x-api-key", BILLING),
        ("content-type", "application/octet-stream"),
    ];
    let base = format!("/api/v3/users/{ACME}/logins");
    let call = async |method: &str, path: String, body: &'static str| {
        let answer = world.call(method, &path, &headers, body).await;
        assert!(ok(&answer), "{method} {path}: {answer:?}");
        let record = world.outcome(&answer).await;
        (answer.json(), record)
    };
    let create =
        format!("{base}/apikey?description=nightly%20job&scopes=rest&isReadAccessOnly=true");
    let (made, record) = call("POST", create, "").await;
    let secret = made["data"]["parameters"].as_str().unwrap().to_owned();
    let id = made["data"]["id"].as_i64().unwrap();
    assert!(secret.len() >= 64);
    let expected = json!({"action": "created", "user_uid": ACME, "login_id": id, "provider": "AK",
        "scopes": ["rest"], "read_only": true, "description": "nightly job", "status": "enabled"});
    assert_eq!(record["subject"], expected);
    assert_eq!(record["operation"], "POST /users/{userUid}/logins/apikey");

    let key = "<RSAKeyValue><Modulus>urIs1X6dTVE=</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>";
    let create = format!("{base}/asymmetricalgorithm?description=pair&scopes=rest");
    let (made, record) = call("POST", create, key).await;
    assert_eq!(record["subject"]["provider"], "AA");
    assert_eq!(record["subject"]["login_id"], made["data"]["id"]);
    let fingerprint = vspc_gateway::vspc::logins::key_fingerprint(key.as_bytes());
    assert_eq!(record["subject"]["key_fingerprint"], fingerprint);

    let pair = made["data"]["id"].as_i64().unwrap();
    let (page, record) = call("GET", "/api/v3/users/logins?limit=50".to_owned(), "").await;
    assert_eq!(record["subject"]["action"], "listed");
    assert_eq!(
        record["subject"]["count"],
        page["data"].as_array().unwrap().len()
    );

    let ids = page["data"].as_array().unwrap().iter();
    let ids: Vec<Value> = ids.map(|login| login["id"].clone()).collect();
    assert_eq!(record["subject"]["login_ids"], json!(ids));

    let (_, record) = call("GET", format!("{base}/{pair}"), "").await;
    assert_eq!(record["subject"]["action"], "read");
    // The console shows the public key.
    assert_eq!(record["subject"]["key_fingerprint"], fingerprint);
    assert_eq!(record["subject"]["read_only"], false);
    let patch = r#"[{"op":"replace","path":"/status","value":"disabled"}]"#;
    let answer = world
        .call(
            "PATCH",
            &format!("{base}/{id}"),
            &[("x-api-key", BILLING), ("content-type", "application/json")],
            patch,
        )
        .await;
    assert!(ok(&answer), "{answer:?}");
    let changed = world.outcome(&answer).await["subject"].clone();
    assert_eq!(changed["action"], "changed");
    assert_eq!(changed["status"], "disabled");
    assert_eq!(changed["provider"], "AK");
    // A deletion's answer says nothing: what is known is what answers before have said.
    let (_, record) = call("DELETE", format!("{base}/{id}"), "").await;
    let expected = json!({"action": "deleted", "user_uid": ACME, "login_id": id, "provider": "AK",
        "scopes": ["rest"], "read_only": true, "description": "nightly job", "remembered": true});
    assert_eq!(record["subject"], expected);
    let (_, record) = call("DELETE", format!("{base}/{pair}"), "").await;
    assert_eq!(record["subject"]["key_fingerprint"], fingerprint);
    let intent = |record: &Value| {
        record["kind"] == "intent"
            && record["subject"]["login_id"] == pair
            && record["method"] == "DELETE"
    };
    let intent = world.record(intent).await;
    assert_eq!(intent["subject"], record["subject"]);
    // It is gone, and with it what was known.
    let again = format!("{base}/{pair}");
    let answer = world.call("DELETE", &again, &headers, "").await;
    let expected = json!({"action": "deleted", "user_uid": ACME, "login_id": pair});
    assert_eq!(world.outcome(&answer).await["subject"], expected);

    let log =
        std::fs::read_to_string(world.audit_folder().join(format!("{:020}.jsonl", 0))).unwrap();
    assert!(!log.contains(&secret));
    assert!(!log.contains("urIs1X6dTVE"));
}

/// The console may have taken the key: the record has its fingerprint whatever came back.
#[tokio::test]
async fn a_submitted_key_is_recorded_even_when_the_answer_is_lost() {
    let world = World::start().await;
    let path = format!("/api/v3/users/{ACME}/logins/asymmetricalgorithm");
    let lost = Fault::new(Action::CutBeforeHead)
        .under(&path)
        .after_effect();
    world.simulator.fault(lost);
    let headers = [
        ("x-api-key", BILLING),
        ("content-type", "application/octet-stream"),
    ];
    let target = format!("{path}?description=pair&scopes=rest");
    let answer = world.call("POST", &target, &headers, "some key").await;
    assert_eq!(answer.code(), "upstream_unreachable");
    let fingerprint = vspc_gateway::vspc::logins::key_fingerprint(b"some key");
    assert_eq!(
        world.outcome(&answer).await["subject"]["key_fingerprint"],
        fingerprint
    );
}

#[tokio::test]
async fn identities_are_read_from_answers_that_are_not_packed() {
    let world = World::start().await;
    let headers = [("x-api-key", BILLING), ("accept-encoding", "gzip, br")];
    assert!(ok(&world
        .call("GET", "/api/v3/users/logins", &headers, "")
        .await));
    let asked = world.reached().pop().unwrap();
    assert_eq!(asked.header("accept-encoding"), Some("identity"));
    assert!(ok(&world
        .call("GET", "/api/v3/users/me", &headers, "")
        .await));
    let asked = world.reached().pop().unwrap();
    assert_eq!(asked.header("accept-encoding"), Some("gzip, br"));
}

/// Another process holds the lock and does nothing: what may change something is refused in time.
#[tokio::test]
async fn a_lock_that_is_never_released_refuses_instead_of_hanging() {
    let world = World::start().await;
    assert!(ok(&world.get(BILLING, "acme", "/api/v3/users/me").await));
    let lock = std::fs::File::open(world.audit_folder().join("lock")).unwrap();
    lock.lock().unwrap();
    world.simulator.clear();
    let headers = [("x-api-key", BILLING)];
    let answer = world
        .call("POST", "/api/v3/_test/echo", &headers, "x")
        .await;
    assert_eq!((answer.status, answer.code()), (503, "audit_unavailable"));
    assert_eq!(world.reached(), []);
    lock.unlock().unwrap();
    let healed = async {
        while !ok(&world
            .call("POST", "/api/v3/_test/echo", &headers, "x")
            .await)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), healed)
        .await
        .expect("it never healed");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_an_aborted_record() {
    let world = World::start().await;
    world.simulator.fault(
        Fault::new(Action::Delay)
            .under("/api/v3/_test")
            .delay(Duration::from_secs(30)),
    );
    let headers = [("x-api-key", BILLING)];
    {
        let call = world.call("POST", "/api/v3/_test/echo", &headers, "x");
        let reached = until(|| (!world.reached().is_empty()).then_some(()));
        tokio::select! {
            answer = call => panic!("{answer:?}"),
            () = reached => {}
        }
    }
    let record = world.record(|record| record["code"] == "aborted").await;
    assert_eq!(
        (&record["kind"], &record["status"]),
        (&json!("request"), &json!(null))
    );
    assert_eq!(record["client"], "billing");
}

/// A record may hold what a caller sent, never in a form that could be taken for another record.
#[tokio::test]
async fn hostile_paths_stay_in_one_line() {
    let world = World::start().await;
    let path = "/api/v3/%22%7d%0d%0a%1b%5b31m%e2%80%ae/users";
    let answer = world.get(ZABBIX, "acme", path).await;
    assert_eq!(answer.code(), "ambiguous_path");
    assert_eq!(world.outcome(&answer).await["path"], path);
}

/// Nothing is answered while nothing can be recorded, and it heals by itself.
#[tokio::test]
async fn a_log_that_cannot_be_written_refuses_everything_until_it_can() {
    let world = World::start().await;
    assert!(ok(&world.get(ZABBIX, "acme", "/api/v3/users/me").await));
    let (here, gone) = (world.audit_folder(), world.folder.path().join("gone"));
    std::fs::rename(&here, &gone).unwrap();
    let refused = until_refused(&world).await;
    assert_eq!((refused.status, refused.code()), (503, "audit_unavailable"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(
        refused.json()["errors"][0]["message"]
            .as_str()
            .unwrap()
            .starts_with("audit_unavailable")
    );
    world.simulator.clear();
    let headers = [("x-api-key", BILLING)];
    let change = world
        .call("POST", "/api/v3/_test/echo", &headers, "x")
        .await;
    assert_eq!(change.code(), "audit_unavailable");
    assert_eq!(world.reached(), []);
    std::fs::rename(&gone, &here).unwrap();
    let healed = async {
        while !ok(&world.get(ZABBIX, "acme", "/api/v3/users/me").await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), healed)
        .await
        .expect("it never healed");
}

async fn until_refused(world: &World) -> crate::harness::Answer {
    for _ in 0..500 {
        let answer = world.get(ZABBIX, "acme", "/api/v3/users/me").await;
        if !ok(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("requests are served although nothing can be recorded");
}
