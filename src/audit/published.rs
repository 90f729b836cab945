//! What a log tells those who watch it: its checkpoints, its tree, and what witnesses have signed.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tlog_tiles::{Hash, Tile, tree_hash};

use super::checkpoint::{
    self, COSIGNED, Checkpoint, Notes, Signed, Unusable, VERIFIERS, read_keys,
};
use super::disk;
use super::fault::Fault;
use super::note::{Note, NoteError, Verified, VerifierKey};
use super::proof::{self, ProofError, RecordProof};
use super::tree::HashFile;

/// The height of tiles that monitors expect.
const HEIGHT: u8 = 8;
/// The most bytes of the file with witnesses' signatures: beyond, no more are taken.
const MOST_COSIGNED: u64 = 256 * 1024 * 1024;

/// A log as those see it who watch it. Blocks on the disk.
#[derive(Debug)]
pub struct Published {
    directory: PathBuf,
    witnesses: Vec<VerifierKey>,
    /// Held while something is added to what witnesses have signed.
    adding: Mutex<()>,
}

/// Why signatures of witnesses are not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// No key of a witness is configured.
    #[error("no witness is configured: name the keys in `[audit] witnesses`")]
    NoWitnesses,
    /// It is not in the form of a note, or not signed as it should be.
    #[error("the note is not taken: {0}")]
    Note(#[from] NoteError),
    /// It is no checkpoint of this log.
    #[error("the note is not taken: {0}")]
    Stranger(&'static str),
    /// The log's tree has another root, or is not as large.
    #[error("the checkpoint is not one of this log's tree, which has {0} records")]
    NotOurs(u64),
    /// The files cannot be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// There is no more room.
    #[error("{} is full: move it away", .0.display())]
    Full(PathBuf),
}

impl From<Fault> for NotTaken {
    fn from(fault: Fault) -> Self {
        Self::Unusable(fault.into())
    }
}

impl Published {
    /// The log of a directory, with these witnesses.
    pub fn new(directory: PathBuf, witnesses: Vec<VerifierKey>) -> Self {
        Self {
            directory,
            witnesses,
            adding: Mutex::new(()),
        }
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// Fails when a file cannot be read.
    pub fn latest(&self) -> Result<Option<Signed>, Fault> {
        checkpoint::latest(&self.directory)
    }

    /// The proof that a record is in the log.
    ///
    /// # Errors
    /// As [`proof::prove_seq`].
    pub fn prove(&self, seq: u64) -> Result<RecordProof, ProofError> {
        proof::prove_seq(&self.directory, seq)
    }

    /// The hashes which prove that the tree of `from` records grew into the one of `to`.
    ///
    /// # Errors
    /// Fails when the newest checkpoint is of fewer records, or the files cannot be read.
    pub fn growth(&self, from: u64, to: u64) -> Result<Vec<Hash>, ProofError> {
        let latest = self.latest()?.ok_or(ProofError::NoCheckpoint)?;
        let size = latest.checkpoint.size;
        if to > size {
            return Err(ProofError::NotCovered { seq: to, size });
        }
        proof::growth(&self.directory, from, to)
    }

    /// The hashes of a tile, if the newest checkpoint covers all of it. The path is as C2SP
    /// tlog-tiles has it, such as `tile/0/x001/234` or `tile/1/000.p/5`.
    ///
    /// # Errors
    /// Fails when the files cannot be read or are damaged.
    pub fn tile(&self, path: &str) -> Result<Option<Vec<u8>>, ProofError> {
        let Some(tile) = tile_of(path) else {
            return Ok(None);
        };
        let Some(latest) = self.latest()? else {
            return Ok(None);
        };
        let level = u32::from(tile.level()) * u32::from(HEIGHT);
        let nodes = latest.checkpoint.size.checked_shr(level).unwrap_or(0);
        let last = (tile.level_index() << HEIGHT) + u64::from(tile.width());
        if last > nodes {
            return Ok(None);
        }
        let hashes = HashFile::open(&self.directory)?;
        let data = tile.read_data(&hashes).map_err(|_| ProofError::Damaged)?;
        Ok(Some(data))
    }

    /// Takes signatures of witnesses of a checkpoint of ours, and keeps them. Tells whose they are.
    ///
    /// # Errors
    /// Tells why they are not taken.
    pub fn cosign(&self, note: &str) -> Result<(Checkpoint, Vec<Verified>), NotTaken> {
        if self.witnesses.is_empty() {
            return Err(NotTaken::NoWitnesses);
        }
        let note = Note::parse(note)?;
        let checkpoint = Checkpoint::parse(note.text())
            .map_err(|_| NotTaken::Stranger("its text is no checkpoint"))?;
        let own = read_keys(&self.directory.join(VERIFIERS))?;
        let by = note.verify(&own)?;
        if !by.iter().any(|by| by.name == checkpoint.origin) {
            return Err(NotTaken::Stranger("the checkpoint is of another log"));
        }
        let seen = note.verify(&self.witnesses)?;
        self.compare(&checkpoint)?;
        let mut keys = own;
        keys.extend_from_slice(&self.witnesses);
        self.keep(&note.only_by(&keys))?;
        Ok((checkpoint, seen))
    }

    /// Whether a checkpoint is of our tree.
    fn compare(&self, checkpoint: &Checkpoint) -> Result<(), NotTaken> {
        let size = self.latest()?.map_or(0, |latest| latest.checkpoint.size);
        let hashes = HashFile::open(&self.directory)?;
        let fits = checkpoint.size <= size
            && tree_hash(checkpoint.size, &hashes).is_ok_and(|root| root == checkpoint.root);
        if fits {
            Ok(())
        } else {
            Err(NotTaken::NotOurs(size))
        }
    }

    /// Appends a note, durably, unless it stands there already.
    fn keep(&self, note: &Note) -> Result<(), NotTaken> {
        let path = self.directory.join(COSIGNED);
        let _adding = self.adding.lock();
        if Notes::in_file(&path).any(|it| it.is_ok_and(|it| it.note == *note)) {
            return Ok(());
        }
        if fs::metadata(&path).is_ok_and(|file| file.len() > MOST_COSIGNED) {
            return Err(NotTaken::Full(path));
        }
        let append = || -> io::Result<()> {
            let mut file = disk::owned().create(true).open(&path)?;
            let len = file.metadata()?.len();
            let mut end = [0; 2];
            for (slot, back) in end.iter_mut().zip([2, 1]) {
                if len >= back {
                    file.read_exact_at(std::slice::from_mut(slot), len - back)?;
                }
            }
            // What a write that was broken off left behind ends here, with one empty line.
            let gap = match end {
                _ if len == 0 => "",
                [b'\n', b'\n'] => "",
                [_, b'\n'] => "\n",
                _ => "\n\n",
            };
            file.write_all(format!("{gap}{note}\n").as_bytes())?;
            file.sync_all()
        };
        append().map_err(Fault::of("append to", &path))?;
        Ok(())
    }

    /// Where the log is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// The tile of a path, which is as C2SP tlog-tiles has it: without the height.
fn tile_of(path: &str) -> Option<Tile> {
    let rest = path.strip_prefix("tile/")?;
    // A partial tile of width 0 is none, but would be taken for one.
    if rest.ends_with(".p/0") {
        return None;
    }
    let tile = Tile::from_path(&format!("tile/{HEIGHT}/{rest}")).ok()?;
    let fits = !tile.is_data() && tile.level() < 8 && tile.level_index() < 1 << 48;
    fits.then_some(tile)
}

#[cfg(test)]
mod tests;
