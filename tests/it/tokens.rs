//! Tokens: obtained once, renewed in time, replaced when the console refuses them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use vspc_simulator::{Action, Fault, Simulator, Switches};

use crate::harness::{
    ACME, ADMIN, Answer, BILLING, World, ZABBIX, configuration, ok, unsigned, unsigned_settings,
    until_true, write_secret,
};

const ME: &str = "/api/v3/users/me";

async fn many(world: &Arc<World>, count: usize, key: &'static str) -> Vec<Answer> {
    let calls = (0..count).map(|_| {
        let world = Arc::clone(world);
        tokio::spawn(async move { world.get(key, "acme", ME).await })
    });
    join_all(calls)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_requests_for_a_cold_tenant_cost_one_login_and_one_impersonation() {
    let world = Arc::new(World::start().await);
    let answers = many(&world, 2000, ZABBIX).await;
    let refused = answers.iter().find(|answer| !ok(answer));
    assert!(refused.is_none(), "{refused:?}");
    assert_eq!(world.grants("password"), (1, 0));
    assert_eq!(world.grants("as"), (1, 0));
    assert_eq!(world.grants("refresh_token"), (0, 0));
    assert_eq!(world.simulator.state().access_tokens_seen, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_401s_is_one_renewal_and_nobody_sees_it() {
    let world = Arc::new(World::start().await);
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    // A token that was just issued is not replaced at once: wait until it may be.
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.simulator.clear();
    world
        .simulator
        .revoke_access_tokens(Some(ACME.parse().unwrap()));
    let answers = many(&world, 200, ZABBIX).await;
    assert!(
        answers.iter().all(ok),
        "{:?}",
        answers.iter().find(|answer| !ok(answer))
    );
    assert_eq!(world.grants("as"), (1, 0));
    assert_eq!(world.grants("password"), (0, 0));
    let twice = world
        .records()
        .into_iter()
        .filter(|record| record["attempts"] == 2)
        .count();
    assert!(twice >= 1);
    // The token was given up once, by its name, and another obtained for that.
    let records = world.records();
    let of = |operation: &str| {
        let records = records
            .iter()
            .filter(|it| it["kind"] == "token" && it["operation"] == operation);
        records.collect::<Vec<_>>()
    };
    let (first, given_up) = (of("as")[0], of("given_up"));
    assert_eq!(given_up.len(), 1);
    assert_eq!(given_up[0]["lease"], first["lease"]);
    assert_eq!(
        (&given_up[0]["cause"], &of("as")[1]["cause"]),
        (&json!("refused"), &json!("refused"))
    );
}

#[tokio::test]
async fn a_small_body_is_sent_again_after_a_401() {
    let world = World::start().await;
    world
        .simulator
        .fault(Fault::new(Action::Unauthorized).under("/api/v3/_test/sink"));
    assert!(ok(&world.get(BILLING, "acme", ME).await));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let headers = [("x-api-key", BILLING)];
    let answer = world
        .call("POST", "/api/v3/_test/sink", &headers, "some body")
        .await;
    assert!(ok(&answer), "{answer:?}");
    let sent: Vec<_> = world
        .reached()
        .into_iter()
        .filter(|seen| seen.target.contains("sink"))
        .collect();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1].body, b"some body");
    assert_ne!(
        sent[0].header("authorization"),
        sent[1].header("authorization")
    );
    let record = world.outcome(&answer).await;
    assert_eq!(
        (&record["attempts"], &record["bytes_in"]),
        (&json!(2), &json!(9))
    );
    assert_eq!(
        world
            .records()
            .iter()
            .filter(|record| record["kind"] == "intent")
            .count(),
        1
    );
}

#[tokio::test]
async fn a_body_too_large_to_be_held_gets_an_honest_answer_and_a_renewed_token() {
    let world = World::start().await;
    assert!(ok(&world.get(BILLING, "acme", ME).await));
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.simulator.revoke_access_tokens(None);
    let body = vec![b'x'; 200_000];
    let headers = [("x-api-key", BILLING)];
    let answer = world
        .call("POST", "/api/v3/_test/sink", &headers, body.clone())
        .await;
    assert_eq!(
        (answer.status, answer.code()),
        (503, "token_renewed"),
        "{answer:?}"
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(ok(&world
        .call("POST", "/api/v3/_test/sink", &headers, body)
        .await));
    assert_eq!(world.grants("as"), (2, 0));
}

/// A console that does not say how long its tokens live, and one that takes its time to give them.
#[tokio::test]
async fn what_is_assumed_of_token_answers_is_set() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let unsaid = json!({"access_token": "x".repeat(40), "refresh_token": "y".repeat(40)});
    let body = unsaid.to_string();
    let answer = Fault::new(Action::TokenBody { body }).under("/api/v3/token");
    simulator.fault(answer.clone().grant("password").times(0));
    let mut late = answer.grant("as").times(0);
    late.delay_ms = 8000;
    simulator.fault(late);
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(folder.path(), &simulator.url(), "", "127.0.0.1:0");
    let tokens = "[tokens]\nanswer_timeout = \"1s\"\nassumed_life = \"7m\"\n";
    let text = text.replace("[mapping]", &format!("{tokens}[mapping]"));
    let world = World::start_in(simulator, folder, &text, |_| {}).await;
    world.get(ZABBIX, "acme", ME).await;
    let call = |operation: &'static str| move |record: &Value| record["operation"] == operation;
    let login = world.record(call("login")).await;
    assert_eq!(
        (&login["code"], &login["detail"]),
        (&json!("ok"), &json!("good for 420 s"))
    );
    let late = world.record(call("as")).await;
    assert_eq!(late["code"], "unavailable", "{late}");
    let took = late["duration_us"].as_u64().unwrap();
    assert!((1_000_000..6_000_000).contains(&took), "{late}");
}

#[tokio::test]
async fn a_console_that_refuses_every_token_is_a_502_and_no_storm() {
    let world = World::start().await;
    world
        .simulator
        .fault(Fault::new(Action::Unauthorized).under(ME).times(0));
    for _ in 0..20 {
        let answer = world.get(ZABBIX, "acme", ME).await;
        assert_eq!(
            (answer.status, answer.code()),
            (502, "upstream_refused_token")
        );
        assert_eq!(
            world.outcome(&answer).await["code"],
            "upstream_refused_token"
        );
    }
    assert!(world.grants("as").0 <= 2, "{:?}", world.grants("as"));
    assert_eq!(world.grants("password"), (1, 0));
}

#[tokio::test]
async fn a_refused_login_is_tried_once_and_told_as_the_gateways_own_trouble() {
    let world = World::start().await;
    write_secret(&world.folder.path().join("password"), "wrong\n");
    for _ in 0..5 {
        let answer = world.get(ZABBIX, "acme", ME).await;
        assert_eq!((answer.status, answer.code()), (502, "login_refused"));
        assert!(!String::from_utf8_lossy(&answer.body).contains("svc-gateway"));
        let record = world.outcome(&answer).await;
        assert!(
            record["detail"]
                .as_str()
                .unwrap()
                .contains("invalid_request"),
            "{record}"
        );
    }
    assert_eq!(world.grants("password"), (0, 1));
    assert_eq!(world.reached(), []);
}

#[tokio::test]
async fn an_impersonation_that_vspc_refuses_is_a_502_for_that_tenant_only() {
    let world = World::start().await;
    let answer = world.get(ADMIN, "disabled", ME).await;
    assert_eq!(
        (answer.status, answer.code()),
        (502, "login_refused"),
        "{answer:?}"
    );
    assert!(ok(&world.get(ADMIN, "acme", ME).await));
    assert_eq!(world.grants("password"), (1, 0));
}

#[tokio::test]
async fn a_token_endpoint_that_is_down_is_a_503_and_a_held_token_goes_on() {
    let world = World::start().await;
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    world.simulator.fault(
        Fault::new(Action::ServerError)
            .under("/api/v3/token")
            .times(0),
    );
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    let answer = world.get(ZABBIX, "globex", ME).await;
    assert_eq!((answer.status, answer.code()), (503, "token_unavailable"));
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn answers_of_the_token_endpoint_that_are_no_tokens_are_not_used() {
    for body in [
        r#"{"access_token":null,"mfa_token":"m","expires_in":3600}"#,
        r#"{"access_token":"","expires_in":3600}"#,
        r#"{"access_token":"a\r\nX-Evil: 1","expires_in":3600}"#,
        r#"{"access_token":"t","expires_in":-1}"#,
        "<html>",
    ] {
        let world = World::start().await;
        let action = Action::TokenBody {
            body: body.to_owned(),
        };
        world
            .simulator
            .fault(Fault::new(action).grant("as").times(0));
        let answer = world.get(ZABBIX, "acme", ME).await;
        assert!(
            answer.status == 503 || answer.status == 502,
            "{body}: {answer:?}"
        );
        assert_eq!(world.reached(), [], "{body}");
    }
}

#[tokio::test]
async fn tokens_are_renewed_before_anybody_waits() {
    let world = World::start().await;
    world
        .simulator
        .set_lifetimes(Duration::from_secs(4), Duration::from_secs(600));
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    until_true(|| world.grants("as").0 >= 2).await;
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    assert_eq!(
        world.simulator.state().unauthorized.values().sum::<u64>(),
        0
    );
    assert_eq!(world.grants("password"), (1, 0));
}

#[tokio::test]
async fn a_read_only_tenant_asks_for_read_only_tokens() {
    let world = World::start().await;
    assert!(ok(&world.get(ADMIN, "viewed", ME).await));
    assert!(ok(&world.get(ADMIN, "globex", ME).await));
    let asked: Vec<bool> = world
        .simulator
        .requests()
        .iter()
        .filter(|seen| seen.grant == Some("as"))
        .map(|seen| String::from_utf8_lossy(&seen.body).contains("readOnly=true"))
        .collect();
    assert_eq!(asked, [true, false]);
}

/// What the gateway drops when somebody revokes a user's tokens through it.
#[tokio::test]
async fn a_revocation_seen_in_passing_drops_the_users_token() {
    let world = World::start().await;
    assert!(ok(&world.get(BILLING, "acme", ME).await));
    let path = format!("/api/v3/users/{ACME}/tokens");
    let answer = world
        .call("DELETE", &path, &[("x-api-key", BILLING)], "")
        .await;
    assert!(ok(&answer), "{answer:?}");
    assert!(ok(&world.get(BILLING, "acme", ME).await));
    assert_eq!(world.grants("as"), (2, 0));
    assert_eq!(
        world.simulator.state().unauthorized.values().sum::<u64>(),
        0
    );
}

/// A console that mixes its users up must not make the gateway act as the wrong one.
#[tokio::test]
async fn a_token_of_another_user_reaches_nothing() {
    let switches = Switches {
        as_confuses: true,
        ..unsigned()
    };
    let world = World::start_with("", switches).await;
    let answer = world.get(ADMIN, "acme", ME).await;
    assert_eq!((answer.status, answer.code()), (502, "wrong_subject"));
    assert!(world.reached().is_empty());
    let fits = |it: &Value| it["kind"] == "token" && it["code"] == "wrong_subject";
    let record = world.record(fits).await;
    assert_eq!(record["target"]["uid"], ACME);
    // It is not asked for again at once.
    assert_eq!(world.get(ADMIN, "acme", ME).await.code(), "wrong_subject");
    assert_eq!(world.grants("as"), (1, 0));
}
