//! A global allocator that counts, so that "no allocation in a decode" can be measured on the shipped extension.
//!
//! The count is per thread and costs one thread-local addition per allocation. Memory comes from the system allocator,
//! unchanged. Not counted: what Python and NumPy allocate for themselves.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system allocator with a counter in front.
pub struct CountingAllocator;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Heap allocations and reallocations the calling thread has made in this crate so far.
pub fn count() -> u64 {
    COUNT.with(Cell::get)
}

fn count_one() {
    COUNT.with(|count| count.set(count.get().wrapping_add(1)));
}

// SAFETY: every method passes its arguments unchanged to `System`, which fulfils the contract; the counter is a plain
// thread-local without destructor or lazy initialisation, so touching it neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller's contract is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_one();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}
