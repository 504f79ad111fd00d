"""Reports of simulated and live gateways, of runs that got to different places."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import vl_convert

from midhaul.deploy.live import report as live_report
from midhaul.deploy.live import tables as live_tables
from midhaul.deploy.live.config import LiveConfig
from midhaul.deploy.simulate import report as simulate_report
from midhaul.deploy.simulate.config import SimulateConfig
from midhaul.deploy.simulate.experiment import simulate
from midhaul.report import DataTable, Figure, Page, render
from midhaul.report.theme import LANGUAGE_VERSION, specification
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.runs.tables import Table

OVER_TIME = {
    "Quality over time",
    "Rates over time, by container image",
    "The uplink over time",
    "Who sat where",
    "Pulls, planned and real",
    "Layers on the disk",
    "Planned against realised saving",
}


def figures(page: Page) -> dict[str, Figure]:
    """All charts of a page by their titles, each once."""
    found = [i for s in page.sections for i in s.items if isinstance(i, Figure)]
    assert len({f.title for f in found}) == len(found)
    return {figure.title: figure for figure in found}


def n_marks(figure: Figure) -> int:
    """How many marks a chart draws."""
    spec = specification(figure.chart, figure.description)
    drawn = vl_convert.vegalite_to_svg(spec, vl_version=LANGUAGE_VERSION)
    return len(re.findall(r'role="graphics-symbol"', drawn))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two policies over a quarter of an hour."""
    config = SimulateConfig(duration_s=900.0, n_repeats=2, n_resamples=100)
    folder = tmp_path_factory.mktemp("simulated")
    run = Run.create(folder, "deploy.simulate", config)
    simulate(config, run, SilentProgress())
    run.finish("done")
    return run


def test_a_simulation_is_drawn_whole(simulated: Run) -> None:
    """Every chart is there and draws marks."""
    found = figures(simulate_report.build(simulated))
    wanted = OVER_TIME | {"Weighted quality", "Planned saving that came true"}
    wanted |= {
        f"{what} against periods over the uplink"
        for what in ("Quality", "Volume", "Messages in time")
    }
    assert wanted <= set(found)
    assert {title: n for title, f in found.items() if (n := n_marks(f)) < 2} == {}


def test_a_simulation_that_was_killed_has_a_report(
    simulated: Run, tmp_path: Path
) -> None:
    """Without its summary the page shows what there is and says what is missing."""
    killed = tmp_path / simulated.id
    shutil.copytree(simulated.dir, killed)
    run = Run.open(killed)
    run.drop("summary", run.parts("summary"))
    page = simulate_report.build(run)
    assert set(figures(page)) >= OVER_TIME
    assert "Not shown here" in render(page)


def test_a_simulation_that_wrote_nothing_has_a_report(tmp_path: Path) -> None:
    """The page says that there is nothing to show."""
    run = Run.create(tmp_path, "deploy.simulate", SimulateConfig())
    assert "no policy yet" in render(simulate_report.build(run))


# Live


def filled(table: Table, **known: object) -> dict[str, Any]:
    """A row of a table: what is known, and a value of the right type for the rest."""
    row: dict[str, Any] = {}
    for column in table.columns:
        kind = str(column.type)
        other = {"string": "x", "bool": False, "double": 1.0}.get(kind, 1)
        row[column.name] = known.get(column.name, other)
    return row


def live_run(folder: Path) -> Run:
    """A live run of two periods with an analytic in each place."""
    run = Run.create(folder, "deploy.live", LiveConfig())
    t = live_tables
    run.write(t.CONFIGURATIONS, [filled(t.CONFIGURATIONS, configuration=0, name="p")])
    curve = {"curve": "images cloud", "is_on_frontier": True}
    run.write(
        t.CURVES,
        [filled(t.CURVES, **curve, knob=k, rate_bps=k * 1e5) for k in (0.5, 1.0)],
    )
    for number in range(2):
        at = {"repeat": 0, "begins_s": 3.0 * number, "uplink_bps": 5e6 + number}
        run.write(t.PERIODS, [filled(t.PERIODS, **at, planned_qos=0.7)])
        run.write(
            t.RATES,
            [
                filled(t.RATES, **at, analytic="yolo1.0", place="cloud", rate_bps=1e6),
                filled(t.RATES, **at, analytic="audio1.1", place="gateway"),
            ],
        )
    messages = [
        filled(
            t.MESSAGES,
            repeat=0,
            workload="images",
            place="cloud",
            knob=1.0,
            status=("missing", "late")[n] if n < 2 else "scored",
            latency_s=0.1 * n,
        )
        for n in range(30)
    ]
    run.write(t.MESSAGES, messages)
    run.write(t.MOVES, [filled(t.MOVES, repeat=0, saved_bits=2e6)])
    run.write(t.LIVE_PULLS, [filled(t.LIVE_PULLS, repeat=0, ends_s=2.0)])
    return run


def test_a_live_run_is_drawn(tmp_path: Path) -> None:
    """Charts over time, latency by place and the curves; missing messages counted."""
    page = live_report.build(live_run(tmp_path))
    found = figures(page)
    wanted = {
        "Latency of messages",
        "QoS curves, as measured here",
        "What other forecasts would have counted on",
    }
    assert OVER_TIME | wanted <= set(found)
    assert {title: n for title, f in found.items() if (n := n_marks(f)) < 1} == {}
    (table,) = [
        item
        for section in page.sections
        for item in section.items
        if isinstance(item, DataTable) and item.title.startswith("Messages by")
    ]
    assert {row[2] for row in table.rows} == {"scored", "late", "missing"}


def test_a_live_run_that_never_began_has_a_report(tmp_path: Path) -> None:
    """The page says that nothing was measured."""
    run = Run.create(tmp_path, "deploy.live", LiveConfig())
    assert "not begun to measure" in render(live_report.build(run))
