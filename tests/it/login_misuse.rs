//! `/token` in the hands of those who mean harm, and of those who put things in the wrong place.

use std::time::Duration;

use serde_json::{Value, json};
use vspc_simulator::seed::{
    ACME_ADMINISTRATOR, ADMINISTRATOR_PASSWORD, INITECH_MFA, INITECH_MFA_SECRET,
};
use vspc_simulator::{Action, Fault, totp_code};

use crate::harness::{
    ACME, ADMIN, Answer, BILLING, FORM, GLOBEX, World, ZABBIX, encoded, ok, unsigned,
    until_true_async,
};

const ME: &str = "/api/v3/users/me";
const TOKEN: &str = "/api/v3/token";
const USER: &str = ACME_ADMINISTRATOR.name;

async fn passthrough(more: &str) -> World {
    let console = format!("passthrough_logins = true\n{more}");
    World::start_with(&console, unsigned()).await
}

async fn refresh(world: &World, login: &Answer) -> Answer {
    let token = login.text("refresh_token");
    let form = [("grant_type", "refresh_token"), ("refresh_token", &token)];
    world.token(&form).await
}

/// Whether the console was shown a secret, and whether a record holds it.
fn shown(world: &World, secret: &str) -> (bool, bool) {
    let requests = world.simulator.requests().into_iter();
    let mut bodies = requests.map(|seen| String::from_utf8_lossy(&seen.body).into_owned());
    let mut records = world.records().into_iter().map(|record| record.to_string());
    (
        bodies.any(|body| body.contains(secret)),
        records.any(|record| record.contains(secret)),
    )
}

#[tokio::test]
async fn what_is_the_gateways_own_is_shown_to_nobody_whatever_field_it_is_in() {
    // A key that does not begin as those of `keys new` do.
    const PLAIN: &str = "an own key of forty characters, no prefix";
    for console in ["", "expose_tokens = true"] {
        let world = passthrough(console).await;
        let console = format!("passthrough_logins = true\n{console}");
        let world = world
            .restart(|text| {
                let digest = vspc_gateway::secret::KeyDigest::of(PLAIN.as_bytes());
                text.replace("name = \"main\"", &format!("name = \"main\"\n{console}"))
                    .replace(
                        "name = \"billing\"\napi_keys = [",
                        &format!("name = \"billing\"\napi_keys = [\"{digest}\", "),
                    )
            })
            .await;
        let tokens = world.log_in("billing", BILLING).await;
        let before = world.simulator.requests().len();
        let (access, refreshing) = (tokens.text("access_token"), tokens.text("refresh_token"));
        for secret in [BILLING, PLAIN, &access, &refreshing] {
            let in_name = format!(r"acme\{secret}");
            let before_name = format!(r"{secret}\jane");
            let forms: [&[(&str, &str)]; 8] = [
                &[
                    ("grant_type", "password"),
                    ("username", &in_name),
                    ("password", "x"),
                ],
                &[
                    ("grant_type", "password"),
                    ("username", &before_name),
                    ("password", "x"),
                ],
                &[
                    ("grant_type", "password"),
                    ("username", "jane"),
                    ("password", secret),
                ],
                &[
                    ("grant_type", "mfa"),
                    ("mfa_token", secret),
                    ("mfa_code", "1"),
                ],
                &[
                    ("grant_type", "mfa"),
                    ("mfa_token", "x"),
                    ("mfa_code", "1"),
                    ("password", secret),
                ],
                &[("grant_type", "public_key"), ("public_key", secret)],
                &[("grant_type", "authorization_code"), ("code", secret)],
                &[("grant_type", "refresh_token"), ("refresh_token", secret)],
            ];
            for form in forms {
                if form[1] == ("refresh_token", refreshing.as_str()) {
                    continue;
                }
                let refused = world.token(form).await;
                assert_eq!(
                    (refused.status, refused.code()),
                    (400, "bad_credentials"),
                    "{form:?}"
                );
                world.outcome(&refused).await;
            }
            assert_eq!(shown(&world, secret), (false, false), "{secret}");
        }
        assert_eq!(world.simulator.requests().len(), before);
    }
}

#[tokio::test]
async fn a_clients_name_behind_any_tenant_is_never_tried_at_the_console() {
    let world = passthrough("").await;
    let before = world.simulator.requests().len();
    let mut bodies = Vec::new();
    for name in [
        r"viewed\zabbix",
        r"nowhere\zabbix",
        r"acmee\zabbix",
        "zabbix",
    ] {
        let refused = world
            .log_in(name, "a key that was taken away yesterday")
            .await;
        assert_eq!((refused.status, refused.code()), (400, "bad_credentials"));
        bodies.push(refused.body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "the names of tenants can be told apart");
    assert_eq!(world.simulator.requests().len(), before);
}

#[tokio::test]
async fn unknown_and_foreign_tenants_look_alike_when_header_and_name_say_the_same() {
    let world = World::start().await;
    let mut bodies = Vec::new();
    for tenant in ["viewed", "nowhere"] {
        let name = format!(r"{tenant}\zabbix");
        let form = encoded(&[
            ("grant_type", "password"),
            ("username", &name),
            ("password", ZABBIX),
        ]);
        let refused = world
            .call("POST", TOKEN, &[FORM, ("x-tenant", tenant)], form)
            .await;
        assert_eq!((refused.status, refused.code()), (403, "tenant_denied"));
        bodies.push(refused.body);
    }
    assert_eq!(bodies[0], bodies[1]);
}

#[tokio::test]
async fn a_token_does_not_follow_its_tenants_name_to_another() {
    let world = World::start().await;
    let login = world.log_in(r"acme\admin", ADMIN).await;
    let world = world
        .restart(|text| {
            text.replace(
                "name = \"acme\"\naliases = [\"1001\"]",
                "name = \"acme-old\"",
            )
            .replace(
                "name = \"globex\"\n",
                "name = \"globex\"\naliases = [\"acme\"]\n",
            )
            .replace("tenants = [\"acme\", \"globex\"]", "tenants = [\"globex\"]")
            .replace("tenants = [\"acme\"]", "tenants = [\"acme-old\"]")
        })
        .await;
    let refused = world.get_as(&login.text("access_token"), ME).await;
    assert_eq!((refused.status, refused.code()), (403, "tenant_denied"));
    assert_eq!(refresh(&world, &login).await.code(), "tenant_denied");
}

#[tokio::test]
async fn a_token_does_not_follow_its_tenant_to_another_user() {
    let world = World::start().await;
    let login = world.log_in(r"acme\admin", ADMIN).await;
    let world = world
        .restart(|text| {
            text.replace(
                &format!("user = \"{ACME}\""),
                &format!("user = \"{GLOBEX}\""),
            )
        })
        .await;
    let refused = world.get_as(&login.text("access_token"), ME).await;
    assert_eq!((refused.status, refused.code()), (401, "bad_credentials"));
    let refused = refresh(&world, &login).await;
    assert_eq!((refused.status, refused.code()), (400, "bad_credentials"));
    assert_eq!(refused.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn a_form_that_cannot_be_used_costs_nothing_at_the_console() {
    let world = passthrough("expose_tokens = true").await;
    let login = world.log_in(USER, ADMINISTRATOR_PASSWORD).await;
    let token = login.text("refresh_token");
    let before = world.simulator.requests().len();
    let forms: [&[(&str, &str)]; 3] = [
        &[
            ("grant_type", "refresh_token"),
            ("refresh_token", &token),
            ("readOnly", "on"),
        ],
        &[
            ("grant_type", "mfa"),
            ("mfa_token", "x"),
            ("mfa_code", "1"),
            ("readOnly", "on"),
        ],
        &[
            ("grant_type", "password"),
            ("username", "j"),
            ("password", "x"),
            ("readOnly", "on"),
        ],
    ];
    for form in forms {
        let refused = world.token(form).await;
        assert_eq!((refused.status, refused.code()), (400, "bad_request"));
        assert_eq!(world.outcome(&refused).await["attempts"], 0);
    }
    assert_eq!(world.simulator.requests().len(), before);
    assert!(ok(&refresh(&world, &login).await), "it was not used up");
    for query in ["password=x", "a=b&Refresh_Token=x", "%63ode=1"] {
        let path = format!("{TOKEN}?{query}");
        let refused = world.call("POST", &path, &[FORM], "").await;
        assert_eq!((refused.status, refused.code()), (400, "key_in_query"));
    }
}

#[tokio::test]
async fn two_readings_of_a_form_log_nobody_in_as_another() {
    let world = passthrough("").await;
    let part = |boundary: &str, name: &str, value: &str| {
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        )
    };
    let form = |boundary: &str, user: &str, password: &str| {
        part(boundary, "grant_type", "password")
            + &part(boundary, "username", user)
            + &part(boundary, "password", password)
    };
    let inner = form("X", USER, ADMINISTRATOR_PASSWORD) + "--X--\r\n";
    let body = form("Y", r"VSPC\victim", "x") + &part("Y", "z", &inner) + "--Y--\r\n";
    for kind in [
        "multipart/form-data; boundary=X; boundary=Y",
        "multipart/form-data; boundary=Y; boundary=X",
        "multipart/form-data; x=\"; boundary=Y; \"; boundary=X",
        "multipart/form-data; x=\"; boundary=X; \"; boundary=Y",
    ] {
        let answer = world
            .call("POST", TOKEN, &[("content-type", kind)], body.clone())
            .await;
        let who = world.outcome(&answer).await["user"].clone();
        if ok(&answer) {
            let me = world.get_as(&answer.text("access_token"), ME).await;
            assert_eq!(json!(me.text_at("/data/userName")), who, "{kind}");
        }
        // Nobody finds another's session in its place.
        assert_eq!(
            world.log_in(r"VSPC\victim", "x").await.status,
            400,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn an_exposed_session_keeps_its_name_through_renewals() {
    let world = passthrough("expose_tokens = true").await;
    let login = world.log_in(USER, ADMINISTRATOR_PASSWORD).await;
    let renewed = refresh(&world, &login).await;
    let called = world.get_as(&renewed.text("access_token"), ME).await;
    let session = world.outcome(&login).await["session"].clone();
    for answer in [&renewed, &called] {
        let record = world.outcome(answer).await;
        assert_eq!(
            (&record["user"], &record["session"]),
            (&json!(USER), &session)
        );
    }
    // One that nobody was given here is none, and the console is not asked.
    let before = world.simulator.requests().len();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", "made-up"),
    ];
    let refused = world.token(&form).await;
    assert_eq!((refused.status, refused.code()), (400, "bad_credentials"));
    assert_eq!(world.simulator.requests().len(), before);
}

#[tokio::test]
async fn an_exposed_token_that_may_have_been_used_is_not_given_out_again() {
    let world = passthrough("expose_tokens = true").await;
    let login = world.log_in(USER, ADMINISTRATOR_PASSWORD).await;
    world
        .simulator
        .fault(Fault::new(Action::CutBeforeHead).under(TOKEN));
    assert_eq!(refresh(&world, &login).await.code(), "upstream_unreachable");
    let again = world.log_in(USER, ADMINISTRATOR_PASSWORD).await;
    assert_ne!(again.text("refresh_token"), login.text("refresh_token"));
}

#[tokio::test]
async fn an_exposed_token_is_good_to_its_end() {
    let world = passthrough("expose_tokens = true").await;
    let (access, refresh) = (Duration::from_secs(8), Duration::from_secs(3600));
    world.simulator.set_lifetimes(access, refresh);
    let begun = tokio::time::Instant::now();
    let login = world.log_in(USER, ADMINISTRATOR_PASSWORD).await;
    tokio::time::sleep_until(begun + Duration::from_millis(7300)).await;
    let answer = world.get_as(&login.text("access_token"), ME).await;
    assert!(ok(&answer), "{answer:?}");
}

#[tokio::test]
async fn a_key_with_a_wrong_name_is_attributed_to_whose_it_is() {
    let world = World::start().await;
    let refused = world.log_in("nobody", ZABBIX).await;
    let record = world.outcome(&refused).await;
    assert_eq!(record["client"], "zabbix");
    let label = vspc_gateway::secret::KeyDigest::of(ZABBIX.as_bytes()).label();
    assert_eq!(record["credential"], format!("password:{label}"));
    assert_eq!(record["user"], Value::Null);
}

#[tokio::test]
async fn a_log_in_of_which_two_hold_the_tokens_ends_with_all_of_them() {
    let world = World::start().await;
    let first = world.log_in(r"acme\admin", ADMIN).await;
    let second = refresh(&world, &first).await;
    let third = refresh(&world, &second).await;
    assert!(ok(&world.get_as(&third.text("access_token"), ME).await));
    assert_eq!(refresh(&world, &first).await.status, 400);
    let before = world.grants("as");
    for login in [&first, &second, &third] {
        let refused = world.get_as(&login.text("access_token"), ME).await;
        assert_eq!((refused.status, refused.code()), (401, "bad_credentials"));
        let token = login.text("refresh_token");
        let form = [
            ("grant_type", "as"),
            ("refresh_token", token.as_str()),
            ("userUid", GLOBEX),
        ];
        let refused = world.token(&form).await;
        assert_eq!((refused.status, refused.code()), (400, "bad_credentials"));
    }
    // Nothing was done at the console for a token that is not good.
    assert_eq!(world.grants("as"), before);
    let world = world.restart(|text| text).await;
    assert_eq!(
        world.get_as(&third.text("access_token"), ME).await.status,
        401
    );
}

#[tokio::test]
async fn two_authorizations_are_one_too_many() {
    let world = World::start().await;
    let full = world.log_in(r"acme\admin", ADMIN).await;
    let narrowed = world
        .token(&[
            ("grant_type", "as"),
            ("refresh_token", &full.text("refresh_token")),
            ("userUid", GLOBEX),
        ])
        .await;
    let bearer = |answer: &Answer| format!("Bearer {}", answer.text("access_token"));
    let (one, other) = (bearer(&full), bearer(&narrowed));
    for (one, other) in [(&one, &other), (&other, &one), (&one, &one)] {
        let headers = [("authorization", one.as_str()), ("authorization", other)];
        let refused = world.call("GET", ME, &headers, "").await;
        assert_eq!(
            (refused.status, refused.code()),
            (401, "conflicting_credentials")
        );
    }
    // A token is no key.
    let token = full.text("access_token");
    let refused = world.call("GET", ME, &[("x-api-key", &token)], "").await;
    assert_eq!((refused.status, refused.code()), (401, "bad_credentials"));
    assert_eq!(world.reached(), []);
}

#[tokio::test]
async fn a_read_only_session_is_renewed_as_one() {
    let world = passthrough("").await;
    let (access, refresh) = (Duration::from_secs(1), Duration::from_secs(3600));
    world.simulator.set_lifetimes(access, refresh);
    let form = [
        ("grant_type", "password"),
        ("username", USER),
        ("password", ADMINISTRATOR_PASSWORD),
        ("readOnly", "true"),
    ];
    let token = world.token(&form).await.text("access_token");
    let renewed_as_one = |world: &World| {
        let seen = world.simulator.requests().into_iter();
        let mut renewals = seen.filter(|seen| seen.grant == Some("refresh_token"));
        renewals.any(|seen| String::from_utf8_lossy(&seen.body).contains("readOnly=true"))
    };
    until_true_async(async || {
        assert!(ok(&world.get_as(&token, ME).await));
        renewed_as_one(&world)
    })
    .await;
}

#[tokio::test]
async fn a_passed_through_user_makes_no_key_that_leads_round_the_gateway() {
    let world = passthrough("").await;
    let login = world.log_in(USER, ADMINISTRATOR_PASSWORD).await;
    let bearer = format!("Bearer {}", login.text("access_token"));
    for kind in ["apikey", "asymmetricalgorithm", "totp"] {
        let path = format!("/api/v3/users/{}/logins/{kind}", ACME_ADMINISTRATOR.uid);
        let headers = [("authorization", bearer.as_str())];
        let refused = world.call("POST", &path, &headers, "").await;
        assert_eq!((refused.status, refused.code()), (403, "operation_denied"));
    }
    let path = format!("/api/v3/users/{}/logins", ACME_ADMINISTRATOR.uid);
    assert!(ok(&world.get_as(&login.text("access_token"), &path).await));
}

#[tokio::test]
async fn a_second_factor_is_asked_for_by_each_and_remembered_by_nobody() {
    let world = passthrough("expose_tokens = true").await;
    let step = world.log_in(INITECH_MFA.name, ADMINISTRATOR_PASSWORD).await;
    let now = vspc_gateway::clock::Clock::System.now().0 / 1_000_000;
    let code = totp_code(INITECH_MFA_SECRET, u64::try_from(now).unwrap()).unwrap();
    let form = [
        ("grant_type", "mfa"),
        ("mfa_token", &step.text("mfa_token")),
        ("mfa_code", &code),
    ];
    let login = world.token(&form).await;
    assert!(ok(&login), "{login:?}");
    assert!(ok(&world.get_as(&login.text("access_token"), ME).await));
    let again = world.log_in(INITECH_MFA.name, ADMINISTRATOR_PASSWORD).await;
    assert_eq!(again.json()["access_token"], Value::Null);
    assert_eq!(world.token(&form).await.status, 400, "a code is good once");
}

#[tokio::test]
async fn a_key_with_something_around_it_is_still_a_key() {
    let world = passthrough("").await;
    let before = world.simulator.requests().len();
    for mangled in [
        format!(" {BILLING}"),
        format!("\t{BILLING}"),
        format!("\u{a0}{BILLING}"),
        format!("\u{feff}{BILLING}"),
        format!("\"{BILLING}\""),
        format!("Bearer {BILLING}"),
        format!("billing:{BILLING}"),
        format!("key={BILLING}"),
        format!("acme|{BILLING}"),
        format!("acme.{BILLING}"),
        BILLING.to_uppercase(),
    ] {
        for (name, secret) in [("jane", mangled.as_str()), (mangled.as_str(), "x")] {
            let refused = world.log_in(name, secret).await;
            assert_eq!((refused.status, refused.code()), (400, "bad_credentials"));
            assert_eq!(
                world.outcome(&refused).await["user"],
                Value::Null,
                "{mangled:?}"
            );
        }
    }
    assert_eq!(world.simulator.requests().len(), before);
    let (console, audit) = shown(&world, &BILLING[4..]);
    assert!(!console && !audit);
}

#[tokio::test]
async fn a_token_in_the_target_is_refused_and_not_recorded() {
    let world = World::start().await;
    let login = world.log_in("billing", BILLING).await;
    for token in [login.text("access_token"), login.text("refresh_token")] {
        for target in [
            format!("/api/v3/users/{token}"),
            format!("/api/v3/users/me/{token}?a=b"),
            format!("/api/v3/users/me?x={token}"),
            format!("/api/v3/users/me?{token}"),
        ] {
            let refused = world
                .call("GET", &target, &[("x-api-key", BILLING)], "")
                .await;
            assert_eq!((refused.status, refused.code()), (400, "key_in_query"));
            world.outcome(&refused).await;
        }
        let signature = token.rsplit('.').next().unwrap();
        assert_eq!(shown(&world, signature), (false, false));
    }
    assert_eq!(world.reached(), []);
}

#[tokio::test]
async fn who_tried_to_log_in_is_in_the_record() {
    let world = World::start().await;
    for name in [r"acme\Zabbix", r"DOMAIN\svc-billing", r"acme\zabbix"] {
        let refused = world.log_in(name, "not its key").await;
        assert_eq!((refused.status, refused.code()), (400, "bad_credentials"));
        assert_eq!(world.outcome(&refused).await["user"], name);
    }
}

#[tokio::test]
async fn a_session_that_was_revoked_just_now_ends_and_the_next_log_in_is_another() {
    let world = passthrough("").await;
    let login = world.log_in(USER, ADMINISTRATOR_PASSWORD).await;
    assert!(ok(&world.get_as(&login.text("access_token"), ME).await));
    world.simulator.end_sessions(Some(ACME_ADMINISTRATOR.uid));
    let refused = world.get_as(&login.text("access_token"), ME).await;
    assert_eq!((refused.status, refused.code()), (401, "bad_credentials"));
    let again = world.log_in(USER, ADMINISTRATOR_PASSWORD).await;
    assert!(ok(&world.get_as(&again.text("access_token"), ME).await));
    assert_eq!(refresh(&world, &login).await.code(), "bad_credentials");
}

#[tokio::test]
async fn a_grant_for_others_says_what_would_allow_it() {
    let world = World::start().await;
    let form = [("grant_type", "mfa"), ("mfa_token", "x"), ("mfa_code", "1")];
    let refused = world.token(&form).await;
    assert_eq!(refused.json()["error"], "unsupported_grant_type");
    assert!(
        refused
            .text("error_description")
            .contains("passthrough_logins")
    );
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_have_a_wrong_password_asked_again() {
    let world = passthrough("").await;
    let slow = Fault::new(Action::Delay).delay(Duration::from_millis(400));
    world.simulator.fault(slow.under(TOKEN).times(1));
    let form = encoded(&[
        ("grant_type", "password"),
        ("username", USER),
        ("password", "wrong"),
    ]);
    let impatient = world.call("POST", TOKEN, &[FORM], form);
    let waited = tokio::time::timeout(Duration::from_millis(150), impatient).await;
    assert!(waited.is_err(), "the console was not slow");
    let refused = world.log_in(USER, "wrong").await;
    assert_eq!((refused.status, refused.code()), (400, ""));
    let seen = world.simulator.requests().into_iter();
    let asked = seen.filter(|seen| String::from_utf8_lossy(&seen.body).contains("wrong"));
    assert_eq!(asked.count(), 1);
}

#[tokio::test]
async fn a_page_of_something_before_the_console_ends_no_session() {
    let world = passthrough("").await;
    let (access, refresh) = (Duration::from_secs(1), Duration::from_secs(3600));
    world.simulator.set_lifetimes(access, refresh);
    let login = world.log_in(USER, ADMINISTRATOR_PASSWORD).await;
    let page = Action::Answer {
        status: 403,
        body: Some("<html>blocked</html>".to_owned()),
        content_type: Some("text/html".to_owned()),
        headers: Vec::new(),
    };
    let page = Fault::new(page).under(TOKEN).grant("refresh_token");
    world.simulator.fault(page.times(0));
    let token = login.text("access_token");
    let mut ill = None;
    until_true_async(async || {
        let answer = world.get_as(&token, ME).await;
        ill = (!ok(&answer)).then_some(answer);
        ill.is_some()
    })
    .await;
    let ill = ill.unwrap();
    assert_eq!((ill.status, ill.code()), (503, "token_unavailable"));
    world.simulator.clear_faults();
    until_true_async(async || ok(&world.get_as(&token, ME).await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_do_not_make_room_for_more() {
    let world = passthrough("").await;
    let slow = Fault::new(Action::Delay).delay(Duration::from_millis(300));
    let slow = slow.under(TOKEN).grant("password");
    world.simulator.fault(slow.times(0));
    for round in 0..20 {
        let name = format!("jane{round}");
        let impatient = world.log_in(&name, "a guess");
        drop(tokio::time::timeout(Duration::from_millis(20), impatient).await);
    }
    assert!(world.simulator.state().in_flight_max <= 3);
}
