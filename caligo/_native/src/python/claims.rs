//! Which array memory calls are using right now, so that no two calls write the same bytes.
//!
//! Does what the borrow registry of the `numpy` crate does, but without a heap allocation for every array: a decode does
//! not allocate, the call around it included. Claims are byte ranges; any number may share a range to read, one alone
//! may write. Not covered: Python code that writes an array while a call uses it, or moves its memory away by a
//! `resize(refcheck=False)`, which nothing can see.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Clone, Copy, PartialEq, Eq)]
struct Range {
    start: usize,
    end: usize,
    exclusive: bool,
}

static IN_USE: Mutex<Vec<Range>> = Mutex::new(Vec::new());

/// Claims that are held at once by far more threads than machines have; beyond it the list grows.
const EXPECTED_CLAIMS: usize = 2048;

fn in_use() -> MutexGuard<'static, Vec<Range>> {
    // A list of plain numbers is whole whatever a panicking holder was doing.
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes room for claims, so that claiming does not allocate. Called when the module is made.
pub fn prepare() {
    in_use().reserve(EXPECTED_CLAIMS);
}

/// The right to use a range of memory, until dropped.
pub struct Claim(Range);

impl Claim {
    /// Claims `bytes` bytes from `start`; `None` if another claim is in the way.
    pub fn new<T>(start: *const T, bytes: usize, exclusive: bool) -> Option<Self> {
        let start = start.addr();
        let range = Range { start, end: start.saturating_add(bytes), exclusive };
        if bytes > 0 {
            let mut in_use = in_use();
            let in_the_way =
                |other: &Range| (other.exclusive || exclusive) && other.start < range.end && range.start < other.end;
            if in_use.iter().any(in_the_way) {
                return None;
            }
            in_use.push(range);
        }
        Some(Self(range))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut in_use = in_use();
        if let Some(place) = in_use.iter().position(|range| *range == self.0) {
            in_use.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_and_a_writer_is_alone() {
        let memory = [0_u8; 64];
        let at = |offset: usize| memory.as_ptr().wrapping_add(offset);
        let first = Claim::new(at(0), 16, false);
        assert!(first.is_some());
        assert!(Claim::new(at(8), 16, false).is_some());
        assert!(Claim::new(at(8), 16, true).is_none());
        let writer = Claim::new(at(16), 16, true);
        assert!(writer.is_some());
        assert!(Claim::new(at(31), 1, false).is_none());
        assert!(Claim::new(at(32), 1, true).is_some());
        assert!(Claim::new(at(20), 0, true).is_some());
        drop(first);
        drop(writer);
        assert!(Claim::new(at(0), 64, true).is_some());
    }
}
