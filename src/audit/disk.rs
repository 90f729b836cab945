//! The operations on files that can fail while everything else works, and the lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tokio::time::{Duration, Instant};

/// Many times what a commit of another process takes.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// What a disk does to the log. Tests put a failing one in its place.
pub(super) trait Disk: Send {
    /// Appends some of `bytes`; says how many.
    fn write(&mut self, file: &File, bytes: &[u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at a place of a file that is not only appended to.
    fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes all that was written to the file durable, whoever wrote it.
    fn sync(&mut self, file: &File) -> io::Result<()>;

    /// Cuts the file to `len` bytes.
    fn cut(&mut self, file: &File, len: u64) -> io::Result<()>;

    /// Gives a file its name, in place of what has it, and makes the name durable.
    fn publish(&mut self, from: &Path, to: &Path) -> io::Result<()>;
}

/// The machine's own disk.
pub(super) struct Real;

impl Disk for Real {
    fn write(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        file.write(bytes)
    }

    fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn cut(&mut self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn publish(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        match to.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// Writes all of `bytes`.
pub(super) fn write_all(disk: &mut dyn Disk, file: &File, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match disk.write(file, rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How files of the log are opened: by the owner only, and never written but at the end. Links are
/// not followed: a command of the superuser goes where the directory's owner can lay them.
pub(super) fn owned() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW);
    options
}

/// What a file is, whatever its name.
pub(super) fn identity(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn lock_in_time(file: &File) -> io::Result<()> {
    let began = Instant::now();
    let mut pause = Duration::from_micros(50);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(error);
            }
            Err(_) if began.elapsed() > LOCK_WAIT => {
                let message = "another process has held it for seconds: is it stopped?";
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// The file whose lock lets one writer at a time touch the log, over all processes.
///
/// It grows by one byte before any process begins a segment, so that the others see in its length
/// when the directory has to be read again.
pub(super) struct Lock {
    path: PathBuf,
    file: File,
    seen: u64,
}

impl Lock {
    /// Opens or makes the lock file of a directory.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("lock");
        let file = owned().create(true).open(&path)?;
        Ok(Self {
            path,
            file,
            seen: 0,
        })
    }

    /// Waits for the lock, not for long: a process that holds it is stopped or hangs. Says whether
    /// segments may have begun since it was last held.
    pub(super) fn acquire(&mut self) -> io::Result<bool> {
        let mut replaced = false;
        loop {
            lock_in_time(&self.file)?;
            let held = self.file.metadata()?;
            match fs::metadata(&self.path) {
                Ok(named) if identity(&named) == identity(&held) => {
                    let grown = held.len() != self.seen;
                    self.seen = held.len();
                    return Ok(grown || replaced);
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                // A lock on a file that others cannot find by its name excludes nobody.
                _ => self.file = owned().create(true).open(&self.path)?,
            }
            replaced = true;
        }
    }

    /// Lets others in. Harmless when the lock is not held.
    pub(super) fn release(&self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "cannot release the audit lock");
        }
    }

    /// Tells the others that a segment is about to begin.
    pub(super) fn announce(&mut self) -> io::Result<()> {
        (&self.file).write_all(b".")?;
        self.seen += 1;
        Ok(())
    }
}
