"""What is decided once for a job over two keys, and kept in its work directory before anything follows from it.

Covers: the public random values, fingerprints by which other keys are noticed, what the sampled positions said. Does
not cover: the form of the work directory (:mod:`.work_directory`), what earlier attempts have done
(:mod:`.earlier_attempts`).
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from caligo.errors import KeyFileError
from caligo.jobs.job_file import JobFile
from caligo.jobs.reconcile_work import ReconcileWork, replayed_randomness
from caligo.jobs.work_directory import WorkDirectory
from caligo.keys import KeyPair, prepare_output_directory
from caligo.randomness import SecurityRandomness
from caligo.reconciliation.estimation import QberEstimate
from caligo.statistics import Proportion

__all__ = ["begin_keys", "plan_once"]


def begin_keys(job: JobFile, directory: WorkDirectory, keys: KeyPair) -> SecurityRandomness:
    """The public random values of the job, kept before they are used; and that the keys are those it began with.

    Args:
        job: over two keys.
        directory: where it is begun, or goes on.
        keys: opened.

    Raises:
        ConfigError: another job was begun in the directory, or the outputs are there already.
        KeyFileError: a key is another one than at the beginning, or cannot be read.
        ResourceError: the disk is full.
        StoreError: the directory cannot be written, or is damaged.
    """
    seed = job.options.seed
    held = directory.job()
    if held is None:
        if job.out is not None:
            prepare_output_directory(job.out, force=job.force)
        drawn = SecurityRandomness.draw() if seed is None else replayed_randomness(seed)
        held = directory.begin(
            {
                "digest": job.digest,
                "definition": job.definition(),
                "security_randomness": drawn.to_json(),
                "keys": _fingerprints(keys, drawn),
            }
        )
    directory.require_same(job.digest, os.fspath(job.path))
    randomness = SecurityRandomness.from_json(held["security_randomness"])
    found = _fingerprints(keys, randomness)
    for side, fingerprint in held["keys"].items():
        if found[side] != fingerprint:
            path = getattr(job.keys, side)
            raise KeyFileError(
                f"expected the key that the job was begun with, got another one in {path}; put it back, or remove "
                f"{job.work} to begin anew",
                path=str(path),
                work=str(job.work),
            )
    if job.out is not None:
        prepare_output_directory(job.out, force=True)
    return randomness


def plan_once(work: ReconcileWork, directory: WorkDirectory) -> None:
    """Plan for the QBER that is given; else for what the sample says, which is kept before the first block.

    Args:
        work: not planned yet.
        directory: of the job.

    Raises:
        ConfigError: the sample leaves no key, or no code fits.
        MemoryBudgetError: not even one decoder fits.
        KeyFileError: a key cannot be read.
        ResourceError: the disk is full.
        StoreError: the directory cannot be written, or is damaged.
    """
    if work.options.qber is not None:
        work.plan_for(work.options.qber)
        return
    plan = directory.plan()
    if plan is not None:
        work.estimate(_sample_from(plan["sample"]))
        return
    work.check_sample()
    directory.write_plan({"sample": _sample_to(work.estimate())})


def _fingerprints(keys: KeyPair, randomness: SecurityRandomness) -> dict[str, dict[str, Any]]:
    """Length of each key, and a keyed hash of 64 stretches of it, so that another file is noticed.

    Who has the work directory has the key files too; elsewhere these never go.
    """
    found = {}
    for side, key in (("alice", keys.alice), ("bob", keys.bob)):
        digest = hashlib.blake2b(key=randomness.sampling_seed, digest_size=16, person=b"caligo keys")
        bits = key.key_bits
        stretch = min(bits, 1 << 12)
        for start in sorted({(bits - stretch) * number // 63 for number in range(64)}):
            digest.update(key.read_bits(start, stretch).tobytes())
        found[side] = {"key_bits": bits, "fingerprint": digest.hexdigest()}
    return found


def _sample_to(estimate: QberEstimate) -> dict[str, Any]:
    def pair(counts: Proportion | None) -> list[int] | None:
        return None if counts is None else [counts.successes, counts.trials]

    return {
        "errors": estimate.errors,
        "sampled_bits": estimate.sampled_bits,
        "at_zero": pair(estimate.at_zero),
        "at_one": pair(estimate.at_one),
    }


def _sample_from(content: dict[str, Any]) -> QberEstimate:
    def pair(counts: list[int] | None) -> Proportion | None:
        return None if counts is None else Proportion(*counts)

    return QberEstimate(content["errors"], content["sampled_bits"], pair(content["at_zero"]), pair(content["at_one"]))
