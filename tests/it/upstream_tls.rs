//! HTTPS consoles: believed by authority or by fingerprint, or not at all.

use vspc_simulator::{Settings, Simulator};

use crate::harness::{ACME, World, ZABBIX, ok, unsigned};

async fn secure() -> Simulator {
    Simulator::start(Settings {
        tls: true,
        switches: unsigned(),
        ..Settings::default()
    })
    .await
    .unwrap()
}

async fn start(simulator: Simulator, tls: &str) -> World {
    let url = simulator.url();
    World::start_on(simulator, &url, tls).await
}

#[tokio::test]
async fn a_console_is_believed_by_its_authority() {
    let simulator = secure().await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, simulator.ca_pem().unwrap()).unwrap();
    for http in ["auto", "1", "2"] {
        let simulator = secure().await;
        std::fs::write(&ca, simulator.ca_pem().unwrap()).unwrap();
        let lines = format!("tls = {{ ca = \"{}\" }}\nhttp = \"{http}\"", ca.display());
        let world = start(simulator, &lines).await;
        let answer = world.get(ZABBIX, "acme", "/api/v3/users/me").await;
        assert!(ok(&answer), "{http}: {answer:?}");
        assert_eq!(answer.json()["data"]["instanceUid"], ACME);
        let version = world.reached().pop().unwrap().version;
        assert_eq!(version, if http == "1" { "HTTP/1.1" } else { "HTTP/2.0" });
    }
}

#[tokio::test]
async fn a_self_signed_console_is_believed_by_its_fingerprint() {
    let simulator = secure().await;
    let pin = simulator.certificate_sha256().unwrap();
    let other = "00".repeat(32);
    let world = start(
        simulator,
        &format!("tls = {{ fingerprint_sha256 = [\"{other}\", \"{pin}\"] }}"),
    )
    .await;
    assert!(ok(&world.get(ZABBIX, "acme", "/api/v3/users/me").await));
}

#[tokio::test]
async fn any_other_certificate_is_refused_and_nothing_is_sent() {
    for lines in [
        format!("tls = {{ fingerprint_sha256 = [\"{}\"] }}", "00".repeat(32)),
        String::new(),
    ] {
        let world = start(secure().await, &lines).await;
        let answer = world.get(ZABBIX, "acme", "/api/v3/users/me").await;
        assert_eq!(
            (answer.status, answer.code()),
            (502, "upstream_tls"),
            "{answer:?}"
        );
        let token = world.record(|record| record["kind"] == "token").await;
        assert!(token["detail"].as_str().unwrap().contains("TLS"), "{token}");
        assert_eq!(world.simulator.requests(), []);
    }
}

/// The certificate changes while a token is held: the call itself fails, and says why.
#[tokio::test]
async fn a_changed_certificate_is_an_upstream_tls_refusal() {
    let simulator = secure().await;
    let pin = simulator.certificate_sha256().unwrap();
    let port = simulator.addr().port();
    let mut world = start(
        simulator,
        &format!("tls = {{ fingerprint_sha256 = [\"{pin}\"] }}"),
    )
    .await;
    assert!(ok(&world.get(ZABBIX, "acme", "/api/v3/users/me").await));
    let spare = Simulator::start(Settings {
        switches: unsigned(),
        ..Settings::default()
    })
    .await
    .unwrap();
    std::mem::replace(&mut world.simulator, spare).stop().await;
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    world.simulator = Simulator::start(Settings {
        tls: true,
        listen,
        switches: unsigned(),
        ..Settings::default()
    })
    .await
    .unwrap();
    // The pool may notice only now that its connection is gone.
    let answer = world.get(ZABBIX, "acme", "/api/v3/users/me").await;
    assert_eq!(
        (answer.status, answer.code()),
        (502, "upstream_tls"),
        "{answer:?}"
    );
    let record = world.outcome(&answer).await;
    assert!(
        record["detail"].as_str().unwrap().contains("not pinned"),
        "{record}"
    );
    assert_eq!(world.simulator.requests(), []);
}
