//! How long `audit query` takes over a log of ten million records.
//!
//! `cargo bench --bench query` measures (it writes five gigabytes to `TMPDIR`, and deletes them;
//! `RECORDS` is another number); without `--bench` a few records show that it still runs. Each query
//! is run with and without the indexes of finished files. The log is in the page cache, so that the
//! disk is not what is measured.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::string_slice,
    reason = "a bench tells its figures, and may stop"
)]

#[path = "support/process.rs"]
mod process;

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use tokio::time::{Duration, Instant};
use vspc_gateway::audit::query::{Filter, Order, Query, Scan, Step, index};
use vspc_gateway::clock::Timestamp;

use process::{cpu_of_this_thread, is_measuring};

/// When the first record was written.
const BEGAN: i64 = 1_790_000_000_000_000;
/// The microseconds between two records: ten million are ten days.
const APART: i64 = 86_400;

fn main() {
    let asked = std::env::var("RECORDS")
        .ok()
        .and_then(|count| count.parse().ok());
    let (records, segment) = if is_measuring() {
        (asked.unwrap_or(10_000_000), 256 * 1024 * 1024)
    } else {
        (5_000, 256 * 1024)
    };
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let bytes = generate(folder.path(), records, segment);
    println!(
        "{records} records, {} MB, {} bytes each, generated in {:.1?}",
        bytes / 1_000_000,
        bytes / records,
        started.elapsed()
    );
    let without: Vec<(u64, Duration)> = ask_all(folder.path(), records);
    let own = cpu_of_this_thread();
    let missing = index::unindexed(folder.path()).unwrap();
    for (first, end, _) in &missing {
        index::build(folder.path(), *first, *end, &mut |_| false).unwrap();
    }
    let spent = cpu_of_this_thread().saturating_sub(own);
    println!(
        "{} indexes, {} kB, {:.1?} of one core",
        missing.len(),
        index_bytes(folder.path()) / 1000,
        spent
    );
    let with = ask_all(folder.path(), records);
    for ((name, _), (without, with)) in queries(records).iter().zip(without.iter().zip(&with)) {
        assert_eq!(without.0, with.0, "{name}: the index changes the answer");
        println!(
            "{name:46} {:>8} found, {:>9.1?} without indexes, {:>9.1?} with",
            with.0, without.1, with.1
        );
    }
}

fn queries(records: u64) -> Vec<(&'static str, Query)> {
    let one = |text: &str| vec![text.parse().unwrap()];
    let time = |seq: u64| Timestamp(BEGAN + i64::try_from(seq).unwrap() * APART).into();
    let count = |filter: Filter| Query {
        filter,
        counts: true,
        ..Query::default()
    };
    let all = |filter: Filter| Query {
        filter,
        ..Query::default()
    };
    vec![
        (
            "--request-id of one request",
            all(Filter {
                request_id: one(&request_id(records / 2)),
                ..Filter::default()
            }),
        ),
        (
            "--target of one user --operation '*logins*'",
            all(Filter {
                target: one(&target(77)),
                operation: one("*logins*"),
                ..Filter::default()
            }),
        ),
        (
            "--since --until of an hour",
            all(Filter {
                since: Some(time(records / 2)),
                until: Some(time(records / 2 + 41_667)),
                ..Filter::default()
            }),
        ),
        (
            "--status 5xx",
            all(Filter {
                status: vec!["5xx".parse().unwrap()],
                ..Filter::default()
            }),
        ),
        ("--tenant of a common one --count", {
            count(Filter {
                tenant: one("tenant-7"),
                ..Filter::default()
            })
        }),
        (
            "--text of one record",
            all(Filter {
                text: vec![
                    format!("*{}*", &request_id(records / 3)[4..])
                        .parse()
                        .unwrap(),
                ],
                ..Filter::default()
            }),
        ),
        (
            "--status 2xx --count",
            count(Filter {
                status: vec!["2xx".parse().unwrap()],
                ..Filter::default()
            }),
        ),
        ("--count", count(Filter::default())),
        ("all", all(Filter::default())),
        (
            "--newest-first --limit 100 --refused",
            Query {
                filter: Filter {
                    refused: true,
                    ..Filter::default()
                },
                order: Order::NewestFirst,
                limit: Some(100),
                ..Query::default()
            },
        ),
    ]
}

/// How many records each query finds, and the best time of three.
fn ask_all(directory: &Path, records: u64) -> Vec<(u64, Duration)> {
    let ask = |query: &Query| {
        let started = Instant::now();
        let mut scan = Scan::new(directory, query.clone()).unwrap();
        while !matches!(scan.step().unwrap(), Step::End) {}
        assert!(scan.damage().is_empty());
        (scan.found(), started.elapsed())
    };
    let queries = queries(records);
    let best = |query: &Query| (0..2).map(|_| ask(query)).min_by_key(|(_, time)| *time);
    queries
        .iter()
        .map(|(_, query)| best(query).unwrap())
        .collect()
}

fn request_id(seq: u64) -> String {
    format!(
        "01M8038X9{:017X}",
        (seq / 2).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    )
}

fn target(user: u64) -> String {
    format!("b3ffc78b-7982-44f3-ae66-{user:012x}")
}

/// Writes the log; says how many bytes it has.
fn generate(directory: &Path, records: u64, segment: u64) -> u64 {
    let (mut total, mut written) = (0, u64::MAX);
    let mut log: Option<BufWriter<File>> = None;
    let mut line = Vec::new();
    for seq in 0..records {
        if written >= segment {
            let file = File::create(directory.join(format!("{seq:020}.jsonl"))).unwrap();
            log = Some(BufWriter::with_capacity(1 << 20, file));
            written = 0;
        }
        line.clear();
        write_line(&mut line, seq);
        log.as_mut().unwrap().write_all(&line).unwrap();
        written += line.len() as u64;
        total += line.len() as u64;
    }
    total
}

fn write_line(line: &mut Vec<u8>, seq: u64) {
    let stamp = Timestamp(BEGAN + i64::try_from(seq).unwrap() * APART).text();
    let stamp = String::from_utf8_lossy(&stamp);
    // Tenants are busy by turns, as at night or by day.
    let mixed = (seq / 2).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let tenant = mixed % 40 + (seq / 100_000) % 160;
    let user = tenant * 10 + mixed % 7;
    let client = ["zabbix", "billing", "reports", "backup-portal"][(mixed % 4) as usize];
    let (operation, method, path) = match mixed % 1000 {
        0 => ("POST /users/*/logins", "POST", "/api/v3/users/17/logins"),
        1..=300 => (
            "GET /organizations/companies",
            "GET",
            "/api/v3/organizations/companies",
        ),
        301..=700 => (
            "GET /infrastructure/backupServers/jobs",
            "GET",
            "/api/v3/infrastructure/backupServers/jobs",
        ),
        _ => (
            "GET /protectedWorkloads/virtualMachines",
            "GET",
            "/api/v3/protectedWorkloads/virtualMachines",
        ),
    };
    let (code, status) = match mixed % 20_011 {
        0 => ("ok", 502),
        1..=20 => ("rule_denied", 403),
        _ => ("ok", 200),
    };
    writeln!(
        line,
        "{{\"seq\":{seq},\"time\":\"{stamp}\",\"kind\":\"request\",\"request_id\":\"{}\",\"client\":\"{client}\",\
         \"credential\":\"api_key:59bc8e07\",\"source\":\"10.1.0.{}\",\"tenant\":\"tenant-{tenant}\",\"console\":\"main\",\
         \"target\":{{\"uid\":\"{}\"}},\"operation\":\"{operation}\",\"method\":\"{method}\",\"path\":\"{path}\",\
         \"query\":\"limit=100&offset=0\",\"rule\":\"clients.{client}.allow[0]\",\"code\":\"{code}\",\"status\":{status},\
         \"bytes_out\":1380,\"duration_us\":{},\"lease\":\"6aeec171c2ad3804\"}}",
        request_id(seq),
        mixed % 9,
        target(user),
        mixed % 90_000
    )
    .unwrap();
}

fn index_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let indexes =
        entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "index"));
    indexes.map(|entry| entry.metadata().unwrap().len()).sum()
}
