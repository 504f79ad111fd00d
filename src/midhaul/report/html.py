"""A page as one HTML file that needs nothing else: no network, no other file.

The drawing library (Vega, Vega-Lite and vega-embed) is written into the page once. A
content security policy in the page lets only the two scripts run that midhaul wrote
there, known by their hashes, and lets nothing be fetched, so that a label such as
``<script>`` in somebody's data set stays a label.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

import jinja2
import vl_convert
from markupsafe import Markup, escape

from midhaul.report.page import (
    Cell,
    Code,
    DataTable,
    Figure,
    Gallery,
    Headline,
    Item,
    Notice,
    Page,
)
from midhaul.report.theme import LANGUAGE_VERSION, specification

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_EXPORT = "window.vegaEmbed = vegaEmbed;"
_KINDS: dict[type[Item], str] = {
    Code: "code",
    DataTable: "table",
    Figure: "figure",
    Gallery: "gallery",
    Headline: "headline",
    Notice: "notice",
}


def render(page: Page) -> str:
    """The page as the text of an HTML file."""
    library = _library()
    script = _source("page.js")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(library)} {_hash(script)}",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
        )
    )
    return _template().render(
        page=page,
        policy=policy,
        style=Markup(_source("style.css")),  # noqa: S704 - a file of this package
        library=Markup(library),  # noqa: S704 - a file of vl-convert
        script=Markup(script),  # noqa: S704 - a file of this package
    )


def write(page: Page, file: Path) -> None:
    """Write the page to a file; its folder is made when there is none.

    Args:
        page: what to write.
        file: where to; an older report there is replaced as a whole.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    text = render(page)
    draft = file.with_name(file.name + ".part")
    draft.write_text(text, encoding="utf-8", newline="\n")
    draft.replace(file)


@functools.cache
def _library() -> str:
    """The drawing library as one script that may stand in a page."""
    text = vl_convert.javascript_bundle(_EXPORT, LANGUAGE_VERSION)
    return "\n" + text.replace("</script", r"<\/script").replace("<!--", r"<\!--")


@functools.cache
def _source(name: str) -> str:
    file = resources.files("midhaul.report").joinpath(name)
    return file.read_text(encoding="utf-8")


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., object]] = {
        "anchor": _anchor,
        "cell": _cell,
        "data_url": _data_url,
        "kind": _kind,
        "prose": _prose,
        "spec": _spec,
        "words": _words,
    }
    cast("dict[str, Callable[..., object]]", environment.filters).update(filters)
    return environment.from_string(_source("template.html"))


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _anchor(title: str) -> str:
    """A title as the name that links point to."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"


def _kind(item: Item) -> str:
    return _KINDS[type(item)]


def _cell(value: Cell | str | float | None) -> Cell:
    """Any field of a table as a cell."""
    if isinstance(value, Cell):
        return value
    if value is None:
        return Cell("–", order="", tone="muted")
    if isinstance(value, str):
        return Cell(value)
    return Cell(f"{value:.4g}" if isinstance(value, float) else str(value), order=value)


def _prose(text: str) -> Markup:
    """Paragraphs with bold words and code; everything else is shown as it is."""
    parts = re.split(r"\n\s*\n", text.strip())
    return Markup("\n").join(Markup("<p>%s</p>") % _words(part) for part in parts)


def _words(text: str) -> Markup:
    """One line with bold words and code; everything else is shown as it is."""
    safe = str(escape(text))
    safe = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", safe)
    safe = re.sub(r"`(.+?)`", r"<code>\1</code>", safe)
    return Markup(safe)  # noqa: S704 - escaped above


def _data_url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _spec(figure: Figure) -> Markup:
    """A chart as JSON that may stand in a script element."""
    spec: dict[str, Any] = specification(figure.chart, figure.description)
    text = json.dumps(spec, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - no sign of HTML is left
