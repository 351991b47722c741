"""Baselines, gates, alerts and hooks: what must not get worse."""
