"""Where runs come from and what was made of them, as a graph.

Covers: campaigns and their runs, attempts that resume others, runs that derive from others (replays among them),
repairs, bundles, baselines and reports, from the documents of runs and the entries of all ledgers of the store. Does
not cover: what a run is worth (:mod:`caligo.store.governing.governance`), whether the ledgers are whole
(:mod:`caligo.store.audit.ledger_check`).

Every arrow points from what was first to what came of it, so a graph of true documents has no cycle; one that has is
reported with the cycles named. A run that is only spoken of is in the graph as missing.
"""

from __future__ import annotations

import graphlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from caligo.errors import StoreError
from caligo.store.audit.ledger import Entry, ledgers
from caligo.store.indexing.index import open_index

__all__ = ["Edge", "Lineage", "Node", "dot_text", "find_lineage", "lineage_of", "mermaid_text", "tree_lines"]

_COLUMNS = ("run", "kind", "identity", "state", "standing", "started_at", "campaign", "resumes", "parents")


@dataclass(frozen=True, order=True)
class Node:
    """A thing of the graph.

    Args:
        kind: `campaign`, `run`, `bundle`, `baseline` or `report`.
        name: of a run its name, of a campaign or baseline too, of a bundle or report its SHA-256.
    """

    kind: str
    name: str

    @property
    def label(self) -> str:
        """For people: the name, digests shortened."""
        return f"{self.name[:16]}..." if self.kind in ("bundle", "report") and len(self.name) > 19 else self.name


@dataclass(frozen=True, order=True)
class Edge:
    """An arrow from what was first to what came of it.

    Args:
        first: where it begins.
        relation: `run`, `resumed by`, `parent of`, `replayed as`, `repaired by`, `bundled as`, `in baseline` or
            `reported in`.
        then: where it ends.
    """

    first: Node
    relation: str
    then: Node


@dataclass(frozen=True)
class Lineage:
    """A graph.

    Args:
        facts: every node, and what is known of it: of a run `kind`, `state`, `standing` and `started_at`, or
            `missing`; of what the ledgers tell, `at`.
        edges: sorted.
        cycles: nodes that come of themselves; empty for true documents.
        problems: what could not be read.
    """

    facts: Mapping[Node, Mapping[str, Any]]
    edges: tuple[Edge, ...]
    cycles: tuple[tuple[Node, ...], ...] = ()
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The graph as a JSON object: nodes by number, edges between numbers."""
        nodes = sorted(self.facts)
        numbers = {node: number for number, node in enumerate(nodes)}
        return {
            "nodes": [{"type": node.kind, "name": node.name, **self.facts[node]} for node in nodes],
            "edges": [
                {"from": numbers[edge.first], "relation": edge.relation, "to": numbers[edge.then]}
                for edge in self.edges
            ],
            "cycles": [[numbers[node] for node in cycle] for cycle in self.cycles],
            "problems": list(self.problems),
        }


@dataclass
class _Draft:
    facts: dict[Node, dict[str, Any]] = field(default_factory=dict)
    edges: set[Edge] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def run(self, name: str) -> Node:
        """The node of a run, missing unless it is known."""
        node = Node("run", name)
        self.facts.setdefault(node, {"missing": True})
        return node

    def link(self, first: Node, relation: str, then: Node) -> None:
        self.edges.add(Edge(first, relation, then))


def find_lineage(store: str | os.PathLike[str], *, url: str | None = None) -> Lineage:
    """The graph of a whole store.

    Args:
        store: its directory.
        url: of the index, see :class:`caligo.store.indexing.index.Index`.

    Raises:
        StoreError: the store cannot be read.
    """
    draft = _Draft()
    with open_index(store, url) as index:
        index.refresh()
        rows = index.rows(_COLUMNS, include_set_aside=True)
    known = {str(row["run"]): row for row in rows}
    for name, row in known.items():
        told = ("kind", "state", "standing", "started_at", "identity")
        draft.facts[Node("run", name)] = {str(key): row[key] for key in told if key in row}
    for name, row in known.items():
        node = Node("run", name)
        if "campaign" in row:
            campaign = Node("campaign", str(row["campaign"]))
            draft.facts.setdefault(campaign, {})
            draft.link(campaign, "run", node)
        if "resumes" in row:
            draft.link(draft.run(str(row["resumes"])), "resumed by", node)
        for parent in _names(row.get("parents")):
            same = parent in known and "identity" in row and known[parent].get("identity") == row["identity"]
            draft.link(draft.run(parent), "replayed as" if same else "parent of", node)
    for entry in _entries(Path(store), draft.problems):
        _add_entry(draft, entry)
    repaired = {(edge.first, edge.then) for edge in draft.edges if edge.relation == "repaired by"}
    draft.edges -= {Edge(first, told, then) for first, then in repaired for told in ("replayed as", "parent of")}
    return _finished(draft.facts, draft.edges, draft.problems)


def _names(value: object) -> list[str]:
    """A list of names, as a row of the index holds it."""
    try:
        names = json.loads(value) if isinstance(value, str) else []
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _entries(store: Path, problems: list[str]) -> Iterator[Entry]:
    """The entries of all ledgers, as far as they can be read."""
    try:
        for ledger in ledgers(store):
            try:
                yield from ledger.entries()
            except StoreError as error:
                problems.append(f"ledger {ledger.origin[:8]}: {error.message}")
    except StoreError as error:
        problems.append(error.message)


def _add_entry(draft: _Draft, entry: Entry) -> None:
    content = entry.content
    listed = content.get("runs")
    names = [content["run"]] if isinstance(content.get("run"), str) else listed if isinstance(listed, list) else []
    runs = [name for name in names if isinstance(name, str)]
    sha256, name = content.get("sha256"), content.get("name")
    if entry.kind == "repair" and isinstance(content.get("by"), str):
        for run in runs:
            draft.link(draft.run(run), "repaired by", draft.run(content["by"]))
    elif entry.kind in ("bundle", "report") and isinstance(sha256, str):
        made = Node(entry.kind, sha256)
        draft.facts.setdefault(made, {"at": entry.at})
        for run in runs:
            draft.link(draft.run(run), "bundled as" if entry.kind == "bundle" else "reported in", made)
    elif entry.kind == "baseline" and isinstance(name, str):
        baseline = Node("baseline", f"{name} ({entry.origin[:8]}/{entry.index})")
        draft.facts[baseline] = {"at": entry.at}
        for run in runs:
            draft.link(draft.run(run), "in baseline", baseline)


def _finished(facts: Mapping[Node, dict[str, Any]], edges: Iterable[Edge], problems: Iterable[str]) -> Lineage:
    ordered = {node: facts[node] for node in sorted(facts)}
    arrows = tuple(sorted(edges))
    return Lineage(ordered, arrows, tuple(_cycles(arrows)), tuple(problems))


def _cycles(edges: Iterable[Edge]) -> Iterator[tuple[Node, ...]]:
    """A set of cycles without which there are none: each is named, and cut, until the graph can be sorted."""
    before: dict[Node, list[Node]] = {}
    for edge in edges:
        before.setdefault(edge.then, []).append(edge.first)
    while True:
        try:
            graphlib.TopologicalSorter(before).prepare()
        except graphlib.CycleError as error:
            cycle: list[Node] = error.args[1]
            before[cycle[1]] = [node for node in before[cycle[1]] if node != cycle[0]]
            turned = cycle[:-1]
            start = turned.index(min(turned))
            yield tuple(turned[start:] + turned[:start])
        else:
            return


def lineage_of(graph: Lineage, run: str) -> Lineage:
    """What one run came of, and what came of it.

    Args:
        graph: of the store.
        run: name of a run.

    Returns:
        Its ancestors and descendants; other runs of its campaign are left out.

    Raises:
        StoreError: the graph has no such run.
    """
    start = Node("run", run)
    if start not in graph.facts:
        raise StoreError(f"expected a run of the store, got {run!r}; see `caligo store list`", run=run)
    after: dict[Node, list[Node]] = {}
    before: dict[Node, list[Node]] = {}
    for edge in graph.edges:
        after.setdefault(edge.first, []).append(edge.then)
        before.setdefault(edge.then, []).append(edge.first)
    kept = _reached(start, after) | _reached(start, before)
    edges = [edge for edge in graph.edges if edge.first in kept and edge.then in kept]
    return _finished({node: dict(graph.facts[node]) for node in kept}, edges, graph.problems)


def _reached(start: Node, arrows: Mapping[Node, list[Node]]) -> set[Node]:
    reached, waiting = {start}, [start]
    while waiting:
        for node in arrows.get(waiting.pop(), []):
            if node not in reached:
                reached.add(node)
                waiting.append(node)
    return reached


# --- drawn ---------------------------------------------------------------------------------------------------------


def tree_lines(graph: Lineage) -> Iterator[str]:
    """The graph as an indented tree; a node that came of several is spelled out once and named again elsewhere.

    Yields:
        Lines without a line end; names as they are.
    """
    after: dict[Node, list[Edge]] = {}
    heads = {edge.then for edge in graph.edges}
    for edge in graph.edges:
        after.setdefault(edge.first, []).append(edge)
    shown: set[Node] = set()

    def from_root(root: Node) -> Iterator[str]:
        waiting: list[tuple[Node, str, int]] = [(root, "", 0)]
        while waiting:
            node, relation, depth = waiting.pop()
            again = node in shown
            text = _described(node, graph.facts[node]) + (" (above)" if again and node in after else "")
            yield "  " * depth + (f"{relation}: " if relation and relation != "run" else "") + text
            if not again:
                shown.add(node)
                order = sorted(after.get(node, []), key=lambda edge: (edge.relation, edge.then), reverse=True)
                waiting.extend((edge.then, edge.relation, depth + 1) for edge in order)

    for root in graph.facts:
        if root not in heads:
            yield from from_root(root)
    for node in graph.facts:  # only what is on a cycle, or behind one, is left
        if node not in shown:
            yield from from_root(node)


def _described(node: Node, facts: Mapping[str, Any]) -> str:
    told = [str(facts[key]) for key in ("state", "standing", "at") if facts.get(key)]
    if facts.get("missing"):
        told.append("missing")
    prefix = "" if node.kind == "run" else f"{node.kind} "
    return f"{prefix}{node.label}" + (f"  [{', '.join(told)}]" if told else "")


def dot_text(graph: Lineage) -> str:
    """The graph in Graphviz's language."""
    shapes = {"campaign": "folder", "run": "box", "bundle": "component", "baseline": "cds", "report": "note"}
    numbers = {node: number for number, node in enumerate(graph.facts)}
    lines = ["digraph lineage {", "  rankdir=LR;"]
    for node, number in numbers.items():
        style = ", style=dashed" if graph.facts[node].get("missing") else ""
        lines.append(f"  n{number} [label={_quoted(_drawn(node))}, shape={shapes[node.kind]}{style}];")
    for edge in graph.edges:
        lines.append(f"  n{numbers[edge.first]} -> n{numbers[edge.then]} [label={_quoted(edge.relation)}];")
    return "\n".join([*lines, "}", ""])


def mermaid_text(graph: Lineage) -> str:
    """The graph in Mermaid's language."""
    numbers = {node: number for number, node in enumerate(graph.facts)}
    lines = ["graph LR"]
    for node, number in numbers.items():
        text = "".join(char if char.isalnum() or char in " -_." else f"#{ord(char)};" for char in _drawn(node))
        lines.append(f'  n{number}["{text}"]')
    for edge in graph.edges:
        lines.append(f"  n{numbers[edge.first]} -->|{edge.relation}| n{numbers[edge.then]}")
    return "\n".join([*lines, ""])


def _drawn(node: Node) -> str:
    return node.label if node.kind == "run" else f"{node.kind} {node.label}"


def _quoted(text: str) -> str:
    """Text as Graphviz reads it; control characters become U+FFFD."""
    clean = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'
