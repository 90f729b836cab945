//! One record from a process that does not serve: an operator's command.

use std::io;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::Path;

use super::checkpoint::{self, VERIFIERS};
use super::disk::Real;
use super::fault::{Fault, OpenError};
use super::keys::{Keys, SIGNING};
use super::log::Log;
use super::queue::Batch;
use super::record::{Kind, Record};
use super::tree::{Frontier, HASHES, HashFile};
use super::{Settings, TreeSettings, segment};

/// Why a record of a command was not written.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log cannot be written.
    #[error(transparent)]
    Write(#[from] Fault),
}

/// Writes one record and waits until the disk has it, as one more process under the lock: gateways
/// that run on the directory go on, and none has to run. Gives the record's `seq`. Blocks, for two
/// seconds or so where another process keeps the lock; starts no thread.
///
/// A directory that is not there is not made. What root writes is given to the directory's owner,
/// so that a gateway can go on with it.
///
/// # Errors
/// Fails when the directory cannot be written, e.g. because it is a copy on a read-only medium, its
/// newest file does not end in a record, its key is gone or its tree is damaged: both are for a
/// gateway's start to make anew. Nothing is recorded then.
pub fn note_once(settings: Settings, kind: Kind, record: &Record) -> Result<u64, NoteError> {
    let directory = settings.directory.clone();
    // Before anything is made: a log begins with a gateway's start, not with a look at it.
    segment::list(&directory).map_err(Fault::of("read", &directory))?;
    let noted = note(settings, kind, record);
    if let Err(error) = give_to_owner(&directory) {
        tracing::warn!(%error, directory = %directory.display(),
            "the owner of the audit directory cannot be made the owner of its files");
    }
    noted
}

fn note(settings: Settings, kind: Kind, record: &Record) -> Result<u64, NoteError> {
    // Nor does a command make a new key, which nobody would hear of.
    let key = settings.directory.join(SIGNING);
    if settings.tree.signing_key.is_none()
        && !key.exists()
        && settings.directory.join(VERIFIERS).exists()
    {
        let gone = io::ErrorKind::NotFound.into();
        return Err(Fault::of("sign with", &key)(gone).into());
    }
    let is_listed = settings.directory.join(VERIFIERS).exists();
    if is_listed && Keys::open(&settings.directory, &settings.tree)?.is_followed() {
        // Whether the key is taken is for a gateway's start to decide: it ends the one before.
        let unused = io::Error::other("the log has another key until the gateway's next start");
        return Err(Fault::of("sign with", &key)(unused).into());
    }
    // A damaged tree is a gateway's start to build anew: that takes its time, under the lock.
    if let Some(signed) = checkpoint::latest(&settings.directory)? {
        let hashes = HashFile::open(&settings.directory)?;
        let stored = Frontier::at(signed.checkpoint.size, &hashes).ok();
        if stored.is_none_or(|edge| edge.root() != signed.checkpoint.root) {
            let damaged =
                io::Error::other("it is damaged; the gateway's next start builds it anew");
            let path = settings.directory.join(HASHES);
            return Err(Fault::of("use", &path)(damaged).into());
        }
    }
    let body = record.body(kind, settings.clock.now(), None);
    // The second place is the gateways' to write: it may hang, and a reader need not wait for it.
    let tree = TreeSettings {
        checkpoints: None,
        ..settings.tree
    };
    let mut log = Log::open(
        settings.directory,
        &tree,
        settings.clock,
        settings.files,
        Box::new(Real),
    )?;
    let mut batch = Batch::default();
    batch.push(&body, false, None, None);
    log.commit(&batch, true)?;
    let seq = log.next().saturating_sub(1);
    log.finish();
    Ok(seq)
}

/// Makes the directory's owner that of the files which a command of root has made in it.
fn give_to_owner(directory: &Path) -> io::Result<()> {
    let owner = std::fs::metadata(directory)?;
    if owner.uid() == ROOT || std::fs::metadata("/proc/self")?.uid() != ROOT {
        return Ok(());
    }
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let file = entry.metadata()?;
        if file.is_file() && file.uid() == ROOT && file.nlink() == 1 {
            lchown(entry.path(), Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    Ok(())
}

const ROOT: u32 = 0;
