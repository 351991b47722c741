"""The sections of one party's key: a code for each segment, and this side of the strategy for each code.

Covers: what a session asks of its workshop (:class:`caligo.reconciliation.session.Workshop`), Bob's threads. Does not
cover: what a side says (:mod:`caligo.reconciliation.strategies`), strategies lent to threads (:mod:`.workshop`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Literal

from caligo.channel import Qbers
from caligo.codes import PolarCode
from caligo.errors import ConfigError
from caligo.jobs.code_choice import choose_codes, code_requests
from caligo.jobs.drift import further_code
from caligo.jobs.options import ReconcileOptions
from caligo.jobs.plan import Layout, plan_layout
from caligo.jobs.sifted_key import SiftedKey
from caligo.jobs.threads import plan_thread_memory
from caligo.keys.protocols import Closing
from caligo.memory import dialogue_block_bytes, memory_limit
from caligo.reconciliation.estimation import QberEstimate, design_qbers_for
from caligo.reconciliation.messages import Seeds
from caligo.reconciliation.session import Section
from caligo.reconciliation.strategies import CodeRequest, strategy_type
from caligo.reconciliation.strategies.dialogue import BobSide, Side
from caligo.reconciliation.strategies.retrying import RetryingAlice, RetryingBob

__all__ = ["PartyWorkshop"]


class PartyWorkshop(Closing):
    """Makes one party's sections; closing it releases their decoders.

    Args:
        role: which side this is.
        options: what was asked.
        key: permuted by this where that was asked.
        block_length: N of the whole blocks.
        threads: worker threads that are wanted, >= 1.
        window: gives the most blocks in flight, once both sides have spoken.
    """

    def __init__(
        self,
        role: Literal["alice", "bob"],
        options: ReconcileOptions,
        key: SiftedKey,
        *,
        block_length: int,
        threads: int,
        window: Callable[[], int],
    ) -> None:
        self._role = role
        self._options = options
        self._kind = strategy_type(options.strategy)
        self._key = key
        self._block_length = block_length
        self._window = window
        self._stack = ExitStack()
        self.threads_wanted = threads
        self.threads = threads
        """What memory suffices for, once the sections are made."""
        self.discarded_bits = 0
        """At the end of the key, too few for a block."""

    def design_for(self, estimate: QberEstimate | None) -> Qbers:
        """See `caligo.reconciliation.session.Workshop.design_for`."""
        known = self._options.qber if estimate is None else estimate
        if known is None:
            raise ConfigError("expected a QBER or a sample, got neither; give one of them")
        return design_qbers_for(known, asks=self._kind.asks, asymmetric=self._options.asymmetric == "auto")

    def prepare(self, design_qber: Qbers, key_bits: int, seeds: Seeds) -> Sequence[Section[Any]]:
        """See `caligo.reconciliation.session.Workshop.prepare`."""
        options = self._options
        if options.interleave:
            self._key.interleave(seeds.sampling_seed)
        layout = plan_layout(key_bits, self._block_length)
        self.discarded_bits = layout.discarded_bits
        requests = code_requests(layout, design_qber, options)
        codes = choose_codes(self._kind, requests)
        if self._role == "bob":
            beside_bytes = self._beside_bytes(layout)
            self.threads = plan_thread_memory(
                memory_limit(), self._kind, options, layout, self.threads_wanted, beside_bytes=beside_bytes
            ).threads
        sections = []
        for segment, code, request in zip(layout.segments, codes, requests, strict=True):
            side = self._side(code, request, min(self.threads, segment.blocks))
            self._stack.callback(side.close)
            sections.append(Section(segment.first_block, segment.blocks, segment.start_bit, side))
        return sections

    def close(self) -> None:
        """Release the decoders; twice is harmless."""
        self._stack.close()

    def _beside_bytes(self, layout: Layout) -> int:
        """The blocks in flight, and a decoder for each further attempt."""
        options = self._options
        decoders = sum(
            self._kind.required_bytes(
                segment.block_length,
                options.list_size,
                options.precision,
                options.check,
                options.escalation,
                options.segment_length,
            )
            for segment in layout.segments
        )
        return self._window() * dialogue_block_bytes(self._block_length) + options.further_attempts * decoders

    def _side(self, code: PolarCode, request: CodeRequest, workers: int) -> Side:
        """This side of the strategy, with further attempts where they are wanted."""
        options = self._options
        kind = self._kind
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

        if self._role == "alice":
            return kind.alice(code) if len(codes) == 1 else RetryingAlice(kind.alice(code), codes)
        return bob(code, workers) if len(codes) == 1 else RetryingBob(bob, codes, workers)
