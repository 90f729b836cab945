//! `/token`: clients log in at the gateway, and the console sees one session for all of them.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};
use vspc_gateway::client::{GatewayTokens, Lifetimes};
use vspc_gateway::clock::Clock;
use vspc_gateway::secret::KeyDigest;
use vspc_gateway::state::{Settings as StateSettings, State};
use vspc_simulator::{Action, Fault};

use crate::harness::{ACME, ADMIN, Answer, BILLING, FORM, GLOBEX, World, ZABBIX, encoded, ok};

const ME: &str = "/api/v3/users/me";
const TOKEN: &str = "/api/v3/token";

async fn refresh(world: &World, token: &str) -> Answer {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
    world.token(&form).await
}

async fn act_as(world: &World, token: &str, user: &str) -> Answer {
    let form = [
        ("grant_type", "as"),
        ("refresh_token", token),
        ("userUid", user),
    ];
    world.token(&form).await
}

async fn user_of(world: &World, token: &str) -> String {
    let answer = world.get_as(token, ME).await;
    assert!(ok(&answer), "{answer:?}");
    answer.text_at("/data/instanceUid")
}

#[tokio::test]
async fn a_client_logs_in_and_its_token_acts_for_the_tenant_of_its_name() {
    let world = World::start().await;
    for (name, user) in [
        (r"acme\zabbix", ACME),
        (r"globex\zabbix", GLOBEX),
        (r"1001\zabbix", ACME),
    ] {
        let answer = world.log_in(name, ZABBIX).await;
        assert!(ok(&answer), "{answer:?}");
        let body = answer.json();
        let members: Vec<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(
            members,
            [
                "access_token",
                "encrypted_code",
                "expires_in",
                "mfa_token",
                "refresh_token",
                "token_type"
            ]
        );
        assert_eq!(body["token_type"], "bearer");
        assert_eq!(body["expires_in"], 3600);
        assert_eq!(
            (&body["mfa_token"], &body["encrypted_code"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(
            answer.header("content-type"),
            Some("application/json; charset=utf-8")
        );
        assert_eq!(user_of(&world, &answer.text("access_token")).await, user);
    }
    // The only tenant needs no name, nor does one in the header.
    let only = world.log_in("billing", BILLING).await;
    assert_eq!(user_of(&world, &only.text("access_token")).await, ACME);
    let form = encoded(&[
        ("grant_type", "password"),
        ("username", "zabbix"),
        ("password", ZABBIX),
    ]);
    let headed = world
        .call("POST", TOKEN, &[FORM, ("x-tenant", "globex")], form)
        .await;
    assert_eq!(user_of(&world, &headed.text("access_token")).await, GLOBEX);

    // The console saw none of it but one login and one impersonation for each user.
    assert_eq!(world.grants("password"), (1, 0));
    assert_eq!(world.grants("as"), (2, 0));
    assert_eq!(world.reached().len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_logins_of_one_client_cost_the_console_one() {
    let world = Arc::new(World::start().await);
    let logins = (0..1000).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.log_in(r"acme\zabbix", ZABBIX).await })
    });
    let answers: Vec<Answer> = join_all(logins)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(answers.iter().all(ok));
    let mut tokens: Vec<String> = answers
        .iter()
        .map(|answer| answer.text("access_token"))
        .collect();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 1000);
    assert_eq!(world.grants("password"), (1, 0));
    assert_eq!(world.grants("as"), (1, 0));
    assert_eq!(world.grants("refresh_token"), (0, 0));
}

#[tokio::test]
async fn wrong_logins_are_refused_in_the_words_of_oauth2() {
    let world = World::start().await;
    let one_off = ZABBIX.replace("zab", "zaB");
    let form = |user: &'static str, key: &str| {
        encoded(&[
            ("grant_type", "password"),
            ("username", user),
            ("password", key),
        ])
    };
    let twice = format!("{}&password=x", form("billing", BILLING));
    let bad = (400, "bad_credentials", "invalid_grant");
    let form_fault = (400, "bad_request", "invalid_request");
    let cases = [
        (form(r"acme\zabbix", &one_off), bad),
        (form(r"acme\billing", ZABBIX), bad),
        (form("nobody", ZABBIX), bad),
        (form("nobody", "short"), bad),
        (form(r"CORP\jane", "her own password"), bad),
        (
            form("zabbix", ZABBIX),
            (403, "tenant_required", "unauthorized_client"),
        ),
        (
            form(r"viewed\zabbix", ZABBIX),
            (403, "tenant_denied", "unauthorized_client"),
        ),
        (
            form(r"nowhere\zabbix", ZABBIX),
            (403, "tenant_denied", "unauthorized_client"),
        ),
        (form("", ZABBIX), form_fault),
        (form("billing", ""), form_fault),
        (twice, form_fault),
        (String::new(), form_fault),
        ("username=billing".to_owned(), form_fault),
        (
            "grant_type=client_credentials".to_owned(),
            (400, "bad_request", "unsupported_grant_type"),
        ),
        (
            encoded(&[("grant_type", "mfa"), ("mfa_token", "x"), ("mfa_code", "1")]),
            (400, "bad_request", "unsupported_grant_type"),
        ),
        (
            encoded(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", "eyJ.a.b"),
            ]),
            bad,
        ),
        (encoded(&[("grant_type", "refresh_token")]), form_fault),
        (
            encoded(&[("grant_type", "refresh_token"), ("refresh_token", ZABBIX)]),
            bad,
        ),
    ];
    for (body, (status, code, error)) in cases {
        let answer = world.call("POST", TOKEN, &[FORM], body.clone()).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{body}");
        let json = answer.json();
        assert_eq!(json["error"], error, "{body}");
        let description = json["error_description"].as_str().unwrap();
        assert!(
            description.starts_with(&format!("{code}: ")),
            "{description}"
        );
        assert_eq!(json["error_uri"], Value::Null);
        assert_eq!(answer.header("www-authenticate"), None);
        let record = world.outcome(&answer).await;
        assert_eq!(
            (&record["code"], &record["status"]),
            (&json!(code), &json!(status))
        );
        assert_eq!(record["operation"], "POST /token");
    }
    let guess = world.log_in(r"acme\zabbix", "a guess").await;
    assert_eq!(world.outcome(&guess).await["user"], r"acme\zabbix");
    let swapped = world.log_in(ZABBIX, r"acme\zabbix").await;
    assert_eq!(world.outcome(&swapped).await["user"], Value::Null);
    let unknown = world.log_in(r"nowhere\zabbix", ZABBIX).await;
    let foreign = world.log_in(r"viewed\zabbix", ZABBIX).await;
    assert_eq!(unknown.body, foreign.body);
    assert_eq!(
        world.outcome(&unknown).await["detail"],
        "no tenant has that name"
    );
    assert_eq!(
        world.outcome(&foreign).await["detail"],
        "the tenant is not among the client's"
    );
    assert_eq!(world.simulator.requests(), []);
}

#[tokio::test]
async fn vspcs_own_word_for_a_wrong_key_is_used_where_tools_look_for_it() {
    let world = World::start().await;
    let world = world
        .restart(|text| text.replace("[server]", "[server]\nvspc_errors = true"))
        .await;
    let refused = world.log_in("billing", "wrong").await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"], "invalid_request");
}

#[tokio::test]
async fn a_form_is_read_as_tools_really_send_it() {
    let world = World::start().await;
    let plain = format!(r"grant_type=password&username=acme\billing&password={BILLING}");
    let stale = format!("Bearer {}", "x".repeat(200));
    let multipart = [
        ("grant_type", "password"),
        ("username", r"acme\billing"),
        ("password", BILLING),
    ]
    .map(|(name, value)| {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    })
    .concat()
        + "--B--\r\n";
    let extra = format!("{plain}&client_id=None&allow_redirects=True&scope=");
    let utf8 = "application/x-www-form-urlencoded;charset=UTF-8";
    let cases: [(&[(&str, &str)], &str); 9] = [
        (&[FORM], &plain),
        (&[], &plain),
        (&[("content-type", utf8)], &plain),
        (&[("content-type", "text/plain")], &plain),
        (
            &[("content-type", "multipart/form-data; boundary=B")],
            &multipart,
        ),
        (&[FORM], &extra),
        (&[FORM, ("authorization", &stale)], &plain),
        (&[FORM, ("authorization", "Basic Og==")], &plain),
        (&[FORM, ("x-api-key", ZABBIX)], &plain),
    ];
    for (headers, body) in cases {
        let answer = world.call("POST", TOKEN, headers, body.to_owned()).await;
        assert!(ok(&answer), "{headers:?} {answer:?}");
        let record = world.outcome(&answer).await;
        assert_eq!(record["client"], "billing");
    }
    let json =
        format!(r#"{{"grant_type":"password","username":"billing","password":"{BILLING}"}}"#);
    for headers in [&[("content-type", "application/json")][..], &[]] {
        let answer = world.call("POST", TOKEN, headers, json.clone()).await;
        assert_eq!((answer.status, answer.code()), (400, "bad_request"));
        assert!(answer.text("error_description").contains("not as JSON"));
    }
    for path in [
        "/api/v3/Token",
        "/API/v3/token/",
        "/api/v3/%74oken?select=x",
    ] {
        let answer = world.call("POST", path, &[FORM], plain.clone()).await;
        assert!(ok(&answer), "{path} {answer:?}");
    }
}

#[tokio::test]
async fn a_key_with_signs_that_mean_something_in_a_form_is_known_unencoded_too() {
    const ODD: &str = "a+b&c%d=e 0123456789 0123456789 0123456789";
    let world = World::start().await;
    let world = world
        .restart(|text| {
            let digest = |key: &str| KeyDigest::of(key.as_bytes()).to_string();
            text.replace(&digest(BILLING), &digest(ODD))
        })
        .await;
    assert!(ok(&world.log_in("billing", ODD).await));
    let plain = format!("grant_type=password&username=billing&password={ODD}");
    assert!(ok(&world.call("POST", TOKEN, &[FORM], plain).await));
    let first = format!("password={ODD}&grant_type=password&username=billing");
    assert!(ok(&world.call("POST", TOKEN, &[FORM], first).await));
}

#[tokio::test]
async fn forms_have_their_bounds() {
    let world = World::start().await;
    let large = "x".repeat(70_000);
    let answer = world.call("POST", TOKEN, &[FORM], large).await;
    assert_eq!((answer.status, answer.code()), (413, "body_too_large"));
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = world.call(method, TOKEN, &[], "").await;
        assert_eq!((answer.status, answer.code()), (405, "method_refused"));
        assert_eq!(answer.header("allow"), Some("POST"));
    }
}

#[tokio::test]
async fn a_token_is_bound_to_its_tenant() {
    let world = World::start().await;
    let token = world
        .log_in(r"acme\zabbix", ZABBIX)
        .await
        .text("access_token");
    let bearer = format!("Bearer {token}");
    let call = async |tenant: &str, more: &[(&str, &str)]| {
        let headers = [
            &[("authorization", bearer.as_str()), ("x-tenant", tenant)],
            more,
        ]
        .concat();
        world.call("GET", ME, &headers, "").await
    };
    assert!(ok(&call("acme", &[]).await));
    assert!(ok(&call("1001", &[]).await));
    assert!(ok(&call("acme", &[("x-api-key", ZABBIX)]).await));
    for tenant in ["globex", "nowhere"] {
        let refused = call(tenant, &[]).await;
        assert_eq!((refused.status, refused.code()), (403, "tenant_mismatch"));
    }
    let refused = call("globex", &[("x-api-key", ZABBIX)]).await;
    assert_eq!((refused.status, refused.code()), (403, "tenant_mismatch"));
    let refused = call("acme", &[("x-api-key", BILLING)]).await;
    assert_eq!(
        (refused.status, refused.code()),
        (401, "conflicting_credentials")
    );
    let written = world
        .call(
            "DELETE",
            "/api/v3/users/x",
            &[("authorization", &bearer)],
            "",
        )
        .await;
    assert_eq!((written.status, written.code()), (403, "operation_denied"));
    assert!(
        world
            .reached()
            .iter()
            .all(|seen| seen.authorization_headers == 1)
    );
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_a_lost_answer_may_be_asked_for_again() {
    let world = World::start().await;
    let first = world.log_in(r"acme\zabbix", ZABBIX).await;
    let second = refresh(&world, &first.text("refresh_token")).await;
    assert!(ok(&second), "{second:?}");
    assert_ne!(first.text("refresh_token"), second.text("refresh_token"));
    assert_eq!(user_of(&world, &second.text("access_token")).await, ACME);
    let again = refresh(&world, &first.text("refresh_token")).await;
    assert!(ok(&again));
    let third = refresh(&world, &again.text("refresh_token")).await;
    assert!(ok(&third));
    // The first was used two turns ago: somebody else has it, and the log-in ends.
    for token in [&first, &third] {
        let refused = refresh(&world, &token.text("refresh_token")).await;
        assert_eq!((refused.status, refused.code()), (400, "bad_credentials"));
        assert_eq!(refused.json()["error"], "invalid_grant");
    }
    // An access token is no refresh token, and the other way round.
    let refused = refresh(&world, &first.text("access_token")).await;
    assert_eq!((refused.status, refused.code()), (400, "bad_credentials"));
    let refused = world.get_as(&first.text("refresh_token"), ME).await;
    assert_eq!((refused.status, refused.code()), (401, "bad_credentials"));
    assert_eq!(world.grants("refresh_token"), (0, 0));
    assert_eq!(world.grants("password"), (1, 0));
}

#[tokio::test]
async fn tokens_and_what_was_used_of_them_survive_a_restart() {
    let world = World::start().await;
    let first = world.log_in(r"acme\zabbix", ZABBIX).await;
    let second = refresh(&world, &first.text("refresh_token")).await;
    let third = refresh(&world, &second.text("refresh_token")).await;
    let world = world.restart(|text| text).await;
    assert_eq!(user_of(&world, &first.text("access_token")).await, ACME);
    let used = refresh(&world, &first.text("refresh_token")).await;
    assert_eq!((used.status, used.code()), (400, "bad_credentials"));
    let other = world.log_in(r"acme\zabbix", ZABBIX).await;
    let ended = refresh(&world, &third.text("refresh_token")).await;
    assert_eq!(
        ended.code(),
        "bad_credentials",
        "the log-in of a used token has ended"
    );
    assert!(ok(&refresh(&world, &other.text("refresh_token")).await));
}

#[tokio::test]
async fn tokens_end_at_once_when_their_key_or_client_or_tenant_is_removed() {
    let world = World::start().await;
    let zabbix = world.log_in(r"globex\zabbix", ZABBIX).await;
    let billing = world.log_in("billing", BILLING).await;
    let digest = |key: &str| KeyDigest::of(key.as_bytes()).to_string();
    let world = world
        .restart(|text| {
            text.replace(
                &digest(BILLING),
                &digest("another key of thirty-two characters"),
            )
            .replace(
                r#"tenants = ["acme", "globex"]"#,
                r#"tenants = ["acme", "viewed"]"#,
            )
        })
        .await;
    let refused = world.get_as(&billing.text("access_token"), ME).await;
    assert_eq!((refused.status, refused.code()), (401, "bad_credentials"));
    let refused = refresh(&world, &billing.text("refresh_token")).await;
    assert_eq!((refused.status, refused.code()), (400, "bad_credentials"));
    let refused = world.get_as(&zabbix.text("access_token"), ME).await;
    assert_eq!((refused.status, refused.code()), (403, "tenant_denied"));
    let refused = refresh(&world, &zabbix.text("refresh_token")).await;
    assert_eq!((refused.status, refused.code()), (403, "tenant_denied"));

    let world = world
        .restart(|text| text.replace(r#"name = "zabbix""#, r#"name = "renamed""#))
        .await;
    let refused = world.get_as(&zabbix.text("access_token"), ME).await;
    assert_eq!((refused.status, refused.code()), (401, "bad_credentials"));
}

#[tokio::test]
async fn a_token_of_another_gateway_or_one_that_expired_is_refused() {
    let world = World::start().await;
    let own = world.log_in("billing", BILLING).await;
    let expired = expired_token(
        &world.folder.path().join("state"),
        &own.text("access_token"),
    );
    let other = World::start().await;
    let foreign = other.log_in("billing", BILLING).await.text("access_token");
    for (token, detail) in [
        (foreign, Value::Null),
        (expired, json!("the token has expired")),
    ] {
        let refused = world.get_as(&token, ME).await;
        assert_eq!((refused.status, refused.code()), (401, "bad_credentials"));
        assert_eq!(world.outcome(&refused).await["detail"], detail);
    }
    assert!(ok(&world.get_as(&own.text("access_token"), ME).await));
}

/// A token of this gateway that it would have issued a day ago.
fn expired_token(directory: &std::path::Path, like: &str) -> String {
    let settings = StateSettings {
        directory: directory.to_owned(),
        key: None,
    };
    let lifetimes = Lifetimes {
        access: std::time::Duration::from_secs(3600),
        refresh: std::time::Duration::from_secs(7200),
        keys: None,
    };
    let now = Clock::System.now();
    let state = Arc::new(State::open(&settings).unwrap());
    let tokens = GatewayTokens::open(state, lifetimes, now).unwrap();
    let read = tokens.read_access(like.as_bytes(), now).unwrap();
    let mut then = now;
    then.0 -= 24 * 3600 * 1_000_000;
    let token = tokens.issue_access(read.login, &read.holder, read.access, then);
    token.unwrap().expose().to_owned()
}

#[tokio::test]
async fn a_client_narrows_its_token_to_users_among_its_targets() {
    let world = World::start().await;
    let login = world.log_in(r"acme\admin", ADMIN).await;
    let refresh_token = login.text("refresh_token");
    let narrowed = act_as(&world, &refresh_token, GLOBEX).await;
    assert!(ok(&narrowed), "{narrowed:?}");
    assert_eq!(narrowed.text("refresh_token"), refresh_token);
    assert_eq!(
        user_of(&world, &narrowed.text("access_token")).await,
        GLOBEX
    );
    assert_eq!(user_of(&world, &login.text("access_token")).await, ACME);
    // It was not used up.
    assert!(ok(&act_as(&world, &refresh_token, GLOBEX).await));
    assert!(ok(&refresh(&world, &refresh_token).await));
    let used = world.record(|record| {
        record["kind"] == "request" && record["path"] == ME && record["target"]["uid"] == GLOBEX
    });
    assert_eq!(used.await["tenant"], "acme");

    let other = vspc_simulator::seed::ACME_DISABLED.uid.to_string();
    let zabbix = world
        .log_in(r"acme\zabbix", ZABBIX)
        .await
        .text("refresh_token");
    for (token, user) in [(&refresh_token, other.as_str()), (&zabbix, GLOBEX)] {
        let refused = act_as(&world, token, user).await;
        assert_eq!((refused.status, refused.code()), (403, "target_denied"));
        assert_eq!(refused.json()["error"], "unauthorized_client");
    }
    assert!(
        ok(&act_as(&world, &zabbix, ACME).await),
        "the tenant's own target"
    );
    for user in [
        "",
        "me",
        "00000000-0000-0000-0000-000000000000",
        "c28df41e-5182-4668-b911-1987d4c9150f&grant_type=password",
        "c28df41e-5182-4668-b911-1987d4c9150f\r\nX-Other: 1",
        "c28df41e-5182-4668-b911-1987d4c9150f%26",
    ] {
        let refused = act_as(&world, &refresh_token, user).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "bad_request"),
            "{user}"
        );
    }
    assert_eq!(world.grants("as"), (2, 0));
}

#[tokio::test]
async fn targets_that_are_taken_away_end_the_tokens_for_them() {
    let world = World::start().await;
    let login = world.log_in(r"acme\admin", ADMIN).await;
    let narrowed = act_as(&world, &login.text("refresh_token"), GLOBEX).await;
    let targets = format!("targets = [\"{GLOBEX}\"]");
    let world = world.restart(|text| text.replace(&targets, "")).await;
    let refused = world.get_as(&narrowed.text("access_token"), ME).await;
    assert_eq!((refused.status, refused.code()), (403, "target_denied"));
    assert!(ok(&world.get_as(&login.text("access_token"), ME).await));
}

#[tokio::test]
async fn a_read_only_login_reads_only_and_so_does_what_comes_of_it() {
    let world = World::start().await;
    let form = [
        ("grant_type", "password"),
        ("username", "billing"),
        ("password", BILLING),
        ("readOnly", "true"),
    ];
    let login = world.token(&form).await;
    let renewed = refresh(&world, &login.text("refresh_token")).await;
    for answer in [&login, &renewed] {
        let token = answer.text("access_token");
        assert_eq!(user_of(&world, &token).await, ACME);
        let bearer = format!("Bearer {token}");
        let written = world
            .call(
                "POST",
                "/api/v3/_test/sink",
                &[("authorization", &bearer)],
                "x",
            )
            .await;
        assert_eq!((written.status, written.code()), (403, "operation_denied"));
    }
    let as_read_only = world
        .simulator
        .requests()
        .into_iter()
        .find(|seen| seen.grant == Some("as"))
        .unwrap();
    assert!(String::from_utf8_lossy(&as_read_only.body).contains("readOnly=true"));
}

#[tokio::test]
async fn a_console_that_is_ill_is_no_fault_of_the_caller() {
    let world = World::start().await;
    let form = [
        ("grant_type", "password"),
        ("username", r"disabled\admin"),
        ("password", ADMIN),
    ];
    let refused = world.token(&form).await;
    assert_eq!((refused.status, refused.code()), (502, "login_refused"));
    assert_eq!(refused.json()["error"], "temporarily_unavailable");
    world
        .simulator
        .fault(Fault::new(Action::ServerError).under(TOKEN).times(0));
    let failed = world.log_in(r"globex\zabbix", ZABBIX).await;
    assert_eq!((failed.status, failed.code()), (503, "token_unavailable"));
    assert!(failed.header("retry-after").is_some());
}

#[tokio::test]
async fn each_call_is_a_record_and_a_login_leads_to_all_that_came_of_it() {
    let world = World::start().await;
    let login = world.log_in(r"acme\admin", ADMIN).await;
    let renewed = refresh(&world, &login.text("refresh_token")).await;
    let narrowed = act_as(&world, &renewed.text("refresh_token"), GLOBEX).await;
    let called = world.get_as(&narrowed.text("access_token"), ME).await;
    let label = KeyDigest::of(ADMIN.as_bytes()).label();

    let record = world.outcome(&login).await;
    assert_eq!(record["operation"], "POST /token");
    assert_eq!(record["grant"], "password");
    assert_eq!(record["client"], "admin");
    assert_eq!(record["credential"], format!("password:{label}"));
    assert_eq!(record["tenant"], "acme");
    assert_eq!(record["target"]["uid"], ACME);
    assert_eq!(
        (&record["code"], &record["status"]),
        (&json!("ok"), &json!(200))
    );
    assert_eq!(record["attempts"], 0);
    assert!(record["bytes_in"].as_u64().unwrap() > 0);
    assert!(record["bytes_out"].as_u64().unwrap() > 0);
    let session = record["session"].as_str().unwrap().to_owned();
    assert_eq!(session.len(), 36);

    let record = world.outcome(&renewed).await;
    assert_eq!(record["grant"], "refresh_token");
    assert_eq!(record["credential"], format!("refresh:{label}"));
    assert_eq!(record["session"], session);
    let record = world.outcome(&narrowed).await;
    assert_eq!(
        (&record["grant"], &record["target"]["uid"]),
        (&json!("as"), &json!(GLOBEX))
    );
    assert_eq!(record["session"], session);
    let record = world.outcome(&called).await;
    assert_eq!(
        (&record["session"], &record["client"]),
        (&json!(session), &json!("admin"))
    );
    assert!(record["credential"].as_str().unwrap().starts_with("token:"));
    assert!(record["tenant"] == "acme" && record["target"]["uid"] == GLOBEX);
}

#[tokio::test]
async fn no_token_of_the_console_and_no_secret_leaves_the_gateway() {
    let world = World::start().await;
    let login = world.log_in(r"acme\admin", ADMIN).await;
    let renewed = refresh(&world, &login.text("refresh_token")).await;
    let narrowed = act_as(&world, &renewed.text("refresh_token"), GLOBEX).await;
    let called = world.get_as(&narrowed.text("access_token"), ME).await;
    let own: Vec<String> = [&login, &renewed, &narrowed]
        .iter()
        .flat_map(|answer| [answer.text("access_token"), answer.text("refresh_token")])
        .chain([ADMIN.to_owned()])
        .collect();
    world.outcome(&called).await;
    let log = world
        .records()
        .iter()
        .map(Value::to_string)
        .collect::<String>();
    let seen = world.simulator.requests();

    // Nothing of ours reached the console.
    for request in &seen {
        let shown = format!("{request:?}{}", String::from_utf8_lossy(&request.body));
        assert!(
            own.iter().all(|secret| !shown.contains(secret)),
            "{}",
            request.target
        );
    }
    // Nothing of the console's, and no token or key at all, is in an answer or a record.
    let theirs: Vec<String> = seen
        .iter()
        .flat_map(|request| request.header_values("authorization"))
        .map(|value| value.trim_start_matches("Bearer ").to_owned())
        .chain(seen.iter().filter_map(|request| {
            let form = String::from_utf8_lossy(&request.body).into_owned();
            let token = form.split("refresh_token=").nth(1)?;
            Some(token.split('&').next()?.to_owned())
        }))
        .collect();
    assert!(theirs.len() >= 2);
    for secret in theirs
        .iter()
        .chain(&own)
        .chain([&"gateway-demo-password".to_owned()])
    {
        assert!(!log.contains(secret.as_str()));
    }
    for answer in [&login, &renewed, &narrowed, &called] {
        let shown = format!(
            "{:?}{}",
            answer.headers,
            String::from_utf8_lossy(&answer.body)
        );
        assert!(theirs.iter().all(|secret| !shown.contains(secret.as_str())));
    }
}
