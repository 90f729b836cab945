//! A log on disk, written by the writer, and signed.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use tlog_tiles::{Error, HashReader, stored_hashes, tree_hash};
use tokio::time::Duration;

use super::{KeysFrom, Options, Report, verify};
use crate::audit::checkpoint::{self, Checkpoint, VERIFIERS, notes_path};
use crate::audit::note::{KeyKind, Signer, VerifierKey};
use crate::audit::tree::{HASHES, Hash};
use crate::audit::{Auditor, Kind, Record, Settings};

/// How many records there are, where the second and the third file begin, and how often one is signed.
pub(crate) const RECORDS: u64 = 103;
pub(crate) const SECOND: u64 = 41;
const THIRD: u64 = 77;
pub(crate) const EVERY: u64 = 13;

pub(crate) fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

pub(crate) fn put(path: &Path, lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(path, text).unwrap();
}

/// The hashes of a tree, by the judge's own hand.
#[derive(Default)]
pub(crate) struct Tree(pub(crate) Vec<Hash>);

impl HashReader for Tree {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let read = |index: &u64| self.0.get(usize::try_from(*index).unwrap()).copied();
        indexes
            .iter()
            .map(|index| read(index).ok_or(Error::IndexesNotInTree))
            .collect()
    }
}

impl Tree {
    pub(crate) fn of(lines: &[String]) -> Self {
        let mut tree = Self::default();
        for (seq, line) in (0..).zip(lines) {
            let added = stored_hashes(seq, line.as_bytes(), &tree).unwrap();
            tree.0.extend(added);
        }
        tree
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|hash| hash.0).collect()
    }
}

pub(crate) struct World {
    folder: TempDir,
}

impl World {
    /// Three files, a checkpoint now and then: in the directory, at the second place, with a witness.
    pub(crate) fn new() -> Self {
        static FILES: OnceLock<Vec<(PathBuf, Vec<u8>)>> = OnceLock::new();
        let files = FILES.get_or_init(|| Self::make().files());
        let world = Self {
            folder: TempDir::new().unwrap(),
        };
        fs::create_dir(world.path()).unwrap();
        for (path, bytes) in files {
            fs::write(world.folder.path().join(path), bytes).unwrap();
        }
        world
    }

    fn make() -> Self {
        let world = Self {
            folder: TempDir::new().unwrap(),
        };
        fs::create_dir(world.path()).unwrap();
        let all = written();
        for (first, end) in [(0, SECOND), (SECOND, THIRD), (THIRD, RECORDS)] {
            let range = usize::try_from(first).unwrap()..usize::try_from(end).unwrap();
            put(
                &world.path().join(format!("{first:020}.jsonl")),
                &all[range],
            );
        }
        let key = Signer::generate_unnamed().unwrap();
        let text = key.to_text().unwrap();
        fs::write(world.path().join("signing.key"), text.expose()).unwrap();
        let verifiers = format!("{}\n", key.verifier());
        fs::write(world.path().join(VERIFIERS), verifiers).unwrap();
        world.sign(RECORDS);
        fs::copy(world.notes(), world.second()).unwrap();
        world
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let read = |path: PathBuf| {
            let name = path.strip_prefix(self.folder.path()).unwrap().to_owned();
            (name, fs::read(path).unwrap())
        };
        let all = fs::read_dir(self.path()).unwrap();
        let all = all.map(|entry| entry.unwrap().path());
        all.chain([self.second()]).map(read).collect()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    pub(crate) fn second(&self) -> PathBuf {
        self.folder.path().join("second")
    }

    pub(crate) fn notes(&self) -> PathBuf {
        notes_path(&self.path(), 0)
    }

    pub(crate) fn signer(&self) -> Signer {
        Signer::parse(&fs::read_to_string(self.path().join("signing.key")).unwrap()).unwrap()
    }

    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.path()).unwrap();
        let mut paths: Vec<_> = all
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
            .collect();
        paths.sort();
        paths
    }

    pub(crate) fn all_lines(&self) -> Vec<String> {
        self.segments()
            .iter()
            .flat_map(|path| lines(path))
            .collect()
    }

    fn sizes(until: u64) -> impl Iterator<Item = u64> {
        (EVERY..until)
            .step_by(usize::try_from(EVERY).unwrap())
            .chain([until])
    }

    pub(crate) fn signed(&self) -> u64 {
        Self::sizes(RECORDS).count() as u64
    }

    pub(crate) fn root(&self, size: u64) -> Hash {
        tree_hash(size, &Tree::of(&self.all_lines())).unwrap()
    }

    pub(crate) fn checkpoint(&self, size: u64) -> Checkpoint {
        Checkpoint {
            origin: self.signer().verifier().name().to_owned(),
            size,
            root: self.root(size),
        }
    }

    /// A note, as it stands in a file.
    pub(crate) fn note(&self, size: u64) -> String {
        let note = self.signer().sign(&self.checkpoint(size).text()).unwrap();
        format!("{note}\n")
    }

    fn cosigned(&self, size: u64) -> String {
        let checkpoint = self.checkpoint(size);
        let note = cosign(
            &self.signer(),
            &checkpoint,
            9,
            "witness",
            1_770_000_000 + size,
        );
        format!("{note}\n")
    }

    /// Makes the tree from the lines and signs it, as if nothing had been before.
    pub(crate) fn sign(&self, until: u64) {
        self.rebuild();
        let (mut notes, mut cosigned) = (String::new(), String::new());
        for size in Self::sizes(until) {
            notes.push_str(&self.note(size));
            cosigned.push_str(&self.cosigned(size));
        }
        fs::write(self.notes(), notes).unwrap();
        fs::write(self.path().join(checkpoint::COSIGNED), cosigned).unwrap();
    }

    /// Makes the file of the tree from the lines.
    pub(crate) fn rebuild(&self) {
        let tree = Tree::of(&self.all_lines());
        fs::write(self.path().join(HASHES), tree.bytes()).unwrap();
    }

    /// What the directory was when it had so many records.
    pub(crate) fn shorten(&self, records: u64) {
        for path in self.segments() {
            let kept: Vec<String> = lines(&path)
                .into_iter()
                .filter(|line| crate::audit::segment::seq_of(line.as_bytes()).unwrap() < records)
                .collect();
            if kept.is_empty() {
                fs::remove_file(path).unwrap();
            } else {
                put(&path, &kept);
            }
        }
        self.sign(records);
    }

    /// Adds a record without signing.
    pub(crate) fn append(&self, members: &str) {
        let next = self.all_lines().len();
        let path = self.segments().pop().unwrap();
        let mut file = fs::File::options().append(true).open(path).unwrap();
        writeln!(file, "{{\"seq\":{next},{members}}}").unwrap();
    }

    pub(crate) fn options(&self) -> Options {
        let key = self.signer().verifier().clone();
        Options {
            second: Some(self.second()),
            witnesses: vec![witness(9, "witness").1],
            ..Options::new(&self.path(), vec![key], KeysFrom::Given)
        }
    }

    pub(crate) fn verify(&self) -> Report {
        verify(&self.options(), |_| {}).unwrap()
    }
}

fn witness(seed: u8, name: &str) -> (Ed25519KeyPair, VerifierKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    let key = VerifierKey::new(name, KeyKind::Cosignature, public).unwrap();
    (pair, key)
}

/// A note by a log and a witness.
pub(crate) fn cosign(
    signer: &Signer,
    checkpoint: &Checkpoint,
    seed: u8,
    name: &str,
    time: u64,
) -> String {
    let (pair, key) = witness(seed, name);
    let text = checkpoint.text();
    let mut bytes = key.id().to_vec();
    bytes.extend_from_slice(&time.to_be_bytes());
    let signed = format!("cosignature/v1\ntime {time}\n{text}");
    bytes.extend_from_slice(pair.sign(signed.as_bytes()).as_ref());
    let note = signer.sign(&text).unwrap();
    format!("{note}\u{2014} {name} {}\n", STANDARD.encode(bytes))
}

/// The lines of a log that the writer made.
fn written() -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let settings = Settings {
        admission: Duration::from_secs(5),
        ..Settings::new(folder.path().to_owned())
    };
    let (auditor, writer) = Auditor::open(settings).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(async {
        for number in 0..RECORDS {
            let mut name = String::new();
            write!(name, "client-{number}").unwrap();
            let record = Record {
                client: Some(name.into()),
                ..Record::default()
            };
            auditor.note(Kind::Request, &record).await.unwrap();
        }
    });
    drop(auditor);
    writer.close().unwrap();
    let mut all = Vec::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "jsonl") {
            all = lines(&path);
        }
    }
    all.truncate(usize::try_from(RECORDS).unwrap());
    assert_eq!(all.len() as u64, RECORDS);
    all
}
