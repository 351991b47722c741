//! Everything that can be wrong with a caller's input, as fields.
//!
//! Not covered: a block that cannot be decoded; that is an outcome of decoding, never an error.

use std::fmt;

/// What a caller got wrong. `src/python/error.rs` turns each variant into one Python exception.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A block length is not a power of two within the supported range.
    BlockLength {
        /// The length asked for, bits.
        got: usize,
        /// Smallest supported length.
        min: usize,
        /// Largest supported length.
        max: usize,
    },
    /// A list size is not one of 1, 2, 4, 8, 16, 32.
    ListSize {
        /// The list size asked for.
        got: usize,
    },
    /// The list sizes to try first do not increase, or do not stay below the list size.
    Escalation {
        /// The sizes asked for.
        got: Vec<usize>,
        /// The list size they lead to.
        list_size: usize,
    },
    /// What was asked for needs a check that says whether a block failed, and the code has none.
    CheckRequired {
        /// Which argument.
        what: &'static str,
    },
    /// A segment length is not a power of two within the range of its block.
    SegmentLength {
        /// The length asked for, bits.
        got: usize,
        /// Smallest length.
        min: usize,
        /// Largest length, half the block.
        max: usize,
    },
    /// An array has the wrong number of elements.
    Length {
        /// Which argument.
        what: &'static str,
        /// Elements expected.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// A number is outside its range (bounds inclusive).
    OutOfRange {
        /// Which argument.
        what: &'static str,
        /// The value given.
        got: f64,
        /// Lower bound.
        min: f64,
        /// Upper bound.
        max: f64,
    },
    /// A name is not one of those known.
    UnknownName {
        /// Which argument.
        what: &'static str,
        /// The name given.
        got: String,
        /// The names known.
        known: &'static [&'static str],
    },
    /// The engine exists but this CPU lacks what it needs.
    EngineUnavailable {
        /// The engine asked for.
        engine: &'static str,
    },
    /// The machine has no room for a workspace.
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// A bit that must be zero is set (padding, a frozen value outside the frozen set, a shortened position).
    StrayBits {
        /// Which argument.
        what: &'static str,
        /// First offending bit position.
        position: usize,
    },
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::BlockLength { got, min, max } => {
                write!(out, "block_length: expected a power of two from {min} to {max}, got {got}")
            }
            Error::ListSize { got } => write!(out, "list_size: expected 1, 2, 4, 8, 16 or 32, got {got}"),
            Error::Escalation { got, list_size } => {
                write!(out, "escalation: expected increasing list sizes, at most {list_size}, got {got:?}")
            }
            Error::CheckRequired { what } => {
                write!(out, "{what}: expected a code with a check, which says when a block failed, got check none")
            }
            Error::SegmentLength { got, min, max } => {
                write!(out, "segment_length: expected a power of two from {min} to {max}, got {got}")
            }
            Error::Length { what, expected, got } => write!(out, "{what}: expected {expected} elements, got {got}"),
            Error::OutOfRange { what, got, min, max } => {
                write!(out, "{what}: expected a value from {min} to {max}, got {got}")
            }
            Error::UnknownName { what, got, known } => {
                write!(out, "{what}: expected one of {}, got {got:?}", known.join(", "))
            }
            Error::EngineUnavailable { engine } => {
                write!(out, "engine: this CPU cannot run {engine:?}; leave the engine unset to use the best available")
            }
            Error::Memory { bytes } => write!(out, "memory: {bytes} bytes were refused by the allocator"),
            Error::StrayBits { what, position } => write!(out, "{what}: bit {position} must be zero"),
        }
    }
}

impl std::error::Error for Error {}
