"""Keys, trust, and signed bundles of runs."""
