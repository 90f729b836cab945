//! A sparse index of a segment that is finished: what each block of it can hold.
//!
//! It stands beside the segment and is never believed without checking: it has a checksum, and the
//! length and time of change of the segment that it is about. It is made only of a segment whose
//! lines are all records without a gap, so that what is skipped hides no damage; of another one the
//! index says just that. One that is missing, stale or damaged is as none: all is read then.
//!
//! Of members with few values each block has which ones it holds, of others a Bloom filter.

mod bloom;
mod build;
mod bytes;
mod field;

pub use build::{Built, build, unindexed};
pub(super) use field::{Field, Many};

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use bytes::Bytes;
use field::FIELDS;

use crate::audit::segment;

/// What an index begins with; the last digit is the version of its form.
const MAGIC: &[u8] = b"vspcidx1";
/// The bytes of the checksum at its end.
const SUM: usize = digest::SHA256_OUTPUT_LEN;
/// What an index says of a segment whose lines are not all records without a gap.
const UNCLEAN: u64 = 0;
/// What it says of one that it describes.
const CLEAN: u64 = 1;
/// What stands for the number of a member's values when there are too many to be kept.
const TOO_MANY: u32 = u32::MAX;

/// The path of the index of the segment that begins with `first`.
pub(in crate::audit) fn path(directory: &Path, first: u64) -> PathBuf {
    segment::path(directory, first).with_extension("index")
}

/// What is known of a segment.
pub(super) enum Known {
    /// What its blocks hold.
    Blocks(Index),
    /// Its index is missing, stale or damaged.
    Nothing,
    /// Not all of its lines are records without a gap.
    Unclean,
}

/// The index of a segment.
pub(super) struct Index {
    bytes: Vec<u8>,
    /// The values of each field and their numbers; none if they were too many.
    names: Vec<Names>,
    blocks: Vec<Block>,
}

/// A part of a segment, in whole lines.
pub(super) struct Block {
    /// Its bytes.
    pub(super) place: Range<u64>,
    /// Its records.
    pub(super) seqs: Range<u64>,
    /// The least and the greatest time, in microseconds.
    pub(super) times: (i64, i64),
    names: Range<usize>,
    bloom: Range<usize>,
}

impl Index {
    /// Reads the index of the segment from record `first` to before `end`, which is open as `file`.
    pub(super) fn of(directory: &Path, first: u64, end: u64, file: &File) -> Known {
        let Ok(bytes) = fs::read(path(directory, first)) else {
            return Known::Nothing;
        };
        let Ok(state) = State::of(file) else {
            return Known::Nothing;
        };
        Self::read(bytes, &state, first, end).unwrap_or(Known::Nothing)
    }

    fn read(all: Vec<u8>, state: &State, first: u64, end: u64) -> Option<Known> {
        let (body, sum) = all.split_at_checked(all.len().checked_sub(SUM)?)?;
        if digest::digest(&digest::SHA256, body).as_ref() != sum {
            return None;
        }
        let mut bytes = Bytes::new(body);
        if bytes.take(MAGIC.len())? != MAGIC
            || State::read(&mut bytes)? != *state
            || (bytes.u64()?, bytes.u64()?) != (first, end)
        {
            return None;
        }
        if bytes.u64()? == UNCLEAN {
            return Some(Known::Unclean);
        }
        let mut names = Vec::with_capacity(FIELDS);
        for _ in 0..FIELDS {
            names.push(read_names(&mut bytes)?);
        }
        let mut blocks = Vec::new();
        let (mut start, mut seq) = (0, first);
        for _ in 0..bytes.u32()? {
            let block = Block::read(&mut bytes, start, seq)?;
            (start, seq) = (block.place.end, block.seqs.end);
            blocks.push(block);
        }
        if (start, seq) != (state.len, end) || !bytes.is_empty() {
            return None;
        }
        Some(Known::Blocks(Self {
            bytes: all,
            names,
            blocks,
        }))
    }

    /// The blocks, in order and without a gap.
    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The values of a field and their numbers; none if they were too many.
    pub(super) fn names(&self, field: Field) -> Option<&[(u16, Box<str>)]> {
        self.names.get(field as usize)?.as_deref()
    }

    /// Whether a block has one of these values.
    pub(super) fn has_name(&self, block: &Block, wanted: &[u16]) -> bool {
        let held = self.bytes.get(block.names.clone()).unwrap_or_default();
        let mut held = held.chunks_exact(2).map(|id| match id {
            [low, high] => u16::from_le_bytes([*low, *high]),
            _ => 0,
        });
        held.any(|id| wanted.binary_search(&id).is_ok())
    }

    /// Whether a block may have a value of this hash.
    pub(super) fn may_have(&self, block: &Block, hash: u64) -> bool {
        let bits = self.bytes.get(block.bloom.clone()).unwrap_or_default();
        bloom::may_have(bits, hash)
    }
}

impl Block {
    fn read(bytes: &mut Bytes<'_>, start: u64, seq: u64) -> Option<Self> {
        let (end, next) = (bytes.u64()?, bytes.u64()?);
        let times = (bytes.u64()?.cast_signed(), bytes.u64()?.cast_signed());
        let names = usize::from(bytes.u16()?) * 2;
        let names = bytes.range(names)?;
        let words = usize::from(bytes.u16()?) * 8;
        let bloom = bytes.range(words)?;
        (start < end && seq < next).then_some(Self {
            place: start..end,
            seqs: seq..next,
            times,
            names,
            bloom,
        })
    }
}

/// The values of a field, if they are not too many.
type Names = Option<Vec<(u16, Box<str>)>>;

/// Reads the values of a field; none if the index is damaged.
fn read_names(bytes: &mut Bytes<'_>) -> Option<Names> {
    let count = bytes.u32()?;
    if count == TOO_MANY {
        return Some(None);
    }
    let mut names = Vec::new();
    for _ in 0..count {
        let id = bytes.u16()?;
        let length = usize::from(bytes.u16()?);
        let name = std::str::from_utf8(bytes.take(length)?).ok()?;
        names.push((id, name.into()));
    }
    Some(Some(names))
}

/// By what a segment shows that it was changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct State {
    len: u64,
    seconds: i64,
    nanos: i64,
}

impl State {
    fn of(file: &File) -> io::Result<Self> {
        let file = file.metadata()?;
        Ok(Self {
            len: file.len(),
            seconds: file.mtime(),
            nanos: file.mtime_nsec(),
        })
    }

    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        Some(Self {
            len: bytes.u64()?,
            seconds: bytes.u64()?.cast_signed(),
            nanos: bytes.u64()?.cast_signed(),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&self.seconds.to_le_bytes());
        out.extend_from_slice(&self.nanos.to_le_bytes());
    }
}

#[cfg(test)]
mod tests;
