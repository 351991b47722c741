//! LLR arithmetic and its saturation rules.
