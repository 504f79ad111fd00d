"""The decision loop's pure part."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midhaul.deploy.control import (
    Policy,
    Startup,
    State,
    make_room,
    placement_problem,
    plan_rates,
    plan_slot,
)
from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.placement.base import Placement
from midhaul.deploy.plan.choices import eviction_named
from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)
from midhaul.deploy.rates.base import Demands, RateAllocation
from midhaul.deploy.store.store_index import StoreState, with_image
from midhaul.errors import DataError

CLOUD = QosCurve.of("c", np.array([1.0]), np.array([100.0]), np.array([0.9]))
GATEWAY = QosCurve.of("g", np.array([1.0]), np.array([10.0]), np.array([0.8]))


class Everything:
    """Places every candidate on the first gateway and keeps what it was asked."""

    name = "everything"

    def __init__(self) -> None:
        self.asked: list[PlacementProblem] = []

    def place(self, problem: PlacementProblem) -> Placement:
        """All of them, whatever it takes."""
        self.asked.append(problem)
        return Placement(
            status="feasible",
            value=0.0,
            bound=math.inf,
            gateway_of={a.name: problem.gateways[0].name for a in problem.analytics},
        )


class FirstStep:
    """Grants everybody the first step and keeps the uplink it was given."""

    name = "first-step"

    def __init__(self) -> None:
        self.uplinks: list[float] = []

    def allocate(self, demands: Demands, uplink_bps: float) -> RateAllocation:
        """Step 0 for all."""
        self.uplinks.append(uplink_bps)
        first = demands.offsets[:-1]
        return RateAllocation(
            status="feasible",
            value=float(demands.weights @ demands.qualities[first]),
            bound=math.inf,
            steps=np.zeros(len(demands), np.int64),
            rates_bps=demands.rates_bps[first],
            qualities=demands.qualities[first],
        )


def image(name: str, *layers: tuple[str, int]) -> ContainerImage:
    """An image whose layers are twice as large on the disk."""
    return ContainerImage(
        name=name,
        layers=tuple(
            Layer(digest=d, compressed_bytes=n, uncompressed_bytes=2 * n)
            for d, n in layers
        ),
    )


IMAGES = {
    "a": image("a", ("base", 100), ("a", 10)),
    "b": image("b", ("base", 100), ("b", 20)),
    "c": image("c", ("c", 40)),
}


def analytic(name: str, image: str, **changes: float) -> Analytic:
    """An analytic with curves."""
    values = {"n_cores": 1.0, "memory_bytes": 5.0, "saved_bps": 90.0, **changes}
    return Analytic(
        name=name, image=image, cloud_curve=CLOUD, gateway_curve=GATEWAY, **values
    )


def policy(**changes: object) -> Policy:
    """A policy of fakes."""
    parts = {"placer": Everything(), "allocator": FirstStep()}
    values = {"name": "p", "eviction": eviction_named("lru"), **parts, **changes}
    return Policy(**values)  # pyright: ignore[reportArgumentType]


def state(**changes: object) -> State:
    """One analytic in the cloud, one on its way, one on the gateway."""
    store = StoreState()
    for now_s, name in enumerate(["a", "c"]):
        store = with_image(store, IMAGES[name], float(now_s))
    values = {
        "now_s": 300.0,
        "gateway": Gateway(
            name="gw", disk_bytes=600, n_cores=4, memory_bytes=20, downlink_bps=1e6
        ),
        "images": IMAGES,
        "in_cloud": (analytic("one", "b", arrival_s=0.0, lifetime_s=400.0),),
        "moving": (analytic("two", "a"),),
        "on_gateway": (analytic("three", "a"),),
        "store": store,
        **changes,
    }
    return State(**values)  # pyright: ignore[reportArgumentType]


def test_the_placer_is_asked_for_the_cloud_and_what_is_free() -> None:
    """Held layers, cores and memory of those on or on their way there are taken."""
    placer = Everything()
    planned = plan_slot(state(), policy(placer=placer, downlink_share=0.5))
    (problem,) = placer.asked
    (gateway,) = problem.gateways
    assert planned.gateway_of == {"one": "gw"}
    assert [a.name for a in problem.analytics] == ["one"]
    assert gateway.held == {"base", "a"}
    assert gateway.layers == {"base", "a", "c"}
    assert gateway.disk_bytes == 600 - 220
    assert (gateway.n_cores, gateway.memory_bytes) == (2, 10)
    assert gateway.downlink_bps == 5e5
    assert problem.remaining_s(problem.analytics[0]) == 100


def test_a_blind_policy_takes_everybody_to_stay() -> None:
    """Without lifetimes the placer sees infinite ones, and startup as believed."""
    problem = placement_problem(
        state(),
        policy(sees_lifetimes=False, startup=Startup(fixed_s=1.0, s_per_gb=1e9)),
    )
    assert math.isinf(problem.remaining_s(problem.analytics[0]))
    assert problem.startup_s == {"b": 1.0 + 240}


def test_a_horizon_makes_bits_count() -> None:
    """Who stays for the whole horizon is worth all; others what they would save."""
    stays, leaves = analytic("stays", "b"), analytic("leaves", "c", lifetime_s=350.0)
    soon = analytic("soon", "b", lifetime_s=300.0)
    problem = placement_problem(
        state(in_cloud=(stays, leaves, soon)),
        policy(horizon_s=100.0, startup=Startup(fixed_s=10.0)),
    )
    saved = [a.saved_bps for a in problem.analytics]
    assert saved == pytest.approx([90.0, 90.0 * 0.4, 0.0])
    assert [a.lifetime_s for a in problem.analytics] == [math.inf, 350.0, 300.0]


def test_measured_startup_times_come_first() -> None:
    """A time known for an image replaces the model; a negative one is refused."""
    startup = Startup(fixed_s=1.0, by_image={"a": 7.0})
    assert (startup.of(IMAGES["a"]), startup.of(IMAGES["b"])) == (7.0, 1.0)
    with pytest.raises(DataError, match="startup times"):
        Startup(by_image={"a": -1.0})


def test_nothing_is_deleted_below_the_high_water_mark() -> None:
    """300 bytes present and 40 to pull stay below 80 % of 600."""
    now = state()
    chosen = policy()
    assert make_room(now, plan_slot(now, chosen), chosen) == ()


def test_room_is_made_down_to_the_low_water_mark() -> None:
    """What nobody needs goes; what is held or planned stays, even when that is more."""
    now, chosen = state(), policy(high_water=0.5, low_water=0.1)
    assert make_room(now, plan_slot(now, chosen), chosen) == ("c",)
    idle = state(moving=(), on_gateway=())
    assert set(make_room(idle, plan_slot(idle, chosen), chosen)) == {"c", "a"}


def test_everybody_is_charged_where_they_run() -> None:
    """In the cloud and moving: the cloud's curve; on the gateway: the gateway's."""
    allocator = FirstStep()

    def double(curve: QosCurve) -> QosCurve:
        return QosCurve.of(
            curve.name, curve.knobs, curve.rates_bps * 2, curve.qualities
        )

    chosen = policy(allocator=allocator, charge=double, uplink_share=0.5)
    demands, granted = plan_rates(state(), chosen, 1000.0)
    assert demands.names == ("one", "two", "three")
    assert granted.rates_bps.tolist() == [200.0, 200.0, 20.0]
    assert allocator.uplinks == [500.0]


def test_an_analytic_without_curves_gets_no_rate() -> None:
    """It is named, with what to give."""
    bare = Analytic(name="bare", image="a")
    with pytest.raises(DataError, match="bare has no QoS curves"):
        plan_rates(state(in_cloud=(bare,)), policy(), 1.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"slot_s": 0.0},
        {"high_water": 1.5},
        {"low_water": 0.9},
        {"uplink_share": 0.0},
        {"horizon_s": 0.0},
    ],
)
def test_policies_that_cannot_be_are_refused(changes: dict[str, float]) -> None:
    """Times above 0, shares in 0 to 1, and marks in order."""
    with pytest.raises(DataError, match="policy p"):
        policy(**changes)
