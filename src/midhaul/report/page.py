"""Page of a report: its sections, their items, and how charts become pictures.

These are values without looks. :mod:`midhaul.report.page` turns a page into one file.

Charts become pictures for documents and notebooks that cannot hold the page.

A *gallery* has worked examples: images of the run with what was detected on them.

A page as one HTML file that needs nothing else: no network, no other file.

The drawing library (Vega, Vega-Lite and vega-embed) is written into the page once. A
content security policy in the page lets only the two scripts run that midhaul wrote
there, known by their hashes, and lets nothing be fetched, so that a label such as
``<script>`` in somebody's data set stays a label.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import re
from dataclasses import dataclass, field
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any, Literal, cast

import jinja2
import vl_convert
from markupsafe import Markup, escape

from midhaul.machine.cache import cached_text
from midhaul.model.display import number
from midhaul.report.theme import LANGUAGE_VERSION, specification

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import altair as alt

    from midhaul.model import Verdict
    from midhaul.runs.run import Run

Tone = Literal["", "good", "bad", "muted"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of a table that is shown as a text and sorted by something else.

    Attributes:
        text: what is shown.
        order: what the table is sorted by; the text when it is None.
        tone: colour of the text, for verdicts and side remarks.
        note: shown small below the text; empty for none.
    """

    text: str
    order: float | str | None = None
    tone: Tone = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTable:
    """A table that the reader can sort.

    Attributes:
        title: a few words.
        columns: one heading per column.
        rows: one tuple of fields per row, as long as ``columns``.
        caption: what to see in it; empty for none.
        is_folded: True where only the heading shows until the reader opens it.

    Raises:
        ValueError: a row is longer or shorter than the headings.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell | str | float | None, ...], ...]
    caption: str = ""
    is_folded: bool = False

    def __post_init__(self) -> None:
        """Hold every row to the number of headings."""
        for place, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                message = (
                    f"table {self.title!r} has {len(self.columns)} columns but row "
                    f"{place} has {len(row)} fields"
                )
                raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart with what it shows.

    Attributes:
        title: a few words.
        chart: an Altair chart; its data travel inside the page.
        caption: what is drawn, and over what; read out in place of the picture.
        is_model: True where stated coefficients, not measurements, make the numbers.
    """

    title: str
    chart: alt.TopLevelMixin = field(repr=False)
    caption: str = ""
    is_model: bool = False

    @property
    def description(self) -> str:
        """What is read out in place of the picture."""
        return f"{self.title}. {self.caption}".strip()

    def _repr_html_(self) -> str:
        """The chart as a picture with its caption, for a notebook."""
        # An image, as clip paths of several SVGs in one document would share names.
        data = base64.b64encode(figure_svg(self).encode()).decode()
        title, caption = html.escape(self.title), html.escape(self.caption)
        note = " (stated coefficients, not measurements)" if self.is_model else ""
        return (
            f'<figure style="margin:.4em 0"><figcaption><b>{title}</b>{note}'
            f'</figcaption><img alt="{title}. {caption}" style="max-width:100%" '
            f'src="data:image/svg+xml;base64,{data}"><div>{caption}</div></figure>'
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A remark that must be seen.

    Attributes:
        text: one or more paragraphs.
        tone: ``"warning"`` where a number may mislead without it.
    """

    text: str
    tone: Literal["info", "warning"] = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The few numbers that a reader takes away.

    Attributes:
        numbers: pairs of a name and a number in words, then a remark below it.
    """

    numbers: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image with a line below it.

    Attributes:
        data: the bytes of the file.
        media_type: ``image/jpeg``, ``image/png`` or ``image/webp``.
        caption: what it shows; read out in place of the picture.
    """

    data: bytes = field(repr=False)
    media_type: str
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Pictures side by side.

    Attributes:
        title: a few words.
        pictures: in reading order.
        caption: what to see in them.
    """

    title: str
    pictures: tuple[Picture, ...]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Text shown as it is, such as a configuration file.

    Attributes:
        title: a few words.
        text: the text.
        is_folded: True where only the title shows until the reader opens it.
    """

    title: str
    text: str
    is_folded: bool = True


Item = Figure | DataTable | Notice | Headline | Gallery | Code


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSection:
    """A chapter of the page.

    Attributes:
        title: a few words; also its entry in the table of contents.
        text: paragraphs, parted by an empty line; ``**bold**`` and back-quoted code.
        items: what it shows, in reading order.
    """

    title: str
    text: str = ""
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report.

    Attributes:
        title: names the experiment.
        subtitle: names the run: when, where, by which version.
        verdict: may its measurements be believed; None where nothing is judged.
        notes: what must be known beside the verdict, a sentence each.
        sections: in reading order.
    """

    title: str
    subtitle: str = ""
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()
    sections: tuple[PageSection, ...] = ()


def figure_png(figure: Figure, *, scale: float = 2.0) -> bytes:
    """A figure as a PNG file, as it looks on the page.

    Args:
        figure: what to draw.
        scale: pixels per point of the chart; 2 suits high-resolution screens.
    """
    import vl_convert  # noqa: PLC0415 - large

    return vl_convert.vegalite_to_png(
        specification(figure.chart, figure.description),
        vl_version=LANGUAGE_VERSION,
        scale=scale,
    )


def figure_svg(figure: Figure) -> str:
    """A figure as an SVG image, as it looks on the page."""
    import vl_convert  # noqa: PLC0415 - large

    return vl_convert.vegalite_to_svg(
        specification(figure.chart, figure.description), vl_version=LANGUAGE_VERSION
    )


FOLDER = "examples"
"""Folder below ``files/`` of a run with the pictures, ``caption.jpg`` or ``.png``."""

_MOST_BYTES = 1_200_000
_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


def gallery(run: Run) -> PageSection | None:
    """Pictures that the run left, as many as fit; None where there are none.

    A file's name is its caption, with ``--`` for a comma and ``_`` for a space.
    """
    folder = run.dir / "files" / FOLDER
    if not folder.is_dir():
        return None
    pictures: list[Picture] = []
    room = _MOST_BYTES
    for file in sorted(folder.iterdir()):
        kind = _TYPES.get(file.suffix.lower())
        if kind is None or file.stat().st_size > room:
            continue
        data = file.read_bytes()
        room -= len(data)
        parts = file.stem.replace("_", " ").split("--")
        caption = ", ".join(part.strip() for part in parts)
        pictures.append(Picture(data=data, media_type=kind, caption=caption))
    if not pictures:
        return None
    item = Gallery(
        title="Images with their detections",
        pictures=tuple(pictures),
        caption="Human boxes are white, detections amber with label and score.",
    )
    return PageSection(title="Examples", items=(item,))


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
    script = hashlib.sha256(_EXPORT.encode()).hexdigest()[:8]
    version = metadata.version("vl-convert-python")
    text = cached_text(
        f"vega-{LANGUAGE_VERSION}-{version}-{script}.js",
        lambda: vl_convert.javascript_bundle(_EXPORT, LANGUAGE_VERSION),
    )
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
    return Cell(number(value) if isinstance(value, float) else str(value), order=value)


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
