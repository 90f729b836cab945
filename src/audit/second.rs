//! The second place: where checkpoints go so that they are not only where the log is.
//!
//! A thread of its own writes there, so that a disk or share that hangs holds up nothing. Of
//! several checkpoints that wait the newest is enough, since it covers what the others do.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use memchr::memmem;
use parking_lot::{Condvar, Mutex};
use tokio::time::{Duration, Instant};

use super::checkpoint::{Notes, Signed};
use super::disk;
use super::fault::{Fault, OpenError};
use super::keys::Keys;

/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// A write that takes longer is called a failure.
const SLOW: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the last checkpoint to be written.
const LAST: Duration = Duration::from_secs(2);
/// How long the start waits for the file to be read.
const READ_WAIT: Duration = Duration::from_secs(5);
/// How much of the end of the file is looked at.
const END: u64 = 256 * 1024;

/// Writes checkpoints to the second place.
pub(super) struct SecondPlace {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Option<String>,
    closing: bool,
    ended: bool,
    /// Since when a write is under way.
    writing: Option<Instant>,
    failing: bool,
}

impl SecondPlace {
    /// Starts the thread.
    pub(super) fn start(path: PathBuf) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared {
            path,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("audit-second".to_owned())
            .spawn(move || own.run())
            .map_err(OpenError::Thread)?;
        Ok(Self { shared })
    }

    /// Takes a checkpoint to be written, in place of one that still waits.
    pub(super) fn give(&self, note: String) {
        self.shared.state.lock().waiting = Some(note);
        self.shared.changed.notify_all();
    }

    /// Whether the last write failed, or one hangs.
    pub(super) fn is_failing(&self) -> bool {
        let state = self.shared.state.lock();
        let hangs = |since: Instant| since.elapsed() > SLOW;
        state.failing || state.writing.is_some_and(hangs)
    }

    /// Waits, not for long, until the last checkpoint is written.
    pub(super) fn close(&self) {
        let mut state = self.shared.state.lock();
        state.closing = true;
        self.shared.changed.notify_all();
        let shared = &self.shared;
        shared
            .changed
            .wait_while_for(&mut state, |state| !state.ended, LAST);
        if !state.ended || state.failing {
            let path = self.shared.path.display();
            tracing::warn!(%path, "the last audit checkpoint did not get to the second place");
        }
    }
}

impl Drop for SecondPlace {
    fn drop(&mut self) {
        self.shared.state.lock().closing = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn run(&self) {
        while let Some(note) = self.next() {
            let result = append(&self.path, &note);
            let mut state = self.state.lock();
            state.writing = None;
            match result {
                Ok(()) if state.failing => {
                    tracing::info!(path = %self.path.display(), "audit checkpoints get to the second place again");
                }
                Err(ref error) if !state.failing => tracing::error!(
                    %error,
                    "audit checkpoints do not get to the second place ([audit] checkpoints): is it \
                     there, and may the gateway's user write to it?"
                ),
                _ => {}
            }
            state.failing = result.is_err();
            if state.failing && !state.closing {
                state.waiting.get_or_insert(note);
                let open = |state: &mut State| !state.closing;
                self.changed.wait_while_for(&mut state, open, RETRY);
            }
        }
        self.state.lock().ended = true;
        self.changed.notify_all();
    }

    /// What to write next; none when it is over.
    fn next(&self) -> Option<String> {
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, |state| {
            state.waiting.is_none() && !state.closing
        });
        let note = state.waiting.take()?;
        state.writing = Some(Instant::now());
        Some(note)
    }
}

/// Adds a note and makes it durable. The file may have been moved away: then there is a new one.
fn append(path: &Path, note: &str) -> Result<(), Fault> {
    let mut file = disk::owned()
        .create(true)
        .open(path)
        .map_err(Fault::of("open", path))?;
    let mut write = || -> io::Result<()> {
        let len = file.metadata()?.len();
        let mut end = [b'\n'; 2];
        for (slot, back) in end.iter_mut().zip([2, 1]) {
            if len >= back {
                file.read_exact_at(std::slice::from_mut(slot), len - back)?;
            }
        }
        let mut gap = "";
        if end != [b'\n', b'\n'] {
            // What a write that was broken off left behind is no checkpoint, and never will be.
            let whole = match file.try_lock() {
                Ok(()) => whole_len(&file, len)?,
                Err(_) => None,
            };
            match whole {
                Some(whole) => file.set_len(whole)?,
                None => gap = "\n\n",
            }
        }
        let written = file.write_all(format!("{gap}{note}\n").as_bytes());
        written.and_then(|()| file.sync_data())
    };
    write().map_err(Fault::of("write to", path))
}

/// Where the last whole note of a file ends, as far as its end is read.
fn whole_len(file: &File, len: u64) -> io::Result<Option<u64>> {
    let from = len.saturating_sub(END);
    let mut bytes = vec![0; usize::try_from(len - from).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from)?;
    let mut rest = bytes.as_slice();
    while let Some(at) = memmem::rfind(rest, b"\n\n") {
        let line = rest.get(..at).unwrap_or_default();
        let line = line.rsplit(|byte| *byte == b'\n').next();
        if line.is_some_and(|line| line.starts_with("\u{2014} ".as_bytes())) {
            return Ok(u64::try_from(at + 2).ok().map(|at| from + at));
        }
        rest = rest.get(..=at).unwrap_or_default();
    }
    // All of it is of the first note there is.
    Ok((from == 0).then_some(0))
}

/// What the second place knows of the log.
pub(super) enum Known {
    /// The largest of its last checkpoints.
    Checkpoint(Box<Signed>),
    /// It has checkpoints, of other logs. Which file it is.
    Foreign(PathBuf),
    /// It has none.
    Nothing,
    /// It cannot be read.
    Unread(String),
}

/// Reads what the second place has. One that hangs is not waited for.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let place = path.to_owned();
    let reader = std::thread::Builder::new().name("audit-second".to_owned());
    reader
        .spawn(move || {
            // Nobody may be waiting any more.
            sender.send(read_end(&place)).ok();
        })
        .map_err(|error| error.to_string())?;
    match receiver.recv_timeout(READ_WAIT) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err("reading it takes too long".to_owned()),
    }
}

/// Tells what was read in the second place.
pub(super) fn known(path: &Path, read: Result<Vec<u8>, String>, keys: &Keys) -> Known {
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => return Known::Unread(format!("{}: {error}", path.display())),
    };
    let notes: Vec<_> = Notes::in_text(path, bytes).flatten().collect();
    let is_empty = notes.is_empty();
    let ours = notes.into_iter().filter(|signed| keys.signed(signed));
    match ours.max_by_key(|signed| signed.checkpoint.size) {
        Some(signed) => Known::Checkpoint(Box::new(signed)),
        None if is_empty => Known::Nothing,
        None => Known::Foreign(path.to_owned()),
    }
}

fn read_end(path: &Path) -> io::Result<Vec<u8>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let len = file.metadata()?.len();
    if len <= END {
        return fs::read(path);
    }
    // It may begin in the middle of a note: that one is none then.
    let mut bytes = vec![0; usize::try_from(END).unwrap_or(0)];
    file.read_exact_at(&mut bytes, len - END)?;
    Ok(bytes)
}
