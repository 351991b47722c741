"""Two sifted keys in, two equal keys and a leakage account out.

Covers: codecs (one block: syndrome and decoding), strategies, the parties' state machines, verification, leakage. Does
not cover: files, transports, records of runs.
"""

from __future__ import annotations
