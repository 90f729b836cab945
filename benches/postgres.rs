//! How many records a second a PostgreSQL server takes, and what that costs.
//!
//! `cargo bench --bench postgres` starts a server of its own with its usual durability and writes
//! 300,000 records, then the same ones again. Without `--bench` a few show that it still runs.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench tells its figures, and may stop"
)]

#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../tests/it/postgres/cluster.rs"]
mod cluster;
#[path = "../tests/it/postgres/usual.rs"]
mod usual;

use std::fs;

use tokio::time::Instant;
use vspc_gateway::audit::sinks::postgres::{Host, Names, Postgres, Settings, Source};

use cluster::{Cluster, find_binaries};

/// Records in one batch, as the sink gets them.
const BATCH: usize = 5_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if find_binaries().is_none() {
        println!("skipped: PostgreSQL is not installed (.ci/servers installs it)");
        return;
    }
    let is_measuring = std::env::args().any(|argument| argument == "--bench");
    let count = if is_measuring { 300_000 } else { 1_000 };
    let cluster = Cluster::start_with(|_| vec!["fsync=on".to_owned()]).await;
    let mut sink = Postgres::new(Settings {
        hosts: vec![Host::Tcp("127.0.0.1".to_owned(), cluster.port)],
        database: "postgres".to_owned(),
        user: "owner".to_owned(),
        password: None,
        tls: None,
        names: Names::default(),
        application_name: "bench".to_owned(),
    });
    let lines: Vec<String> = (0..count).map(usual::line).collect();
    // Connects, and makes tables and partitions.
    write(&mut sink, &[usual::line(count)], count).await;
    let bytes: usize = lines.iter().map(String::len).sum();
    println!(
        "{count} records of {} bytes in batches of {BATCH}",
        bytes / lines.len()
    );
    for what in ["new records", "the same ones again"] {
        let before = (Instant::now(), own_ticks(), server_ticks(&cluster).await);
        for (batch, first) in lines.chunks(BATCH).zip((0..).step_by(BATCH)) {
            write(&mut sink, batch, first).await;
        }
        let seconds = before.0.elapsed().as_secs_f64();
        let (own, server) = (
            own_ticks() - before.1,
            server_ticks(&cluster).await - before.2,
        );
        println!(
            "{what}: {:.0} records/s; CPU for each: sink {:.1} us, server {:.1} us",
            f64::from(u32::try_from(count).unwrap()) / seconds,
            micros(own, count),
            micros(server, count),
        );
    }
    let size = "SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits
                WHERE inhparent = 'vspc_gateway.audit_record'::regclass";
    let size = u64::try_from(cluster.number(size).await).unwrap();
    println!("{} bytes a record in the database", size / count);
    let kept = "SELECT count(*) FROM vspc_gateway.audit_record";
    assert_eq!(
        u64::try_from(cluster.number(kept).await).unwrap(),
        count + 1
    );
}

async fn write(sink: &mut Postgres, lines: &[String], first: u64) {
    let sources: Vec<Source<'_>> = (first..)
        .zip(lines)
        .map(|(seq, line)| Source {
            seq,
            origin: "vspc-gateway/bench",
            line: line.as_bytes(),
        })
        .collect();
    sink.write(&sources).await.unwrap();
}

/// Processor time in hundredths of a second.
fn ticks(pid: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields = rest.split(' ').skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn own_ticks() -> u64 {
    ticks("self")
}

/// Of the process that serves the sink.
async fn server_ticks(cluster: &Cluster) -> u64 {
    let pid = "SELECT pid::bigint FROM pg_stat_activity WHERE application_name = 'bench'";
    ticks(&cluster.number(pid).await.to_string())
}

fn micros(ticks: u64, count: u64) -> f64 {
    let of = |number: u64| f64::from(u32::try_from(number).unwrap());
    of(ticks) * 10_000.0 / of(count)
}
