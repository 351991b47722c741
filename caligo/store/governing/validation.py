"""Validating a store: every run against its hashes, its records, its ledger entry and physical sense; then the store.

Covers: what `caligo store validate` finds. Does not cover: deciding what follows (:mod:`.governance`),
repair (:mod:`.repair`), reports of quarantined runs (:mod:`.quarantine_report`), validations
over time (:mod:`.validation_history`).

The same store gives the same findings in the same order with any number of workers. Writers and other validators may be
at work: a run that changes while it is read is read again, and what a writer at work leaves for a moment (a line not
yet whole, a seal not yet in the ledger) is no finding. Runs are read one after the other, their records streamed.

Source: ``specs/validation.md``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from caligo.errors import LedgerCorruptError, ResourceError, SchemaVersionError, StoreError
from caligo.store import files, layout
from caligo.store.findings import Code, Finding, Severity
from caligo.store.governing.governance import NO_STANDING, LiveStandings, Standing
from caligo.store.governing.verdicts import STALE_S, Verdict, is_temporary, judge_run, without_place

_OWN_NAMES = frozenset({"store.json", "runs", "conflicts", "ledger", "quarantine"})


@dataclass(frozen=True)
class StoreFinding:
    """One finding of a validation.

    Attributes:
        run: name of the run directory; None for a finding about the store.
        finding: what was found.
        settled: the run is set aside for it, or somebody vouched for it: nothing more to do.
        known_as: name that the run gives itself, where that is another.
    """

    run: str | None
    finding: Finding
    settled: bool = False
    known_as: str = ""

    def line(self) -> str:
        """The finding in one line, which the digest of a validation is over."""
        finding = self.finding
        return "\t".join((self.run or "", finding.code.value, finding.where, finding.what))

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return {"run": self.run, **self.finding.to_json(), "settled": self.settled}


@dataclass(frozen=True)
class Validation:
    """What was found.

    Attributes:
        store: absolute path.
        scope: names of the runs that were asked for; None: the whole store.
        runs: how many were read.
        findings: of the store, then of its runs by name; settled ones too.
        ledgers: entries of each ledger, by origin, that were there when it began.
    """

    store: Path
    scope: tuple[str, ...] | None
    runs: int
    findings: tuple[StoreFinding, ...]
    ledgers: Mapping[str, int] = field(default_factory=dict)

    @property
    def open_findings(self) -> tuple[StoreFinding, ...]:
        """Those that are not settled."""
        return tuple(item for item in self.findings if not item.settled)

    @property
    def by_code(self) -> dict[str, int]:
        """How many findings of each code are not settled."""
        counts: dict[str, int] = {}
        for item in self.open_findings:
            counts[item.finding.code.value] = counts.get(item.finding.code.value, 0) + 1
        return dict(sorted(counts.items()))

    @property
    def digest(self) -> str:
        """SHA-256 over the lines of all findings: the same store, the same digest."""
        text = "".join(f"{item.line()}\n" for item in self.findings)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def of_run(self, run: str) -> list[Finding]:
        """The findings of one run."""
        return [item.finding for item in self.findings if item.run == run]

    def unclean(self) -> list[str]:
        """Names of runs that are not as they should be, sorted: of directories, and what these call themselves.

        Damage counts though somebody vouched for it: such a run is released, and never verified.
        """
        bad = (item for item in self.findings if not item.settled or item.finding.severity is Severity.DAMAGE)
        return sorted({name for item in bad for name in (item.run, item.known_as) if name})

    def to_json(self) -> dict[str, Any]:
        """The validation as a JSON object."""
        return {
            "store": str(self.store),
            "runs": self.runs,
            "findings": [item.to_json() for item in self.findings],
            "open": len(self.open_findings),
            "by_code": self.by_code,
            "digest": self.digest,
        }


# --- the store ----------------------------------------------------------------------------------------------------


class Ledgers:
    """What the ledgers of a store say, as far as they can be read.

    Args:
        store: directory of the store.
    """

    def __init__(self, store: Path) -> None:
        self.store = store
        self.sizes: dict[str, int] = {}
        self._seals: dict[str, dict[str, set[str]]] = {}
        self._repairs: dict[str, list[dict[str, Any]]] = {}
        self.standings: Mapping[str, Standing] = {}
        self._live = LiveStandings(store, self._readable)
        self.read()

    def read(self) -> None:
        """Go on: read what was not there before; an entry that could not be read then is not tried again."""
        from caligo.store.audit.ledger import ledgers

        try:
            there = ledgers(self.store)
            self.sizes = {ledger.origin: ledger.size() for ledger in there}
        except StoreError:
            return
        self.standings = self._live.read()

    def seals(self, run: str) -> set[str]:
        """The seals of a run that any ledger tells of, as digests."""
        return {digest for told in self._seals.values() for digest in told.get(run, ())}

    def sealed_runs(self) -> set[str]:
        """The runs whose seal any ledger tells of."""
        return {run for told in self._seals.values() for run in told}

    def repairs(self) -> list[dict[str, Any]]:
        """What ``repair`` entries tell."""
        return [content for told in self._repairs.values() for content in told]

    def has_seal(self, verdict: Verdict) -> bool:
        """Whether a ledger has the seal of a run; true for a run without one."""
        return verdict.seal_sha256 is None or verdict.seal_sha256 in self.seals(verdict.run)

    def _readable(self, ledger: Any, first: int) -> Iterator[Any]:
        """Entries that can be read, and the seals they tell of; the others are findings of the ledger."""
        if not first:
            self._seals[ledger.origin], self._repairs[ledger.origin] = {}, []
        seals, repairs = self._seals[ledger.origin], self._repairs[ledger.origin]
        for index in range(first, self.sizes.get(ledger.origin, 0)):
            try:
                entry = ledger.entry(index)
            except (LedgerCorruptError, SchemaVersionError):
                if not ledger.entry_path(index).exists():
                    return  # a gap; that there are files beyond it is for the ledger's own findings
                continue
            if entry.kind == "seal":
                run, digest = entry.content.get("run"), entry.content.get("seal_sha256")
                if isinstance(run, str) and isinstance(digest, str):
                    seals.setdefault(run, set()).add(digest)
            elif entry.kind == "repair":
                repairs.append(entry.content)
            yield entry


def validate_store(
    store: str | os.PathLike[str],
    runs: Iterable[str | os.PathLike[str]] | None = None,
    *,
    workers: int = 1,
    now: datetime | None = None,
    on_run: Callable[[str], object] | None = None,
) -> Validation:
    """Validate a store, or some of its runs.

    Args:
        store: directory of the store.
        runs: directories or names of the runs to read; None: all, and the store itself.
        workers: processes that read runs, >= 1.
        now: time of the validation; None: this moment.
        on_run: told of each run that was read, in order.

    Returns:
        What was found; a function of the store and of ``now``.

    Raises:
        StoreError: there is no such store, or it cannot be read.
        ResourceError: a worker was killed.
    """
    base = Path(store).absolute()
    if not base.exists():  # a mistyped or unmounted store is not one without findings
        raise StoreError(f"expected a store at {base}, there is no such directory; check --store and CALIGO_STORE")
    moment = now or datetime.now(UTC)
    known = Ledgers(base)
    sizes = dict(known.sizes)
    scope = None if runs is None else tuple(sorted({Path(run).name for run in runs}))
    names = _run_names(base) if scope is None else list(scope)
    found: list[StoreFinding] = []
    seen: set[str] = set()
    unsure: list[Verdict] = []
    for verdict in _verdicts(base, names, moment, workers):
        if on_run is not None:
            on_run(verdict.name)
        seen.update((verdict.name, verdict.run))
        found += _found(known, verdict, verdict.findings)
        if verdict.abandoned or not known.has_seal(verdict):
            unsure.append(verdict)
    if unsure:
        found += _unsure(base, known, unsure)
    found.sort(key=lambda item: item.run or "")
    about_store = [] if scope is not None else list(_store_findings(base, known, seen, moment))
    return Validation(base, scope, len(names), (*about_store, *found), sizes)


def _run_names(store: Path) -> list[str]:
    runs = layout.runs_directory(store)
    try:
        with os.scandir(runs) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except FileNotFoundError:
        if store.exists() and not store.is_dir():
            raise StoreError(f"expected a store directory, {store} is a file; choose another with --store") from None
        return []
    except NotADirectoryError as error:
        raise StoreError(f"expected a directory of runs at {runs}; choose another store with --store") from error
    except OSError as error:
        raise files.storage_error(error, "list the store", runs) from error


def _verdicts(store: Path, names: Sequence[str], now: datetime, workers: int) -> Iterator[Verdict]:
    """The verdicts on runs in the order of their names, whoever reached them first."""
    runs = layout.runs_directory(store)
    if workers <= 1 or len(names) < 2:
        for name in names:
            yield judge_run(runs / name, now)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    size = max(1, min(_PIECE, len(names) // (4 * workers)))
    pieces = [names[start : start + size] for start in range(0, len(names), size)]
    with ProcessPoolExecutor(min(workers, len(pieces)), get_context("spawn")) as pool:
        try:
            for verdicts in pool.map(_judge_runs, (([str(runs / name) for name in piece], now) for piece in pieces)):
                yield from verdicts
        except BrokenProcessPool as error:
            raise ResourceError(
                f"expected {workers} processes to validate {store}, one was killed; use fewer with --workers",
                workers=workers,
            ) from error


_PIECE = 16
"""Runs that a worker reads at a time, at most."""


def _judge_runs(work: tuple[list[str], datetime]) -> list[Verdict]:
    paths, now = work
    return [judge_run(Path(path), now) for path in paths]


def _found(known: Ledgers, verdict: Verdict, findings: Iterable[Finding]) -> Iterator[StoreFinding]:
    """Findings of a run, in the light of where it stands."""
    standing = known.standings.get(verdict.run or verdict.name, NO_STANDING)
    known_as = "" if verdict.run == verdict.name else verdict.run
    for finding in findings:
        yield StoreFinding(verdict.name, finding, standing.settles(finding), known_as)


def _unsure(store: Path, known: Ledgers, verdicts: list[Verdict]) -> Iterator[StoreFinding]:
    """What is to be said of runs whose seal no ledger had at first, and of those that were left without an ending."""
    known.read()
    resumed = _resumed(store) if any(verdict.abandoned for verdict in verdicts) else set()
    for verdict in verdicts:
        if verdict.abandoned and verdict.run not in resumed:
            what = "it has no ending, and nobody writes it any more"
            yield from _found(known, verdict, [Finding(Code.WRITER_GONE, what, layout.RUN_FILE)])
        if known.has_seal(verdict):
            continue
        if known.seals(verdict.run):
            what = "the ledger has another seal of this run"
            yield from _found(known, verdict, [Finding(Code.SEAL_NOT_ADMITTED, what, layout.SEAL_FILE)])
        elif not verdict.fresh:
            what = "its seal is not in the ledger"
            yield from _found(known, verdict, [Finding(Code.NOT_ADMITTED, what, layout.SEAL_FILE)])


def _resumed(store: Path) -> set[str]:
    """Names of the runs that later ones go on with."""
    names: set[str] = set()
    runs = layout.runs_directory(store)
    for name in os.listdir(runs):
        with suppress(OSError, files.DocumentError):
            names.add(str(files.read_document(runs / name / layout.RUN_FILE, layout.RUN_FORM).get("resumes")))
    return names


def _store_findings(store: Path, known: Ledgers, seen: set[str], now: datetime) -> Iterator[StoreFinding]:
    """What is wrong beside the runs: ledgers, runs that are gone, conflicts, leftovers, foreign files."""
    from caligo.store.audit.ledger_check import verify_store

    for report in verify_store(store):
        for shown in report.findings:
            where = shown.where if shown.where == "store.json" else f"ledger/{report.origin}/{shown.where}"
            yield StoreFinding(None, Finding(shown.code, without_place(shown.what, store), where))
    for run in sorted(known.sealed_runs() - seen):
        finding = Finding(Code.RUN_GONE, "the ledger has its seal, the store has not the run", f"runs/{run}")
        if not (store / "runs" / run).is_dir():
            yield StoreFinding(run, finding, known.standings.get(run, NO_STANDING).settles(finding))
    yield from _conflicts(store, known)
    yield from _leftovers(store, now)


def _conflicts(store: Path, known: Ledgers) -> Iterator[StoreFinding]:
    """What merges kept aside."""
    from caligo.store.merge import find_conflicts

    for finding in find_conflicts(store):
        run = Path(finding.where).parts[1] if finding.code is Code.VERSIONS_CONFLICT else None
        yield StoreFinding(run, finding, known.standings.get(run or "", NO_STANDING).settles(finding))


def _listed(place: Path) -> list[str]:
    """Names in a directory that are not hidden; none where there is no directory."""
    try:
        return sorted(name for name in os.listdir(place) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise files.storage_error(error, "list the store", place) from error


def _leftovers(store: Path, now: datetime) -> Iterator[StoreFinding]:
    """Hidden remains of killed processes, outside of runs, and what nobody of caligo put there."""
    for name in _listed(store):
        if name not in _OWN_NAMES:
            yield StoreFinding(None, Finding(Code.FOREIGN_FILE, "caligo puts nothing of this name here", name))
    for name in _listed(layout.runs_directory(store)):
        if not (layout.runs_directory(store) / name).is_dir():
            yield StoreFinding(None, Finding(Code.FOREIGN_FILE, "it is no run directory", f"runs/{name}"))
    from caligo.store.merge import unfinished_merges

    for place in unfinished_merges(store):
        with suppress(OSError):
            if now.timestamp() - place.stat().st_mtime >= STALE_S:
                what = "a merge works here since yesterday, or was killed"
                where = place.relative_to(store).as_posix()
                yield StoreFinding(None, Finding(Code.MERGE_UNFINISHED, what, where))
    for place in stale_temporaries(store, now):
        where = place.relative_to(store).as_posix()
        yield StoreFinding(None, Finding(Code.STALE_TEMPORARY, "a write that was never finished", where))


def stale_temporaries(store: Path, now: datetime) -> list[Path]:
    """What caligo has not finished in a store, outside of runs, and is older than a day; sorted.

    Args:
        store: directory of the store.
        now: time of the validation.
    """
    found: list[Path] = []
    runs = layout.runs_directory(store)
    for directory, inner, names in os.walk(store):
        place = Path(directory)
        for name in filter(is_temporary, (*inner, *names)):
            with suppress(OSError):
                if now.timestamp() - (place / name).lstat().st_mtime >= STALE_S:
                    found.append(place / name)
        inner[:] = [] if place == runs else sorted(name for name in inner if not name.startswith("."))
    return sorted(found)


# --- what follows -------------------------------------------------------------------------------------------------

MOST_NAMES = 4000
"""Runs that an entry can name."""


def record_validation(validation: Validation) -> Any:
    """Append what a validation found to the ledger of its store.

    Args:
        validation: of the whole store, or of some runs.

    Returns:
        The entry: ``by_code``, ``findings``, ``runs``, ``digest``, ``scope``, ``ledgers``, ``unclean``; ``unclean`` is
        null where more runs had findings than an entry can name, and then it verifies none.

    Raises:
        LedgerCorruptError: the ledger cannot be read.
        StoreError: it cannot be written.
        ResourceError: the disk or the quota is full.
    """
    from caligo.store.audit.ledger import Ledger

    unclean, scope = validation.unclean(), validation.scope
    content = {
        "by_code": validation.by_code,
        "findings": len(validation.open_findings),
        "settled": len(validation.findings) - len(validation.open_findings),
        "runs": validation.runs,
        "digest": validation.digest,
        "scope": None if scope is None else list(scope[:MOST_NAMES]),
        "ledgers": dict(validation.ledgers),
        "unclean": unclean if len(unclean) <= MOST_NAMES else None,
    }
    return Ledger.open(validation.store, create=True).append("validation", content)


def damaged_runs(validation: Validation) -> dict[str, list[Finding]]:
    """Runs with damage that is not settled, each with all of its findings, by the name that the ledgers know.

    Args:
        validation: any.
    """
    of_runs: dict[str, list[Finding]] = {}
    for item in validation.findings:
        if item.run is not None:
            of_runs.setdefault(item.run, []).append(item.finding)
    wanted: dict[str, list[Finding]] = {}
    for item in validation.open_findings:
        if item.run is not None and item.finding.severity is Severity.DAMAGE:
            wanted.setdefault(item.known_as or item.run, of_runs[item.run])
    return dict(sorted(wanted.items()))
