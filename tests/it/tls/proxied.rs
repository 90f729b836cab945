//! A PROXY header before TLS, and certificates that name clients.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use vspc_gateway::secret::KeyDigest;
use vspc_simulator::Simulator;

use super::authority::Authority;
use super::caller::{Caller, NAME};
use super::{ME, PAIR, handshakes, metric};
use crate::harness::{World, ZABBIX, configuration, unsigned_settings, until_true_async};

/// A gateway with a listener for a proxy, and one for everybody; zabbix has a certificate and no key.
async fn world(authority: &Authority) -> World {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    authority.server(&[NAME]).write(folder.path(), "a");
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let text = configuration(folder.path(), &simulator.url(), "", "127.0.0.1:0");
    let listen = format!(
        "listen = [{{ address = \"127.0.0.1:0\", proxy_protocol = true }}, \"127.0.0.1:0\"]\n\
         tls = {{ {PAIR}, client_ca = \"ca.pem\" }}\n\
         trusted_proxies = [\"127.0.0.1\"]\nforwarded_headers = \"append\""
    );
    let text = text.replace("listen = \"127.0.0.1:0\"", &listen);
    let keys = format!("api_keys = [\"{}\"]", KeyDigest::of(ZABBIX.as_bytes()));
    assert!(text.contains(&keys));
    let text = text.replace(&keys, "certificate = { subject = \"CN=tool, O=Example\" }");
    World::start_in(simulator, folder, &text, |_| {}).await
}

/// A request without a key, on a connection that begins with `before`.
async fn ask(caller: &Caller, address: SocketAddr, before: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(before.as_bytes()).await.unwrap();
    let mut stream = caller.secure(stream, NAME).await.ok()?;
    let head =
        format!("GET {ME} HTTP/1.1\r\nHost: {NAME}\r\nX-Tenant: acme\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    Some(String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn a_proxy_header_before_tls_tells_the_source_and_the_certificate_the_client() {
    let authority = Authority::new("ca");
    let world = world(&authority).await;
    let caller = Caller::showing(&authority, &authority.caller(|_| ()));
    let line = "PROXY TCP4 203.0.113.9 127.0.0.1 51200 443\r\n";
    for (at, before, source) in [(0, line, "203.0.113.9"), (1, "", "127.0.0.1")] {
        let answer = ask(&caller, world.addresses[at], before).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let seen = world.reached().pop().unwrap();
        for (name, value) in [("x-forwarded-for", source), ("x-forwarded-proto", "https")] {
            let pair = (name.to_owned(), value.to_owned());
            assert!(seen.headers.contains(&pair), "{:?}", seen.headers);
        }
        until_true_async(async || {
            world.records().iter().any(|record| {
                record["kind"] == "request"
                    && record["source"] == source
                    && record["client"] == "zabbix"
                    && record["credential"].to_string().contains("certificate:")
            })
        })
        .await;
    }
    assert_eq!(handshakes(&world, "ok").await, 2);
}

#[tokio::test]
async fn a_listener_wants_a_proxy_header_or_does_not_know_it() {
    let authority = Authority::new("ca");
    let world = world(&authority).await;
    let caller = Caller::showing(&authority, &authority.caller(|_| ()));
    assert_eq!(ask(&caller, world.addresses[0], "").await, None);
    let line = "connections_dropped_total{reason=\"proxy_header\"} ";
    until_true_async(async || metric(&world, line).await == Some(1)).await;
    let header = "PROXY TCP4 203.0.113.9 127.0.0.1 51200 443\r\n";
    assert_eq!(ask(&caller, world.addresses[1], header).await, None);
    assert_eq!(handshakes(&world, "not_tls").await, 1);
    assert_eq!(world.reached(), []);
}
