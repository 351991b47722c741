//! Successive-cancellation (list) decoding.
