//! The Merkle tree over the records (RFC 6962): its leaves, its growing edge, its file.
//!
//! The leaf of a record is the hash of its line without the newline. The file has every node that
//! is complete, 32 bytes each, in the order in which they come to be; node `n` of a level is at
//! [`tlog_tiles::stored_hash_index`]. The node over the last records, which changes with each of
//! them, is never stored.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use aws_lc_rs::digest;
use tlog_tiles::{EMPTY_HASH, Error, HASH_SIZE, HashReader, stored_hash_index, sub_tree_index};

pub use tlog_tiles::Hash;

use super::fault::Fault;

/// The name of the file of the tree.
pub const HASHES: &str = "hashes";
/// More records than any log has: up to here no offset in the file of the tree overflows.
pub const MOST_RECORDS: u64 = 1 << 56;

/// What stands before the bytes of a leaf, and of an inner node.
const LEAF: u8 = 0;
const NODE: u8 = 1;
/// Lines up to this many bytes, as most are, are hashed in one call, which spares an allocation.
const SHORT: usize = 1024;

/// The leaf of a line, which is given without its newline.
pub fn leaf(line: &[u8]) -> Hash {
    let mut short = [LEAF; SHORT + 1];
    if let Some((_, rest)) = short.split_first_mut()
        && let Some(space) = rest.get_mut(..line.len())
    {
        space.copy_from_slice(line);
        return hash(short.get(..=line.len()).unwrap_or_default());
    }
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[LEAF]);
    context.update(line);
    taken(&context.finish())
}

/// The node over two nodes.
pub fn node(left: Hash, right: Hash) -> Hash {
    let mut bytes = [NODE; 1 + 2 * HASH_SIZE];
    for (slot, byte) in bytes.iter_mut().skip(1).zip(left.0.iter().chain(&right.0)) {
        *slot = *byte;
    }
    hash(&bytes)
}

fn hash(bytes: &[u8]) -> Hash {
    taken(&digest::digest(&digest::SHA256, bytes))
}

fn taken(digest: &digest::Digest) -> Hash {
    let mut hash = [0; HASH_SIZE];
    for (slot, byte) in hash.iter_mut().zip(digest.as_ref()) {
        *slot = *byte;
    }
    Hash(hash)
}

/// How many hashes the file of a tree of `records` has.
pub fn hash_count(records: u64) -> u64 {
    // Each record adds its leaf and the nodes that it completes.
    (2 * records).saturating_sub(u64::from(records.count_ones()))
}

/// The right edge of a tree: what is needed to add a record and to tell the root.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    /// The complete subtrees, the largest first.
    peaks: Vec<Hash>,
    size: u64,
}

impl Frontier {
    /// The edge of the tree without records.
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge of a stored tree when it had `size` records.
    ///
    /// # Errors
    /// Fails when the reader does, or `size` is more than [`MOST_RECORDS`].
    pub fn at(size: u64, hashes: &impl HashReader) -> Result<Self, Error> {
        if size > MOST_RECORDS {
            return Err(Error::IndexesNotInTree);
        }
        let peaks = hashes.read_hashes(&sub_tree_index(0, size, Vec::new()))?;
        Ok(Self { peaks, size })
    }

    /// Adds a record's leaf. Appends to `out` what is to be stored of it: the leaf and the nodes
    /// that it completes.
    pub fn push(&mut self, leaf: Hash, out: &mut Vec<Hash>) {
        let mut hash = leaf;
        out.push(hash);
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            hash = node(left, hash);
            out.push(hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// How many records the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let last = peaks.next().copied().unwrap_or(EMPTY_HASH);
        peaks.fold(last, |right, left| node(*left, right))
    }
}

/// The file of the tree, opened to be read.
#[derive(Debug)]
pub struct HashFile {
    file: File,
}

impl HashFile {
    /// Opens the file of a log's directory.
    ///
    /// # Errors
    /// Fails when there is none, or it cannot be read.
    pub fn open(directory: &Path) -> Result<Self, Fault> {
        let path = directory.join(HASHES);
        let file = File::open(&path).map_err(Fault::of("open", &path))?;
        Ok(Self { file })
    }

    /// How many records are in it with all that they complete, at this moment.
    ///
    /// # Errors
    /// Fails when its length cannot be told.
    pub fn records(&self) -> io::Result<u64> {
        let hashes = self.file.metadata()?.len() / 32;
        let (mut low, mut high) = (0, hashes.min(MOST_RECORDS));
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if hash_count(middle) <= hashes {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }

    /// The leaf of a record.
    ///
    /// # Errors
    /// Fails when the file cannot be read or is shorter.
    pub fn leaf(&self, seq: u64) -> io::Result<Hash> {
        self.hash(stored_hash_index(0, seq.min(MOST_RECORDS)))
    }

    /// The hash at an index of [`tlog_tiles::stored_hash_index`].
    ///
    /// # Errors
    /// Fails when the file cannot be read or is shorter.
    pub fn hash(&self, index: u64) -> io::Result<Hash> {
        let mut hash = Hash::default();
        let offset = index.checked_mul(32).ok_or(io::ErrorKind::InvalidInput)?;
        self.file.read_exact_at(&mut hash.0, offset)?;
        Ok(hash)
    }

    /// The bytes from the hash at `index` on, as many as there are, up to the size of `space`.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn read_from(&self, index: u64, space: &mut [u8]) -> io::Result<usize> {
        let mut offset = index.checked_mul(32).ok_or(io::ErrorKind::InvalidInput)?;
        let mut filled = 0;
        while let Some(rest) = space.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset) {
                Ok(0) => break,
                Ok(read) => {
                    filled += read;
                    offset += u64::try_from(read).unwrap_or(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl HashReader for HashFile {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let read = |index: &u64| {
            self.hash(*index).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Error::IndexesNotInTree,
                _ => Error::InvalidInput(format!("the file of the tree cannot be read: {error}")),
            })
        };
        indexes.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tlog_tiles::{
        check_record, check_tree, prove_record, prove_tree, record_hash, stored_hash_count,
        stored_hashes, tree_hash,
    };

    use super::*;

    struct Stored(Vec<Hash>);

    impl HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
            let read = |index: &u64| self.0.get(usize::try_from(*index).unwrap()).copied();
            indexes
                .iter()
                .map(|index| read(index).ok_or(Error::IndexesNotInTree))
                .collect()
        }
    }

    fn line(seq: u64) -> Vec<u8> {
        format!("{{\"seq\":{seq},\"time\":\"now\"}}").into_bytes()
    }

    #[test]
    fn a_leaf_is_the_hash_that_others_make_of_the_line() {
        for length in [0, 1, 55, 63, 500, SHORT - 1, SHORT, SHORT + 1, 70_000] {
            let line = vec![b'x'; length];
            assert_eq!(leaf(&line), record_hash(&line), "{length}");
        }
    }

    #[test]
    fn the_edge_stores_and_tells_what_others_do() {
        let (mut frontier, mut ours, mut theirs) =
            (Frontier::new(), Vec::new(), Stored(Vec::new()));
        assert_eq!(frontier.root(), tree_hash(0, &theirs).unwrap());
        for seq in 0..600 {
            frontier.push(leaf(&line(seq)), &mut ours);
            let added = stored_hashes(seq, &line(seq), &theirs).unwrap();
            theirs.0.extend(added);
            assert_eq!(ours, theirs.0, "{seq}");
            assert_eq!(frontier.size(), seq + 1);
            assert_eq!(frontier.root(), tree_hash(seq + 1, &theirs).unwrap());
            assert_eq!(hash_count(seq + 1), stored_hash_count(seq + 1));
            let again = Frontier::at(seq + 1, &theirs).unwrap();
            assert_eq!(again.root(), frontier.root());
        }
        assert!(Frontier::at(601, &theirs).is_err());
        assert!(Frontier::at(u64::MAX, &theirs).is_err());
    }

    #[test]
    fn a_file_tells_how_many_records_it_has_whatever_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let (mut frontier, mut hashes) = (Frontier::new(), Vec::new());
        let mut ends = Vec::new();
        for seq in 0..70 {
            frontier.push(leaf(&line(seq)), &mut hashes);
            ends.push(hashes.len() * 32);
        }
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        for length in (0..bytes.len()).step_by(8) {
            fs::write(folder.path().join(HASHES), &bytes[..length]).unwrap();
            let file = HashFile::open(folder.path()).unwrap();
            let expected = ends.iter().filter(|end| **end <= length).count() as u64;
            assert_eq!(file.records().unwrap(), expected, "{length}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = HashFile::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("hashes"), "{error}");
    }

    proptest! {
        #[test]
        fn proofs_from_the_file_hold(size in 1_u64..300, other in 0_u64..300, seq in 0_u64..300) {
            let (seq, other) = (seq % size, other % size + 1);
            let (mut frontier, mut hashes) = (Frontier::new(), Vec::new());
            let mut earlier = frontier.clone();
            for seq in 0..size {
                frontier.push(leaf(&line(seq)), &mut hashes);
                if seq + 1 == other {
                    earlier = frontier.clone();
                }
            }
            let folder = tempfile::tempdir().unwrap();
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
            fs::write(folder.path().join(HASHES), bytes).unwrap();
            let file = HashFile::open(folder.path()).unwrap();
            prop_assert_eq!(file.leaf(seq).unwrap(), leaf(&line(seq)));
            prop_assert!(file.leaf(size).is_err());
            let proof = prove_record(size, seq, &file).unwrap();
            check_record(&proof, size, frontier.root(), seq, leaf(&line(seq))).unwrap();
            let proof = prove_tree(size, other, &file).unwrap();
            check_tree(&proof, size, frontier.root(), other, earlier.root()).unwrap();
        }
    }
}
