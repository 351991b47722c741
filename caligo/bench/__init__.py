"""Measurement of this machine, and of strategies on given keys.

Covers: the decoder's throughput, latency, memory and allocations (`caligo bench decoder`), and a table of them over
several codes (`--sweep`); two installations in turns (`caligo bench turns`); all strategies and Cascade on the same
keys (`caligo compare-strategies`). Does not cover: error rates with a stop rule (`caligo.simulation`), kernels one by
one (`benchmarks/` and the crate's `benches/`).
"""

from caligo.bench.comparison import ComparedStrategy, StrategyComparison, compare_strategies, contestant_names
from caligo.bench.comparison_plot import plot_comparison
from caligo.bench.decoder import DecoderBenchmark, bench_decoder
from caligo.bench.sweep import SweepRow, bench_sweep, plot_sweep, require_plot
from caligo.bench.turns import PairedRuns, Side, measure_in_turns

__all__ = [
    "ComparedStrategy",
    "DecoderBenchmark",
    "PairedRuns",
    "Side",
    "StrategyComparison",
    "SweepRow",
    "bench_decoder",
    "bench_sweep",
    "compare_strategies",
    "contestant_names",
    "measure_in_turns",
    "plot_comparison",
    "plot_sweep",
    "require_plot",
]
