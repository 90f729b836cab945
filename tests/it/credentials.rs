//! What clients prove who they are with, where they may call from, and for how long.

use std::convert::Infallible;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use vspc_gateway::client::{Certificate, Peer, SubjectName};
use vspc_gateway::clock::{Clock, Timestamp};
use vspc_gateway::gateway::Gateway;
use vspc_gateway::quota;
use vspc_gateway::secret::KeyDigest;
use vspc_gateway::upstream::Fingerprint256;
use vspc_simulator::Simulator;

use crate::child::{self, Home, command, get, once, request};
use crate::harness::{
    ACME, ADMIN, Answer, BILLING, FORM, World, ZABBIX, collect, configuration, encoded, ok,
    unsigned_settings, until_true, until_true_async,
};

const ME: &str = "/api/v3/users/me";
/// A second key of zabbix.
const NEXT: &str = "vgk_test_zabbix_next_000000000000000";

fn keys_of(key: &str) -> String {
    format!("api_keys = [\"{}\"]", KeyDigest::of(key.as_bytes()))
}

/// A key as a table, with a label and an end.
fn table(key: &str, label: &str, expires: &str) -> String {
    let digest = KeyDigest::of(key.as_bytes());
    format!("{{ digest = \"{digest}\", label = \"{label}\", expires = \"{expires}\" }}")
}

fn shown(key: &str, label: &str) -> String {
    format!("{}({label})", KeyDigest::of(key.as_bytes()).label())
}

/// A gateway whose client zabbix has other proofs than elsewhere.
async fn world(proofs: &str, adjust: impl FnOnce(&mut Gateway)) -> World {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(folder.path(), &simulator.url(), "", "127.0.0.1:0");
    assert!(text.contains(&keys_of(ZABBIX)));
    let text = text.replace(&keys_of(ZABBIX), proofs);
    World::start_in(simulator, folder, &text, adjust).await
}

fn from(address: &str) -> Peer {
    Peer::plain(address.parse::<IpAddr>().unwrap())
}

fn showing(print: u8, name: &str) -> Peer {
    let certificate = Certificate {
        fingerprint: Fingerprint256::parse(&format!("{print:02x}").repeat(32)).unwrap(),
        subject: format!("CN={name}"),
        names: vec![SubjectName::Dns(name.to_owned())],
        expires: Timestamp(i64::MAX),
    };
    Peer {
        scheme: "https",
        certificate: Some(Arc::new(certificate)),
        ..from("127.0.0.1")
    }
}

/// Sends a request as if a listener had taken it from this peer.
async fn send(world: &World, peer: Peer, request: Request<Full<Bytes>>) -> Answer {
    let gateway = world.gateway();
    let service = service_fn(move |request: Request<Incoming>| {
        let (gateway, peer) = (Arc::clone(&gateway), peer.clone());
        async move { Ok::<_, Infallible>(gateway.handle(request, peer).await) }
    });
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = hyper::server::conn::http1::Builder::new();
    let serving = tokio::spawn(server.serve_connection(TokioIo::new(far), service));
    let connected = hyper::client::conn::http1::handshake(TokioIo::new(near)).await;
    let (mut sender, connection) = connected.unwrap();
    let talking = tokio::spawn(connection);
    let answer = collect(sender.send_request(request).await.unwrap()).await;
    drop(sender);
    talking.abort();
    serving.abort();
    answer
}

async fn call(world: &World, peer: Peer, headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("x-tenant", "acme")];
    all.extend_from_slice(headers);
    send(world, peer, request("GET", ME, &all, "")).await
}

async fn token(world: &World, peer: Peer, form: &[(&str, &str)]) -> Answer {
    let request = request("POST", "/api/v3/token", &[FORM], &encoded(form));
    send(world, peer, request).await
}

async fn log_in(world: &World, peer: Peer, key: &str) -> Answer {
    let form = [
        ("grant_type", "password"),
        ("username", "acme\\zabbix"),
        ("password", key),
    ];
    token(world, peer, &form).await
}

async fn refresh(world: &World, peer: Peer, login: &Answer) -> Answer {
    let refresh = login.text("refresh_token");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.as_str()),
    ];
    token(world, peer, &form).await
}

/// A refusal, and its record.
async fn refused(world: &World, answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
    let record = world.outcome(answer).await;
    assert_eq!(record.get("code"), Some(&json!(code)));
    record
}

#[tokio::test]
async fn an_expired_key_is_answered_as_an_unknown_one_and_recorded_as_what_it_is() {
    let old = table(ZABBIX, "2026-Q3", "2020-01-01T00:00:00Z");
    let new = table(NEXT, "2026-Q4", "2999-01-01T00:00:00Z");
    let world = world(&format!("api_keys = [{old}, {new}]"), |_| {}).await;
    let unknown = world.get(&"x".repeat(40), "acme", ME).await;
    let basic = {
        use base64::Engine as _;
        let text = format!("zabbix:{ZABBIX}");
        format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(text)
        )
    };
    let bearer = format!("Bearer {ZABBIX}");
    for (header, way) in [
        (("x-api-key", ZABBIX), "api_key"),
        (("authorization", bearer.as_str()), "bearer"),
        (("authorization", basic.as_str()), "basic"),
    ] {
        let answer = call(&world, from("127.0.0.1"), &[header]).await;
        assert_eq!(answer.body, unknown.body);
        let record = refused(&world, &answer, 401, "bad_credentials").await;
        assert_eq!(record["detail"], "key 2026-Q3 expired");
        let credential = format!("{way}:{}", shown(ZABBIX, "2026-Q3"));
        assert_eq!(record["credential"], json!(credential));
        assert_eq!(record["client"], "zabbix");
    }
    let answer = world.log_in("acme\\zabbix", ZABBIX).await;
    let wrong = world.log_in("acme\\zabbix", &"x".repeat(40)).await;
    assert_eq!(answer.body, wrong.body);
    let record = refused(&world, &answer, 400, "bad_credentials").await;
    assert_eq!(record["detail"], "key 2026-Q3 expired");
    assert_eq!(
        record["credential"],
        json!(format!("password:{}", shown(ZABBIX, "2026-Q3")))
    );
    let both = [("x-api-key", ZABBIX), ("authorization", "Bearer x")];
    let answer = call(&world, from("127.0.0.1"), &both).await;
    refused(&world, &answer, 401, "bad_credentials").await;
    assert_eq!(world.reached(), []);
    assert_eq!(
        (world.grants("as"), world.grants("password")),
        ((0, 0), (0, 0))
    );

    let answer = world.get(NEXT, "acme", ME).await;
    assert!(ok(&answer), "{answer:?}");
    let record = world.outcome(&answer).await;
    let credential = format!("api_key:{}", shown(NEXT, "2026-Q4"));
    assert_eq!(record["credential"], json!(credential));

    let metrics = world.admin("/metrics").await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let line = "vspc_gateway_client_key_expires_timestamp_seconds{client=\"zabbix\",key=\"2026-Q3\"} \
                1577836800\n";
    assert!(metrics.contains(line), "{metrics}");
}

/// Whoever guesses and is made to wait does not learn that a key was somebody's.
#[tokio::test]
async fn after_too_many_guesses_a_key_that_has_ended_is_told_like_an_unknown_one() {
    let old = table(ZABBIX, "2026-Q3", "2020-01-01T00:00:00Z");
    let guesses = quota::Rate::new(NonZeroU32::MIN, Duration::from_secs(3600)).unwrap();
    let guesses = guesses.with_burst(NonZeroU32::new(2).unwrap());
    let world = world(&format!("api_keys = [{old}]"), |gateway| {
        gateway.quotas.guesses = Some(Arc::new(quota::Guesses::new(guesses)));
    })
    .await;
    let wrong = "x".repeat(40);
    for key in [ZABBIX, &wrong] {
        let answer = world.get(key, "acme", ME).await;
        refused(&world, &answer, 401, "bad_credentials").await;
    }
    let unknown = world.get(&wrong, "acme", ME).await;
    refused(&world, &unknown, 429, "rate_limited").await;
    let ended = world.get(ZABBIX, "acme", ME).await;
    let record = refused(&world, &ended, 429, "rate_limited").await;
    let told = |answer: &Answer| answer.text_at("/errors/0/message");
    assert_eq!(told(&ended), told(&unknown));
    assert_eq!(record["client"], "zabbix");
    let detail = record["detail"].as_str().unwrap();
    assert!(detail.ends_with(": key 2026-Q3 expired"), "{detail}");
    let log_in = world.log_in("acme\\zabbix", ZABBIX).await;
    assert_eq!((log_in.status, log_in.code()), (429, "rate_limited"));
}

#[tokio::test]
async fn tokens_end_with_the_key_that_they_were_issued_for() {
    let time = Arc::new(AtomicI64::new(Clock::System.now().0));
    let proofs = format!(
        "api_keys = [{}]",
        table(ZABBIX, "short", "2998-01-01T00:00:00Z")
    );
    let clock = Clock::Manual(Arc::clone(&time));
    let world = world(&proofs, |gateway| gateway.clock = clock).await;
    // Ten minutes before the key ends.
    let end = Timestamp::parse("2998-01-01T00:00:00Z").unwrap().0;
    time.store(end - 600 * 1_000_000, Ordering::Relaxed);
    let login = world.log_in("acme\\zabbix", ZABBIX).await;
    assert!(ok(&login), "{login:?}");
    let access = login.text("access_token");
    assert!(ok(&world.get_as(&access, ME).await));
    let reached = world.reached().len();
    time.store(end, Ordering::Relaxed);
    let answer = world.get_as(&access, ME).await;
    refused(&world, &answer, 401, "bad_credentials").await;
    let answer = refresh(&world, from("127.0.0.1"), &login).await;
    let record = refused(&world, &answer, 400, "bad_credentials").await;
    assert_eq!(record["detail"], "key short expired");
    assert_eq!(
        record["credential"],
        json!(format!("refresh:{}", shown(ZABBIX, "short")))
    );
    assert_eq!(world.reached().len(), reached);
}

#[tokio::test]
async fn a_certificate_is_a_credential_and_one_that_names_nobody_is_none() {
    let world = world("certificate = { san = \"zabbix.example\" }", |_| {}).await;
    let answer = call(&world, showing(0xab, "zabbix.example"), &[]).await;
    assert!(ok(&answer), "{answer:?}");
    assert_eq!(answer.json()["data"]["instanceUid"], ACME);
    let record = world.outcome(&answer).await;
    assert_eq!(
        (&record["client"], &record["credential"]),
        (&json!("zabbix"), &json!("certificate:abababab"))
    );
    assert_eq!(record["certificate"], format!("sha256:{}", "ab".repeat(32)));
    let reached = world.reached().len();

    let answer = call(&world, showing(0xcd, "stranger.example"), &[]).await;
    let record = refused(&world, &answer, 401, "no_credentials").await;
    assert_eq!(record["credential"], "certificate:cdcdcdcd");
    assert_eq!(record["client"], json!(null));
    let detail = "the certificate of \"CN=stranger.example\" is no client's";
    assert_eq!(record["detail"], detail);
    let own = showing(0xab, "zabbix.example");
    for key in [BILLING, "unknown"] {
        let answer = call(&world, own.clone(), &[("x-api-key", key)]).await;
        refused(&world, &answer, 401, "conflicting_credentials").await;
    }
    let form = [
        ("grant_type", "password"),
        ("username", "billing"),
        ("password", BILLING),
    ];
    let answer = token(&world, own, &form).await;
    let record = refused(&world, &answer, 400, "conflicting_credentials").await;
    let detail = format!(
        "these do not name one client: the log-in: {} of billing; certificate:abababab of zabbix",
        record["credential"].as_str().unwrap()
    );
    assert_eq!(record["detail"], detail);
    assert!(!detail.contains(BILLING));
    assert_eq!(world.reached().len(), reached);
    // The stranger is in no valid key's way.
    let stranger = showing(0xcd, "stranger.example");
    assert!(ok(&call(&world, stranger, &[("x-api-key", BILLING)]).await));
}

#[tokio::test]
async fn a_certificate_that_two_clients_could_have_is_nobodys() {
    let proofs = "certificate = { san = \"a.example\" }\n\
        tenants = [\"acme\"]\nallow = []\n[[clients]]\nname = \"second\"\n\
        certificate = { subject = \"CN=a.example\" }";
    let world = world(proofs, |_| {}).await;
    let answer = call(&world, showing(1, "a.example"), &[]).await;
    refused(&world, &answer, 401, "conflicting_credentials").await;
    assert_eq!(world.reached(), []);
}

#[tokio::test]
async fn a_client_that_must_give_all_its_proofs_gives_them_at_every_step() {
    let proofs = format!(
        "{}\ncertificate = {{ san = \"zabbix.example\" }}\nrequire = \"all\"",
        keys_of(ZABBIX)
    );
    let world = world(&proofs, |_| {}).await;
    let (own, none) = (|| showing(1, "zabbix.example"), || from("127.0.0.1"));
    let key = [("x-api-key", ZABBIX)];
    assert!(ok(&call(&world, own(), &key).await));
    let login = log_in(&world, own(), ZABBIX).await;
    assert!(ok(&login), "{login:?}");
    let bearer = format!("Bearer {}", login.text("access_token"));
    let bearer = [("authorization", bearer.as_str())];
    assert!(ok(&call(&world, own(), &bearer).await));
    let reached = world.reached().len();

    let mut bare = vec![call(&world, none(), &key).await];
    bare.push(call(&world, showing(2, "other.example"), &key).await);
    bare.push(call(&world, none(), &bearer).await);
    for answer in &bare {
        let record = refused(&world, answer, 401, "bad_credentials").await;
        assert_eq!(record["client"], "zabbix");
        assert_eq!(record["detail"], "the client must show its certificate too");
    }
    for answer in [
        log_in(&world, none(), ZABBIX).await,
        refresh(&world, none(), &login).await,
    ] {
        let record = refused(&world, &answer, 400, "bad_credentials").await;
        assert_eq!(record["detail"], "the client must show its certificate too");
    }
    let keyless = call(&world, own(), &[]).await;
    let record = refused(&world, &keyless, 401, "no_credentials").await;
    assert_eq!(record["client"], "zabbix");
    assert_eq!(world.reached().len(), reached);
    // What was refused has used nothing up.
    assert!(ok(&refresh(&world, own(), &login).await));
}

#[tokio::test]
async fn a_client_calls_from_its_networks_and_from_nowhere_else() {
    let proofs = format!(
        "{}\nnetworks = [\"10.0.0.0/8\", \"2001:db8::/32\"]",
        keys_of(ZABBIX)
    );
    let world = world(&proofs, |_| {}).await;
    let key = [("x-api-key", ZABBIX)];
    for inside in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"] {
        assert!(ok(&call(&world, from(inside), &key).await), "{inside}");
    }
    let login = log_in(&world, from("10.1.2.3"), ZABBIX).await;
    let bearer = format!("Bearer {}", login.text("access_token"));
    let bearer = [("authorization", bearer.as_str())];
    assert!(ok(&call(&world, from("10.1.2.3"), &bearer).await));
    let (reached, grants) = (world.reached().len(), world.grants("as"));

    for outside in ["11.1.2.3", "::ffff:11.1.2.3", "2001:db9::7"] {
        for answer in [
            call(&world, from(outside), &key).await,
            call(&world, from(outside), &bearer).await,
            log_in(&world, from(outside), ZABBIX).await,
            refresh(&world, from(outside), &login).await,
        ] {
            let record = refused(&world, &answer, 403, "source_denied").await;
            assert_eq!(record["client"], "zabbix");
            assert!(record["credential"].is_string(), "{record}");
        }
    }
    let answer = log_in(&world, from("11.1.2.3"), ZABBIX).await;
    assert_eq!(answer.text("error"), "unauthorized_client");
    // Nobody learns from elsewhere which tenants there are.
    let headers = [("x-tenant", "nobody"), ("x-api-key", ZABBIX)];
    let unknown = request("GET", ME, &headers, "");
    let answer = send(&world, from("11.1.2.3"), unknown).await;
    refused(&world, &answer, 403, "source_denied").await;
    assert_eq!(
        (world.reached().len(), world.grants("as")),
        (reached, grants)
    );
    // What was refused has used nothing up, and others call from anywhere.
    assert!(ok(&refresh(&world, from("10.9.9.9"), &login).await));
    assert!(ok(
        &call(&world, from("11.1.2.3"), &[("x-api-key", ADMIN)]).await
    ));
}

async fn me(home: &Home, login: &Answer) -> Answer {
    let bearer = format!("Bearer {}", login.text("access_token"));
    get(home.address, ME, &[("authorization", &bearer)])
        .await
        .unwrap()
}

fn kid(login: &Answer) -> String {
    use base64::Engine as _;
    let token = login.text("access_token");
    let head = token.split('.').next().unwrap();
    let head = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(head);
    let head: Value = serde_json::from_slice(&head.unwrap()).unwrap();
    head.get("kid").and_then(Value::as_str).unwrap().to_owned()
}

async fn ask(home: &Home, form: &[(&str, &str)]) -> Answer {
    let request = request("POST", "/api/v3/token", &[FORM], &encoded(form));
    once(home.address, request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_key_logs_nobody_out_not_even_when_the_process_is_killed() {
    let simulator = Simulator::start(child::unsigned()).await.unwrap();
    let home = Home::new(&simulator.url());
    let form = [
        ("grant_type", "password"),
        ("username", "billing"),
        ("password", BILLING),
    ];
    let mut gateway = home.start().await;
    let before = ask(&home, &form).await;
    let config = home.config().display().to_string();
    let rotate = [
        "tokens",
        "rotate-key",
        "--reason",
        "quarter",
        "--config",
        &config,
    ];
    let run = |arguments: &[&str]| {
        let output = command(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    let (code, told) = run(&rotate);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("2 keys verify"), "{told}");
    let (code, told) = run(&rotate);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("within the last minute"), "{told}");
    let is_rotation = |it: &&Value| it["operation"] == "tokens.rotate_key";
    let is_refused = |it: &Value| is_rotation(&it) && it["code"] == "rate_limited";
    until_true(|| home.records().iter().any(is_refused)).await;
    gateway.kill();
    let mut gateway = home.start().await;
    assert!(ok(&me(&home, &before).await));
    let refresh = before.text("refresh_token");
    let exchange = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.as_str()),
    ];
    assert!(ok(&ask(&home, &exchange).await));
    until_true_async(async || kid(&ask(&home, &form).await) != kid(&before)).await;
    let after = ask(&home, &form).await;
    assert!(ok(&me(&home, &after).await) && ok(&me(&home, &before).await));
    gateway.kill();

    let records = home.records();
    let done = records.iter().find(is_rotation).unwrap();
    assert_eq!(
        (&done["kind"], &done["reason"], &done["code"]),
        (&json!("admin"), &json!("quarter"), &json!("ok"))
    );
}

#[test]
fn check_warns_of_keys_that_end_and_of_certificates_that_nobody_asks_for() {
    let home = Home::new("http://127.0.0.1:9");
    let days = |days: i64| Timestamp(Clock::System.now().0 + days * 86_400_000_000).in_seconds();
    home.edit(
        &keys_of(ZABBIX),
        &format!(
            "certificate = {{ san = \"a.example\" }}\napi_keys = [{}, {}, {}]",
            table(ZABBIX, "gone", "2020-01-01T00:00:00Z"),
            table(NEXT, "soon", &days(10)),
            table("later", "later", &days(20)),
        ),
    );
    let checked = command(&["check", "--config", home.config().to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0));
    let told = String::from_utf8(checked.stdout).unwrap();
    for warning in [
        "warning: key gone of client zabbix expired at 2020-01-01T00:00:00Z",
        "warning: key soon of client zabbix expires at",
        "warning: clients have certificates, and no listener asks for them",
        "warning: audit.checkpoints: not set",
    ] {
        assert!(told.contains(warning), "{told}");
    }
    assert_eq!(told.matches("warning: ").count(), 4, "{told}");
}

#[test]
fn a_new_key_comes_with_the_table_that_stands_for_it() {
    let made = command(&[
        "keys",
        "new",
        "zabbix",
        "--label",
        "2026-Q4",
        "--expires",
        "90d",
    ]);
    assert_eq!(made.status.code(), Some(0));
    let told = String::from_utf8(made.stdout).unwrap();
    let line = told.lines().find(|line| line.contains("api_keys")).unwrap();
    assert!(
        line.contains("label = \"2026-Q4\", expires = \"2"),
        "{told}"
    );
    let home = Home::new("http://127.0.0.1:9");
    home.edit(&keys_of(ZABBIX), line);
    let checked = command(&["check", "--config", home.config().to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    for wrong in [
        ["--expires", "2020-01-01"],
        ["--expires", "90"],
        ["--expires", "0d"],
        ["--expires", "soon"],
        ["--label", "a b"],
        ["--label", ""],
    ] {
        let made = command(&[&["keys", "new", "zabbix"], &wrong[..]].concat());
        assert_eq!(made.status.code(), Some(64), "{wrong:?}");
        assert!(made.stdout.is_empty());
    }
}
