"""Pages as a browser shows them: on a phone and a desk, light and dark, on paper; nothing runs, nothing is asked for.

Covers: headless Chromium on a page of each kind, made of real and of hostile runs. Does not cover: what the pages say
(tests/test_reports.py), other browsers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from caligo.store import RunWriter, find_run

pytestmark = pytest.mark.acceptance

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)> ' & javascript:alert(3) \n\t\x1b[2J"
SIZES = ((360, 740), (1280, 900))
SCHEMES = ("light", "dark")
LEAST_CONTRAST = 4.5

CONTRAST = """
() => {
  const channel = (part) => { part /= 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; };
  const parts = (color) => color.match(/[0-9.]+/g).map(Number);
  const light = (rgb) => 0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2]);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const rgba = parts(getComputedStyle(node).backgroundColor);
      if (rgba.length < 4 || rgba[3] > 0) return rgba;
    }
    return [255, 255, 255];
  };
  const worst = {};
  for (const node of document.querySelectorAll('p, dt, dd, th, td, h1, h2, a, caption, .aside, code, text')) {
    if (!node.textContent.trim()) continue;
    const style = getComputedStyle(node);
    const ink = light(parts(node.tagName === 'text' ? style.fill : style.color)), paper = light(behind(node));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    worst[node.tagName] = Math.min(ratio, worst[node.tagName] ?? 99);
  }
  return worst;
}
"""
LAYOUT = """
() => ({
  scroll: document.documentElement.scrollWidth,
  client: document.documentElement.clientWidth,
  outside: [...document.querySelectorAll('figure, dl, h1, h2, p, .facts')].filter(
    (node) => node.getBoundingClientRect().right > document.documentElement.clientWidth + 1).length,
  plots: [...document.querySelectorAll('figure svg')].map((node) => node.getBoundingClientRect().width),
  least: Math.min(...[...document.querySelectorAll('figure svg text')].map(
    (node) => node.getBoundingClientRect().height)),
  overlaps: [...document.querySelectorAll('figure svg')].flatMap((svg) => {
    const boxes = [...svg.querySelectorAll('text')].map((node) => [node.textContent, node.getBoundingClientRect()]);
    const found = [];
    for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
      const [a, b] = [boxes[i][1], boxes[j][1]];
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
          Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
        found.push([boxes[i][0], boxes[j][0]]);
    }
    return found;
  }),
  clipped: [...document.querySelectorAll('figure svg')].flatMap((svg) => {
    const room = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter((node) => {
      const box = node.getBoundingClientRect();
      return box.left < room.left - 1 || box.right > room.right + 1 ||
        box.top < room.top - 1 || box.bottom > room.bottom + 1;
    }).map((node) => node.textContent);
  }),
  marked: [...document.querySelectorAll('svg')].every(
    (node) => node.getAttribute('role') === 'img' && document.getElementById(node.getAttribute('aria-labelledby'))),
  headings: [...document.querySelectorAll('h1, h2')].map((node) => node.tagName),
  captions: [...document.querySelectorAll('table')].every((node) => node.caption && node.caption.textContent.trim()),
  scripts: document.scripts.length,
})
"""


def caligo(*words: object) -> None:
    """A command, in this process."""
    from click.testing import CliRunner

    from caligo.cli import group

    done = CliRunner().invoke(group, [str(word) for word in words])
    assert done.exit_code == 0, done.output


def hostile_run(store: Path) -> Path:
    """A run whose every text is an attack, with two ranks; sealed."""
    configuration = {"qber": 0.02, "block_length": 4096, "strategy": HOSTILE, HOSTILE: HOSTILE, "list": [HOSTILE]}
    writer = RunWriter.create(store, "reconcile", configuration, engine={"engine": HOSTILE}, campaign="<i>spring</i>")
    for block in range(40):
        outcome = HOSTILE if block == 7 else "confirmed"
        writer.record({"block": block, "outcome": outcome, "payload_bits": 4096, "elapsed_ns": 10**6 + 999 * block})
    ranks = [
        {
            "rank": number, "host": HOSTILE, "threads": 1, "elapsed_s": 0.1, "memory_budget_bytes": 10**9,
            "peak_rss_bytes": 10**8, "sums": {"phases": {HOSTILE: [1, 10**7, 10**7], "decode": [40, 10**8, 10**7]},
            "counters": {"payload_bits": 81920, "blocks": 20}},
        }
        for number in range(2)
    ]  # fmt: skip
    writer.attach("ranks.json", json.dumps({"ranks": ranks}).encode())
    writer.seal({"blocks": 40, "blocks_failed": 1, "payload_length": 4096, "efficiency": 1.3, "warnings": [HOSTILE]})
    return writer.path


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind, by the command, in a directory whose name needs escaping in an address."""
    place = tmp_path_factory.mktemp("a page #1 & more")
    store = place / "store"
    hostile = hostile_run(store)
    for efficiency in ("1.25", "1.35"):
        words = ["--qber", "0.02", "--efficiency", efficiency, "-N", "2048", "-L", "8", "--frames", "400"]
        caligo("simulate", *words, "--store", store)
    first, last = sorted(path.name for path in (store / "runs").iterdir())[1:3]
    damaged = Path(shutil.copytree(find_run(store, first), place / "elsewhere" / first))
    os.chmod(damaged, 0o755)
    os.chmod(damaged / "records-main.jsonl", 0o644)
    (damaged / "records-main.jsonl").write_bytes(b"x" + (damaged / "records-main.jsonl").read_bytes())
    asked = {"run": [last], "hostile": [hostile.name], "comparison": [first, last], "store": [], "damaged": [damaged]}
    for name, runs in asked.items():
        caligo("store", "report", *runs, "--store", store, "--out", place / f"{name}.html")
    return {name: place / f"{name}.html" for name in asked}


@pytest.fixture(scope="module")
def browser(require: Any) -> Iterator[Any]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    require("chromium", chromium is not None, "no chromium on PATH")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, path: Path, size: tuple[int, int] = SIZES[0], scheme: str = "light") -> Iterator[Any]:
    """The page, watched: whatever it says, asks for, or opens fails the test."""
    trouble: list[str] = []
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    try:
        tab = context.new_page()
        tab.on("console", lambda message: trouble.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
        requests: list[str] = []
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(path.as_uri(), wait_until="load")
        yield tab
        assert trouble == []
        assert requests == [path.as_uri()]
    finally:
        context.close()


def test_pages_fit_phones_and_desks_and_can_be_read_in_light_and_dark(browser: Any, pages: dict[str, Path]) -> None:
    for name, path in pages.items():
        for size in SIZES:
            for scheme in SCHEMES:
                with opened(browser, path, size, scheme) as tab:
                    layout = tab.evaluate(LAYOUT)
                    worst = tab.evaluate(CONTRAST) if size == SIZES[1] else {}
                where = f"{name} at {size} {scheme}: {layout}"
                assert layout["scroll"] <= layout["client"], where
                assert layout["outside"] == 0, where
                assert layout["plots"], where
                assert min(layout["plots"]) > 0.85 * min(size[0], 480), where
                assert layout["least"] >= 9.0, where
                assert layout["overlaps"] == [], where
                assert layout["clipped"] == [], where
                assert layout["marked"], where
                assert layout["captions"], where
                assert layout["headings"][0] == "H1", where
                assert layout["headings"].count("H1") == 1, where
                assert layout["scripts"] == 0, where
                assert min(worst.values(), default=99) >= LEAST_CONTRAST, f"{where}: {worst}"


def test_no_two_words_of_a_plot_meet_whenever_its_runs_began(browser: Any, tmp_path: Path) -> None:
    """Axes of dates over seconds to years, from times of day that make long and short labels."""
    from caligo.reports.model import Axis, Plot, Series
    from caligo.reports.plots import draw_all

    seconds = (0.0, 1.0, 3.0, 7.0, 15.0, 40.0, 90.0, 200.0, 700.0, 1500.0, 4000.0, 8000.0, 20000.0, 40000.0)
    spans = [each / 86400.0 for each in seconds] + [0.7, 1.2, 3.0, 6.0, 11.0, 25.0, 60.0, 130.0, 300.0, 900.0, 4000.0]
    plots = [
        Plot(
            name=f"plot-{index}-{start:.4f}-{unit}".replace(".", "-").replace("/", "-"),
            title=f"{span} days from {start}",
            description="dates",
            x=Axis("validated (UTC)", "date"),
            y=Axis("information throughput", unit),
            series=(Series("a", "points", (start, start + span / 3.0, start + span), (low, 2.5 * low, 9.4 * low)),),
        )
        for index, span in enumerate(spans)
        for start in (20786.0, 20786.0941, 20786.99998, 20818.9)
        for unit, low in (("bit/s", 1.234e6), ("share", 0.0123))
    ]
    drawn, css = draw_all(plots)
    page = tmp_path / "dates.html"
    figures = "".join(f'<figure><h2 id="{name}-title">{name}</h2>{svg}</figure>' for name, svg in drawn.items())
    page.write_text(f"<!doctype html><meta charset=utf-8><style>svg{{width:100%}}{css}</style>{figures}")
    with opened(browser, page) as tab:
        layout = tab.evaluate(LAYOUT)
    assert len(layout["plots"]) == len(plots)
    assert layout["overlaps"] == []
    assert layout["clipped"] == []


def test_dark_plots_are_dark(browser: Any, pages: dict[str, Path]) -> None:
    inks = []
    for scheme in SCHEMES:
        with opened(browser, pages["run"], SIZES[1], scheme) as tab:
            inks.append(tab.evaluate("() => getComputedStyle(document.querySelector('figure svg text')).fill"))
    assert inks[0] != inks[1]


def test_pages_print(browser: Any, pages: dict[str, Path]) -> None:
    for name, path in pages.items():
        with opened(browser, path, SIZES[1], "dark") as tab:
            tab.emulate_media(media="print")
            paper = tab.evaluate("() => getComputedStyle(document.body).backgroundColor")
            assert paper == "rgb(255, 255, 255)"
            data = tab.pdf(format="A4")
        sheets = len(re.findall(rb"/Type\s*/Page\b", data))
        assert data.startswith(b"%PDF-"), name
        assert 1 <= sheets <= 12, (name, sheets)


def test_what_a_run_is_called_does_nothing(browser: Any, pages: dict[str, Path]) -> None:
    with opened(browser, pages["hostile"]) as tab:
        text = tab.evaluate("() => document.body.innerText")
        assert "<script>alert(1)</script>" in text
        assert "<i>spring</i>" in text
        tab.wait_for_timeout(100)


def test_the_policy_of_a_page_stops_a_script_that_got_into_it(
    browser: Any, pages: dict[str, Path], tmp_path: Path
) -> None:
    attacked = tmp_path / "attacked.html"
    attack = "<script>document.title='run'</script><img src='http://127.0.0.1:9/x' onerror=\"document.title='run'\">"
    attacked.write_text(pages["run"].read_text().replace("<main>", attack + "<main>"))
    context = browser.new_context()
    tab = context.new_page()
    answered: list[str] = []
    tab.on("response", lambda response: answered.append(response.url))
    tab.goto(attacked.as_uri(), wait_until="load")
    assert tab.title() != "run"
    assert answered == [attacked.as_uri()]
    context.close()


def test_sections_are_reached_by_the_keyboard(browser: Any, pages: dict[str, Path]) -> None:
    with opened(browser, pages["run"], SIZES[1]) as tab:
        tab.keyboard.press("Tab")
        link = tab.evaluate("() => [document.activeElement.tagName, document.activeElement.hash]")
        assert link[0] == "A"
        tab.keyboard.press("Enter")
        top = tab.evaluate("(hash) => document.querySelector(hash).getBoundingClientRect().top", link[1])
        assert top < 900
