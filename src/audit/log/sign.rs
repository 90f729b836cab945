//! Checkpoints: when the log signs them, and what it makes of those that other processes sign.

mod followed;
mod second;

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::begin::NOTES;
use super::{Log, long};
use crate::audit::checkpoint::{BadNote, Checkpoint, Notes, Signed, latest_in, notes_path};
use crate::audit::disk;
use crate::audit::fault::Fault;
use crate::audit::keys::Keys;
use crate::audit::note::NoteError;
use crate::audit::queue::Batch;
use crate::audit::second::SecondPlace;
use crate::audit::segment;

/// How many records may be without a checkpoint before one is signed.
const RECORDS: u64 = 256;
/// How long a record may be without one; how long to wait after a failure.
const TIME: Duration = Duration::from_secs(1);
/// How often a checkpoint is told in the process's own log, and the tree is made durable.
const TOLD: Duration = Duration::from_secs(60);

/// What signs checkpoints, and the latest.
pub(super) struct Signing {
    pub(super) keys: Keys,
    pub(super) latest: Checkpoint,
    /// The file of the newest checkpoints, by the segment's first record, and its bytes that we know.
    pub(super) seen: (u64, u64),
    /// The path of the file that was looked at last: each commit looks at it.
    looked_at: Option<(u64, Arc<Path>)>,
    pub(super) second: Option<SecondPlace>,
    /// The latest note, if it was not told yet.
    untold: Option<String>,
    told: Option<Instant>,
    kept: Instant,
    since: Option<Instant>,
    failed: Option<Instant>,
    /// It was told that nobody signs with the key that came after ours.
    is_left_told: bool,
    /// A record of what became of the second place is to be written.
    is_loss_told: bool,
    /// Something happened that a checkpoint should cover at once.
    pub(super) urgent: bool,
}

/// Why a checkpoint could not be signed.
#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error(transparent)]
    File(#[from] Fault),
    #[error("the text of a checkpoint is none that can be signed: {0}")]
    Text(#[from] NoteError),
}

impl Signing {
    /// Goes on after a checkpoint.
    pub(super) fn new(keys: Keys, latest: Checkpoint, second: Option<SecondPlace>) -> Self {
        Self {
            keys,
            latest,
            seen: (0, 0),
            looked_at: None,
            second,
            untold: None,
            told: None,
            kept: Instant::now(),
            since: None,
            failed: None,
            is_left_told: false,
            is_loss_told: false,
            urgent: false,
        }
    }

    /// Takes a checkpoint as the latest, which is in the log's own file.
    fn took(&mut self, checkpoint: Checkpoint, note: String) {
        self.latest = checkpoint;
        (self.since, self.failed, self.urgent) = (None, None, false);
        if let Some(second) = &self.second {
            second.give(note.clone());
        }
        self.untold = Some(note);
    }
}

impl Log {
    /// How many records the latest checkpoint covers.
    pub(in crate::audit) fn covered(&self) -> u64 {
        self.signing.latest.size
    }

    /// Since when there are records that no checkpoint covers.
    pub(in crate::audit) fn uncovered_since(&self) -> Option<Instant> {
        self.signing.since
    }

    /// How long the log may be left alone before a checkpoint is due.
    pub(in crate::audit) fn until_due(&self) -> Option<Duration> {
        let since = self.signing.since?;
        let from = self
            .signing
            .failed
            .map_or(since, |failed| failed.max(since));
        Some(TIME.saturating_sub(from.elapsed()))
    }

    /// Whether checkpoints do not get to the second place.
    pub(in crate::audit) fn is_second_failing(&self) -> bool {
        let second = self.signing.second.as_ref();
        second.is_some_and(SecondPlace::is_failing)
    }

    /// Writes and signs what is left, and waits a moment for the second place.
    pub(in crate::audit) fn finish(&mut self) {
        self.signing.urgent = true;
        self.signing.failed = None;
        if let Err(error) = self.commit(&Batch::default(), true) {
            tracing::error!(%error, "the last audit checkpoint cannot be signed");
        }
        self.tell(true);
        if let Some(second) = &self.signing.second {
            second.close();
        }
    }

    /// Whether a checkpoint is due once `more` records are written.
    pub(super) fn is_due(&self, more: usize) -> bool {
        let signing = &self.signing;
        let uncovered = self.next.saturating_sub(signing.latest.size) + long(more);
        let passed = |since: Instant| since.elapsed() >= TIME;
        uncovered > 0
            && signing.failed.is_none_or(passed)
            && (signing.urgent || uncovered >= RECORDS || signing.since.is_some_and(passed))
    }

    /// Signs a checkpoint over all records, if one is due and they are durable. That it cannot is
    /// no failure of the records: it is tried again, and seen in the metrics.
    pub(super) fn sign_if_due(&mut self) {
        if self.next <= self.signing.latest.size {
            (self.signing.since, self.signing.urgent) = (None, false);
            return;
        }
        self.signing.since.get_or_insert_with(Instant::now);
        if !self.unsynced.is_empty() || !self.is_due(0) {
            return;
        }
        if self.signing.keys.is_followed() {
            self.leave_to_successor();
            return;
        }
        if let Err(error) = self.sign() {
            tracing::error!(%error, "an audit checkpoint cannot be signed");
            self.signing.failed = Some(Instant::now());
        }
    }

    fn sign(&mut self) -> Result<(), SignError> {
        let (checkpoint, note) = self.signed()?;
        let first = self.segment.first;
        if first > self.signing.seen.0 {
            // Only the newest file of checkpoints may be torn by a loss of power.
            self.sync_notes()?;
        }
        let path = notes_path(&self.directory, first);
        let file = disk::owned()
            .create(true)
            .open(&path)
            .map_err(Fault::of("open", &path))?;
        let len = file.metadata().map_err(Fault::of("look at", &path))?.len();
        let bytes = format!("{note}\n");
        if let Err(error) = disk::write_all(self.disk.as_mut(), &file, bytes.as_bytes()) {
            // What is left of it is cut off as a torn one, if not now.
            self.disk.cut(&file, len).ok();
            return Err(Fault::of("write to", &path)(error).into());
        }
        self.signing.seen = (first, len + long(bytes.len()));
        self.signing.took(checkpoint, note);
        Ok(())
    }

    /// A checkpoint over all records, and the note of it.
    pub(super) fn signed(&self) -> Result<(Checkpoint, String), NoteError> {
        let checkpoint = Checkpoint {
            origin: self.signing.keys.origin().to_owned(),
            size: self.tree.size(),
            root: self.tree.root(),
        };
        let note = self.signing.keys.signer.sign(&checkpoint.text())?;
        Ok((checkpoint, note.to_string()))
    }

    /// Takes the first checkpoint, which is in its file already.
    pub(super) fn took_first(&mut self, checkpoint: Checkpoint, note: String) {
        self.signing.took(checkpoint, note);
    }

    /// Looks, under the lock, at the checkpoints that other processes signed.
    pub(super) fn look_at_notes(&mut self) {
        self.tell_second();
        if let Err(error) = self.read_notes()
            && self.signing.failed.is_none()
        {
            tracing::error!(%error, "audit checkpoints cannot be looked at");
            self.signing.failed = Some(Instant::now());
        }
    }

    fn read_notes(&mut self) -> Result<(), Fault> {
        let (first, _) = self.signing.seen;
        self.read_notes_of(first)?;
        if first >= self.segment.first {
            return Ok(());
        }
        let firsts =
            segment::list_of(&self.directory, NOTES).map_err(Fault::of("read", &self.directory))?;
        for newer in firsts.into_iter().filter(|newer| *newer > first) {
            self.signing.seen = (newer, 0);
            self.read_notes_of(newer)?;
        }
        Ok(())
    }

    /// Reads what is new in the file of checkpoints that belongs to a segment.
    fn read_notes_of(&mut self, first: u64) -> Result<(), Fault> {
        let (_, known) = self.signing.seen;
        let path = self.notes_path(first);
        let len = match fs::metadata(&path) {
            Ok(file) => file.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(Fault::of("look at", &path)(error)),
        };
        if len < known {
            self.signing.seen.1 = len;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let detail = format!("{name} has {len} bytes, not {known}");
            self.warn("audit.checkpoints_lost", detail);
        }
        if len > known {
            let bytes = read_part(&path, known, len).map_err(Fault::of("read", &path))?;
            self.signing.seen.1 = len;
            for note in Notes::in_text(&path, bytes) {
                self.take_note(note, &path, known)?;
            }
        }
        Ok(())
    }

    fn notes_path(&mut self, first: u64) -> Arc<Path> {
        match &self.signing.looked_at {
            Some((of, path)) if *of == first => Arc::clone(path),
            _ => {
                let path = Arc::from(notes_path(&self.directory, first));
                self.signing.looked_at = Some((first, Arc::clone(&path)));
                path
            }
        }
    }

    /// Whether another process has taken for records what a failed write of ours left in the file,
    /// and signed for them. Then they are.
    pub(super) fn is_signed_beyond(&self) -> bool {
        let path = notes_path(&self.directory, self.segment.first);
        let latest = latest_in(&path).ok().flatten();
        latest.is_some_and(|signed| {
            signed.checkpoint.size > self.next && self.signing.keys.signed(&signed)
        })
    }

    fn take_note(
        &mut self,
        note: Result<Signed, BadNote>,
        path: &Path,
        from: u64,
    ) -> Result<(), Fault> {
        match note {
            Ok(signed) => self.take_signed(signed),
            // Its writer is dead, since the lock is ours.
            Err(BadNote::Torn { offset, .. }) => {
                let len = from + offset;
                let file = disk::owned().open(path).map_err(Fault::of("open", path))?;
                self.disk.cut(&file, len).map_err(Fault::of("cut", path))?;
                self.signing.seen.1 = len;
                Ok(())
            }
            Err(error) => {
                self.warn("audit.checkpoint_foreign", error.to_string());
                Ok(())
            }
        }
    }

    /// Judges a checkpoint that another process signed.
    fn take_signed(&mut self, signed: Signed) -> Result<(), Fault> {
        let keys = &self.signing.keys;
        if !keys.signed(&signed) || keys.is_after_its_end(&signed)? {
            // The log may have another key since, or one of before again.
            if let Err(error) = self.signing.keys.reload() {
                tracing::warn!(%error, "the keys of the audit log cannot be read anew");
            }
        }
        let Checkpoint { size, root, .. } = signed.checkpoint;
        let fault = if !self.signing.keys.signed(&signed) {
            "is not signed by a key of the log"
        } else if self.signing.keys.is_after_its_end(&signed)? {
            "is signed by a key that another one had followed"
        } else if size > self.next {
            "is of more records than there are"
        } else if self.tree.root_at(size)? != Some(root) {
            "is of other records"
        } else {
            if size > self.signing.latest.size {
                let note = signed.note.to_string();
                // Who signed it may have no second place, and be gone.
                if let Some(second) = &self.signing.second {
                    second.give(note.clone());
                }
                self.signing.latest = signed.checkpoint;
                (self.signing.since, self.signing.failed) = (None, None);
                self.signing.untold = Some(note);
            }
            return Ok(());
        };
        let name = signed.path.file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        let at = signed.offset;
        let detail = format!(
            "a checkpoint for {size} records in {name}, after byte {at} of the new ones, {fault}"
        );
        self.warn("audit.checkpoint_foreign", detail);
        Ok(())
    }

    /// Notes that somebody meddled with what proves the log.
    pub(super) fn warn(&mut self, operation: &'static str, detail: String) {
        tracing::error!(
            operation,
            detail,
            "the audit log was meddled with: `vspc-gateway audit verify` tells what is lost"
        );
        self.notice(operation, detail);
        self.counts.alarms += 1;
        self.signing.urgent = true;
    }

    /// Tells the latest checkpoint in the process's own log, once a minute or `now`, so that it
    /// gets to wherever that is shipped; and lets the disk have what can be built anew.
    pub(super) fn tell(&mut self, now: bool) {
        let passed = |since: Instant| since.elapsed() >= TOLD;
        if (now || self.signing.told.is_none_or(passed))
            && let Some(checkpoint) = self.signing.untold.take()
        {
            tracing::info!(checkpoint, "the audit log's latest checkpoint");
            self.signing.told = Some(Instant::now());
        }
        if now || passed(self.signing.kept) {
            self.signing.kept = Instant::now();
            if let Err(error) = self.sync_proof() {
                tracing::warn!(%error, "the audit tree cannot be synced");
            }
        }
    }

    /// Makes the tree and the newest file of checkpoints durable.
    pub(super) fn sync_proof(&mut self) -> Result<(), Fault> {
        self.tree.sync(self.disk.as_mut())?;
        self.sync_notes()
    }

    fn sync_notes(&mut self) -> Result<(), Fault> {
        let path = notes_path(&self.directory, self.signing.seen.0);
        match disk::owned().open(&path) {
            Ok(file) => self.disk.sync(&file).map_err(Fault::of("sync", &path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Fault::of("open", &path)(error)),
        }
    }
}

fn read_part(path: &Path, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    let mut bytes = vec![0; usize::try_from(to - from).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}
