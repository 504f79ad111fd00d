"""network.estimate: draws, pools, links to blame, headroom, and the kind."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.correctors import untrained_corrector

import midhaul.network
from midhaul.errors import ConfigError
from midhaul.kinds import KINDS
from midhaul.model import Flows
from midhaul.network import (
    Cable,
    FlowLaw,
    LognormalSize,
    NetworkProblem,
    RdmaTransport,
    draw_flows,
    leaf_spine,
)
from midhaul.network.checks import SimulatorClaims, check_simulator
from midhaul.network.corrector.base import LEVELS, Correction
from midhaul.network.corrector.features import OWN_LEVELS, OWN_NAMES
from midhaul.network.estimate.blame import blamed_links, headroom
from midhaul.network.estimate.config import NetworkEstimateConfig
from midhaul.network.estimate.experiment import estimate
from midhaul.network.estimate.metrics import METRICS
from midhaul.network.estimate.pooling import class_weights, estimate_problem
from midhaul.network.estimate.sampling import (
    draw_paths,
    look_at,
)
from midhaul.network.estimate.simulator import EstimateSimulator
from midhaul.network.estimate.tables import CONFIGURATIONS, ESTIMATE_TABLES
from midhaul.network.estimate.windows import window_verdict, windows_of
from midhaul.network.slowdown import SIZE_CLASSES, size_class, size_masks
from midhaul.network.train.learning import with_record
from midhaul.network.transports import TcpTransport
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midhaul.network.corrector.features import PathFeatures
    from midhaul.network.transports import Transport

KIND = KINDS["network.estimate"]


class FluidCorrector:
    """Says of every path what the fluid says of its foreground, 10 % up or down."""

    name = "fluid"

    def predict(self, features: Sequence[PathFeatures]) -> Correction:
        """The percentile of the class that is told next to each level."""
        first = OWN_NAMES.index("fluid p10")
        at = np.minimum(np.searchsorted(OWN_LEVELS, LEVELS), len(OWN_LEVELS) - 1)
        own = np.stack(
            [one.own[:, first : first + len(OWN_LEVELS)] for one in features]
        )
        told = np.exp(own[:, :, at].astype(np.float64))
        return Correction(
            slowdown=told,
            low=np.maximum(told / 1.1, 1.0),
            high=told * 1.1,
            counts=np.stack([one.counts for one in features]),
            outside=tuple(() for _ in features),
        )


def fabric(n: int = 1500, load: float = 0.6) -> NetworkProblem:
    """Flows in a small fabric."""
    topology = leaf_spine(
        3, 2, 4, access=Cable(rate_bps=1e9), fabric=Cable(rate_bps=2e9, delay_s=2e-6)
    )
    law = FlowLaw(sizes=LognormalSize(mean_bytes=8_000, sigma=1.5), load=load)
    drawn = draw_flows(topology, law, n, seed=1)
    return NetworkProblem(
        topology=topology,
        flows=drawn.flows,
        routes=drawn.routes,
        transports=(RdmaTransport(max_rate_bps=1e9),),
    )


def test_rare_classes_are_drawn_more_often() -> None:
    """Large flows are few, and some paths stand for them besides."""
    problem = fabric()
    sizes = problem.flows.size_bytes
    rng = np.random.default_rng(0)
    found = draw_paths(problem.routes, sizes, 100, rng)
    assert found.draws.sum() == 100
    assert len(set(found.paths)) == len(found.paths)
    n_of = np.bincount(size_class(sizes), minlength=len(SIZE_CLASSES))
    rarest = int(np.argmin(np.where(n_of > 0, n_of, 1 << 60)))
    assert found.of_class[:, rarest].sum() > 0
    assert found.of_class[:, n_of == 0].sum() == 0


def test_classes_have_their_true_shares() -> None:
    """Whatever was drawn; a class stands for itself alone."""
    problem = fabric()
    sizes = problem.flows.size_bytes
    sampled = draw_paths(problem.routes, sizes, 60, np.random.default_rng(0))
    looked = look_at(problem, sampled.paths)
    correction = FluidCorrector().predict([one.features for one in looked])
    weights = class_weights(problem, sampled, correction)
    n_of = np.bincount(size_class(sizes), minlength=len(SIZE_CLASSES))
    told = weights["all"].sum(axis=0)
    assert told == pytest.approx(np.where(told > 0, n_of, 0))
    for b, name in enumerate(SIZE_CLASSES):
        if name in weights:
            assert np.flatnonzero(weights[name].sum(axis=0)).tolist() == [b]


def test_pooled_paths_of_a_fluid_are_the_fluid_of_the_network() -> None:
    """A corrector that corrects nothing gives what the fluid gives of the whole."""
    problem = fabric()
    found = estimate_problem(problem, n_paths=200, corrector=FluidCorrector())
    whole = midhaul.network.simulate(
        problem.topology,
        problem.flows,
        problem.transports[0],
        routes=problem.routes,
        with_="fluid",
    )
    for share, one in zip(found.shares[:3], found.slowdown["all"], strict=False):
        assert one.value == pytest.approx(np.quantile(whole.slowdown, share), rel=0.15)
        assert one.low <= one.value <= one.high
    fct_s = np.quantile(whole.fct_ns, 0.5) / 1e9
    assert found.fct_s["all"][0].value == pytest.approx(fct_s, rel=0.1)
    assert found.n_flows["all"] == len(problem.flows)


def test_more_draws_leave_less_to_chance() -> None:
    """The part of the interval that is of sampling shrinks, the other stays."""
    problem = fabric()
    few = estimate_problem(problem, n_paths=20, corrector=FluidCorrector())
    many = estimate_problem(problem, n_paths=300, corrector=FluidCorrector())
    at = few.shares.index(0.99)
    assert many.sampling[at] < few.sampling[at]
    assert many.model[at] == pytest.approx(0.1, abs=0.03)


def test_the_link_that_holds_flows_up_is_blamed_first() -> None:
    """One access link has a tenth of the rate of the others."""
    problem = fabric(load=0.3)
    counts = np.bincount(problem.routes.links, minlength=len(problem.topology.links))
    slow = int(np.argmax(counts))
    links = list(problem.topology.links)
    links[slow] = replace(links[slow], rate_bps=links[slow].rate_bps / 3)
    problem = replace(problem, topology=replace(problem.topology, links=tuple(links)))
    corrector = FluidCorrector()
    found = estimate_problem(problem, n_paths=150, corrector=corrector)
    looked = look_at(problem, found.sampled.paths)
    blamed = blamed_links(
        problem, found.sampled, looked, found.correction, corrector, n=3
    )
    assert blamed[0].link == slow
    assert blamed[0].gain > 0
    assert blamed[0].p99 < found.p99.value
    gains = [one.gain for one in blamed]
    assert gains == sorted(gains, reverse=True)


def test_headroom_ends_where_the_p99_has_doubled() -> None:
    """More load is slower, and the factor lies between the two it was found at."""
    problem = fabric(load=0.4)
    corrector = FluidCorrector()
    found = estimate_problem(problem, n_paths=50, corrector=corrector)
    room = headroom(problem, found.sampled, corrector, n_paths=50)
    assert room.p99[0] < room.p99[-1]
    if room.doubles_at is not None:
        assert room.p99[-1] >= 2 * room.p99[0]
        assert room.factors[-2] < room.doubles_at <= room.factors[-1]


@pytest.mark.parametrize("transport", [RdmaTransport(), TcpTransport()])
def test_it_answers_as_simulators_do(transport: Transport) -> None:
    """The conformance suite; a flow alone may be told any slowdown."""
    check_simulator(
        EstimateSimulator(n_paths=20, corrector=untrained_corrector()),
        transport,
        claims=SimulatorClaims(
            max_lone_slowdown=1e6, has_waiting=False, has_samples=False
        ),
    )


def test_its_flows_have_the_distribution_that_is_estimated() -> None:
    """Slowdowns of single flows are draws of it."""
    problem = fabric()
    corrector = FluidCorrector()
    simulation = EstimateSimulator(n_paths=200, corrector=corrector).begin(problem)
    while not simulation.advance(10_000):
        pass
    found = simulation.results().slowdown
    told = estimate_problem(problem, n_paths=200, corrector=corrector)
    assert np.quantile(found, 0.95) == pytest.approx(
        told.slowdown["all"][1].value, rel=0.1
    )


def test_no_flow_is_refused_in_words() -> None:
    """There is nothing to say of a network that carries nothing."""
    problem = fabric(1)
    none = np.zeros(0, np.int64)
    flows = Flows(
        source=none.astype(np.int32),
        target=none.astype(np.int32),
        size_bytes=none,
        start_ns=none,
    )
    with pytest.raises(ConfigError, match="no flow"):
        estimate_problem(replace(problem, flows=flows), corrector=FluidCorrector())


@pytest.fixture(name="corrector")
def _corrector(tmp_path: Path) -> Path:
    file = tmp_path / "corrector.npz"
    file.write_bytes(untrained_corrector().saved())
    return file


def perform(folder: Path, corrector: Path, **changes: Any) -> Run:
    """A run of a short estimate."""
    values = {
        "corrector": str(corrector),
        "n_paths": 20,
        "n_blamed": 2,
        "headroom_paths": 5,
        "topology": {"kind": "leaf-spine", "counts": {"n_leaves": 2, "n_spines": 2}},
        "transports": [{"kind": "dctcp"}],
        "flows": [{"name": "all", "load": 0.5, "n_flows": 300}],
        **changes,
    }
    config = NetworkEstimateConfig.model_validate_json(json.dumps(values))
    run = Run.create(folder, KIND.name, config)
    estimate(config, run, SilentProgress())
    run.finish()
    run.presenter = KIND
    return run


def test_a_run_says_percentiles_links_and_what_it_has_not_seen(
    tmp_path: Path, corrector: Path
) -> None:
    """Tables, summary, verdict and report."""
    run = perform(tmp_path / "runs", corrector)
    assert set(run.tables()) <= {table.name for table in ESTIMATE_TABLES}
    (row,) = run.sql(
        "SELECT * FROM estimates WHERE size_class = 'all' AND percentile = 0.99"
    ).to_pylist()
    assert 1 <= row["slowdown_low"] <= row["slowdown"] <= row["slowdown_high"]
    assert run.summary.estimate("slowdown_p99").value == row["slowdown"]
    assert {one["metric"] for one in run.summary.rows} <= set(METRICS)
    assert KIND.samples_of(run) == []
    # An untrained corrector has seen a handful of scenarios, and says so.
    assert run.summary.estimate("outside_share").value > 0
    assert not run.verdict.is_valid
    assert any("outside" in reason for reason in run.verdict.reasons)
    titles = {section.title for section in KIND.build_page(run).sections}
    assert {"Overview", "Links and load", "Trust"} <= titles


@pytest.mark.parametrize(
    ("n", "error", "n_said"), [(4000, 0.02, 1), (9000, 0.19, 1), (9000, 0.05, 0)]
)
def test_an_estimate_is_as_valid_as_its_corrector(
    tmp_path: Path, n: int, error: float, n_said: int
) -> None:
    """By its record: how many scenarios it learnt from, and how far it was off."""
    file = tmp_path / "corrector.npz"
    record = {"n_scenarios": n, "card": [{"mean": error}]}
    file.write_bytes(with_record(untrained_corrector(), **record).saved())
    run = perform(tmp_path / "runs", file, n_blamed=0, headroom_paths=0)
    told = [one for one in run.verdict.reasons if "learnt from" in one]
    assert len(told) == n_said
    assert all(f"off by {error:.0%}" in one for one in told)


def test_windows_of_everything_are_the_packets() -> None:
    """Their percentiles are those of packets, and nothing is left to chance."""
    problem = fabric()
    found = estimate_problem(
        problem, n_paths=5, corrector=FluidCorrector(), windows=1.0
    )
    truth = midhaul.network.simulate(
        problem.topology, problem.flows, problem.transports, routes=problem.routes
    )
    for name, mine in size_masks(problem.flows.size_bytes).items():
        if name in found.classes:
            told = [one.value for one in found.slowdown[name]]
            exact = np.quantile(truth.slowdown[mine], found.shares, method="higher")
            assert told == pytest.approx(exact)
    assert found.p99.low == found.p99.value == found.p99.high
    assert found.sampling == (0.0,) * len(found.shares)
    assert "packet by packet" in repr(found)


def test_windows_end_when_the_p99_is_told_narrowly() -> None:
    """The narrower it is to be, the more are simulated; intervals hold the truth."""
    problem = fabric(6000, load=0.3)
    truth = midhaul.network.simulate(
        problem.topology, problem.flows, problem.transports, routes=problem.routes
    )
    exact = np.quantile(truth.slowdown, 0.99)
    n_simulated: list[int] = []
    for within in (1.0, 0.15, 1e-6):
        found = windows_of(problem, 0.5, within=within)
        n_simulated.append(int(found.is_simulated.sum()))
        half = found.half(found.members("all"), (0.99,))[0]
        told = np.quantile(found.flows.slowdown, 0.99)
        assert abs(np.log(told / exact)) <= half
        assert window_verdict(found).is_valid == (half <= np.log1p(within))
    assert 0 < n_simulated[0] < n_simulated[1] < n_simulated[2] <= 3000


def test_intervals_are_of_the_flows_that_are_asked_for() -> None:
    """Where all of these are packets there is none."""
    problem = fabric(4000)
    found = windows_of(problem, 0.2, within=1.0)
    assert (found.half(found.is_simulated, (0.5, 0.99)) == 0).all()
    half = found.half(found.members("all"), (0.5, 0.99, 0.999))
    assert (np.diff(half) > 0).all()
    assert found.members("tiny").sum() + found.members("small").sum() > 0


def test_an_estimate_by_windows_is_as_valid_as_its_interval_is_narrow(
    tmp_path: Path, corrector: Path
) -> None:
    """Wider than was asked for is not; outside of training does not count."""
    flows = [{"name": "all", "load": 0.5, "n_flows": 1500}]
    values = {"windows": 0.3, "flows": flows}
    run = perform(tmp_path / "few", corrector, **values, within=1e-6)
    assert not run.verdict.is_valid
    assert any("may be off by" in reason for reason in run.verdict.reasons)
    (made,) = run.read(CONFIGURATIONS).to_pylist()
    assert 0 < made["n_in_windows"] < 1500
    assert run.summary.estimate("sampling_error").value > 0
    assert {"Overview", "Trust"} <= {s.title for s in KIND.build_page(run).sections}
    (row,) = run.sql(
        "SELECT * FROM estimates WHERE size_class = 'all' AND percentile = 0.99"
    ).to_pylist()
    assert 1 <= row["slowdown_low"] <= row["slowdown"] <= row["slowdown_high"]
    whole = perform(tmp_path / "all", corrector, windows=1.0)
    assert whole.verdict.is_valid
    assert any("Links to blame" in note for note in whole.manifest.notes)


def test_a_run_that_goes_on_says_nothing_twice(tmp_path: Path, corrector: Path) -> None:
    """What was written before it was interrupted is replaced."""
    run = perform(tmp_path, corrector)
    n_rows = {name: run.count(name) for name in run.tables()}
    values = json.dumps(run.config_values(), default=str)
    estimate(NetworkEstimateConfig.model_validate_json(values), run, SilentProgress())
    assert {name: run.count(name) for name in run.tables()} == n_rows


def test_two_processes_say_the_same_as_one(tmp_path: Path, corrector: Path) -> None:
    """Paths are looked at anywhere."""
    one = perform(tmp_path / "one", corrector, n_blamed=0, headroom_paths=0)
    two = perform(tmp_path / "two", corrector, n_blamed=0, headroom_paths=0, jobs=2)
    for name in ("estimates", "curves"):
        assert one.table(name).equals(two.table(name))
