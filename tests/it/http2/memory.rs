//! How much memory callers of HTTP/2 can make the gateway take, seen from outside of its process.

use vspc_simulator::Simulator;

use super::raw::{GOAWAY, HEADERS, Raw, WHOLE, frame, text};
use super::{ECHO, get, has_ended, head, stream};
use crate::child::{Gateway, Home, unsigned};
use crate::harness::until_true;

const KIB: u64 = 1024;

/// A gateway that has had a request of the kind, and a connection to it.
async fn warm(home: &Home) -> Gateway {
    let gateway = home.start().await;
    for _ in 0..3 {
        let mut raw = Raw::connect(home.address, &[]).await;
        let asked: Vec<u8> = (0..20)
            .flat_map(|number| get(stream(number), ECHO))
            .collect();
        raw.send(&asked).await;
        raw.until(|frames| (0..20).all(|number| has_ended(frames, stream(number))))
            .await;
    }
    gateway
}

/// What the kernel tells of a process, in bytes.
fn status(gateway: &Gateway, name: &str) -> u64 {
    let path = format!("/proc/{}/status", gateway.id());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap().trim_start_matches(':').trim();
    value.strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * KIB
}

/// Memory of a process, and how much more there was at its peak.
struct Growth<'a> {
    gateway: &'a Gateway,
    before: u64,
    mapped: u64,
}

impl<'a> Growth<'a> {
    fn of(gateway: &'a Gateway) -> Self {
        // From now on the peak is that of what follows.
        let path = format!("/proc/{}/clear_refs", gateway.id());
        std::fs::write(path, "5").unwrap();
        Self {
            gateway,
            before: status(gateway, "VmRSS"),
            mapped: status(gateway, "RssFile"),
        }
    }

    /// The bytes at the peak beside those of before, and of the program itself, which is read from
    /// its file when it is first needed.
    fn peak(&self) -> u64 {
        let mapped = status(self.gateway, "RssFile").saturating_sub(self.mapped);
        let peak = status(self.gateway, "VmHWM");
        peak.saturating_sub(self.before).saturating_sub(mapped)
    }
}

/// 47 MB of headers out of 16 kB.
fn bomb() -> Vec<u8> {
    let large = [vec![0x40], text(b"x"), text(&[b'y'; 4000])].concat();
    let bomb = [head("GET", ECHO), large, vec![0x80 | 62; 12_000]].concat();
    assert!(bomb.len() <= 16_384);
    frame(HEADERS, WHOLE, 1, &bomb)
}

#[tokio::test]
async fn heads_that_grow_when_they_are_read_take_less_than_a_mebibyte() {
    let simulator = Simulator::start(unsigned()).await.unwrap();
    let home = Home::new(&simulator.url());
    let mut gateway = warm(&home).await;
    for bombs in [1, 20] {
        let mut all = Vec::new();
        for _ in 0..bombs {
            all.push(Raw::connect(home.address, &[]).await);
        }
        let growth = Growth::of(&gateway);
        for raw in &mut all {
            raw.send(&bomb()).await;
        }
        for raw in &all {
            let answered = || {
                raw.frames()
                    .iter()
                    .any(|frame| frame.stream == 1 || frame.kind == GOAWAY)
            };
            until_true(|| raw.is_closed() || answered()).await;
        }
        let peak = growth.peak();
        assert!(peak < KIB * KIB, "{bombs}: {peak}");
    }
    assert_eq!(simulator.state().operations.get("/_test/echo"), Some(&60));
    gateway.assert_running();
}

/// 50 answers of ten megabytes each that nobody takes.
#[tokio::test]
async fn answers_that_are_held_take_no_more_than_their_buffers() {
    let simulator = Simulator::start(unsigned()).await.unwrap();
    let home = Home::new(&simulator.url());
    home.edit("unread_timeout = \"60s\"", "unread_timeout = \"5s\"");
    let mut gateway = warm(&home).await;
    let mut raw = Raw::connect(home.address, &[(4, 0)]).await;
    let path = "/api/v3/_test/bytes?size=10000000&chunk=100000";
    let asked: Vec<u8> = (0..50)
        .flat_map(|number| get(stream(number), path))
        .collect();
    let growth = Growth::of(&gateway);
    raw.send(&asked).await;
    until_true(|| simulator.state().operations.get("GET /_test/bytes") == Some(&50)).await;
    raw.until_closed().await;
    let peak = growth.peak();
    assert!(peak < 50 * ANSWER, "{peak}");
    until_true(|| simulator.state().in_flight == 0).await;
    gateway.assert_running();
}

/// What may be there of an answer: what the console's connection has read, and what waits for the
/// caller.
const ANSWER: u64 = 96 * KIB;
