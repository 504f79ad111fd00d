"""Prices of resources: their signs, their sentences, and when they say nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.joint import (
    JointLagrangian,
    JointMilp,
    Sequential,
    price_resources,
    summary,
)
from midhaul.deploy.joint.checks import random_problem
from midhaul.deploy.placement.milp import MilpPlacer
from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)
from midhaul.deploy.rates import ExactKnapsack

if TYPE_CHECKING:
    from midhaul.deploy.joint import JointPlanner, Price


def _curve(rate_bps: float) -> QosCurve:
    """Ten equal steps up to a rate."""
    shares = np.arange(1, 11) / 10
    return QosCurve.of("curve", shares, shares * rate_bps, shares)


def _problem(*, disk_bytes: float = 0.0, uplink_bps: float = 5e6) -> PlacementProblem:
    """Ten analytics that need 1 Mbit/s each, or nearly nothing on the gateway."""
    layer = Layer(
        digest="l", compressed_bytes=900_000_000, uncompressed_bytes=900_000_000
    )
    return PlacementProblem(
        analytics=tuple(
            Analytic(
                name=f"a{i}",
                image="i",
                n_cores=1.0,
                cloud_curve=_curve(1e6),
                gateway_curve=_curve(1e3),
            )
            for i in range(10)
        ),
        images={"i": ContainerImage(name="i", layers=(layer,))},
        gateways=(
            Gateway(
                name="gw", disk_bytes=disk_bytes, n_cores=20.0, uplink_bps=uplink_bps
            ),
        ),
    )


def _by_resource(prices: tuple[Price, ...]) -> dict[str, Price]:
    return {price.resource: price for price in prices}


@pytest.mark.parametrize("planner", [JointMilp(), JointLagrangian()])
def test_more_uplink_is_worth_what_it_buys(planner: JointPlanner) -> None:
    """Where quality grows evenly, a tenth of what is needed buys a tenth of it."""
    prices = _by_resource(price_resources(planner, _problem()))
    uplink = prices["gw.uplink_bps"]
    assert uplink.step == "1 Mbit/s"
    assert uplink.gain == pytest.approx(0.1)
    assert uplink.dual == pytest.approx(0.1, rel=1e-3)
    assert "1 more Mbit/s is worth +0.1 weighted QoS" in uplink.sentence
    assert prices["gw.n_cores"].sentence == "the CPU is not the bottleneck"


def test_a_gigabyte_may_admit_what_no_price_promises() -> None:
    """An image that does not fit at all has no price, and yet a gain."""
    price = _by_resource(price_resources(JointMilp(), _problem()))["gw.disk_bytes"]
    assert price.step == "1 GB"
    assert price.gain == pytest.approx(0.5)
    assert price.dual == 0
    assert "plans change in jumps" in price.sentence


def test_what_is_plentiful_is_not_the_bottleneck() -> None:
    """With room for all on the gateway nothing is worth anything."""
    prices = price_resources(JointMilp(), _problem(disk_bytes=1e9))
    assert all(price.gain == 0 for price in prices)
    assert summary(prices) == (
        "the uplink is not the bottleneck; the disk is not the bottleneck; "
        "the CPU is not the bottleneck"
    )


def test_a_promise_that_nothing_keeps_is_told() -> None:
    """Half an image is worth something by its price, and nothing when planned anew."""
    problem = _problem(uplink_bps=1e5)
    first = problem.images["i"].layers[0]
    images = {
        f"i{k}": ContainerImage(
            name=f"i{k}",
            layers=(replace(first, digest=f"l{k}", uncompressed_bytes=2_500_000_000),),
        )
        for k in range(2)
    }
    analytics = tuple(
        replace(analytic, image=f"i{number % 2}")
        for number, analytic in enumerate(problem.analytics)
    )
    gateway = replace(problem.gateways[0], disk_bytes=2.6e9)
    whole = replace(problem, images=images, analytics=analytics, gateways=(gateway,))
    price = _by_resource(price_resources(JointMilp(), whole))["gw.disk_bytes"]
    assert price.gain == 0
    assert price.dual > 0.1
    assert "alone changes nothing" in price.sentence


def test_planners_without_prices_are_priced_by_planning_anew() -> None:
    """Places and rates one after the other have gains and no dual prices."""
    planner = Sequential(placer=MilpPlacer(), allocator=ExactKnapsack())
    prices = _by_resource(price_resources(planner, _problem(), {"gw": 5e6}))
    assert prices["gw.uplink_bps"].gain == pytest.approx(0.1)
    assert math.isnan(prices["gw.uplink_bps"].dual)
    assert "about +0.1" in prices["gw.uplink_bps"].sentence


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2]))
def test_more_is_never_worse(seed: int, n_gateways: int) -> None:
    """No gain and no dual price is negative, for any resource."""
    problem = random_problem(5, np.random.default_rng(seed), n_gateways=n_gateways)
    for price in price_resources(JointMilp(), problem):
        assert price.gain >= 0
        assert price.dual >= 0
        assert price.sentence
