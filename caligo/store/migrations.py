"""Older documents of a run, brought to the schema of this caligo.

Covers: one pure step per schema number and kind of document, and their chain. Does not cover: files; nothing on disk
changes when an old run is read (:mod:`caligo.store.reader`), and :mod:`caligo.store.migrated_copy` writes copies.

Each step takes a document of one schema and returns that of the next; it looks at nothing else, so the same document
always becomes the same. What a step cannot know it leaves null: an old run belongs to no campaign, as far as is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from caligo.errors import SchemaVersionError
from caligo.store import layout
from caligo.store.files import DocumentError

Step = Callable[[dict[str, Any]], dict[str, Any]]


def _run_1(content: dict[str, Any]) -> dict[str, Any]:
    """A run tells its campaign, and the runs it derives from."""
    told: dict[str, Any] = {"campaign": None, "parents": []}
    members: dict[str, Any] = {}
    for name, value in content.items():
        members[name] = value
        if name == "resumes":
            members |= told
    return members | told


def _seal_1(content: dict[str, Any]) -> dict[str, Any]:
    """A seal tells which older seal it was migrated from."""
    return {**content, "migrated_from": None}


def _interruption_1(content: dict[str, Any]) -> dict[str, Any]:
    """An interruption tells which older one it was migrated from."""
    return {**content, "migrated_from": None}


STEPS: dict[str, dict[int, Step]] = {
    layout.RUN_FORM: {1: _run_1},
    layout.SEAL_FORM: {1: _seal_1},
    layout.INTERRUPTION_FORM: {1: _interruption_1},
}
"""Format name -> schema number -> the step from that schema to the next."""


def migrate_document(content: Mapping[str, Any], form: str) -> dict[str, Any]:
    """A document as this caligo would have written it.

    Args:
        content: members of the document, ``schema`` among them.
        form: its format name, such as ``caligo.run``.

    Returns:
        A new object of schema :data:`caligo.store.layout.SCHEMA`; an equal one where it is of that schema already.

    Raises:
        DocumentError: it has no schema number.
        SchemaVersionError: it is of a newer schema.
    """
    schema = content.get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise DocumentError("it has no schema number")
    if schema > layout.SCHEMA:
        raise SchemaVersionError(
            f"schema {schema}, this caligo reads up to {layout.SCHEMA}; upgrade caligo, then read the run again",
            schema=schema,
            understood=layout.SCHEMA,
        )
    migrated = dict(content)
    for number in range(schema, layout.SCHEMA):
        migrated = STEPS[form][number](migrated)
        migrated["schema"] = number + 1
    return migrated
