//! The polar transform.
