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
    /// A segment is not the subtree of a node.
    SegmentCut {
        /// The segment.
        index: usize,
        /// Its first position.
        start: usize,
        /// Its length, bits.
        length: usize,
        /// Smallest length.
        min: usize,
    },
    /// A position cannot be disclosed: it is no information position, is disclosed already, or lies in a decided segment.
    Undisclosable {
        /// The position.
        position: usize,
    },
    /// The stored state of a block was not begun by such a decoder, or has been changed.
    ForeignState {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Something is asked of a block whose decode does not stand there.
    Standing {
        /// What is asked.
        what: &'static str,
        /// The segment where the decode should stand.
        expected: usize,
        /// The segment where it does.
        got: usize,
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
            Error::SegmentCut { index, start, length, min } => write!(
                out,
                "segments: expected segment {index} to be a power of two from {min} on that divides its start {start}, got {length}"
            ),
            Error::Undisclosable { position } => write!(
                out,
                "positions: expected undisclosed information positions of segments that are not decided, got {position}"
            ),
            Error::ForeignState { what } => {
                write!(out, "states: expected a row that such a decoder has begun, got one with another {what}")
            }
            Error::Standing { what, expected, got } => {
                write!(out, "{what}: expected a decode that stands at segment {expected} at least, got one at {got}")
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
