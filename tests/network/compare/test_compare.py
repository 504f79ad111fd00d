"""network.compare: the same flows under every combination of a grid."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import ValidationError
from tests.network.fake_simulator import FakeSimulator

from midhaul.errors import ConfigError
from midhaul.kinds import KINDS
from midhaul.network.compare.config import NetworkCompareConfig
from midhaul.network.compare.experiment import cases_of, compare
from midhaul.network.compare.metrics import METRICS, samples
from midhaul.network.compare.tables import COMPARE_TABLES
from midhaul.network.simulators import SIMULATORS
from midhaul.registry import Entry
from midhaul.report import Headline
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path

KIND = KINDS["network.compare"]
SHORT = {
    "flows": [{"name": "u", "sources": "gateway*", "targets": "cloud", "n_flows": 700}],
    "n_resamples": 100,
    "grid": {"simulator": ["fluid", "packet"]},
}


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two names for one simulator."""
    for name in ("fluid", "packet"):
        monkeypatch.setitem(SIMULATORS._entries, name, Entry(place=FakeSimulator))
    monkeypatch.setattr("midhaul.network.simulators._KERNELS", {})


def read(**changes: object) -> NetworkCompareConfig:
    """A config as from a file."""
    return NetworkCompareConfig.model_validate_json(json.dumps({**SHORT, **changes}))


def perform(folder: Path, **changes: object) -> Run:
    """A run of a short experiment."""
    config = read(**changes)
    run = Run.create(folder, KIND.name, config)
    compare(config, run, SilentProgress())
    run.finish()
    run.presenter = KIND
    return run


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid": {"simulators": ["fluid"]}}, "did you mean 'simulator'"),
        ({"grid": {"simulator": ["flood"]}}, "none of packet"),
        ({"grid": {"transport": ["bbr"]}}, "none of cubic"),
        ({"grid": {"simulator": ["fluid", "fluid"]}}, "same value twice"),
        ({"reference": "links"}, "must be one of fluid; packet"),
        ({"grid": {"queue.size": [1]}}, "grid.queue.size: .*unknown key"),
        ({"grid": {"queue.discipline": ["fifo", "fq"]}}, "grid.queue.discipline: "),
        ({"grid": {"queue.max_packets": [0]}}, "greater than or equal to 1, found 0"),
        ({"grid": {"cable.uplinks.rate_bps": [0.0]}}, "greater than 0, found 0"),
        ({"grid": {"cable.uplinks.rate_bps": ["fast"]}}, "expected a number"),
    ],
)
def test_grids_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    """Each mistake is named."""
    with pytest.raises(ValidationError, match=words):
        read(**changes)


@pytest.mark.parametrize("key", ["cable.uplink.rate_bps", "cable.uplinks.rate"])
def test_keys_that_the_topology_does_not_have_are_named(key: str) -> None:
    """The hint says which there are."""
    with pytest.raises(ConfigError, match=key.rpartition(".")[2]):
        cases_of(read(grid={key: [1]}))


def test_all_configurations_have_the_same_flows() -> None:
    """Only what the grid says differs."""
    grid = {
        "cable.uplinks.rate_bps": [20e6, 50e6],
        "transport": ["cubic", "bbr"],
        "queue.discipline": ["fifo", "fq_codel"],
    }
    cases = cases_of(read(grid=grid, transports=[{"kind": "cubic"}, {"kind": "bbr"}]))
    assert [case.name for case in cases][:2] == [
        "20 Mbit/s · cubic · fifo",
        "20 Mbit/s · cubic · fq_codel",
    ]
    assert len(cases) == 8
    first = cases[0].problem
    for case in cases:
        problem = case.problem
        assert np.array_equal(problem.flows.size_bytes, first.flows.size_bytes)
        assert np.array_equal(problem.flows.start_ns, first.flows.start_ns)
        assert len(problem.transports) == 1
        queue = {link.queue.discipline for link in problem.topology.links}
        assert queue == {case.settings["queue.discipline"]}
        rates = {x.rate_bps for x in problem.topology.links if "gateway" in x.name}
        assert rates == {case.settings["cable.uplinks.rate_bps"]}


def test_equal_configurations_agree_to_the_nanosecond(tmp_path: Path) -> None:
    """No flow is off, and every metric is a tie or equal."""
    run = perform(tmp_path)
    assert set(run.tables()) == {table.name for table in COMPARE_TABLES} - {"rungs"}
    (row,) = run.sql("SELECT * FROM agreement WHERE size_class = 'all'").to_pylist()
    assert (row["n"], row["n_within_2ns"], row["error_p99"]) == (700, 700, 0.0)
    ratios = run.sql("SELECT DISTINCT ratio FROM comparisons").to_pylist()
    assert {row["ratio"] for row in ratios} <= {1.0, None}
    results = run.sql("SELECT DISTINCT result FROM comparisons").to_pylist()
    assert not {"better", "worse"} & {row["result"] for row in results}
    assert set(run.summary.metrics) <= METRICS.keys()


def test_a_faster_uplink_is_found_to_be_better(tmp_path: Path) -> None:
    """Completion times fall with it, batch by batch."""
    grid = {"simulator": ["fluid"], "cable.uplinks.rate_bps": [20e6, 100e6]}
    run = perform(tmp_path, grid=grid)
    query = "SELECT result, ratio FROM comparisons WHERE metric = 'fct_mean_s'"
    (row,) = run.sql(query).to_pylist()
    assert row["result"] == "better"
    assert row["ratio"] < 0.5


def test_the_reference_can_be_another_than_the_first(tmp_path: Path) -> None:
    """The first is then held against it."""
    run = perform(tmp_path, reference="packet")
    rows = run.sql("SELECT DISTINCT configuration FROM comparisons").to_pylist()
    assert rows == [{"configuration": 0}]
    errors = [one for one in samples(run) if one.metric == "fct_error_p50"]
    assert [one.configuration for one in errors] == ["fluid"]


def test_configurations_in_processes_of_their_own_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an executor that stays in this process, tables are equal."""

    def here(work: Any, tasks: Any, *, jobs: int) -> Any:
        assert jobs == 2
        yield from ((i, work(task)) for i, task in reversed(list(enumerate(tasks))))

    monkeypatch.setattr("midhaul.network.compare.experiment.parallel", here)
    both = [perform(tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2)]
    for table in ("flows", "links", "agreement", "comparisons"):
        one, other = (run.table(table) for run in both)
        assert one.equals(other), table


def test_the_report_shows_time_against_error(tmp_path: Path) -> None:
    """Curves side by side, what differs, and what it took."""
    run = perform(tmp_path)
    titles = set(run.figures)
    assert {"Slowdown by configuration", "Time against error"} <= titles
    assert run.report().path.stat().st_size > 100_000


def test_the_headline_of_simulators_is_that_of_the_reference(tmp_path: Path) -> None:
    """The least slowdown is not the best one; that of transports or links is."""
    both = perform(tmp_path / "simulators", reference="packet")
    grid = {"simulator": ["fluid"], "cable.uplinks.rate_bps": [20e6, 100e6]}
    rates = perform(tmp_path / "rates", grid=grid)
    for run, is_reference in ((both, True), (rates, False)):
        items = [item for one in KIND.build_page(run).sections for item in one.items]
        (shown,) = [item for item in items if isinstance(item, Headline)]
        told = {name for _, _, name in shown.numbers}
        _, second = run.table("configurations")["name"].to_pylist()
        assert (told == {second}) if is_reference else (second in told)
