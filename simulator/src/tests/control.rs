use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio_rustls::TlsConnector;

use super::*;
use crate::{Cause, State};

#[tokio::test]
async fn the_state_is_served_without_a_bearer_and_not_counted() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    get("/api/v3/users/me")
        .bearer(&access)
        .send(&simulator)
        .await
        .data();
    get("/api/v3/users/me").send(&simulator).await.error(401);
    let served: State =
        serde_json::from_value(get("/_simulator/state").send(&simulator).await.json()).unwrap();
    assert_eq!(served.requests, 3);
    assert_eq!(served.operation("GET /users/me"), 2);
    assert_eq!(served.unauthorized_for(Cause::Missing), 1);
    assert_eq!(served.statuses[&200], 2);
    assert_eq!((served.access_tokens_seen, served.sessions_live), (1, 1));
    assert_eq!(served.access_tokens_by_subject[&seed::SERVICE.uid], 1);
    let text = get("/_simulator/state").send(&simulator).await.json();
    assert_eq!(text["unauthorized"]["missing"], 1);
    assert_eq!(text["grants"]["password"]["ok"], 1);
}

#[tokio::test]
async fn faults_and_revocation_are_had_over_http() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let post = async |path: &str, body: &Value| ask("POST", path).json(body).send(&simulator).await;
    let faults = json!([
        { "operation": "GET /users/me", "action": "server_error" },
        { "action": "throttle", "times": 0 },
    ]);
    assert_eq!(
        post("/_simulator/faults", &faults).await.json(),
        json!({ "queued": 2 })
    );
    get("/api/v3/users/me")
        .bearer(&access)
        .send(&simulator)
        .await
        .error(520);
    get("/api/v3/users/me")
        .bearer(&access)
        .send(&simulator)
        .await
        .error(429);
    ask("DELETE", "/_simulator/faults").send(&simulator).await;
    get("/api/v3/users/me")
        .bearer(&access)
        .send(&simulator)
        .await
        .data();
    post("/_simulator/faults", &json!({ "action": "explode" }))
        .await
        .error(400);
    let revoked = post("/_simulator/revoke", &json!({ "user": seed::SERVICE.uid })).await;
    assert_eq!(revoked.json(), json!({ "revoked": 1 }));
    get("/api/v3/users/me")
        .bearer(&access)
        .send(&simulator)
        .await
        .error(401);
    ask("POST", "/_simulator/reset").send(&simulator).await;
    assert_eq!(
        (simulator.state().requests, simulator.requests().len()),
        (0, 0)
    );
}

#[tokio::test]
async fn cleared_counters_count_from_nothing_and_tokens_live_on() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    for _ in 0..2 {
        get("/api/v3/users/me")
            .bearer(&access)
            .send(&simulator)
            .await
            .data();
        get("/api/v3/users/me")
            .bearer(&access)
            .send(&simulator)
            .await
            .data();
        let state = simulator.state();
        assert_eq!(
            (state.operation("GET /users/me"), state.access_tokens_seen),
            (2, 1)
        );
        simulator.clear();
        assert_eq!(simulator.state().operations.len(), 0);
        assert_eq!(simulator.state().sessions_live, 1);
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_is_counted_as_unanswered() {
    let simulator = start().await;
    let fault = crate::Fault::new(crate::Action::Delay).delay(std::time::Duration::from_secs(600));
    simulator.fault(fault);
    tokio::select! {
        _ = get("/x").send(&simulator) => panic!("answered in spite of the delay"),
        () = until(|| simulator.state().in_flight == 1) => {}
    }
    simulator.drop_connections();
    until(|| simulator.state().in_flight == 0).await;
    assert_eq!(simulator.state().unanswered, 1);
    assert_eq!(simulator.requests().last().unwrap().status, None);
}

#[tokio::test]
async fn a_stopped_simulator_refuses_connections_and_its_address_is_free() {
    let simulator = start().await;
    let addr = simulator.addr();
    let idle = TcpStream::connect(addr).await.unwrap();
    get("/x").send(&simulator).await;
    simulator.stop().await;
    TcpStream::connect(addr).await.unwrap_err();
    let mut byte = [0];
    assert_eq!(
        tokio::io::AsyncReadExt::read(&mut { idle }, &mut byte)
            .await
            .unwrap_or(0),
        0
    );
    let settings = Settings {
        listen: addr,
        ..Settings::default()
    };
    Simulator::start(settings).await.unwrap();
}

#[tokio::test]
async fn tls_is_served_under_the_authority_that_is_handed_out() {
    let settings = Settings {
        tls: true,
        ..Settings::default()
    };
    let simulator = Simulator::start(settings).await.unwrap();
    assert!(simulator.url().starts_with("https://localhost:"));
    let mut roots = RootCertStore::empty();
    let pem = simulator.ca_pem().unwrap().as_bytes();
    roots
        .add(CertificateDer::from_pem_slice(pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    for name in ["localhost", "127.0.0.1", "::1"] {
        let stream = TcpStream::connect(simulator.addr()).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
        let der = &session.peer_certificates().unwrap()[0];
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        assert_eq!(Some(hex::encode(digest)), simulator.certificate_sha256());
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(executor, TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = Request::get("https://localhost/x")
            .body(Full::<Bytes>::default())
            .unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    }
    assert_eq!(simulator.state().connections_accepted, 3);
}
