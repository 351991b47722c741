"""Every exception caligo raises on purpose, and the exit code of each family.

Covers: the tree, pickling, exit codes. Does not cover: outcomes. A block that cannot be decoded is an outcome and is
reported, never raised.

Each error says what was expected, what came, and what to do; it carries the same as fields. Key bits never enter one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Exit codes of the command line; one table, repeated in ``docs/cli.md``."""

    COMPLETED = 0
    INTERNAL = 1
    USAGE = 2
    BLOCKS_FAILED = 3
    BAD_INPUT = 4
    UNDETECTED_ERROR = 5
    RESOURCE = 6
    PROTOCOL = 7
    STORE = 8
    CLUSTER = 9
    GATE_FAILED = 10
    RESUMABLE = 75
    INTERRUPTED = 130


def _rebuild(cls: type[CaligoError], message: str, fields: dict[str, Any]) -> CaligoError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.message = message
    error.fields = fields
    return error


class CaligoError(Exception):
    """Root of the tree.

    Args:
        message: expected, got and remedy, in one or two sentences.
        fields: the same as machine-readable values; never key material.
    """

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.fields)


class ConfigError(CaligoError, ValueError):
    """A parameter is outside its range or contradicts another."""

    exit_code = ExitCode.USAGE


class ShapeError(CaligoError, ValueError):
    """An array has the wrong shape, dtype, layout or alphabet, or two keys differ in length."""

    exit_code = ExitCode.BAD_INPUT


class KeyFileError(CaligoError):
    """A key file is missing, empty, truncated, or not what its format says."""

    exit_code = ExitCode.BAD_INPUT


class BenchmarkFileError(CaligoError):
    """A benchmark file is missing, or not what pytest-benchmark writes."""

    exit_code = ExitCode.BAD_INPUT


class ResourceError(CaligoError):
    """The machine cannot give what the work needs."""

    exit_code = ExitCode.RESOURCE


class MemoryBudgetError(ResourceError):
    """The work does not fit its memory budget; the message says what would."""


class NativeUnavailableError(CaligoError, ImportError):
    """The compiled extension is not built, or is not the one this source expects."""

    exit_code = ExitCode.RESOURCE


class ProtocolError(CaligoError):
    """A peer's message is malformed, out of order, or not for this session."""

    exit_code = ExitCode.PROTOCOL


class LeakageCapError(ProtocolError):
    """More would have to be disclosed than a cap allows; its fields have the account."""


class ConnectionLostError(ProtocolError):
    """The peer cannot be reached, or no longer."""


class ConnectionSpoiledError(ConnectionLostError):
    """A connection carries what the peer did not say: another connection may do better."""


class SuspendedError(ConnectionLostError):
    """The peer is gone; the same command goes on with the state that was kept."""

    exit_code = ExitCode.RESUMABLE


class AuthenticationError(ProtocolError):
    """The two sides have different secrets, or authenticate differently."""


class StoreError(CaligoError):
    """The experiment store refuses: missing, unwritable, or damaged."""

    exit_code = ExitCode.STORE


class DamagedFrameError(StoreError):
    """What a job had done before is not what was written; its fields say where, and it is done anew."""


class SchemaVersionError(StoreError):
    """The store was written by a newer caligo."""


class StandingError(StoreError):
    """A run cannot be judged so from where it stands; its fields say where that is."""


class LedgerCorruptError(StoreError):
    """The audit ledger does not prove what it claims."""


class SigningKeyError(StoreError):
    """A signing key is missing, open to others, damaged, of another kind, or not to be used any more."""


class SignatureError(StoreError):
    """A signature is not of a key that is trusted for it; its fields say which key, and why."""


class BundleError(StoreError):
    """A bundle is not what was signed, or not a bundle."""


class ClusterError(CaligoError):
    """Ranks, launcher and scheduler do not fit together."""

    exit_code = ExitCode.CLUSTER
