//! One recorder's file: a page for its head, then slots of 1 KiB.
//!
//! Words are those of the machine. The head: mark, version, slots, machine start (two words), the
//! sum of these; then the record from which on outcomes of requests in the slots may stand in the
//! log. A slot: state, bytes of members, when it began, members. Its state is written last, and is
//! the sum of what was written: 0 is a free slot, also one whose note was not finished.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::map::Map;
use super::note::{Note, Noted, ROOM};
use crate::audit::disk::{Disk as _, Real, identity, owned};
use crate::audit::fault::Fault;
use crate::clock::Timestamp;

const HEAD_WORDS: usize = 512;
const SLOT_WORDS: usize = 128;
/// The words of a slot before the members.
const SLOT_HEAD: usize = 3;
const MARK: u64 = u64::from_le_bytes(*b"vgflight");
const VERSION: u64 = 1;
/// Where the head says from which record on outcomes may stand in the log.
const FROM: usize = 6;
/// The most slots that a file can have; more than a queue can.
const MOST_SLOTS: u64 = 1 << 24;

const _: () = assert!(
    ROOM == (SLOT_WORDS - SLOT_HEAD) * 8,
    "members fill the slot"
);

/// The end of a recorder's name.
pub(super) const SUFFIX: &str = "rec";
/// The end of its name while it is made.
pub(super) const UNNAMED: &str = "new";

/// A process's own file.
pub(super) struct Own {
    pub(super) path: PathBuf,
    map: Map,
    /// Holds the lock that says that the process lives.
    _file: File,
    id: (u64, u64),
}

impl Own {
    /// Makes a file with free slots. It is durable, and locked before it has its name.
    pub(super) fn make(directory: &Path, name: &str, slots: usize) -> Result<Self, Fault> {
        let path = directory.join(name).with_extension(SUFFIX);
        let unnamed = directory.join(name).with_extension(UNNAMED);
        let made = Self::make_as(&unnamed, &path, slots);
        if made.is_err() {
            // It may not be there, and is removed later if it stays.
            fs::remove_file(&unnamed).ok();
        }
        made
    }

    fn make_as(unnamed: &Path, path: &Path, slots: usize) -> Result<Self, Fault> {
        let fault = |action| Fault::of(action, unnamed);
        let file = owned()
            .create_new(true)
            .open(unnamed)
            .map_err(fault("make"))?;
        file.lock().map_err(fault("lock"))?;
        let words = (HEAD_WORDS + slots * SLOT_WORDS) as u64;
        let map = Map::make(&file, words * 8).map_err(fault("reserve the room of"))?;
        let (high, low) = machine_start();
        let mut sum = Sum::default();
        let head = [MARK, VERSION, slots as u64, high, low];
        for (word, cell) in head.into_iter().zip(map.words()) {
            cell.store(sum.of(word), Ordering::Relaxed);
        }
        if let Some(cell) = map.words().get(head.len()) {
            cell.store(sum.state(), Ordering::Relaxed);
        }
        file.sync_all().map_err(fault("sync"))?;
        let id = identity(&file.metadata().map_err(fault("look at"))?);
        Real.publish(unnamed, path).map_err(fault("name"))?;
        Ok(Self {
            path: path.to_owned(),
            map,
            _file: file,
            id,
        })
    }

    fn slots(&self) -> impl Iterator<Item = &[AtomicU64]> {
        let all = self.map.words().chunks_exact(SLOT_WORDS);
        all.skip(HEAD_WORDS / SLOT_WORDS)
    }

    fn slot(&self, slot: u32) -> &[AtomicU64] {
        let start = HEAD_WORDS + usize::try_from(slot).unwrap_or(0) * SLOT_WORDS;
        let words = self.map.words().get(start..start + SLOT_WORDS);
        words.unwrap_or_default()
    }

    /// Writes a note into a free slot. No kill leaves half of it.
    pub(super) fn write(&self, slot: u32, note: &Note) {
        let [state, len, began, members @ ..] = self.slot(slot) else {
            return;
        };
        let mut sum = Sum::default();
        let bytes = note.bytes();
        len.store(sum.of(bytes.len() as u64), Ordering::Relaxed);
        began.store(sum.of(note.began.0.cast_unsigned()), Ordering::Relaxed);
        let (words, rest) = bytes.as_chunks();
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        for (word, cell) in words.iter().zip(members) {
            cell.store(sum.of(u64::from_ne_bytes(*word)), Ordering::Relaxed);
        }
        if let Some(cell) = members.get(words.len()).filter(|_| !rest.is_empty()) {
            cell.store(sum.of(u64::from_ne_bytes(last)), Ordering::Relaxed);
        }
        state.store(sum.state(), Ordering::Release);
    }

    /// Makes a slot free.
    pub(super) fn clear(&self, slot: u32) {
        if let Some(state) = self.slot(slot).first() {
            state.store(0, Ordering::Release);
        }
    }

    /// Says from which record on outcomes of requests in the slots may stand in the log.
    pub(super) fn set_from(&self, seq: u64) {
        if let Some(cell) = self.map.words().get(FROM) {
            cell.store(seq, Ordering::Release);
        }
    }

    /// Takes all notes of another file. Nobody writes to either meanwhile.
    pub(super) fn take_over(&self, other: &Self) {
        for (from, to) in other.slots().zip(self.slots()) {
            if from
                .first()
                .is_none_or(|state| state.load(Ordering::Acquire) == 0)
            {
                continue;
            }
            // The state is the first and comes last.
            for (from, to) in from.iter().zip(to).rev() {
                to.store(from.load(Ordering::Relaxed), Ordering::Release);
            }
        }
        let from = other.map.words().get(FROM);
        self.set_from(from.map_or(0, |cell| cell.load(Ordering::Relaxed)));
    }

    /// What is wrong with the file, if something is.
    pub(super) fn fault(&self) -> Option<String> {
        let name = self.path.display();
        if self.map.is_lost() {
            return Some(format!("{name} cannot be reached as a whole any more"));
        }
        match fs::metadata(&self.path) {
            Ok(named) if identity(&named) != self.id => Some(format!("{name} was replaced")),
            Ok(named) if named.len() != self.map.words().len() as u64 * 8 => {
                Some(format!("{name} has {} bytes now", named.len()))
            }
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some(format!("{name} was deleted or moved"))
            }
            Err(error) => Some(format!("{name} cannot be looked at: {error}")),
        }
    }

    /// Whether what was written is in memory only.
    pub(super) fn is_lost(&self) -> bool {
        self.map.is_lost()
    }

    /// Deletes the file, if it still is where it was.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(named) if identity(&named) == self.id => fs::remove_file(&self.path),
            _ => Ok(()),
        }
    }
}

/// What was found in the file of a process.
#[derive(Debug)]
pub(super) struct Content {
    /// When the machine was started that the process ran on; as an id.
    pub(super) machine_start: (u64, u64),
    /// The record from which on outcomes may stand in the log.
    pub(super) from: u64,
    pub(super) notes: Vec<Noted>,
    /// Slots that hold neither a note nor nothing.
    pub(super) damaged: usize,
}

impl Content {
    /// Reads a file; says why if it is no recorder's.
    pub(super) fn read(file: &File) -> io::Result<Result<Self, String>> {
        let bytes = file.metadata()?.len();
        let mut reader = BufReader::with_capacity(64 * 1024, file);
        let mut head = [0; HEAD_WORDS * 8];
        if bytes < head.len() as u64 {
            return Ok(Err(format!("it has {bytes} bytes, less than its head")));
        }
        reader.read_exact(&mut head)?;
        let (words, _) = head.as_chunks();
        let mut words = words.iter().map(|word| u64::from_ne_bytes(*word));
        let mut next = || words.next().unwrap_or(0);
        let mut sum = Sum::default();
        let [mark, version, slots, high, low] = std::array::from_fn(|_| sum.of(next()));
        if mark != MARK {
            return Ok(Err("it does not begin as a flight recorder".to_owned()));
        }
        if version != VERSION {
            return Ok(Err(format!("it is of version {version}, not {VERSION}")));
        }
        let expected = (HEAD_WORDS as u64 + slots.min(MOST_SLOTS) * SLOT_WORDS as u64) * 8;
        if next() != sum.state() || slots > MOST_SLOTS || bytes != expected {
            return Ok(Err(format!(
                "its head is damaged, or its {bytes} bytes are not all"
            )));
        }
        let mut content = Self {
            machine_start: (high, low),
            from: next(),
            notes: Vec::new(),
            damaged: 0,
        };
        for _ in 0..slots {
            let mut slot = [0; SLOT_WORDS * 8];
            reader.read_exact(&mut slot)?;
            content.take(&slot);
        }
        Ok(Ok(content))
    }

    fn take(&mut self, slot: &[u8; SLOT_WORDS * 8]) {
        let (words, _) = slot.as_chunks();
        let word = |at: usize| words.get(at).map_or(0, |word| u64::from_ne_bytes(*word));
        if word(0) == 0 {
            return;
        }
        let noted = usize::try_from(word(1)).ok().and_then(|len| {
            let bytes = slot.get(SLOT_HEAD * 8..)?.get(..len)?;
            let mut sum = Sum::default();
            for at in 1..SLOT_HEAD + len.div_ceil(8) {
                sum.of(word(at));
            }
            let began = Timestamp(word(2).cast_signed());
            (sum.state() == word(0)).then(|| Noted::read(began, bytes))?
        });
        match noted {
            Some(noted) => self.notes.push(noted),
            None => self.damaged += 1,
        }
    }
}

/// Tells a whole note from half of one, and from chance. Two in turn, so that no word waits for the
/// one before.
struct Sum(u64, u64);

impl Default for Sum {
    fn default() -> Self {
        Self(VERSION, 0)
    }
}

impl Sum {
    fn of(&mut self, word: u64) -> u64 {
        *self = Self(self.1, Self::mix(self.0, word));
        word
    }

    /// Never 0: that is a free slot.
    fn state(&self) -> u64 {
        let both = Self::mix(self.0, self.1);
        (both ^ (both >> 32)) | 1
    }

    fn mix(sum: u64, word: u64) -> u64 {
        (sum.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// The id that the kernel gives each start of the machine; 0 if it does not.
pub(super) fn machine_start() -> (u64, u64) {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id = uuid::Uuid::parse_str(text.trim()).unwrap_or_default();
    id.as_u64_pair()
}

/// When a file was last written, in seconds since the epoch.
pub(super) fn written_at(file: &fs::Metadata) -> i64 {
    file.mtime()
}

/// Makes the bytes of a file those of a process on another machine.
#[cfg(test)]
pub(in crate::audit) fn on_another_machine(bytes: &mut [u8]) {
    let (words, _) = bytes.as_chunks_mut::<8>();
    let [mark, version, slots, high, low, state, ..] = words else {
        panic!("no head");
    };
    *high = u64::from_ne_bytes(*high).wrapping_add(1).to_ne_bytes();
    let mut sum = Sum::default();
    for word in [mark, version, slots, high, low] {
        sum.of(u64::from_ne_bytes(*word));
    }
    *state = sum.state().to_ne_bytes();
}
