//! What the audit log takes: outcomes from one producer, with the processor time of producer and
//! writer, and intents from many requests at once, with the syncs that made them durable; and what
//! it costs to note a read before it is sent.
//!
//! `cargo bench --bench audit` measures; without `--bench` a few records show that it still runs.
//! The log is in a temporary folder (`TMPDIR`), whose disk decides what a sync costs.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench tells its figures, and may stop"
)]

#[path = "support/process.rs"]
mod process;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::Method;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Duration, Instant};
use uuid::Uuid;
use vspc_gateway::audit::{
    Auditor, Code, Durability, Entry, Settings, Target, Writer, redact_query,
};
use vspc_gateway::clock::Clock;
use vspc_gateway::request::RequestId;

use process::{cpu_of_this_thread, cpu_of_thread, is_measuring};

fn main() {
    let (records, time) = if is_measuring() {
        (3_000_000, Duration::from_secs(5))
    } else {
        (1_000, Duration::from_millis(50))
    };
    append(records);
    intents(64, time);
    notes(records / 64);
}

/// What a read waits for: its note in the flight recorder, 64 requests at once.
fn notes(rounds: u32) {
    const AT_ONCE: u32 = 64;
    let (_folder, auditor, writer) = open(Durability::Strict);
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let names = Names::new();
    let spent = runtime.block_on(async {
        let mut spent = Duration::ZERO;
        for _ in 0..rounds {
            let mut entries = Vec::new();
            for _ in 0..AT_ONCE {
                let mut entry = auditor.begin().await.unwrap();
                names.fill(&mut entry);
                entries.push(entry);
            }
            let started = Instant::now();
            for entry in &mut entries {
                entry.note_in_flight().unwrap();
            }
            spent += started.elapsed();
            for entry in entries {
                entry.close(Code::Ok);
            }
        }
        spent
    });
    writer.close().unwrap();
    println!(
        "flight recorder: {} ns a note",
        spent.as_nanos() / u128::from((rounds * AT_ONCE).max(1))
    );
}

/// Outcomes, one after the other: what the log can take, and what that costs.
fn append(records: u32) {
    let (_folder, auditor, writer) = open(Durability::Buffered);
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let names = Names::new();
    let started = Instant::now();
    let (own, writers) = (cpu_of_this_thread(), cpu_of_thread("audit"));
    let spent = runtime.block_on(async {
        for _ in 0..records {
            let mut entry = auditor.begin().await.unwrap();
            names.fill(&mut entry);
            entry.close(Code::Ok);
        }
        while auditor.stats().queued > 0 {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        (
            cpu_of_this_thread().saturating_sub(own),
            cpu_of_thread("audit").saturating_sub(writers),
        )
    });
    let wall = started.elapsed();
    let stats = auditor.stats();
    writer.close().unwrap();
    let each = |time: Duration| time.as_nanos() / u128::from(records);
    let (producer, writer) = spent;
    println!(
        "append: {:.0} records/s ({} bytes each), {} syncs; CPU a record: producer {} ns, writer {} ns; \
         {:.0} records/s on one core",
        rate(records.into(), wall),
        stats.bytes / stats.written.max(1),
        stats.syncs,
        each(producer),
        each(writer),
        rate(records.into(), producer + writer),
    );
}

/// Intents of requests that wait until the disk has them.
fn intents(tasks: usize, time: Duration) {
    let (_folder, auditor, writer) = open(Durability::Strict);
    let runtime = Runtime::new().unwrap();
    let started = Instant::now();
    let done = runtime.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..tasks {
            let auditor = auditor.clone();
            running.spawn(async move {
                let names = Names::new();
                let mut done = 0_u64;
                while started.elapsed() < time {
                    let mut entry = auditor.begin().await.unwrap();
                    names.fill(&mut entry);
                    entry.intend().await.unwrap();
                    entry.close(Code::Ok);
                    done += 1;
                }
                done
            });
        }
        running.join_all().await.into_iter().sum::<u64>()
    });
    let wall = started.elapsed();
    let stats = auditor.stats();
    writer.close().unwrap();
    println!(
        "strict, {tasks} requests at once: {:.0} intents/s; {} syncs, {:.0} µs each, {:.1} intents a sync",
        rate(done, wall),
        stats.syncs,
        stats.sync_micros_total as f64 / stats.syncs.max(1) as f64,
        done as f64 / stats.syncs.max(1) as f64,
    );
}

fn open(durability: Durability) -> (TempDir, Auditor, Writer) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        durability,
        queue: 65_536,
        admission: Duration::from_secs(10),
        ..Settings::new(folder.path().join("audit"))
    };
    let (auditor, writer) = Auditor::open(settings).unwrap();
    (folder, auditor, writer)
}

fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// What requests share.
struct Names {
    client: Arc<str>,
    credential: Arc<str>,
    tenant: Arc<str>,
    console: Arc<str>,
    rule: Arc<str>,
    target: Uuid,
}

impl Names {
    fn new() -> Self {
        Self {
            client: "zabbix".into(),
            credential: "api_key:1c380572".into(),
            tenant: "acme".into(),
            console: "main".into(),
            rule: "clients.zabbix.allow[0]".into(),
            target: Uuid::from_u128(0xb3ff_c78b_7982_44f3_ae66_1384_415f_2bea),
        }
    }

    /// Says of an entry what the data path says of a plain request.
    fn fill(&self, entry: &mut Entry) {
        let record = entry.record();
        record.request_id = Some(RequestId::new(Clock::System.now()));
        record.source = Some(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)));
        record.method = Some(Method::GET);
        record.path = Some("/api/v3/organizations/companies".into());
        record.operation = Some(Cow::Borrowed("GET /organizations/companies"));
        record.query = Some(redact_query("limit=100&offset=0"));
        record.client = Some(Arc::clone(&self.client));
        record.credential = Some(Arc::clone(&self.credential));
        record.tenant = Some(Arc::clone(&self.tenant));
        record.console = Some(Arc::clone(&self.console));
        record.rule = Some(Arc::clone(&self.rule));
        record.target = Some(Target {
            uid: Some(self.target),
            name: None,
            role: None,
        });
        record.status = Some(200);
        record.bytes_in = Some(0);
        record.bytes_out = Some(1234);
        record.attempts = Some(1);
    }
}
