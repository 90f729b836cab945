//! Tenants by company: found in the console's directory, and followed when it changes.

use std::time::Duration;

use http::Request;
use serde_json::{Value, json};
use uuid::Uuid;
use vspc_gateway::secret::KeyDigest;
use vspc_simulator::{
    Action, AsyncMode, CompanyChange, Fault, Role, SeenRequest, Settings, Simulator, Switches,
    generated_owner, seed,
};

use crate::harness::{
    ADMIN, Answer, BILLING, World, ZABBIX, configuration, ok, unsigned, unsigned_settings, until,
    until_true, until_true_async, until_true_within,
};

const ME: &str = "/api/v3/users/me";
/// Every company is a tenant, and what changes is noticed soon.
const ALL: &str = "tenants = \"directory\"\ndirectory_refresh = \"1s\"";
/// The same, but nothing is noticed without asking.
const ALL_ONCE: &str = "tenants = \"directory\"\ndirectory_refresh = \"24h\"";
/// May act for Initech by name, and for Globex by UID.
const PARTNER: &str = "vgk_test_partner_0000000000000000000";

fn partner() -> String {
    let digest = KeyDigest::of(PARTNER.as_bytes());
    let globex = seed::GLOBEX.uid.to_string().to_uppercase();
    format!(
        "[[clients]]\nname = \"partner\"\napi_keys = [\"{digest}\"]\n\
         tenants = [\"Initech\", \"{globex}\"]\n\
         allow = [{{ methods = [\"GET\"], paths = [\"/api/v3/**\"] }}]\n"
    )
}

fn tenant(name: &str, whom: &str) -> String {
    format!("[[tenants]]\nname = \"{name}\"\nimpersonate = {{ {whom} }}\n")
}

/// Starts with lines for the console, and more for the end of the file.
async fn start(settings: Settings, console: &str, more: &str) -> World {
    let simulator = Simulator::start(settings).await.unwrap();
    let world = prepare(simulator, console, more).await;
    world.keep_roster();
    world
}

/// As [`start`], but nothing is read yet.
async fn prepare(simulator: Simulator, console: &str, more: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(folder.path(), &simulator.url(), console, "127.0.0.1:0");
    let text = text.replacen("[server]", "[server]\ntoken_wait = \"2s\"", 1) + more;
    World::start_in(simulator, folder, &text, |_| {}).await
}

/// As whom a request for a tenant acts.
async fn acts_as(world: &World, key: &str, tenant: &str) -> Result<Uuid, (u16, String)> {
    let answer = get(world, key, tenant.as_bytes()).await;
    match answer.status {
        200 => Ok(answer.text_at("/data/instanceUid").parse().unwrap()),
        status => Err((status, answer.code().to_owned())),
    }
}

fn refused(status: u16, code: &str) -> Result<Uuid, (u16, String)> {
    Err((status, code.to_owned()))
}

/// A GET for a tenant whose name may be any bytes.
async fn get(world: &World, key: &str, tenant: &[u8]) -> Answer {
    let tenant = http::HeaderValue::from_bytes(tenant).unwrap();
    let request = Request::get(world.url(ME)).header("x-api-key", key);
    world.send(request.header("x-tenant", tenant)).await
}

/// What the gateway's own account asked of a collection.
fn asked(world: &World, path: &str) -> Vec<SeenRequest> {
    let mut seen = world.simulator.requests();
    seen.retain(|seen| seen.subject == Some(seed::SERVICE.uid) && seen.target.starts_with(path));
    seen
}

/// What operators are told of the directory.
async fn directory(world: &World) -> Value {
    let told = world.readyz().await.json();
    told.pointer("/consoles/main/directory").unwrap().clone()
}

async fn is_read(world: &World) {
    until_true_async(async || directory(world).await.get("read_seconds_ago") != Some(&json!(null)))
        .await;
}

/// The record of what became of a tenant.
async fn changed(world: &World, tenant: &str, code: &str) -> Value {
    let start = format!("{code}: ");
    world
        .record(|record| {
            let detail = record["detail"].as_str().unwrap_or_default();
            let is_change = record["operation"] == "directory.changed";
            is_change && record["tenant"] == tenant && detail.starts_with(&start)
        })
        .await
}

#[tokio::test]
async fn a_tenant_of_the_file_is_a_company_by_uid_or_by_name() {
    let more = tenant("by-uid", &format!("company = \"{}\"", seed::ACME.uid))
        + &tenant("by-name", "company_name = \"Globex\"")
        + &tenant("nobody", "company_name = \"globex\"");
    let world = start(unsigned_settings(), "", &more).await;
    // Nobody waits for anything: the first requests wait for the first reading.
    assert_eq!(
        acts_as(&world, ADMIN, "by-uid").await,
        Ok(seed::ACME_OWNER.uid)
    );
    assert_eq!(
        acts_as(&world, ADMIN, "by-name").await,
        Ok(seed::GLOBEX_OWNER.uid)
    );
    for (path, times) in [
        ("/api/v3/organizations/companies", 1),
        ("/api/v3/users?", 1),
    ] {
        assert_eq!(asked(&world, path).len(), times, "{path}");
    }
    // A refusal has it read again.
    assert_eq!(
        acts_as(&world, ADMIN, "nobody").await,
        refused(502, "company_missing")
    );
    // Companies are no tenants by themselves unless the console says so.
    assert_eq!(
        acts_as(&world, ADMIN, "Initech").await,
        refused(403, "tenant_denied")
    );
    let record = changed(&world, "nobody", "company_missing").await;
    assert_eq!(
        (&record["kind"], &record["code"]),
        (&json!("admin"), &json!("ok"))
    );
}

#[tokio::test]
async fn every_company_is_a_tenant_by_name_alias_id_and_uid() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let (company, name) = (Uuid::from_u128(0xb0e), "Böhm & Söhne GmbH");
    assert!(simulator.add_company(company, name));
    let owner = simulator
        .user(company, r"boehm\owner", "pw", Role::CompanyOwner)
        .unwrap();
    simulator.change_company(company, CompanyChange::Alias(Some("boehm".to_owned())));
    simulator.change_company(company, CompanyChange::CompanyId(Some("K-4711".to_owned())));
    let world = prepare(simulator, ALL, "").await;
    world.keep_roster();
    for spelled in [name, "boehm", "K-4711", &company.to_string()] {
        assert_eq!(
            acts_as(&world, ADMIN, spelled).await,
            Ok(owner),
            "{spelled}"
        );
    }
    for spelled in ["Boehm", "böhm & söhne gmbh", "owner"] {
        let denied = refused(403, "tenant_denied");
        assert_eq!(acts_as(&world, ADMIN, spelled).await, denied, "{spelled}");
    }
    let answer = get(&world, ADMIN, name.as_bytes()).await;
    let record = world.outcome(&answer).await;
    assert_eq!(
        (&record["tenant"], &record["code"]),
        (&json!(name), &json!("ok"))
    );
    assert_eq!(record["target"]["uid"], owner.to_string());
    // What the file says still holds, and its names go first.
    assert_eq!(
        acts_as(&world, ADMIN, "acme").await,
        Ok(seed::ACME_OWNER.uid)
    );
    assert_eq!(
        acts_as(&world, BILLING, name).await,
        refused(403, "tenant_denied")
    );
}

#[tokio::test]
async fn a_client_may_name_companies_that_the_file_does_not_know() {
    let world = start(unsigned_settings(), ALL, &partner()).await;
    let initech = seed::INITECH.uid.to_string();
    for spelled in ["Initech", &initech] {
        let owner = Ok(seed::INITECH_OWNER.uid);
        assert_eq!(acts_as(&world, PARTNER, spelled).await, owner, "{spelled}");
    }
    assert_eq!(
        acts_as(&world, PARTNER, "Globex").await,
        Ok(seed::GLOBEX_OWNER.uid)
    );
    for foreign in [
        "Acme",
        "acme",
        "Umbrella",
        "nobody",
        &seed::ACME.uid.to_string(),
    ] {
        let denied = refused(403, "tenant_denied");
        assert_eq!(acts_as(&world, PARTNER, foreign).await, denied, "{foreign}");
    }
}

#[tokio::test]
async fn a_large_directory_is_read_page_by_page() {
    let settings = Settings {
        companies: 1200,
        ..unsigned_settings()
    };
    let world = start(settings, ALL_ONCE, "").await;
    for number in [0, 499, 500, 1199] {
        let name = seed::generated_name(number);
        assert_eq!(
            acts_as(&world, ADMIN, &name).await,
            Ok(generated_owner(number)),
            "{name}"
        );
    }
    for path in ["/api/v3/organizations/companies", "/api/v3/users?"] {
        let seen = asked(&world, path);
        let offset = |seen: &SeenRequest| {
            let (_, after) = seen.target.split_once("&offset=").unwrap();
            after.split('&').next().unwrap().to_owned()
        };
        let offsets: Vec<_> = seen.iter().map(offset).collect();
        assert_eq!(offsets, ["0", "500", "1000"], "{path}");
    }
    assert!(
        asked(&world, "/api/v3/users?")[0]
            .target
            .contains("CompanyOwner")
    );
    let told = directory(&world).await;
    assert_eq!(told["companies"], 1204);
    assert_eq!(told["tenants"]["rest_access_off"], 1);
}

/// A tenant, what becomes of it, and what brings that about or takes it back.
type Step<'a> = (&'a str, &'a str, &'a dyn Fn(bool));

/// Each way in which nobody can act for a tenant, as it happens.
#[tokio::test]
async fn what_became_of_a_company_is_said_to_its_client_and_nobody_else() {
    let more = tenant("a", &format!("company = \"{}\"", seed::ACME.uid))
        + &tenant("g", &format!("company = \"{}\"", seed::GLOBEX.uid))
        + &tenant("i", "company_name = \"Initech\"");
    let world = start(unsigned_settings(), "directory_refresh = \"1s\"", &more).await;
    for (name, owner) in [("a", seed::ACME_OWNER), ("g", seed::GLOBEX_OWNER)] {
        assert_eq!(acts_as(&world, ADMIN, name).await, Ok(owner.uid));
    }
    let simulator = &world.simulator;
    let (acme, owner) = (seed::ACME.uid, seed::ACME_OWNER.uid);
    let twin = Uuid::from_u128(2);
    let steps: [Step<'_>; 6] = [
        ("a", "company_disabled", &|off| {
            simulator.change_company(acme, CompanyChange::Enabled(!off));
        }),
        ("a", "rest_access_off", &|off| {
            assert!(simulator.set_rest_access(acme, !off));
        }),
        ("a", "user_disabled", &|off| {
            assert!(simulator.set_user_enabled(owner, !off));
        }),
        ("a", "user_missing", &|off| {
            let role = if off {
                Role::CompanyAdministrator
            } else {
                Role::CompanyOwner
            };
            simulator.set_role(owner, role);
        }),
        ("i", "company_ambiguous", &|off| {
            if off {
                simulator.add_company(twin, "Initech");
            } else {
                simulator.remove_company(twin);
            }
        }),
        ("g", "company_missing", &|off| {
            if off {
                simulator.remove_company(seed::GLOBEX.uid);
            }
        }),
    ];
    for (name, code, switch) in steps {
        switch(true);
        changed(&world, name, code).await;
        let (reached, lent) = (world.reached().len(), world.grants("as"));
        let answer = world.get(ADMIN, name, ME).await;
        assert_eq!((answer.status, answer.code()), (502, code));
        let record = world.outcome(&answer).await;
        assert_eq!(
            (&record["code"], &record["tenant"]),
            (&json!(code), &json!(name))
        );
        assert_eq!(record["attempts"], 0);
        // A log-in is refused for the same reason.
        let login = world.log_in(&format!(r"{name}\admin"), ADMIN).await;
        assert_eq!((login.status, login.code()), (502, code));
        assert_eq!(login.text("error"), "temporarily_unavailable");
        // Whose tenant it is goes first.
        let foreign = world.get(ZABBIX, name, ME).await;
        assert_eq!((foreign.status, foreign.code()), (403, "tenant_denied"));
        assert_eq!(
            (world.reached().len(), world.grants("as")),
            (reached, lent),
            "{code}"
        );
        let told = directory(&world).await;
        let listed = told["refused"].as_array().unwrap();
        assert!(
            listed.contains(&json!({"tenant": name, "code": code})),
            "{told}"
        );
        // Tenants by user of the same company are counted as well.
        assert!(told["tenants"][code].as_u64() >= Some(1), "{told}");
        switch(false);
        if code != "company_missing" {
            until_true_async(async || acts_as(&world, ADMIN, name).await.is_ok()).await;
        }
    }
}

#[tokio::test]
async fn without_rest_access_the_gateway_refuses_or_lets_the_console_decide() {
    let world = start(unsigned_settings(), ALL, "").await;
    let off = refused(502, "rest_access_off");
    assert_eq!(acts_as(&world, ADMIN, "Umbrella").await, off);
    assert_eq!(world.grants("as"), (0, 0));

    let console = format!("{ALL}\nrest_access = \"ignore\"");
    let world = start(unsigned_settings(), &console, "").await;
    let login_refused = refused(502, "login_refused");
    assert_eq!(acts_as(&world, ADMIN, "Umbrella").await, login_refused);
    assert_eq!(world.grants("as").1, 1);
}

#[tokio::test]
async fn a_tenant_by_user_is_followed_too() {
    let world = start(unsigned_settings(), "directory_refresh = \"1s\"", "").await;
    is_read(&world).await;
    let disabled = refused(502, "user_disabled");
    assert_eq!(acts_as(&world, ADMIN, "disabled").await, disabled);
    assert_eq!(
        acts_as(&world, ADMIN, "acme").await,
        Ok(seed::ACME_OWNER.uid)
    );
    assert_eq!(world.grants("as"), (1, 0));
    world.simulator.remove_user(seed::ACME_OWNER.uid);
    changed(&world, "acme", "user_missing").await;
    let missing = refused(502, "user_missing");
    assert_eq!(acts_as(&world, ADMIN, "acme").await, missing);
    assert_eq!(
        acts_as(&world, ADMIN, "globex").await,
        Ok(seed::GLOBEX_OWNER.uid)
    );
}

#[tokio::test]
async fn many_tenants_by_user_are_read_page_by_page() {
    let settings = Settings {
        companies: 600,
        ..unsigned_settings()
    };
    let by_user = |number| {
        let user = generated_owner(number);
        tenant(&format!("t{number}"), &format!("user = \"{user}\""))
    };
    let more: String = (570..600).map(by_user).collect();
    let world = start(settings, "directory_refresh = \"1s\"", &more).await;
    is_read(&world).await;
    assert_eq!(
        directory(&world).await["tenants"],
        json!({"ok": 33, "user_disabled": 1})
    );
    assert_eq!(asked(&world, "/api/v3/users/").len(), 0);
    world.simulator.remove_user(generated_owner(599));
    changed(&world, "t599", "user_missing").await;
    assert_eq!(
        acts_as(&world, ADMIN, "t599").await,
        refused(502, "user_missing")
    );
    assert_eq!(
        acts_as(&world, ADMIN, "t598").await,
        Ok(generated_owner(598))
    );
}

#[tokio::test]
async fn an_account_that_may_not_read_users_serves_without_checks() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let forbidden = Action::Answer {
        status: 403,
        body: None,
        content_type: None,
        headers: Vec::new(),
    };
    let forbidden = Fault::new(forbidden).under("/api/v3/users/").times(0);
    simulator.fault(forbidden.subject(seed::SERVICE.uid));
    let world = prepare(simulator, "directory_refresh = \"1s\"", "").await;
    world.keep_roster();
    is_read(&world).await;
    assert_eq!(directory(&world).await["users_unchecked"], true);
    assert_eq!(
        acts_as(&world, ADMIN, "acme").await,
        Ok(seed::ACME_OWNER.uid)
    );
    assert_eq!(
        acts_as(&world, ADMIN, "disabled").await,
        refused(502, "login_refused")
    );
}

#[tokio::test]
async fn a_renamed_company_is_known_by_its_new_name_and_its_tokens_go_on() {
    let world = start(unsigned_settings(), ALL, "").await;
    let owner = Ok(seed::INITECH_OWNER.uid);
    assert_eq!(acts_as(&world, ADMIN, "Initech").await, owner);
    let login = world.log_in(r"Initech\admin", ADMIN).await;
    let (access, refresh) = (login.text("access_token"), login.text("refresh_token"));
    let name = CompanyChange::Name("Initrode".to_owned());
    world.simulator.change_company(seed::INITECH.uid, name);
    let record = world
        .record(|record| record["tenant"] == "Initrode" && record["kind"] == "admin")
        .await;
    assert!(
        record["detail"].as_str().unwrap().contains("Initech"),
        "{record}"
    );
    assert_eq!(acts_as(&world, ADMIN, "Initrode").await, owner);
    assert_eq!(
        acts_as(&world, ADMIN, "Initech").await,
        refused(403, "tenant_denied")
    );
    // The company is the same, and so is its token at the console.
    assert!(ok(&world.get_as(&access, ME).await));
    let form = [("grant_type", "refresh_token"), ("refresh_token", &refresh)];
    assert!(ok(&world.token(&form).await));
    assert_eq!(world.grants("as"), (1, 0));
}

#[tokio::test]
async fn a_new_owner_takes_over_and_the_old_ones_tokens_are_dropped() {
    let world = start(unsigned_settings(), ALL, "").await;
    let old = seed::INITECH_OWNER.uid;
    assert_eq!(acts_as(&world, ADMIN, "Initech").await, Ok(old));
    let login = world.log_in(r"Initech\admin", ADMIN).await;
    let access = login.text("access_token");
    assert!(ok(&world.get_as(&access, ME).await));
    assert_eq!(world.gateway().broker.stats().held, 1);

    // Both at once: a company without an owner is another matter.
    let owner = (seed::INITECH.uid, r"Initech\new", "pw", Role::CompanyOwner);
    let new = world
        .simulator
        .user(owner.0, owner.1, owner.2, owner.3)
        .unwrap();
    world.simulator.set_role(old, Role::CompanyAdministrator);
    let is_new = |record: &Value| {
        record["operation"] == "directory.changed" && record["target"]["uid"] == *new.to_string()
    };
    let record = world.record(is_new).await;
    assert_eq!(record["tenant"], "Initech");
    assert!(
        record["detail"]
            .as_str()
            .unwrap()
            .contains(&old.to_string()),
        "{record}"
    );
    assert_eq!(world.gateway().broker.stats().held, 0);
    assert_eq!(acts_as(&world, ADMIN, "Initech").await, Ok(new));
    // What was issued for the old one does not become the new one's.
    let answer = world.get_as(&access, ME).await;
    assert_eq!((answer.status, answer.code()), (401, "bad_credentials"));
}

#[tokio::test]
async fn a_name_of_two_companies_stands_for_neither() {
    let world = start(unsigned_settings(), ALL, &partner()).await;
    assert_eq!(
        acts_as(&world, PARTNER, "Initech").await,
        Ok(seed::INITECH_OWNER.uid)
    );
    let twin = Uuid::from_u128(0xdead);
    world.simulator.add_company(twin, "Initech");
    let (organization, role) = (twin, Role::CompanyOwner);
    let owner = world
        .simulator
        .user(organization, r"twin\owner", "pw", role)
        .unwrap();
    let is_told = |record: &Value| {
        let detail = record["detail"].as_str().unwrap_or_default();
        record["operation"] == "directory.changed" && detail.contains("several companies")
    };
    world.record(is_told).await;
    let denied = || refused(403, "tenant_denied");
    assert_eq!(acts_as(&world, ADMIN, "Initech").await, denied());
    assert_eq!(acts_as(&world, ADMIN, &twin.to_string()).await, Ok(owner));
    let initech = seed::INITECH.uid.to_string();
    assert_eq!(
        acts_as(&world, ADMIN, &initech).await,
        Ok(seed::INITECH_OWNER.uid)
    );
    // Whoever may act for "Initech" may not act for either: nobody knows which was meant.
    for name in ["Initech", &initech, &twin.to_string()] {
        assert_eq!(acts_as(&world, PARTNER, name).await, denied(), "{name}");
    }
    assert_eq!(directory(&world).await["ambiguous"], json!(["Initech"]));
    let told = |records: Vec<Value>| records.iter().filter(|record| is_told(record)).count();
    let readings = asked(&world, "/api/v3/organizations").len();
    until_true(|| asked(&world, "/api/v3/organizations").len() > readings + 1).await;
    assert_eq!(told(world.records()), 1);
}

#[tokio::test]
async fn a_new_company_is_found_because_somebody_asks_for_it() {
    let world = start(unsigned_settings(), ALL_ONCE, "").await;
    is_read(&world).await;
    let company = Uuid::from_u128(0xc0);
    world.simulator.add_company(company, "Newcomer");
    let role = Role::CompanyOwner;
    let owner = world
        .simulator
        .user(company, r"new\owner", "pw", role)
        .unwrap();
    // Those who may only act for tenants of the file find out nothing, and cause nothing.
    assert_eq!(
        acts_as(&world, BILLING, "Newcomer").await,
        refused(403, "tenant_denied")
    );
    assert_eq!(asked(&world, "/api/v3/organizations").len(), 1);
    assert_eq!(
        acts_as(&world, ADMIN, "Newcomer").await,
        refused(403, "tenant_denied")
    );
    until_true_async(async || acts_as(&world, ADMIN, "Newcomer").await == Ok(owner)).await;
    for number in 0..50 {
        let nobody = format!("nobody-{number}");
        assert_eq!(
            acts_as(&world, ADMIN, &nobody).await,
            refused(403, "tenant_denied")
        );
    }
    assert_eq!(asked(&world, "/api/v3/organizations").len(), 2);
}

#[tokio::test]
async fn while_the_directory_was_never_read_nobody_learns_whose_a_name_is() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    simulator.fault(Fault::new(Action::CutBeforeHead).under("/api/v3").times(0));
    let world = prepare(simulator, ALL, &partner()).await;
    world.keep_roster();
    let mut bodies = Vec::new();
    for name in ["Initech", "acme", "nobody"] {
        let answer = world.get(PARTNER, name, ME).await;
        assert_eq!(
            (answer.status, answer.code()),
            (503, "directory_unavailable"),
            "{name}"
        );
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=2).contains(&seconds), "{seconds}");
        assert_eq!(
            world.outcome(&answer).await["code"],
            "directory_unavailable"
        );
        bodies.push(answer.body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    // Whoever may only act for tenants of the file need not wait to be told.
    assert_eq!(
        acts_as(&world, BILLING, "nobody").await,
        refused(403, "tenant_denied")
    );
    let told = directory(&world).await;
    assert!(
        told["read_seconds_ago"].is_null() && told["error"].is_string(),
        "{told}"
    );

    world.simulator.clear_faults();
    let initech = Ok(seed::INITECH_OWNER.uid);
    // The pause before the next reading is the longer the more have failed: on a slow machine many.
    let patience = Duration::from_secs(120);
    let is_known = async || acts_as(&world, PARTNER, "Initech").await == initech;
    until_true_within(patience, is_known).await;
    for name in ["acme", "nobody"] {
        assert_eq!(
            acts_as(&world, PARTNER, name).await,
            refused(403, "tenant_denied")
        );
    }
    assert!(directory(&world).await["error"].is_null());
}

#[tokio::test]
async fn a_token_waits_for_the_first_reading_after_a_restart() {
    let world = start(unsigned_settings(), ALL, "").await;
    let login = world.log_in(r"Initech\admin", ADMIN).await;
    let access = login.text("access_token");
    let slow = Fault::new(Action::Delay).under("/api/v3/organizations");
    world
        .simulator
        .fault(slow.delay(Duration::from_millis(500)).times(0));
    let world = world
        .restart(|text| text.replacen("connect_timeout", &format!("{ALL}\nconnect_timeout"), 1))
        .await;
    world.keep_roster();
    let headers = [
        ("authorization", &*format!("Bearer {access}")),
        ("x-tenant", "Initech"),
    ];
    let answer = world.call("GET", ME, &headers, "").await;
    assert_eq!((answer.status, answer.code()), (200, ""));
}

#[tokio::test]
async fn what_is_known_stays_while_the_console_cannot_be_asked() {
    for fault in [
        Action::CutBeforeHead,
        Action::Html,
        Action::ServerError,
        Action::TokenBody {
            body: r#"{"data":null,"errors":[{"code":1}]}"#.to_owned(),
        },
        Action::TokenBody {
            body: r#"{"data":[],"meta":{"pagingInfo":{"total":4}}}"#.to_owned(),
        },
        Action::Answer {
            status: 404,
            body: None,
            content_type: None,
            headers: Vec::new(),
        },
    ] {
        let world = start(unsigned_settings(), ALL, "").await;
        assert_eq!(
            acts_as(&world, ADMIN, "Initech").await,
            Ok(seed::INITECH_OWNER.uid)
        );
        let shown = format!("{fault:?}");
        world
            .simulator
            .fault(Fault::new(fault).under("/api/v3/organizations").times(0));
        until_true_async(async || directory(&world).await["error"].is_string()).await;
        for (name, owner) in [
            ("Initech", seed::INITECH_OWNER),
            ("Globex", seed::GLOBEX_OWNER),
        ] {
            assert_eq!(acts_as(&world, ADMIN, name).await, Ok(owner.uid), "{shown}");
        }
        world.simulator.clear_faults();
        until_true_async(async || directory(&world).await["error"].is_null()).await;
    }
}

#[tokio::test]
async fn a_console_that_puts_answers_off_or_throttles_is_asked_again_later() {
    let switches = Switches {
        async_mode: AsyncMode::Unasked,
        ..unsigned()
    };
    let settings = Settings {
        switches,
        ..unsigned_settings()
    };
    let world = start(settings, ALL, "").await;
    until_true_async(async || {
        let error = directory(&world).await["error"].clone();
        error
            .as_str()
            .is_some_and(|error| error.contains("put the answer off"))
    })
    .await;
    assert_eq!(
        acts_as(&world, ADMIN, "Initech").await,
        refused(503, "directory_unavailable")
    );

    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let throttle = Action::Throttle {
        retry_after: Some(2),
    };
    simulator.fault(Fault::new(throttle).under("/api/v3/organizations"));
    let world = prepare(simulator, ALL, "").await;
    let before = tokio::time::Instant::now();
    world.keep_roster();
    is_read(&world).await;
    assert!(before.elapsed() >= Duration::from_secs(2));
}

/// A token that the console does not know any more is not the end of the directory.
#[tokio::test]
async fn a_refused_token_is_replaced_and_the_directory_read() {
    let world = start(unsigned_settings(), ALL, "").await;
    is_read(&world).await;
    world.simulator.end_sessions(None);
    let readings = || {
        let mut seen = asked(&world, "/api/v3/organizations");
        seen.retain(|seen| seen.status == Some(200));
        seen.len()
    };
    let before = readings();
    until_true(|| readings() > before + 1).await;
    assert_eq!(
        acts_as(&world, ADMIN, "Initech").await,
        Ok(seed::INITECH_OWNER.uid)
    );
}

/// However often it is asked for, one reading is under way at a time.
#[tokio::test]
async fn readings_of_one_console_do_not_overlap() {
    let world = start(unsigned_settings(), ALL, "").await;
    is_read(&world).await;
    let slow = Fault::new(Action::Delay).under("/api/v3/organizations");
    world
        .simulator
        .fault(slow.delay(Duration::from_millis(1500)).times(2));
    let open = || {
        let mut seen = asked(&world, "/api/v3/organizations");
        seen.retain(|seen| seen.status.is_none());
        seen.len()
    };
    until(|| (open() == 1).then_some(())).await;
    for _ in 0..20 {
        assert_eq!(
            acts_as(&world, ADMIN, "nobody").await,
            refused(403, "tenant_denied")
        );
        assert!(open() <= 1);
    }
}
