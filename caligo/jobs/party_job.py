"""One party's job: a key file, a peer somewhere else, a reconciled key and a recorded run.

Covers: the whole way of one side, over a transport (`reconcile_party`), or for a program that has its own channel, loop
of events and threads (`Party`). Does not cover: both sides in one process (:mod:`.reconcile_job`), what is said
(:mod:`caligo.reconciliation`), threads and connections (:mod:`.conversation`); terms (:mod:`.party_terms`), what a
session begins with (:mod:`.party_start`), codes and decoders (:mod:`.party_workshop`), the report
(:mod:`.party_report`).

This job holds one key. Nothing it reports about the other is more than the messages say: Bob knows how many bits he
corrected, Alice does not.

Order of events: the key is opened; Alice draws the public random values and persists them in her run's record; both
sides agree on terms, sample, plan; blocks follow; what is verified is written; when both have said that they are done,
the reconciled key is put in place and the run is sealed. Bob's run begins when the plan is agreed, since it records
Alice's random values.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from caligo.errors import CaligoError, ConfigError, ConnectionLostError, ProtocolError, SuspendedError
from caligo.jobs.advice import advise_party
from caligo.jobs.conversation import Conversation, abort_reason, ends_for_good
from caligo.jobs.options import ReconcileOptions
from caligo.jobs.party_blocks import BlockTally, block_record
from caligo.jobs.party_report import PartyReport
from caligo.jobs.party_start import begin_with_state, draw_beginning
from caligo.jobs.party_terms import PartyOptions, terms_for
from caligo.jobs.party_workshop import PartyWorkshop
from caligo.jobs.runner import interrupts_deferred, worker_pool
from caligo.jobs.sifted_key import SiftedKey
from caligo.jobs.sources import KeySource, open_source, source_name
from caligo.jobs.state_file import StateFile
from caligo.keys import BitOrder, KeyReader, KeyWriter, create_key, prepare_output_directory
from caligo.memory import dialogue_window, memory_limit
from caligo.randomness import SecurityRandomness
from caligo.reconciliation.authentication import Authentication
from caligo.reconciliation.endpoint import Endpoint
from caligo.reconciliation.messages import Seeds, Terms
from caligo.reconciliation.session import AliceSession, BobSession, GroupSettled, PlanAgreed, Work
from caligo.reconciliation.strategies.dialogue import Step
from caligo.reconciliation.verification import Payload
from caligo.store import RunWriter
from caligo.telemetry import NO_PROGRESS, Progress
from caligo.transports import Transport

__all__ = ["Party", "reconcile_party"]


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
        self._tally = BlockTally()
        self._spoiled = 0
        with ExitStack() as stack:
            reader = stack.enter_context(open_source(key, f"{role.title()}'s key", key_bits, format, bit_order))
            self._asked = {**asdict(options), **asdict(party), "role": role, "key": source_name(key)}
            self._asked |= {"key_bits": reader.key_bits, "bit_order": bit_order, "authentication": authentication.name}
            self._asked["out"] = None if self._out is None else os.fspath(self._out)
            del self._asked["seed"]
            self._kept = Payload() if out is None and self._asked["key"] == "array in memory" else None
            self._stack = stack
            self._state = None if state is None else stack.enter_context(StateFile(state))
            terms = terms_for(options, reader.key_bits)
            sifted = SiftedKey(reader)
            self._workshop = stack.enter_context(
                PartyWorkshop(
                    role,
                    options,
                    sifted,
                    block_length=terms.block_length,
                    threads=options.threads or len(os.sched_getaffinity(0)),
                    window=lambda: self._session.window,
                )
            )
            self._session = self._begin(terms, reader, sifted)
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
        return self._session.next_work(max(1, self._session.ready // self._workshop.threads))

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

    def _begin(self, terms: Terms, reader: KeyReader, key: SiftedKey) -> AliceSession | BobSession:
        """A session, or that which the state is of."""
        window = self.party.window or dialogue_window(memory_limit().limit_bytes, terms.block_length)
        begun = None if self._state is None else begin_with_state(self._state, self.role, terms, reader)
        if self.role == "bob":
            return BobSession(key, terms, self._workshop, window=window)
        begun = begun or draw_beginning()
        self._begin_run(begun.seeds)
        return AliceSession(key, terms, self._workshop, window=window, session=begun.session, seeds=begun.seeds)

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

    # --- the conversation ---------------------------------------------------------------------------------------------

    def converse(self, transport: Transport) -> None:
        """All of it, over a transport; raises as `reconcile_party`."""
        workers = self._workshop.threads_wanted if self.role == "bob" else 1
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
        self._tally.add(event.blocks)
        if self._run is not None:
            self._run.record_many(block_record(block) for block in event.blocks)
        if event.key.bits:
            if self._output is not None:
                self._output.append(event.key.packed, event.key.bits)
            if self._kept is not None:
                self._kept.append(event.key.packed, event.key.bits)
        self._progress.advance(len(event.blocks), failed=self._session.totals.blocks_failed)
        # By the events: one message may conclude several groups, and the session's totals are ahead of them.
        if self._output is not None and self._tally.blocks == self._session.blocks:
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
        session, workshop, totals = self._session, self._workshop, self._session.totals
        warnings = advise_party(
            self.options,
            blocks=session.blocks,
            failed=totals.blocks_failed,
            given_up=totals.given_up,
            rounds_max=totals.rounds_max,
            spoiled=self._spoiled,
            threads=workshop.threads,
            threads_wanted=workshop.threads_wanted,
        )
        return PartyReport.of(
            session,
            self._endpoint,
            self._plan,
            self.options,
            self._tally,
            discarded_bits=workshop.discarded_bits,
            authentication=self._authentication.name,
            elapsed_s=elapsed_s,
            threads=workshop.threads,
            warnings=tuple(warnings),
            run=None if self._run is None else os.fspath(self._run.path),
            out=None if self._out is None else os.fspath(self._out),
            key=None if self._kept is None else self._kept.packed.copy(),
        )
