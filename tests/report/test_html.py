"""The page as one file: complete, safe against what labels say, and honest."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import altair as alt
import pytest

from midhaul.model import Verdict
from midhaul.report import (
    Cell,
    Code,
    DataTable,
    Figure,
    Gallery,
    Headline,
    Notice,
    Page,
    PageSection,
    Picture,
    render,
    write,
)

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u2028"


class Reader(HTMLParser):
    """Collects elements, their attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        del tag
        self._inside = ""

    def handle_data(self, data: str) -> None:
        """Note text, of scripts apart."""
        if self._inside == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif self._inside != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        """All text that a reader sees."""
        return " ".join(" ".join(self.text).split())

    def specs(self) -> list[dict[str, Any]]:
        """The charts."""
        kind = "application/json"
        return [json.loads(t) for a, t in self.scripts if a.get("type") == kind]

    def programs(self) -> list[str]:
        """The scripts that run."""
        return [text for attributes, text in self.scripts if "type" not in attributes]


def figure(label: str = "a", value: float = 0.5) -> Figure:
    """A bar chart of one bar."""
    data = alt.InlineData(values=[{"label": label, "value": value}])
    chart = alt.Chart(data).mark_bar().encode(x="value:Q", y="label:N")
    return Figure(title=f"Bars {label}", chart=chart, caption=f"Of {label}.")


def policy_of(reader: Reader) -> str:
    """The content security policy of a page."""
    (policy,) = [
        a["content"]
        for tag, a in reader.elements
        if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    return str(policy)


def page_of(*items: Any, verdict: Verdict | None = None, text: str = "") -> Page:
    """A page of one section."""
    section = PageSection(title="Part one", text=text, items=items)
    return Page(title="A page", subtitle="a run", verdict=verdict, sections=(section,))


def every_item(label: str) -> tuple[Any, ...]:
    """One item of each kind, all of them with the label in every text."""
    picture = Picture(data=b"\xff\xd8", media_type="image/jpeg", caption=label)
    return (
        figure(label),
        DataTable(
            title=label,
            columns=(label, "n"),
            rows=((label, 1), (Cell(label, order=label, note=label), None)),
            caption=label,
        ),
        DataTable(title=label, columns=("a",), rows=(), is_folded=True),
        Notice(text=label, tone="warning"),
        Headline(numbers=((label, label, label),)),
        Gallery(title=label, pictures=(picture,), caption=label),
        Code(title=label, text=label),
    )


def test_no_text_becomes_markup() -> None:
    """A label that is HTML stays a label in every place where one can stand."""
    verdict = Verdict(reasons=(EVIL,), advice=(EVIL,))
    page = Page(
        title=EVIL,
        subtitle=EVIL,
        verdict=verdict,
        sections=(PageSection(title=EVIL, text=EVIL, items=every_item(EVIL)),),
    )
    reader = Reader(render(page))
    assert len(reader.programs()) == 2
    assert not any("onerror" in attributes for _, attributes in reader.elements)
    images = [a["src"] for tag, a in reader.elements if tag == "img"]
    assert images == ["data:image/jpeg;base64,/9g="]
    (spec,) = reader.specs()
    assert EVIL in json.dumps(spec, ensure_ascii=False).replace('\\"', '"')
    assert reader.words.count("<script>alert(1)</script>") >= 12


def test_nothing_is_fetched() -> None:
    """No element names another file, and the policy forbids to fetch one."""
    reader = Reader(render(page_of(*every_item("a"))))
    for tag, attributes in reader.elements:
        for key in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(key) or ""
            assert value.startswith(("#", "data:")) or not value, (tag, key, value)
    assert policy_of(reader).startswith("default-src 'none'; script-src 'sha256-")


def test_policy_names_exactly_the_two_scripts() -> None:
    """The hashes in the policy are those of the scripts as a browser reads them."""
    reader = Reader(render(page_of(figure())))
    policy = policy_of(reader)
    for program in reader.programs():
        digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe-eval" not in policy


def test_library_is_written_once() -> None:
    """A second chart costs its data only."""
    one, many = page_of(figure()), page_of(*(figure(f"l{i}") for i in range(20)))
    assert len(render(many)) - len(render(one)) < 20 * 4_000


def test_chart_data_arrive_rounded_and_finite() -> None:
    """Numbers keep five digits; one that is not finite is null."""
    specs = Reader(
        render(page_of(figure("a", 1.23456789), figure("b", float("nan"))))
    ).specs()
    found = [rows[0]["value"] for s in specs for rows in s["datasets"].values()]
    assert found == [1.2346, None]


def test_invalid_measurements_say_so_on_top() -> None:
    """Reasons and advice stand before the first section."""
    verdict = Verdict(
        reasons=("too few requests", "link off"), advice=("send more", "look at it")
    )
    words = Reader(render(page_of(verdict=verdict))).words
    part = words[: words.index("Part one", words.index("A page a run"))]
    for expected in ("Not valid.", "too few requests send more", "link off look at it"):
        assert expected in part


def test_valid_measurements_say_so() -> None:
    """A verdict without reasons is shown as valid; without verdict nothing is said."""
    assert "Valid. Nothing" in Reader(render(page_of(verdict=Verdict()))).words
    assert "alid." not in Reader(render(page_of())).words


def test_models_are_labelled() -> None:
    """A figure that coefficients make says that it is no measurement."""
    plain = figure()
    model = Figure(title=plain.title, chart=plain.chart, is_model=True)
    assert "model, not measured" not in Reader(render(page_of(plain))).words
    assert "model, not measured" in Reader(render(page_of(model))).words


def test_prose_knows_bold_and_code() -> None:
    """Two stars and back quotes are all there is; an empty line parts paragraphs."""
    text = render(page_of(text="a **b** `c`\n\nd <i>"))
    assert "<p>a <strong>b</strong> <code>c</code></p>\n<p>d &lt;i&gt;</p>" in text


def test_numbers_are_sorted_as_numbers() -> None:
    """A cell carries what it is sorted by, however it is written."""
    table = DataTable(
        title="t", columns=("a", "b"), rows=((Cell("1 kB", 1000.0), None),)
    )
    cells = [a for tag, a in Reader(render(page_of(table))).elements if tag == "td"]
    assert [cell.get("data-order") for cell in cells] == ["1000.0", ""]
    assert "number" in str(cells[0]["class"])


def test_contents_lead_to_the_sections() -> None:
    """Every entry of the table of contents has its target."""
    page = Page(
        title="t", sections=(PageSection(title="A b"), PageSection(title="C & d"))
    )
    reader = Reader(render(page))
    links = {a["href"] for tag, a in reader.elements if tag == "a"}
    targets = {f"#{a['id']}" for _, a in reader.elements if "id" in a}
    assert {"#a-b", "#c-d"} <= links <= targets


def test_ragged_tables_are_refused() -> None:
    """A row must have one field per heading."""
    with pytest.raises(ValueError, match="2 columns but row 1 has 1"):
        DataTable(title="t", columns=("a", "b"), rows=((1, 2), (3,)))


def test_writing_replaces_the_file_as_a_whole(tmp_path: Path) -> None:
    """The folder is made, an old report is replaced and no draft is left."""
    file = tmp_path / "report" / "index.html"
    write(page_of(text="first"), file)
    write(page_of(text="second"), file)
    assert "<p>second</p>" in file.read_text(encoding="utf-8")
    assert list(file.parent.iterdir()) == [file]
