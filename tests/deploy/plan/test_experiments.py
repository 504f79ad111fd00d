"""deploy.plan and deploy.allocate from file to report, and what stops them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from midhaul.deploy.plan import tables
from midhaul.deploy.plan.config import AllocateConfig, PlanConfig
from midhaul.deploy.plan.experiment import allocate, plan
from midhaul.deploy.plan.metrics import samples
from midhaul.deploy.plan.report import build_allocate, build_plan
from midhaul.errors import ConfigError, DataError
from midhaul.report import Figure, Page, render
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path

PLAN: dict[str, Any] = {
    "kind": "deploy.plan",
    "curves": {
        "camera-cloud": {"source": "seed:yolo-cloud"},
        "camera-gateway": {"source": "seed:yolo-gateway"},
    },
    "gateways": [{"name": "g", "disk_bytes": 4e9, "n_cores": 1.0, "uplink_bps": 2e5}],
    "analytics": [
        {
            "name": "camera",
            "image": "yolo1",
            "n": 5,
            "cloud_curve": "camera-cloud",
            "gateway_curve": "camera-gateway",
            "n_cores": 0.5,
        }
    ],
    "planners": ["joint", "mincut+hull"],
}


def made(values: dict[str, Any], folder: Path) -> Run:
    """A run of deploy.plan, done."""
    config = PlanConfig.model_validate(values, strict=False)
    run = Run.create(folder, "deploy.plan", config)
    plan(config, run, SilentProgress())
    run.finish("done")
    return run


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small plan of five cameras and a gateway with room for two."""
    return made(PLAN, tmp_path_factory.mktemp("planned"))


def summary(run: Run, metric: str) -> dict[str, float]:
    """A metric by the name of its configuration."""
    query = "FROM summary JOIN configurations USING (configuration)"
    rows = run.sql(query).to_pylist()
    return {row["name"]: row["value"] for row in rows if row["metric"] == metric}


def figures(page: Page) -> dict[str, Figure]:
    """All charts of a page by their titles."""
    return {i.title: i for s in page.sections for i in s.items if isinstance(i, Figure)}


def test_a_plan_keeps_every_limit_and_no_plan_beats_its_bound(planned: Run) -> None:
    """What is used is at most what there is; quality is at most its bound."""
    uses = planned.read(tables.USES).to_pylist()
    assert {row["resource"] for row in uses} >= {"disk_bytes", "uplink_bps"}
    assert all(row["used"] <= row["capacity"] * (1 + 1e-9) for row in uses)
    quality, bound = (
        summary(planned, name) for name in ("weighted_qos", "weighted_qos_bound")
    )
    assert quality["joint"] <= bound["joint"] + 1e-9
    assert quality["mincut+hull"] <= bound["joint"] + 1e-9
    assert summary(planned, "n_on_gateways")["joint"] == 2


def test_a_plan_has_prices_in_sentences(planned: Run) -> None:
    """Every limited resource has its sentence; more is never worse."""
    prices = planned.read(tables.PRICES).to_pylist()
    assert {row["resource"] for row in prices} == {
        "g.uplink_bps",
        "g.disk_bytes",
        "g.n_cores",
        "g.memory_bytes",
    }
    assert all(row["gain"] >= 0 and row["sentence"] for row in prices)


def test_a_plan_is_exported_to_be_applied(planned: Run) -> None:
    """Manifests, rate map and script lie in the run's files."""
    folder = planned.dir / "files" / "export"
    names = {file.name for file in folder.rglob("*") if file.is_file()}
    assert {"README.txt", "deployments.yaml", "rates.json", "shape.sh"} <= names


def test_layers_are_listed_once_a_gateway(planned: Run) -> None:
    """Two cameras share all layers of their image."""
    rows = planned.read(tables.LAYERS).to_pylist()
    first = [row for row in rows if row["configuration"] == 0]
    assert len({row["digest"] for row in first}) == len(first)
    assert all(row["images"] == ["yolo1"] for row in first)


def test_the_report_of_a_plan_draws_all_of_it(planned: Run) -> None:
    """Every chapter has its chart, and the page renders."""
    page = build_plan(planned)
    assert {
        "Quality, with its bound beside it",
        "Use of the gateways",
        "Rates granted",
        "QoS curves and what was bought",
        "Pulls, in their order",
        "Layers by owner",
    } <= set(figures(page))
    assert "What is scarce" in render(page)


def test_metrics_are_compared_by_analytic(planned: Run) -> None:
    """The units are the analytics, and the statistic is the metric of the summary."""
    import numpy as np  # noqa: PLC0415

    found = {(m.metric, m.configuration): m for m in samples(planned)}
    metric = found["weighted_qos", "joint"]
    assert set(metric.units) == {f"camera.{n}" for n in range(5)}
    value = metric.statistic(np.ones((1, 5)))[0]
    assert value == pytest.approx(summary(planned, "weighted_qos")["joint"])


def test_a_run_that_planned_nothing_has_a_report(tmp_path: Path) -> None:
    """A killed run says that there is nothing to show."""
    config = PlanConfig.model_validate(PLAN, strict=False)
    run = Run.create(tmp_path, "deploy.plan", config)
    assert "no plan yet" in render(build_plan(run))
    other = Run.create(tmp_path, "deploy.allocate", AllocateConfig())
    assert "no uplink yet" in render(build_allocate(other))


def test_a_search_that_was_stopped_says_so(tmp_path: Path) -> None:
    """A time limit that is too short makes the verdict, not an error."""
    values = PLAN | {"time_limit_s": 1e-3, "with_prices": False, "with_export": False}
    values |= {"planners": ["joint-milp"], "analytics": [], "draw": {"n": 60}}
    run = made(values | {"gateways": [{"uplink_bps": 2.5e6}]}, tmp_path)
    assert run.verdict is not None
    if not run.verdict.is_valid:
        assert "time limit" in run.verdict.reasons[0]
    assert summary(run, "weighted_qos")["joint-milp"] > 0


def test_steps_that_nobody_would_buy_are_noted(tmp_path: Path) -> None:
    """A curve that falls is used without its bad steps, and the run says so."""
    table = tmp_path / "curve.csv"
    table.write_text("knob,rate_bps,quality\n1,1e4,0.6\n2,2e4,0.5\n3,3e4,0.8\n")
    curves = PLAN["curves"] | {"camera-cloud": {"source": f"table:{table}"}}
    run = made(PLAN | {"curves": curves, "with_prices": False}, tmp_path / "runs")
    assert any("camera-cloud: 1 of 3 steps" in note for note in run.manifest.notes)
    knobs = {row["knob"] for row in run.read(tables.DECISIONS).to_pylist()
             if row["place"] == "cloud"}  # fmt: skip
    assert 2.0 not in knobs


def test_a_plan_for_nobody_is_the_best_there_is(tmp_path: Path) -> None:
    """Without analytics there is nothing to search for, and nothing to improve."""
    run = made({"kind": "deploy.plan", "draw": {"n": 0}}, tmp_path)
    assert run.verdict is not None
    assert run.verdict.is_valid
    assert summary(run, "weighted_qos")["joint"] == 0
    assert "decisions" not in run.tables() or run.count("decisions") == 0
    render(build_plan(run))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"curves": {}}, ValueError, "not in \\[curves\\]"),
        ({"planners": ["best"]}, ValueError, "planners"),
        (
            {"analytics": [PLAN["analytics"][0] | {"image": "nobody"}]},
            DataError,
            "nobody",
        ),
        (
            {"curves": {key: {"source": "seed:cat"} for key in PLAN["curves"]}},
            ConfigError,
            "KIND:WHERE",
        ),
        (
            {
                "curves": {
                    key: {"source": "table:/nowhere.csv"} for key in PLAN["curves"]
                }
            },
            DataError,
            "nowhere.csv",
        ),
        (
            {"images": {"kind": "file", "file": "/nowhere.parquet"}},
            DataError,
            "nowhere",
        ),
        ({"images": {"kind": "file"}}, ValueError, "need the key file"),
    ],
)
def test_mistakes_are_named(
    change: dict[str, Any], error: type[Exception], said: str, tmp_path: Path
) -> None:
    """A curve, an image or a planner that is not there is named."""
    with pytest.raises(error, match=said):
        made(PLAN | change, tmp_path)


def test_nothing_is_granted_on_no_uplink(tmp_path: Path) -> None:
    """An uplink of zero is no error: everything gets nothing."""
    config = AllocateConfig.model_validate(
        {
            "kind": "deploy.allocate",
            "uplink_bps": [0.0],
            "allocators": ["even", "weighted", "raa", "hull", "exact", "maxmin"],
            "draw": {"n": 5},
        },
        strict=False,
    )
    run = Run.create(tmp_path, "deploy.allocate", config)
    allocate(config, run, SilentProgress())
    assert all(row["rate_bps"] == 0 for row in run.read(tables.DECISIONS).to_pylist())
    assert set(summary(run, "weighted_qos").values()) == {0.0}


def test_a_resumed_allocation_has_everything_once(tmp_path: Path) -> None:
    """What was divided before is kept, and the rest is added."""
    config = AllocateConfig(uplink_bps=(1e6, 2e6), allocators=("even", "hull"))
    run = Run.create(tmp_path, "deploy.allocate", config)
    allocate(config, run, SilentProgress())
    whole = run.read(tables.DECISIONS)
    for table in (tables.SUMMARY, tables.DECISIONS, tables.CONFIGURATIONS):
        run.drop(table.name, [2, 3])
    allocate(config, run, SilentProgress())
    assert run.read(tables.DECISIONS).equals(whole)
    shares = summary(run, "uplink_used")
    assert len(shares) == 4
    assert all(0 < share <= 1 + 1e-9 for share in shares.values())
    assert all(math.isfinite(v) for v in summary(run, "bound_share").values())
    assert set(figures(build_allocate(run))) >= {"Quality by uplink"}
