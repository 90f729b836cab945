use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::client::{Certificate, SubjectName};
use crate::clock::Timestamp;
use crate::freeze::{Hold, Scope};
use crate::secret::KeyDigest;
use crate::upstream::Fingerprint256;

const KEY: &str = "vgk_explain_key_0000000000000000000000";
const OLD: &str = "vgk_explain_old_0000000000000000000000";
const OTHER: &str = "vgk_explain_other_00000000000000000000";
const ACME: &str = "b3ffc78b-7982-44f3-ae66-1384415f2bea";
const GLOBEX: &str = "c28df41e-5182-4668-b911-1987d4c9150f";

/// A configuration whose secrets are nowhere.
fn text() -> String {
    let digest = |key: &str| KeyDigest::of(key.as_bytes()).to_string();
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
[audit]
directory = "audit"
[state]
directory = "state"
key = {{ file = "nowhere/key" }}
[[consoles]]
name = "main"
url = "https://vspc.example.com:1280"
tls = {{ ca = "nowhere/ca.pem" }}
login = {{ grant = "public_key", private_key = {{ file = "nowhere/key.pem" }} }}
[[consoles]]
name = "other"
url = "https://other.example.com:1280"
login = {{ grant = "password", username = "u", password = {{ env = "NOWHERE_AT_ALL" }}, totp_secret = {{ file = "nowhere/totp" }} }}
tenants = "directory"
[[tenants]]
name = "acme"
console = "main"
aliases = ["1001"]
impersonate = {{ user = "{ACME}" }}
[[tenants]]
name = "globex"
console = "main"
impersonate = {{ user = "{GLOBEX}" }}
[[tenants]]
name = "viewed"
console = "main"
impersonate = {{ user = "{GLOBEX}" }}
read_only = true
[[tenants]]
name = "owned"
console = "main"
impersonate = {{ company = "49dcc517-a32c-438e-b53d-ee0084dc7feb" }}
[[tenants]]
name = "initech"
console = "main"
login = {{ api_key = {{ file = "nowhere/initech" }} }}
[mapping]
tenant_header = "X-Tenant"
user_header = "X-User"
reason_header = "X-Audit-Reason"
reason_pattern = 'INC[0-9]+'
rules = [{{ claim = "tid", pattern = 'customer-(?<tenant>[a-z]+)' }}]
[[clients]]
name = "zabbix"
api_keys = [
  {{ digest = "{}", label = "2026-Q4" }},
  {{ digest = "{}", label = "2020-Q4", expires = "2021-01-01T00:00:00Z" }},
]
tenants = ["acme", "globex", "viewed", "owned", "initech"]
networks = ["10.0.0.0/8"]
allow = [
  {{ methods = ["GET"], paths = ["/api/v3/**"] }},
  {{ methods = ["DELETE"], paths = ["/api/v3/users/**"], tenants = ["globex"] }},
  {{ methods = ["POST"], paths = ["/api/v3/jobs/**"], hours = {{ days = ["mon"] }} }},
  {{ methods = ["POST"], paths = ["/api/v3/tickets/**"], reason = "required" }},
  {{ methods = ["PATCH"], paths = ["/api/v3/**"] }},
  {{ methods = ["PUT"], paths = ["/api/v3/targets/**"], targets = ["{GLOBEX}"] }},
]
deny = [{{ paths = ["/api/v3/secret/**"] }}]
[[clients]]
name = "robot"
certificate = {{ san = "robot.example.net" }}
tenants = ["acme"]
allow = [{{ methods = ["*"], paths = ["/api/v3/**"] }}]
[[clients]]
name = "all"
api_keys = ["{}"]
tenants = ["*"]
allow = [{{ methods = ["*"], paths = ["/api/v3/**"] }}]
"#,
        digest(KEY),
        digest(OLD),
        digest(OTHER),
    )
}

fn plan() -> (Plan, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::parse_alone(&text(), folder.path());
    (Plan::new(settings.unwrap()), folder)
}

/// Wednesday, the 4th of March 2026.
const NOW: Timestamp = Timestamp(1_772_600_767_000_089);

fn question(method: &str, path: &str, headers: &[(&str, &str)]) -> Question {
    let mut question = Question::new(method, path, NOW);
    question.source = Some([10, 0, 0, 1].into());
    question.headers = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    question
}

/// Zabbix's question for acme, with more headers.
fn ask(plan: &Plan, method: &str, path: &str, more: &[(&str, &str)]) -> Told {
    let key = [("x-api-key", KEY)];
    let tenant: &[_] = match more.iter().any(|(name, _)| *name == "x-tenant") {
        true => &[],
        false => &[("x-tenant", "acme")],
    };
    let headers = [&key, tenant, more].concat();
    plan.explain(&question(method, path, &headers)).unwrap()
}

/// The changes that a refusal names, in one text.
fn changes(told: &Told) -> String {
    match told.verdict() {
        Verdict::Refused(refusal) => refusal.changes.join("\n"),
        other => panic!("{other:?}\n{told}"),
    }
}

#[test]
fn what_is_allowed_is_told_with_what_is_sent() {
    let (plan, _folder) = plan();
    let told = ask(
        &plan,
        "GET",
        "/api/v3/users?limit=5",
        &[("accept", "a/b"), ("cookie", "c")],
    );
    let expected = "\
allowed  GET /api/v3/users?limit=5
  client    zabbix, by api_key:DIGEST(2026-Q4)
  tenant    acme
  console   main
  acts as   user b3ffc78b-7982-44f3-ae66-1384415f2bea
  rule      clients.zabbix.allow[0]
  sent to   https://vspc.example.com:1280/api/v3/users?limit=5
  token     the token of that user
  headers   accept
  stripped  cookie, x-api-key, x-tenant
  run time  whether the console gives a token, takes the request, and what it answers
";
    let digest = KeyDigest::of(KEY.as_bytes()).label();
    assert_eq!(told.to_string(), expected.replace("DIGEST", &digest));
    let json = told.json();
    assert_eq!(json["outcome"], "allowed");
    assert_eq!(json["code"], "ok");
    assert_eq!(json["target"]["uid"], ACME);
    assert_eq!(json["sent"]["read_only"], false);
    let viewed = ask(&plan, "GET", "/api/v3/users", &[("x-tenant", "viewed")]);
    assert_eq!(viewed.json()["sent"]["read_only"], true);
    let own = ask(&plan, "GET", "/api/v3/users", &[("x-tenant", "initech")]);
    assert_eq!(own.json()["acts_as"], "the tenant's own account");
}

#[test]
fn each_refusal_says_what_would_change_it() {
    let (plan, _folder) = plan();
    for (method, path, more, code, expected) in [
        (
            "DELETE",
            "/api/v3/users/7",
            &[][..],
            "operation_denied",
            "add \"acme\" to the tenants of clients.zabbix.allow[1]",
        ),
        (
            "DELETE",
            "/api/v3/users/7",
            &[],
            "operation_denied",
            "add \"DELETE\" to the methods (or operations) of clients.zabbix.allow[0]",
        ),
        (
            "POST",
            "/api/v3/jobs/1",
            &[],
            "operation_denied",
            "ask while clients.zabbix.allow[2] holds, mon 00:00 to 24:00 UTC, or change its hours",
        ),
        (
            "GET",
            "/api/v3/secret/x",
            &[],
            "operation_denied",
            "clients.zabbix.deny[0] denies it, whatever allows it",
        ),
        (
            "GET",
            "/proxy/1",
            &[],
            "operation_denied",
            "add { methods = [\"GET\"], paths = [\"/proxy/*\"] } to clients.zabbix.allow",
        ),
        (
            "GET",
            "/api/v3/authentication/keys/1",
            &[],
            "operation_denied",
            "name the road in clients.zabbix.allow[0]: add \"/api/v3/authentication/keys/**\" to its paths",
        ),
        (
            "PATCH",
            "/api/v3/users",
            &[("x-tenant", "viewed")],
            "operation_denied",
            "take read_only out of the tenant \"viewed\"",
        ),
        (
            "POST",
            "/api/v3/tickets/1",
            &[],
            "reason_required",
            "send x-audit-reason once, with a reason that matches INC[0-9]+",
        ),
        (
            "GET",
            "/api/v3/users",
            &[("x-audit-reason", "why")],
            "bad_request",
            "a reason that matches INC[0-9]+",
        ),
        (
            "GET",
            "/api/v3/users",
            &[("x-tenant", "Acme")],
            "tenant_denied",
            "write \"acme\": names are compared letter for letter",
        ),
        (
            "GET",
            "/api/v3/users",
            &[("x-tenant", "hooli")],
            "tenant_denied",
            "name one of: acme, globex, initech, owned, viewed\nor add a tenant, or an alias of one, called \"hooli\"",
        ),
        (
            "GET",
            "/api/v3/users",
            &[("x-tenant", "a,b")],
            "tenant_ambiguous",
            "send x-tenant",
        ),
        (
            "GET",
            "/api/v3/users",
            &[("x-user", GLOBEX)],
            "target_denied",
            "to clients.zabbix.targets",
        ),
        (
            "GET",
            "/api/v3/users",
            &[("x-user", "me")],
            "target_ambiguous",
            "send x-user once, with one userUid",
        ),
        (
            "GET",
            "/api/v3//users",
            &[],
            "ambiguous_path",
            "take \"//\" out",
        ),
        (
            "GET",
            "/api/v3/a%2Fb/c;d",
            &[],
            "ambiguous_path",
            "take \"%2f\" out: an encoded slash divides segments for some readers\ntake \";\" out",
        ),
        (
            "GET",
            "/api/v3/a/../b",
            &[],
            "ambiguous_path",
            "write the segment \"..\" in another way",
        ),
        ("GET", "/api/v3/a b", &[], "bad_request", ""),
        ("GET", "/api/v3/a<b", &[], "bad_target", "percent-encode"),
        (
            "GET",
            "/api/v3/a?api_key=1",
            &[],
            "key_in_query",
            "send the key in X-Api-Key",
        ),
        (
            "PURGE",
            "/api/v3/a",
            &[],
            "method_refused",
            "send one of GET, HEAD",
        ),
        (
            "GET",
            "/api/v3/token",
            &[],
            "method_refused",
            "log-ins are POST",
        ),
        (
            "GET",
            "/api/v3/a",
            &[("x-api-key", OTHER)],
            "conflicting_credentials",
            "exactly one credential",
        ),
    ] {
        let told = ask(&plan, method, path, more);
        assert_eq!(told.code(), code, "{method} {path}\n{told}");
        let changes = changes(&told);
        assert!(changes.contains(expected), "{expected}\nis not in\n{told}");
    }
}

#[test]
fn credentials_are_told_apart() {
    let (plan, _folder) = plan();
    let told = |headers: &[(&str, &str)]| {
        plan.explain(&question("GET", "/api/v3/users", headers))
            .unwrap()
    };
    for (headers, code, expected) in [
        (
            &[][..],
            "no_credentials",
            "or ask with --client, for one of: all, robot, zabbix",
        ),
        (
            &[("x-api-key", OLD)],
            "bad_credentials",
            "key 2020-Q4 expired at 2021-01-01T00:00:00Z: give the client another",
        ),
        (
            &[("x-api-key", "vgk_cut")],
            "bad_credentials",
            "a key has at least 32 characters",
        ),
        (
            &[("x-api-key", "vgk_nobody_0000000000000000000000000000")],
            "bad_credentials",
            "add the digest of the key to api_keys",
        ),
        (
            &[("authorization", "Basic eDp5")],
            "bad_credentials",
            "the user name of Basic",
        ),
        (
            &[("x-api-key", KEY)],
            "tenant_required",
            "send x-tenant with one of: acme, globex, initech, owned, viewed",
        ),
    ] {
        let told = told(headers);
        assert_eq!(told.code(), code, "{told}");
        assert!(
            changes(&told).contains(expected),
            "{expected}\nis not in\n{told}"
        );
        assert!(!told.to_string().contains("vgk_"), "{told}");
    }
    // A token of the gateway or of an issuer may be good.
    let token = told(&[("authorization", "Bearer eyJh.eyJi.c2ln")]);
    assert_eq!(token.outcome(), Outcome::Open, "{token}");
}

#[test]
fn certificates_sources_and_freezes_count() {
    let (plan, folder) = plan();
    let mut shown = question("GET", "/api/v3/users", &[]);
    let certificate = |name: &str| {
        Arc::new(Certificate {
            fingerprint: Fingerprint256::parse(&"ab".repeat(32)).unwrap(),
            subject: "CN=r".to_owned(),
            names: vec![SubjectName::Dns(name.to_owned())],
            expires: Timestamp(i64::MAX),
        })
    };
    shown.certificate = Some(certificate("robot.example.net"));
    let told = plan.explain(&shown).unwrap();
    assert_eq!(told.json()["client"], "robot", "{told}");
    assert_eq!(told.outcome(), Outcome::Allowed);

    let mut abroad = question(
        "GET",
        "/api/v3/users",
        &[("x-api-key", KEY), ("x-tenant", "acme")],
    );
    abroad.source = Some([192, 0, 2, 1].into());
    let told = plan.explain(&abroad).unwrap();
    assert_eq!(told.code(), "source_denied");
    assert!(changes(&told).contains("call from one of clients.zabbix.networks: 10.0.0.0/8"));
    abroad.source = None;
    let told = plan.explain(&abroad).unwrap();
    assert_eq!(told.outcome(), Outcome::Allowed);
    let unseen = "not seen  the source: zabbix may call from 10.0.0.0/8 only";
    assert!(told.to_string().contains(unseen), "{told}");

    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let freezer = Freezer::open(&state).unwrap();
    let hold = Hold::new(
        Scope::Tenant("acme".to_owned()),
        NOW,
        "ann".to_owned(),
        None,
    );
    freezer.hold(hold);
    freezer.keep().unwrap();
    let settings = Settings::parse_alone(&text(), folder.path()).unwrap();
    let told = Plan::new(settings).explain(&abroad).unwrap();
    assert_eq!(told.code(), "frozen");
    assert_eq!(
        changes(&told),
        "end the freeze: vspc-gateway thaw --tenant \"acme\""
    );
    assert!(told.to_string().contains("by \"ann\""), "{told}");

    std::fs::write(state.join("frozen.json"), "{").unwrap();
    let settings = Settings::parse_alone(&text(), folder.path()).unwrap();
    let told = Plan::new(settings).explain(&abroad).unwrap();
    assert!(
        told.to_string().contains("not seen  what is frozen: "),
        "{told}"
    );
}

#[test]
fn what_only_the_console_knows_is_left_to_the_run_time() {
    let (plan, _folder) = plan();
    let told = ask(&plan, "GET", "/api/v3/users", &[("x-tenant", "owned")]);
    assert_eq!(told.outcome(), Outcome::Allowed);
    let json = told.json();
    assert_eq!(json["target"], serde_json::Value::Null);
    let owner = "the owner of company 49dcc517-a32c-438e-b53d-ee0084dc7feb";
    assert_eq!(json["acts_as"], owner);
    assert!(
        json["at_run_time"]
            .to_string()
            .contains("which user that is")
    );
    // By its user a rule may hold or not.
    let told = ask(&plan, "PUT", "/api/v3/targets/1", &[("x-tenant", "owned")]);
    assert_eq!(told.outcome(), Outcome::Open, "{told}");

    let all = |name: &str| {
        let headers = [("x-api-key", OTHER), ("x-tenant", name)];
        plan.explain(&question("GET", "/api/v3/users", &headers))
            .unwrap()
    };
    let told = all("Hooli");
    assert_eq!(told.outcome(), Outcome::Allowed, "{told}");
    assert!(
        told.to_string()
            .contains("whether other has a company \"Hooli\""),
        "{told}"
    );
    // It is not remembered.
    assert!(all("Hooli").to_string().contains("whether other has"));
    assert_eq!(
        all("acme").json()["at_run_time"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn a_named_client_may_claim_what_its_token_would() {
    let (plan, _folder) = plan();
    let mut question = question("GET", "/api/v3/users", &[]);
    question.client = Some("zabbix".to_owned());
    question.claims = vec![("tid".to_owned(), "customer-globex".to_owned())];
    let json = plan.explain(&question).unwrap().json();
    assert_eq!(json["tenant"], "globex");
    assert_eq!(json["mapping"], "mapping.rules[0]");
    assert_eq!(json["credential"], serde_json::Value::Null);
    let tenant = ("x-tenant".parse().unwrap(), "acme".parse().unwrap());
    question.headers.push(tenant);
    let told = plan.explain(&question).unwrap();
    assert_eq!(told.code(), "tenant_mismatch");
    let expected = "mapping.rules[0] says \"globex\", the header x-tenant says \"acme\"";
    assert!(changes(&told).contains(expected), "{told}");

    question.client = None;
    assert_eq!(plan.explain(&question).unwrap_err(), BadQuestion::Claims);
    question.claims.clear();
    question.target = "api/v3".to_owned();
    assert_eq!(plan.explain(&question).unwrap_err(), BadQuestion::Path);
}

/// What is advised is done, and the question asked again.
#[test]
fn a_rule_that_is_advised_for_a_path_outside_the_api_opens_it() {
    let (plan, _folder) = plan();
    let ask = |plan: &Plan, path: &str| {
        let headers = [("x-api-key", OTHER), ("x-tenant", "acme")];
        plan.explain(&question("GET", path, &headers)).unwrap()
    };
    let (head, tail) = text()
        .rsplit_once("allow = [")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    for path in [
        "/uiapi/x/7",
        "/uiapi",
        "/UiApi/x",
        "/7/x",
        "/b3ffc78b-7982-44f3-ae66-1384415f2bea",
        "/api/swagger/ui",
        "/api/7",
        "/api/v2/users",
        "/proxy/7/x",
        "/proxy",
    ] {
        let told = ask(&plan, path);
        assert_eq!(told.code(), "operation_denied", "{path}");
        let changes = changes(&told);
        let rule = changes.split_once("add { ").expect(path).1;
        let rule = rule.split_once(" } to clients.all.allow").expect(path).0;
        let text = format!("{head}allow = [{{ {rule} }}, {tail}");
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::parse_alone(&text, folder.path());
        let opened = ask(&Plan::new(settings.expect(path)), path);
        assert_eq!(opened.code(), "ok", "{path}: {changes}");
    }
    for path in ["/", "/api"] {
        let told = ask(&plan, path);
        assert!(changes(&told).contains("no rule can open it"), "{told}");
    }
}
