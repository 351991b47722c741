"""Monte-Carlo frame error rates.

Covers: random frames over a channel, their outcomes, stop rules, counts that add up. Does not cover: recording (the
command line and jobs do that), key files, reconciliation protocols.
"""

from __future__ import annotations

from caligo.simulation.channels import AwgnChannel, BscChannel, Channel, Frames, design_for_channel, sample_frames
from caligo.simulation.frame_errors import (
    FrameBatch,
    Outcome,
    Simulation,
    SimulationResult,
    batch_frames,
    simulate,
)

__all__ = [
    "AwgnChannel",
    "BscChannel",
    "Channel",
    "FrameBatch",
    "Frames",
    "Outcome",
    "Simulation",
    "SimulationResult",
    "batch_frames",
    "design_for_channel",
    "sample_frames",
    "simulate",
]
