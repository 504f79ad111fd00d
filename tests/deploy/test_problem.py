"""Layers, images, analytics and gateways say what is wrong with them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.placement import GatewayUse, Placement
from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)
from midhaul.errors import DataError

LAYER = Layer(digest="sha256:a", compressed_bytes=3, uncompressed_bytes=7)
IMAGE = ContainerImage(
    name="i", layers=(LAYER, replace(LAYER, digest="sha256:b", compressed_bytes=0))
)
ANALYTIC = Analytic(name="a", image="i", saved_bps=5.0, weight=2.0, lifetime_s=10.0)
PROBLEM = PlacementProblem(
    analytics=(ANALYTIC,), images={"i": IMAGE}, gateways=(Gateway(name="g"),)
)


def test_images_add_up_their_layers() -> None:
    """Compressed and uncompressed; layers of zero bytes are allowed."""
    assert (IMAGE.compressed_bytes, IMAGE.uncompressed_bytes) == (3, 14)


def test_analytics_have_a_value_and_an_end() -> None:
    """Weight times saved rate; arrival plus lifetime."""
    assert ANALYTIC.value_bps == 10.0
    assert replace(ANALYTIC, arrival_s=4.0).departure_s == 14.0
    late = replace(PROBLEM, now_s=6.0)
    assert late.remaining_s(ANALYTIC) == 4.0
    assert replace(PROBLEM, now_s=60.0).remaining_s(ANALYTIC) == 0.0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: replace(LAYER, digest=""), "digest"),
        (lambda: replace(LAYER, compressed_bytes=-1), "compressed_bytes"),
        (lambda: replace(LAYER, uncompressed_bytes=1.5), "whole number"),
        (lambda: replace(IMAGE, name=""), "name"),
        (lambda: replace(IMAGE, layers=()), "at least one layer"),
        (lambda: replace(IMAGE, layers=(LAYER, LAYER)), "twice"),
        (lambda: replace(ANALYTIC, saved_bps=math.nan), "saved_bps"),
        (lambda: replace(ANALYTIC, weight=-1.0), "weight"),
        (lambda: replace(ANALYTIC, n_cores=math.inf), "n_cores"),
        (lambda: replace(ANALYTIC, lifetime_s=-1.0), "lifetime_s"),
        (lambda: Gateway(name="g", disk_bytes=-1.0), "disk_bytes"),
        (lambda: Gateway(name="g", downlink_bps=math.nan), "downlink_bps"),
    ],
)
def test_numbers_are_checked(make: Any, says: str) -> None:
    """Negative, NaN or missing: the message names the field."""
    with pytest.raises(DataError, match=says):
        make()


def test_curves_come_in_pairs() -> None:
    """Quality in the cloud and on the gateway, or neither."""
    one = np.ones(1)
    curve = QosCurve(name="c", knobs=one, rates_bps=one, qualities=one)
    with pytest.raises(DataError, match="both QoS curves"):
        replace(ANALYTIC, cloud_curve=curve)
    assert replace(ANALYTIC, cloud_curve=curve, gateway_curve=curve).value_bps == 10.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gateways": ()}, "at least one gateway"),
        ({"gateways": PROBLEM.gateways * 2}, "gateway once, found g"),
        ({"analytics": (ANALYTIC, ANALYTIC)}, "analytic once, found a"),
        ({"images": {}}, "container image i"),
        ({"slot_s": -1.0}, "slot_s"),
        ({"backhaul_bps": math.nan}, "backhaul_bps"),
        ({"sites": {"a": ("nowhere",)}}, "nowhere"),
    ],
)
def test_problems_are_checked(changes: dict[str, Any], says: str) -> None:
    """Names must lead somewhere, and lead there once."""
    with pytest.raises(DataError, match=says):
        replace(PROBLEM, **changes)


def test_a_digest_has_one_size() -> None:
    """Two images that disagree about a layer cannot both be right."""
    other = ContainerImage(name="j", layers=(replace(LAYER, compressed_bytes=4),))
    with pytest.raises(DataError, match="two sizes"):
        replace(
            PROBLEM,
            analytics=(ANALYTIC, replace(ANALYTIC, name="b", image="j")),
            images={"i": IMAGE, "j": other},
        )


def test_the_gap_is_a_share_of_the_bound() -> None:
    """Zero when proven, one when nothing is known."""
    use = GatewayUse(
        gateway="g", disk_bytes=0, pulled_bytes=0, n_cores=0.0, memory_bytes=0.0
    )
    placement = Placement(
        status="feasible", value=3.0, bound=4.0, gateway_of={}, uses=(use,)
    )
    assert placement.gap == 0.25
    assert replace(placement, bound=math.inf).gap == 1.0
    assert replace(placement, value=0.0, bound=0.0).gap == 0.0
