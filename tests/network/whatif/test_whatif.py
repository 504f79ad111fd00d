"""network.whatif: the best of several networks, how surely, and what is equal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import ValidationError
from tests.network.fake_simulator import FakeSimulator

from midhaul.errors import ConfigError
from midhaul.kinds import KINDS
from midhaul.network.simulators import SIMULATORS
from midhaul.network.whatif.config import NetworkWhatifConfig
from midhaul.network.whatif.experiment import cases_of, whatif
from midhaul.network.whatif.metrics import METRICS, samples
from midhaul.network.whatif.tables import WHATIF_TABLES
from midhaul.registry import Entry
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path

KIND = KINDS["network.whatif"]
SHORT = {
    "simulator": "fluid",
    "flows": [{"name": "u", "sources": "gateway*", "targets": "cloud", "n_flows": 700}],
    "n_resamples": 100,
    "vary": {"cable.uplinks.rate_bps": [20e6, 100e6]},
}


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulator that takes no time."""
    monkeypatch.setitem(SIMULATORS._entries, "fluid", Entry(place=FakeSimulator))
    monkeypatch.setattr("midhaul.network.simulators._KERNELS", {})


def read(**changes: object) -> NetworkWhatifConfig:
    """A config as from a file."""
    return NetworkWhatifConfig.model_validate_json(json.dumps({**SHORT, **changes}))


def perform(folder: Path, **changes: object) -> Run:
    """A run of a short experiment."""
    config = read(**changes)
    run = Run.create(folder, KIND.name, config)
    whatif(config, run, SilentProgress())
    run.finish()
    run.presenter = KIND
    return run


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vary": {"simulator": ["fluid"]}}, "without values or meaning"),
        ({"vary": {"toplogy.oversubscription": [1]}}, "did you mean 'topology'"),
        ({"vary": {"transport": ["bbr"]}}, "none of cubic"),
        ({"present": "fifo"}, "must be one of 20 Mbit/s; 100 Mbit/s"),
        (
            {"costs": [{"key": "queue.discipline", "value": "fifo", "usd": 1}]},
            "which vary has not",
        ),
    ],
)
def test_choices_that_cannot_be_are_refused(
    changes: dict[str, Any], words: str
) -> None:
    """Each mistake is named."""
    with pytest.raises(ValidationError, match=words):
        read(**changes)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("routing.kinds", "ecmp", "did you mean 'kind'"),
        ("topology.counts.n_gateways", 0, "gateway"),
        ("topology.counts.n_gateways", 3, "gateway3 is not there"),
        ("topology.oversubscription", 2.0, "cannot be told an oversubscription"),
    ],
)
def test_a_key_of_the_file_that_cannot_be_is_named(
    key: str, value: object, words: str
) -> None:
    """By the same words as in a file."""
    with pytest.raises(ConfigError, match=words):
        cases_of(read(vary={key: [value]}))


def test_keys_of_the_file_vary_and_flows_stay() -> None:
    """Windows, buffers, oversubscription and routing, each where it belongs."""
    flows = [{"name": "u", "n_flows": 300}]
    cases = cases_of(
        read(
            topology={"kind": "clos", "counts": {"n_hosts": 4}},
            transports=[{"kind": "dctcp"}],
            flows=flows,
            vary={
                "topology.oversubscription": [1, 2],
                "transports.0.rdma.window_bytes": [10000, 20000],
                "switch_buffer_bytes": [0, 400000],
                "routing.kind": ["ecmp", "k_paths"],
            },
        )
    )
    assert len(cases) == 16
    words = "oversubscription 1 · window_bytes 10000 · "
    assert cases[3].name == f"{words}switch_buffer_bytes 400000 · k_paths"
    one, last = cases[0].problem, cases[-1].problem
    assert last.switch_buffer_bytes == 400_000
    assert [case.problem.transports[0].window_bytes for case in cases[3:5]] == [
        10_000,
        20_000,
    ]
    assert len(last.topology.nodes) < len(one.topology.nodes)
    for name in ("source", "target"):
        ends = [
            [problem.topology.nodes[i] for i in getattr(problem.flows, name)]
            for problem in (one, last)
        ]
        assert ends[0] == ends[1]
    assert np.array_equal(one.flows.start_ns, last.flows.start_ns)


def test_the_best_is_found_and_how_surely(tmp_path: Path) -> None:
    """Also what it is over the network as it is, class by class."""
    run = perform(tmp_path)
    there = {table.name for table in WHATIF_TABLES} - {"rungs", "timeline"}
    assert set(run.tables()) >= there - {"link_queues"}
    rows = run.table("choices").to_pylist()
    assert [row["result"] for row in rows] == ["worse", "best"]
    assert [row["is_advised"] for row in rows] == [False, True]
    assert rows[1]["best_share"] == 1.0
    assert rows[0]["ratio"] > 1.2
    assert rows[0]["p_value"] < 0.05
    query = """
        SELECT value FROM choice_classes
        WHERE size_class = 'all' AND percentile = 50 ORDER BY configuration
    """
    slow, fast = (row["value"] for row in run.sql(query).to_pylist())
    assert slow > 2 * fast
    assert "100 Mbit/s has the least p99" in " ".join(run.manifest.notes)
    assert {one.configuration for one in samples(run)} == {"20 Mbit/s", "100 Mbit/s"}
    assert set(run.summary.metrics) <= METRICS.keys()


def test_equal_choices_are_equal_and_the_cheapest_is_advised(tmp_path: Path) -> None:
    """What changes nothing is no choice; without costs the present one stays."""
    vary = {"queue.discipline": ["fifo", "codel"], "queue.max_packets": [100, 200]}
    run = perform(tmp_path / "free", vary=vary, n_seeds=2)
    rows = run.table("choices").to_pylist()
    assert sorted(row["result"] for row in rows) == ["best", *["equal"] * 3]
    assert [row["is_advised"] for row in rows] == [True, False, False, False]
    assert sum(row["best_share"] for row in rows) == pytest.approx(1)
    simulated = run.table("simulations")["configuration"].to_pylist()
    assert sorted(simulated) == list(range(8))
    costs = [
        {"key": "queue.discipline", "value": "fifo", "usd": 10},
        {"key": "queue.max_packets", "value": 200, "usd": 5},
    ]
    run = perform(tmp_path / "dear", vary=vary, costs=costs)
    rows = run.table("choices").to_pylist()
    assert [row["cost_usd"] for row in rows] == [10, 15, 0, 5]
    assert [row["is_advised"] for row in rows] == [False, False, True, False]


def test_the_present_network_decides_what_a_slowdown_is_over(tmp_path: Path) -> None:
    """Values change with it by what flows take alone, and ratios hardly do."""
    found = [
        perform(tmp_path / name[:3], present=name).table("choices").to_pylist()
        for name in ("20 Mbit/s", "100 Mbit/s")
    ]
    assert found[1][0]["value"] > 2 * found[0][0]["value"]
    assert [row["result"] for row in found[1]] == ["worse", "best"]


def test_too_few_flows_choose_nothing(tmp_path: Path) -> None:
    """There is no p99 of 100 flows, and the run says so."""
    flows = [{"name": "u", "sources": "gateway*", "targets": "cloud", "n_flows": 100}]
    run = perform(tmp_path, flows=flows)
    assert "no choice can be called best" in " ".join(run.manifest.notes)
    assert {row["value"] for row in run.table("choices").to_pylist()} == {None}
    assert run.report().path.is_file()


def test_the_report_shows_choices_by_class(tmp_path: Path) -> None:
    """A table, a chart, and the sentence."""
    run = perform(tmp_path)
    assert {"Slowdown of each class of size", "Slowdown by configuration"} <= set(
        run.figures
    )
    assert "has the least p99" in run.report().path.read_text(encoding="utf-8")
