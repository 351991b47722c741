"""The audit ledger: an append-only Merkle log of everything that was sealed and decided, and its proofs."""
