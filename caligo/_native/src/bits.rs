//! Packed-bit primitives.
