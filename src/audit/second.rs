//! The second place: where checkpoints go so that they are not only where the log is.
//!
//! A thread of its own writes there, so that a disk or share that hangs holds up nothing. Of
//! several checkpoints that wait the newest is enough, since it covers what the others do.
//!
//! Before it writes, and once a minute, it looks whether what it wrote last is still there. Where it
//! is not, the log says so first, and then goes on with what file there is, or a new one.

use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
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

/// How often the file is looked at while there is nothing to write.
const LOOK: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });
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
    /// What became of the file, until the log has a record that says so.
    lost: Option<String>,
}

/// What was written last: the note, and the length of the file behind it.
struct Last {
    note: String,
    len: u64,
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

    /// What became of the file, if somebody meddled with it and the log has not said so yet.
    pub(super) fn lost(&self) -> Option<String> {
        self.shared.state.lock().lost.clone()
    }

    /// The log has said it: checkpoints may be written again.
    pub(super) fn said(&self) {
        self.shared.state.lock().lost = None;
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
        let mut last: Option<Last> = None;
        while let Some(note) = self.next(&mut last) {
            if self.is_lost(&mut last) {
                self.state.lock().waiting.get_or_insert(note);
                continue;
            }
            let result = append(&self.path, &note).map(|len| {
                last = Some(Last {
                    note: note.clone(),
                    len,
                })
            });
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

    /// What to write next; none when it is over. Until then the file is looked at now and then.
    fn next(&self, last: &mut Option<Last>) -> Option<String> {
        let mut state = self.state.lock();
        loop {
            // Until the log has said what became of the file, no other one takes its place.
            let nothing = |state: &mut State| {
                (state.waiting.is_none() || state.lost.is_some()) && !state.closing
            };
            let waited = self.changed.wait_while_for(&mut state, nothing, LOOK);
            if !waited.timed_out() {
                break;
            }
            // So that a share which hangs is known to.
            state.writing = Some(Instant::now());
            drop(state);
            self.is_lost(last);
            state = self.state.lock();
            state.writing = None;
        }
        if state.lost.is_some() {
            // The process ends before the log has said it. With a new file nobody would see the loss,
            // so the next start is left to find it.
            state.failing |= state.waiting.is_some();
            return None;
        }
        let note = state.waiting.take()?;
        state.writing = Some(Instant::now());
        Some(note)
    }

    /// Whether what was written last is gone, which the log is to say. Told once.
    fn is_lost(&self, last: &mut Option<Last>) -> bool {
        let Some(detail) = last.as_ref().and_then(|last| loss(&self.path, last)) else {
            return false;
        };
        tracing::error!(
            path = %self.path.display(),
            detail,
            "the second place of audit checkpoints was meddled with: `vspc-gateway audit verify` \
             tells what is lost"
        );
        *last = None;
        let mut state = self.state.lock();
        state.writing = None;
        state.lost = Some(format!("{} {detail}", self.path.display()));
        true
    }
}

/// What became of the file, if it does not have what was written to it last. A place that cannot be
/// read is a failure that the next write has, too.
fn loss(path: &Path, last: &Last) -> Option<String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some("was deleted or moved".to_owned());
        }
        Err(_) => return None,
    };
    let len = file.metadata().ok()?.len();
    if len < last.len {
        return Some(format!("has {len} bytes, not {}", last.len));
    }
    let end = format!("{}\n", last.note);
    let mut bytes = vec![0; end.len()];
    let from = last.len.checked_sub(u64::try_from(end.len()).ok()?)?;
    file.read_exact_at(&mut bytes, from).ok()?;
    (bytes != end.as_bytes()).then(|| "has no more what was written to it last".to_owned())
}

/// Adds a note and makes it durable; gives the length of the file. One that was moved away has a new
/// one in its place.
fn append(path: &Path, note: &str) -> Result<u64, Fault> {
    let mut file = disk::owned()
        .create(true)
        .open(path)
        .map_err(Fault::of("open", path))?;
    let mut write = || -> io::Result<u64> {
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
                None if end.ends_with(b"\n") => gap = "\n",
                None => gap = "\n\n",
            }
        }
        let written = file.write_all(format!("{gap}{note}\n").as_bytes());
        written.and_then(|()| file.sync_data())?;
        file.stream_position()
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
    let mut ours: Vec<_> = notes.into_iter().filter(|it| keys.signed(it)).collect();
    ours.sort_by_key(|signed| std::cmp::Reverse(signed.checkpoint.size));
    for signed in ours {
        // Who has a key that is out of use may sign here whatever size they like.
        match keys.is_good(&signed) {
            Ok(true) => return Known::Checkpoint(Box::new(signed)),
            Ok(false) => tracing::error!(
                path = %path.display(),
                size = signed.checkpoint.size,
                "the second place of audit checkpoints has one by a key that had ended: it is passed over"
            ),
            Err(error) => return Known::Unread(error.to_string()),
        }
    }
    match is_empty {
        true => Known::Nothing,
        false => Known::Foreign(path.to_owned()),
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
