"""One party's job: a key file, a peer somewhere else, a reconciled key and a recorded run.

Covers: the whole way of one side, over a transport (`reconcile_party`), or for a program that has its own channel, loop
of events and threads (`Party`). Does not cover: both sides in one process (:mod:`.reconcile_job`), what is said
(:mod:`caligo.reconciliation`), threads and connections (:mod:`.conversation`), the report (:mod:`.party_report`).

This job holds one key. Nothing it reports about the other is more than the messages say: Bob knows how many bits he
corrected, Alice does not.

Order of events: the key is opened; Alice draws the public random values and persists them in her run's record; both
sides agree on terms, sample, plan; blocks follow; what is verified is written; when both have said that they are done,
the reconciled key is put in place and the run is sealed. Bob's run begins when the plan is agreed, since it records
Alice's random values.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from caligo.bits import Packed, packed_bytes
from caligo.channel import Qbers, mean_qber
from caligo.codes import PolarCode
from caligo.codes.validation import validate_count
from caligo.errors import CaligoError, ConfigError, ConnectionLostError, ProtocolError, SuspendedError
from caligo.jobs.accounting import exchanged_messages
from caligo.jobs.advice import advise_on_failures
from caligo.jobs.conversation import Conversation, abort_reason, ends_for_good
from caligo.jobs.drift import further_code
from caligo.jobs.options import ReconcileOptions
from caligo.jobs.party_report import PartyReport
from caligo.jobs.plan import Layout, default_block_length, plan_layout
from caligo.jobs.report import CodeUse
from caligo.jobs.runner import interrupts_deferred, worker_pool
from caligo.jobs.sources import KeySource, open_source, source_name
from caligo.jobs.state_file import StateFile
from caligo.jobs.threads import plan_threads
from caligo.keys import (
    BitOrder,
    InterleavedKey,
    KeyReader,
    KeyWriter,
    RemainingKey,
    create_key,
    prepare_output_directory,
    read_positions,
)
from caligo.memory import (
    dialogue_block_bytes,
    dialogue_window,
    memory_limit,
    peak_rss_bytes,
)
from caligo.randomness import SecurityRandomness, interleaving_seed, sampled_positions
from caligo.reconciliation.authentication import Authentication
from caligo.reconciliation.endpoint import Endpoint
from caligo.reconciliation.estimation import (
    QberEstimate,
    default_sample_bits,
    design_qbers_for,
    leakage_account,
)
from caligo.reconciliation.leakage import Leakage, efficiency
from caligo.reconciliation.messages import Role, Seeds, Settlement, Terms
from caligo.reconciliation.session import (
    MAX_WINDOW,
    AliceSession,
    BlockAccount,
    BobSession,
    GroupSettled,
    PlanAgreed,
    Section,
    Work,
)
from caligo.reconciliation.strategies import DEFAULT_TARGET_FER, CodeRequest, strategy_type
from caligo.reconciliation.strategies.dialogue import BobSide, Side, Step
from caligo.reconciliation.strategies.retrying import RetryingAlice, RetryingBob
from caligo.reconciliation.verification import MINIMUM_GROUP_BITS, Payload
from caligo.states import KeyState
from caligo.store import RunWriter
from caligo.telemetry import NO_PROGRESS, Progress
from caligo.transports import Transport

__all__ = ["Party", "PartyOptions", "reconcile_party"]

MAX_SESSION_SAMPLE_BITS = 1 << 24
"""A sample is one message."""

_MOST_RECONNECTIONS = 1 << 20
_FINGERPRINT_BITS = 1 << 24
_SEEDS = ("sampling_seed", "hash_key")


@dataclass(frozen=True, slots=True)
class PartyOptions:
    """What can be asked of a party, beside what both sides must want alike (`ReconcileOptions`).

    Args:
        window: most blocks in flight; None: as many as an eighth of the memory holds
            (`caligo.memory.dialogue_window`). The smaller of both sides' holds.
        timeout_s: longest silence of the peer, and longest wait for it, > 0.
        reconnections: how often a lost connection is opened again, >= 0.

    Raises:
        ConfigError: a value outside its range.
    """

    window: int | None = None
    timeout_s: float = 60.0
    reconnections: int = 10

    def __post_init__(self) -> None:
        if self.window is not None:
            validate_count(self.window, "window", 1, MAX_WINDOW)
        if not 0.0 < self.timeout_s < float("inf"):
            raise ConfigError(f"timeout: expected a number of seconds > 0, got {self.timeout_s!r}", got=self.timeout_s)
        validate_count(self.reconnections, "reconnections", 0, _MOST_RECONNECTIONS)


def reconcile_party(
    role: Literal["alice", "bob"],
    key: KeySource,
    transport: Transport,
    *,
    authentication: Authentication,
    options: ReconcileOptions | None = None,
    party: PartyOptions | None = None,
    key_bits: int | None = None,
    format: str | None = None,
    bit_order: BitOrder = "little",
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    store: str | os.PathLike[str] | None = None,
    state: str | os.PathLike[str] | None = None,
    progress: Progress = NO_PROGRESS,
) -> PartyReport:
    """Make this side's key equal to the peer's, and account for what that discloses.

    Args:
        role: which side this is.
        key: packed uint8 `[ceil(key_bits / 8)]`, or the path of a key file.
        transport: the way to the peer; left open.
        authentication: how messages are sealed; alike on both sides.
        options: what to do, without a `seed`; all but `threads`, `engine`, `precision` and `escalation` alike on both
            sides.
        party: the rest.
        key_bits: length of the key when it is not a multiple of 8; None: all bits.
        format: format of the key file; None: by its name.
        bit_order: of packed key files, read and written; arrays are always little.
        out: directory for the reconciled key, ``alice.bin`` or ``bob.bin``; None: it is not written.
        force: replace such a file.
        store: experiment store to record the run in; None: it is not recorded.
        state: file to keep the session's state in (key material, mode 0600); if it is there already, this side goes on
            where the process that wrote it stopped. Removed at the end. None: nothing is kept.
        progress: told of every block that is done.

    Returns:
        The report; it has the reconciled key when the key came as an array and `out` is None.

    Raises:
        ConfigError: a parameter is out of range, or the output is there already.
        KeyFileError: the key file is missing, empty, damaged or too short, or the keys are not two sides of one key.
        ProtocolError: the peer wants other terms, breaks a rule, gives up, or a leakage cap is reached.
        AuthenticationError: the peer has another secret, or none.
        ConnectionLostError: the peer cannot be reached, or says nothing for too long.
        ConnectionSpoiledError: one connection after the other carries what the peer did not say.
        SuspendedError: either of these two, and the state is kept.
        ResourceError: memory or disk is exhausted.
        StoreError: the run cannot be recorded.
    """
    with Party(
        role,
        key,
        authentication=authentication,
        options=options,
        party=party,
        key_bits=key_bits,
        format=format,
        bit_order=bit_order,
        out=out,
        force=force,
        store=store,
        state=state,
        progress=progress,
    ) as job:
        job.converse(transport)
        return job.conclude()


def _draw() -> Seeds:
    """A session's public random values."""
    randomness = SecurityRandomness.draw()
    return Seeds(randomness.sampling_seed, randomness.hash_key)


def _fingerprint(reader: KeyReader, salt: bytes) -> str:
    """Tells keys apart; as secret as the file that it is kept in."""
    hashed = hmac.new(salt, digestmod="sha256")
    for start in range(0, reader.key_bits, _FINGERPRINT_BITS):
        hashed.update(reader.read_bits(start, min(_FINGERPRINT_BITS, reader.key_bits - start)).tobytes())
    return hashed.hexdigest()


def _output(directory: Path, role: str, bit_order: BitOrder, force: bool) -> KeyWriter:
    """The file of this side alone: the other's may be in the same directory."""
    prepare_output_directory(directory, force=True)
    path = directory / f"{role}.bin"
    if path.exists() and not force:
        raise ConfigError(
            f"expected no {path}, found one; name another directory or add --force (force=True), which replaces it",
            path=str(path),
        )
    return create_key(path, format="packed", bit_order=bit_order)


class _SiftedKey:
    """A key file as a session wants it."""

    def __init__(self, reader: KeyReader) -> None:
        self._reader = reader
        self.key_bits = reader.key_bits

    def sample(self, sampling_seed: bytes, sample_bits: int) -> Packed:
        """See `caligo.reconciliation.session.Key.sample`."""
        positions = sampled_positions(sampling_seed, self.key_bits, sample_bits)
        disclosed = read_positions(self._reader, positions)
        self._reader = RemainingKey(self._reader, positions)
        return disclosed

    def interleave(self, sampling_seed: bytes) -> None:
        """Permute what remains, publicly; the reconciled key stays in that order."""
        self._reader = InterleavedKey(self._reader, interleaving_seed(sampling_seed))

    def block(self, start_bit: int, payload_length: int, block_length: int) -> NDArray[np.uint8]:
        """See `caligo.reconciliation.session.Key.block`."""
        row = np.zeros(max(1, block_length // 8), dtype=np.uint8)
        row[: packed_bytes(payload_length)] = self._reader.read_bits(start_bit, payload_length)
        return row


class Party:
    """One side as a state machine, from an opened key to a report: frames in, frames out, work to be done anywhere.

    For a program that has its own channel, loop of events and threads. What is to be sent comes out of `take_frames`;
    each frame is given to the peer's `receive` whole, once and in order. `next_work` gives Bob's decoding, which any
    thread may run; all else is for one thread at a time. When both sides are done, `is_closed` says so, and `conclude`
    gives the report. A context manager: whatever leaves it before `conclude` leaves no key behind.

    There is no clock here: how long to wait, when to `keep_alive`, and when to `connect` again after a loss is the
    program's to say.

    Args:
        role: which side this is.
        key: as of `reconcile_party`, and so are all others.
        authentication: how messages are sealed.
        options: what to do.
        party: the rest; `timeout_s` and `reconnections` are for whoever carries frames.
        key_bits: length of the key.
        format: format of the key file.
        bit_order: of packed key files.
        out: directory for the reconciled key.
        force: replace a file there.
        store: experiment store.
        state: file to keep the session's state in.
        progress: told of every block that is done.

    Raises:
        ConfigError: a parameter is out of range, the output is there already, or the state is of another session.
        KeyFileError: the key file is missing, empty, damaged or too short, or the state cannot be had.
        StoreError: the run cannot be recorded.
    """

    def __init__(
        self,
        role: Literal["alice", "bob"],
        key: KeySource,
        *,
        authentication: Authentication,
        options: ReconcileOptions | None = None,
        party: PartyOptions | None = None,
        key_bits: int | None = None,
        format: str | None = None,
        bit_order: BitOrder = "little",
        out: str | os.PathLike[str] | None = None,
        force: bool = False,
        store: str | os.PathLike[str] | None = None,
        state: str | os.PathLike[str] | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> None:
        self._started = time.perf_counter()
        self.role = role
        self.options = options = options or ReconcileOptions()
        self.party = party = party or PartyOptions()
        if role not in ("alice", "bob"):
            raise ConfigError(f"role: expected alice or bob, got {role!r}", got=str(role))
        if options.seed is not None:
            raise ConfigError("seed: expected none, since two parties draw their random values, got one; leave it out")
        if options.follow_drift:
            raise ConfigError(
                "expected no follow_drift, which two machines do not do, got it; leave it out",
                follow_drift=options.follow_drift,
            )
        self._store = store
        self._progress = progress
        self._authentication = authentication
        self._out = None if out is None else Path(out).absolute()
        self._output: KeyWriter | None = None
        self._in_place = False
        self._run: RunWriter | None = None
        self._plan: PlanAgreed | None = None
        self._discarded_bits = 0
        self._threads_wanted = options.threads or len(os.sched_getaffinity(0))
        self._threads = self._threads_wanted
        self._decode_ns = self._coded_bits = 0
        self._concluded_blocks = 0
        self._errors_ok = self._leakage_ok = 0
        self._spoiled = 0
        with ExitStack() as stack:
            reader = stack.enter_context(open_source(key, f"{role.title()}'s key", key_bits, format, bit_order))
            self._key_bits = reader.key_bits
            self._asked = {**asdict(options), **asdict(party), "role": role, "key": source_name(key)}
            self._asked |= {"key_bits": reader.key_bits, "bit_order": bit_order, "authentication": authentication.name}
            self._asked["out"] = None if self._out is None else os.fspath(self._out)
            del self._asked["seed"]
            self._kept = Payload() if out is None and self._asked["key"] == "array in memory" else None
            self._block_length = options.block_length or default_block_length(reader.key_bits)
            self._sifted = _SiftedKey(reader)
            self._stack = stack
            self._state = None if state is None else stack.enter_context(StateFile(state))
            self._session = self._begin(self._terms(), reader)
            self._endpoint = Endpoint(
                self._session, authentication, on_event=self._note, on_closed=self._put_in_place, journal=self._state
            )
            if self._out is not None:
                self._output = _output(self._out, role, bit_order, force)
                stack.callback(self._output.abort)
            stack.callback(progress.finish)
            if self._state is not None:
                self._endpoint.restore(self._state.past(), self._state.settled())
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._say_what_is_spent(error)
            if self._state is not None and ends_for_good(error) and not self._session.met_another:
                self._state.remove()
        self._stack.__exit__(kind, error, trace)

    def _say_what_is_spent(self, error: BaseException) -> None:
        """A key that bits were disclosed of is not as it was, though no record of a whole session says so."""
        if self._in_place:
            error.add_note("both sides were done by then, and the reconciled key is in place")
            return
        leakage = self._session.totals.leakage
        sampled_bits = self._session.sampled_bits
        if not leakage.leakage_bits and not sampled_bits:
            return
        both_ways = leakage.leakage_bits_both_ways
        spent = (
            f"{leakage.leakage_bits:,} bits about this key were disclosed ({both_ways:,} both ways"
            + ("" if self.role == "alice" else "; Alice knows of any that did not arrive")
            + (f"), and {sampled_bits:,} of its bits as a sample; " if sampled_bits else "); ")
            + ("" if self._state is None or ends_for_good(error) else "go on with the state that is kept, or ")
            + "throw the key away, or subtract all of this too from what another session makes of it"
            + "; no reconciled key was kept, even if the record has blocks that were confirmed"
        )
        error.add_note(spent)
        if isinstance(error, CaligoError):
            error.fields |= {"leakage_bits": leakage.leakage_bits, "leakage_bits_both_ways": both_ways}
            error.fields |= {"sampled_bits": sampled_bits}
        if self._run is not None and self._run.ended is None:
            with suppress(CaligoError):
                self._run.interrupt(spent, error)

    def __repr__(self) -> str:
        return f"Party({self._session!r})"

    @property
    def is_closed(self) -> bool:
        """Whether both sides have said that they are done, and agree on the account."""
        return self._session.is_closed

    @property
    def failure(self) -> CaligoError | None:
        """Why the session is over, if it ended badly; look at it after every `receive`."""
        return self._session.failure

    def connect(self) -> None:
        """Begin a connection, the first or one after a loss; the peer does so too."""
        self._endpoint.connect(secrets.token_bytes(32))

    def receive(self, frame: bytes) -> None:
        """Take a frame of the peer.

        Args:
            frame: as its `take_frames` gave it.

        Raises:
            ConnectionSpoiledError: the peer did not say this; both sides may `connect` again.
            AuthenticationError: the other side has another secret.
            ProtocolError: the peer wants other terms, or breaks a rule.
            CaligoError: this side cannot go on. But for a spoiled connection, `abort` with the error.
        """
        self._endpoint.receive(frame)

    def take_frames(self) -> list[bytes]:
        """What is to be sent since the last call; the more is done between two calls, the fewer frames."""
        return self._endpoint.take_frames()

    def next_work(self) -> Work | None:
        """What can be decoded now; None when there is nothing, and for Alice always. Run it on any thread."""
        if not isinstance(self._session, BobSession):
            return None
        # No thread should wait while another has many blocks.
        return self._session.next_work(max(1, self._session.ready // self._threads))

    def finish(self, work: Work, steps: Sequence[Step]) -> None:
        """Take what came of some work.

        Args:
            work: from `next_work`.
            steps: from its `run`.
        """
        self._endpoint.finish(work, steps)

    def keep_alive(self) -> None:
        """Say that this side is still at work."""
        self._endpoint.keep_alive()

    def abort(self, error: CaligoError) -> None:
        """Give up, and tell the peer why."""
        self._endpoint.abort(error, abort_reason(error))

    def _begin(self, terms: Terms, reader: KeyReader) -> AliceSession | BobSession:
        """A session, or that which the state is of."""
        window = self.party.window or dialogue_window(memory_limit().limit_bytes, self._block_length)
        begun = {} if self._state is None else self._begin_state(self._state, terms, reader)
        if self.role == "bob":
            return BobSession(self._sifted, terms, self, window=window)
        seeds = Seeds(**{name: bytes.fromhex(begun[name]) for name in _SEEDS}) if begun else _draw()
        name = bytes.fromhex(begun["session"]) if begun else secrets.token_bytes(16)
        self._begin_run(seeds)
        return AliceSession(self._sifted, terms, self, window=window, session=name, seeds=seeds)

    def _begin_state(self, state: StateFile, terms: Terms, reader: KeyReader) -> dict[str, Any]:
        """What the state is of; a state of nothing becomes one of this session."""
        salt = secrets.token_hex(16) if state.begun is None else str(state.begun["salt"])
        mine = {"role": self.role, "terms": asdict(terms), "key": _fingerprint(reader, bytes.fromhex(salt))}
        if state.begun is None:
            drawn = {name: value.hex() for name, value in asdict(_draw()).items()}
            own = drawn | {"session": secrets.token_hex(16)} if self.role == "alice" else {}
            state.begin(mine | own | {"salt": salt})
        begun: dict[str, Any] = state.begun or {}
        for name, value in mine.items():
            if begun[name] != value:
                raise ConfigError(
                    f"state: expected the {name} of {state.path}, got another; give the same key and options as then, "
                    "or another file",
                    field=name,
                    path=str(state.path),
                )
        return begun

    # --- terms and plan -----------------------------------------------------------------------------------------------

    def _terms(self) -> Terms:
        options = self.options
        sample_bits = 0
        if options.qber is None:
            asked = options.sample_bits
            sample_bits = default_sample_bits(self._key_bits) if asked is None else asked
            if not 1 <= sample_bits < min(self._key_bits, MAX_SESSION_SAMPLE_BITS + 1):
                raise ConfigError(
                    f"sample_bits: expected 1 to {min(self._key_bits - 1, MAX_SESSION_SAMPLE_BITS)} of the key's "
                    f"{self._key_bits} bits, got {sample_bits}; or give the QBER",
                    got=sample_bits,
                    key_bits=self._key_bits,
                )
        layout = plan_layout(self._key_bits - sample_bits, self._block_length)
        options.require_blocks(segment.block_length for segment in layout.segments)
        target_fer = DEFAULT_TARGET_FER if options.target_fer is None else options.target_fer
        return Terms(
            key_bits=self._key_bits,
            strategy=options.strategy,
            parameters=self._parameters(),
            block_length=self._block_length,
            list_size=options.list_size,
            check=options.check,
            efficiency=options.efficiency or 0.0,
            target_fer=target_fer if options.efficiency is None else 0.0,
            qber=0.0 if options.qber is None else mean_qber(options.qber),
            sample_bits=sample_bits,
            group_bits=MINIMUM_GROUP_BITS,
            max_rounds=options.max_rounds,
            max_block_leakage_bits=options.max_block_leakage_bits,
            max_leakage_bits=options.max_leakage_bits,
        )

    def _parameters(self) -> str:
        """What else decides about blocks and codes, as far as it was given; not how Bob decodes."""
        options = self.options
        given = {
            "asymmetric": None if options.asymmetric == "auto" else options.asymmetric,
            "interleave": options.interleave or None,
            "qber_pair": options.qber if isinstance(options.qber, tuple) else None,
            "retries": options.further_attempts or None,
            "segment_check": options.segment_check,
            "segment_length": options.segment_length,
            "wish": options.wish,
        }
        return json.dumps({name: value for name, value in given.items() if value is not None}, sort_keys=True)

    def _begin_run(self, seeds: Seeds) -> None:
        """Persist the public random values: Alice before anything is said, Bob when he knows them."""
        if self._store is None:
            return
        self._run = self._stack.enter_context(
            RunWriter.create(
                self._store,
                "reconcile",
                self._asked,
                security_randomness=SecurityRandomness(seeds.hash_key, seeds.sampling_seed).to_json(),
                identity_excludes=("key", "out", "threads", "timeout_s", "reconnections", "window"),
            )
        )

    def design_for(self, estimate: QberEstimate | None) -> Qbers:
        """See `caligo.reconciliation.session.Workshop.design_for`."""
        options = self.options
        known = options.qber if estimate is None else estimate
        if known is None:
            raise ConfigError("expected a QBER or a sample, got neither; give one of them")
        asks = strategy_type(options.strategy).asks
        return design_qbers_for(known, asks=asks, asymmetric=options.asymmetric == "auto")

    def prepare(self, design_qber: Qbers, key_bits: int, seeds: Seeds) -> Sequence[Section[Any]]:
        """See `caligo.reconciliation.session.Workshop.prepare`."""
        options = self.options
        if options.interleave:
            self._sifted.interleave(seeds.sampling_seed)
        kind = strategy_type(options.strategy)
        layout = plan_layout(key_bits, self._block_length)
        self._discarded_bits = layout.discarded_bits
        requests = [
            CodeRequest(
                block_length=segment.block_length,
                payload_length=segment.payload_length,
                design_qber=design_qber,
                list_size=options.list_size,
                check=options.check,
                efficiency=options.efficiency,
                target_fer=DEFAULT_TARGET_FER if options.target_fer is None else options.target_fer,
                raise_efficiency=segment.first_block > 0,
                segment_length=options.segment_length,
                segment_check=options.segment_check,
                wish=options.wish,
            )
            for segment in layout.segments
        ]
        with worker_pool(len(requests)) as pool:
            codes = list(pool.map(kind.choose_code, requests))
        if self.role == "bob":
            self._threads = plan_threads(
                memory_limit(), kind, options, layout, self._threads_wanted, beside_bytes=self._beside_bytes(layout)
            )
        sections = []
        for segment, code, request in zip(layout.segments, codes, requests, strict=True):
            side = self._side(code, request, min(self._threads, segment.blocks))
            self._stack.callback(side.close)
            sections.append(Section(segment.first_block, segment.blocks, segment.start_bit, side))
        return sections

    def _beside_bytes(self, layout: Layout) -> int:
        """The blocks in flight, and a decoder for each further attempt."""
        options = self.options
        kind = strategy_type(options.strategy)
        decoders = sum(
            kind.required_bytes(
                segment.block_length,
                options.list_size,
                options.precision,
                options.check,
                options.escalation,
                options.segment_length,
            )
            for segment in layout.segments
        )
        return self._session.window * dialogue_block_bytes(self._block_length) + options.further_attempts * decoders

    def _side(self, code: PolarCode, request: CodeRequest, workers: int) -> Side:
        """This side of the strategy, with further attempts where they are wanted."""
        options = self.options
        kind = strategy_type(options.strategy)
        codes = [code]
        for attempt in range(1, 1 + options.further_attempts):
            further = further_code(kind, request, code, attempt)
            if further is None:
                break
            codes.append(further)

        def bob(code: PolarCode, workers: int) -> BobSide:
            return kind.bob(
                code,
                options.list_size,
                precision=options.precision,
                engine=options.engine,
                escalation=options.escalation,
                workers=workers,
            )

        if self.role == "alice":
            return kind.alice(code) if len(codes) == 1 else RetryingAlice(kind.alice(code), codes)
        return bob(code, workers) if len(codes) == 1 else RetryingBob(bob, codes, workers)

    # --- the conversation ---------------------------------------------------------------------------------------------

    def converse(self, transport: Transport) -> None:
        """All of it, over a transport; raises as `reconcile_party`."""
        workers = self._threads_wanted if self.role == "bob" else 1
        with worker_pool(workers) as pool:
            conversation = Conversation(
                self._endpoint,
                transport,
                pool,
                workers=workers,
                timeout_s=self.party.timeout_s,
                reconnections=self.party.reconnections,
                resumable=self._state is not None,
            )
            try:
                conversation.run()
            except ConnectionLostError as error:
                if self._state is None:
                    raise
                raise SuspendedError(
                    f"{error.message}; run the same command again to go on", **error.fields, state=str(self._state.path)
                ) from error
            self._spoiled = conversation.spoiled

    def _note(self, event: PlanAgreed | GroupSettled) -> None:
        if isinstance(event, PlanAgreed):
            self._plan = event
            if self.role == "bob":
                self._begin_run(event.seeds)
            self._progress.start("reconciling", self._session.blocks, "blocks")
            return
        self._concluded_blocks += len(event.blocks)
        for block in event.blocks:
            self._decode_ns += block.elapsed_ns
            self._coded_bits += block.block_length
            if block.confirmed:
                self._leakage_ok += block.leakage.leakage_bits
                self._errors_ok += block.corrected_errors or 0
        if self._run is not None:
            self._run.record_many(_record(block) for block in event.blocks)
        if event.key.bits:
            if self._output is not None:
                self._output.append(event.key.packed, event.key.bits)
            if self._kept is not None:
                self._kept.append(event.key.packed, event.key.bits)
        self._progress.advance(len(event.blocks), failed=self._session.totals.blocks_failed)
        # By the events: one message may conclude several groups, and the session's totals are ahead of them.
        if self._output is not None and self._concluded_blocks == self._session.blocks:
            # A disk that is full must say so before this side says that it is done.
            self._output.settle()

    def _put_in_place(self) -> None:
        """The reconciled key gets its name when both sides are done, before Bob says so and Alice can hear it."""
        with interrupts_deferred():
            if self._output is not None:
                self._output.commit()
            self._in_place = True

    # --- after the last block --------------------------------------------------------------------------------------

    def conclude(self) -> PartyReport:
        """Seal the record, and say what was done.

        Raises:
            ProtocolError: the session is not closed.
            ResourceError: disk is exhausted.
            StoreError: the run cannot be recorded.
        """
        if not self.is_closed:
            raise ProtocolError("expected a session that both sides have closed, got one that goes on", field="session")
        with interrupts_deferred():
            if self._state is not None:
                self._state.remove()
            report = self._report(time.perf_counter() - self._started)
            if self._run is not None:
                self._run.seal(report.to_json())
        return report

    def _report(self, elapsed_s: float) -> PartyReport:
        totals, plan, options = self._session.totals, self._plan, self.options
        sections = () if plan is None else plan.sections
        assumed = 0.0 if plan is None else plan.design_qber
        design_qber = mean_qber(assumed)
        estimate = None if plan is None else plan.estimate
        low, high = (None, None) if estimate is None else estimate.interval
        payload = sum(section.blocks * section.side.code.payload_length for section in sections)
        is_bob = self._session.role is Role.BOB
        return PartyReport(
            role=self.role,
            key_bits=self._key_bits,
            sampled_bits=0 if estimate is None else estimate.sampled_bits,
            discarded_bits=self._discarded_bits,
            reconciled_bits=totals.reconciled_bits,
            block_length=self._block_length,
            list_size=options.list_size,
            strategy=options.strategy,
            check=options.block_check,
            authentication=self._authentication.name,
            blocks=self._session.blocks,
            blocks_ok=totals.blocks_ok,
            blocks_failed=totals.blocks_failed,
            blocks_discarded=totals.blocks_failed,
            failed_check=totals.failed_check,
            given_up=totals.given_up,
            failed_verification=totals.failed_verification,
            estimated_qber=None if estimate is None else estimate.qber,
            estimated_qber_low=low,
            estimated_qber_high=high,
            corrected_errors=self._errors_ok if is_bob else None,
            design_qber=design_qber,
            design_qber_pair=assumed if isinstance(assumed, tuple) else None,
            account=leakage_account(assumed),
            leakage_bits=totals.leakage.leakage_bits,
            leakage_bits_both_ways=totals.leakage.leakage_bits_both_ways,
            leakage=totals.leakage.by_kind(),
            efficiency=efficiency(self._leakage_ok, totals.reconciled_bits, self._errors_ok) if is_bob else None,
            epsilon_correctness=float(totals.epsilon),
            rounds_mean=totals.rounds / self._session.blocks if self._session.blocks else 0.0,
            rounds_max=totals.rounds_max,
            messages=exchanged_messages(
                sampled=estimate is not None,
                blocks=self._session.blocks,
                rounds=totals.rounds,
                comparisons=totals.comparisons,
            ),
            frames_sent=self._endpoint.frames_sent,
            frames_received=self._endpoint.frames_received,
            bytes_sent=self._endpoint.bytes_sent,
            bytes_received=self._endpoint.bytes_received,
            window=self._session.window,
            connections=self._endpoint.connections,
            payload_mbps=payload / elapsed_s / 1e6,
            coded_mbps_per_core=self._coded_bits * 1e3 / self._decode_ns if self._decode_ns else None,
            elapsed_s=elapsed_s,
            threads=self._threads if is_bob else 1,
            peak_rss_bytes=peak_rss_bytes(),
            codes=tuple(
                CodeUse(
                    block_length=code.block_length,
                    payload_length=code.payload_length,
                    blocks=section.blocks,
                    leakage_bits=section.side.sizes.total_bits,
                    info_length=code.info_length,
                    efficiency=code.efficiency(design_qber),
                    design_qber=design_qber,
                    digest=code.digest,
                    segment_length=code.segment_length,
                    segment_check=code.segment_check,
                )
                for section in sections
                for code in (section.side.code,)
            ),
            warnings=tuple(self._advise()),
            run=None if self._run is None else os.fspath(self._run.path),
            out=None if self._out is None else os.fspath(self._out),
            key=None if self._kept is None else self._kept.packed.copy(),
        )

    def _advise(self) -> list[str]:
        totals = self._session.totals
        warnings = list(
            advise_on_failures(
                self.options,
                blocks=self._session.blocks,
                failed=totals.blocks_failed,
                given_up=totals.given_up,
                rounds_max=totals.rounds_max,
                otherwise="check that both sides have the same sifted bits (--bit-order, --key-bits), and give a "
                "greater QBER or leave it out to have it estimated (--qber)",
            )
        )
        if self._spoiled:
            warnings.append(
                f"{self._spoiled} connections were given up because something between the two sides "
                "changed, repeated or added messages; the key is not touched by it, but see to the network"
            )
        if self.role == "bob" and self._threads < self._threads_wanted:
            warnings.append(
                f"memory suffices for {self._threads} of {self._threads_wanted} threads (see `caligo doctor`)"
            )
        return warnings


def _record(block: BlockAccount) -> dict[str, Any]:
    """What the store keeps of a block."""
    opened: Leakage = block.leakage.opened
    state = KeyState.UNCORRECTED
    if block.settlement is Settlement.OK:
        state = KeyState.CONFIRMED if block.confirmed else KeyState.UNCONFIRMED
    record: dict[str, Any] = {
        "block": block.block,
        "outcome": state.label,
        "block_length": block.block_length,
        "payload_bits": block.payload_length,
        "leakage_bits": block.leakage.leakage_bits,
        "leakage_bits_both_ways": block.leakage.leakage_bits_both_ways,
        "verification_bits": opened.verification_bits,
        "rounds": block.rounds,
        "elapsed_ns": block.elapsed_ns,
    }
    if block.corrected_errors is not None:
        record["corrected_errors"] = block.corrected_errors
    return record
