"""Figures of runs with their intervals, runs against each other, and runs over time."""
