//! `/token` for the console's own users, where the configuration lets them log in.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use vspc_gateway::clock::Timestamp;
use vspc_gateway::freeze::{Hold, Scope};
use vspc_simulator::seed::{
    ACME_ADMINISTRATOR, ACME_OWNER, ADMINISTRATOR_PASSWORD, INITECH_MFA, INITECH_MFA_SECRET,
};
use vspc_simulator::{Action, Fault, totp_code};

use crate::harness::{ADMIN, Answer, FORM, World, ZABBIX, encoded, ok, unsigned, until_true_async};

const ME: &str = "/api/v3/users/me";
const USER: &str = r"Acme\administrator";

async fn world(console: &str) -> World {
    let console = format!("passthrough_logins = true\n{console}");
    World::start_with(&console, unsigned()).await
}

fn password(user: &str, password: &str) -> Vec<(&'static str, String)> {
    vec![
        ("grant_type", "password".to_owned()),
        ("username", user.to_owned()),
        ("password", password.to_owned()),
    ]
}

async fn token(world: &World, form: &[(&'static str, String)]) -> Answer {
    let form: Vec<_> = form
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    world.token(&form).await
}

async fn log_in(world: &World) -> Answer {
    token(
        world,
        &password(ACME_ADMINISTRATOR.name, ADMINISTRATOR_PASSWORD),
    )
    .await
}

async fn user_of(world: &World, token: &str) -> Value {
    let answer = world.get_as(token, ME).await;
    assert!(ok(&answer), "{answer:?}");
    json!(answer.text_at("/data/instanceUid"))
}

fn form_grants(world: &World, grant: &str) -> usize {
    let requests = world.simulator.requests().into_iter();
    requests.filter(|seen| seen.grant == Some(grant)).count()
}

#[tokio::test]
async fn a_user_of_the_console_acts_as_itself_with_a_token_of_the_gateway() {
    let world = world("").await;
    assert_eq!(USER, ACME_ADMINISTRATOR.name);
    let login = log_in(&world).await;
    assert!(ok(&login), "{login:?}");
    let uid = json!(ACME_ADMINISTRATOR.uid.to_string());
    assert_eq!(user_of(&world, &login.text("access_token")).await, uid);
    // It has no tenant, and naming one is a mistake.
    let bearer = format!("Bearer {}", login.text("access_token"));
    let refused = world
        .call(
            "GET",
            ME,
            &[("authorization", &bearer), ("x-tenant", "acme")],
            "",
        )
        .await;
    assert_eq!((refused.status, refused.code()), (403, "tenant_mismatch"));
    // The dangerous roads stay closed.
    for (method, path) in [
        ("GET", "/api/v3/authentication/keys/rsa".to_owned()),
        (
            "DELETE",
            format!("/api/v3/users/{}/tokens", ACME_ADMINISTRATOR.uid),
        ),
        ("GET", "/proxy/x".to_owned()),
    ] {
        let refused = world
            .call(method, &path, &[("authorization", &bearer)], "")
            .await;
        assert_eq!(
            (refused.status, refused.code()),
            (403, "operation_denied"),
            "{path}"
        );
    }
    let record = world.outcome(&login).await;
    assert_eq!(
        (&record["user"], &record["console"]),
        (&json!(USER), &json!("main"))
    );
    assert_eq!(
        (&record["grant"], &record["attempts"]),
        (&json!("password"), &json!(1))
    );
    assert!(record.get("client").is_none() && record.get("tenant").is_none());
    let session = record["session"].clone();
    let called = world
        .record(|record| record["kind"] == "request" && record["path"] == ME)
        .await;
    assert_eq!(
        (&called["user"], &called["session"]),
        (&json!(USER), &session)
    );
    assert!(called.get("target").is_none());
    // That somebody tried is on the disk before the console hears of it.
    let intent = world
        .record(|other| other["kind"] == "intent" && other["request_id"] == record["request_id"])
        .await;
    assert_eq!(intent["user"], USER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_logins_with_one_secret_cost_the_console_one() {
    let world = Arc::new(world("").await);
    let logins = (0..1000).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { log_in(&world).await })
    });
    let answers: Vec<Answer> = join_all(logins)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(answers.iter().all(ok));
    // The other one is the gateway's own.
    assert!(form_grants(&world, "password") <= 2);
    let seen = world.simulator.requests().into_iter();
    let logins = seen.filter(|seen| String::from_utf8_lossy(&seen.body).contains("Acme"));
    assert_eq!(logins.count(), 1);
    // A read-only session is another session.
    let mut form = password(USER, ADMINISTRATOR_PASSWORD);
    form.push(("readOnly", "true".to_owned()));
    let read_only = token(&world, &form).await;
    let bearer = format!("Bearer {}", read_only.text("access_token"));
    let headers = [("authorization", bearer.as_str())];
    let refused = world
        .call("POST", "/api/v3/_test/sink", &headers, "x")
        .await;
    assert_eq!((refused.status, refused.code()), (403, "operation_denied"));
    assert!(ok(&world.call("GET", ME, &headers, "").await));
}

#[tokio::test]
async fn a_wrong_secret_is_the_consoles_word_and_is_remembered_for_a_moment() {
    let world = world("").await;
    assert!(ok(&log_in(&world).await));
    let before = form_grants(&world, "password");
    let wrong = password(USER, "wrong");
    let mut bodies = Vec::new();
    for _ in 0..5 {
        let refused = token(&world, &wrong).await;
        assert_eq!((refused.status, refused.code()), (400, ""));
        assert_eq!(refused.json()["error"], "invalid_request");
        bodies.push(refused.body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    assert_eq!(form_grants(&world, "password"), before + 1);
    // Another secret is not the wrong one, and neither is it answered from memory.
    let other = token(&world, &password(USER, "wrong too")).await;
    assert_eq!(other.status, 400);
    assert_eq!(form_grants(&world, "password"), before + 2);
    assert!(ok(&log_in(&world).await));
    assert_eq!(form_grants(&world, "password"), before + 2);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    tokio::time::sleep_until(deadline).await;
    assert_eq!(token(&world, &wrong).await.status, 400);
    assert_eq!(form_grants(&world, "password"), before + 3);
}

#[tokio::test]
async fn a_changed_password_is_another_session_and_the_old_one_is_not_believed_for_ever() {
    let world = world("").await;
    world
        .simulator
        .set_lifetimes(Duration::from_secs(2), Duration::from_secs(3600));
    let old = log_in(&world).await;
    world
        .simulator
        .set_password(ACME_ADMINISTRATOR.uid, "new password");
    let new = token(&world, &password(USER, "new password")).await;
    assert!(ok(&old) && ok(&new));
    until_true_async(async || log_in(&world).await.status == 400).await;
    assert!(ok(&world.get_as(&new.text("access_token"), ME).await));
}

#[tokio::test]
async fn a_clients_name_and_key_never_reach_the_console() {
    let world = world("").await;
    let before = world.simulator.requests().len();
    for (user, secret) in [
        ("zabbix", "a guess"),
        (r"acme\zabbix", "a guess"),
        ("jane", ZABBIX),
        (r"CORP\jane", "vgk_a_key_with_a_slip_of_the_pen_000000000"),
    ] {
        let refused = token(&world, &password(user, secret)).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "bad_credentials"),
            "{user}"
        );
    }
    let refused = token(&world, &password(r"CORP\zabbix", ZABBIX)).await;
    assert_eq!((refused.status, refused.code()), (403, "tenant_denied"));
    let as_client = world.log_in(r"acme\zabbix", ZABBIX).await;
    assert!(ok(&as_client));
    let later: Vec<_> = world
        .simulator
        .requests()
        .into_iter()
        .skip(before)
        .collect();
    for seen in later {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        assert!(!body.contains("vgk_") && !body.contains("guess"), "{body}");
    }
}

#[tokio::test]
async fn a_session_is_renewed_behind_the_tokens_and_its_end_is_the_end_of_them() {
    let world = world("").await;
    world
        .simulator
        .set_lifetimes(Duration::from_secs(1), Duration::from_secs(3600));
    let login = log_in(&world).await;
    let uid = json!(ACME_ADMINISTRATOR.uid.to_string());
    let access = login.text("access_token");
    until_true_async(async || {
        assert_eq!(user_of(&world, &access).await, uid);
        form_grants(&world, "refresh_token") >= 2
    })
    .await;
    let form = [
        ("grant_type", "refresh_token".to_owned()),
        ("refresh_token", login.text("refresh_token")),
    ];
    let renewed = token(&world, &form).await;
    assert!(ok(&renewed), "{renewed:?}");
    assert_eq!(user_of(&world, &renewed.text("access_token")).await, uid);

    world.simulator.end_sessions(Some(ACME_ADMINISTRATOR.uid));
    until_true_async(async || world.get_as(&access, ME).await.status == 401).await;
    let refused = world.get_as(&access, ME).await;
    assert_eq!(refused.code(), "bad_credentials");
    let form = [
        ("grant_type", "refresh_token".to_owned()),
        ("refresh_token", renewed.text("refresh_token")),
    ];
    let refused = token(&world, &form).await;
    assert_eq!((refused.status, refused.code()), (400, "bad_credentials"));
    // A new log-in is a new session.
    let again = log_in(&world).await;
    assert_eq!(user_of(&world, &again.text("access_token")).await, uid);
}

#[tokio::test]
async fn an_impersonation_is_not_for_those_who_act_as_themselves() {
    let world = world("").await;
    let login = log_in(&world).await;
    let form = [
        ("grant_type", "as".to_owned()),
        ("refresh_token", login.text("refresh_token")),
        ("userUid", crate::harness::ACME.to_owned()),
    ];
    let refused = token(&world, &form).await;
    assert_eq!((refused.status, refused.code()), (403, "target_denied"));
}

#[tokio::test]
async fn a_second_factor_passes_through_untouched_and_the_tokens_stay() {
    let world = world("").await;
    let first_step = password(INITECH_MFA.name, ADMINISTRATOR_PASSWORD);
    let one = token(&world, &first_step).await;
    let two = token(&world, &first_step).await;
    for answer in [&one, &two] {
        assert!(ok(answer), "{answer:?}");
        assert_eq!(answer.json()["access_token"], Value::Null);
    }
    assert_ne!(
        one.text("mfa_token"),
        two.text("mfa_token"),
        "nothing is remembered"
    );
    let seconds = time_now();
    let form = |code: String| {
        [
            ("grant_type", "mfa".to_owned()),
            ("mfa_token", two.text("mfa_token")),
            ("mfa_code", code),
        ]
    };
    let wrong = token(&world, &form("000000".to_owned())).await;
    assert_eq!((wrong.status, wrong.code()), (400, ""));
    let code = totp_code(INITECH_MFA_SECRET, seconds).unwrap();
    let login = token(&world, &form(code.clone())).await;
    assert!(ok(&login), "{login:?}");
    let uid = json!(INITECH_MFA.uid.to_string());
    assert_eq!(user_of(&world, &login.text("access_token")).await, uid);
    let record = world.outcome(&login).await;
    assert_eq!(
        (&record["grant"], &record["user"]),
        (&json!("mfa"), &json!(INITECH_MFA.name))
    );
    let log = world
        .records()
        .iter()
        .map(Value::to_string)
        .collect::<String>();
    for secret in [&two.text("mfa_token"), ADMINISTRATOR_PASSWORD] {
        assert!(!log.contains(secret));
    }
}

fn time_now() -> u64 {
    let micros = vspc_gateway::clock::Clock::System.now().0;
    u64::try_from(micros / 1_000_000).unwrap()
}

fn freeze_acme(world: &World) {
    let scope = Scope::Tenant("acme".to_owned());
    let hold = Hold::new(scope, Timestamp(0), "a test".to_owned(), None);
    assert!(world.gateway().freezer.hold(hold).is_none());
}

#[tokio::test]
async fn the_user_of_a_frozen_tenant_is_stopped_as_itself_too_and_no_other_is() {
    let world = world("").await;
    let owner = password(ACME_OWNER.name, ACME_OWNER.password);
    let login = token(&world, &owner).await;
    assert!(ok(&login), "{login:?}");
    let other = log_in(&world).await;
    freeze_acme(&world);
    let before = world.reached().len();
    let refresh = [
        ("grant_type", "refresh_token".to_owned()),
        ("refresh_token", login.text("refresh_token")),
    ];
    for stopped in [
        world.get_as(&login.text("access_token"), ME).await,
        token(&world, &refresh).await,
        token(&world, &owner).await,
    ] {
        assert_eq!((stopped.status, stopped.code()), (403, "frozen"));
    }
    assert_eq!(world.reached().len(), before);
    assert!(ok(&world.get_as(&other.text("access_token"), ME).await));
    assert!(ok(&log_in(&world).await));
    world
        .gateway()
        .freezer
        .thaw(&Scope::Tenant("acme".to_owned()))
        .unwrap();
    assert!(ok(&world.get_as(&login.text("access_token"), ME).await));
    assert!(ok(&token(&world, &refresh).await));
}

/// Nor does it cost the console a log-in each time that it tries.
#[tokio::test]
async fn the_user_of_a_frozen_tenant_is_refused_from_memory() {
    let world = world("").await;
    freeze_acme(&world);
    let before = form_grants(&world, "password");
    let owner = password(ACME_OWNER.name, ACME_OWNER.password);
    for _ in 0..3 {
        let stopped = token(&world, &owner).await;
        assert_eq!((stopped.status, stopped.code()), (403, "frozen"));
    }
    assert_eq!(form_grants(&world, "password"), before + 1);
    world
        .gateway()
        .freezer
        .thaw(&Scope::Tenant("acme".to_owned()))
        .unwrap();
    assert!(ok(&token(&world, &owner).await));
    assert_eq!(form_grants(&world, "password"), before + 1);
}

#[tokio::test]
async fn what_asks_for_a_second_step_beside_a_token_is_not_passed_on() {
    let world = world("").await;
    let answer = |body: Value| Action::TokenBody {
        body: body.to_string(),
    };
    for body in [
        json!({"access_token": "eyJ.leak.leak", "mfa_token": "step", "expires_in": 3600}),
        json!({"access_token": null, "refresh_token": "eyJ.leak.leak", "encrypted_code": "x"}),
        json!({"access_token": "eyJ.leak.leak", "expires_in": -1}),
        json!(["eyJ.leak.leak"]),
    ] {
        world
            .simulator
            .fault(Fault::new(answer(body.clone())).under("/api/v3/token"));
        let refused = log_in(&world).await;
        assert_eq!(
            (refused.status, refused.code()),
            (502, "upstream_invalid"),
            "{body}"
        );
        assert!(!String::from_utf8_lossy(&refused.body).contains("leak"));
    }
    assert!(ok(&log_in(&world).await));
}

#[tokio::test]
async fn what_the_console_cannot_do_is_said_in_its_words_and_not_remembered() {
    let world = world("").await;
    world
        .simulator
        .fault(Fault::new(Action::ServerError).under("/api/v3/token"));
    assert_eq!(log_in(&world).await.status, 520);
    let login = log_in(&world).await;
    assert!(ok(&login));
    world
        .simulator
        .fault(Fault::new(Action::CutBeforeHead).under("/api/v3/token"));
    let cut = token(&world, &password(USER, "another")).await;
    assert_eq!((cut.status, cut.code()), (502, "upstream_unreachable"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_that_asks_for_patience_is_left_alone_by_all() {
    let world = Arc::new(world("").await);
    let throttle = Action::Throttle {
        retry_after: Some(2),
    };
    let fault = Fault::new(throttle)
        .under("/api/v3/token")
        .grant("password");
    world.simulator.fault(fault.times(0));
    let before = form_grants(&world, "password");
    let calls = (0..100).map(|number| {
        let world = Arc::clone(&world);
        let secret = format!("secret {}", number % 10);
        tokio::spawn(async move { token(&world, &password(USER, &secret)).await })
    });
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap().status, 429);
    }
    // Two ask at once; whoever comes after that knows.
    assert!(form_grants(&world, "password") <= before + 2);
    world.simulator.clear_faults();
    until_true_async(async || ok(&log_in(&world).await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_locks_the_gateways_own_account_out_or_drives_many_calls_at_once() {
    let world = Arc::new(world("").await);
    let before = world.simulator.requests().len();
    for name in [r"VSPC\svc-gateway", r"vspc\SVC-Gateway"] {
        let refused = token(&world, &password(name, "a guess")).await;
        assert_eq!((refused.status, refused.code()), (400, "bad_credentials"));
    }
    assert_eq!(world.simulator.requests().len(), before);
    let slow = Fault::new(Action::Delay).delay(Duration::from_millis(50));
    world
        .simulator
        .fault(slow.under("/api/v3/token").grant("password").times(0));
    let calls = (0..40).map(|number| {
        let world = Arc::clone(&world);
        let user = format!(r"CORP\jane{number}");
        tokio::spawn(async move { token(&world, &password(&user, "a guess")).await })
    });
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap().status, 400);
    }
    assert!(world.simulator.state().in_flight_max <= 4);
}

#[tokio::test]
async fn exposed_tokens_are_the_consoles_own_and_known_again() {
    let world = world("expose_tokens = true").await;
    let login = log_in(&world).await;
    let shared = log_in(&world).await;
    assert_eq!(login.text("access_token"), shared.text("access_token"));
    let left = shared.json()["expires_in"].as_u64().unwrap();
    assert!((3590..=3600).contains(&left), "{left}");
    let uid = json!(ACME_ADMINISTRATOR.uid.to_string());
    assert_eq!(user_of(&world, &login.text("access_token")).await, uid);
    let seen = world.reached().pop().unwrap();
    let bearer = format!("Bearer {}", login.text("access_token"));
    assert_eq!(seen.header("authorization"), Some(bearer.as_str()));

    let form = [
        ("grant_type", "refresh_token".to_owned()),
        ("refresh_token", login.text("refresh_token")),
    ];
    let renewed = token(&world, &form).await;
    assert!(ok(&renewed), "{renewed:?}");
    assert_eq!(user_of(&world, &renewed.text("access_token")).await, uid);
    let used = token(&world, &form).await;
    assert_eq!(
        (used.status, used.code()),
        (400, ""),
        "the console's own refusal"
    );
    // What was given out with the used token is not given out again.
    let again = log_in(&world).await;
    assert_ne!(again.text("refresh_token"), login.text("refresh_token"));
    // A token that nobody was given here is unknown.
    let refused = world.get_as("eyJ.some.thing", ME).await;
    assert_eq!((refused.status, refused.code()), (401, "bad_credentials"));
    // A client's tokens are the gateway's own all the same.
    let client = world.log_in(r"acme\admin", ADMIN).await;
    assert!(ok(&client));
    let known = world.simulator.requests();
    let theirs = client.text("access_token");
    assert!(
        known
            .iter()
            .all(|seen| !format!("{seen:?}").contains(&theirs))
    );
}

/// The configuration that a restart would otherwise leave out.
#[expect(clippy::needless_pass_by_value, reason = "as `restart` gives it")]
fn with_logins(text: String) -> String {
    text.replace(
        "name = \"main\"",
        "name = \"main\"\npassthrough_logins = true",
    )
}

#[tokio::test]
async fn a_session_survives_a_restart_and_is_renewed_there() {
    let world = world("").await;
    let login = log_in(&world).await;
    let world = world.restart(with_logins).await;
    let before = form_grants(&world, "password");
    let uid = json!(ACME_ADMINISTRATOR.uid.to_string());
    assert_eq!(user_of(&world, &login.text("access_token")).await, uid);
    let record = world
        .record(|record| record["kind"] == "request" && record["path"] == ME)
        .await;
    assert_eq!(record["user"], USER);
    let form = [
        ("grant_type", "refresh_token".to_owned()),
        ("refresh_token", login.text("refresh_token")),
    ];
    assert!(ok(&token(&world, &form).await));
    // And once more, with the refresh token that was kept last.
    let world = world.restart(with_logins).await;
    assert_eq!(user_of(&world, &login.text("access_token")).await, uid);
    // But for the gateway's own.
    assert!(form_grants(&world, "password") <= before + 1);
    world.simulator.end_sessions(Some(ACME_ADMINISTRATOR.uid));
    let world = world.restart(with_logins).await;
    let refused = world.get_as(&login.text("access_token"), ME).await;
    assert_eq!((refused.status, refused.code()), (401, "bad_credentials"));
    // What has ended is not kept.
    let world = world.restart(with_logins).await;
    let renewals = form_grants(&world, "refresh_token");
    let refused = world.get_as(&login.text("access_token"), ME).await;
    assert_eq!(refused.status, 401);
    assert_eq!(form_grants(&world, "refresh_token"), renewals);
}

#[tokio::test]
async fn turning_the_logins_off_ends_their_tokens() {
    let world = world("").await;
    let login = log_in(&world).await;
    let world = world.restart(|text| text).await;
    let refused = world.get_as(&login.text("access_token"), ME).await;
    assert_eq!((refused.status, refused.code()), (401, "bad_credentials"));
    let refused = log_in(&world).await;
    assert_eq!((refused.status, refused.code()), (400, "bad_credentials"));
    // It was the switch: with it on again they are good.
    let world = world.restart(with_logins).await;
    assert!(ok(&world.get_as(&login.text("access_token"), ME).await));
}

#[tokio::test]
async fn the_console_gets_the_form_that_the_gateway_read() {
    let world = world("client_version = \"3.6.2\"").await;
    let plain = format!(
        "x=y&grant_type=password&username={USER}&password={ADMINISTRATOR_PASSWORD}&mfa_code=1\r\n"
    );
    let headers = [
        (
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-16",
        ),
        ("x-client-version", "3.7"),
        ("authorization", "Basic Og=="),
    ];
    let path = "/api/v3/Token?select=access_token";
    let answer = world.call("POST", path, &headers, plain).await;
    assert!(ok(&answer), "{answer:?}");
    let seen = world.simulator.requests().into_iter();
    let seen = seen.last().unwrap();
    let written = encoded(&[("username", USER), ("password", ADMINISTRATOR_PASSWORD)]);
    let body = String::from_utf8_lossy(&seen.body);
    assert_eq!(body, format!("grant_type=password&{written}"));
    assert_eq!(seen.header("content-type"), Some(FORM.1));
    assert_eq!(seen.header("x-client-version"), Some("3.6.2"));
    assert_eq!(seen.target, "/api/v3/token");
    assert_eq!(seen.authorization_headers, 0);
    // The same name and secret, however they are written.
    let other = encoded(&[
        ("grant_type", "password"),
        ("username", USER),
        ("password", ADMINISTRATOR_PASSWORD),
    ]);
    let count = world.simulator.requests().len();
    assert!(ok(&world
        .call("POST", "/api/v3/token", &[FORM], other)
        .await));
    assert_eq!(world.simulator.requests().len(), count);
}

/// The console takes no token of a user, however new: each of its requests must not cost a renewal.
#[tokio::test]
async fn a_user_whose_tokens_are_never_taken_costs_few_renewals() {
    const ECHO: &str = "/api/v3/_test/echo";
    let world = world("").await;
    let access = log_in(&world).await.text("access_token");
    let refusing = Fault::new(Action::Unauthorized).under(ECHO).times(0);
    world.simulator.fault(refusing);
    let all = join_all((0..10).map(|_| world.get_as(&access, ECHO))).await;
    let mut answers = all;
    for _ in 0..20 {
        answers.push(world.get_as(&access, ECHO).await);
    }
    for answer in answers {
        let told = (answer.status, answer.code());
        assert_eq!(told, (502, "upstream_refused_token"));
    }
    let (given, refused) = world.grants("refresh_token");
    assert!(given + refused <= 3, "{given} renewals for 30 requests");
    assert!(given > 0, "nobody found out whether the session has ended");
}
