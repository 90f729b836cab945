//! Connections of HTTP/1 that nobody uses, and how refusals reach those who are still sending.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::harness::{World, ZABBIX};

/// A world with more lines under `[server]`.
async fn world(server: &str) -> World {
    super::world(server, "", |text| text, |_| {}).await
}

/// Reads one answer that tells its length.
async fn answer(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).await.unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&read));
        read.extend_from_slice(piece.get(..count).unwrap());
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.split("content-length: ").nth(1);
            let length = length.and_then(|rest| rest.split("\r\n").next());
            let length: usize = length.map_or(0, |text| text.parse().unwrap());
            if read.len() >= end + 4 + length {
                return String::from_utf8(read).unwrap();
            }
        }
    }
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Api-Key: {ZABBIX}\r\nX-Tenant: acme\r\n{more}\r\n")
}

const ME: &str = "/api/v3/users/me";

/// How long after its answer an idle connection is closed.
async fn closed_after(stream: &mut TcpStream) -> Option<Duration> {
    let started = Instant::now();
    let mut rest = Vec::new();
    let end = timeout(Duration::from_secs(6), stream.read_to_end(&mut rest)).await;
    end.ok().map(|_| started.elapsed())
}

#[tokio::test]
async fn a_connection_that_was_never_used_ends_after_the_idle_timeout() {
    let world = world("idle_timeout = \"1s\"").await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"\r\n").await.unwrap();
    assert!(closed_after(&mut stream).await.is_some());
}

#[tokio::test]
async fn a_connection_that_is_idle_after_an_answer_of_the_console_ends_after_the_idle_timeout() {
    let world = world("idle_timeout = \"1s\"").await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(get(ME, "").as_bytes()).await.unwrap();
    let text = answer(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(
        closed_after(&mut stream).await.is_some(),
        "it is still open"
    );
}

#[tokio::test]
async fn a_connection_that_is_idle_after_a_refusal_ends_after_the_idle_timeout() {
    let world = world("idle_timeout = \"1s\"").await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = format!("GET {ME} HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let text = answer(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 401"), "{text}");
    assert!(
        closed_after(&mut stream).await.is_some(),
        "it is still open"
    );
}

#[tokio::test]
async fn who_asks_for_an_upgrade_gets_time_to_take_a_refusal_too() {
    let world = world("").await;
    for more in ["", "Connection: Upgrade\r\nUpgrade: h2c\r\n"] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let head = format!(
            "POST {ME} HTTP/1.1\r\nHost: a\r\nX-Api-Key: {ZABBIX}\r\nX-Tenant: acme\r\n\
             {more}Content-Length: 10000000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let text = answer(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 413"), "{text}");
        // The caller goes on for a moment with what it had begun to send.
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream
                .write_all(&[b'x'; 1000])
                .await
                .unwrap_or_else(|error| {
                    panic!("with {more:?}: {error}");
                });
        }
    }
}
