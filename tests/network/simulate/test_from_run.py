"""Runs of other areas as networks: links, gateways, uploads and pulls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.deploy.plan.config import PlanConfig
from midhaul.deploy.plan.experiment import plan
from midhaul.errors import ConfigError, DataError, StoreError
from midhaul.network.simulate.config import NetworkSimulateConfig
from midhaul.network.simulate.from_run import flows_of_run, topology_of_run
from midhaul.network.simulate.inputs import case_of, topology_of
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run
from midhaul.testbed.measure.config import MeasureConfig

if TYPE_CHECKING:
    from pathlib import Path

PLAN = {
    "kind": "deploy.plan",
    "planners": ["mincut+exact", "joint"],
    "slot_s": 300,
    "curves": {
        "cloud": {"source": "seed:yolo-cloud"},
        "gateway": {"source": "seed:yolo-gateway"},
    },
    "gateways": [
        {"name": "harbour", "uplink_bps": 2e5, "downlink_bps": 8e7, "disk_bytes": 9e9},
        {"name": "station", "uplink_bps": 3e5, "downlink_bps": 5e7, "disk_bytes": 9e9},
    ],
    "backhaul_bps": 1e8,
    "analytics": [
        {
            "name": name,
            "image": image,
            "n": 3,
            "n_cores": 0.5,
            "sites": [site],
            "cloud_curve": "cloud",
            "gateway_curve": "gateway",
        }
        for name, image, site in (
            ("berths", "yolo1", "harbour"),
            ("cranes", "yolo3", "harbour"),
            ("doors", "yolo2", "station"),
        )
    ],
}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of deploy.plan with two gateways."""
    config = PlanConfig.model_validate(PLAN, strict=False)
    run = Run.create(tmp_path_factory.mktemp("runs"), "deploy.plan", config)
    plan(config, run, SilentProgress())
    run.finish("done")
    return run


def measured(folder: Path, links: list[dict[str, object]]) -> Run:
    """A run of testbed.measure, of which only the config counts."""
    values = {"kind": "testbed.measure", "links": links}
    config = MeasureConfig.model_validate(values, strict=False)
    run = Run.create(folder, "testbed.measure", config)
    run.finish("done")
    return run


def test_gateways_of_a_plan_stand_on_their_uplinks(planned: Run) -> None:
    """Rates are the plan's in both directions; delays are assumed, which is counted."""
    found = topology_of_run(planned.dir)
    rates = {link.name: link.rate_bps for link in found.topology.links}
    assert rates["harbour->hub"] == 2e5
    assert rates["hub->harbour"] == 8e7
    assert rates["station->hub"] == 3e5
    assert rates["cloud->hub"] == 1e8
    (tally,) = found.tallies
    assert (tally.n, tally.of) == (2, 2)
    told = topology_of_run(planned.dir, [("uplinks", {"delay_s": 0.03})])
    assert told.tallies[0].n == 0
    assert {x.delay_s for x in told.topology.links if "harbour" in x.name} == {0.03}


def test_a_plan_sends_at_the_rates_that_it_granted(planned: Run) -> None:
    """Bytes of messages over the time are the granted rates, sensor by sensor."""
    topology = topology_of_run(planned.dir).topology
    found = flows_of_run(planned.dir, topology, duration_s=200.0, rate_hz=2.0)
    flows = found.flows
    is_upload = flows.label == flows.labels.index("plan uploads")
    granted = planned.sql(
        "SELECT sensor, sum(rate_bps) AS bps FROM decisions "
        "WHERE configuration = 0 AND rate_bps > 0 GROUP BY sensor"
    ).to_pylist()
    assert granted
    for row in granted:
        own = is_upload & (flows.source == topology.nodes.index(row["sensor"]))
        sent_bps = 8 * flows.size_bytes[own].sum() / 200
        assert sent_bps == pytest.approx(row["bps"], rel=0.02)
    assert int(flows.start_ns.max()) < 200e9


def test_pulls_carry_each_missing_layer_once(planned: Run) -> None:
    """Together they have the bytes that the plan counts, from the cloud."""
    topology = topology_of_run(planned.dir).topology
    found = flows_of_run(planned.dir, topology, n_parallel=2)
    flows = found.flows
    is_pull = flows.label == flows.labels.index("plan pulls")
    (wanted,) = planned.sql(
        "SELECT sum(compressed_bytes) AS n FROM pulls WHERE configuration = 0"
    ).to_pylist()
    assert flows.size_bytes[is_pull].sum() == wanted["n"]
    assert set(flows.source[is_pull]) == {topology.nodes.index("cloud")}
    assert flows.waits


def test_pulls_that_begin_later_are_counted_as_left_out(planned: Run) -> None:
    """They speak against the run."""
    topology = topology_of_run(planned.dir).topology
    last = planned.sql(
        "SELECT max(begins_s) AS s, count(*) AS n FROM pulls WHERE configuration = 0"
    ).to_pylist()[0]
    assert last["s"] > 0
    found = flows_of_run(planned.dir, topology, duration_s=last["s"], rate_hz=100.0)
    (late,) = (one for one in found.tallies if "left out" in one.what)
    assert 0 < late.n < last["n"] == late.of
    assert late.is_too_many


def test_another_plan_of_the_run_may_be_chosen(planned: Run) -> None:
    """By the name of its configuration; an unknown one is told with those there are."""
    topology = topology_of_run(planned.dir).topology
    flows_of_run(planned.dir, topology, configuration="joint")
    with pytest.raises(DataError, match="did you mean 'joint'"):
        flows_of_run(planned.dir, topology, configuration="jiont")


def test_an_experiment_takes_both_from_a_run(planned: Run) -> None:
    """Flows run over their gateways' uplinks, and a grid changes the cables."""
    config = NetworkSimulateConfig.model_validate(
        {
            "kind": "network.simulate",
            "topology": {"kind": "run", "file": planned.dir},
            "flows": [{"kind": "run", "file": planned.dir, "duration_s": 30.0}],
        },
        strict=False,
    )
    case = case_of(config)
    assert any("delays" in tally.what for tally in case.tallies)
    assert len(case.problem.flows)
    faster = topology_of(config, {"cable.uplinks.rate_bps": 9e6})
    assert {x.rate_bps for x in faster.links if x.name.endswith("->hub")} == {9e6, 1e8}
    with pytest.raises(ConfigError, match="does not have"):
        topology_of(config, {"cable.ring.rate_bps": 9e6})


def test_links_of_a_testbed_are_links(tmp_path: Path) -> None:
    """Each way by itself; what was unlimited is counted."""
    run = measured(
        tmp_path,
        [
            {"source": "workload", "target": "edge1", "delay_s": 0.001},
            {
                "source": "edge1",
                "target": "cloud",
                "rate_bps": 2e7,
                "back_rate_bps": 1e8,
                "delay_s": 0.02,
            },
        ],
    )
    found = topology_of_run(run.dir)
    links = {link.name: (link.rate_bps, link.delay_s) for link in found.topology.links}
    assert links["edge1->cloud"] == (2e7, 0.02)
    assert links["cloud->edge1"] == (1e8, 0.02)
    assert links["workload->edge1"] == (1e10, 0.001)
    assert np.sum([tally.n for tally in found.tallies]) == 2
    with pytest.raises(DataError, match="found cables"):
        topology_of_run(run.dir, [("uplinks", {"delay_s": 0.1})])


def test_what_is_no_network_is_refused(tmp_path: Path, planned: Run) -> None:
    """A testbed over loopback, a plan that is none, and a folder without a run."""
    bare = measured(tmp_path / "bare", [])
    with pytest.raises(DataError, match="found none"):
        topology_of_run(bare.dir)
    topology = topology_of_run(planned.dir).topology
    with pytest.raises(DataError, match=r"expected deploy\.plan"):
        flows_of_run(bare.dir, topology)
    with pytest.raises(StoreError):
        topology_of_run(tmp_path / "nothing")
