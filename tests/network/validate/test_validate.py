"""network.validate: how far a simulator lies from its judge on parts of a network."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import ValidationError
from tests.network.fake_simulator import FakeSimulation, FakeSimulator

from midhaul.errors import ConfigError
from midhaul.kinds import KINDS
from midhaul.network.decomposition.hybrid import round_trip_ns
from midhaul.network.problem import link_table
from midhaul.network.simulate.inputs import case_of
from midhaul.network.simulators import SIMULATORS
from midhaul.network.validate.config import NetworkValidateConfig
from midhaul.network.validate.experiment import validate
from midhaul.network.validate.metrics import METRICS, samples, verdict_sentence
from midhaul.network.validate.parts import checked_paths, checked_window
from midhaul.network.validate.tables import VALIDATE_TABLES
from midhaul.registry import Entry
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.network import FlowResults, NetworkProblem
    from midhaul.network.simulator import Arrays

KIND = KINDS["network.validate"]
SHORT = {
    "flows": [{"name": "u", "sources": "gateway*", "targets": "cloud", "n_flows": 900}],
    "n_resamples": 100,
    "simulator": "fluid",
}


class Longer(FakeSimulation):
    """All flows take a fifth longer than for the judge."""

    def results(self) -> FlowResults:
        """What is known so far."""
        found = super().results()
        longer = np.where(found.fct_ns >= 0, found.fct_ns * 6 // 5, -1)
        return replace(found, fct_ns=longer, end_ns=2 * found.end_ns)


class LongerSimulator:
    """Answers at once, and too much."""

    name = "longer"

    def begin(self, problem: NetworkProblem, state: Arrays | None = None) -> Longer:
        """Begin, or go on from a state."""
        return Longer(problem, state)


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge, one that is like it, and one that is not."""
    for name, place in (
        ("packet", FakeSimulator),
        ("links", FakeSimulator),
        ("fluid", LongerSimulator),
    ):
        monkeypatch.setitem(SIMULATORS._entries, name, Entry(place=place))
    monkeypatch.setattr("midhaul.network.simulators._KERNELS", {})


def read(**changes: object) -> NetworkValidateConfig:
    """A config as from a file."""
    return NetworkValidateConfig.model_validate_json(json.dumps({**SHORT, **changes}))


def perform(folder: Path, **changes: object) -> Run:
    """A run of a short experiment."""
    config = read(**changes)
    run = Run.create(folder, KIND.name, config)
    validate(config, run, SilentProgress())
    run.finish()
    run.presenter = KIND
    return run


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"simulator": "packet"}, "packet cannot be validated by packet"),
        ({"simulator": "auto", "budget_s": 1}, "auto cannot be validated"),
        ({"others": ["fluid"]}, "names a simulator twice"),
        ({"until_s": 1.0}, "until_s cuts flows off"),
        ({"n_checked": 1}, "greater than or equal to 2"),
    ],
)
def test_what_cannot_be_checked_is_refused(changes: dict[str, Any], words: str) -> None:
    """Each mistake is named."""
    with pytest.raises(ValidationError, match=words):
        read(**changes)


def test_paths_stand_beside_each_other_and_take_turns() -> None:
    """Each has its flows of the whole, and none begins before the last could end."""
    whole = case_of(read()).problem
    parts = checked_paths(whole, 4, 0)
    problem = parts.problem
    assert len(parts.names) == 4
    assert (np.diff(parts.part) >= 0).all()
    table = link_table(problem.topology)
    for flow in range(len(problem.flows)):
        way = problem.routes.of(flow)
        assert table.source[way[0]] == problem.flows.source[flow]
        assert table.target[way[-1]] == problem.flows.target[flow]
        assert (table.source[way[1:]] == table.target[way[:-1]]).all()
        names = {problem.topology.links[i].source.partition(".")[0] for i in way}
        assert names == {str(parts.part[flow])}
    found = FakeSimulator().begin(problem)
    assert found.advance(1_000_000)
    ideal = found.results().ideal_fct_ns
    start = problem.flows.start_ns
    for part in range(1, 4):
        before, mine = parts.part == part - 1, parts.part == part
        longest = int(ideal[before].max())
        assert start[mine].min() >= start[before].max() + longest
    lengths = np.diff(whole.routes.offsets)
    for part in range(4):
        own = parts.is_judged & (parts.part == part)
        ways = [problem.routes.of(i) for i in np.flatnonzero(own)]
        assert all(np.array_equal(way, ways[0]) for way in ways)
        assert len(ways[0]) in lengths
        sizes = problem.flows.size_bytes[own]
        assert np.isin(sizes, whole.flows.size_bytes).all()


def test_a_window_begins_with_what_is_under_way() -> None:
    """Round trips or a quarter of it before it; only its own flows are judged."""
    whole = case_of(read()).problem
    start = whole.flows.start_ns
    begin, length = int(start[300]), int(start[600] - start[300])
    parts = checked_window(whole, begin / 1e9, length / 1e9)
    mine, own = parts.problem.flows.start_ns, parts.is_judged
    first = begin - int(max(length / 4, min(30 * round_trip_ns(whole), length)))
    assert first < begin - length // 4
    assert mine.min() >= first - 1
    assert own.sum() == np.sum((start >= begin) & (start < begin + length))
    assert begin <= mine[own].min() <= mine[own].max() < begin + length
    n_new = np.sum((start >= first) & (start < begin))
    assert np.sum(mine < begin) > n_new  # what the fluid had under way
    assert len(parts.names) == 30
    counts = np.bincount(parts.part[own])
    assert 1 <= counts.min() <= counts.max() <= counts.min() + 1
    with pytest.raises(ConfigError, match="no flow starts from") as caught:
        checked_window(whole, 1e6, 1.0)
    assert "begins_s" in caught.value.hint


def test_flows_that_wait_cannot_be_checked() -> None:
    """Neither along paths nor in a window."""
    flows = [{"name": "r", "kind": "all-reduce", "sources": "gateway*"}]
    whole = case_of(read(flows=flows)).problem
    for check in (
        lambda: checked_paths(whole, 3, 0),
        lambda: checked_window(whole, 0.0, None),
    ):
        with pytest.raises(ConfigError, match="wait"):
            check()


@pytest.mark.parametrize("check", ["paths", "window"])
def test_errors_are_found_and_judged(tmp_path: Path, check: str) -> None:
    """One is a fifth too high everywhere, one is exact, and both are told so."""
    lasts = {"lasts_s": 1e6} if check == "window" else {}
    run = perform(tmp_path, check=check, others=["links"], **lasts)
    assert set(run.tables()) >= {table.name for table in VALIDATE_TABLES} - {
        "link_queues",
        "timeline",
    }
    rows = run.table("errors").to_pylist()
    assert {row["configuration"] for row in rows} == {1, 2}
    for row in rows:
        expected = 0.2 if row["configuration"] == 1 else 0.0
        assert row["error"] == pytest.approx(expected, abs=2e-3)
        if row["low"] is not None:
            assert row["low"] <= row["error"] + 1e-9
            assert row["high"] >= row["error"] - 1e-9
    first, second = run.manifest.notes
    assert first.startswith("fluid: p")
    assert "does not hold the bound of 10%" in first
    assert "that holds the bound of 10%" in second
    checked = run.table("checked").to_pylist()
    judged = sum(row["n_judged"] for row in checked)
    total = sum(row["n_judged"] + row["n_beside"] for row in checked)
    assert (
        total
        == run.sql("SELECT count(*) AS n FROM flows WHERE configuration = 0")["n"][
            0
        ].as_py()
    )
    of_all = next(row for row in rows if row["what"] == "p50")
    assert of_all["n"] == judged
    assert set(run.summary.metrics) <= METRICS.keys()
    assert {one.configuration for one in samples(run)} == {"fluid", "links"}
    assert {"Error of each class of size"} <= set(run.figures)
    assert "does not hold" in run.report().path.read_text(encoding="utf-8")


def test_a_bound_within_the_interval_cannot_be_told() -> None:
    """Nor is anything said of too few flows."""
    row = {
        "size_class": "all",
        "what": "p95",
        "n": 200,
        "error": 0.08,
        "low": 0.02,
        "high": 0.14,
    }
    told = verdict_sentence("fluid", [row], 0.1, "the window")
    assert "p95 of the slowdown is off by +8.0% (+2.0% to +14.0%)" in told
    assert "cannot be told" in told
    assert "too few" in verdict_sentence("fluid", [], 0.1, "the window")
