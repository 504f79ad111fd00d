"""Tests of planning and dividing an uplink in one call, by the names of the parts."""

from __future__ import annotations

import numpy as np
import pytest

import midhaul
from midhaul.deploy import (
    Analytic,
    ContainerImage,
    Demands,
    Gateway,
    Layer,
    PlacementProblem,
    seed_curve,
)
from midhaul.deploy.plan.choices import ALLOCATORS, allocator_named
from midhaul.errors import ConfigError


@pytest.fixture
def problem() -> PlacementProblem:
    """Six analytics of two kinds, and a gateway that holds the image of one."""
    images = {
        kind: ContainerImage(
            name=kind,
            layers=(Layer(digest=kind, compressed_bytes=10, uncompressed_bytes=20),),
        )
        for kind in ("audio", "yolo")
    }
    analytics = tuple(
        Analytic(
            name=f"{kind}-{number}",
            image=kind,
            saved_bps=1e5,
            cloud_curve=seed_curve(kind, "cloud"),
            gateway_curve=seed_curve(kind, "gateway"),
        )
        for number in range(3)
        for kind in ("audio", "yolo")
    )
    gateway = Gateway(name="roof", disk_bytes=20, uplink_bps=1e6)
    return PlacementProblem(analytics=analytics, images=images, gateways=(gateway,))


def test_a_plan_is_made_in_one_call(problem: PlacementProblem) -> None:
    """One kind fits on the gateway; the plan says so for each analytic by name."""
    plan = midhaul.place(problem, "mincut+exact")
    kinds = {name.partition("-")[0] for name in plan.placement.gateway_of}
    assert len(kinds) == 1
    assert len(plan.placement.gateway_of) == 3
    assert plan.rates.names == tuple(a.name for a in problem.analytics)
    shown = plan._repr_html_()
    assert "audio-0" in shown
    assert "roof" in shown
    assert "3 of 6 analytics on gateways" in repr(plan)
    assert plan.quality <= midhaul.place(problem).quality + 1e-9


def test_an_uplink_is_divided_in_one_call(problem: PlacementProblem) -> None:
    """By every name the answer is the allocator's own, with the analytics' names."""
    analytics = problem.analytics
    curves = [a.cloud_curve for a in analytics if a.cloud_curve is not None]
    demands = Demands.of([a.name for a in analytics], [1.0] * len(curves), curves)
    for name in ALLOCATORS:
        found = midhaul.allocate(demands, 1e6, name)
        expected = allocator_named(name).allocate(demands, 1e6)
        np.testing.assert_array_equal(found.rates_bps, expected.rates_bps)
        assert found.names == demands.names, name
        assert "yolo-0" in found._repr_html_()


@pytest.mark.parametrize(
    ("planner", "said"),
    [
        ("mincut", r"mincut\+exact"),
        ("minct+exact", "did you mean 'mincut'"),
        ("mincut+exat", "did you mean 'exact'"),
    ],
)
def test_unknown_planners_are_told(
    problem: PlacementProblem, planner: str, said: str
) -> None:
    """A name that is not there says which are, and the nearest."""
    with pytest.raises(ConfigError, match=said):
        midhaul.place(problem, planner)
