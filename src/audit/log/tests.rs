//! Two logs on one directory, whatever happens to them: nothing that was promised is lost, and no
//! checkpoint that was ever signed is of another tree than the last.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use proptest::prelude::*;
use tempfile::TempDir;
use tlog_tiles::tree_hash;

use super::*;
use crate::audit::tests::disk::Script;
use crate::audit::tests::tree::{Judge, assert_proven, lines};
use crate::audit::tree::HASHES;

#[derive(Clone, Debug)]
enum Step {
    Append {
        which: usize,
        records: usize,
        durable: bool,
        signed: bool,
    },
    FailingWrite(usize),
    FailingTree(usize),
    FailingSyncs {
        which: usize,
        syncs: usize,
    },
    /// From now on failed writes stay in the file, or not.
    FailingCuts(bool),
    Kill(usize),
    Close(usize),
    /// A writer dies within a line.
    Torn,
    /// The disk keeps what was synced, and so many per cent of the rest.
    PowerLoss(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let append = (0..2_usize, 1..6_usize, any::<bool>(), any::<bool>());
    prop_oneof![
        8 => append.prop_map(|(which, records, durable, signed)| Step::Append {
            which,
            records,
            durable,
            signed,
        }),
        1 => (0..2_usize).prop_map(|which| Step::Append {
            which,
            records: 300,
            durable: false,
            signed: false,
        }),
        2 => (0..2_usize).prop_map(Step::FailingWrite),
        1 => (0..2_usize).prop_map(Step::FailingTree),
        2 => (0..2_usize, 1..4_usize).prop_map(|(which, syncs)| Step::FailingSyncs { which, syncs }),
        1 => any::<bool>().prop_map(Step::FailingCuts),
        1 => (0..2_usize).prop_map(Step::Kill),
        1 => (0..2_usize).prop_map(Step::Close),
        1 => Just(Step::Torn),
        1 => (0..101_u64).prop_map(Step::PowerLoss),
    ]
}

struct World {
    folder: TempDir,
    script: Script,
    logs: Vec<Option<Log>>,
    ids: u64,
    /// What was promised, and whether it must survive a loss of power.
    promised: BTreeMap<String, bool>,
    signed: Vec<Checkpoint>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            folder: TempDir::new().unwrap(),
            script: Script::default(),
            logs: Vec::new(),
            ids: 0,
            promised: BTreeMap::new(),
            signed: Vec::new(),
        };
        world.logs = vec![Some(world.open()), Some(world.open())];
        world
    }

    fn open(&self) -> Log {
        let (settings, disk) = (TreeSettings::default(), Box::new(self.script.clone()));
        let directory = self.folder.path().to_owned();
        let files = FileSettings::default();
        let log = Log::open(directory, &settings, Clock::default(), files, disk).unwrap();
        // The first checkpoint, and keys, are synced without the scripted disk.
        for path in self.files("notes") {
            let file = fs::metadata(path).unwrap();
            self.script.set(|state| {
                state.synced.entry(file.ino()).or_insert(file.len());
            });
        }
        log
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.extension().is_some_and(|it| it == extension))
            .collect()
    }

    fn append(&mut self, which: usize, records: usize, durable: bool, signed: bool) {
        let mut batch = Batch::default();
        let mut ids = Vec::new();
        for _ in 0..records {
            let id = format!("id{}", self.ids);
            self.ids += 1;
            let body = format!("\"kind\":\"config\",\"client\":\"{id}\"}}\n");
            batch.push(body.as_bytes(), false, None, None);
            ids.push(id);
        }
        let log = self.logs[which].as_mut().unwrap();
        log.signing.urgent |= signed;
        if log.commit(&batch, durable).is_ok() {
            let is_durable = log.unsynced.is_empty();
            assert!(is_durable || !durable);
            self.promised
                .extend(ids.into_iter().map(|id| (id, is_durable)));
        }
        assert_eq!(log.tree.size(), log.next);
        self.signed.push(log.signing.latest.clone());
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Append {
                which,
                records,
                durable,
                signed,
            } => self.append(which, records, durable, signed),
            Step::FailingWrite(which) => {
                self.script.set(|state| state.fail_writes = true);
                self.append(which, 3, true, true);
                self.script.set(|state| state.fail_writes = false);
            }
            Step::FailingTree(which) => {
                self.script.set(|state| state.fail_tree = true);
                self.append(which, 3, true, true);
                self.script.set(|state| state.fail_tree = false);
            }
            Step::FailingSyncs { which, syncs } => {
                self.script.set(|state| state.fail_syncs = syncs);
                self.append(which, 3, true, true);
                self.script.set(|state| state.fail_syncs = 0);
            }
            Step::FailingCuts(fail) => self.script.set(|state| state.fail_cuts = fail),
            Step::Kill(which) => {
                self.logs[which] = None;
                self.reopen(which);
            }
            Step::Close(which) => {
                if let Some(mut log) = self.logs[which].take() {
                    log.finish();
                    self.signed.push(log.signing.latest.clone());
                }
                self.reopen(which);
            }
            Step::Torn => {
                let path = self.files("jsonl").into_iter().max().unwrap();
                let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
                std::io::Write::write_all(&mut file, b"{\"seq\":77,\"ti").unwrap();
            }
            Step::PowerLoss(percent) => self.lose_power(percent),
        }
    }

    /// A start needs a disk that works.
    fn reopen(&mut self, which: usize) {
        let cuts = self.script.get(|state| state.fail_cuts);
        self.script.set(|state| state.fail_cuts = false);
        self.logs[which] = Some(self.open());
        self.script.set(|state| state.fail_cuts = cuts);
    }

    fn lose_power(&mut self, percent: u64) {
        self.logs = vec![None, None];
        let mut files = [self.files("jsonl"), self.files("notes")].concat();
        files.push(self.folder.path().join(HASHES));
        for path in files {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            let (inode, len) = (
                file.metadata().unwrap().ino(),
                file.metadata().unwrap().len(),
            );
            let synced = self.script.get(|state| state.synced.get(&inode).copied());
            let synced = synced.unwrap_or(0).min(len);
            let kept = synced + (len - synced) * percent / 100;
            file.set_len(kept).unwrap();
        }
        self.promised.retain(|_, durable| *durable);
        for which in 0..2 {
            self.reopen(which);
        }
    }

    fn check(mut self) {
        self.script.set(|state| state.fail_cuts = false);
        for log in &mut self.logs {
            // What one writes last, the other may still have to sign for.
            log.as_mut().unwrap().finish();
        }
        let directory = self.folder.path();
        assert_proven(directory);
        let lines = lines(directory);
        for id in self.promised.keys() {
            let of = |line: &&String| line.contains(&format!("\"{id}\""));
            assert_eq!(lines.iter().filter(of).count(), 1, "{id}");
        }
        let (judge, size) = Judge::over(lines.iter().map(String::as_str));
        for checkpoint in self.signed {
            assert!(checkpoint.size <= size);
            let root = tree_hash(checkpoint.size, &judge).unwrap();
            assert_eq!(root, checkpoint.root, "of {} records", checkpoint.size);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn nothing_promised_is_lost_and_all_checkpoints_are_of_one_tree(
        steps in prop::collection::vec(steps(), 1..40),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.check();
    }
}
