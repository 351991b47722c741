"""A page as one HTML file that needs nothing else: style and drawings are in it, and scripts are not allowed.

Covers: HTML from a page model, through the template `templates/page.html`. Does not cover: what the page says, and how
plots are drawn (:mod:`caligo.reports.plots`).

Everything that comes from a run is escaped by the template's engine. Beyond that, the page's own security policy allows
one style sheet, by its hash, and nothing else: no script, no picture, no font, no request.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

from caligo.errors import ResourceError
from caligo.reports.figures import shown
from caligo.reports.model import SCHEMA, PageModel
from caligo.reports.plots import draw_all


def render_html(page: PageModel) -> str:
    """The page as HTML, ended by one line feed.

    Args:
        page: what it says.

    Raises:
        ResourceError: Jinja2 or Matplotlib is not installed.
    """
    environment = _environment()
    drawings, rules = draw_all(page.plots())
    style = resources.files("caligo.reports").joinpath("templates", "page.css").read_text("utf-8") + rules + "\n"
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    text: str = environment.get_template("page.html").render(
        page=page, drawings=drawings, style=style, style_hash=digest, schema=SCHEMA
    )
    return text.rstrip("\n") + "\n"


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise ResourceError(
            "expected Jinja2 to write an HTML page, it is not installed; install it with "
            "`pip install 'caligo[report]'`, or write the other forms with --format md or --format json",
            module="jinja2",
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    return environment


def _template(name: str) -> str:
    return resources.files("caligo.reports").joinpath("templates", name).read_text("utf-8")
