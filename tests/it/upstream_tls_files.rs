//! The files of TLS towards a console are read again when they change.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;
use vspc_simulator::{Action, Fault, Simulator};

use crate::child::Home;
use crate::harness::{World, ZABBIX, ok, unsigned_settings, until_true, until_true_async};
use crate::tls_front::{Authority, Front, Manner, Wish, ca_file, world};

const ME: &str = "/api/v3/users/me";

/// What the one console of a world says of its files.
fn files_fail(world: &World) -> bool {
    world
        .gateway()
        .consoles
        .values()
        .any(|console| console.tls_files_fail())
}

async fn metrics(world: &World) -> String {
    String::from_utf8(world.admin("/metrics").await.body.to_vec()).unwrap()
}

async fn assert_served(world: &World) {
    let answer = world.get(ZABBIX, "acme", ME).await;
    assert!(ok(&answer), "{answer:?}");
}

async fn started(authority: &Authority, http: &str) -> (TempDir, World, Front) {
    let folder = TempDir::new().unwrap();
    let ca = ca_file(folder.path(), authority);
    let lines = format!("tls = {{ ca = \"{}\" }}\nhttp = \"{http}\"", ca.display());
    let (world, front) = world(
        &authority.sign(&Wish::default()),
        &Manner::default(),
        &lines,
    )
    .await;
    world.keep_files();
    (folder, world, front)
}

/// The console's authority is replaced: the file has both, then the console changes, then the old
/// one goes. No request fails.
#[tokio::test]
async fn an_authority_is_replaced_without_a_failed_request() {
    for http in ["1", "2"] {
        let (old, new) = (Authority::new(), Authority::new());
        let (folder, world, front) = started(&old, http).await;
        assert_served(&world).await;
        let first = front.handshakes();
        std::fs::write(folder.path().join("ca.pem"), old.pem() + &new.pem()).unwrap();
        // New material is used by the next request, over a new connection.
        until_true_async(async || {
            assert_served(&world).await;
            front.handshakes() > first
        })
        .await;
        front.becomes(&new.sign(&Wish::default()), &Manner::default());
        ca_file(folder.path(), &new);
        let second = front.handshakes();
        until_true_async(async || {
            let answer = world.get(ZABBIX, "acme", ME).await;
            assert!(ok(&answer), "{answer:?}");
            front.handshakes() > second
        })
        .await;
        // The old authority counts no more.
        front.becomes(&old.sign(&Wish::default()), &Manner::default());
        world.simulator.drop_connections();
        let refusal = crate::harness::until_refused(&world, ZABBIX, ME).await;
        assert_eq!(refusal.code(), "upstream_tls");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_used_leaves_the_old_one_in_use_and_says_so() {
    let authority = Authority::new();
    let (folder, world, front) = started(&authority, "1").await;
    assert_served(&world).await;
    let before = front.handshakes();
    assert!(
        metrics(&world)
            .await
            .contains("upstream_tls_files_failing{console=\"main\"} 0")
    );
    std::fs::write(folder.path().join("ca.pem"), "nonsense").unwrap();
    until_true(|| files_fail(&world)).await;
    assert!(
        metrics(&world)
            .await
            .contains("upstream_tls_files_failing{console=\"main\"} 1")
    );
    world.simulator.drop_connections();
    until_true_async(async || {
        assert!(world.get(ZABBIX, "acme", ME).await.status != 502);
        front.handshakes() > before
    })
    .await;
    // It is well again as soon as the file is.
    ca_file(folder.path(), &authority);
    until_true(|| !files_fail(&world)).await;
    assert_served(&world).await;
}

/// Certificate and key are two files: between one and the other they do not fit together.
#[tokio::test]
async fn the_gateways_own_certificate_is_replaced_without_a_restart() {
    let folder = TempDir::new().unwrap();
    let (authority, demanded) = (Authority::new(), Authority::new());
    let (old, new) = (
        demanded.sign(&Wish::default()),
        demanded.sign(&Wish::default()),
    );
    let ca = ca_file(folder.path(), &authority);
    let lines = format!(
        "tls = {{ ca = \"{}\", {} }}\nhttp = \"1\"",
        ca.display(),
        old.write(folder.path())
    );
    let identity = authority.sign(&Wish::default());
    let (world, front) = world(&identity, &Manner::demanding(&demanded), &lines).await;
    world.keep_files();
    assert_served(&world).await;
    assert_eq!(
        front.last_guest().certificate.unwrap(),
        old.certificate.to_vec()
    );
    new.write(folder.path());
    until_true_async(async || {
        assert_served(&world).await;
        front.last_guest().certificate.unwrap() == new.certificate.to_vec()
    })
    .await;
    let text = metrics(&world).await;
    for of in ["ca", "certificate"] {
        let line = format!(
            "upstream_certificate_not_after_seconds{{console=\"main\",of=\"{of}\",address=\"\"}} 41"
        );
        assert!(text.contains(&line), "{text}");
    }
}

/// The process watches by itself, and its log says what it finds.
#[tokio::test]
async fn the_log_tells_of_bad_files_and_of_certificates_that_end() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let years = (2020, 2021);
    let identity = authority.sign(&Wish {
        years,
        ..Wish::default()
    });
    let manner = Manner::demanding(&authority);
    let front = Front::start(simulator.addr(), &identity, &manner).await;
    let home = Home::new(&front.url());
    let lines = format!(
        "tls = {{ fingerprint_sha256 = [\"{}\"], {} }}\nconnect_timeout",
        identity.pin(),
        authority.sign(&Wish::default()).write(folder.path())
    );
    home.edit("connect_timeout", &lines);
    let gateway = home.start().await;
    gateway
        .logged("a certificate ends soon, or has ended")
        .await;
    std::fs::write(folder.path().join("own.pem"), "nonsense").unwrap();
    gateway
        .logged("TLS files have changed and cannot be used")
        .await;
    authority.sign(&Wish::default()).write(folder.path());
    gateway.logged("TLS files were read again").await;
    let log = gateway.log();
    assert!(log.contains("2021-01-01T00:00:00Z"), "{log}");
    assert_eq!(log.matches("a certificate ends soon").count(), 1, "{log}");
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

/// Over HTTP/2 all requests to an address share one connection; its limits are those of the console
/// all the same.
#[tokio::test]
async fn requests_over_one_connection_keep_to_the_limits_of_the_console() {
    let identity = Wish::default().self_signed();
    let lines = format!(
        "tls = {{ fingerprint_sha256 = [\"{}\"] }}\nhttp = \"2\"\nconcurrency = 5\n\
         tenant_concurrency = 5",
        identity.pin()
    );
    let (world, front) = world(&identity, &Manner::default(), &lines).await;
    let world = Arc::new(world);
    assert_served(&world).await;
    world.simulator.clear();
    let slow = Fault::new(Action::Delay)
        .under("/api/v3/_test/echo")
        .times(0);
    world
        .simulator
        .fault(slow.delay(Duration::from_millis(100)));
    let mut calls = JoinSet::new();
    for _ in 0..30 {
        let world = Arc::clone(&world);
        calls.spawn(async move { world.get(ZABBIX, "acme", "/api/v3/_test/echo").await });
    }
    for answer in calls.join_all().await {
        assert!(ok(&answer), "{answer:?}");
    }
    assert_eq!(world.simulator.state().in_flight_max, 5);
    assert_eq!(front.handshakes(), 1);
}

/// More requests than the console lets run at once on the connection wait there for one another.
#[tokio::test]
async fn more_requests_than_streams_are_all_answered() {
    let identity = Wish::default().self_signed();
    let lines = format!(
        "tls = {{ fingerprint_sha256 = [\"{}\"] }}\nhttp = \"2\"",
        identity.pin()
    );
    let (world, front) = world(&identity, &Manner::default(), &lines).await;
    let world = Arc::new(world);
    assert_served(&world).await;
    let slow = Fault::new(Action::Delay)
        .under("/api/v3/_test/echo")
        .times(0);
    world
        .simulator
        .fault(slow.delay(Duration::from_millis(200)));
    world.simulator.clear();
    let mut calls = JoinSet::new();
    for _ in 0..STREAMS + 100 {
        let world = Arc::clone(&world);
        calls.spawn(async move { world.get(ZABBIX, "acme", "/api/v3/_test/echo").await });
    }
    for answer in calls.join_all().await {
        assert!(ok(&answer), "{answer:?}");
    }
    let most = world.simulator.state().in_flight_max;
    assert!(most <= STREAMS as u64, "{most}");
    assert_eq!(front.handshakes(), 1);
}

/// How many requests the simulator lets run at once on a connection: hyper's default.
const STREAMS: usize = 200;
