//! A file of fixed size in memory, which outlives the process.
//!
//! Its blocks are taken from the disk when it is made, so that a full disk never stops a write to
//! it. What can still take them away (somebody cuts the file, the device fails, the file system
//! becomes read-only) would end the process with SIGBUS: a handler puts an empty page in the place
//! instead and remembers that the file is [lost](Map::is_lost).

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use memmap2::{MmapOptions, MmapRaw};

/// A file in memory.
pub(super) struct Map {
    raw: MmapRaw,
    area: Option<&'static Area>,
}

impl Map {
    /// Gives an empty file its size and its blocks, and maps it.
    pub(super) fn make(mut file: &File, bytes: u64) -> io::Result<Self> {
        if let Err(error) = reserve(file, bytes) {
            if error.raw_os_error() != Some(libc::EOPNOTSUPP) {
                return Err(error);
            }
            let block = [0; 64 * 1024];
            let mut rest = bytes;
            while rest > 0 {
                let part = usize::try_from(rest).unwrap_or(block.len());
                file.write_all(block.get(..part).unwrap_or(&block))?;
                rest = rest.saturating_sub(block.len() as u64);
            }
        }
        let raw = MmapOptions::new().map_raw(file)?;
        let start = raw.as_ptr() as usize;
        let area = guard(start, start + raw.len());
        Ok(Self { raw, area })
    }

    /// The file's content, in words of this machine.
    pub(super) fn words(&self) -> &[AtomicU64] {
        let (start, len) = (self.raw.as_ptr().cast::<AtomicU64>(), self.raw.len() / 8);
        #[expect(
            unsafe_code,
            reason = "the mapping starts at a page, has `len` words, may be written and lives as \
                      long as `self`; all of it is reached through atomics alone, so that what \
                      another process writes to it is a race, but no undefined behaviour; an access \
                      beyond the file's end is answered by `on_bus`"
        )]
        unsafe {
            std::slice::from_raw_parts(start, len)
        }
    }

    /// Whether a part of the file could not be reached: what was written since is in memory only.
    pub(super) fn is_lost(&self) -> bool {
        self.area
            .is_some_and(|area| area.lost.load(Ordering::Relaxed))
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // Before the memory is given back: others may get it.
        if let Some(area) = self.area {
            area.end.store(0, Ordering::Release);
            area.start.store(0, Ordering::Release);
        }
    }
}

/// Takes blocks for a file from the disk, and makes it as long as that.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    #[expect(
        unsafe_code,
        reason = "the call takes numbers only, and the descriptor is open"
    )]
    let code = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) };
    match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// A part of memory whose faults are answered.
struct Area {
    start: AtomicUsize,
    end: AtomicUsize,
    lost: AtomicBool,
}

/// One process has one, and a second one for a moment; tests have more.
static AREAS: [Area; 64] = [const {
    Area {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        lost: AtomicBool::new(false),
    }
}; 64];

/// What dealt with SIGBUS before.
static BEFORE: OnceLock<Option<libc::sigaction>> = OnceLock::new();
static PAGE: AtomicUsize = AtomicUsize::new(4096);

/// Answers the faults of a part of memory from now on. Without a place or a handler they end the
/// process, as ever.
fn guard(start: usize, end: usize) -> Option<&'static Area> {
    BEFORE.get_or_init(install).as_ref()?;
    let order = Ordering::AcqRel;
    let taken = |area: &&Area| {
        area.start
            .compare_exchange(0, start, order, Ordering::Relaxed)
            .is_ok()
    };
    let area = AREAS.iter().find(taken)?;
    area.lost.store(false, Ordering::Relaxed);
    area.end.store(end, Ordering::Release);
    Some(area)
}

#[expect(
    unsafe_code,
    reason = "the structs are plain and live for the calls; the handler calls what may be called in \
              one, and keeps to memory that a `Map` has"
)]
fn install() -> Option<libc::sigaction> {
    unsafe {
        let page = libc::sysconf(libc::_SC_PAGESIZE);
        PAGE.store(usize::try_from(page).unwrap_or(4096), Ordering::Relaxed);
        let mut action: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_bus;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        let mut before: libc::sigaction = std::mem::zeroed();
        let done = libc::sigaction(libc::SIGBUS, &raw const action, &raw mut before);
        (done == 0).then_some(before)
    }
}

/// Puts an empty page where one of a [`Map`]'s is gone; leaves all else to who was here before.
#[expect(
    unsafe_code,
    reason = "the kernel passes a valid `siginfo_t`; the page that is replaced belongs to a `Map`, \
              which reaches it through atomics alone"
)]
extern "C" fn on_bus(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    let address = unsafe { (*info).si_addr() } as usize;
    let page = PAGE.load(Ordering::Relaxed);
    for area in &AREAS {
        let (start, end) = (&area.start, &area.end);
        let here = start.load(Ordering::Acquire)..end.load(Ordering::Acquire);
        if !here.contains(&address) {
            continue;
        }
        area.lost.store(true, Ordering::Relaxed);
        let mapped = unsafe {
            libc::mmap(
                (address & !(page - 1)) as *mut libc::c_void,
                page,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if mapped != libc::MAP_FAILED {
            return;
        }
    }
    // The access is repeated when this returns.
    if let Some(Some(before)) = BEFORE.get() {
        unsafe {
            libc::sigaction(signal, &raw const *before, std::ptr::null_mut());
        }
    }
}
