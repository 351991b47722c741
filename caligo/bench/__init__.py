"""Measurement of this machine: how fast the decoder is here, as a user calls it.

Covers: the decoder's throughput, latency, memory and allocations (`caligo bench decoder`). Does not cover: error rates
with a stop rule (`caligo.simulation`), kernels one by one (`benchmarks/` and the crate's `benches/`).
"""

from caligo.bench.decoder import DecoderBenchmark, bench_decoder

__all__ = ["DecoderBenchmark", "bench_decoder"]
