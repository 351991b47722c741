"""Key files: sifted keys in, reconciled keys out, always in bounded windows.

A reader knows the length of a key and reads any stretch of it as packed bits; a writer takes rows of any bit length and
makes the file appear, whole, when it is done. One file per format (`specs/key-files.md`): `packed` (raw bits in either
bit order), `npy` (one 0/1 value per element), `qcrypto` (type-3 packets, one an epoch) and `ait` (keystream records).
No key is ever loaded or mapped whole.

Covers: opening, reading, writing, comparing and simulating key files, and reading pre-shared keys. Does not cover:
what reconciliation makes of the bits, and final keys: what is written here is reconciled but not privacy-amplified.

The public names are loaded on first use: a rank of a job reads one format, and simulates no keys.

Key files are created readable by their owner alone (0600). Nothing here puts key bits into an error, a repr or a log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caligo.keys.ait import AitKeyReader, AitKeyWriter, AitRecord
    from caligo.keys.conversion import Conversion, convert_key
    from caligo.keys.files import prepare_output_directory
    from caligo.keys.inspection import KeyInspection, inspect_key
    from caligo.keys.interleaving import InterleavedKey, InterleavingWriter, interleaving_bytes
    from caligo.keys.npy import NpyKeyReader, NpyKeyWriter
    from caligo.keys.opening import FORMATS, KeyPair, create_key, open_key, open_pair
    from caligo.keys.packed import PackedKeyReader, PackedKeyWriter
    from caligo.keys.protocols import BitOrder, KeyFileReader, KeyReader, KeyWriter
    from caligo.keys.qcrypto import QcryptoKeyReader, QcryptoKeyWriter
    from caligo.keys.secret import read_secret
    from caligo.keys.simulated import Drift, SimulatedPair, simulate_pair
    from caligo.keys.windows import RemainingKey, copy_key, count_differing_bits, read_positions

__all__ = [
    "FORMATS",
    "AitKeyReader",
    "AitKeyWriter",
    "AitRecord",
    "BitOrder",
    "Conversion",
    "Drift",
    "InterleavedKey",
    "InterleavingWriter",
    "KeyFileReader",
    "KeyInspection",
    "KeyPair",
    "KeyReader",
    "KeyWriter",
    "NpyKeyReader",
    "NpyKeyWriter",
    "PackedKeyReader",
    "PackedKeyWriter",
    "QcryptoKeyReader",
    "QcryptoKeyWriter",
    "RemainingKey",
    "SimulatedPair",
    "convert_key",
    "copy_key",
    "count_differing_bits",
    "create_key",
    "inspect_key",
    "interleaving_bytes",
    "open_key",
    "open_pair",
    "prepare_output_directory",
    "read_positions",
    "read_secret",
    "simulate_pair",
]

_HOME = {
    "AitKeyReader": "ait",
    "AitKeyWriter": "ait",
    "AitRecord": "ait",
    "BitOrder": "protocols",
    "Conversion": "conversion",
    "Drift": "simulated",
    "FORMATS": "opening",
    "InterleavedKey": "interleaving",
    "InterleavingWriter": "interleaving",
    "KeyFileReader": "protocols",
    "KeyInspection": "inspection",
    "KeyPair": "opening",
    "KeyReader": "protocols",
    "KeyWriter": "protocols",
    "NpyKeyReader": "npy",
    "NpyKeyWriter": "npy",
    "PackedKeyReader": "packed",
    "PackedKeyWriter": "packed",
    "QcryptoKeyReader": "qcrypto",
    "QcryptoKeyWriter": "qcrypto",
    "RemainingKey": "windows",
    "SimulatedPair": "simulated",
    "convert_key": "conversion",
    "copy_key": "windows",
    "count_differing_bits": "windows",
    "create_key": "opening",
    "inspect_key": "inspection",
    "interleaving_bytes": "interleaving",
    "open_key": "opening",
    "open_pair": "opening",
    "prepare_output_directory": "files",
    "read_positions": "windows",
    "read_secret": "secret",
    "simulate_pair": "simulated",
}
"""Public name -> the module of this package that defines it."""


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'caligo.keys' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"caligo.keys.{home}"), name)
    globals()[name] = value
    return value
