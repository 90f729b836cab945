//! Making the index of a segment.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

use aws_lc_rs::digest;

use super::bytes::Bytes;
use super::field::{FIELDS, few, many};
use super::{CLEAN, Index, Known, MAGIC, State, TOO_MANY, UNCLEAN, bloom, path};
use crate::audit::query::value;
use crate::audit::query::view::{Scalar, View};
use crate::audit::segment::{self, LINE_LIMIT, stamp_of};

/// A block ends with the line that reaches so many bytes.
const BLOCK: u64 = if cfg!(test) { 512 } else { 64 * 1024 };
/// The most values that are kept of a member.
const VALUES: usize = 2048;
/// The longest value that is kept.
const VALUE_LEN: usize = 1024;

/// What became of an index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Built {
    /// It was made.
    Made,
    /// The work was to end before.
    Stopped,
}

/// The finished segments of a directory that have no index of use, by their first record, with the
/// record after their last and their bytes.
///
/// # Errors
/// Fails when the directory cannot be read.
pub fn unindexed(directory: &Path) -> io::Result<Vec<(u64, u64, u64)>> {
    let firsts = segment::list(directory)?;
    let mut found = Vec::new();
    for (first, end) in firsts.iter().zip(firsts.iter().skip(1)) {
        // A segment that cannot be read, or is gone, is told of by those who need it.
        let Ok(file) = File::open(segment::path(directory, *first)) else {
            continue;
        };
        if !is_indexed(directory, *first, *end, &file)
            && let Ok(metadata) = file.metadata()
        {
            found.push((*first, *end, metadata.len()));
        }
    }
    Ok(found)
}

/// Whether an index of these records is there, by its first bytes: whether it is whole is seen when
/// it is used.
fn is_indexed(directory: &Path, first: u64, end: u64, file: &File) -> bool {
    let look = || -> Option<bool> {
        let mut start = Vec::new();
        let index = File::open(path(directory, first)).ok()?;
        index.take(64).read_to_end(&mut start).ok()?;
        let mut bytes = Bytes::new(&start);
        Some(
            bytes.take(MAGIC.len())? == MAGIC
                && State::read(&mut bytes)? == State::of(file).ok()?
                && (bytes.u64()?, bytes.u64()?) == (first, end),
        )
    };
    look().unwrap_or(false)
}

/// Makes the index of the segment from record `first` to before `end`, unless `stop` says to end,
/// which is asked with the bytes that were read.
///
/// # Errors
/// Fails when the segment cannot be read or the index not be written.
pub fn build(
    directory: &Path,
    first: u64,
    end: u64,
    stop: &mut dyn FnMut(u64) -> bool,
) -> io::Result<Built> {
    let file = File::open(segment::path(directory, first))?;
    let state = State::of(&file)?;
    let mut out = MAGIC.to_vec();
    state.write(&mut out);
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&end.to_le_bytes());
    let mut builder = Builder::new(first);
    match builder.read(&file, state.len, end, stop)? {
        Read::Clean => builder.write(&mut out),
        Read::Stopped => return Ok(Built::Stopped),
        Read::Unclean => out.extend_from_slice(&UNCLEAN.to_le_bytes()),
    }
    let sum = digest::digest(&digest::SHA256, &out);
    out.extend_from_slice(sum.as_ref());
    debug_assert!(!matches!(
        Index::read(out.clone(), &state, first, end),
        None | Some(Known::Nothing)
    ));
    if State::of(&file)? == state {
        put(directory, first, &file, &out)?;
    }
    Ok(Built::Made)
}

/// Puts an index in its place, for the owner of the segment. It needs no sync: half of one is seen.
fn put(directory: &Path, first: u64, segment: &File, bytes: &[u8]) -> io::Result<()> {
    let place = path(directory, first);
    // Two processes may make the same one.
    let unnamed = place.with_extension(format!("index.{}.new", std::process::id()));
    // A name that is taken is not followed: the directory is not the superuser's.
    drop(fs::remove_file(&unnamed));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unnamed)?;
    let owner = segment.metadata()?;
    // A command of the superuser leaves no file that the gateway cannot read.
    if file.metadata()?.uid() != owner.uid() {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    let done = file
        .write_all(bytes)
        .and_then(|()| fs::rename(&unnamed, &place));
    if done.is_err() {
        // The disk is full, most likely: what was made of it only takes place.
        drop(fs::remove_file(&unnamed));
    }
    done
}

enum Read {
    Clean,
    Stopped,
    Unclean,
}

struct Builder {
    next: u64,
    /// The values by field, with their numbers; none if they were too many.
    names: [Option<HashMap<Box<str>, u16>>; FIELDS],
    count: u16,
    blocks: Vec<Made>,
    current: Made,
}

#[derive(Default)]
struct Made {
    end: u64,
    next: u64,
    times: Option<(i64, i64)>,
    ids: Vec<u16>,
    hashes: Vec<u64>,
    bloom: Vec<u8>,
}

impl Builder {
    fn new(first: u64) -> Self {
        Self {
            next: first,
            names: std::array::from_fn(|_| Some(HashMap::new())),
            count: 0,
            blocks: Vec::new(),
            current: Made::default(),
        }
    }

    fn read(
        &mut self,
        file: &File,
        len: u64,
        end: u64,
        stop: &mut dyn FnMut(u64) -> bool,
    ) -> io::Result<Read> {
        let mut lines = BufReader::with_capacity(256 * 1024, file.take(len));
        let (mut line, mut at, mut start) = (Vec::new(), 0, 0);
        let limit = u64::try_from(LINE_LIMIT).unwrap_or(u64::MAX) + 1;
        loop {
            line.clear();
            let read = lines.by_ref().take(limit).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            if line.pop() != Some(b'\n') || !self.see(&line) {
                return Ok(Read::Unclean);
            }
            at += u64::try_from(read).unwrap_or(0);
            if at - start >= BLOCK {
                start = at;
                self.finish(at);
                if stop(at) {
                    return Ok(Read::Stopped);
                }
            }
        }
        if at > start {
            self.finish(at);
        }
        Ok(if at == len && self.next == end {
            Read::Clean
        } else {
            Read::Unclean
        })
    }

    /// Sees a line; says whether it is the record that comes next.
    fn see(&mut self, line: &[u8]) -> bool {
        let Ok(view) = serde_json::from_slice::<View<'_>>(line) else {
            return false;
        };
        if segment::seq_of(line) != Some(self.next) {
            return false;
        }
        self.next += 1;
        let time = time_of(line, &view);
        let (from, to) = self.current.times.unwrap_or((i64::MAX, i64::MIN));
        self.current.times = Some(match time {
            Some(time) => (from.min(time), to.max(time)),
            // A time that is not known may be any.
            None => (i64::MIN, i64::MAX),
        });
        for (field, scalar) in few(&view) {
            with_text(scalar, |text| self.name(field as usize, text));
        }
        for (member, scalar) in many(&view) {
            with_text(scalar, |text| self.current.hashes.push(member.hash(text)));
        }
        true
    }

    fn name(&mut self, field: usize, text: &str) {
        let Some(slot) = self.names.get_mut(field) else {
            return;
        };
        let Some(names) = slot else {
            return;
        };
        let id = match names.get(text) {
            Some(id) => *id,
            None if names.len() >= VALUES || text.len() > VALUE_LEN => {
                *slot = None;
                return;
            }
            None => {
                let id = self.count;
                self.count += 1;
                names.insert(text.into(), id);
                id
            }
        };
        if !self.current.ids.contains(&id) {
            self.current.ids.push(id);
        }
    }

    fn finish(&mut self, end: u64) {
        let mut made = std::mem::take(&mut self.current);
        made.hashes.sort_unstable();
        made.hashes.dedup();
        made.bloom = bloom::filter(&made.hashes);
        made.hashes = Vec::new();
        (made.end, made.next) = (end, self.next);
        self.blocks.push(made);
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&CLEAN.to_le_bytes());
        for names in &self.names {
            let Some(names) = names else {
                out.extend_from_slice(&TOO_MANY.to_le_bytes());
                continue;
            };
            out.extend_from_slice(&count32(names.len()).to_le_bytes());
            for (name, id) in names {
                out.extend_from_slice(&id.to_le_bytes());
                out.extend_from_slice(&count16(name.len()).to_le_bytes());
                out.extend_from_slice(name.as_bytes());
            }
        }
        out.extend_from_slice(&count32(self.blocks.len()).to_le_bytes());
        for block in &self.blocks {
            let (from, to) = block.times.unwrap_or((i64::MIN, i64::MAX));
            out.extend_from_slice(&block.end.to_le_bytes());
            out.extend_from_slice(&block.next.to_le_bytes());
            out.extend_from_slice(&from.to_le_bytes());
            out.extend_from_slice(&to.to_le_bytes());
            out.extend_from_slice(&count16(block.ids.len()).to_le_bytes());
            for id in &block.ids {
                out.extend_from_slice(&id.to_le_bytes());
            }
            out.extend_from_slice(&count16(block.bloom.len() / 8).to_le_bytes());
            out.extend_from_slice(&block.bloom);
        }
    }
}

/// The time of a record, if stamps compare with it as with its text.
fn time_of(line: &[u8], view: &View<'_>) -> Option<i64> {
    match stamp_of(line) {
        Some(stamp) => {
            let time = value::timestamp(std::str::from_utf8(stamp).ok()?)?;
            (time.text() == *stamp).then_some(time.0)
        }
        None => Some(value::timestamp(view.time.text()?)?.0),
    }
}

fn with_text(scalar: &Scalar<'_>, see: impl FnOnce(&str)) {
    match scalar {
        Scalar::Number(number) => see(&number.to_string()),
        Scalar::Other => {}
        Scalar::Text(text) => see(text),
    }
}

/// What is counted here is far below the limit: 13 times 2048 values, a block of a line at least.
fn count16(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn count32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX - 1)
}
