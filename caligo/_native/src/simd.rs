//! Engines and the one place that chooses between them.
