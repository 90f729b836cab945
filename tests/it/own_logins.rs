//! How the gateway itself logs in: password, second factor, key pair, API key. What the console saw,
//! and what the log says.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;
use vspc_gateway::clock::Clock;
use vspc_gateway::secret::SecretSource;
use vspc_gateway::state::State;
use vspc_gateway::token::Which;
use vspc_gateway::upstream::{Console, ConsoleId, HttpVersions, Settings as Upstream, Tls};
use vspc_gateway::vspc::grant::Access;
use vspc_gateway::vspc::login::{Codes, Credentials, KeyForm, Login, Padding, log_in};
use vspc_gateway::vspc::{Expected, Manner};
use vspc_simulator::{
    ChallengePadding, PublicKeyForm, SeenRequest, Settings, Simulator, Switches, public_key_xml,
    seed,
};

use crate::child::{get, once, request};
use crate::harness::{
    World, ZABBIX, configuration, ok, read_records, unsigned, until, write_secret,
};

const ME: &str = "/api/v3/users/me";
const PASSWORD: &str =
    r#"{ grant = "password", username = 'VSPC\svc-gateway', password = { file = "password" } }"#;
const MFA: &str =
    r#"{ grant = "password", username = 'VSPC\mfa', password = { file = "mfa-password" } }"#;
const TOTP: &str = r#"{ grant = "password", username = 'VSPC\mfa', password = { file = "mfa-password" }, totp_secret = { file = "totp" } }"#;

/// One key for all tests of a process: making it takes longer than they do.
static KEY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    der.as_ref().to_vec()
});

/// A folder with the secrets that the logins name.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let key = BASE64.encode(&*KEY);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
    for (name, text) in [
        ("mfa-password", seed::MFA_ADMINISTRATOR.password),
        ("totp", seed::MFA_ADMINISTRATOR_SECRET),
        ("other-totp", seed::INITECH_MFA_SECRET),
        ("key.pem", &pem),
    ] {
        write_secret(&folder.path().join(name), text);
    }
    folder
}

async fn simulator(switches: Switches) -> Simulator {
    let settings = Settings {
        switches,
        ..Settings::default()
    };
    let simulator = Simulator::start(settings).await.unwrap();
    let xml = public_key_xml(&KEY).unwrap();
    simulator.add_public_key(seed::SERVICE.uid, &xml, false);
    simulator
}

fn with_login(text: &str, login: &str) -> String {
    assert!(text.contains(PASSWORD), "{text}");
    text.replacen(PASSWORD, login, 1)
        .replacen("drain =", "token_wait = \"2s\"\ndrain =", 1)
}

/// A gateway that logs in like this.
async fn start(switches: Switches, login: &str) -> World {
    let (simulator, folder) = (simulator(switches).await, folder());
    let version = "client_version = \"3.6.2\"";
    let text = configuration(folder.path(), &simulator.url(), version, "127.0.0.1:0");
    World::start_in(simulator, folder, &with_login(&text, login), |_| {}).await
}

/// The requests for tokens that the console got.
fn token_requests(simulator: &Simulator) -> Vec<SeenRequest> {
    let mut seen = simulator.requests();
    seen.retain(|request| request.grant.is_some());
    seen
}

/// The grants that the console was asked for, in their order.
fn asked(simulator: &Simulator) -> Vec<&'static str> {
    let seen = token_requests(simulator).into_iter();
    seen.filter_map(|request| request.grant).collect()
}

/// What the log says of the calls to the token endpoint: what was asked for, and what came of it.
async fn told(world: &World, count: usize) -> Vec<(String, String)> {
    let tokens = || {
        let mut records = read_records(&world.audit_folder());
        records.retain(|record| record["kind"] == "token");
        (records.len() >= count).then_some(records)
    };
    let text = |record: &Value, member| record.get(member).unwrap().as_str().unwrap().to_owned();
    let records = until(tokens).await.into_iter();
    records
        .map(|record| (text(&record, "operation"), text(&record, "code")))
        .collect()
}

fn lines(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let line = |(operation, code): &(&str, &str)| ((*operation).to_owned(), (*code).to_owned());
    expected.iter().map(line).collect()
}

/// A request is answered, after these grants and no others.
async fn assert_logs_in(world: &World, grants: &[&str]) {
    let answer = world.get(ZABBIX, "acme", ME).await;
    assert!(ok(&answer), "{answer:?}");
    assert_eq!(asked(&world.simulator), grants);
    for request in token_requests(&world.simulator) {
        assert_eq!(request.header("x-client-version"), Some("3.6.2"));
        assert_eq!(request.authorization_headers, 0);
    }
    let log = told(world, 2).await;
    assert_eq!(log, lines(&[("login", "ok"), ("as", "ok")]));
}

/// Requests are refused, and however many there are, these grants are all that the console gets.
async fn assert_fails(world: &World, code: &str, grants: &[&str], recorded: &str) {
    for _ in 0..5 {
        let answer = world.get(ZABBIX, "acme", ME).await;
        assert_eq!(answer.code(), code, "{answer:?}");
    }
    assert_eq!(asked(&world.simulator), grants);
    assert_eq!(told(world, 1).await, lines(&[("login", recorded)]));
    assert_eq!(world.grants("as"), (0, 0));
}

fn manner(client_version: Option<&HeaderValue>) -> Manner<'_> {
    Manner {
        client_version,
        expected: Expected::default(),
    }
}

#[tokio::test]
async fn a_password_is_one_grant() {
    let world = start(unsigned(), PASSWORD).await;
    assert_logs_in(&world, &["password", "as"]).await;
}

#[tokio::test]
async fn a_password_is_followed_by_a_code_where_the_console_wants_one() {
    let world = start(unsigned(), TOTP).await;
    assert_logs_in(&world, &["password", "mfa", "as"]).await;
    // Who needs no code is asked for none.
    let login = TOTP
        .replace(r"VSPC\mfa", r"VSPC\svc-gateway")
        .replace("mfa-password", "password");
    let world = start(unsigned(), &login).await;
    assert_logs_in(&world, &["password", "as"]).await;
}

#[tokio::test]
async fn no_code_is_sent_twice_not_even_over_a_restart() {
    let world = start(unsigned(), TOTP).await;
    assert_logs_in(&world, &["password", "mfa", "as"]).await;
    let world = world.restart(|text| with_login(&text, TOTP)).await;
    // The session outlives a restart: it is given up here.
    let gateway = world.gateway();
    let main = gateway.consoles.keys().next().unwrap().clone();
    gateway.broker.to_drop(&Which::Session(main)).forget();
    // It waits for the next code, and that may be half a minute.
    let answer = world.get(ZABBIX, "acme", ME).await;
    assert!(
        ok(&answer) || answer.code() == "token_unavailable",
        "{answer:?}"
    );
    assert_eq!(world.grants("password"), (2, 0));
    // The console refuses a code that it knows.
    assert_eq!(world.grants("mfa").1, 0);
    let mut codes: Vec<_> = token_requests(&world.simulator)
        .into_iter()
        .filter(|request| request.grant == Some("mfa"))
        .map(|request| {
            let form = String::from_utf8(request.body).unwrap();
            form.rsplit_once("mfa_code=").unwrap().1.to_owned()
        })
        .collect();
    let sent = codes.len();
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), sent);
}

#[tokio::test]
async fn a_wrong_code_is_a_refused_login_and_tried_once() {
    let world = start(unsigned(), &TOTP.replace(r#""totp""#, r#""other-totp""#)).await;
    assert_fails(&world, "login_refused", &["password", "mfa"], "refused").await;
}

#[tokio::test]
async fn a_second_factor_that_is_not_configured_is_told() {
    let world = start(unsigned(), MFA).await;
    assert_fails(&world, "login_refused", &["password"], "challenge").await;
}

#[tokio::test]
async fn a_key_pair_logs_in_whatever_the_padding() {
    for (challenge_padding, name) in [
        (ChallengePadding::Pkcs1, "pkcs1"),
        (ChallengePadding::OaepSha1, "oaep_sha1"),
        (ChallengePadding::OaepSha256, "oaep_sha256"),
    ] {
        for padding in [
            "",
            r#", padding = "auto""#,
            &format!(", padding = {name:?}"),
        ] {
            let switches = Switches {
                challenge_padding,
                ..unsigned()
            };
            let login = format!(
                r#"{{ grant = "public_key", private_key = {{ file = "key.pem" }}{padding} }}"#
            );
            let world = start(switches, &login).await;
            assert_logs_in(&world, &["public_key", "authorization_code", "as"]).await;
        }
    }
}

#[tokio::test]
async fn a_public_key_is_sent_in_the_form_that_the_console_takes() {
    for (public_key_form, name) in [(PublicKeyForm::Xml, "xml"), (PublicKeyForm::Spki, "spki")] {
        let switches = || Switches {
            public_key_form,
            ..unsigned()
        };
        let login = |form: &str| {
            format!(
                r#"{{ grant = "public_key", private_key = {{ file = "key.pem" }}, public_key_form = {form:?} }}"#
            )
        };
        let world = start(switches(), &login(name)).await;
        assert_logs_in(&world, &["public_key", "authorization_code", "as"]).await;
        let other = if name == "xml" { "spki" } else { "xml" };
        let world = start(switches(), &login(other)).await;
        assert_fails(&world, "login_refused", &["public_key"], "refused").await;
    }
}

#[tokio::test]
async fn a_challenge_of_another_padding_is_told_and_no_code_is_sent() {
    let login =
        r#"{ grant = "public_key", private_key = { file = "key.pem" }, padding = "oaep_sha1" }"#;
    let world = start(unsigned(), login).await;
    let answer = world.get(ZABBIX, "acme", ME).await;
    assert_eq!(answer.code(), "token_unavailable", "{answer:?}");
    assert_eq!(world.grants("authorization_code"), (0, 0));
    let log = told(&world, 1).await;
    assert_eq!(log[0], lines(&[("login", "malformed")])[0]);
}

#[tokio::test]
async fn an_expired_challenge_is_a_refused_login_and_tried_once() {
    let switches = Switches {
        key_challenge_life_ms: 0,
        ..unsigned()
    };
    let login = r#"{ grant = "public_key", private_key = { file = "key.pem" } }"#;
    let world = start(switches, login).await;
    let grants = ["public_key", "authorization_code"];
    assert_fails(&world, "login_refused", &grants, "refused").await;
}

/// Makes an API key of a user, as that user would.
pub(crate) async fn api_key(simulator: &Simulator, user: &seed::SeedUser) -> String {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let (name, password) = (user.name, user.password);
    let body = format!("grant_type=password&username={name}&password={password}");
    let asked = request("POST", "/api/v3/token", &form, &body);
    let session = once(simulator.addr(), asked).await.unwrap();
    let bearer = format!("Bearer {}", session.text("access_token"));
    let path = format!(
        "/api/v3/users/{}/logins/apikey?description=gateway&scopes=rest",
        user.uid
    );
    let asked = request("POST", &path, &[("authorization", &bearer)], "");
    let made = once(simulator.addr(), asked).await.unwrap();
    simulator.clear();
    made.text_at("/data/parameters")
}

#[tokio::test]
async fn an_api_key_is_the_bearer_and_the_token_endpoint_is_never_called() {
    let (simulator, folder) = (simulator(unsigned()).await, folder());
    let key = api_key(&simulator, &seed::SERVICE).await;
    simulator.clear();
    write_secret(&folder.path().join("api-key"), &format!("{key}\n"));
    let text = format!(
        r#"
[server]
listen = "127.0.0.1:0"
[audit]
directory = "audit"
[state]
directory = "state"
[[consoles]]
name = "main"
url = "{}"
login = {{ api_key = {{ file = "api-key" }} }}
"#,
        simulator.url()
    );
    let world = World::start_in(simulator, folder, &text, |_| {}).await;
    let gateway = world.gateway();
    let main = gateway.consoles.keys().next().unwrap();
    let deadline = Instant::now() + std::time::Duration::from_secs(10);
    let lease = gateway.broker.session_lease(main, deadline).await;
    let bearer = lease.unwrap().authorization();
    let bearer = [("authorization", bearer.to_str().unwrap())];
    let answer = get(world.simulator.addr(), ME, &bearer).await.unwrap();
    assert!(ok(&answer), "{answer:?}");
    let seen = world.simulator.requests();
    assert_eq!(seen.len(), 1);
    let expected = format!("Bearer {key}");
    assert_eq!(seen[0].header("authorization"), Some(expected.as_str()));
    assert_eq!(seen[0].subject, Some(seed::SERVICE.uid));
    assert!(world.simulator.state().grants.is_empty());
    assert_eq!(told(&world, 1).await, lines(&[("login", "ok")]));
}

/// The console without a gateway around it.
fn console(simulator: &Simulator) -> Console {
    let second = std::time::Duration::from_secs(1);
    let settings = Upstream {
        id: ConsoleId::new("main"),
        scheme: http::uri::Scheme::HTTP,
        authority: simulator.addr().to_string().parse().unwrap(),
        addresses: Vec::new(),
        checks: None,
        tls: Tls::default(),
        http: HttpVersions::Auto,
        connect_timeout: 5 * second,
        first_byte_timeout: 5 * second,
        idle_timeout: 5 * second,
        sharing: vspc_gateway::upstream::Sharing::default(),
    };
    Console::new(settings).unwrap()
}

#[tokio::test]
async fn every_login_can_be_one_that_only_reads() {
    let (simulator, folder) = (simulator(unsigned()).await, folder());
    let file = |name: &str| SecretSource::File(folder.path().join(name));
    write_secret(&folder.path().join("password"), seed::SERVICE.password);
    let password = |username: &str, password, totp_secret| Credentials::Password {
        username: username.to_owned(),
        password: file(password),
        totp_secret,
    };
    let codes = Codes::new(State::in_memory().unwrap().into(), Clock::System);
    let version = HeaderValue::from_static("3.7");
    for (credentials, steps) in [
        (password(seed::SERVICE.name, "password", None), 1),
        (
            password(
                seed::MFA_ADMINISTRATOR.name,
                "mfa-password",
                Some(file("totp")),
            ),
            2,
        ),
        (
            Credentials::KeyPair {
                private_key: file("key.pem"),
                padding: Padding::Auto,
                form: KeyForm::Xml,
            },
            2,
        ),
    ] {
        simulator.clear();
        let login = Login {
            credentials,
            access: Access::ReadOnly,
        };
        let issued = log_in(&console(&simulator), &login, manner(Some(&version)), &codes).await;
        let bearer = format!("Bearer {}", issued.unwrap().access.expose());
        let seen = token_requests(&simulator);
        assert_eq!(seen.len(), steps);
        for request in seen {
            let form = String::from_utf8(request.body).unwrap();
            assert!(form.ends_with("&readOnly=true"), "{:?}", request.grant);
        }
        let write = request("POST", "/api/v3/users", &[("authorization", &bearer)], "");
        let refused = once(simulator.addr(), write).await.unwrap();
        assert_eq!(refused.status, 403);
        assert_eq!(simulator.state().read_only_refused, 1);
    }
}

#[tokio::test]
async fn a_codes_step_is_that_of_a_console_whose_clock_differs() {
    let (simulator, folder) = (simulator(unsigned()).await, folder());
    let login = Login {
        credentials: Credentials::Password {
            username: seed::MFA_ADMINISTRATOR.name.to_owned(),
            password: SecretSource::File(folder.path().join("mfa-password")),
            totp_secret: Some(SecretSource::File(folder.path().join("totp"))),
        },
        access: Access::Full,
    };
    // The gateway's clock is two minutes slow; its code would be four steps old.
    let slow = Clock::System.now().0 - 120_000_000;
    let slow = Clock::Manual(std::sync::Arc::new(slow.into()));
    let codes = Codes::new(State::in_memory().unwrap().into(), slow);
    let issued = log_in(&console(&simulator), &login, manner(None), &codes).await;
    assert!(issued.is_ok(), "{issued:?}");
    assert_eq!(asked(&simulator), ["password", "mfa"]);
    let count = simulator.state().grant("mfa");
    assert_eq!((count.ok, count.refused), (1, 0));
}
