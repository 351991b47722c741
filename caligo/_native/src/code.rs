//! Validated code parameters.
