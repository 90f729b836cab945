//! Tenants with an account of their own: they log in by themselves and impersonate nobody.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use vspc_gateway::token::Which;
use vspc_simulator::{Action, Fault, Settings, Simulator, Switches, seed};

use crate::harness::{ADMIN, World, configuration, ok, unsigned, until_true, write_secret};
use crate::own_logins::api_key;

const ME: &str = "/api/v3/users/me";
const OWN: &str = r#"
[[tenants]]
name = "initech"
login = { grant = "password", username = 'Initech\owner', password = { file = "initech" } }
[[tenants]]
name = "watched"
read_only = true
login = { grant = "password", username = 'Initech\administrator', password = { file = "watched" } }
[[tenants]]
name = "keyed"
login = { api_key = { file = "key" } }
"#;

fn with_accounts(text: &str) -> String {
    text.replacen("[mapping]", &format!("{OWN}[mapping]"), 1)
}

async fn start(switches: Switches) -> World {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        switches,
        ..Settings::default()
    };
    let simulator = Simulator::start(settings).await.unwrap();
    let key = api_key(&simulator, &seed::INITECH_OWNER).await;
    for (name, secret) in [
        ("initech", seed::INITECH_OWNER.password),
        ("watched", seed::INITECH_ADMINISTRATOR.password),
        ("key", &key),
    ] {
        write_secret(&folder.path().join(name), secret);
    }
    let text = configuration(folder.path(), &simulator.url(), "", "127.0.0.1:0");
    World::start_in(simulator, folder, &with_accounts(&text), |_| {}).await
}

fn user(world: &World) -> String {
    let seen = world.reached().pop().unwrap();
    seen.subject.unwrap().to_string()
}

#[tokio::test]
async fn a_tenant_with_an_account_of_its_own_acts_as_itself() {
    let world = start(unsigned()).await;
    let answer = world.get(ADMIN, "initech", ME).await;
    assert!(ok(&answer), "{answer:?}");
    assert_eq!(user(&world), seed::INITECH_OWNER.uid.to_string());
    assert_eq!(world.grants("password"), (1, 0));
    assert_eq!(world.grants("as"), (0, 0), "nobody is impersonated");
    let record = world.outcome(&answer).await;
    assert_eq!(record["tenant"], "initech");
    assert!(record.get("target").is_none_or(Value::is_null));
    let login = world
        .record(|it| it["kind"] == "token" && it["operation"] == "login")
        .await;
    assert_eq!(login["tenant"], "initech");
    assert_eq!(login["lease"], record["lease"]);
    // Another one has another session, and the gateway's own account yet another.
    assert!(ok(&world.get(ADMIN, "watched", ME).await));
    assert_eq!(user(&world), seed::INITECH_ADMINISTRATOR.uid.to_string());
    assert!(ok(&world.get(ADMIN, "acme", ME).await));
    assert_eq!(user(&world), seed::ACME_OWNER.uid.to_string());
    assert_eq!(world.grants("password"), (3, 0));
}

#[tokio::test]
async fn an_account_that_only_reads_asks_for_that_and_changes_nothing() {
    let world = start(unsigned()).await;
    assert!(ok(&world.get(ADMIN, "watched", ME).await));
    let asked = world.simulator.requests();
    let login = asked
        .iter()
        .find(|seen| seen.grant == Some("password"))
        .unwrap();
    assert!(String::from_utf8_lossy(&login.body).contains("readOnly=true"));
    let headers = [("x-api-key", ADMIN), ("x-tenant", "watched")];
    let path = "/api/v3/_test/sink";
    let refused = world.call("POST", path, &headers, "x").await;
    assert_eq!(refused.code(), "operation_denied");
}

#[tokio::test]
async fn an_api_key_is_sent_as_it_is_and_nobody_logs_in() {
    let world = start(unsigned()).await;
    assert!(ok(&world.get(ADMIN, "keyed", ME).await));
    assert_eq!(user(&world), seed::INITECH_OWNER.uid.to_string());
    assert!(world.simulator.state().grants.is_empty());
}

#[tokio::test]
async fn tokens_of_accounts_are_renewed_before_anybody_waits_and_kept_over_a_restart() {
    let world = start(unsigned()).await;
    world
        .simulator
        .set_lifetimes(Duration::from_secs(4), Duration::from_secs(600));
    assert!(ok(&world.get(ADMIN, "initech", ME).await));
    until_true(|| world.grants("refresh_token").0 >= 1).await;
    assert!(ok(&world.get(ADMIN, "initech", ME).await));
    let unauthorized = |world: &World| world.simulator.state().unauthorized.values().sum::<u64>();
    assert_eq!(unauthorized(&world), 0);
    assert_eq!(world.grants("password"), (1, 0));
    let world = world.restart(|text| with_accounts(&text)).await;
    assert!(ok(&world.get(ADMIN, "initech", ME).await));
    assert_eq!(world.grants("password"), (1, 0));
    assert_eq!(unauthorized(&world), 0);
}

#[tokio::test]
async fn readyz_tells_of_accounts_and_of_what_is_refused_while_a_session_lasts() {
    let world = start(unsigned()).await;
    assert!(ok(&world.get(ADMIN, "initech", ME).await));
    assert!(ok(&world.get(ADMIN, "acme", ME).await));
    let main = async || world.readyz().await.json()["consoles"]["main"].clone();
    let told = main().await;
    let usable = json!({"tenant": "initech", "session": "usable"});
    assert_eq!(told["accounts"], json!([usable]));
    assert_eq!(told.get("renewal"), None, "{told}");
    for grant in ["password", "refresh_token"] {
        let body = json!({"error": "invalid_grant", "error_description": "locked out"});
        let refuse = Action::Answer {
            status: 400,
            body: Some(body.to_string()),
            content_type: None,
            headers: Vec::new(),
        };
        let refuse = Fault::new(refuse).under("/api/v3/token").grant(grant);
        world.simulator.fault(refuse.times(0));
    }
    let gateway = world.gateway();
    let console = gateway.consoles.keys().next().unwrap().clone();
    let renewal = gateway.broker.to_renew(&Which::Session(console));
    renewal
        .renew(Instant::now() + Duration::from_secs(20))
        .await;
    assert_ne!(world.get(ADMIN, "watched", ME).await.status, 200);
    let told = main().await;
    assert_eq!(told["session"], "usable", "{told}");
    let said = |value: &Value| value["error"].as_str().unwrap().contains("locked out");
    assert!(said(&told["renewal"]), "{told}");
    assert!(told["renewal"]["retry_in_seconds"].as_i64().unwrap() > 0);
    let failed = &told["accounts"][0];
    assert_eq!(
        (&failed["tenant"], &failed["session"]),
        (&json!("watched"), &json!("failed"))
    );
    assert!(said(failed), "{told}");
    assert_eq!(told["accounts"][1], usable);
    assert!(ok(&world.get(ADMIN, "acme", ME).await));
}

#[tokio::test]
async fn a_client_logs_in_for_such_a_tenant_and_names_nobody() {
    let world = start(unsigned()).await;
    let form = format!("grant_type=password&username=initech%5Cadmin&password={ADMIN}");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = world.call("POST", "/api/v3/token", &headers, form).await;
    assert!(ok(&answer), "{answer:?}");
    let token = answer.json();
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    let called = world
        .call("GET", ME, &[("authorization", &bearer)], "")
        .await;
    assert!(ok(&called), "{called:?}");
    assert_eq!(user(&world), seed::INITECH_OWNER.uid.to_string());
    let refresh = token["refresh_token"].as_str().unwrap();
    let uid = seed::GLOBEX_OWNER.uid;
    let form = format!("grant_type=as&refresh_token={refresh}&userUid={uid}");
    let refused = world.call("POST", "/api/v3/token", &headers, form).await;
    assert_eq!(refused.code(), "target_denied");
    assert_eq!(world.grants("as"), (0, 0));
}
