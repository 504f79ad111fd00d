"""The testbed's report over runs that got to very different places."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.synthetic_run import Shape, synthetic_run

from midhaul.model import Verdict
from midhaul.report import (
    Cell,
    DataTable,
    Figure,
    Gallery,
    Headline,
    Notice,
    Page,
    render,
)
from midhaul.report.charts import pareto
from midhaul.report.theme import specification
from midhaul.runs.run import Run
from midhaul.testbed.measure import tables
from midhaul.testbed.measure.config import AccuracyConfig
from midhaul.testbed.measure.report import build
from midhaul.testbed.measure.report.accuracy import undoubted
from midhaul.testbed.measure.report.view import GridView

if TYPE_CHECKING:
    from pathlib import Path

OF_THE_THESIS = {
    "F1 by detector",
    "Mean latency by detector",
    "F1 per second",
    "F1 against quality",
    "Size left against quality, with the F1 of the best detector",
    "F1 against resize",
    "Size left against resize, with the F1 of the best detector",
    "F1 by preprocessing",
    "F1 and support per class, sorted by F1",
    "F1 and support per class, sorted by support",
    "What averaging per image hides",
}
BEYOND_IT = {
    "AP by size of the objects",
    "F1 by quality and resize together",
    "F1 against median latency",
    "F1 against bytes per request to the cloud",
    "F1 against cost of 1000 requests",
    "F1 against energy per request",
    "Latency from the median to the tail",
    "Distribution of latency",
    "Where the time goes, by detector",
    "Where the time goes, by preprocessing",
    "CPU over time",
    "Memory over time",
}
SMALL = Shape(
    detectors=("street-n", "street-s"),
    encodes=("keep", "jpeg:50"),
    resizes=(1.0, 0.5),
    n_blocks=1,
    n_requests=24,
)


def small(**changes: Any) -> Shape:
    """The small shape with changes."""
    fields = {name: getattr(SMALL, name) for name in Shape.__slots__}
    return Shape(**(fields | changes))


def figures(page: Page) -> dict[str, Figure]:
    """All charts of a page by their titles."""
    found = [i for s in page.sections for i in s.items if isinstance(i, Figure)]
    assert len({f.title for f in found}) == len(found), "titles must be unique"
    return {figure.title: figure for figure in found}


def titles(page: Page) -> list[str]:
    """The chapters of a page."""
    return [section.title for section in page.sections]


def notices(page: Page) -> str:
    """All remarks of a page."""
    items = (i for s in page.sections for i in s.items)
    return " ".join(i.text for i in items if isinstance(i, Notice))


def rows_of(figure: Figure) -> list[dict[str, Any]]:
    """The data of a chart."""
    found = specification(figure.chart, figure.description)["datasets"].values()
    return [row for rows in found for row in rows]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The report of a grid of five detectors, four qualities and four sizes."""
    labels = tuple(f"class {i}" for i in range(80))
    shape = Shape(labels=labels, n_blocks=1, n_requests=1500)
    return build(synthetic_run(tmp_path_factory.mktemp("runs"), shape))


def test_every_chart_is_there(full: Page) -> None:
    """A full run has every chart of the thesis and those that it lacked."""
    assert set(figures(full)) >= OF_THE_THESIS | BEYOND_IT
    assert "Not shown here" not in notices(full)


def test_a_full_page_is_small(full: Page) -> None:
    """Eighty configurations with eighty classes and 120,000 requests fit into 5 MB."""
    assert len(render(full).encode()) < 4_000_000


def test_detectors_keep_their_colour(full: Page) -> None:
    """In every chart that colours detectors, a detector has the same colour."""
    seen: dict[str, set[str]] = {}

    def walk(part: object) -> None:
        if isinstance(part, dict):
            scale = part.get("scale")
            if part.get("field") == "series" and "domain" in (scale or {}):
                for name, colour in zip(scale["domain"], scale["range"], strict=True):
                    if colour.startswith("#"):
                        seen.setdefault(name, set()).add(colour)
            for inner in part.values():
                walk(inner)
        elif isinstance(part, list):
            for inner in part:
                walk(inner)

    for figure in figures(full).values():
        walk(specification(figure.chart, figure.description))
    assert len(seen) == 5
    assert all(len(colours) == 1 for colours in seen.values())


def test_headline_numbers_have_intervals(full: Page) -> None:
    """F1, latency and F1 per second show their interval beside the number."""
    (headline,) = [i for i in full.sections[0].items if isinstance(i, Headline)]
    remarks = {name: remark for name, _, remark in headline.numbers}
    for name in ("Highest F1", "Lowest median latency", "Highest F1 per second"):
        assert " – " in remarks[name]


def test_stages_add_up_to_the_latency(full: Page) -> None:
    """The parts of every bar of 'where the time goes' sum to its length."""
    sums: dict[tuple[str, str], float] = {}
    totals: dict[tuple[str, str], float] = {}
    for row in rows_of(figures(full)["Where the time goes, by detector"]):
        key = (row["series"], row["preprocessing"])
        sums[key] = sums.get(key, 0) + row["ms"]
        totals[key] = row["total"]
    assert len(sums) == 80
    assert sums == pytest.approx(totals, rel=1e-3)


def test_models_are_labelled_and_measurements_are_not(full: Page) -> None:
    """Cost and energy carry the label, latency does not."""
    found = figures(full)
    assert found["F1 against cost of 1000 requests"].is_model
    assert found["F1 against energy per request"].is_model
    assert not found["F1 against median latency"].is_model
    table = next(i for i in full.sections[0].items if isinstance(i, DataTable))
    assert "USD per 1000 (model)" in table.columns


def test_accuracy_alone_makes_a_page(tmp_path: Path) -> None:
    """Without nodes there is accuracy, bytes and classes, and nothing of time."""
    run = synthetic_run(tmp_path, small(is_measured=False))
    page = build(run)
    assert titles(page) == [
        "Overview", "Accuracy", "Trade-offs", "Bytes", "Classes", "Environment",
    ]  # fmt: skip
    assert "F1 against bytes per image after preprocessing" in figures(page)
    assert "F1 against median latency: this run has no such number." in notices(page)


def test_without_truth_there_is_time_and_bytes(tmp_path: Path) -> None:
    """Images without boxes still give latency, bytes and usage."""
    page = build(synthetic_run(tmp_path, small(is_judged=False)))
    assert "Accuracy" not in titles(page)
    assert {"Latency", "Bytes", "Usage", "Validity"} <= set(titles(page))
    assert "F1 per second: it needs ground truth" in notices(page)


def test_one_configuration_makes_a_page(tmp_path: Path) -> None:
    """What cannot be compared is left out, each with a sentence why."""
    shape = small(detectors=("street-n",), encodes=("keep",), resizes=(1.0,))
    page = build(synthetic_run(tmp_path, shape))
    assert "F1 by detector" in figures(page)
    assert "the run has one encoding only" in notices(page)
    assert "Trade-offs" not in titles(page)
    assert render(page)


def test_failures_alone_make_a_page(tmp_path: Path) -> None:
    """When nothing was answered the report says what failed, and how often."""
    page = build(synthetic_run(tmp_path, small(fails=True, is_judged=False)))
    assert "Latency" not in titles(page)
    validity = next(s for s in page.sections if s.title == "Validity")
    failed = next(i for i in validity.items if getattr(i, "title", "")[:6] == "Failed")
    assert isinstance(failed, DataTable)
    assert failed.rows[0][0] == "timeout"
    assert render(page)


def test_an_unfinished_run_shows_what_it_has(tmp_path: Path) -> None:
    """Without a summary the requests still show, under a banner that says why."""
    run = synthetic_run(tmp_path, small(has_summary=False, status="failed"))
    page = build(run)
    assert page.verdict is not None
    assert "it is failed" in page.verdict.reasons[0]
    assert {"Distribution of latency", "CPU over time"} <= set(figures(page))


def test_an_empty_run_makes_a_page(tmp_path: Path) -> None:
    """A run that was killed before its first table has a report all the same."""
    run = Run.create(tmp_path, "testbed.accuracy", AccuracyConfig(seed=1))
    run.finish("failed", error="no images in /nowhere")
    page = build(Run.open(run.dir))
    assert titles(page) == ["Overview", "Environment"]
    assert page.verdict is not None
    assert "no images in /nowhere" in page.verdict.reasons[0]
    assert render(page)


def test_an_invalid_run_keeps_its_reasons(tmp_path: Path) -> None:
    """The verdict of the run is the banner of the page."""
    verdict = Verdict(reasons=("link off",), advice=("look",))
    assert build(synthetic_run(tmp_path, small(verdict=verdict))).verdict == verdict


def test_labels_cannot_break_the_page(tmp_path: Path) -> None:
    """Names that are HTML or code stay text in tables and charts."""
    evil = "</script><script>alert(1)</script>'\"]"
    shape = small(detectors=(evil, "street-n"), labels=(evil, "car"))
    text = render(build(synthetic_run(tmp_path, shape)))
    assert "<script>alert" not in text


def test_random_weights_are_named(tmp_path: Path) -> None:
    """A detector that was never trained is marked, with a warning above the charts."""
    shape = small(detectors=("ssd (random weights)", "street-n"))
    assert "Random weights" in notices(build(synthetic_run(tmp_path, shape)))


def test_settings_tell_apart_what_names_do_not(tmp_path: Path) -> None:
    """Configurations that differ in another setting are series of their own."""
    run = Run.create(tmp_path, "testbed.accuracy", AccuracyConfig(seed=1))
    rows = [
        {
            "configuration": i,
            "detector": "street-n",
            "preprocessing": "as received",
            "encode": "keep",
            "resize": 1.0,
            "gray": False,
            "settings": json.dumps({"load.rate_hz": hz, "edge.encode": "keep"}),
        }
        for i, hz in enumerate((5.0, 10.0))
    ]
    run.write(tables.CONFIGURATIONS, rows)
    names = GridView(run).series.names
    assert names == ("street-n, load.rate_hz 5.0", "street-n, load.rate_hz 10.0")


def test_examples_are_shown_up_to_a_limit(tmp_path: Path) -> None:
    """Pictures that the run left are in the page, as many as fit."""
    run = synthetic_run(tmp_path, small(is_measured=False))
    run.file("examples/a_b--c.jpg").write_bytes(b"\xff\xd8small")
    run.file("examples/large.jpg").write_bytes(bytes(1_300_000))
    run.file("examples/notes.txt").write_text("no picture")
    section = next(s for s in build(run).sections if s.title == "Examples")
    (item,) = section.items
    assert isinstance(item, Gallery)
    assert [picture.caption for picture in item.pictures] == ["a b, c"]


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), max_size=12
    )
)
def test_the_front_is_what_nothing_beats(points: list[tuple[float, ...]]) -> None:
    """A point is kept unless another one is nowhere worse and somewhere better."""
    for point, is_kept in zip(points, pareto(points), strict=True):
        beaten = False
        for other in points:
            no_worse = all(o <= p for o, p in zip(other, point, strict=True))
            better = any(o < p for o, p in zip(other, point, strict=True))
            beaten = beaten or (no_worse and better)
        assert is_kept is not beaten


def test_a_bound_is_shown_as_one_everywhere(tmp_path: Path) -> None:
    """A latency among requests without an answer has its sign in tables and charts."""
    run = synthetic_run(tmp_path, small(has_summary=False))
    rows: list[dict[str, object]] = []
    for index in range(8):
        f1 = {"metric": "f1", "value": 0.3 + index / 20}
        p50 = {"metric": "latency_p50_s", "value": 0.5, "unit": "s", "bound": ">="}
        mean = {"metric": "latency_mean_s", "value": 0.1 + index / 10, "unit": "s"}
        if index:
            p50 |= {"value": 0.1 * index, "bound": None}
        rows += [{"configuration": index, **row} for row in (f1, p50, mean)]
    run.write(tables.SUMMARY, rows)
    page = build(run)
    found = figures(page)
    for title in ("Latency from the median to the tail", "F1 against median latency"):
        drawn = json.dumps(specification(found[title].chart, found[title].description))
        assert drawn.count('_bound": "\\u2265"') == 1, title
    plot = found["F1 against median latency"]
    drawn = specification(plot.chart, plot.description)
    assert '"on_front": true' in json.dumps(drawn)
    (table,) = (
        item
        for section in page.sections
        for item in section.items
        if isinstance(item, DataTable) and item.title == "All configurations"
    )
    cells = [cell for row in table.rows for cell in row if isinstance(cell, Cell)]
    assert [cell.text for cell in cells if "≥" in cell.text] == ["≥ 500 ms"]


def test_a_price_that_is_a_bound_is_on_no_front() -> None:
    """Its true place is not known; it neither stands on the front nor beats others."""
    rows = [
        {"p": 1.0, "f1": 0.9, "p_bound": "≥"},
        {"p": 2.0, "f1": 0.8},
        {"p": 3.0, "f1": 0.7},
    ]
    assert undoubted(rows, "p", "f1") == [False, True, False]
