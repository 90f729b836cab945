//! Another configuration in the place of the present one: who stays is not disturbed, who is gone is
//! gone at once, and what is under way ends as it began.

mod process;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use vspc_gateway::secret::KeyDigest;
use vspc_gateway::token::{SurveyFilter, TokenView};
use vspc_simulator::{Action, Fault, Simulator, seed};

use crate::harness::{
    ACME, ADMIN, BILLING, GLOBEX, World, ZABBIX, configuration, ok, unsigned, unsigned_settings,
    until_true, until_true_async, write_secret,
};

const ECHO: &str = "/api/v3/_test/echo";
const ME: &str = "/api/v3/users/me";

/// A world, and the text that it began with.
async fn world(console: &str) -> (World, String) {
    let world = World::start_with(console, unsigned()).await;
    let text = configuration(
        world.folder.path(),
        &world.simulator.url(),
        console,
        "127.0.0.1:0",
    );
    (world, text)
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in the configuration");
    text.replace(from, to)
}

fn version(world: &World) -> String {
    world.gateway().version.to_string()
}

fn held(world: &World) -> Vec<TokenView> {
    let gateway = world.gateway();
    let mut views = gateway.broker.survey(&SurveyFilter::default(), 100);
    views.retain(|view| view.held.is_some());
    views
}

/// As whom the last request of a caller acted.
fn acted(world: &World) -> String {
    let seen = world.reached();
    seen.last().unwrap().subject.unwrap().to_string()
}

fn without_client(text: &str, name: &str) -> String {
    let start = text
        .find(&format!("[[clients]]\nname = \"{name}\""))
        .unwrap();
    let rest = &text[start + 1..];
    let end = rest
        .find("[[clients]]")
        .map_or(text.len(), |end| start + 1 + end);
    format!("{}{}", &text[..start], &text[end..])
}

#[tokio::test]
async fn tokens_sessions_and_log_ins_survive() {
    let (world, text) = world("").await;
    let logged_in = world.log_in("acme\\zabbix", ZABBIX).await;
    let token = logged_in.text("access_token");
    for tenant in ["acme", "globex"] {
        assert!(ok(&world.get(ZABBIX, tenant, ME).await));
    }
    let (logins, impersonations) = (world.grants("password"), world.grants("as"));
    let before = held(&world).len();
    for other in ["drain = \"9s\"", "drain = \"10s\""] {
        world
            .reload(&replaced(&text, "drain = \"10s\"", other))
            .await;
        for tenant in ["acme", "globex"] {
            assert!(ok(&world.get(ZABBIX, tenant, ME).await));
        }
        assert!(ok(&world.get_as(&token, ME).await));
    }
    // Not even where the console is reached in another way: it is the same console.
    let other = replaced(
        &text,
        "connect_timeout = \"2s\"",
        "connect_timeout = \"3s\"",
    );
    world.reload(&other).await;
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    assert_eq!(world.grants("password"), logins);
    assert_eq!(world.grants("as"), impersonations);
    assert_eq!(held(&world).len(), before);
}

#[tokio::test]
async fn a_console_that_did_not_change_keeps_its_connections_and_its_breaker() {
    let (world, text) = world("").await;
    let console = || Arc::clone(world.gateway().consoles.values().next().unwrap());
    let before = console();
    world
        .reload(&replaced(&text, "drain = \"10s\"", "drain = \"9s\""))
        .await;
    assert!(Arc::ptr_eq(&before, &console()));
    let other = replaced(&text, "idle_timeout = \"1s\"", "idle_timeout = \"2s\"");
    world.reload(&other).await;
    assert!(!Arc::ptr_eq(&before, &console()));
    assert_eq!(before.id(), console().id());
}

#[tokio::test]
async fn a_request_under_way_ends_under_the_version_that_it_began_under() {
    let (world, text) = world("").await;
    assert!(ok(&world.get(BILLING, "1001", ECHO).await));
    let (first, world) = (version(&world), Arc::new(world));
    let slow = Fault::new(Action::Delay).under(ECHO).times(1);
    world
        .simulator
        .fault(slow.delay(Duration::from_millis(1500)));
    let reached = world.reached().len();
    let calling = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.get(ADMIN, "1001", ECHO).await }
    });
    until_true(|| world.reached().len() > reached).await;
    // The alias is another tenant's from now on, and acme is nobody's.
    let other = replaced(&text, "aliases = [\"1001\"]\n", "");
    let other = replaced(
        &other,
        "name = \"globex\"\n",
        "name = \"globex\"\naliases = [\"1001\"]\n",
    );
    world.reload(&other).await;
    let second = version(&world);
    assert_ne!(first, second);
    assert!(!calling.is_finished());

    let answer = calling.await.unwrap();
    assert!(ok(&answer), "{answer:?}");
    let record = world.outcome(&answer).await;
    assert_eq!(
        (&record["config"], &record["tenant"]),
        (&first.clone().into(), &"acme".into())
    );
    let answer = world.get(ADMIN, "1001", ECHO).await;
    assert!(ok(&answer), "{answer:?}");
    assert_eq!(acted(&world), GLOBEX);
    let record = world.outcome(&answer).await;
    assert_eq!(
        (&record["config"], &record["tenant"]),
        (&second.into(), &"globex".into())
    );
    let named = |record: &Value| record["config"].is_string();
    assert!(world.records().iter().all(named), "{:?}", world.records());
}

#[tokio::test]
async fn a_key_that_was_taken_out_is_refused_from_the_next_request_on() {
    let (world, text) = world("").await;
    let token = world.log_in("billing", BILLING).await.text("access_token");
    assert!(ok(&world.get(BILLING, "acme", ME).await));
    assert!(ok(&world.get_as(&token, ME).await));
    // The client stays, with another key.
    let digest = KeyDigest::of(BILLING.as_bytes()).to_string();
    let other = KeyDigest::of(b"vgk_test_another_000000000000000000").to_string();
    world.reload(&replaced(&text, &digest, &other)).await;
    let answer = world.get(BILLING, "acme", ME).await;
    assert_eq!((answer.status, answer.code()), (401, "bad_credentials"));
    assert_eq!(world.get_as(&token, ME).await.status, 401);
    // It is back, and so are its tokens.
    world.reload(&text).await;
    assert!(ok(&world.get(BILLING, "acme", ME).await));
    assert!(ok(&world.get_as(&token, ME).await));
    world.reload(&without_client(&text, "billing")).await;
    assert_eq!(world.get(BILLING, "acme", ME).await.status, 401);
    assert_eq!(world.get_as(&token, ME).await.status, 401);
}

#[tokio::test]
async fn a_tenant_that_is_aimed_anew_acts_as_the_other_user_at_once() {
    let (world, text) = world("").await;
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    assert_eq!(acted(&world), ACME);
    let owner = |view: &TokenView| view.target.is_some_and(|user| user.to_string() == ACME);
    assert!(held(&world).iter().any(owner));
    let administrator = seed::ACME_ADMINISTRATOR.uid.to_string();
    world.reload(&replaced(&text, ACME, &administrator)).await;
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    assert_eq!(acted(&world), administrator);
    assert!(!held(&world).iter().any(owner), "{:?}", held(&world));
    assert_eq!(world.grants("password"), (1, 0));
}

#[tokio::test]
async fn rights_that_were_taken_away_are_gone_at_once() {
    let (world, text) = world("").await;
    assert!(ok(&world.get(ZABBIX, "globex", ME).await));
    let less = replaced(
        &text,
        "tenants = [\"acme\", \"globex\"]",
        "tenants = [\"acme\"]",
    );
    world.reload(&less).await;
    let answer = world.get(ZABBIX, "globex", ME).await;
    assert_eq!((answer.status, answer.code()), (403, "tenant_denied"));
}

/// A second console, and a tenant on it.
fn with_second(text: &str, url: &str) -> String {
    let second = format!(
        r#"
[[consoles]]
name = "second"
url = "{url}"
login = {{ grant = "password", username = 'VSPC\svc-gateway', password = {{ file = "password" }} }}
[[tenants]]
name = "elsewhere"
console = "second"
impersonate = {{ user = "{ACME}" }}
"#
    );
    let text = text.replace("impersonate =", "console = \"main\"\nimpersonate =");
    text + &second
}

#[tokio::test]
async fn a_console_that_is_new_is_used_and_one_that_is_gone_leaves_no_token_behind() {
    let (world, text) = world("").await;
    let second = Simulator::start(unsigned_settings()).await.unwrap();
    assert!(ok(&world.get(ADMIN, "acme", ME).await));
    for _ in 0..2 {
        world.reload(&with_second(&text, &second.url())).await;
        assert!(ok(&world.get(ADMIN, "elsewhere", ME).await));
        let at = |view: &TokenView| view.console.as_str() == "second";
        assert_eq!(held(&world).iter().filter(|view| at(view)).count(), 2);

        world.reload(&text).await;
        assert!(!held(&world).iter().any(at), "{:?}", held(&world));
        let answer = world.get(ADMIN, "elsewhere", ME).await;
        assert_eq!((answer.status, answer.code()), (403, "tenant_denied"));
        assert!(ok(&world.get(ADMIN, "acme", ME).await));
    }
    // What was forgotten had to be obtained anew, and nothing of the first console's was.
    assert_eq!(second.state().grants["password"].ok, 2);
    assert_eq!(second.state().grants["as"].ok, 2);
    assert_eq!(world.grants("password"), (1, 0));
    assert_eq!(world.grants("as"), (1, 0));
}

#[tokio::test]
async fn a_console_that_has_moved_is_shown_nothing_of_what_the_first_one_gave() {
    let (world, text) = world("").await;
    assert!(ok(&world.get(ADMIN, "acme", ME).await));
    let given: Vec<String> = bearers(&world.simulator);
    assert!(!given.is_empty());
    let second = Simulator::start(unsigned_settings()).await.unwrap();
    let moved = replaced(&text, &world.simulator.url(), &second.url());
    world.reload(&moved).await;
    let before = world.simulator.requests().len();
    assert!(ok(&world.get(ADMIN, "acme", ME).await));
    assert_eq!(second.state().grants["password"].ok, 1);
    assert!(!second.state().grants.contains_key("refresh_token"));
    let shown = bearers(&second);
    assert!(!shown.is_empty());
    assert!(shown.iter().all(|bearer| !given.contains(bearer)));
    assert_eq!(world.simulator.requests().len(), before);
}

fn bearers(simulator: &Simulator) -> Vec<String> {
    let seen = simulator.requests();
    let seen = seen.iter().filter_map(|seen| seen.header("authorization"));
    seen.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_login_that_was_put_right_is_used_at_once() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let url = simulator.url();
    let folder = TempDir::new().unwrap();
    let text = configuration(folder.path(), &url, "", "127.0.0.1:0");
    write_secret(&folder.path().join("wrong"), "not-the-password");
    let wrong = replaced(&text, "file = \"password\"", "file = \"wrong\"");
    let world = World::start_in(simulator, folder, &wrong, |_| {}).await;
    let answer = world.get(ADMIN, "acme", ME).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(world.grants("password"), (0, 1));
    // Nobody waits for the end of the pause after a refusal, which is half a minute.
    world.reload(&text).await;
    until_true_async(async || ok(&world.get(ADMIN, "acme", ME).await)).await;
    assert_eq!(world.grants("password"), (1, 1));
}

#[tokio::test]
async fn what_was_read_of_a_directory_is_known_on() {
    let console = "tenants = \"directory\"\ndirectory_refresh = \"1h\"";
    let (world, text) = world(console).await;
    world.keep_roster();
    let company = seed::INITECH.name;
    assert!(ok(&world.get(ADMIN, company, ME).await));
    // From now on the console tells nothing of its companies.
    let ill = Fault::new(Action::ServerError).under("/api/v3/organizations");
    world.simulator.fault(ill.times(0));
    for drain in ["9s", "8s"] {
        let other = replaced(&text, "drain = \"10s\"", &format!("drain = \"{drain}\""));
        world.reload(&other).await;
        let answer = world.get(ADMIN, company, ME).await;
        assert!(ok(&answer), "{answer:?}");
        assert_eq!(acted(&world), seed::INITECH_OWNER.uid.to_string());
    }
    // A name of the file goes before those of directories, from now on.
    let taken = replaced(
        &text,
        "name = \"globex\"\nimp",
        &format!("name = \"{company}\"\nimp"),
    );
    let taken = replaced(
        &taken,
        "tenants = [\"acme\", \"globex\"]",
        "tenants = [\"acme\"]",
    );
    world.reload(&taken).await;
    assert!(ok(&world.get(ADMIN, company, ME).await));
    assert_eq!(acted(&world), GLOBEX);
}

/// Nor are those that were given out before given out again.
#[tokio::test]
async fn tokens_of_the_console_are_given_out_no_more_once_they_are_not_to_be() {
    let exposed = "passthrough_logins = true\nexpose_tokens = true";
    let (world, text) = world(exposed).await;
    let user = seed::ACME_ADMINISTRATOR;
    let log_in = || world.log_in(user.name, seed::ADMINISTRATOR_PASSWORD);
    let given = log_in().await.text("access_token");
    assert_eq!(log_in().await.text("access_token"), given);
    let other = replaced(&text, exposed, "passthrough_logins = true");
    world.reload(&other).await;
    let login = log_in().await;
    assert!(ok(&login), "{login:?}");
    assert_ne!(login.text("access_token"), given);
    assert!(ok(&world.get_as(&login.text("access_token"), ME).await));
}
