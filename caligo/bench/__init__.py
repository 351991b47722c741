"""Measurement of this machine: how fast the decoder is here, as a user calls it.

Covers: the decoder's throughput, latency, memory and allocations (`caligo bench decoder`), and a table of them over
several codes (`--sweep`). Does not cover: error rates
with a stop rule (`caligo.simulation`), kernels one by one (`benchmarks/` and the crate's `benches/`).
"""

from caligo.bench.decoder import DecoderBenchmark, bench_decoder
from caligo.bench.sweep import SweepRow, bench_sweep, plot_sweep, require_plot

__all__ = ["DecoderBenchmark", "SweepRow", "bench_decoder", "bench_sweep", "plot_sweep", "require_plot"]
