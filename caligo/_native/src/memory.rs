//! Asking for memory: a refusal is an error, not the end of the process.
//!
//! What is large is made of many parts, and a part that the allocator refuses ends the process. So the sum of the parts is
//! asked for first, an eighth more for what lies between the parts, and given back. Not covered: memory that somebody else takes in between.

use crate::error::{Error, Result};
use std::hint::black_box;

/// Whether the allocator has `bytes` bytes, in parts.
///
/// # Errors
/// [`Error::Memory`] if it does not.
pub(crate) fn ask(bytes: usize) -> Result<()> {
    let mut whole = Vec::<u8>::new();
    whole.try_reserve_exact(bytes + bytes / 8).map_err(|_| Error::Memory { bytes })?;
    // The optimiser may leave out memory that nobody looks at.
    drop(black_box(whole));
    Ok(())
}
