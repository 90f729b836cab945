//! The hashes of the file of the tree, read as they are needed: mostly one after the other.

use tlog_tiles::{Hash, stored_hash_index};

use crate::audit::tree::HashFile;

/// How much is read at once.
const BLOCK: usize = 1024 * 1024;

/// The file of the tree, as far as checkpoints speak for it.
pub(super) struct Stored {
    file: Option<HashFile>,
    /// The records whose hashes are compared.
    records: u64,
    block: Vec<u8>,
    /// The index of the first hash in the block.
    first: u64,
}

impl Stored {
    /// Of the first `records`, if there is a file.
    pub(super) fn new(file: Option<HashFile>, records: u64) -> Self {
        Self {
            file,
            records,
            block: Vec::new(),
            first: 0,
        }
    }

    /// A record's leaf.
    pub(super) fn leaf(&self, seq: u64) -> Option<Hash> {
        self.node(0, seq)
    }

    /// A node.
    pub(super) fn node(&self, level: u8, n: u64) -> Option<Hash> {
        let file = self.file.as_ref()?;
        if (n + 1) << level > self.records {
            return None;
        }
        file.hash(stored_hash_index(level, n)).ok()
    }

    /// The hash at an index that is of a record, where indexes rise.
    pub(super) fn next(&mut self, index: u64, seq: u64) -> Option<Hash> {
        let file = self.file.as_ref().filter(|_| seq < self.records)?;
        let place = |first: u64| {
            usize::try_from(index.checked_sub(first)?)
                .ok()?
                .checked_mul(32)
        };
        if let Some(at) = place(self.first)
            && let Some(bytes) = self.block.get(at..).and_then(<[u8]>::first_chunk)
        {
            return Some(Hash(*bytes));
        }
        self.block.resize(BLOCK, 0);
        let read = file.read_from(index, &mut self.block).unwrap_or(0);
        self.block.truncate(read);
        self.first = index;
        self.block.first_chunk().map(|bytes| Hash(*bytes))
    }
}
