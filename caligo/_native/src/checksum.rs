//! CRCs and the universal hash.
