//! Asking for memory: a refusal is an error, not the end of the process.
//!
//! A part that the allocator refuses ends the process. So each large one is asked for first, and given back; what is made
//! of many parts is [`watched`]. Not covered: memory that somebody else takes in between.

use crate::error::{Error, Result};
use std::cell::Cell;
use std::hint::black_box;

thread_local! {
    /// Bytes of the first part that was refused.
    static REFUSED: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Whether the allocator has `bytes` bytes.
///
/// # Errors
/// [`Error::Memory`] if it does not.
pub(crate) fn ask(bytes: usize) -> Result<()> {
    let mut whole = Vec::<u8>::new();
    whole.try_reserve_exact(bytes).map_err(|_| Error::Memory { bytes })?;
    // The optimiser may leave out memory that nobody looks at.
    drop(black_box(whole));
    Ok(())
}

/// Whether the allocator has `bytes` bytes for a part of something that is [`watched`].
pub(crate) fn ask_part(bytes: usize) -> bool {
    let granted = ask(bytes).is_ok();
    if !granted && REFUSED.get().is_none() {
        REFUSED.set(Some(bytes));
    }
    granted
}

/// What `make` makes of parts, none of which may have been refused.
///
/// # Errors
/// Those of `make`; [`Error::Memory`] if a part was refused.
pub(crate) fn watched<R>(make: impl FnOnce() -> Result<R>) -> Result<R> {
    REFUSED.set(None);
    let made = make()?;
    match REFUSED.take() {
        None => Ok(made),
        Some(bytes) => Err(Error::Memory { bytes }),
    }
}

/// Room for `count` elements, no more.
///
/// # Errors
/// [`Error::Memory`].
pub(crate) fn reserved<E>(count: usize) -> Result<Vec<E>> {
    let mut elements = Vec::new();
    elements.try_reserve_exact(count).map_err(|_| Error::Memory { bytes: count.saturating_mul(size_of::<E>()) })?;
    Ok(elements)
}
