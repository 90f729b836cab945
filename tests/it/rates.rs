//! How much clients and tenants may use at the door, and how often a source may guess.

mod apart;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use vspc_simulator::seed::{ACME_ADMINISTRATOR, ADMINISTRATOR_PASSWORD};
use vspc_simulator::{Action, Fault, Simulator};

use crate::harness::{
    ADMIN, Answer, BILLING, FORM, World, ZABBIX, configuration, encoded, ok, unsigned_settings,
    until_true, until_true_async,
};

const ECHO: &str = "/api/v3/_test/echo";
const ME: &str = "/api/v3/users/me";
const WRONG: &str = "vgk_nobodys_key_0000000000000000000000";

/// A gateway whose configuration was changed; `console` has more lines for the console.
async fn world(console: &str, changes: &[(&str, &str)]) -> World {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut text = configuration(folder.path(), &simulator.url(), console, "127.0.0.1:0");
    text = text.replace("failed_auth_limit = \"off\"\n", "");
    // The console may take its time.
    text = text.replace(
        "first_byte_timeout = \"3s\"",
        "first_byte_timeout = \"60s\"",
    );
    for (behind, line) in changes {
        assert!(text.contains(behind), "{behind}");
        text = text.replacen(behind, &format!("{behind}\n{line}"), 1);
    }
    World::start_in(simulator, folder, &text, |_| {}).await
}

const SERVER: &str = "[server]";
const TENANT_ACME: &str = "name = \"acme\"";
const CLIENT_ZABBIX: &str = "name = \"zabbix\"";

fn refusal(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.code())
}

/// Seconds that a refusal tells to wait, in its header.
fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").unwrap().parse().unwrap()
}

async fn metrics(world: &World) -> String {
    String::from_utf8(world.admin("/metrics").await.body.to_vec()).unwrap()
}

fn echoes(world: &World) -> usize {
    let seen = world.reached();
    seen.iter()
        .filter(|seen| seen.target.starts_with(ECHO))
        .count()
}

#[tokio::test]
async fn a_client_over_its_rate_is_refused_at_once_and_alone() {
    let limit = (CLIENT_ZABBIX, "rate_limit = \"6/m\"\nburst = 3");
    let world = world("", &[limit]).await;
    for number in 0..8 {
        let answer = world.get(ZABBIX, "acme", ECHO).await;
        if number < 3 {
            assert!(ok(&answer), "{answer:?}");
            continue;
        }
        assert_eq!(refusal(&answer), (429, "rate_limited"));
        assert!((1..=10).contains(&retry_after(&answer)), "{answer:?}");
        let told = answer.json();
        assert_eq!(told["errors"][0]["retryAfter"], retry_after(&answer));
        let record = world.outcome(&answer).await;
        assert_eq!(
            (&record["client"], &record["code"]),
            (&"zabbix".into(), &"rate_limited".into())
        );
        assert_eq!(record["attempts"], 0);
    }
    assert_eq!(echoes(&world), 3);
    assert!(ok(&world.get(BILLING, "acme", ECHO).await));
    let met = "vspc_gateway_limits_met_total{client=\"zabbix\",limit=\"client_rate\"} 5\n";
    assert!(metrics(&world).await.contains(met));
    // A log-in is one of its requests.
    let refused = world.log_in(r"acme\zabbix", ZABBIX).await;
    assert_eq!(refusal(&refused), (429, "rate_limited"));
    assert_eq!(refused.text("error"), "temporarily_unavailable");
    assert!(ok(&world.log_in("billing", BILLING).await));
}

/// Row after row of one tenant, at a hundred times its rate, and a little of another.
#[tokio::test]
async fn a_tenant_at_a_hundred_times_its_rate_is_refused_and_no_other_is() {
    let limit = (TENANT_ACME, "rate_limit = \"10/s\"");
    let world = Arc::new(world("", &[limit]).await);
    for tenant in ["acme", "globex"] {
        assert!(ok(&world.get(ADMIN, tenant, ME).await));
    }
    let started = Instant::now();
    let mut noisy = JoinSet::new();
    for number in 0..1000 {
        let world = Arc::clone(&world);
        let path = format!("{ECHO}?filter=acme&offset={number}");
        noisy.spawn(async move { world.get(ADMIN, "acme", &path).await });
    }
    let quiet: Vec<_> = (0..50)
        .map(|number| {
            let path = format!("{ECHO}?filter=globex&offset={number}");
            let world = Arc::clone(&world);
            async move { world.get(ADMIN, "globex", &path).await }
        })
        .collect();
    let quiet = join_all(quiet).await;
    assert!(quiet.iter().all(ok), "{quiet:?}");
    let noisy = noisy.join_all().await;
    let seconds = started.elapsed().as_secs() + 1;
    let let_in = noisy.iter().filter(|answer| ok(answer)).count();
    // Ten at once, the first request here was one of; and ten in each second.
    let most = 10 + 10 * usize::try_from(seconds).unwrap();
    assert!((5..=most).contains(&let_in), "{let_in} in {seconds} s");
    for refused in noisy.iter().filter(|answer| !ok(answer)) {
        assert_eq!(refusal(refused), (429, "rate_limited"));
        assert_eq!(retry_after(refused), 1);
    }
    let seen = world.reached();
    let of = |tenant: &str| {
        let filter = format!("filter={tenant}&");
        seen.iter()
            .filter(|seen| seen.target.contains(&filter))
            .count()
    };
    assert_eq!((of("acme"), of("globex")), (let_in, 50));
    let refused = noisy.iter().find(|answer| !ok(answer)).unwrap();
    let record = world.outcome(refused).await;
    assert_eq!(
        (&record["tenant"], &record["client"]),
        (&"acme".into(), &"admin".into())
    );
    let met = format!(
        "vspc_gateway_limits_met_total{{client=\"admin\",limit=\"tenant_rate\"}} {}\n",
        1000 - let_in
    );
    assert!(metrics(&world).await.contains(&met));
}

#[tokio::test]
async fn whoever_is_not_the_tenants_uses_nothing_of_its_rate() {
    let limit = (TENANT_ACME, "rate_limit = \"1/h\"");
    let world = world(
        "",
        &[
            limit,
            (
                "name = \"billing\"",
                "deny = [{ paths = [\"/api/v3/_test/**\"] }]",
            ),
        ],
    )
    .await;
    for _ in 0..5 {
        let refused = world.get(BILLING, "acme", ECHO).await;
        assert_eq!(refusal(&refused), (403, "operation_denied"));
    }
    assert!(ok(&world.get(ZABBIX, "acme", ECHO).await));
    assert_eq!(
        refusal(&world.get(ZABBIX, "1001", ECHO).await),
        (429, "rate_limited")
    );
}

/// Has answers to echoes wait, as long as a test takes.
fn hold_echoes(world: &World) {
    let delay = Fault::new(Action::Delay).under(ECHO).times(0);
    world.simulator.fault(delay.delay(Duration::from_secs(30)));
}

const TWO_AT_ONCE: (&str, &str) = (CLIENT_ZABBIX, "concurrency = 2");

#[tokio::test]
async fn a_client_has_so_many_requests_under_way_and_each_that_is_dropped_makes_room() {
    let world = Arc::new(world("", &[TWO_AT_ONCE]).await);
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    hold_echoes(&world);
    let held: Vec<_> = (0..2)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.get(ZABBIX, "acme", ECHO).await })
        })
        .collect();
    until_true(|| echoes(&world) == 2).await;
    let refused = world.get(ZABBIX, "globex", ME).await;
    assert_eq!(refusal(&refused), (429, "concurrency_limited"));
    assert_eq!(retry_after(&refused), 1);
    assert_eq!(world.outcome(&refused).await["code"], "concurrency_limited");
    assert!(
        ok(&world.get(BILLING, "acme", ME).await),
        "it is the client's alone"
    );
    let met = "vspc_gateway_limits_met_total{client=\"zabbix\",limit=\"client_concurrency\"} 1\n";
    assert!(metrics(&world).await.contains(met));
    for call in &held {
        call.abort();
    }
    until_true_async(async || ok(&world.get(ZABBIX, "acme", ME).await)).await;
    // Both places are free, not one.
    until_true(|| {
        let records = world.records();
        records
            .iter()
            .filter(|record| record["code"] == "aborted")
            .count()
            == 2
    })
    .await;
}

#[tokio::test]
async fn a_tenant_has_so_many_requests_under_way_whoever_sends_them() {
    let limit = (TENANT_ACME, "concurrency = 1");
    let world = Arc::new(world("", &[limit]).await);
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    hold_echoes(&world);
    let held = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.get(ZABBIX, "acme", ECHO).await }
    });
    until_true(|| echoes(&world) == 1).await;
    for name in ["acme", "1001"] {
        let refused = world.get(ADMIN, name, ME).await;
        assert_eq!(refusal(&refused), (429, "concurrency_limited"));
        assert_eq!(world.outcome(&refused).await["tenant"], "acme");
    }
    assert!(ok(&world.get(ADMIN, "globex", ME).await));
    held.abort();
    until_true_async(async || ok(&world.get(ADMIN, "acme", ME).await)).await;
}

#[tokio::test]
async fn streams_that_are_reset_make_room() {
    let world = world("", &[TWO_AT_ONCE]).await;
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    hold_echoes(&world);
    let stream = TcpStream::connect(world.address).await.unwrap();
    let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.unwrap();
    tokio::spawn(connection);
    let mut call = |path: &str| {
        let request = Request::get(world.url(path))
            .header("x-api-key", ZABBIX)
            .header("x-tenant", "acme")
            .body(Empty::<Bytes>::new())
            .unwrap();
        sender.send_request(request)
    };
    for round in 1..=5 {
        let held = [tokio::spawn(call(ECHO)), tokio::spawn(call(ECHO))];
        until_true(|| echoes(&world) == 2 * round).await;
        assert_eq!(call(ME).await.unwrap().status(), 429);
        for stream in &held {
            stream.abort();
        }
        until_true(|| {
            let records = world.records();
            let aborted = records.iter().filter(|record| record["code"] == "aborted");
            aborted.count() == 2 * round
        })
        .await;
        assert_eq!(call(ME).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn an_answer_that_is_still_being_read_has_its_place() {
    let world = world("", &[(CLIENT_ZABBIX, "concurrency = 1")]).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let asked = format!(
        "GET /api/v3/_test/bytes?size=100000000 HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {ZABBIX}\r\nX-Tenant: acme\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    let refused = world.get(ZABBIX, "acme", ME).await;
    assert_eq!(refusal(&refused), (429, "concurrency_limited"));
    drop(stream);
    until_true_async(async || ok(&world.get(ZABBIX, "acme", ME).await)).await;
}

/// An answer to somebody at another address.
async fn call_from(world: &World, source: &str, request: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(world.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn with_key(key: &str) -> String {
    format!(
        "GET {ME} HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {key}\r\nX-Tenant: acme\r\nConnection: close\r\n\r\n"
    )
}

const THREE_GUESSES: (&str, &str) = (SERVER, "failed_auth_limit = \"1/h\"\nfailed_auth_burst = 3");

#[tokio::test]
async fn whoever_shows_too_many_wrong_keys_is_told_to_wait_and_a_right_one_passes() {
    let world = world("", &[THREE_GUESSES]).await;
    // To show none is no guess, and to show one that has ended neither.
    for _ in 0..5 {
        let answer = world.call("GET", ME, &[("x-tenant", "acme")], "").await;
        assert_eq!(refusal(&answer), (401, "no_credentials"));
    }
    for _ in 0..3 {
        let answer = world.get(WRONG, "acme", ME).await;
        assert_eq!(refusal(&answer), (401, "bad_credentials"));
    }
    let bearer = format!("Bearer {WRONG}");
    for headers in [
        &[("x-api-key", WRONG)][..],
        &[("authorization", bearer.as_str())],
        &[("x-api-key", WRONG), ("authorization", bearer.as_str())],
        &[("authorization", "Basic emFiYml4Ondyb25n")],
        &[("x-api-key", ZABBIX), ("authorization", bearer.as_str())],
    ] {
        let answer = world.call("GET", ME, headers, "").await;
        assert_eq!(refusal(&answer), (429, "rate_limited"), "{headers:?}");
        assert!((1..=3600).contains(&retry_after(&answer)));
        assert!(answer.header("www-authenticate").is_none());
        let record = world.outcome(&answer).await;
        assert_eq!(record["code"], "rate_limited");
        assert!(
            record["detail"].as_str().unwrap().contains("wrong"),
            "{record}"
        );
    }
    let log_in = world.log_in("zabbix", WRONG).await;
    assert_eq!(refusal(&log_in), (429, "rate_limited"));
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", WRONG)];
    assert_eq!(refusal(&world.token(&refresh).await), (429, "rate_limited"));
    // Who stands behind the same address with a key that is right notices nothing.
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    let login = world.log_in(r"acme\zabbix", ZABBIX).await;
    assert!(ok(&login));
    assert!(ok(&world.get_as(&login.text("access_token"), ME).await));
    // Somebody elsewhere has guesses of his own.
    assert!(
        call_from(&world, "127.0.0.2", &with_key(WRONG))
            .await
            .contains(" 401 ")
    );
    assert!(
        call_from(&world, "127.0.0.2", &with_key(ZABBIX))
            .await
            .contains(" 200 ")
    );
    let met = "vspc_gateway_limits_met_total{client=\"\",limit=\"failed_auth\"} 7\n";
    assert!(metrics(&world).await.contains(met));
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_source_has_guesses_of_its_own() {
    let proxies = (SERVER, "trusted_proxies = [\"127.0.0.1\"]");
    let world = world("", &[THREE_GUESSES, proxies]).await;
    for source in ["203.0.113.1", "203.0.113.2", "2001:db8::1"] {
        let headers = [("x-api-key", WRONG), ("x-forwarded-for", source)];
        for number in 0..5 {
            let answer = world.call("GET", ME, &headers, "").await;
            let expected = if number < 3 { 401 } else { 429 };
            assert_eq!(answer.status, expected, "{source} {number}");
        }
    }
    // Another host of the same network of IPv6.
    let headers = [("x-api-key", WRONG), ("x-forwarded-for", "2001:db8::2")];
    assert_eq!(world.call("GET", ME, &headers, "").await.status, 429);
}

#[tokio::test]
async fn guesses_are_unlimited_where_that_is_said() {
    let world = world("", &[(SERVER, "failed_auth_limit = \"off\"")]).await;
    for _ in 0..50 {
        let answer = world.get(WRONG, "acme", ME).await;
        assert_eq!(refusal(&answer), (401, "bad_credentials"));
    }
}

fn log_in_form(user: &str, password: &str) -> String {
    encoded(&[
        ("grant_type", "password"),
        ("username", user),
        ("password", password),
    ])
}

async fn log_in(world: &World, user: &str, password: &str) -> Answer {
    let form = log_in_form(user, password);
    world.call("POST", "/api/v3/token", &[FORM], form).await
}

/// How often the console was asked about a name and a password of a caller.
fn asked(world: &World) -> usize {
    let requests = world.simulator.requests();
    let asked = requests.iter().filter(|seen| {
        seen.grant == Some("password")
            && !String::from_utf8_lossy(&seen.body).contains("svc-gateway")
    });
    asked.count()
}

#[tokio::test]
async fn passwords_are_not_tried_at_the_console_after_too_many_wrong_ones() {
    let world = world("passthrough_logins = true", &[THREE_GUESSES]).await;
    let user = ACME_ADMINISTRATOR.name;
    // A right one is no guess, however often.
    for _ in 0..5 {
        assert!(ok(&log_in(&world, user, ADMINISTRATOR_PASSWORD).await));
    }
    let before = asked(&world);
    assert_eq!(before, 1);
    for number in 0..3 {
        let answer = log_in(&world, user, &format!("wrong-{number}")).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    assert_eq!(asked(&world), before + 3);
    for number in 3..10 {
        let answer = log_in(&world, user, &format!("wrong-{number}")).await;
        assert_eq!(refusal(&answer), (429, "rate_limited"));
        assert!(retry_after(&answer) > 0);
    }
    // Nobody else's password either, from here.
    let other = log_in(&world, "somebody", "else").await;
    assert_eq!(refusal(&other), (429, "rate_limited"));
    // Nor this account's, from wherever.
    let form = log_in_form(&user.to_uppercase(), "wrong-again");
    let request = format!(
        "POST /api/v3/token HTTP/1.1\r\nHost: gw\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{form}",
        FORM.1,
        form.len()
    );
    let elsewhere = call_from(&world, "127.0.0.2", &request).await;
    assert!(elsewhere.starts_with("HTTP/1.1 429 "), "{elsewhere}");
    assert_eq!(asked(&world), before + 3);
    // What is known to be right is right still.
    assert!(ok(&log_in(&world, user, ADMINISTRATOR_PASSWORD).await));
    // A source that has not guessed may try other accounts.
    let form = log_in_form("somebody", "else");
    let request = format!(
        "POST /api/v3/token HTTP/1.1\r\nHost: gw\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{form}",
        FORM.1,
        form.len()
    );
    let elsewhere = call_from(&world, "127.0.0.2", &request).await;
    assert!(elsewhere.starts_with("HTTP/1.1 400 "), "{elsewhere}");
    assert_eq!(asked(&world), before + 4);
}
