"""Running a bundled run again, and holding it against its record.

Covers: simulations, reconciliations of both keys and measurements of a decoder, recorded by a command or by a job on
any number of ranks. Does not cover: the bundle (:mod:`caligo.store.bundles.bundle`), the comparison
(:mod:`.replay_comparison`), one party's runs (the other side is missing), sweeps, imported benchmarks.

The run is taken out of the bundle into a directory of its own, run again with the recorded configuration, seeds and
public random values, and recorded as a run whose parent it is. For a reconciliation the two key files are needed again:
a bundle has no bit of them, nor anything that tells whether they are the right ones, but other keys give other records.
"""

from __future__ import annotations

import filecmp
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

from caligo import _native
from caligo.errors import ConfigError, StoreError
from caligo.jobs.options import ReconcileOptions
from caligo.jobs.outputs import OUTPUT_NAMES
from caligo.jobs.reconcile_job import reconcile
from caligo.jobs.replay_comparison import Claim, Comparison, Verdict, compare_runs
from caligo.jobs.simulation_run import open_simulation, simulation_figures, simulation_of
from caligo.keys import BitOrder
from caligo.randomness import SecurityRandomness
from caligo.store import Run, RunWriter, State, find_run, load_run
from caligo.store.bundles.bundle import Bundle
from caligo.store.bundles.packages import installed_packages
from caligo.telemetry import NO_PROGRESS, Progress

__all__ = ["Measure", "Replay", "ReplayKeys", "replay"]

Measure: TypeAlias = Callable[[Run, Path, int, str | None], Path]
"""A run that measures the decoder as a recorded one did: recorded, store, threads, engine -> directory of the run."""


@dataclass(frozen=True)
class ReplayKeys:
    """The key files of a reconciliation, once more.

    Args:
        alice: Alice's.
        bob: Bob's.
        format: of both; None: by name and content.
        outputs: directory with the reconciled keys of then, to hold the new ones against.
    """

    alice: Path
    bob: Path
    format: str | None = None
    outputs: Path | None = None


@dataclass(frozen=True)
class Replay:
    """A run that was run again.

    Attributes:
        bundle: SHA-256 of the bundle.
        run: name of the recorded run.
        kind: of run.
        replayed: directory of the run that repeats it; None where it is not kept.
        comparison: claim by claim.
    """

    bundle: str
    run: str
    kind: str
    replayed: Path | None
    comparison: Comparison

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        return {
            "bundle_sha256": self.bundle,
            "run": self.run,
            "kind": self.kind,
            "replayed": None if self.replayed is None else os.fspath(self.replayed),
            "reproduced": self.comparison.reproduced,
            "claims": [claim.to_json() for claim in self.comparison.claims],
            "environment": [
                {"what": what, "recorded": recorded, "here": here}
                for what, recorded, here in self.comparison.environment
            ],
        }


def replay(
    bundle: Bundle,
    *,
    keys: ReplayKeys | None = None,
    threads: int | None = None,
    store: str | os.PathLike[str] | None = None,
    timings: bool = True,
    measure: Measure | None = None,
    progress: Progress = NO_PROGRESS,
) -> Replay:
    """Run again what a bundle records.

    Args:
        bundle: verified.
        keys: of a reconciliation.
        threads: worker threads; None: as many as then.
        store: to record the new run in; None: it is not kept.
        timings: compare times too, where they can be.
        measure: how a measurement of the decoder is made again (:func:`caligo.bench.decoder.measure_again`).
        progress: told of the work.

    Raises:
        ConfigError: this kind of run cannot be run again, or its keys are missing or superfluous.
        KeyFileError: a key file is missing or damaged, or the keys are not two sides of one key.
        ResourceError: memory or disk is exhausted.
        StoreError: the run in the bundle cannot be read, or the new one cannot be recorded.
    """
    with ExitStack() as stack:
        # Keys that are made again lie here, too: the directory is the owner's alone.
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="caligo-replay-")))
        recorded = load_run(bundle.extract_run(scratch / "recorded"))
        if recorded.state is not State.SEALED and not recorded.summary:
            raise StoreError(f"expected a sealed run in {bundle.path}, got one that is {recorded.state}")
        place = scratch / "replayed" if store is None else Path(store)
        attempt = _Attempt(recorded, scratch, place, threads, measure, progress)
        path = attempt.run(keys)
        comparison = compare_runs(recorded, load_run(path), timings=timings)
        claims = (*_whole(recorded), *attempt.claims, *comparison.claims)
        environment = (*comparison.environment, *attempt.environment, *_packages(bundle))
        return Replay(
            bundle.sha256,
            recorded.name,
            recorded.kind,
            None if store is None else path,
            Comparison(claims, environment),
        )


def _whole(recorded: Run) -> Iterator[Claim]:
    """What is wrong with the run's own files, although the bundle is what was signed."""
    if recorded.findings:
        why = "; ".join(f"{finding.code}: {finding.what}" for finding in recorded.findings[:5])
        yield Claim("the run directory is what was sealed", Verdict.NOT_REPRODUCED, why=why)


def _packages(bundle: Bundle) -> Iterator[tuple[str, Any, Any]]:
    then, here = bundle.predicate["environment"].get("packages", {}), installed_packages()
    for name in sorted({*then, *here}):
        if then.get(name) != here.get(name):
            yield f"package {name}", then.get(name), here.get(name)


class _Attempt:
    """One repetition: how it is run, and what it says beside its record."""

    def __init__(
        self,
        recorded: Run,
        scratch: Path,
        store: Path,
        threads: int | None,
        measure: Measure | None,
        progress: Progress,
    ) -> None:
        self.claims: list[Claim] = []
        self.environment: list[tuple[str, Any, Any]] = []
        self._progress = progress
        self._measure = measure
        self._recorded = recorded
        self._scratch = scratch
        self._store = store
        usual = (recorded.summary or {}).get("threads") or recorded.configuration.get("threads")
        cores = len(os.sched_getaffinity(0))
        usual = usual if isinstance(usual, int) and usual > 0 else cores
        # How many threads there are is part of what a measurement measures.
        self._threads = threads or (usual if recorded.kind == "bench" else min(usual, cores))

    def run(self, keys: ReplayKeys | None) -> Path:
        """Do it again; returns the new run's directory."""
        kind, configuration = self._recorded.kind, self._recorded.configuration
        if kind == "reconcile" and "role" not in configuration:
            if keys is None:
                raise ConfigError(
                    "expected the two key files of the reconciliation, got none; name them with --alice and --bob: a "
                    "bundle has no bit of them"
                )
            return self._reconcile(keys)
        if keys is not None:
            raise ConfigError(f"expected no key files for a run of kind {kind}, got some; leave them out")
        if kind == "simulate":
            return self._simulate()
        if kind == "bench" and configuration.get("command") == "bench decoder":
            if self._measure is None:
                raise ConfigError("expected a way to measure the decoder again, got none; pass measure")
            return self._measure(self._recorded, self._store, self._threads, self._engine(_engine_of(self._recorded)))
        raise ConfigError(
            f"expected a simulation, a reconciliation of both keys or a measurement by `caligo bench decoder`, got "
            f"{self._recorded.name}; it can be verified and compared, not run again",
            kind=kind,
        )

    def _engine(self, asked: str | None) -> str | None:
        """The engine that was asked for, where this CPU has it."""
        if asked is None or asked in _native.engines():
            return asked
        self.environment.append(("engine asked for", asked, None))
        return None

    def _simulate(self) -> Path:
        recorded = self._recorded
        table = simulation_of(recorded.configuration)
        table = replace(table, engine=self._engine(table.engine))
        code = table.code()
        configuration = {**recorded.configuration, "threads": self._threads}
        if "code_digest" in configuration:
            configuration["code_digest"] = code.digest
        seed = recorded.document["seeds"].get("simulation")
        if not isinstance(seed, int | str):
            raise ConfigError(f"expected the seed of the simulation in {recorded.name}, got {seed!r}")
        with (
            open_simulation(table, code, seed=int(seed), threads=self._threads) as simulation,
            RunWriter.create(
                self._store,
                "simulate",
                configuration,
                seeds=recorded.document["seeds"],
                engine={"engine": simulation.engine, "precision": simulation.precision},
                identity_excludes=recorded.document["identity_excludes"],
                parents=[recorded.name],
            ) as run,
        ):
            self._progress.start("simulating", table.frames, "frames")

            def keep(batch: Any) -> None:
                run.record_many(batch.records())
                self._progress.advance(len(batch))

            result = simulation.run(table.frames, table.max_frame_errors, on_batch=keep)
            figures = simulation_figures(result, code, simulation, table.qber)
            run.seal({**figures, "code_digest": code.digest, "threads": self._threads})
        return run.path

    def _reconcile(self, keys: ReplayKeys) -> Path:
        recorded = self._recorded
        configuration, document = recorded.configuration, recorded.document
        seed = document["seeds"].get("public_randomness")
        options = replace(_options(configuration), threads=self._threads, seed=None if seed is None else int(seed))
        options = replace(options, engine=self._engine(options.engine))
        outputs = None if keys.outputs is None else self._scratch / "keys"
        report = reconcile(
            keys.alice,
            keys.bob,
            options=options,
            key_bits=configuration["key_bits"],
            format=keys.format,
            bit_order=cast(BitOrder, configuration["bit_order"]),
            out=outputs,
            store=self._store,
            qber_from=self._earlier(configuration.get("qber_from")),
            randomness=SecurityRandomness.from_json(document["security_randomness"]),
            parents=(recorded.name,),
            progress=self._progress,
        )
        equal = report.keys_equal
        self.claims.append(
            Claim(
                "Alice's and Bob's reconciled keys are equal",
                Verdict.REPRODUCED if equal is (recorded.summary or {}).get("keys_equal") else Verdict.NOT_REPRODUCED,
                (recorded.summary or {}).get("keys_equal"),
                equal,
            )
        )
        self.claims += _output_claims(outputs, keys.outputs)
        return Path(cast(str, report.run))

    def _earlier(self, name: str | None) -> Path | None:
        """The run that told the error rate."""
        if name is None:
            return None
        try:
            return find_run(self._store, name)
        except StoreError as error:
            raise ConfigError(
                f"expected the run {name} in {self._store}, of which the error rate was taken, got none; name a store "
                "that has it with --store",
                run=name,
            ) from error


def _engine_of(run: Run) -> str | None:
    """The engine that measured."""
    name = run.document["engine"].get("engine")
    return name if isinstance(name, str) else None


def _options(configuration: Mapping[str, Any]) -> ReconcileOptions:
    """The options of a recorded reconciliation; those that it does not have are as they were before they came up."""
    given: dict[str, Any] = {}
    for item in fields(ReconcileOptions):
        if item.name in configuration:
            value = configuration[item.name]
            given[item.name] = tuple(value) if isinstance(value, list) else value
    return ReconcileOptions(**given)


def _output_claims(new: Path | None, old: Path | None) -> Iterator[Claim]:
    """Hold the reconciled keys against those of then, file by file; no bit of them is told."""
    if new is None or old is None:
        return
    for name in OUTPUT_NAMES:
        claim = f"the reconciled key {name}, bit for bit"
        try:
            same = filecmp.cmp(new / name, old / name, shallow=False)
        except OSError as error:
            yield Claim(claim, Verdict.NOT_COMPARABLE, why=f"{old / name}: {error.strerror}")
            continue
        yield Claim(claim, Verdict.REPRODUCED if same else Verdict.NOT_REPRODUCED)
