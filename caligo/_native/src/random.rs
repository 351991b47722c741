//! The counter-based generator of specs/randomness.md.
