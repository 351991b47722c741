"""Pages as files: whole or not at all, and in place of earlier pages only.

Covers: the forms of a page and their names, writing, entering a page in the ledger. Does not cover: what is on a page.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from caligo.errors import ConfigError
from caligo.reports.html import render_html
from caligo.reports.markdown import render_json, render_markdown
from caligo.reports.model import SCHEMA, PageModel
from caligo.store import files
from caligo.store.audit.ledger import Entry, Ledger

FORMS: dict[str, Callable[[PageModel], str]] = {"html": render_html, "md": render_markdown, "json": render_json}
"""Form of a page -> what makes it; the form is the file's suffix."""

_HEAD_BYTES = 1024


def page_name(text: str) -> str:
    """A file's name, without suffix, that any file system takes: other characters become hyphens.

    Args:
        text: such as the name of a run.
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:120] or "page"


def write_page(page: PageModel, out: str | os.PathLike[str], name: str, forms: Sequence[str] = ()) -> list[Path]:
    """Write a page in one form or several. The same page gives the same bytes.

    Args:
        page: what it says.
        out: a directory, made where there is none; or a file whose suffix is a form.
        name: of the files in that directory, without suffix.
        forms: of :data:`FORMS`; none is all of them in a directory, and that of its suffix for a file.

    Returns:
        The files, in the order of the forms.

    Raises:
        ConfigError: an unknown form; a file and other forms than its suffix; or a file is in the way that is no page.
        ResourceError: a library is missing that HTML needs, or there is no space.
        StoreError: a file cannot be written.
    """
    place = Path(out)
    suffix = place.suffix.removeprefix(".")
    wanted = tuple(dict.fromkeys(forms))
    if suffix in FORMS and not place.is_dir():
        if wanted not in ((), (suffix,)):
            raise ConfigError(
                f"expected a directory for the forms {', '.join(wanted)}, got the file {place}; leave its suffix out, "
                "or the forms"
            )
        paths = {suffix: place}
    else:
        paths = {form: place / f"{name}.{form}" for form in wanted or FORMS}
    for form in paths:
        if form not in FORMS:
            raise ConfigError(f"expected a form of {', '.join(FORMS)}, got {form!r}", form=form)
    for path in paths.values():
        _refuse_another_file(path)
    texts = {form: FORMS[form](page) for form in paths}
    for form, path in paths.items():
        with files.storing("write a page", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            files.put_whole(path, texts[form].encode("utf-8"))
    return list(paths.values())


def enter_page(store: str | os.PathLike[str], runs: Sequence[str], path: Path) -> Entry:
    """Enter a page that was written in the ledger of a store, so that it is in the lineage of its runs.

    Args:
        store: directory of the store.
        runs: names of the runs that it is about.
        path: its file.

    Returns:
        The entry, of kind ``report``: ``runs``, ``sha256`` over the bytes of the file, ``form``.

    Raises:
        StoreError: the page cannot be read, or the ledger not be written.
        ResourceError: there is no space.
    """
    with files.storing("read the page", path):
        _, sha256, _ = files.file_digest(path)
    content = {"runs": list(runs), "sha256": sha256, "form": path.suffix.removeprefix(".")}
    return Ledger.open(store, create=True).append("report", content)


def _refuse_another_file(path: Path) -> None:
    """A page may take the place of a page, nothing else may be lost."""
    if not os.path.lexists(path):
        return
    head = b""
    if path.is_file():
        with files.storing("look at what is there", path), path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    if SCHEMA.encode("ascii") not in head:
        raise ConfigError(
            f"expected nothing or an earlier page at {path}, there is something else; choose another place with --out",
            path=str(path),
        )
