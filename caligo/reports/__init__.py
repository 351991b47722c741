"""Pages over the store: a run, two runs compared, a store over time; as HTML, Markdown and JSON.

Covers: what a page says (:class:`PageModel`), made from what the store has, and its three forms. Does not cover:
reading and judging runs, which is `caligo.store`.

A page is one file. It asks for nothing from any network, runs no script, and is the same for the same store.
"""

from caligo.reports.comparisons import comparison_page
from caligo.reports.html import render_html
from caligo.reports.markdown import render_json, render_markdown
from caligo.reports.model import PageModel
from caligo.reports.runs import run_page
from caligo.reports.stores import store_page
from caligo.reports.writing import FORMS, write_page

__all__ = [
    "FORMS",
    "PageModel",
    "comparison_page",
    "render_html",
    "render_json",
    "render_markdown",
    "run_page",
    "store_page",
    "write_page",
]
