"""Laws of lineage: every arrow is drawn, nothing is drawn twice, a cycle is named, and no name breaks the drawing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.cli import main
from caligo.errors import StoreError
from caligo.store import RunWriter, load_run
from caligo.store.audit.ledger import Ledger
from caligo.store.comparing.lineage import (
    Edge,
    Lineage,
    Node,
    dot_text,
    find_lineage,
    lineage_of,
    mermaid_text,
    tree_lines,
)
from caligo.store.files import document_bytes


def run(store: Path, number: int = 0, **options: Any) -> str:
    with RunWriter.create(store, "simulate", {"n": number}, **options) as writer:
        writer.seal({})
    return writer.name


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def relations(graph: Lineage) -> set[tuple[str, str, str]]:
    return {(edge.first.name, edge.relation, edge.then.name) for edge in graph.edges}


def test_a_salvaged_run_repairs_and_is_no_replay(store: Path) -> None:
    killed = run(store)
    salvaged = run(store, parents=[killed])
    Ledger.open(store, create=True).append("repair", {"run": killed, "by": salvaged, "what": "x"})
    assert relations(find_lineage(store)) == {(killed, "repaired by", salvaged)}


def test_every_kind_of_descent_is_an_arrow(store: Path) -> None:
    first = run(store, campaign="night 7")
    again = run(store, campaign="night 7", resumes=first)
    replayed = run(store, parents=[first])
    derived = run(store, 1, parents=[first, "20200101T000000.000Z-simulate-00000000"])
    ledger = Ledger.open(store, create=True)
    ledger.append("repair", {"run": derived, "by": again, "what": "x"})
    ledger.append("bundle", {"run": first, "sha256": "ab" * 32, "key_id": "k"})
    ledger.append("report", {"runs": [first, again], "sha256": "cd" * 32})
    entry = ledger.append("baseline", {"name": "main", "selector": "", "runs": [first]})
    ledger.append("validation", {"runs": 3})
    graph = find_lineage(store)
    assert relations(graph) == {
        ("night 7", "run", first),
        ("night 7", "run", again),
        (first, "resumed by", again),
        (first, "replayed as", replayed),
        (first, "parent of", derived),
        ("20200101T000000.000Z-simulate-00000000", "parent of", derived),
        (derived, "repaired by", again),
        (first, "bundled as", "ab" * 32),
        (first, "reported in", "cd" * 32),
        (again, "reported in", "cd" * 32),
        (first, "in baseline", f"main ({ledger.origin[:8]}/{entry.index})"),
    }
    assert (graph.cycles, graph.problems) == ((), ())
    missing = [node.name for node, facts in graph.facts.items() if facts.get("missing")]
    assert missing == ["20200101T000000.000Z-simulate-00000000"]
    assert find_lineage(store) == graph


def test_the_lineage_of_one_run_has_its_ancestors_and_descendants_alone(store: Path) -> None:
    first = run(store, campaign="c")
    sibling = run(store, campaign="c")
    child = run(store, 1, parents=[first])
    grandchild = run(store, 2, parents=[child])
    graph = find_lineage(store)
    assert {node.name for node in lineage_of(graph, child).facts} == {"c", first, child, grandchild}
    assert sibling not in {node.name for node in lineage_of(graph, first).facts}
    with pytest.raises(StoreError, match="expected a run"):
        lineage_of(graph, "none")


def rewritten(store: Path, name: str, **members: Any) -> None:
    """The run's document with other members and a right hash: what only a forger writes."""
    path = store / "runs" / name / "run.json"
    document = load_run(path.parent, verify=False).document | members
    path.chmod(0o644)
    path.write_bytes(document_bytes(document))


def test_a_forged_cycle_is_named_and_has_its_exit_code(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, c = (run(store, number) for number in range(3))
    rewritten(store, a, parents=[b])
    rewritten(store, b, parents=[a], resumes=b)
    graph = find_lineage(store)
    assert sorted(len(cycle) for cycle in graph.cycles) == [1, 2]
    assert {node.name for cycle in graph.cycles for node in cycle} == {a, b}
    assert c in "".join(tree_lines(graph))
    assert {line.strip().split("  ")[0].split(": ")[-1] for line in tree_lines(graph)} >= {a, b, c}
    assert main(["store", "lineage", "--store", str(store)]) == 8
    assert "a cycle: " in capsys.readouterr().err


def test_a_broken_ledger_is_a_problem_and_not_the_end(store: Path) -> None:
    name = run(store)
    ledger = Ledger.open(store, create=True)
    ledger.append("bundle", {"run": name, "sha256": "ab" * 32})
    path = ledger.entry_path(ledger.size() - 1)
    path.chmod(0o644)
    path.write_bytes(b"{}\n")
    graph = find_lineage(store)
    assert len(graph.problems) == 1
    assert Node("run", name) in graph.facts


NODES = st.sampled_from([Node("run", name) for name in ("a", 'b"]', "c\n", "d --> e", "f\\", "g;#")])


@given(st.lists(st.tuples(NODES, NODES), max_size=14))
def test_every_graph_can_be_drawn_and_its_cycles_are_those_that_are_there(pairs: list[tuple[Node, Node]]) -> None:
    from caligo.store.comparing.lineage import _finished

    edges = {Edge(first, "parent of", then) for first, then in pairs}
    nodes: dict[Node, dict[str, Any]] = {node: {} for pair in pairs for node in pair}
    graph = _finished(nodes, edges, ())
    lines = list(tree_lines(graph))
    assert len({line.strip() for line in lines if "(above)" not in line}) >= len(nodes)
    spelled = len(edges) + len([node for node in nodes if node not in {edge.then for edge in edges}])
    assert len(lines) >= spelled
    after: dict[Node, set[Node]] = {}
    for edge in edges:
        after.setdefault(edge.first, set()).add(edge.then)

    def returns(node: Node) -> bool:
        seen: set[Node] = set()
        waiting = list(after.get(node, ()))
        while waiting:
            one = waiting.pop()
            if one == node:
                return True
            if one not in seen:
                seen.add(one)
                waiting += after.get(one, ())
        return False

    on_cycles = {node for node in nodes if returns(node)}
    named = {node for cycle in graph.cycles for node in cycle}
    assert named <= on_cycles
    assert bool(named) == bool(on_cycles)
    for cycle in graph.cycles:
        assert all(Edge(a, "parent of", b) in edges for a, b in zip(cycle, (*cycle[1:], cycle[0]), strict=True))
    assert dot_text(graph).count("\n") == len(nodes) + len(edges) + 3
    mermaid = mermaid_text(graph).splitlines()
    assert len(mermaid) == 1 + len(nodes) + len(edges)
    assert all(line.count('"') in (0, 2) for line in mermaid)


def test_the_command_prints_a_tree_json_and_drawings(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "lineage", "--store", str(store)]) == 0
    assert "no run" in capsys.readouterr().err
    first = run(store, campaign="night")
    child = run(store, 1, parents=[first])
    assert main(["store", "lineage", "--store", str(store)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "campaign night",
        f"  {first}  [sealed]",
        f"    parent of: {child}  [sealed]",
    ]
    assert main(["store", "lineage", child[-8:], "--json", "--store", str(store)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "caligo.store-lineage/1"
    assert [(edge["from"], edge["relation"], edge["to"]) for edge in told["edges"]] == [
        (0, "run", 1),
        (1, "parent of", 2),
    ]
    for option, start in (("--dot", "digraph"), ("--mermaid", "graph LR")):
        assert main(["store", "lineage", option, "--store", str(store)]) == 0
        assert capsys.readouterr().out.startswith(start)
