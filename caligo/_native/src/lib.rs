//! Polar codes for information reconciliation.
//!
//! The crate computes one thing: given Bob's word and what Alice disclosed, the most likely word of Alice.
//! Its rooms, in the order in which a block passes through them:
//!
//! - [`bits`]: packed-bit primitives; every key is a row of 64-bit words, first bit lowest.
//! - [`transform`]: the polar transform, which is the encoder and the syndrome in one.
//! - [`checksum`]: CRCs (error detection) and the universal hash (verification).
//! - [`design`]: which synthetic channels are reliable, for a given channel.
//! - [`code`]: a validated code: block length, information set, list size, check.
//! - [`decoder`]: successive cancellation and its list version, over the kernels of [`simd`] and the arithmetic of [`llr`].
//! - [`dispatch`]: one plain body, compiled for several instruction sets.
//! - [`random`]: the counter-based generator of `specs/randomness.md`.
//! - `python`: the extension module `caligo._native._core`, the only place that knows Python.
//!
//! What every rule is, to the bit, is written in `specs/rust-polar-crate.md`.

pub mod bits;
pub mod checksum;
pub mod code;
pub mod decoder;
pub mod design;
pub mod dispatch;
pub mod error;
pub mod llr;
mod memory;
pub mod random;
pub mod simd;
pub mod transform;

#[cfg(feature = "python")]
mod python;
