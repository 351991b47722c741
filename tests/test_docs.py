"""The documentation is true: its code runs, its links lead somewhere, and the command line is documented whole.

Covers: every `python`, `console` and `bash` block of README.md and docs/*.md, in order, one namespace and one scratch
directory per page; links of every page; docs/cli.md against the commands themselves. Does not cover: the numbers a
block shows (they depend on the machine), and blocks of other languages (`text`, `json`, `mermaid`), which are not run.

In a `console` block, lines that start with `$ ` are commands and must succeed; `$ command  # exit 2` must end so. A
`make TARGET` is not run (the tests run under it) but its target must exist.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
ALL_PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").glob("**/*.md"))]
ALL_PAGES += sorted((REPOSITORY / "specs").glob("**/*.md"))
RUNNABLE = {"python", "console", "bash"}


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    words: str
    exit_code: int


def blocks(markdown: str) -> Iterator[Block]:
    """Fenced blocks with their language and the line they start on."""
    fence: str | None = None
    language, start, collected = "", 0, []
    for number, line in enumerate(markdown.splitlines(), 1):
        opened = re.match(r"^ {0,3}(`{3,}|~{3,})\s*([\w+-]*)", line)
        if fence is None and opened:
            fence, language, start, collected = opened.group(1), opened.group(2), number, []
        elif fence is not None and line.strip() == fence:
            yield Block(language, "\n".join(collected) + "\n", start)
            fence = None
        elif fence is not None:
            collected.append(line)
    assert fence is None, f"the block opened in line {start} is never closed"


def commands(text: str) -> Iterator[Command]:
    """The commands of a console block, continuation lines joined."""
    lines = iter(text.splitlines())
    for line in lines:
        if not line.startswith("$ "):
            continue
        words = line[2:]
        while words.endswith("\\"):
            words = words[:-1] + " " + next(lines).removeprefix("> ").strip()
        expected = re.search(r"\s+# exit (\d+)\s*$", words)
        yield Command(words[: expected.start()] if expected else words, int(expected.group(1)) if expected else 0)


def shell_environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))


def run_shell(script: str, expected: int, where: str, directory: Path) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env=shell_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == expected, f"{where}: {script}\nexit {done.returncode}, not {expected}\n{done.stdout}"


def run_page(markdown: str, name: str, directory: Path) -> int:
    """Run every runnable block; returns how many there were."""
    namespace: dict[str, Any] = {"__name__": "__docs__"}
    ran = 0
    for block in blocks(markdown):
        where = f"{name}:{block.line}"
        if block.language == "python":
            if ">>>" in block.text:
                runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
                test = doctest.DocTestParser().get_doctest(block.text, namespace, where, name, block.line)
                runner.run(test, clear_globs=False)
                namespace.update(test.globs)
                assert runner.failures == 0, f"{where}: its output is not what the page shows"
            else:
                exec(compile(block.text, where, "exec"), namespace)  # noqa: S102 - the page is ours
        elif block.language == "console":
            for command in commands(block.text):
                if command.words.startswith("make "):
                    assert set(command.words.split()[1:]) <= make_targets(), f"{where}: {command.words}: no such target"
                else:
                    run_shell(command.words, command.exit_code, where, directory)
        elif block.language == "bash":
            run_shell(block.text, 0, where, directory)
        else:
            continue
        ran += 1
    return ran


def anchors(markdown: str) -> set[str]:
    """Anchors of a page's headings, made as GitHub makes them."""
    found: set[str] = set()
    fenced = False
    for line in markdown.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        heading = None if fenced else re.match(r"^#{1,6}\s+(.*?)\s*#*$", line)
        if heading:
            text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.group(1)).replace("`", "").lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            count = sum(1 for other in found if other == slug or re.fullmatch(re.escape(slug) + r"-\d+", other))
            found.add(f"{slug}-{count}" if count else slug)
    return found


def broken_links(page: Path, markdown: str) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"`[^`\n]*`", "", prose)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"^(https?|mailto):", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or not file.is_relative_to(REPOSITORY):
            broken.append(f"{page.name}: {target}: no such file")
        elif anchor and file.suffix == ".md" and anchor not in anchors(markdown if not path else file.read_text()):
            broken.append(f"{page.name}: {target}: no such heading")
    return broken


def leaf_commands(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        path = f"{prefix} {name}"
        if isinstance(command, click.Group):
            yield from leaf_commands(command, path)
        else:
            yield path, command


def sections(markdown: str) -> dict[str, str]:
    """Heading text without backticks -> the text below it, down to the next heading of its level or higher."""
    found: dict[str, str] = {}
    headings = [
        (match.start(), match.end(), len(match.group(1)), match.group(2).replace("`", "").strip())
        for match in re.finditer(r"^(#{1,6})\s+(.*)$", markdown, flags=re.MULTILINE)
    ]
    for index, (_, end, level, title) in enumerate(headings):
        stop = next((start for start, _, other, _ in headings[index + 1 :] if other <= level), len(markdown))
        found[title] = markdown[end:stop]
    return found


def undocumented(page: str, path: str, command: click.Command) -> list[str]:
    """What docs/cli.md misses about one command, and what it says that is not so."""
    section = next(
        (text for title, text in sections(page).items() if re.match(re.escape(path) + r"(?![\w-])", title)), ""
    )
    if not section:
        return [f"{path}: no section"]
    mentioned = set(re.findall(r"(?<![\w-])(--[a-z][a-z0-9-]*)", section))
    missing, known = [], {"--help"}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            known.update(parameter.opts, parameter.secondary_opts)
            if not parameter.hidden and not mentioned & set(parameter.opts):
                missing.append(f"{path}: option {max(parameter.opts, key=len)} is not documented")
        else:
            shown = parameter.make_metavar(click.Context(command)).strip("[].")
            if shown not in section and shown not in next(t for t in sections(page) if t.startswith(path)):
                missing.append(f"{path}: argument {shown} is not documented")
    foreign = {word for line in re.findall(r"^\|?\s*`(--[a-z].*)$", section, flags=re.MULTILINE)
               for word in re.findall(r"`(--[a-z][a-z0-9-]*)", "`" + line.split("|")[0])}  # fmt: skip
    missing += [f"{path}: {word} is documented but does not exist" for word in sorted(foreign - known)]
    return missing


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_every_code_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALIGO_STORE", str(tmp_path / "store"))
    run_page(page.read_text(), page.relative_to(REPOSITORY).as_posix(), tmp_path)


def test_the_readme_has_a_tour_in_python_and_on_the_command_line() -> None:
    languages = [block.language for block in blocks((REPOSITORY / "README.md").read_text())]
    assert "python" in languages
    assert "console" in languages


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text()) == []


def test_every_command_and_option_is_documented() -> None:
    import caligo.cli

    page = (REPOSITORY / "docs" / "cli.md").read_text()
    found = [
        line
        for path, command in leaf_commands(caligo.cli.group, "caligo")
        for line in undocumented(page, path, command)
    ]
    assert not found, "\n".join(found)


def test_every_exit_code_is_documented() -> None:
    from caligo.errors import ExitCode

    page = (REPOSITORY / "docs" / "cli.md").read_text()
    missing = [
        code.name for code in ExitCode if not re.search(rf"^\|\s*`?{code.value}`?\s*\|", page, flags=re.MULTILINE)
    ]
    assert missing == []


# --- the checks themselves can fail -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page",
    [
        "```python\nassert 1 == 2\n```\n",
        "```python\n>>> 1 + 1\n3\n```\n",
        "```console\n$ false\n```\n",
        "```console\n$ true  # exit 2\n```\n",
        "```console\n$ make no-such-target\n```\n",
        "```bash\nfalse\ntrue\n```\n",
        "```python\nx = 1\n",
    ],
)
def test_a_page_that_lies_is_found(page: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run_page(page, "page.md", tmp_path)


def test_a_page_shares_one_namespace_and_one_directory(tmp_path: Path) -> None:
    page = (
        "```python\nx = 2\n```\ntext\n```python\n>>> x * 3\n6\n>>> y = x\n```\n```python\nassert y == 2\n```\n"
        "```console\n$ echo made \\\n    here > file\n$ test -s file\n$ exit 3  # exit 3\n```\n```text\nnot run\n```\n"
    )
    assert run_page(page, "page.md", tmp_path) == 4
    assert (tmp_path / "file").read_text() == "made here\n"


def test_a_link_that_leads_nowhere_is_found() -> None:
    page = REPOSITORY / "README.md"
    assert broken_links(
        page, "[a](no-such-file.md) [b](#no-such-heading) [c](Makefile) [d](https://example.org)\n# Yes\n[e](#yes)"
    ) == [
        "README.md: no-such-file.md: no such file",
        "README.md: #no-such-heading: no such heading",
    ]


def test_an_undocumented_option_is_found() -> None:
    command = click.Command(
        "x", params=[click.Option(["--alpha"]), click.Option(["-b", "--beta"]), click.Argument(["file"])]
    )
    page = "# `caligo x FILE`\n| `--alpha` | first |\n| `--gamma` | stale |\n# `caligo xy`\n`--beta`\n"
    assert undocumented(page, "caligo x", command) == [
        "caligo x: option --beta is not documented",
        "caligo x: --gamma is documented but does not exist",
    ]
    assert undocumented(page, "caligo y", command) == ["caligo y: no section"]
