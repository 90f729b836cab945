//! Counts what is taken from the heap by one thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

/// What was taken from the heap.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allocations {
    pub(crate) count: u64,
    pub(crate) bytes: usize,
}

/// Runs something often and tells what one run takes.
pub(crate) fn during<R>(mut run: impl FnMut() -> R) -> Allocations {
    const RUNS: u32 = 100;
    // What is made once is not what a run takes.
    drop(black_box(run()));
    let before = TAKEN.get();
    for _ in 0..RUNS {
        drop(black_box(run()));
    }
    let after = TAKEN.get();
    Allocations {
        count: (after.count - before.count) / u64::from(RUNS),
        bytes: (after.bytes - before.bytes) / RUNS as usize,
    }
}

struct Counting;

thread_local! {
    static TAKEN: Cell<Allocations> = const { Cell::new(Allocations { count: 0, bytes: 0 }) };
}

fn note(layout: Layout) {
    let taken = TAKEN.get();
    TAKEN.set(Allocations {
        count: taken.count + 1,
        bytes: taken.bytes + layout.size(),
    });
}

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe to write; this one hands every call to the system's"
)]
// SAFETY: every method passes its arguments, and so its duties, on to `System`. The count is in a
// thread-local cell without a destructor, so that to count takes nothing from the heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(layout);
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;
