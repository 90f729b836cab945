//! The tree as the writer keeps it: its edge in memory, its complete nodes in the file.
//!
//! A record is staged first. What is staged counts, and is written, when its lines are in the log;
//! a batch that failed leaves nothing behind but bytes that the next one writes over. Processes
//! that share the log write the same bytes to the same places, each all that it learns of.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tlog_tiles::{Error, Hash, HashReader};

use crate::audit::disk::{Disk, identity};
use crate::audit::fault::Fault;
use crate::audit::tree::{Frontier, HASHES, hash_count, leaf};

/// The memory that written hashes leave behind.
const KEPT_BYTES: usize = 1024 * 1024;

/// The tree over the records.
pub(in crate::audit) struct Tree {
    path: PathBuf,
    file: File,
    id: (u64, u64),
    /// Over the records whose hashes are in the file.
    settled: Frontier,
    /// With the records that are not there yet.
    staged: Frontier,
    /// The hashes of record `from` and all after it.
    hashes: Vec<Hash>,
    from: u64,
    bytes: Vec<u8>,
}

impl Tree {
    /// Opens the file of a directory, which it makes if need be, to go on from an edge that is
    /// known to be right.
    pub(super) fn open(directory: &Path, edge: Frontier) -> Result<Self, Fault> {
        let path = directory.join(HASHES);
        let (file, id) = open(&path)?;
        Ok(Self::on(path, file, id, edge))
    }

    /// Begins a file beside the one that is there, to be put in its place by [`Tree::publish`].
    pub(super) fn begin(directory: &Path, edge: Frontier) -> Result<Self, Fault> {
        let path = directory.join(HASHES).with_extension("new");
        let (file, id) = open(&path)?;
        file.set_len(0).map_err(Fault::of("clear", &path))?;
        Ok(Self::on(path, file, id, edge))
    }

    fn on(path: PathBuf, file: File, id: (u64, u64), edge: Frontier) -> Self {
        Self {
            path,
            file,
            id,
            from: edge.size(),
            settled: edge.clone(),
            staged: edge,
            hashes: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Takes what another tree's file has of the first records: they cannot be read any more.
    pub(super) fn take_start(&self, old: &Path) -> Result<(), Fault> {
        let bytes = hash_count(self.from) * 32;
        if bytes == 0 {
            return Ok(());
        }
        let old_file = File::open(old).map_err(Fault::of("open", old))?;
        let copied = io::copy(&mut io::Read::take(old_file, bytes), &mut &self.file);
        copied.map(drop).map_err(Fault::of("write to", &self.path))
    }

    /// Makes the file that was begun durable, and gives it its name.
    pub(super) fn publish(&mut self, disk: &mut dyn Disk) -> Result<(), Fault> {
        self.sync(disk)?;
        let path = self.path.with_extension("");
        disk.publish(&self.path, &path)
            .map_err(Fault::of("name", &path))?;
        self.path = path;
        Ok(())
    }

    /// How many records the tree has, staged ones too.
    pub(super) fn size(&self) -> u64 {
        self.staged.size()
    }

    /// How many records have their hashes in the file.
    pub(super) fn settled_size(&self) -> u64 {
        self.settled.size()
    }

    /// The root over all of them.
    pub(super) fn root(&self) -> Hash {
        self.staged.root()
    }

    /// The root when there were `size` records; none if there are not so many.
    pub(super) fn root_at(&self, size: u64) -> Result<Option<Hash>, Fault> {
        if size == self.size() {
            return Ok(Some(self.root()));
        }
        if size > self.settled.size() {
            return Ok(None);
        }
        self.edge_at(size).map(|edge| Some(edge.root()))
    }

    /// Stages a line, which is given without its newline.
    pub(super) fn push(&mut self, line: &[u8]) {
        self.push_leaf(leaf(line));
    }

    /// Stages a record by its leaf.
    pub(super) fn push_leaf(&mut self, leaf: Hash) {
        self.staged.push(leaf, &mut self.hashes);
    }

    /// Writes what is staged: from now on it counts. On an error it stays staged.
    pub(super) fn settle(&mut self, disk: &mut dyn Disk) -> Result<(), Fault> {
        self.write(disk)?;
        self.accept();
        Ok(())
    }

    /// Writes what is staged, which may still be taken back.
    pub(super) fn write(&mut self, disk: &mut dyn Disk) -> Result<(), Fault> {
        if self.hashes.is_empty() {
            return Ok(());
        }
        self.bytes.clear();
        for hash in &self.hashes {
            self.bytes.extend_from_slice(&hash.0);
        }
        let offset = hash_count(self.from) * 32;
        disk.write_at(&self.file, &self.bytes, offset)
            .map_err(Fault::of("write to", &self.path))
    }

    /// Takes what was written as settled.
    pub(super) fn accept(&mut self) {
        if self.hashes.is_empty() {
            return;
        }
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.hashes.clear();
        self.hashes.shrink_to(KEPT_BYTES / 32);
        self.from = self.staged.size();
        self.settled = self.staged.clone();
    }

    /// Takes back what is staged.
    pub(super) fn unstage(&mut self) {
        if !self.hashes.is_empty() {
            self.hashes.clear();
            self.staged = self.settled.clone();
        }
    }

    /// Leaves the tree with its first `size` records, staged anew if they were not settled.
    pub(super) fn back_to(&mut self, size: u64) -> Result<(), Fault> {
        if size >= self.staged.size() {
            return Ok(());
        }
        if size < self.from {
            let edge = self.edge_at(size)?;
            self.from = size;
            self.settled = edge.clone();
            self.staged = edge;
            self.hashes.clear();
            return Ok(());
        }
        let kept = hash_count(size) - hash_count(self.from);
        self.hashes
            .truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        let mut staged = self.settled.clone();
        let (mut again, skipped) = (Vec::new(), hash_count(self.from));
        while staged.size() < size {
            let at = usize::try_from(hash_count(staged.size()) - skipped).unwrap_or(usize::MAX);
            let Some(leaf) = self.hashes.get(at) else {
                break;
            };
            staged.push(*leaf, &mut again);
        }
        self.staged = staged;
        Ok(())
    }

    /// What [`Tree::restore`] needs.
    pub(super) fn saved(&self) -> (Frontier, Frontier, Vec<Hash>, u64) {
        let hashes = self.hashes.clone();
        (self.settled.clone(), self.staged.clone(), hashes, self.from)
    }

    /// Takes back all since [`Tree::saved`], if nothing was written meanwhile.
    pub(super) fn restore(&mut self, saved: (Frontier, Frontier, Vec<Hash>, u64)) {
        (self.settled, self.staged, self.hashes, self.from) = saved;
    }

    /// Makes the file durable.
    pub(super) fn sync(&self, disk: &mut dyn Disk) -> Result<(), Fault> {
        disk.sync(&self.file).map_err(Fault::of("sync", &self.path))
    }

    /// Whether the file has been deleted, replaced or cut.
    pub(super) fn is_lost(&self) -> io::Result<Option<Loss>> {
        match fs::metadata(&self.path) {
            Ok(named) if identity(&named) == self.id => {
                let cut = named.len() < hash_count(self.settled.size()) * 32;
                Ok(cut.then_some(Loss::Cut))
            }
            Ok(_) => Ok(Some(Loss::Replaced)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Loss::Gone)),
            Err(error) => Err(error),
        }
    }

    /// Goes on in the file that has the name now, if it has this tree. Another process puts one
    /// there that finds the old one damaged.
    pub(super) fn adopt(&mut self) -> Result<bool, Fault> {
        let (file, id) = open(&self.path)?;
        let edge = Frontier::at(self.settled.size(), &Stored(&file));
        let is_ours = edge.is_ok_and(|edge| edge.root() == self.settled.root());
        if is_ours {
            (self.file, self.id) = (file, id);
        }
        Ok(is_ours)
    }

    /// Puts a copy of the file, which only we still have, where it was.
    pub(super) fn put_back(&mut self, disk: &mut dyn Disk) -> Result<(), Fault> {
        let beside = self.path.with_extension("new");
        let (file, id) = open(&beside)?;
        let fault = |action| Fault::of(action, &beside);
        file.set_len(0).map_err(fault("clear"))?;
        let end = hash_count(self.settled.size()) * 32;
        let mut block = vec![0; KEPT_BYTES];
        let mut at = 0;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let space = block.get_mut(..left.min(KEPT_BYTES)).unwrap_or_default();
            let read = self.file.read_at(space, at).map_err(fault("copy to"))?;
            if read == 0 {
                break;
            }
            let part = space.get(..read).unwrap_or_default();
            disk.write_at(&file, part, at).map_err(fault("write to"))?;
            at += u64::try_from(read).unwrap_or(0);
        }
        disk.sync(&file).map_err(fault("sync"))?;
        disk.publish(&beside, &self.path).map_err(fault("name"))?;
        (self.file, self.id) = (file, id);
        Ok(())
    }

    fn edge_at(&self, size: u64) -> Result<Frontier, Fault> {
        Frontier::at(size, &Stored(&self.file))
            .map_err(|error| Fault::of("read", &self.path)(io::Error::other(error.to_string())))
    }
}

/// What became of the file of the tree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Loss {
    Cut,
    Gone,
    Replaced,
}

fn open(path: &Path) -> Result<(File, (u64, u64)), Fault> {
    let open = || {
        // Not to append: hashes have their places.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        options.custom_flags(libc::O_NOFOLLOW);
        let file = options.truncate(false).open(path)?;
        let id = identity(&file.metadata()?);
        Ok((file, id))
    };
    open().map_err(Fault::of("open", path))
}

/// The hashes of an open file.
struct Stored<'a>(&'a File);

impl HashReader for Stored<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let read = |index: &u64| {
            let mut hash = Hash::default();
            let offset = index.checked_mul(32).ok_or(Error::IndexesNotInTree)?;
            let read = self.0.read_exact_at(&mut hash.0, offset);
            read.map_err(|error| Error::InvalidInput(error.to_string()))?;
            Ok(hash)
        };
        indexes.iter().map(read).collect()
    }
}
