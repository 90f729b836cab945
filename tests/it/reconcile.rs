//! Comparing the audit log with the console's own activity log, of the real binary.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use vspc_simulator::{Action, ActivityImpersonation, Fault, Settings, Simulator, seed};

use crate::child::{Gateway, Home, command, get, once, request, unsigned};
use crate::harness::{ADMIN, encoded, until_true_async};

const ME: &str = "/api/v3/users/me";
const LOG: &str = "/api/v3/eventLogs/activityLogs";
/// What is a second old is settled, and clocks are nearly the same.
const SOON: &str = "skew = \"100ms\", settle = \"1s\", window = \"1h\"";

const SKEW: Duration = Duration::from_millis(100);

struct World {
    simulator: Simulator,
    home: Home,
    gateway: Gateway,
}

impl World {
    async fn start(settings: Settings, reconcile: &str) -> Self {
        let simulator = Simulator::start(settings).await.unwrap();
        let home = Home::new(&simulator.url());
        let directory = "directory = \"audit\"";
        home.edit(
            directory,
            &format!("{directory}\nreconcile = {{ {reconcile} }}"),
        );
        let gateway = home.start().await;
        // What is as near to the begin of the log as clocks may differ is not compared.
        tokio::time::sleep(SKEW).await;
        Self {
            simulator,
            home,
            gateway,
        }
    }

    async fn call(&self, tenant: &str) {
        let headers = [("x-api-key", ADMIN), ("x-tenant", tenant)];
        let answer = get(self.home.address, ME, &headers).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    async fn run(&self, more: &[&str]) -> Output {
        let config = self.home.config().display().to_string();
        let mut all = vec!["audit", "reconcile", "--config", &config];
        all.extend(more);
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        let running = tokio::task::spawn_blocking(move || {
            command(&all.iter().map(String::as_str).collect::<Vec<_>>())
        });
        running.await.unwrap()
    }

    /// What the comparison says, with its exit code.
    async fn compared(&self) -> (Option<i32>, Value) {
        let output = self.run(&["--format", "json", "--since", "30m"]).await;
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        assert_eq!(
            answer.get("reconciled") == Some(&json!(true)),
            output.status.code() == Some(0)
        );
        let report = answer.pointer("/consoles/0").unwrap();
        (output.status.code(), report.clone())
    }

    /// The comparison once this is so: what happens takes a second to be compared.
    async fn once_it(&self, is: impl Fn(&Value) -> bool) -> (Option<i32>, Value) {
        let mut found = None;
        until_true_async(async || {
            let (code, report) = self.compared().await;
            let fits = is(&report);
            found = fits.then_some((code, report));
            fits
        })
        .await;
        found.unwrap()
    }

    /// Does something past the gateway, as whoever has its account's password would.
    async fn past(&self, form: &[(&str, &str)]) -> Value {
        let form = encoded(form);
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let asked = request("POST", "/api/v3/token", &headers, &form);
        let answer = once(self.simulator.addr(), asked).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    async fn log_in_past(&self) -> Value {
        let (name, password) = (seed::SERVICE.name, seed::SERVICE.password);
        let form = [
            ("grant_type", "password"),
            ("username", name),
            ("password", password),
        ];
        self.past(&form).await
    }
}

fn pages(simulator: &Simulator) -> usize {
    let mut seen = simulator.requests();
    seen.retain(|seen| seen.target.starts_with(LOG));
    seen.len()
}

#[tokio::test]
async fn what_went_through_the_gateway_matches() {
    let mut world = World::start(unsigned(), SOON).await;
    world.call("acme").await;
    world.call("globex").await;
    let key = format!(
        "/api/v3/users/{}/logins/apikey?description=x&scopes=rest",
        seed::ACME_OWNER.uid
    );
    let headers = [("x-api-key", ADMIN), ("x-tenant", "acme")];
    let made = request("POST", &key, &headers, "");
    assert_eq!(once(world.home.address, made).await.unwrap().status, 200);
    let (code, report) = world
        .once_it(|report| report["matched"].as_u64() >= Some(3))
        .await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["account"], seed::SERVICE.name);
    assert_eq!(report["findings"], json!([]));
    let record = world
        .home
        .records()
        .into_iter()
        .rfind(|record| record["operation"] == "audit.reconciled" && record["code"] == "ok");
    let record = record.unwrap();
    assert_eq!(
        (&record["kind"], &record["console"]),
        (&json!("admin"), &json!("main"))
    );
    assert!(record["operator"].is_string(), "{record}");
    let metrics = get(world.home.admin, "/metrics", &[]).await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let none = "vspc_gateway_audit_unreconciled{console=\"main\",kind=\"impersonation\",side=\"past_gateway\"} 0";
    assert!(metrics.contains(none), "{metrics}");
    let table = world.run(&["--format", "table"]).await;
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.starts_with("main: matches\n"), "{table}");
    world.gateway.assert_running();
}

#[tokio::test]
async fn what_was_done_past_the_gateway_is_found() {
    let world = World::start(unsigned(), SOON).await;
    world.call("acme").await;
    world
        .once_it(|report| report["matched"].as_u64() >= Some(1))
        .await;
    let refresh = world.log_in_past().await;
    let uid = seed::GLOBEX_OWNER.uid.to_string();
    let refresh = refresh["refresh_token"].as_str().unwrap();
    world
        .past(&[
            ("grant_type", "as"),
            ("refresh_token", refresh),
            ("userUid", &uid),
        ])
        .await;
    let is_found = |report: &Value| report["findings"].as_array().unwrap().len() == 2;
    let (code, report) = world.once_it(is_found).await;
    assert_eq!(code, Some(1));
    assert_eq!(
        report["past_gateway"],
        json!({"impersonation": 1, "login": 1})
    );
    assert_eq!(report["not_logged"], json!({}));
    let findings = report["findings"].as_array().unwrap();
    let impersonation = findings
        .iter()
        .find(|it| it["kind"] == "impersonation")
        .unwrap();
    assert_eq!(impersonation["user"], json!(seed::SERVICE.uid));
    assert_eq!(impersonation["organization"], json!(seed::GLOBEX.uid));
    assert_eq!(impersonation["side"], "past_gateway");
    world.gateway.logged("do not match").await;
    let metrics = get(world.home.admin, "/metrics", &[]).await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let one =
        "vspc_gateway_audit_unreconciled{console=\"main\",kind=\"login\",side=\"past_gateway\"} 1";
    assert!(metrics.contains(one), "{metrics}");
    let is_told =
        |it: &Value| it["operation"] == "audit.reconciled" && it["code"] == "unreconciled";
    until_true_async(async || world.home.records().iter().any(is_told)).await;
    let table = world.run(&[]).await;
    let error = String::from_utf8(table.stderr).unwrap();
    assert!(error.contains("do not match"), "{error}");
}

#[tokio::test]
async fn what_the_console_has_not_logged_is_found() {
    let world = World::start(unsigned(), SOON).await;
    world.call("acme").await;
    world.call("globex").await;
    world
        .once_it(|report| report["matched"].as_u64() >= Some(2))
        .await;
    assert!(
        world
            .simulator
            .forget_activity("UserImpersonationSuccessful")
    );
    let (code, report) = world.compared().await;
    assert_eq!(code, Some(1));
    assert_eq!(report["not_logged"], json!({"impersonation": 1}));
    let finding = &report["findings"][0];
    assert_eq!(finding["user"], json!(seed::GLOBEX_OWNER.uid));
    let seq = finding["seq"].as_u64().unwrap();
    let records = world.home.records();
    let record = records.iter().find(|record| record["seq"] == seq).unwrap();
    assert_eq!(record["operation"], "as");
}

#[tokio::test]
async fn a_long_log_is_read_to_its_end() {
    let world = World::start(unsigned(), SOON).await;
    world.call("acme").await;
    // Refused log-ins of somebody else fill pages.
    for _ in 0..1100 {
        let form = encoded(&[
            ("grant_type", "password"),
            ("username", "x"),
            ("password", "x"),
        ]);
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let asked = request("POST", "/api/v3/token", &headers, &form);
        once(world.simulator.addr(), asked).await.unwrap();
    }
    world.log_in_past().await;
    let before = pages(&world.simulator);
    let (code, report) = world
        .once_it(|report| report["past_gateway"]["login"] == 1)
        .await;
    assert_eq!(code, Some(1), "{report}");
    assert!(report["logged"].as_u64() > Some(1100), "{report}");
    assert!(pages(&world.simulator) >= before + 3);
}

#[tokio::test]
async fn a_console_that_cannot_be_read_is_told_and_nothing_is_well() {
    let world = World::start(unsigned(), SOON).await;
    world.call("acme").await;
    let (code, _) = world
        .once_it(|report| report["matched"].as_u64() >= Some(1))
        .await;
    assert_eq!(code, Some(0));
    let fault = Fault::new(Action::ServerError).on("GET /eventLogs/activityLogs");
    world.simulator.fault(fault.times(0));
    let (code, report) = world.compared().await;
    assert_eq!(code, Some(1));
    let error = report["error"].as_str().unwrap();
    assert!(error.contains("activity log cannot be read"), "{error}");
    let metrics = get(world.home.admin, "/metrics", &[]).await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let failed = "vspc_gateway_audit_reconcile_failed{console=\"main\"} 1";
    assert!(metrics.contains(failed), "{metrics}");
    world.simulator.stop().await;
    let config = world.home.config().display().to_string();
    let output = tokio::task::spawn_blocking(move || {
        command(&[
            "audit",
            "reconcile",
            "--config",
            &config,
            "--format",
            "table",
        ])
    });
    let output = output.await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.starts_with("main: NOT COMPARED\n"), "{table}");
    let records = world.home.records();
    let record = records
        .iter()
        .rfind(|it| it["operation"] == "audit.reconciled");
    assert_eq!(record.unwrap()["code"], "not_compared");
}

#[tokio::test]
async fn what_is_not_known_of_consoles_is_set() {
    let mut settings = unsigned();
    settings.switches.activity_impersonation = ActivityImpersonation::Target;
    settings.switches.activity_refreshes = true;
    settings.switches.activity_times = false;
    let world = World::start(
        settings,
        &format!("{SOON}, impersonation_by = \"target\", refreshes = \"perhaps\""),
    )
    .await;
    world.call("acme").await;
    let renewed = world.run_renewal().await;
    assert_eq!(renewed.status.code(), Some(0), "{renewed:?}");
    let (code, report) = world
        .once_it(|report| report["matched"].as_u64() >= Some(2))
        .await;
    assert_eq!(code, Some(0), "{report}");
}

impl World {
    async fn run_renewal(&self) -> Output {
        let config = self.home.config().display().to_string();
        let running = tokio::task::spawn_blocking(move || {
            command(&["tokens", "renew", "--config", &config, "--console", "main"])
        });
        running.await.unwrap()
    }
}

#[tokio::test]
async fn it_is_compared_again_and_again_where_that_is_set_and_refused_where_it_makes_no_sense() {
    let world = World::start(unsigned(), SOON).await;
    let unknown = world.run(&["--console", "other"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    let error = String::from_utf8(unknown.stderr).unwrap();
    assert!(error.contains("no console is called"), "{error}");
    let short = world.run(&["--since", "1s"]).await;
    let error = String::from_utf8(short.stderr).unwrap();
    assert!(error.contains("must be longer than 1 s"), "{error}");
    let config = world.home.config().display().to_string();
    for (from, to, told) in [
        (SOON, "every = \"1s\"", "must be at least 1m"),
        (
            "every = \"1s\"",
            "skew = \"10m\"",
            "must not be shorter than skew",
        ),
        (
            "skew = \"10m\"",
            "window = \"5m\"",
            "must be longer than settle",
        ),
        (
            "window = \"5m\"",
            "every = \"2h\", window = \"1h\"",
            "must not be shorter than every",
        ),
        (
            "every = \"2h\", window = \"1h\"",
            "refreshes = \"no\"",
            "\"perhaps\"",
        ),
    ] {
        world.home.edit(from, to);
        let output = command(&["check", "--config", &config]);
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(error.contains(told), "{error}");
    }
}
