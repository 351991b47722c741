"""Where runs stand: what was decided about them, folded from the entries of the ledgers.

Covers: the standing of a run, the pure fold over ledger entries, and the decisions that a person or a validation takes
(quarantine, release, reject), which are appended to the store's own ledger. Does not cover: looking for damage
(:mod:`.validation`), repair (:mod:`.repair`), the log itself (:mod:`caligo.store.audit.ledger`).

There is no other state than the entries: whoever has the ledgers has the standings. Entries of several ledgers are
folded in the order of (time, origin, index), where the time of an entry is at least that of the entries before it in
its ledger, so that a clock that was set back does not turn a ledger's own order around. However the ledgers came
together, the fold is the same.

Source: ``specs/validation.md``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from caligo.errors import StandingError, StoreError
from caligo.store import layout
from caligo.store.findings import Finding

if TYPE_CHECKING:
    from caligo.store.audit.ledger import Entry, Ledger

MOST_FINDINGS = 20
"""Findings that an entry repeats; their codes are all there."""

MOST_DIGESTS = 4000
"""Findings for which a run can be quarantined at once: a list of an entry holds no more."""


class Judgement(StrEnum):
    """What the ledgers say of a run."""

    NONE = "none"
    VERIFIED = "verified"
    QUARANTINED = "quarantined"
    REPAIRED = "repaired"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Standing:
    """Where one run stands.

    Attributes:
        judgement: the last word.
        codes: of a quarantined run, the codes of its findings, sorted.
        quarantined_for: of a quarantined run, the digests of its findings (:func:`finding_digest`), sorted.
        accepted: digests of findings that somebody vouched for when they released the run, sorted.
        by: of a repaired run, the run that takes its place; None where its own files were put right.
        reason: of a rejected or released run, why.
        at: when the judgement fell, UTC text; empty without one.
        seals: (origin, index) of every entry that admitted it, sorted.
    """

    judgement: Judgement = Judgement.NONE
    codes: tuple[str, ...] = ()
    quarantined_for: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    by: str | None = None
    reason: str = ""
    at: str = ""
    seals: tuple[tuple[str, int], ...] = ()

    @property
    def is_admitted(self) -> bool:
        """Whether a ledger has its seal."""
        return bool(self.seals)

    @property
    def is_set_aside(self) -> bool:
        """Whether selections pass over it: quarantined, rejected, or another run has taken its place."""
        return self.judgement in (Judgement.QUARANTINED, Judgement.REJECTED) or self.by is not None

    def settles(self, finding: Finding) -> bool:
        """Whether a finding of this run needs nothing more: it is set aside for it, or somebody vouched for it."""
        if self.judgement is Judgement.REJECTED or self.by is not None:
            return True
        return finding_digest(finding) in {*self.quarantined_for, *self.accepted}

    @property
    def text(self) -> str:
        """The standing in a word or two, for tables."""
        if self.judgement is Judgement.QUARANTINED:
            return f"quarantined ({', '.join(self.codes)})" if self.codes else "quarantined"
        if self.judgement is Judgement.REPAIRED and self.by is not None:
            return f"repaired by {self.by}"
        if self.judgement is Judgement.NONE:
            return "released" if self.accepted else "not judged"
        return self.judgement.value

    def to_json(self) -> dict[str, Any]:
        """The standing as a JSON object."""
        return {
            "standing": self.judgement.value,
            "codes": list(self.codes),
            "by": self.by,
            "reason": self.reason,
            "at": self.at,
            "admitted": self.is_admitted,
        }


NO_STANDING = Standing()


def finding_digest(finding: Finding) -> str:
    """What tells one finding of a run from another: the first 16 digits of SHA-256 over code, place and sentence."""
    text = f"{finding.code.value}\n{finding.where}\n{finding.what}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


Standings = dict[str, Standing]


class LedgerEntry(Protocol):
    """What the fold reads of a :class:`caligo.store.audit.ledger.Entry`."""

    @property
    def index(self) -> int:
        """Place in its ledger, from 0."""
        ...

    @property
    def origin(self) -> str:
        """The ledger."""
        ...

    @property
    def kind(self) -> str:
        """What it tells of."""
        ...

    @property
    def at(self) -> str:
        """When, UTC text."""
        ...

    @property
    def content(self) -> Mapping[str, Any]:
        """What it tells."""
        ...


# --- the fold -----------------------------------------------------------------------------------------------------

Place = tuple[str, str, int]
"""Where an entry stands in the order of folding: (time, origin, index)."""

BEFORE_ALL: Place = ("", "", -1)


def in_order(ledgers: Iterable[Iterable[LedgerEntry]]) -> Iterator[LedgerEntry]:
    """The entries of several ledgers in the one order in which they are folded.

    Args:
        ledgers: the entries of each, by index; each of its own origin.

    Yields:
        All entries, by (time, origin, index).
    """
    for _, entry in placed(ledgers):
        yield entry


def placed(
    ledgers: Iterable[Iterable[LedgerEntry]], latest: Mapping[str, str] | None = None
) -> Iterator[tuple[Place, LedgerEntry]]:
    """As :func:`in_order`, each entry with its place.

    Args:
        ledgers: as there, from any index on.
        latest: by origin, the latest time among the entries before those.
    """
    import heapq

    known = latest or {}

    def keyed(entries: Iterable[LedgerEntry]) -> Iterator[tuple[Place, LedgerEntry]]:
        moment: str | None = None
        for entry in entries:
            moment = max(known.get(entry.origin, "") if moment is None else moment, entry.at)
            yield (moment, entry.origin, entry.index), entry

    yield from heapq.merge(*map(keyed, ledgers), key=lambda one: one[0])


def apply(standings: Mapping[str, Standing], entry: LedgerEntry) -> Standings:
    """The standings after one more entry; pure and total.

    What makes no sense where it stands (the release of a run that is not quarantined, anything after a rejection)
    changes nothing: ledgers that are merged may decide twice.

    Args:
        standings: before it.
        entry: of any kind; unknown kinds change nothing.
    """
    changed = dict(standings)
    _fold_one(changed, entry)
    return changed


def fold(entries: Iterable[LedgerEntry], standings: Standings | None = None) -> Standings:
    """The standings after all entries, in the order given; :func:`apply` one by one, without its copies.

    Args:
        entries: in order.
        standings: before them, and changed to what they are afterwards; None is none.
    """
    after = {} if standings is None else standings
    for entry in entries:
        _fold_one(after, entry)
    return after


def _fold_one(standings: Standings, entry: LedgerEntry) -> None:
    if entry.kind == "validation":
        _verify(standings, entry)
        return
    run = entry.content.get("run")
    if not isinstance(run, str):
        return
    before = standings.get(run, NO_STANDING)
    after = _judged(before, entry)
    if after is not None:
        standings[run] = after


def _judged(before: Standing, entry: LedgerEntry) -> Standing | None:
    """The standing of its run after an entry; None where the entry changes nothing."""
    if entry.kind == "seal":
        seal = (entry.origin, entry.index)
        if before is NO_STANDING:
            return Standing(seals=(seal,))
        return replace(before, seals=tuple(sorted({*before.seals, seal})))
    if before.judgement is Judgement.REJECTED:
        return None
    content = entry.content
    bare = Standing(at=entry.at, seals=before.seals, accepted=before.accepted)
    if entry.kind == "quarantine":
        return replace(
            bare,
            judgement=Judgement.QUARANTINED,
            codes=_texts(content.get("codes")),
            quarantined_for=_texts(content.get("digests")),
        )
    if entry.kind == "release" and before.judgement is Judgement.QUARANTINED:
        accepted = tuple(sorted({*before.accepted, *before.quarantined_for}))
        return replace(bare, reason=_text(content.get("reason")), accepted=accepted)
    if entry.kind == "reject":
        return replace(bare, judgement=Judgement.REJECTED, reason=_text(content.get("reason")))
    if entry.kind == "repair":
        by = content.get("by")
        return replace(
            bare,
            judgement=Judgement.REPAIRED,
            by=by if isinstance(by, str) else None,
            reason=_text(content.get("what")),
        )
    return None


def _verify(standings: Standings, entry: LedgerEntry) -> None:
    """A validation verifies the runs that it covered and found nothing in, and takes back what it found wanting."""
    content = entry.content
    unclean = content.get("unclean")
    if not isinstance(unclean, list):
        return
    scope, sizes = content.get("scope"), content.get("ledgers")
    bad = set(map(str, unclean))
    for run in map(str, scope) if isinstance(scope, list) else list(standings):
        before = standings.get(run, NO_STANDING)
        covered = isinstance(scope, list) or _covers(sizes, before)
        if run not in bad and covered and before.is_admitted and before.judgement in _OPEN_TO_VERIFICATION:
            # As `replace` does, in a third of the time: a validation covers every run.
            standings[run] = Standing(
                judgement=Judgement.VERIFIED,
                codes=before.codes,
                quarantined_for=before.quarantined_for,
                accepted=before.accepted,
                by=before.by,
                reason="",
                at=entry.at,
                seals=before.seals,
            )
    for run in bad:
        before = standings.get(run, NO_STANDING)
        if before.judgement is Judgement.VERIFIED:
            standings[run] = replace(before, judgement=Judgement.NONE, at=entry.at)


_OPEN_TO_VERIFICATION = (Judgement.NONE, Judgement.VERIFIED)


def _covers(sizes: object, standing: Standing) -> bool:
    """Whether a validation that knew the first entries of each ledger knew one that admitted the run."""
    if not isinstance(sizes, dict):
        return False
    return any(isinstance(size := sizes.get(origin), int) and index < size for origin, index in standing.seals)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(sorted({item for item in value if isinstance(item, str)})) if isinstance(value, list) else ()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


# --- the store ----------------------------------------------------------------------------------------------------


def standing(store: Path) -> Standings:
    """Where every run of a store stands that its ledgers speak of.

    Args:
        store: directory of the store.

    Returns:
        By name of the run; a run that no entry names is not there (:data:`NO_STANDING`).

    Raises:
        LedgerCorruptError: an entry cannot be read.
        StoreError: the store cannot be read.
    """
    return dict(LiveStandings(store).read())


class LiveStandings:
    """The standings of a store for whoever asks often: entries are read once, what comes later is folded onto it.

    Read from the ledgers, never from an index. It holds the standings of all runs. Not for several threads at once.

    Args:
        store: directory of the store.
        entries: the entries of a ledger from an index on; None is :meth:`caligo.store.audit.ledger.Ledger.entries`.
    """

    def __init__(self, store: Path, entries: Callable[[Ledger, int], Iterable[LedgerEntry]] | None = None) -> None:
        self.store = store
        self._entries = entries
        self._forget()

    def read(self) -> Mapping[str, Standing]:
        """The standings now, which change with the next call; the same as :func:`standing`, and raises as that."""
        from caligo.store.audit.ledger import ledgers

        there = ledgers(self.store)
        sizes = {ledger.origin: ledger.size() for ledger in there}
        if any(sizes.get(origin, 0) < size for origin, size in self._sizes.items()) or not self._go_on(there):
            self._forget()
            self._go_on(there)
        return MappingProxyType(self._standings)

    def _forget(self) -> None:
        self._sizes: dict[str, int] = {}
        self._latest: dict[str, str] = {}
        self._last = BEFORE_ALL
        self._standings: Standings = {}

    def _go_on(self, there: Sequence[Ledger]) -> bool:
        """Fold what was not read before; false where some of it comes before what was folded (a merge brought it)."""
        fresh = [self._from(ledger, self._sizes.get(ledger.origin, 0)) for ledger in there]
        for place, entry in placed(fresh, dict(self._latest)):
            if place < self._last:
                return False
            _fold_one(self._standings, entry)
            self._last = place
            self._latest[entry.origin], self._sizes[entry.origin] = place[0], entry.index + 1
        return True

    def _from(self, ledger: Ledger, first: int) -> Iterable[LedgerEntry]:
        return ledger.entries(first) if self._entries is None else self._entries(ledger, first)


def quarantine(
    store: Path,
    run: str,
    findings: Sequence[Finding],
    *,
    report: str | None = None,
    live: LiveStandings | None = None,
) -> Entry | None:
    """Set a run aside because of what was found.

    Args:
        store: directory of the store.
        run: name of the run.
        findings: at least one.
        report: file in the store that tells more.
        live: standings of this store that others are asked from as well; None reads the ledgers for this run alone.

    Returns:
        The entry; None where the run is quarantined for the same findings already.

    Raises:
        StandingError: no finding, no such run, or it was rejected or replaced.
        LedgerCorruptError: the ledger cannot be read.
        StoreError: the ledger cannot be written.
        ResourceError: the disk or the quota is full.
    """
    if not findings:
        raise StandingError(
            f"expected findings to quarantine {run} for, got none; give a reason and reject it", run=run
        )
    digests = sorted(set(map(finding_digest, findings)))[:MOST_DIGESTS]
    before = _standing_of(store, run, live)
    if before.judgement is Judgement.QUARANTINED and list(before.quarantined_for) == digests:
        return None
    if before.judgement is Judgement.REJECTED or before.by is not None:
        raise _refused("quarantine", run, before, "it is set aside already")
    content: dict[str, Any] = {
        "run": run,
        "codes": sorted({finding.code.value for finding in findings}),
        "digests": digests,
        "findings": [finding.to_json() for finding in findings[:MOST_FINDINGS]],
        "count": len(findings),
        "report": report,
    }
    return _append(store, "quarantine", content)


def release(store: Path, run: str, reason: str) -> Entry:
    """Take a run out of quarantine: somebody has looked, and vouches for it.

    Args:
        store: directory of the store.
        run: name of the run.
        reason: why, not empty.

    Returns:
        The entry.

    Raises:
        StandingError: the run is not quarantined, or there is no reason.
        StoreError, ResourceError: as :func:`quarantine`.
    """
    _require_reason("release", run, reason)
    before = _standing_of(store, run)
    if before.judgement is not Judgement.QUARANTINED:
        raise _refused("release", run, before, "only a quarantined run can be released")
    return _append(store, "release", {"run": run, "reason": reason})


def reject(store: Path, run: str, reason: str) -> Entry:
    """Declare a run void, for good; its files stay.

    Args:
        store: directory of the store.
        run: name of the run.
        reason: why, not empty.

    Returns:
        The entry.

    Raises:
        StandingError: the run was rejected or replaced before, or there is no reason.
        StoreError, ResourceError: as :func:`quarantine`.
    """
    _require_reason("reject", run, reason)
    before = _standing_of(store, run)
    if before.judgement is Judgement.REJECTED or before.by is not None:
        raise _refused("reject", run, before, "there is nothing left to reject")
    return _append(store, "reject", {"run": run, "reason": reason})


def note_repair(store: Path, run: str, by: str | None, what: str, *, live: LiveStandings | None = None) -> Entry:
    """Remember that a run was repaired.

    Args:
        store: directory of the store.
        run: name of the run.
        by: the run that takes its place; None where its own files were put right.
        what: one sentence.
        live: as :func:`quarantine`.

    Returns:
        The entry.

    Raises:
        StandingError: no such run, or it was rejected.
        StoreError, ResourceError: as :func:`quarantine`.
    """
    before = _standing_of(store, run, live)
    if before.judgement is Judgement.REJECTED:
        raise _refused("repair", run, before, "a rejected run stays as it is")
    return _append(store, "repair", {"run": run, "by": by, "what": what})


def _standing_of(store: Path, run: str, live: LiveStandings | None = None) -> Standing:
    known = (live or LiveStandings(store)).read().get(run)
    if known is not None:
        return known
    if run in ("", ".", "..") or Path(run).name != run or not (layout.runs_directory(store) / run).is_dir():
        raise StandingError(f"expected a run of {store}, got {run!r}; see `caligo store list`", run=run)
    return NO_STANDING


def _refused(what: str, run: str, before: Standing, why: str) -> StoreError:
    return StandingError(
        f"cannot {what} {run}: it is {before.text}, and {why}; see `caligo store validate`",
        run=run,
        standing=before.judgement.value,
    )


def _require_reason(what: str, run: str, reason: str) -> None:
    if not reason.strip():
        raise StandingError(f"expected a reason to {what} {run}, got none; say why in a sentence", run=run)


def _append(store: Path, kind: str, content: dict[str, Any]) -> Entry:
    from caligo.store.audit.ledger import Ledger

    return Ledger.open(store, create=True).append(kind, content)
