//! The runner against a scripted sink, over a real log.

mod again;

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tempfile::TempDir;

use super::progress::Progress;
use super::*;
use crate::audit::{Durability, Entry, Writer};
use crate::clock::Clock;

/// What the other end does with the next batch.
enum Answer {
    Hang,
    Refuse(Option<Duration>),
    Unreachable,
}

/// The other end.
#[derive(Default)]
struct Far {
    /// The batches that it took.
    taken: Mutex<Vec<Vec<u64>>>,
    script: Mutex<VecDeque<Answer>>,
    /// Records that it will never take; whether it says which.
    poison: Mutex<Vec<u64>>,
    names_poison: AtomicBool,
    calls: AtomicU64,
    /// What may have to be sent again: none where it is `u64::MAX`.
    unsettled: AtomicU64,
}

impl Far {
    fn new() -> Arc<Self> {
        let far = Self::default();
        far.unsettled.store(u64::MAX, Ordering::Relaxed);
        Arc::new(far)
    }

    fn records(&self) -> Vec<u64> {
        self.taken.lock().concat()
    }
}

struct Scripted(Arc<Far>);

#[async_trait]
impl Sink for Scripted {
    async fn send(&mut self, batch: &[Item]) -> Result<(), SendError> {
        let far = &self.0;
        far.calls.fetch_add(1, Ordering::Relaxed);
        let answer = far.script.lock().pop_front();
        match answer {
            Some(Answer::Hang) => std::future::pending().await,
            Some(Answer::Refuse(after)) => {
                let why = "not now".to_owned();
                return Err(SendError::Refused { why, after });
            }
            Some(Answer::Unreachable) => return Err(SendError::Unreachable("gone".to_owned())),
            None => {}
        }
        let seqs: Vec<u64> = batch.iter().map(|item| item.seq).collect();
        let poison = far.poison.lock();
        if let Some(seq) = seqs.iter().copied().find(|seq| poison.contains(seq)) {
            let why = "bad".to_owned();
            return Err(match far.names_poison.load(Ordering::Relaxed) {
                true => SendError::RecordRefused { seq, why },
                false => SendError::BatchRefused(why),
            });
        }
        far.taken.lock().push(seqs);
        Ok(())
    }

    fn unsettled(&self) -> Option<u64> {
        let unsettled = self.0.unsettled.load(Ordering::Relaxed);
        (unsettled < u64::MAX).then_some(unsettled)
    }
}

/// Takes everything.
pub(super) struct Nowhere;

#[async_trait]
impl Sink for Nowhere {
    async fn send(&mut self, _: &[Item]) -> Result<(), SendError> {
        Ok(())
    }
}

/// A log whose records are lines of a number, and a runner over it.
struct World {
    folder: TempDir,
    covered: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    far: Arc<Far>,
    progress: Arc<Progress>,
}

impl World {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            covered: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            far: Far::new(),
            progress: Arc::new(Progress::new("s", 0)),
        }
    }

    /// Writes the log anew, with so many records.
    fn log(&self, count: u64) {
        let line = |seq| format!("{{\"seq\":{seq},\"time\":\"2026-01-01T00:00:00.000000Z\"}}\n");
        let text: String = (0..count).map(line).collect();
        fs::write(self.folder.path().join(format!("{:020}.jsonl", 0)), text).unwrap();
        self.covered.send_replace(count);
    }

    fn run(&self, from: From, begin: u64) -> tokio::task::JoinHandle<()> {
        let runner = Runner {
            settings: settings(from),
            sink: Box::new(Scripted(Arc::clone(&self.far))),
            directory: self.folder.path().to_owned(),
            origin: Arc::from("o"),
            begin,
            covered: self.covered.subscribe(),
            stop: self.stop.subscribe(),
            progress: Arc::clone(&self.progress),
            clock: Clock::System,
        };
        tokio::spawn(runner.run())
    }

    /// Runs until all is sent that can be.
    async fn run_out(&self) {
        self.stop.send_replace(true);
        self.run(From::Start, 0).await.unwrap();
        self.stop.send_replace(false);
    }

    async fn taken(&self, count: usize) -> Vec<u64> {
        while self.far.records().len() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.far.records()
    }

    fn stored(&self) -> String {
        fs::read_to_string(self.folder.path().join("sinks/s.offset")).unwrap()
    }

    fn refused(&self) -> Vec<u64> {
        let text = fs::read_to_string(self.folder.path().join("sinks/s.refused"));
        let text = text.unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .map(|line: serde_json::Value| line["record"]["seq"].as_u64().unwrap())
            .collect()
    }
}

fn settings(from: From) -> Settings {
    Settings {
        name: "s".to_owned(),
        kind: Kind::Test,
        kinds: Vec::new(),
        from,
        checkpoints: false,
        batch: 10,
        batch_bytes: 1 << 20,
        linger: Duration::from_millis(50),
        timeout: Duration::from_secs(30),
    }
}

fn all(count: u64) -> Vec<u64> {
    (0..count).collect()
}

#[tokio::test(start_paused = true)]
async fn records_come_in_batches_and_the_offset_follows() {
    let world = World::new();
    world.log(25);
    let task = world.run(From::Start, 25);
    assert_eq!(world.taken(25).await, all(25));
    world.log(27);
    assert_eq!(world.taken(27).await, all(27));
    let sizes: Vec<_> = world.far.taken.lock().iter().map(Vec::len).collect();
    assert_eq!(sizes, [10, 10, 5, 2]);
    world.stop.send_replace(true);
    task.await.unwrap();
    assert_eq!(world.stored(), "27\n");
}

#[tokio::test(start_paused = true)]
async fn the_next_process_goes_on_where_the_last_one_was() {
    let world = World::new();
    world.log(5);
    world.run_out().await;
    world.log(9);
    world.run_out().await;
    assert_eq!(world.far.records(), all(9));
}

#[tokio::test(start_paused = true)]
async fn a_new_sink_begins_with_the_process_if_it_is_told_to() {
    let world = World::new();
    world.log(5);
    let task = world.run(From::Now, 5);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.stored(), "5\n");
    world.log(7);
    assert_eq!(world.taken(2).await, [5, 6]);
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_that_could_be_taken_back() {
    let world = World::new();
    world.log(9);
    world.covered.send_replace(4);
    let task = world.run(From::Start, 0);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.far.records(), all(4));
    world.covered.send_replace(9);
    assert_eq!(world.taken(9).await, all(9));
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_for_now_is_sent_again_and_nothing_is_lost() {
    let world = World::new();
    world.log(30);
    world.far.script.lock().extend([
        Answer::Unreachable,
        Answer::Hang,
        Answer::Refuse(None),
        Answer::Unreachable,
    ]);
    let begun = Instant::now();
    let task = world.run(From::Start, 0);
    while world.progress.failures.load(Ordering::Relaxed) < 4 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(world.progress.is_failing.load(Ordering::Relaxed));
    assert!(world.far.records().is_empty());
    assert_eq!(world.taken(30).await, all(30));
    // One, two, four and eight seconds, each up to a quarter less, and one time limit.
    let waited = begun.elapsed().as_secs();
    assert!((41..=46).contains(&waited), "{waited} s");
    world.stop.send_replace(true);
    task.await.unwrap();
    assert!(!world.progress.is_failing.load(Ordering::Relaxed));
    assert_eq!(
        (world.stored(), world.refused()),
        ("30\n".to_owned(), vec![])
    );
}

#[tokio::test(start_paused = true)]
async fn the_other_end_says_when_it_wants_to_be_asked_again() {
    let world = World::new();
    world.log(3);
    let after = Some(Duration::from_secs(120));
    world.far.script.lock().push_back(Answer::Refuse(after));
    let begun = Instant::now();
    let task = world.run(From::Start, 0);
    world.taken(3).await;
    assert!(begun.elapsed() >= Duration::from_secs(120));
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_never_taken_is_put_aside_and_all_others_are_taken_once_and_in_order() {
    for names_poison in [true, false] {
        let world = World::new();
        world.log(40);
        world.far.poison.lock().extend([0, 13, 14, 39]);
        world
            .far
            .names_poison
            .store(names_poison, Ordering::Relaxed);
        world.run_out().await;
        let expected: Vec<u64> = all(40)
            .into_iter()
            .filter(|seq| ![0, 13, 14, 39].contains(seq))
            .collect();
        assert_eq!(world.far.records(), expected);
        assert_eq!(world.refused(), [0, 13, 14, 39]);
        assert_eq!(world.progress.set_aside.load(Ordering::Relaxed), 4);
        assert_eq!(world.stored(), "40\n");
    }
}

#[tokio::test(start_paused = true)]
async fn another_end_that_refuses_everything_is_taken_to_be_at_fault_itself() {
    let world = World::new();
    world.log(2000);
    world.far.poison.lock().extend(0..2000);
    let task = world.run(From::Start, 0);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let refused = world.refused();
    assert!((16..60).contains(&refused.len()), "{}", refused.len());
    assert!(world.progress.is_failing.load(Ordering::Relaxed));
    // It is set right.
    world.far.poison.lock().clear();
    let taken = world.taken(2000 - 60).await;
    assert_eq!(taken.first(), refused.last().map(|last| last + 1).as_ref());
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_to_have_arrived_is_sent_again_after_a_failure() {
    let world = World::new();
    world.log(10);
    world.far.unsettled.store(4, Ordering::Relaxed);
    let task = world.run(From::Start, 0);
    world.taken(10).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.stored(), "4\n");
    world.far.script.lock().push_back(Answer::Unreachable);
    world.log(12);
    let taken = world.taken(18).await;
    assert_eq!(taken, [all(10), (4..12).collect()].concat());
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn two_processes_never_send_at_once() {
    let world = World::new();
    world.log(5);
    let first = world.run(From::Start, 0);
    world.taken(5).await;
    let second = world.run(From::Start, 0);
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.log(8);
    world.taken(8).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    world.log(11);
    tokio::time::sleep(Duration::from_secs(5)).await;
    second.abort();
    // The second one goes on from what was written down last, which may be a second old.
    let mut records = world.far.records();
    records.sort_unstable();
    records.dedup();
    assert_eq!(records, all(11));
}

#[tokio::test(start_paused = true)]
async fn a_log_older_than_the_sink_is_told_and_new_records_are_sent() {
    let world = World::new();
    world.log(20);
    world.run_out().await;
    world.log(5);
    let task = world.run(From::Start, 5);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.far.records(), all(20));
    world.log(7);
    assert_eq!(world.taken(22).await, [all(20), vec![5, 6]].concat());
    task.abort();
}

fn open(directory: &Path) -> (Auditor, Writer) {
    Auditor::open(crate::audit::Settings {
        durability: Durability::Buffered,
        queue: 4096,
        admission: Duration::from_secs(5),
        ..crate::audit::Settings::new(directory.to_owned())
    })
    .unwrap()
}

#[tokio::test]
async fn a_real_log_is_sent_to_its_end_when_the_process_ends() {
    let folder = TempDir::new().unwrap();
    let (auditor, writer) = open(folder.path());
    for _ in 0..50 {
        let entry: Entry = auditor.begin().await.unwrap();
        entry.close(crate::audit::Code::Ok);
    }
    let sinks = Sinks::start(folder.path(), &[settings(From::Start)], &auditor).unwrap();
    writer.close().unwrap();
    sinks.close(Duration::from_secs(20));
    let stats = auditor.sinks();
    assert_eq!((stats[0].sent, stats[0].lag), (50, 0));
    let stored = fs::read_to_string(folder.path().join("sinks/s.offset")).unwrap();
    assert_eq!(stored, "50\n");
}
