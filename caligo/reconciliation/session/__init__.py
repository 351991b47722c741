"""Alice and Bob of two processes: messages in, messages out, over any number of connections.

Covers: agreement on terms and plan, the exchange of samples, many blocks in flight and out of order, caps, accounts
kept alike on both sides, verification by groups, resuming after a lost connection. Does not cover: bytes, tags and
sequence numbers (:mod:`.wire`, :mod:`.link`), how a block is opened and decoded (:mod:`.strategies.dialogue`), where
keys come from, who runs the work (:mod:`caligo.jobs`). No I/O, no clock, no randomness, no thread: all of it is handed
in. Contract: ``specs/wire-format.md``.

A session lives as long as two processes keep its state; connections under it come and go. Every connection begins with
a `Hello` and a `Resume` each way, the first one too. Each dialogue (the set-up, every block, the tags) alternates or
is counted, so what a side has received says exactly which of the other's last messages was lost, and that one is sent
again.

Bob's decoding is taken out of `receive`: `next_work` hands out what can be decoded now, on any thread, and `finish`
turns the results into messages. What both sides compute from a transcript does not depend on the order in which blocks
finish.

A peer that breaks a rule gets a :class:`~caligo.errors.ProtocolError`; the session is then over. A block that cannot
be decoded is an outcome.
"""

from __future__ import annotations

from caligo.reconciliation.session.accounts import BlockAccount, GroupSettled, PlanAgreed, Totals
from caligo.reconciliation.session.alice import AliceSession
from caligo.reconciliation.session.bob import BobSession, Work
from caligo.reconciliation.session.common import MAX_WINDOW
from caligo.reconciliation.session.sections import Key, Section, Workshop

__all__ = [
    "MAX_WINDOW",
    "AliceSession",
    "BlockAccount",
    "BobSession",
    "GroupSettled",
    "Key",
    "PlanAgreed",
    "Section",
    "Totals",
    "Work",
    "Workshop",
]
