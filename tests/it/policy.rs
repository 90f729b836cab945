//! Rules with conditions, reasons, and roads that must be named: what callers are told, what is
//! recorded, and what the console saw.

use serde_json::{Value, json};
use vspc_gateway::clock::Clock;
use vspc_gateway::secret::KeyDigest;
use vspc_simulator::Simulator;

use crate::harness::{
    ACME, Answer, BILLING, FORM, GLOBEX, World, ZABBIX, configuration, encoded, ok,
    unsigned_settings,
};

/// Has the rules of a test, for acme and globex.
const TOOL: &str = "vgk_test_tool_000000000000000000000";
const ME: &str = "/api/v3/users/me";
const REASON: &str = "x-audit-reason";

/// A gateway with one more client, and more lines in `[mapping]`.
async fn world(mapping: &str, client: &str) -> World {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(folder.path(), &simulator.url(), "", "127.0.0.1:0");
    let header = "tenant_header = \"X-Tenant\"\n";
    assert!(text.contains(header));
    let text = text.replace(header, &format!("{header}{mapping}\n"));
    let digest = KeyDigest::of(TOOL.as_bytes());
    let text = format!(
        "{text}\n[[clients]]\nname = \"tool\"\napi_keys = [\"{digest}\"]\n\
         tenants = [\"acme\", \"globex\"]\ntargets = [\"{GLOBEX}\"]\n{client}\n"
    );
    World::start_in(simulator, folder, &text, |_| {}).await
}

async fn call(world: &World, method: &str, path: &str, more: &[(&str, &str)]) -> Answer {
    let headers = [&[("x-api-key", TOOL), ("x-tenant", "acme")], more].concat();
    world.call(method, path, &headers, "").await
}

/// Asserts that a request was refused as it should be, and that nobody but the log knows why.
async fn assert_refused(world: &World, answer: &Answer, code: &str, rule: Value, detail: &str) {
    assert_eq!((answer.status, answer.code()), (403, code), "{answer:?}");
    let told = answer.text_at("/errors/0/message");
    assert!(
        !told.contains("allow") || told.contains("no rule"),
        "{told}"
    );
    let record = world.outcome(answer).await;
    for (member, expected) in [
        ("code", json!(code)),
        ("rule", rule),
        ("detail", json!(detail)),
        ("attempts", json!(0)),
    ] {
        let said = record.get(member).cloned().unwrap_or_default();
        assert_eq!(said, expected, "{member}: {record}");
    }
}

#[tokio::test]
async fn roads_are_closed_until_a_rule_names_them() {
    let world = world(
        "",
        "allow = [{ methods = [\"*\"], paths = [\"/api/v3/**\", \"/**\", \"/api/v3/users/**\"] }]",
    )
    .await;
    for (method, path, rule, detail) in [
        (
            "GET",
            "/proxy/1/vbr/api".to_owned(),
            "roads.proxy",
            "dangerous road not named: /proxy/**; it leads into the backup servers behind the \
             console, with the highest rights there",
        ),
        (
            "GET",
            "/uiapi/x".to_owned(),
            "roads.outside",
            "dangerous road not named: a path outside /api/v3; it is no part of the REST API: \
             nobody has said what it can do",
        ),
        (
            "GET",
            "/api/v3/Authentication/keys/rsa".to_owned(),
            "roads.keys",
            "dangerous road not named: /api/v3/authentication/keys/**; its answers hold private \
             keys and secrets of second factors",
        ),
        (
            "DELETE",
            format!("/api/v3/users/{ACME}/tokens"),
            "roads.tokens",
            "dangerous road not named: DELETE /api/v3/users/*/tokens; it ends all sessions of a \
             user, whoever holds them, and is costly for the console",
        ),
        (
            "POST",
            format!("/api/v3/users/{ACME}/logins/apikey?description=x&scopes=rest"),
            "roads.logins",
            "dangerous road not named: POST /api/v3/users/*/logins/**; it makes credentials that \
             lead round the gateway, and that outlive it",
        ),
    ] {
        let answer = call(&world, method, &path, &[]).await;
        let record = world.outcome(&answer).await;
        assert_eq!((answer.status, answer.code()), (403, "operation_denied"));
        assert_eq!(record["rule"], rule, "{path}");
        assert_eq!(record["detail"], detail, "{path}");
    }
    assert_eq!(world.reached(), []);
    assert_eq!(world.grants("as"), (0, 0));
}

#[tokio::test]
async fn a_rule_that_names_a_road_opens_it() {
    let world = world(
        "",
        r#"
[[clients.allow]]
name = "reset"
operations = ["DELETE /users/{userUid}/tokens"]
[[clients.allow]]
methods = ["GET"]
paths = ["/api/v3/**", "/api/v3/authentication/keys/**"]
"#,
    )
    .await;
    let path = format!("/api/v3/users/{ACME}/tokens");
    let answer = call(&world, "DELETE", &path, &[]).await;
    assert!(ok(&answer), "{answer:?}");
    let record = world.outcome(&answer).await;
    assert_eq!(record["rule"], "clients.tool.allow.reset");
    call(&world, "GET", "/api/v3/authentication/keys/rsa", &[]).await;
    let reached = world.reached();
    assert_eq!(reached.len(), 2);
    assert_eq!(reached[0].target, path);
}

#[tokio::test]
async fn conditions_that_do_not_hold_are_recorded_with_the_nearest_rule() {
    // An hour that is not now.
    let now = Clock::System.now().0 / 60_000_000 % 1440;
    let time = |minute: i64| format!("{:02}:{:02}", minute % 1440 / 60, minute % 60);
    let (from, to) = (time(now + 120), time(now + 180));
    let world = world(
        "",
        &format!(
            r#"
deny = [{{ operations = ["GET /users/logins"], tenants = ["acme"] }}]
[[clients.allow]]
operations = ["GET /users/me", "GET /users/logins"]
tenants = ["globex"]
[[clients.allow]]
methods = ["GET"]
paths = ["/api/v3/alarms/**"]
hours = {{ from = "{from}", to = "{to}" }}
[[clients.allow]]
methods = ["*"]
paths = ["/api/v3/organizations/**"]
read_only = true
[[clients.allow]]
methods = ["GET"]
paths = ["/api/v3/licensing/**"]
targets = ["{GLOBEX}"]
"#
        ),
    )
    .await;
    for (method, path, rule, detail) in [
        (
            "GET",
            "/api/v3/users/logins",
            json!("clients.tool.deny[0]"),
            "denied by clients.tool.deny[0]".to_owned(),
        ),
        (
            "GET",
            ME,
            Value::Null,
            "no rule allows it: clients.tool.allow[0] covers the path but is for other tenants"
                .to_owned(),
        ),
        (
            "POST",
            ME,
            Value::Null,
            "no rule allows it: clients.tool.allow[0] covers the path but lists only GET and is \
             for other tenants"
                .to_owned(),
        ),
        (
            "GET",
            "/api/v3/alarms/1",
            Value::Null,
            format!(
                "no rule allows it: clients.tool.allow[1] covers the path but holds only {from} to {to} UTC"
            ),
        ),
        (
            "POST",
            "/api/v3/organizations/companies",
            Value::Null,
            "no rule allows it: clients.tool.allow[2] covers the path but is for reading only"
                .to_owned(),
        ),
        (
            "GET",
            "/api/v3/licensing/x",
            Value::Null,
            "no rule allows it: clients.tool.allow[3] covers the path but is for other users"
                .to_owned(),
        ),
        (
            "GET",
            "/api/v3/elsewhere",
            Value::Null,
            "no rule allows it".to_owned(),
        ),
    ] {
        let answer = call(&world, method, path, &[]).await;
        assert_refused(&world, &answer, "operation_denied", rule, &detail).await;
    }
    assert_eq!(world.reached(), []);
    assert_eq!(world.grants("as"), (0, 0));

    // Where they hold.
    let answer = world.get(TOOL, "globex", "/api/v3/users/logins").await;
    assert!(ok(&answer), "{answer:?}");
    assert_eq!(
        world.outcome(&answer).await["rule"],
        "clients.tool.allow[0]"
    );
    // As the other user, by name.
    let login = world.log_in(r"acme\tool", TOOL).await;
    let refresh = login.text("refresh_token");
    let form = [
        ("grant_type", "as"),
        ("refresh_token", refresh.as_str()),
        ("userUid", GLOBEX),
    ];
    let token = world.token(&form).await.text("access_token");
    let answer = world.get_as(&token, "/api/v3/licensing/x").await;
    assert_eq!(
        world.outcome(&answer).await["rule"],
        "clients.tool.allow[3]"
    );
}

#[tokio::test]
async fn a_rule_for_reading_reads_with_a_token_that_can_do_no_more() {
    let world = world(
        "",
        r#"
[[clients.allow]]
methods = ["*"]
paths = ["/api/v3/users/**"]
read_only = true
[[clients.allow]]
methods = ["*"]
paths = ["/api/v3/_test/**"]
"#,
    )
    .await;
    assert!(ok(&call(&world, "GET", ME, &[]).await));
    let narrowed = |world: &World| {
        let seen = world.simulator.requests().into_iter();
        let granted = seen.filter(|seen| seen.grant == Some("as"));
        let bodies = granted.map(|seen| String::from_utf8_lossy(&seen.body).into_owned());
        let narrowed: Vec<bool> = bodies.map(|body| body.contains("readOnly=true")).collect();
        narrowed
    };
    assert_eq!(narrowed(&world), [true]);
    assert!(ok(&call(&world, "POST", "/api/v3/_test/sink", &[]).await));
    assert_eq!(narrowed(&world), [true, false]);
}

const TICKETS: &str = "reason_header = \"X-Audit-Reason\"\nreason_pattern = '(INC|CHG)[0-9]{4,}'";

#[tokio::test]
async fn a_reason_that_is_required_must_be_there_and_is_recorded() {
    let world = world(
        TICKETS,
        "reason = \"required\"\nallow = [{ methods = [\"*\"], paths = [\"/api/v3/**\"] }]",
    )
    .await;
    let rule = json!("clients.tool.allow[0]");
    let long = format!("INC{}", "1".repeat(198));
    for (lines, why) in [
        (&[][..], "is missing"),
        (&[("x_audit_reason", "INC1234")], "is missing"),
        (
            &[(REASON, "because")],
            "does not have the form that is asked for",
        ),
        (
            &[(REASON, "INC1234 and more")],
            "does not have the form that is asked for",
        ),
        (&[(REASON, "")], "is empty, or not one line of UTF-8 text"),
        (
            &[(REASON, "\u{3164}\u{2800}")],
            "is empty, or not one line of UTF-8 text",
        ),
        (&[(REASON, "INC1234"), (REASON, "INC1234")], "comes twice"),
        (
            &[(REASON, &long)],
            "is longer than 200 characters or 512 bytes",
        ),
    ] {
        let answer = call(&world, "POST", "/api/v3/_test/sink", lines).await;
        let told = answer.text_at("/errors/0/message");
        let expected =
            format!("reason_required: this needs a reason in the request: {REASON} {why}");
        assert_eq!(told, expected);
        let detail = format!("clients.tool.allow[0] needs a reason: {REASON} {why}");
        assert_refused(&world, &answer, "reason_required", rule.clone(), &detail).await;
        assert_eq!(world.outcome(&answer).await.get("reason"), None);
    }
    assert_eq!(world.reached(), []);

    let given = [
        (REASON, "INC1234"),
        ("x_audit_reason", "spoofed"),
        ("X.Audit.Reason", "too"),
    ];
    let answer = call(&world, "POST", "/api/v3/_test/sink", &given).await;
    assert!(ok(&answer), "{answer:?}");
    for kind in ["intent", "request"] {
        let id = answer.request_id();
        let record = world
            .record(|record| record["kind"] == kind && record["request_id"] == *id)
            .await;
        assert_eq!(record["reason"], "INC1234");
        assert_eq!(record["rule"], rule);
    }
    let reached = world.reached();
    assert_eq!(reached.len(), 1);
    let reached = format!("{:?}", reached[0].headers).to_lowercase();
    assert!(!reached.contains("reason"), "{reached}");

    // Of what is refused for another cause too.
    let denied = call(&world, "GET", "/proxy/x", &[(REASON, "CHG0001")]).await;
    let record = world.outcome(&denied).await;
    assert_eq!(
        (&record["code"], &record["reason"]),
        (&json!("operation_denied"), &json!("CHG0001"))
    );
}

#[tokio::test]
async fn a_log_in_needs_no_reason_but_the_calls_after_it_do() {
    let world = world(
        TICKETS,
        "reason = \"required\"\nallow = [{ methods = [\"GET\"], paths = [\"/api/v3/**\"] }]",
    )
    .await;
    let login = world.log_in(r"acme\tool", TOOL).await;
    assert!(ok(&login), "{login:?}");
    let form = [
        ("grant_type", "password"),
        ("username", r"acme\tool"),
        ("password", TOOL),
    ];
    for (reason, recorded) in [("CHG0042", json!("CHG0042")), ("because", Value::Null)] {
        let headers = [FORM, (REASON, reason)];
        let again = world
            .call("POST", "/api/v3/token", &headers, encoded(&form))
            .await;
        assert!(ok(&again), "{again:?}");
        assert_eq!(world.outcome(&again).await["reason"], recorded);
    }
    let bearer = format!("Bearer {}", login.text("access_token"));
    let refused = world.get_as(&login.text("access_token"), ME).await;
    assert_eq!((refused.status, refused.code()), (403, "reason_required"));
    let headers = [("authorization", bearer.as_str()), (REASON, "INC77777")];
    assert!(ok(&world.call("GET", ME, &headers, "").await));
}

#[tokio::test]
async fn a_reason_that_is_not_required_is_recorded_or_refused() {
    let world = world(
        TICKETS,
        r#"
[[clients.allow]]
methods = ["DELETE"]
paths = ["/api/v3/**"]
reason = "required"
[[clients.allow]]
methods = ["GET"]
paths = ["/api/v3/**"]
"#,
    )
    .await;
    let answer = call(&world, "GET", ME, &[]).await;
    assert!(ok(&answer));
    assert_eq!(world.outcome(&answer).await.get("reason"), None);
    let answer = call(&world, "GET", ME, &[(REASON, "INC1234")]).await;
    assert!(ok(&answer));
    assert_eq!(world.outcome(&answer).await["reason"], "INC1234");
    let before = world.reached().len();
    let answer = call(&world, "GET", ME, &[(REASON, "because")]).await;
    assert_eq!((answer.status, answer.code()), (400, "bad_request"));
    assert_eq!(world.outcome(&answer).await.get("reason"), None);
    let answer = call(&world, "DELETE", "/api/v3/x", &[]).await;
    assert_eq!((answer.status, answer.code()), (403, "reason_required"));
    // Other clients as well.
    let headers = [("x-api-key", BILLING), (REASON, "INC4321")];
    let answer = world.call("GET", ME, &headers, "").await;
    assert_eq!(world.outcome(&answer).await["reason"], "INC4321");
    let headers = [
        ("x-api-key", ZABBIX),
        ("x-tenant", "acme"),
        (REASON, "no ticket"),
    ];
    assert_eq!(
        world.call("GET", ME, &headers, "").await.code(),
        "bad_request"
    );
    assert_eq!(world.reached().len(), before + 1);
}

/// Without a header for reasons, one is a header like any other.
#[tokio::test]
async fn a_header_that_means_nothing_passes() {
    let world = world(
        "",
        "allow = [{ methods = [\"GET\"], paths = [\"/api/v3/**\"] }]",
    )
    .await;
    let answer = call(&world, "GET", ME, &[(REASON, "because")]).await;
    assert!(ok(&answer));
    assert_eq!(world.outcome(&answer).await.get("reason"), None);
    let reached = format!("{:?}", world.reached()[0].headers);
    assert!(reached.contains("because"), "{reached}");
}
