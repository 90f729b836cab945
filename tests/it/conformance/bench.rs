//! One gateway before one console, many cases at once, and a table of what came of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::Value;
use tokio::time::Instant;
use vspc_gateway::secret::KeyDigest;
use vspc_simulator::Simulator;

use super::caller::{self, Received};
use super::case::{BOTH, Case, Expect, KEY};
use super::judge::{Crossed, Verdict};
use super::upstream::Upstream;
use super::wire::shown;
use crate::harness::{ACME, GLOBEX, World, unsigned_settings, write_secret};

/// Runs cases and fails unless each has the best outcome.
pub(super) async fn hold(group: &str, cases: Vec<Case>) {
    hold_with(group, "", cases).await;
}

/// The same, with more lines for `[server]`.
pub(super) async fn hold_with(group: &str, server: &str, cases: Vec<Case>) {
    let upstream = Upstream::start().await;
    let world = start(&upstream, server).await;
    let numbered = cases.into_iter().enumerate();
    let cases: Vec<(String, Case)> = numbered.map(|(number, case)| case.filled(number)).collect();
    let runs = cases.iter().map(async |(marker, case)| {
        upstream.learn(marker, &case.script);
        caller::run(world.address, case, marker, &upstream).await
    });
    let received: Vec<Received> = stream::iter(runs).buffered(AT_ONCE).collect().await;
    let ended: Vec<_> = cases.iter().zip(&received).collect();
    let verdicts = verdicts(&world, &upstream, &ended).await;
    summarize(group, &ended, &verdicts);
    let mut faults = String::new();
    for (((marker, case), received), verdict) in ended.iter().zip(&verdicts) {
        tell(&mut faults, (marker, case), received, verdict, &upstream);
    }
    let markers: Vec<String> = cases.iter().map(|(marker, _)| marker.clone()).collect();
    for stray in upstream.strays(&markers) {
        let _infallible = writeln!(faults, "\nof no case, at the console: {stray:?}");
    }
    for doubt in upstream.doubts() {
        let _infallible = writeln!(faults, "\nno request, at the console: {doubt}");
    }
    assert!(faults.is_empty(), "\n{faults}");
}

type Ended<'a> = (&'a (String, Case), &'a Received);

/// Judges all, again and again until what is still being written is there.
async fn verdicts(world: &World, upstream: &Upstream, ended: &[Ended<'_>]) -> Vec<Verdict> {
    let deadline = Instant::now() + WRITTEN;
    loop {
        let records: Vec<Value> = world.records();
        let verdicts: Vec<Verdict> = ended
            .iter()
            .map(|((marker, case), received)| {
                let crossed = Crossed {
                    case,
                    marker,
                    received,
                    reached: upstream.reached(marker),
                    records: &records,
                    console: upstream.address.to_string(),
                };
                crossed.verdict()
            })
            .collect();
        let best = verdicts.iter().all(|verdict| *verdict == Verdict::Best);
        if best || Instant::now() > deadline {
            return verdicts;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Names a case that did not end as it had to, and what crossed.
fn tell(
    faults: &mut String,
    (marker, case): (&str, &Case),
    received: &Received,
    verdict: &Verdict,
    upstream: &Upstream,
) {
    let (class, why) = match verdict {
        Verdict::Best => return,
        Verdict::Repaired(_) if case.may_repair => return,
        Verdict::Repaired(why) => ("repaired", why),
        Verdict::Bad(why) => ("BAD", why),
    };
    let (row, name) = (case.row, &case.name);
    let _infallible = writeln!(faults, "\n{class}: row {row}, {name}: {why}");
    let _infallible = writeln!(faults, "  expected: {}", outline(&case.expect));
    for step in &case.steps {
        let _infallible = match step {
            super::case::Step::Send(bytes) => writeln!(faults, "  sent: {}", shown(bytes)),
            super::case::Step::Trickle(bytes) => writeln!(faults, "  trickled: {}", shown(bytes)),
            other => writeln!(faults, "  {other:?}"),
        };
    }
    for request in upstream.reached(marker) {
        let state = if request.complete {
            "whole"
        } else {
            "unfinished"
        };
        let (head, body) = (shown(&request.raw), shown(&request.body));
        let _infallible = writeln!(faults, "  console got, {state}: {head} and {body}");
    }
    let (raw, end) = (shown(&received.raw), received.end);
    let _infallible = writeln!(
        faults,
        "  caller got: {raw}, {end:?}, doubt {:?}",
        received.doubt
    );
}

fn outline(expect: &Expect) -> String {
    format!("{expect:?}").chars().take(600).collect()
}

#[expect(
    clippy::print_stdout,
    reason = "the table is what the suite is read for"
)]
fn summarize(group: &str, ended: &[Ended<'_>], verdicts: &[Verdict]) {
    let mut rows: BTreeMap<u8, [usize; 3]> = BTreeMap::new();
    for (((_, case), _), verdict) in ended.iter().zip(verdicts) {
        let class = match verdict {
            Verdict::Best => 0,
            Verdict::Repaired(_) => 1,
            Verdict::Bad(_) => 2,
        };
        rows.entry(case.row).or_default()[class] += 1;
    }
    let mut table = format!("{group}\n   row  cases   best  repaired  bad\n");
    let mut line = |row: &str, [best, repaired, bad]: [usize; 3]| {
        let all = best + repaired + bad;
        let _infallible = writeln!(table, "{row:>6} {all:>6} {best:>6} {repaired:>9} {bad:>4}");
    };
    let mut sum = [0; 3];
    for (row, counts) in rows {
        let name = if row == 0 {
            "valid".to_owned()
        } else {
            row.to_string()
        };
        line(&name, counts);
        sum = std::array::from_fn(|class| sum[class] + counts[class]);
    }
    line("all", sum);
    if let Some(((_, case), received)) = ended.iter().max_by_key(|(_, received)| received.took) {
        let (row, name, took) = (case.row, &case.name, received.took);
        let _infallible = writeln!(table, "slowest: {took:.1?}, row {row}, {name}");
    }
    println!("{table}");
}

async fn start(upstream: &Upstream, server: &str) -> World {
    // A world has a simulator; here nobody calls it.
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("password"), "conformance-password\n");
    let text = configuration(upstream, server);
    World::start_in(simulator, folder, &text, |_| {}).await
}

fn configuration(upstream: &Upstream, server: &str) -> String {
    let (console, digest) = (upstream.address, |key: &str| KeyDigest::of(key.as_bytes()));
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
names = ["gw.example", "192.0.2.7", "[2001:db8::7]"]
body_limit = "64KiB"
failed_auth_limit = "off"
drain = "1s"
{server}
[audit]
directory = "audit"
durability = "buffered"
[state]
directory = "state"
[[consoles]]
name = "main"
url = "http://{console}"
login = {{ grant = "password", username = 'VSPC\svc-gateway', password = {{ file = "password" }} }}
connect_timeout = "2s"
first_byte_timeout = "2s"
idle_timeout = "1s"
breaker_faults = 1000000
[[tenants]]
name = "acme"
aliases = ["1001"]
impersonate = {{ user = "{ACME}" }}
[[tenants]]
name = "globex"
impersonate = {{ user = "{GLOBEX}" }}
[mapping]
tenant_header = "X-Tenant"
[[clients]]
name = "solo"
api_keys = ["{}"]
tenants = ["acme"]
allow = [{{ methods = ["*"], paths = ["/api/v3/**"] }}]
[[clients]]
name = "both"
api_keys = ["{}"]
tenants = ["acme", "globex"]
allow = [{{ methods = ["*"], paths = ["/api/v3/**"] }}]
"#,
        digest(KEY),
        digest(BOTH),
    )
}

/// How long the last records may take to be on the disk.
const WRITTEN: Duration = Duration::from_secs(4);

/// How many cases run at once.
const AT_ONCE: usize = 48;
