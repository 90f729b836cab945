//! The form of a backup: a head, entries, their number, and the SHA-256 of all that.
//!
//! Numbers are big-endian. Head: the mark, the version of the form (2 bytes), when it was made
//! (microseconds since 1970, 8 bytes), and two texts: the version of the gateway and the ids of the
//! keys. A text is its length (4 bytes) and its bytes. An entry is a tag and texts.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

use super::CopyError;
use crate::clock::Timestamp;

/// What stands before the entries.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) made: Timestamp,
    pub(super) version: String,
    pub(super) key_ids: String,
}

/// One thing that is kept.
pub(super) enum Entry {
    /// The keys, as their text.
    Keys(Zeroizing<Vec<u8>>),
    /// A file of the directory, as it is.
    Plain { name: String, content: Vec<u8> },
    /// A value, sealed.
    Value {
        table: String,
        name: Vec<u8>,
        sealed: Vec<u8>,
    },
}

pub(super) struct Writer {
    out: BufWriter<File>,
    sum: Context,
    entries: u64,
}

impl Writer {
    pub(super) fn new(file: File, head: &Head) -> io::Result<Self> {
        let mut writer = Self {
            out: BufWriter::with_capacity(BUFFER, file),
            sum: Context::new(&SHA256),
            entries: 0,
        };
        writer.put(MARK)?;
        writer.put(&VERSION.to_be_bytes())?;
        writer.put(&head.made.0.to_be_bytes())?;
        writer.text(head.version.as_bytes())?;
        writer.text(head.key_ids.as_bytes())?;
        Ok(writer)
    }

    pub(super) fn keys(&mut self, keys: &str) -> io::Result<()> {
        self.entry(KEYS, &[keys.as_bytes()])
    }

    pub(super) fn plain(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.entry(PLAIN, &[name.as_bytes(), content])
    }

    pub(super) fn value(&mut self, table: &str, name: &[u8], sealed: &[u8]) -> io::Result<()> {
        self.entry(VALUE, &[table.as_bytes(), name, sealed])
    }

    /// Writes the end and makes all of it durable.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.put(&[END])?;
        self.put(&self.entries.to_be_bytes())?;
        let sum = self.sum.clone().finish();
        self.out.write_all(sum.as_ref())?;
        self.out.into_inner().map_err(io::Error::from)?.sync_all()
    }

    fn entry(&mut self, tag: u8, texts: &[&[u8]]) -> io::Result<()> {
        self.entries += 1;
        self.put(&[tag])?;
        texts.iter().try_for_each(|text| self.text(text))
    }

    fn text(&mut self, text: &[u8]) -> io::Result<()> {
        let length = u32::try_from(text.len())
            .ok()
            .filter(|length| *length <= LONGEST);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        self.put(&length.to_be_bytes())?;
        self.put(text)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Reads a backup from its head to its end, and believes none of it before that.
pub(super) struct Reader<'a> {
    path: &'a Path,
    input: BufReader<File>,
    sum: Context,
    /// Bytes before the sum.
    left: u64,
    total: u64,
    entries: u64,
    pub(super) head: Head,
}

impl<'a> Reader<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, CopyError> {
        let cannot = |source| CopyError::file("cannot read", path, source);
        let file = File::open(path).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        let total = metadata.len().saturating_sub(SUM);
        let mut reader = Self {
            path,
            input: BufReader::with_capacity(BUFFER, file),
            sum: Context::new(&SHA256),
            left: total,
            total,
            entries: 0,
            head: Head {
                made: Timestamp(0),
                version: String::new(),
                key_ids: String::new(),
            },
        };
        if !metadata.is_file() || reader.bytes::<16>().ok().as_ref() != Some(MARK) {
            return Err(reader.damaged("it does not begin as one does"));
        }
        let form = u16::from_be_bytes(reader.bytes()?);
        reader.head.made = Timestamp(i64::from_be_bytes(reader.bytes()?));
        reader.head.version = reader.string()?;
        if form != VERSION {
            return Err(reader.later());
        }
        reader.head.key_ids = reader.string()?;
        Ok(reader)
    }

    /// The next entry; none at the end, which is what was written.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, CopyError> {
        let [tag] = self.bytes()?;
        let entry = match tag {
            KEYS => Entry::Keys(Zeroizing::new(self.text()?)),
            PLAIN => Entry::Plain {
                name: self.string()?,
                content: self.text()?,
            },
            VALUE => Entry::Value {
                table: self.string()?,
                name: self.text()?,
                sealed: self.text()?,
            },
            END => return self.end().map(|()| None),
            _ => return Err(self.damaged("it holds what none holds")),
        };
        self.entries += 1;
        Ok(Some(entry))
    }

    /// Bytes that are read, of how many.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.total - self.left, self.total)
    }

    pub(super) fn damaged(&self, what: &'static str) -> CopyError {
        let path = self.path.display().to_string();
        CopyError::Damaged { path, what }
    }

    pub(super) fn later(&self) -> CopyError {
        CopyError::Later {
            path: self.path.display().to_string(),
            version: self.head.version.escape_default().to_string(),
        }
    }

    fn end(&mut self) -> Result<(), CopyError> {
        if u64::from_be_bytes(self.bytes()?) != self.entries || self.left != 0 {
            return Err(self.damaged("its length is not the one it had"));
        }
        let sum = self.sum.clone().finish();
        let mut stored = [0; 32];
        let read = self.input.read_exact(&mut stored);
        if read.is_err() || stored != sum.as_ref() {
            return Err(self.damaged("its checksum is not the one it had"));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<String, CopyError> {
        String::from_utf8(self.text()?).map_err(|_| self.damaged("a name in it is not text"))
    }

    fn text(&mut self) -> Result<Vec<u8>, CopyError> {
        let length = u32::from_be_bytes(self.bytes()?);
        if length > LONGEST || u64::from(length) > self.left {
            return Err(self.cut_short());
        }
        let mut text = vec![0; usize::try_from(length).unwrap_or(0)];
        self.fill(&mut text)?;
        Ok(text)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], CopyError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), CopyError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let Some(left) = self.left.checked_sub(length) else {
            return Err(self.cut_short());
        };
        self.left = left;
        self.input
            .read_exact(bytes)
            .map_err(|source| CopyError::file("cannot read", self.path, source))?;
        self.sum.update(bytes);
        Ok(())
    }

    fn cut_short(&self) -> CopyError {
        self.damaged("it is cut short")
    }
}

const MARK: &[u8; 16] = b"vspc-gw-backup\n\0";
const VERSION: u16 = 1;
const KEYS: u8 = b'k';
const PLAIN: u8 = b'f';
const VALUE: u8 = b'v';
const END: u8 = b'e';
/// Of SHA-256, in bytes.
const SUM: u64 = 32;
/// No text is longer, in bytes.
const LONGEST: u32 = 64 * 1024 * 1024;
const BUFFER: usize = 256 * 1024;
