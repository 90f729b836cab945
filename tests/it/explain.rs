//! What `explain` says of requests, and what a gateway does with them: the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use vspc_gateway::clock::{Clock, Timestamp};
use vspc_gateway::config::Settings;
use vspc_gateway::explain::{Outcome, Plan, Question};
use vspc_gateway::freeze::{Freezer, Hold, Scope};
use vspc_gateway::secret::KeyDigest;
use vspc_simulator::Simulator;

use crate::harness::{
    ACME, ADMIN, Answer, BILLING, GLOBEX, World, ZABBIX, configuration, unsigned_settings,
};

const STRICT: &str = "vgk_test_strict_00000000000000000000";
const OLD: &str = "vgk_test_old_00000000000000000000000";
const ABROAD: &str = "vgk_test_abroad_00000000000000000000";
const ICED: &str = "vgk_test_iced_0000000000000000000000";
const NOBODYS: &str = "vgk_test_nobody_00000000000000000000";
const ONE: &str = "vgk_test_one_00000000000000000000000";

/// More clients, more tenants, and rules with all kinds of conditions.
fn rich(text: &str) -> String {
    let digest = |key: &str| KeyDigest::of(key.as_bytes()).to_string();
    let header = "tenant_header = \"X-Tenant\"\n";
    assert!(text.contains(header));
    let site = "{ header = \"X-Site\", value = \"7\", tenant = \"acme\" }";
    let sites = "{ header = \"X-Site\", pattern = 'site-(?<tenant>[a-z]+)' }";
    let user = "user_header = \"X-Impersonate-User\"";
    let header_too = format!("{header}{user}\nrules = [{site}, {sites}]\n");
    let reasons = "reason_header = \"X-Audit-Reason\"\nreason_pattern = '(INC|CHG)[0-9]{4,}'\n";
    let text = text.replace(header, &format!("{header_too}{reasons}"));
    // A day that is not today, nor tomorrow if midnight comes.
    let days = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];
    let today = Clock::System.now().0.div_euclid(24 * 60 * 60 * 1_000_000);
    let another = usize::try_from((today + 3).rem_euclid(7)).unwrap();
    let another = days.get(another).unwrap();
    format!(
        r#"{text}
[[tenants]]
name = "frosted"
impersonate = {{ user = "{ACME}" }}
[[clients]]
name = "strict"
api_keys = [
  {{ digest = "{}", label = "now" }},
  {{ digest = "{}", label = "2020-Q4", expires = "2021-01-01T00:00:00Z" }},
]
tenants = ["acme", "globex", "viewed", "frosted"]
targets = ["{GLOBEX}"]
allow = [
  {{ methods = ["GET"], paths = ["/api/v3/users/**"], tenants = ["acme"] }},
  {{ methods = ["GET"], paths = ["/api/v3/organizations/**"], targets = ["{GLOBEX}"] }},
  {{ methods = ["*"], paths = ["/api/v3/infrastructure/**"], hours = {{ days = ["{another}"] }} }},
  {{ operations = ["DELETE /users/{{userUid}}/tokens", "GET /licensing/**"] }},
  {{ name = "why", methods = ["POST", "GET"], paths = ["/api/v3/alarms/**"], reason = "required" }},
  {{ methods = ["*"], paths = ["/api/v3/discovery/**"], read_only = true }},
  {{ methods = ["*"], paths = ["/proxy/**", "/api/v3/plugins/**"] }},
]
deny = [{{ paths = ["/api/v3/users/*/logins"] }}, {{ methods = ["GET"], paths = ["/api/v3/alarms/secret"], tenants = ["globex"] }}]
[[clients]]
name = "abroad"
api_keys = ["{}"]
networks = ["192.0.2.0/24"]
tenants = ["*"]
allow = [{{ methods = ["*"], paths = ["/api/v3/**"] }}]
[[clients]]
name = "iced"
api_keys = ["{}"]
tenants = ["*"]
allow = [{{ methods = ["*"], paths = ["/api/v3/**"] }}]
[[clients]]
name = "one"
api_keys = ["{}"]
tenants = ["viewed"]
reason = "required"
allow = [{{ methods = ["*"], paths = ["/api/v3/**"] }}]
"#,
        digest(STRICT),
        digest(OLD),
        digest(ABROAD),
        digest(ICED),
        digest(ONE),
    )
    // Operations have no wildcards at their ends.
    .replace(", \"GET /licensing/**\"", ", \"GET /licensing/reports\"")
}

async fn world() -> (World, Plan) {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = rich(&configuration(
        folder.path(),
        &simulator.url(),
        "",
        "127.0.0.1:0",
    ));
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let freezer = Freezer::open(&state).unwrap();
    for scope in [
        Scope::Client("iced".to_owned()),
        Scope::Tenant("frosted".to_owned()),
    ] {
        freezer.hold(Hold::new(scope, Timestamp(0), "a test".to_owned(), None));
    }
    freezer.keep().unwrap();
    let settings = Settings::parse_alone(&text, folder.path()).unwrap_or_else(|faults| {
        panic!("{faults:#?}");
    });
    let plan = Plan::new(settings);
    let world = World::start_in(simulator, folder, &text, |_| {}).await;
    (world, plan)
}

#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
}

fn credentials() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let keys = [
        ZABBIX, BILLING, ADMIN, STRICT, STRICT, STRICT, STRICT, OLD, ABROAD, ICED, ONE, NOBODYS,
        "short",
    ];
    let basic = |user: &str, key: &str| {
        let encoded = STANDARD.encode(format!("{user}:{key}"));
        ("authorization", format!("Basic {encoded}"))
    };
    let key = proptest::sample::select(keys.to_vec());
    let user = proptest::sample::select(vec![
        "strict",
        "acme\\strict",
        "globex\\strict",
        "nobody\\strict",
        "zabbix",
        "1001\\zabbix",
    ]);
    (0..24_u8, key.clone(), key, user).prop_map(move |(way, key, other, user)| match way {
        0 => Vec::new(),
        1 => vec![("authorization", format!("Bearer {key}"))],
        2 => vec![basic(user, key)],
        3 => vec![("x-api-key", STRICT.to_owned()), basic(user, STRICT)],
        4 => vec![
            ("x-api-key", key.to_owned()),
            ("authorization", format!("Bearer {other}")),
        ],
        5 => vec![("x-api-key", key.to_owned()), ("x-api-key", key.to_owned())],
        6 => vec![("authorization", "Digest x".to_owned())],
        _ => vec![("x-api-key", key.to_owned())],
    })
}

fn paths() -> impl Strategy<Value = String> {
    let id = "0b04b3a1-6f9f-4bb4-9c4e-5a4d3c2b1a00";
    let paths = [
        "/api/v3/users/me",
        "/API/v3/Users/",
        "/api/v3/users",
        "/api/v3/users/logins",
        "/api/v3/users/ID/logins",
        "/api/v3/users/ID/logins/apikey",
        "/api/v3/users/ID/tokens",
        "/api/v3/users/resetpassword",
        "/api/v3/plugins/user/isLogged",
        "/api/v3/organizations/companies",
        "/api/v3/organizations/ID",
        "/api/v3/organizations/ID/keys",
        "/api/v3/infrastructure/backupServers",
        "/api/v3/licensing/reports",
        "/api/v3/licensing/reports/x",
        "/api/v3/alarms/secret",
        "/api/v3/alarms/active?limit=5",
        "/api/v3/discovery/rules",
        "/api/v3/authentication/keys/1",
        "/api/v3/asyncActions/ID",
        "/api/v3/token",
        "/api/v3/t%6Fken",
        "/api/v3",
        "/api/v2/users",
        "/proxy/1/vbr/api",
        "/uiapi/x",
        "/",
    ];
    let odd = [
        "/api/v3/users/../x",
        "/api/v3/users/%2e%2e/x",
        "/api/v3//users",
        "/api/v3/users;x=1",
        "/api/v3/users%2Fx",
        "/api/v3/users%5cx",
        "/api/v3/users%253bx",
        "/api/v3/users%00",
        "/api/v3/users.",
        "/api/v3/users%",
        "/api/v3/users%C3%A4",
        "/api/v3/u%C5%BFers",
        "/api/v3/users?apiKey=1",
        "/api/v3/users/vgk_0000",
        "/api/v3/users?a='[x]|",
    ];
    let paths = prop_oneof![
        5 => proptest::sample::select(paths.to_vec()),
        1 => proptest::sample::select(odd.to_vec()),
    ];
    paths.prop_map(move |path| path.replace("ID", id))
}

fn asked() -> impl Strategy<Value = Asked> {
    let methods = vec![
        "GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE",
    ];
    let methods = [vec!["GET"; 12], methods].concat();
    let odd = proptest::sample::select(vec![
        None,
        Some(vec!["acme"]),
        Some(vec!["acme"]),
        Some(vec!["globex"]),
        Some(vec!["1001"]),
        Some(vec!["viewed"]),
        Some(vec!["frosted"]),
        Some(vec!["Acme"]),
        Some(vec!["initech"]),
        Some(vec![""]),
        Some(vec!["acme,globex"]),
        Some(vec!["acme", "acme"]),
    ]);
    let own = proptest::sample::select(vec![Some(vec!["acme"]), Some(vec!["globex"])]);
    let tenants = prop_oneof![2 => own, 1 => odd];
    let reasons = proptest::sample::select(vec![None, None, Some("INC0042"), Some("because")]);
    let method = proptest::sample::select(methods);
    let others = any::<bool>();
    let mapped = proptest::sample::select(vec![
        None,
        None,
        None,
        None,
        None,
        Some(("x-site", "7")),
        Some(("x-site", "site-globex")),
        Some(("x-site", "site-nobody")),
        Some(("x-site", "8")),
        Some(("x-impersonate-user", GLOBEX)),
        Some(("x-impersonate-user", "0b04b3a1-6f9f-4bb4-9c4e-5a4d3c2b1a00")),
        Some(("x-impersonate-user", "owner")),
    ]);
    let said = (tenants, reasons, mapped);
    (method, paths(), credentials(), said, others).prop_map(
        |(method, path, mut headers, (tenants, reason, mapped), others)| {
            headers.extend(mapped.map(|(name, value)| (name, value.to_owned())));
            let tenants = tenants.into_iter().flatten();
            headers.extend(tenants.map(|tenant| ("x-tenant", tenant.to_owned())));
            headers.extend(reason.map(|reason| ("x-audit-reason", reason.to_owned())));
            if others {
                for (name, value) in [
                    ("x-client-version", "3.7"),
                    ("x_tenant", "globex"),
                    ("x-forwarded-for", "192.0.2.1"),
                    ("cookie", "a=b"),
                    ("connection", "x-hop"),
                    ("x-hop", "1"),
                ] {
                    headers.push((name, value.to_owned()));
                }
            }
            Asked {
                method,
                path,
                headers,
            }
        },
    )
}

impl Asked {
    fn question(&self) -> Question {
        let mut question = Question::new(self.method, &self.path, Clock::System.now());
        question.source = Some([127, 0, 0, 1].into());
        question.headers = self
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        question
    }

    /// Sends it byte for byte: no client's library is to tidy it up.
    async fn send(&self, world: &World) -> (String, String) {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nhost: gateway\r\n",
            self.method, self.path
        );
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let close = "connection: close\r\n";
        let text = format!("{text}{close}\r\n");
        let answer = world.raw(text.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        let header = |name: &str| {
            let start = answer.find(&format!("{name}: "))? + name.len() + 2;
            answer[start..].lines().next().map(str::to_owned)
        };
        let id = header("x-gateway-request-id").unwrap_or_else(|| panic!("{text}\n{answer}"));
        let code = header("x-gateway-code").unwrap_or_else(|| "ok".to_owned());
        (code, id.to_uppercase())
    }
}

/// A few hundred requests of all kinds, each explained and each sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explanation_says_what_the_gateway_does() {
    let (world, plan) = world().await;
    let mut runner = TestRunner::deterministic();
    let strategy = asked();
    let mut sent = Vec::new();
    for _ in 0..1200 {
        let asked = strategy.new_tree(&mut runner).unwrap().current();
        let told = plan.explain(&asked.question()).unwrap();
        let seen = world.simulator.requests().len();
        let (code, id) = asked.send(&world).await;
        if told.outcome() == Outcome::Open {
            assert!(asked.path.to_lowercase().contains("t"), "{asked:?}");
            assert_eq!(asked.method, "POST", "{asked:?}\n{told}");
            continue;
        }
        assert_eq!(told.code(), code, "{asked:?}\n{told}");
        if told.outcome() == Outcome::Allowed {
            let requests = world.simulator.requests().split_off(seen);
            let forwarded = requests.iter().rfind(|request| request.grant.is_none());
            let forwarded = forwarded.unwrap_or_else(|| panic!("{asked:?}\n{told}"));
            compare_sent(&asked, &told.json(), &forwarded.headers);
        }
        sent.push((asked, told.json(), id));
    }
    let records = world.stop().await;
    let mut seen = std::collections::BTreeMap::new();
    for (asked, told, id) in &sent {
        let mut outcomes = records.iter().filter(|record| record["kind"] == "request");
        let record = outcomes.find(|record| record["request_id"] == **id);
        let record = record.unwrap_or_else(|| panic!("{id}: {asked:?}"));
        for member in [
            "client",
            "credential",
            "tenant",
            "mapping",
            "rule",
            "operation",
        ] {
            // What was refused before anybody knew has none on either side.
            let (recorded, explained) = (&record[member], &told[member]);
            assert_eq!(recorded, explained, "{member}: {asked:?}\n{record}\n{told}");
        }
        assert_eq!(record["code"], told["code"], "{asked:?}");
        assert_eq!(record["target"]["uid"], told["target"]["uid"], "{asked:?}");
        assert_eq!(record["console"], told["console"], "{asked:?}\n{record}");
        *seen.entry(told["code"].to_string()).or_insert(0) += 1;
    }
    // Else the requests would be too much alike to say anything.
    assert!(seen.len() >= 18, "{seen:?}");
    assert!(seen["\"ok\""] >= 30, "{seen:?}");
}

fn compare_sent(asked: &Asked, told: &Value, received: &[(String, String)]) {
    let has = |name: &Value| received.iter().any(|(it, _)| name == it);
    let sent = |member: &str| told.pointer(&format!("/sent/{member}")).unwrap();
    let passed = sent("headers").as_array().unwrap();
    assert!(passed.iter().all(has), "{asked:?}\n{told}\n{received:?}");
    let stripped = sent("stripped").as_array().unwrap();
    let has_still = |name: &Value| has(name) && name != "authorization" && name != "connection";
    assert!(!stripped.iter().any(has_still), "{told}\n{received:?}");
    let injected = *sent("authorization") != "none: the console serves this without a token";
    let injected = usize::from(injected);
    let count = received.iter().filter(|(name, _)| name == "authorization");
    assert_eq!(count.count(), injected, "{told}");
}

/// The client needs no key, and the file none of its secrets.
#[tokio::test]
async fn a_named_client_is_taken_to_prove_itself() {
    let (world, plan) = world().await;
    std::fs::remove_file(world.folder.path().join("password")).unwrap();
    let answer: Answer = world.get(ZABBIX, "acme", "/api/v3/users/me").await;
    assert_eq!(answer.status, 503, "the gateway does need it");
    let mut question = Question::new("GET", "/api/v3/users/me", Timestamp(0));
    question.client = Some("zabbix".to_owned());
    let tenant = ("x-tenant".parse().unwrap(), "1001".parse().unwrap());
    question.headers.push(tenant);
    let told = plan.explain(&question).unwrap();
    assert_eq!(told.outcome(), Outcome::Allowed, "{told}");
    let json = told.json();
    assert_eq!(json["tenant"], "acme");
    assert_eq!(json["target"]["uid"], ACME);
    assert_eq!(json["rule"], "clients.zabbix.allow[0]");
    assert_eq!(json["sent"]["stripped"], serde_json::json!(["x-tenant"]));
    question.client = Some("zabbi".to_owned());
    let error = plan.explain(&question).unwrap_err().to_string();
    assert!(error.contains("there are: abroad, admin"), "{error}");
}
