//! Operators' commands against a gateway that runs: tokens, and the emergency stop.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use vspc_simulator::{CompanyChange, Simulator, seed};

use crate::canary::{Page, found, tokens_of};
use crate::child::{Gateway, Home, command, free_address, get, once, request, unsigned};
use crate::harness::{
    ACME, ADMIN, Answer, BILLING, FORM, GLOBEX, ZABBIX, encoded, until, until_true,
    until_true_async, write_secret,
};

const ME: &str = "/api/v3/users/me";

struct World {
    simulator: Simulator,
    home: Home,
}

/// What a command said.
#[derive(Debug)]
struct Told {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Told {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// The output of a command that must have worked.
    fn fine(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// What a command complains of that must have failed.
    fn failed(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.out.is_empty(), "{self:?}");
        self.err
    }

    fn lines(&self) -> Vec<Value> {
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl World {
    async fn new() -> Self {
        let simulator = Simulator::start(unsigned()).await.unwrap();
        let home = Home::new(&simulator.url());
        Self { simulator, home }
    }

    /// Runs a command on the configuration, while the simulator goes on.
    async fn run(&self, arguments: &[&str]) -> Told {
        let mut all: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        all.push("--config".to_owned());
        all.push(self.home.config().display().to_string());
        let output = tokio::task::spawn_blocking(move || {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            command(&all)
        });
        Told::of(&output.await.unwrap())
    }

    async fn call(&self, key: &str, tenant: &str) -> Answer {
        let headers = [("x-api-key", key), ("x-tenant", tenant)];
        get(self.home.address, ME, &headers).await.unwrap()
    }

    async fn token(&self, form: &[(&str, &str)]) -> Answer {
        let request = request("POST", "/api/v3/token", &[FORM], &encoded(form));
        once(self.home.address, request).await.unwrap()
    }

    async fn log_in(&self, name: &str, key: &str) -> Answer {
        let form = [
            ("grant_type", "password"),
            ("username", name),
            ("password", key),
        ];
        self.token(&form).await
    }

    async fn refresh(&self, login: &Answer) -> Answer {
        let refresh = login.text("refresh_token");
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.as_str()),
        ];
        self.token(&form).await
    }

    async fn me(&self, login: &Answer) -> Answer {
        let bearer = format!("Bearer {}", login.text("access_token"));
        let headers = [("authorization", bearer.as_str())];
        get(self.home.address, ME, &headers).await.unwrap()
    }

    /// The first record that fits, once it is there.
    async fn record(&self, fits: impl Fn(&Value) -> bool) -> Value {
        until(|| self.home.records().into_iter().find(&fits)).await
    }

    async fn outcome(&self, answer: &Answer) -> Value {
        let id = answer.request_id().to_owned();
        self.record(|record| record["kind"] == "request" && record["request_id"] == *id)
            .await
    }

    /// The records of what operators did, once there are so many.
    async fn uses(&self, operation: &str, count: usize) -> Vec<Value> {
        until(|| {
            let mut records = self.home.records();
            records.retain(|record| record["kind"] == "admin" && record["operation"] == *operation);
            assert!(records.len() <= count, "{records:?}");
            (records.len() == count).then_some(records)
        })
        .await
    }

    fn grants(&self, grant: &str) -> u64 {
        let state = self.simulator.state();
        state.grants.get(grant).map_or(0, |count| count.ok)
    }

    fn requests(&self) -> usize {
        self.simulator.requests().len()
    }

    async fn post(&self, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let address = self.home.admin.to_string();
        let host = [("host", address.as_str())];
        let headers = [&host[..], headers].concat();
        once(self.home.admin, bare("POST", target, &headers, body))
            .await
            .unwrap()
    }
}

/// A request with these headers and no others.
fn bare(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Request<Full<bytes::Bytes>> {
    let mut request = request(method, target, &[], body);
    request.headers_mut().clear();
    for (name, value) in headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

async fn stop(mut gateway: Gateway) {
    gateway.signal("TERM");
    assert_eq!(gateway.exit().await.code(), Some(0));
}

fn assert_frozen(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.code()),
        (403, "frozen"),
        "{answer:?}"
    );
}

/// Asserts that a record says who did it.
fn assert_says_who(record: &Value) {
    let operator = record["operator"].as_str().unwrap_or_default();
    assert!(operator.contains('@'), "{record}");
    let peer = record["peer"].as_str().unwrap_or_default();
    assert!(peer.starts_with("127.0.0.1:"), "{record}");
    assert_eq!(record["source"], "127.0.0.1", "{record}");
}

#[tokio::test]
async fn a_frozen_tenant_is_stopped_at_once_and_until_it_is_thawed() {
    let world = World::new().await;
    let gateway = world.home.start().await;
    assert_eq!(world.call(ADMIN, "acme").await.status, 200);
    let login = world.log_in(r"acme\billing", BILLING).await;
    let before = world.requests();
    let frozen = world.run(&["freeze", "--tenant", "1001", "--reason", "ticket 7"]);
    let frozen = frozen.await.fine();
    assert!(frozen.out.contains("tenant acme"), "{frozen:?}");
    assert_eq!(frozen.err, "");

    let answer = world.call(ADMIN, "acme").await;
    assert_frozen(&answer);
    let message = answer.text_at("/errors/0/message");
    assert!(message.starts_with("frozen: "), "{message}");
    assert!(!message.contains("ticket"), "{message}");
    let outcome = world.outcome(&answer).await;
    assert_eq!(outcome["code"], "frozen");
    assert_eq!(outcome["tenant"], "acme");
    assert!(outcome["detail"].as_str().unwrap().contains("ticket 7"));
    assert_frozen(&world.call(ADMIN, "1001").await);
    assert_frozen(&world.me(&login).await);
    for refused in [
        world.log_in(r"acme\billing", BILLING).await,
        world.refresh(&login).await,
    ] {
        assert_frozen(&refused);
        assert_eq!(refused.text("error"), "unauthorized_client");
    }
    assert_eq!(world.requests(), before, "the console was asked");
    assert_eq!(world.call(ADMIN, "globex").await.status, 200);
    // Whoever may not act for the tenant does not learn that it is frozen.
    let unsaid = ["freeze", "--tenant", "globex", "--reason", "\u{3164}"];
    assert!(world.run(&unsaid).await.code == Some(0));
    assert_eq!(world.call(BILLING, "globex").await.code(), "tenant_denied");

    let record = world.uses("freeze", 2).await[0].clone();
    assert_says_who(&record);
    assert_eq!(record["tenant"], "acme");
    assert_eq!(record["reason"], "ticket 7");
    assert_eq!(world.uses("freeze", 2).await[1].get("reason"), None);
    stop(gateway).await;

    let gateway = world.home.start().await;
    assert_frozen(&world.call(ADMIN, "acme").await);
    assert_frozen(&world.me(&login).await);
    let listed = world.run(&["freeze", "--list"]).await.fine().lines();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["tenant"], "acme");
    assert_eq!(listed[0]["reason"], "ticket 7");
    assert!(listed[0]["by"].as_str().unwrap().contains("127.0.0.1"));
    let seen = world
        .record(|record| record["operation"] == "freeze.seen" && record["tenant"] == "acme")
        .await;
    assert!(seen["detail"].as_str().unwrap().contains("ticket 7"));

    let thawed = world.run(&["thaw", "--tenant", "acme"]).await.fine();
    assert!(thawed.out.contains("tenant acme"), "{thawed:?}");
    assert!(thawed.err.contains("still frozen: tenant globex"));
    assert_eq!(world.call(ADMIN, "acme").await.status, 200);
    assert_eq!(world.me(&login).await.status, 200);
    assert_eq!(world.refresh(&login).await.status, 200);
    assert_frozen(&world.call(ADMIN, "globex").await);
    assert_says_who(&world.uses("thaw", 1).await[0]);
    let again = world.run(&["thaw", "--tenant", "acme"]).await.failed();
    assert!(again.contains("is not frozen"), "{again}");
    assert_eq!(world.uses("thaw", 2).await[1]["code"], "not_found");
    stop(gateway).await;
}

#[tokio::test]
async fn a_frozen_client_and_everything_frozen_are_told_apart_and_seen_from_outside() {
    let world = World::new().await;
    let mut gateway = world.home.start().await;
    let login = world.log_in("zabbix", ZABBIX).await;
    assert_eq!(login.status, 403, "{login:?}");
    let login = world.log_in(r"acme\zabbix", ZABBIX).await;
    assert_eq!(login.status, 200);
    world.run(&["freeze", "--client", "zabbix"]).await.fine();
    let before = world.requests();
    assert_frozen(&world.call(ZABBIX, "globex").await);
    assert_frozen(&world.call(ZABBIX, "nowhere").await);
    assert_frozen(&world.me(&login).await);
    assert_frozen(&world.refresh(&login).await);
    assert_frozen(&world.log_in(r"acme\zabbix", ZABBIX).await);
    assert_eq!(world.requests(), before);
    assert_eq!(world.call(BILLING, "acme").await.status, 200);
    let ready = world.home.readyz(&mut gateway, 200).await.json();
    assert_eq!(ready["frozen"], json!({"freezes": 1}));

    let all = world.run(&["freeze", "--reason", "break-in"]).await.fine();
    assert!(all.out.contains("everything"), "{all:?}");
    assert!(all.out.contains("under way"), "{all:?}");
    let before = world.requests();
    let answer = world.call(BILLING, "acme").await;
    assert_frozen(&answer);
    assert_eq!(world.outcome(&answer).await["client"], "billing");
    assert_frozen(&world.log_in(r"acme\billing", BILLING).await);
    // Whoever is not known is still told that, and nothing else.
    assert_eq!(world.call("no-key", "acme").await.code(), "bad_credentials");
    assert_eq!(world.requests(), before);
    let ready = world.home.readyz(&mut gateway, 503).await.json();
    let why = ready["frozen"]["everything"].as_str().unwrap();
    assert!(why.contains("break-in"), "{why}");
    let metrics = get(world.home.admin, "/metrics", &[]).await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(metrics.contains("vspc_gateway_frozen 2\n"), "{metrics}");
    let again = world.run(&["freeze", "--reason", "again"]).await.fine();
    assert!(again.out.contains("already, since"), "{again:?}");

    let thawed = world.run(&["thaw"]).await.fine();
    assert!(thawed.err.contains("still frozen: client zabbix"));
    assert_eq!(world.call(BILLING, "acme").await.status, 200);
    assert_frozen(&world.call(ZABBIX, "acme").await);
    let unknown = world.run(&["freeze", "--tenant", "nobody"]).await.fine();
    assert!(unknown.err.contains("\"nobody\""), "{unknown:?}");
    stop(gateway).await;
}

#[tokio::test]
async fn the_consoles_own_users_are_stopped_with_everything() {
    let world = World::new().await;
    world.home.edit(
        "name = \"main\"",
        "name = \"main\"\npassthrough_logins = true",
    );
    let _gateway = world.home.start().await;
    let user = seed::ACME_ADMINISTRATOR;
    let password = seed::ADMINISTRATOR_PASSWORD;
    let login = world.log_in(user.name, password).await;
    assert_eq!(world.me(&login).await.status, 200);
    world.run(&["freeze"]).await.fine();
    let before = world.requests();
    assert_frozen(&world.me(&login).await);
    assert_frozen(&world.refresh(&login).await);
    assert_frozen(&world.log_in(user.name, password).await);
    assert_frozen(&world.log_in(user.name, "another").await);
    let second = [("grant_type", "mfa"), ("mfa_token", "x"), ("mfa_code", "1")];
    assert_frozen(&world.token(&second).await);
    assert_eq!(world.requests(), before);
    world.run(&["thaw"]).await.fine();
    assert_eq!(world.me(&login).await.status, 200);
}

#[tokio::test]
async fn a_list_shows_what_there_is_and_no_token() {
    let world = World::new().await;
    world.home.edit(
        "name = \"main\"",
        "name = \"main\"\npassthrough_logins = true",
    );
    let gateway = world.home.start().await;
    assert_eq!(world.call(ADMIN, "acme").await.status, 200);
    let answer = world.call(ADMIN, "viewed").await;
    assert_eq!(answer.status, 200);
    let user = seed::ACME_ADMINISTRATOR;
    let login = world.log_in(user.name, seed::ADMINISTRATOR_PASSWORD);
    let login = login.await;
    let listed = world.run(&["tokens", "list"]).await.fine();
    let tokens = listed.lines();
    let told: Vec<_> = tokens
        .iter()
        .map(|token| [&token["kind"], &token["state"], &token["access"]].map(Value::as_str))
        .collect();
    let some = |kind, access| [Some(kind), Some("held"), Some(access)];
    let expected = [
        some("session", "full"),
        some("impersonation", "full"),
        some("impersonation", "read_only"),
        some("login", "full"),
    ];
    assert_eq!(told, expected, "{listed:?}");
    assert_eq!(tokens[1]["tenants"], json!(["acme"]));
    assert_eq!(tokens[1]["target"], ACME);
    assert_eq!(tokens[2]["tenants"], json!(["viewed"]));
    assert_eq!(tokens[3]["user"], user.name);
    // The fingerprint is the one in the records of what the token was used for.
    assert_eq!(
        world.outcome(&answer).await["lease"],
        tokens[2]["fingerprint"]
    );
    let table = world.run(&["tokens", "list", "--format", "table"]).await;
    let table = table.fine();
    assert_eq!(table.out.lines().count(), 5, "{table:?}");
    for (option, value, count) in [
        ("--tenant", "1001", 1),
        ("--kind", "session", 1),
        ("--target", GLOBEX, 1),
        ("--console", "main", 4),
        ("--limit", "2", 2),
    ] {
        let narrowed = world.run(&["tokens", "list", option, value]).await.fine();
        assert_eq!(narrowed.lines().len(), count, "{option}");
        assert_eq!(narrowed.err.contains("there are more"), option == "--limit");
    }
    let unknown = world.run(&["tokens", "list", "--tenant", "nobody"]).await;
    assert!(unknown.failed().contains("no tenant"));

    let mut secrets: BTreeSet<String> = BTreeSet::new();
    tokens_of(&world.simulator, &mut secrets);
    secrets.insert(login.text("access_token"));
    secrets.insert(login.text("refresh_token"));
    assert!(secrets.len() >= 6);
    let mut pages: Vec<Page> = vec![
        ("list".to_owned(), listed.out.into_bytes()),
        ("table".to_owned(), table.out.into_bytes()),
        ("log".to_owned(), gateway.log().into_bytes()),
    ];
    stop(gateway).await;
    let records = world.home.records();
    pages.push(("audit".to_owned(), json!(records).to_string().into_bytes()));
    for secret in &secrets {
        let found = found(secret, &pages);
        assert!(found.is_empty(), "{secret} stands in {found:?}");
    }
    let uses = world.uses("tokens.list", 8).await;
    uses.iter().for_each(assert_says_who);
    assert_eq!(uses[7]["code"], "not_found");
}

#[tokio::test]
async fn a_renewal_by_hand_is_one_call_and_the_next_one_has_to_wait() {
    let world = World::new().await;
    let _gateway = world.home.start().await;
    assert_eq!(world.call(ADMIN, "acme").await.status, 200);
    assert_eq!(world.grants("as"), 1);
    let renewed = world.run(&["tokens", "renew", "--tenant", "acme"]).await;
    let renewed = renewed.fine();
    assert_eq!(world.grants("as"), 2);
    let answer = world.call(ADMIN, "acme").await;
    let lease = world.outcome(&answer).await["lease"].clone();
    assert!(renewed.out.contains(lease.as_str().unwrap()), "{renewed:?}");
    for again in [["--tenant", "1001"], ["--target", ACME]] {
        let again = [&["tokens", "renew"][..], &again].concat();
        let refused = world.run(&again).await.failed();
        assert!(refused.contains("try again in"), "{refused}");
    }
    let json = [("content-type", "application/json")];
    let limited = world.post("/tokens/renew", &json, r#"{"tenant":"acme"}"#);
    let limited = limited.await;
    assert_eq!(limited.status, 429);
    let wait = limited.json()["retry_after"].as_u64().unwrap();
    assert!((1..=10).contains(&wait));
    assert_eq!(limited.header("retry-after"), Some(&*wait.to_string()));
    assert_eq!(world.grants("as"), 2);

    world
        .run(&["tokens", "renew", "--console", "main"])
        .await
        .fine();
    assert_eq!(world.grants("refresh_token"), 1);
    assert_eq!(world.grants("password"), 1);
    // What nobody has asked for yet is obtained.
    world
        .run(&["tokens", "renew", "--tenant", "globex"])
        .await
        .fine();
    assert_eq!(world.grants("as"), 3);
    let disabled = world
        .run(&["tokens", "renew", "--tenant", "disabled"])
        .await;
    assert_eq!(disabled.code, Some(1));
    assert!(disabled.err.contains("nobody can act"), "{disabled:?}");
    for unknown in [["--tenant", "nobody"], ["--console", "nobody"]] {
        let unknown = [&["tokens", "renew"][..], &unknown].concat();
        assert!(world.run(&unknown).await.failed().contains("nobody"));
    }
    let uses = world.uses("tokens.renew", 9).await;
    let codes = uses.iter().map(|used| used["code"].as_str().unwrap());
    let expected = [
        "ok",
        "rate_limited",
        "rate_limited",
        "rate_limited",
        "ok",
        "ok",
        "not_found",
        "not_found",
        "not_found",
    ];
    assert_eq!(codes.collect::<Vec<_>>(), expected);
    assert_says_who(&uses[0]);
    assert_eq!(uses[0]["tenant"], "acme");
    assert_eq!(uses[0]["target"]["uid"], ACME);
    assert_eq!(uses[4]["console"], "main");
}

#[tokio::test]
async fn what_is_dropped_costs_the_next_request_a_token_and_a_session_a_log_in() {
    let world = World::new().await;
    let _gateway = world.home.start().await;
    for tenant in ["acme", "globex"] {
        assert_eq!(world.call(ADMIN, tenant).await.status, 200);
    }
    let dropped = world.run(&["tokens", "drop", "--tenant", "acme", "--reason", "r"]);
    let dropped = dropped.await.fine();
    assert!(dropped.out.contains("dropped: 1"), "{dropped:?}");
    assert_eq!(world.grants("as"), 2);
    for tenant in ["acme", "globex", "acme"] {
        assert_eq!(world.call(ADMIN, tenant).await.status, 200);
    }
    assert_eq!(world.grants("as"), 3);
    let dropped = world.run(&["tokens", "drop", "--target", GLOBEX]).await;
    assert!(dropped.fine().out.contains("dropped: 1"));
    let none = world.run(&["tokens", "drop", "--target", GLOBEX]).await;
    assert!(none.fine().out.contains("dropped: 0"));

    let session = world.run(&["tokens", "drop", "--console", "main"]).await;
    let session = session.fine();
    assert!(session.out.contains("logs in"), "{session:?}");
    // With the token of acme that was obtained with it.
    assert!(session.out.contains("dropped: 2"), "{session:?}");
    until_true(|| world.grants("password") == 2).await;
    assert_eq!(world.grants("refresh_token"), 0);
    let again = world.run(&["tokens", "drop", "--console", "main"]).await;
    assert!(again.failed().contains("try again"));
    assert_eq!(world.call(ADMIN, "globex").await.status, 200);
    let uses = world.uses("tokens.drop", 5).await;
    uses.iter().for_each(assert_says_who);
    assert_eq!(uses[0]["reason"], "r");
    assert_eq!(uses[0]["tenant"], "acme");
}

#[tokio::test]
async fn a_log_in_that_is_ended_is_over_for_all_its_tokens_and_for_good() {
    let world = World::new().await;
    let mut gateway = world.home.start().await;
    let login = world.log_in(r"acme\billing", BILLING).await;
    let other = world.log_in(r"acme\billing", BILLING).await;
    let login = world.refresh(&login).await;
    let session = world.outcome(&login).await["session"].clone();
    let session = session.as_str().unwrap();
    assert_eq!(world.me(&login).await.status, 200);

    let ended = world.run(&["tokens", "drop", "--session", session]).await;
    assert!(ended.fine().out.contains(session));
    let refused = async |login: &Answer| {
        let answer = world.me(login).await;
        assert_eq!((answer.status, answer.code()), (401, "bad_credentials"));
        let answer = world.refresh(login).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.text("error"), "invalid_grant");
    };
    refused(&login).await;
    assert_eq!(world.me(&other).await.status, 200);
    let used = &world.uses("tokens.drop", 1).await[0];
    assert_says_who(used);
    assert_eq!(used["session"], session);

    gateway.kill();
    let _gateway = world.home.start().await;
    refused(&login).await;
    assert_eq!(world.me(&other).await.status, 200);
    assert_eq!(world.refresh(&other).await.status, 200);
    assert_eq!(world.log_in(r"acme\billing", BILLING).await.status, 200);
}

#[tokio::test]
async fn a_freeze_needs_neither_audit_nor_disk_and_nothing_else_goes_without() {
    let world = World::new().await;
    let gateway = world.home.start().await;
    assert_eq!(world.call(BILLING, "acme").await.status, 200);
    world.run(&["freeze", "--client", "zabbix"]).await.fine();
    let state = world.home.folder.path().join("state");
    let moved = [(world.home.audit_folder(), "gone"), (state, "off")].map(|(here, gone)| {
        let gone = world.home.folder.path().join(gone);
        std::fs::rename(&here, &gone).unwrap();
        (here, gone)
    });
    until_true_async(async || world.call(BILLING, "acme").await.code() == "audit_unavailable")
        .await;
    let asked = world.simulator.requests().len();
    for refused in [
        &["tokens", "renew", "--tenant", "acme"][..],
        &["tokens", "drop", "--tenant", "acme"],
        &["tokens", "drop", "--console", "main"],
        &["tokens", "drop", "--session", ACME],
        &["thaw", "--client", "zabbix"],
    ] {
        let refused = world.run(refused).await.failed();
        assert!(refused.contains("cannot be recorded"), "{refused}");
    }
    let frozen = world.run(&["freeze", "--tenant", "acme"]).await.fine();
    assert!(frozen.err.contains("could not be recorded"), "{frozen:?}");
    assert!(frozen.err.contains("survive a restart"), "{frozen:?}");
    assert_eq!(world.simulator.requests().len(), asked);

    for (here, gone) in moved {
        std::fs::rename(gone, here).unwrap();
    }
    until_true_async(async || world.call(BILLING, "acme").await.code() == "frozen").await;
    assert_frozen(&world.call(ZABBIX, "globex").await);
    // It is kept as soon as it can be.
    let file = world.home.folder.path().join("state/frozen.json");
    until_true(|| std::fs::read_to_string(&file).unwrap().contains("acme")).await;
    stop(gateway).await;
}

#[tokio::test]
async fn a_freeze_does_not_wait_for_an_audit_log_that_hangs() {
    let world = World::new().await;
    let gateway = world.home.start().await;
    let lock = std::fs::File::open(world.home.audit_folder().join("lock")).unwrap();
    lock.lock().unwrap();
    let frozen = world.run(&["freeze", "--tenant", "acme"]).await.fine();
    assert!(frozen.err.contains("could not be recorded"), "{frozen:?}");
    assert!(gateway.log().contains("an event could not be audited"));
    lock.unlock().unwrap();
    until_true_async(async || world.call(ADMIN, "acme").await.code() == "frozen").await;
    let file = world.home.folder.path().join("state/frozen.json");
    assert!(std::fs::read_to_string(&file).unwrap().contains("acme"));
}

#[tokio::test]
async fn without_a_gateway_to_ask_the_file_freezes() {
    let world = World::new().await;
    let never = world.run(&["freeze"]).await.failed();
    assert!(never.contains("no state directory"), "{never}");
    let gateway = world.home.start().await;
    stop(gateway).await;

    let frozen = world.run(&["freeze", "--tenant", "1001"]).await.fine();
    assert!(frozen.err.contains("cannot be reached"), "{frozen:?}");
    assert!(
        frozen.out.contains("tenant acme, by the file"),
        "{frozen:?}"
    );
    let listed = world.run(&["freeze", "--list"]).await.fine();
    assert_eq!(listed.lines()[0]["tenant"], "acme");
    let thaw = world.run(&["thaw", "--tenant", "acme"]).await.failed();
    assert!(thaw.contains("start it"), "{thaw}");
    let list = world.run(&["tokens", "list"]).await.failed();
    assert!(list.contains(&world.home.admin.to_string()), "{list}");

    let gateway = world.home.start().await;
    assert_frozen(&world.call(ADMIN, "acme").await);
    world.run(&["thaw", "--tenant", "acme"]).await.fine();
    assert_eq!(world.call(ADMIN, "acme").await.status, 200);
    stop(gateway).await;

    // One that nobody can ask heeds the file while it runs.
    let admin = format!("[admin]\nlisten = \"{}\"\n", world.home.admin);
    world.home.edit(&admin, "");
    let gateway = world.home.run(&[]);
    gateway.logged("clients are served").await;
    assert_eq!(world.call(ADMIN, "acme").await.status, 200);
    let frozen = world.run(&["freeze"]).await.fine();
    assert!(frozen.err.contains("no [admin] section"), "{frozen:?}");
    until_true_async(async || world.call(ADMIN, "acme").await.code() == "frozen").await;
    world
        .record(|record| record["operation"] == "freeze.seen" && record["tenant"] == Value::Null)
        .await;
    assert!(world.run(&["thaw"]).await.failed().contains("[admin]"));
    stop(gateway).await;
}

/// A company is frozen before any process has read whose name that is, and is renamed then.
#[tokio::test]
async fn a_company_that_is_frozen_by_its_name_does_not_escape_by_another_one() {
    let world = World::new().await;
    let directory = "name = \"main\"\ntenants = \"directory\"\ndirectory_refresh = \"1s\"";
    world.home.edit("name = \"main\"", directory);
    let rename = |name: &str| {
        let change = CompanyChange::Name(name.to_owned());
        world.simulator.change_company(seed::INITECH.uid, change);
    };
    rename("Initech GmbH & Co");
    stop(world.home.start().await).await;
    let frozen = world.run(&["freeze", "--tenant", "Initech GmbH & Co"]);
    let frozen = frozen.await.fine();
    assert!(frozen.err.contains("the configuration knows no"));

    let gateway = world.home.start().await;
    let is_frozen = async |name: &str| world.call(ADMIN, name).await.code() == "frozen";
    until_true_async(async || is_frozen("Initech GmbH & Co").await).await;
    let id = seed::INITECH.uid.to_string();
    until_true_async(async || {
        let listed = world.run(&["freeze", "--list"]).await.fine().lines();
        listed[0]["id"] == *id
    })
    .await;
    rename("Initrode");
    until_true_async(async || is_frozen("Initrode").await).await;
    stop(gateway).await;
    let gateway = world.home.start().await;
    until_true_async(async || is_frozen("Initrode").await).await;
    assert!(is_frozen(&id).await);
    let thawed = world.run(&["thaw", "--tenant", "Initrode"]).await.fine();
    assert!(thawed.out.contains("Initech GmbH & Co"), "{thawed:?}");
    assert_eq!(thawed.err, "");
    assert_eq!(world.call(ADMIN, "Initrode").await.status, 200);
    stop(gateway).await;
}

#[tokio::test]
async fn a_damaged_file_of_what_is_frozen_keeps_the_gateway_from_starting() {
    let world = World::new().await;
    let state = world.home.folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::write(state.join("frozen.json"), "{\"version\":1,\"fro").unwrap();
    let checked = world.run(&["check"]).await;
    assert_eq!(checked.code, Some(64), "{checked:?}");
    assert!(checked.err.contains("state/frozen.json"), "{checked:?}");
    let mut gateway = world.home.run(&[]);
    assert_eq!(gateway.exit().await.code(), Some(1));
    let log = gateway.log();
    assert!(
        log.contains("state/frozen.json") && log.contains("mend it"),
        "{log}"
    );
    assert_eq!(world.requests(), 0);
}

#[tokio::test]
async fn two_processes_of_one_gateway_heed_each_others_freezes() {
    let world = World::new().await;
    let _one = world.home.start().await;
    let (old, old_admin) = (world.home.address, world.home.admin);
    let (address, admin) = (free_address(), free_address());
    world.home.edit(&old.to_string(), &address.to_string());
    world.home.edit(&old_admin.to_string(), &admin.to_string());
    let other = world.home.run(&[]);
    other.logged("clients are served").await;
    let headers = [("x-api-key", ADMIN), ("x-tenant", "acme")];
    let code = async |address| {
        let answer = get(address, ME, &headers).await.unwrap();
        answer.code().to_owned()
    };
    assert_eq!(code(old).await, "");
    // The commands ask the other one now.
    world.run(&["freeze", "--tenant", "acme"]).await.fine();
    assert_eq!(code(address).await, "frozen");
    until_true_async(async || code(old).await == "frozen").await;
    world.run(&["thaw", "--tenant", "acme"]).await.fine();
    assert_eq!(code(address).await, "");
    until_true_async(async || code(old).await.is_empty()).await;
    world
        .record(|record| record["operation"] == "thaw.seen")
        .await;
}

#[tokio::test]
async fn browsers_strangers_and_wrong_bodies_are_refused() {
    let world = World::new().await;
    let listen = format!("listen = \"{}\"\n", world.home.admin);
    let token = "token = { file = \"admin-token\" }\n";
    world.home.edit(&listen, &format!("{listen}{token}"));
    let secret = "admin-token-of-the-tests-0123456789";
    let file = world.home.folder.path().join("admin-token");
    write_secret(&file, secret);
    let gateway = world.home.start().await;
    let bearer = format!("Bearer {secret}");
    let json = ("content-type", "application/json");
    let trusted = ("authorization", bearer.as_str());
    for (headers, body, status) in [
        (&[json][..], "{}", 401),
        (&[json, ("authorization", "Bearer another")], "{}", 401),
        (&[trusted], "{}", 415),
        (&[trusted, ("content-type", "text/plain")], "{}", 415),
        (&[trusted, json, ("origin", "http://evil")], "{}", 403),
        (&[trusted, json, ("sec-fetch-site", "none")], "{}", 403),
        (&[trusted, json, ("host", "two.example")], "{}", 403),
        (&[trusted, json], "", 400),
        (&[trusted, json], "[]", 400),
        (&[trusted, json], r#"{"tennant":"acme"}"#, 400),
        (&[trusted, json], r#"{"tenant":"acme","client":"x"}"#, 400),
        (&[trusted, json], r#"{"client":"a b"}"#, 400),
        (&[trusted, json], r#"{"tenant":"a\u0007b"}"#, 400),
        (&[trusted, json], &"x".repeat(65 * 1024), 413),
    ] {
        let answer = world.post("/freeze", headers, body).await;
        assert_eq!(answer.status, status, "{headers:?} {body}: {answer:?}");
        assert!(answer.json()["error"].is_string());
    }
    let rebound = [("host", "gateway.example:8281"), trusted];
    for target in ["/tokens", "/frozen"] {
        let answer = once(world.home.admin, bare("GET", target, &rebound, "")).await;
        assert_eq!(answer.unwrap().status, 403, "{target}");
        let answer = world.post(target, &[trusted, json], "{}").await;
        assert_eq!(answer.status, 405, "{target}");
        assert_eq!(answer.header("allow"), Some("GET"));
    }
    assert_eq!(world.call(BILLING, "acme").await.status, 200);
    assert!(!world.home.folder.path().join("state/frozen.json").exists());

    // The command finds the token by itself, and says what is wrong with another one.
    world.run(&["freeze", "--client", "zabbix"]).await.fine();
    assert_frozen(&world.call(ZABBIX, "acme").await);
    write_secret(&file, "another-token-of-the-tests-0123456789");
    let wrong = world.run(&["thaw", "--client", "zabbix"]).await.failed();
    assert!(wrong.contains("wants another token"), "{wrong}");
    assert!(!wrong.contains("another-token-of"), "{wrong}");
    world.home.edit(token, "");
    let missing = world.run(&["tokens", "list"]).await.failed();
    assert!(missing.contains("no admin.token"), "{missing}");
    assert!(!gateway.log().contains(secret));
}

#[tokio::test]
async fn over_a_unix_socket_the_kernel_says_who_it_is() {
    let world = World::new().await;
    let listen = format!("listen = \"{}\"\n", world.home.admin);
    world.home.edit(&listen, "listen = \"unix:admin.sock\"\n");
    let gateway = world.home.run(&[]);
    gateway.logged("operators are served").await;
    world.run(&["freeze", "--client", "zabbix"]).await.fine();
    let record = &world.uses("freeze", 1).await[0];
    let peer = record["peer"].as_str().unwrap();
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    assert!(peer.starts_with(&format!("uid {uid}, pid ")), "{peer}");
    assert_eq!(record["source"], Value::Null);
    // No page reaches it, so nothing is refused for looking like one.
    let socket = world.home.folder.path().join("admin.sock");
    assert_eq!(ask_unix(&socket, "any.example").await, 200);
    stop(gateway).await;
    let unreachable = world.run(&["tokens", "list"]).await.failed();
    assert!(unreachable.contains("admin.sock"), "{unreachable}");
}

async fn ask_unix(socket: &Path, host: &str) -> u16 {
    let stream = UnixStream::connect(socket).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    let request = bare("GET", "/frozen", &[("host", host)], "");
    sender
        .send_request(request)
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[test]
fn what_cannot_be_meant_is_bad_usage() {
    let home = Home::new("http://127.0.0.1:9");
    let config = home.config().display().to_string();
    for arguments in [
        &["tokens", "renew"][..],
        &["tokens", "drop", "--tenant", "a", "--console", "b"],
        &["tokens", "drop", "--session", "no-uuid"],
        &["tokens", "list", "--kind", "cookie"],
        &["freeze", "--tenant", "a", "--client", "b"],
        &["freeze", "--list", "--tenant", "a"],
        &["thaw", "--everything"],
    ] {
        let done = command(&[arguments, &["--config", &config]].concat());
        assert_eq!(done.status.code(), Some(64), "{arguments:?}");
    }
    let done = command(&["tokens", "list", "--config", "/nonexistent.toml"]);
    assert_eq!(done.status.code(), Some(64));
}
