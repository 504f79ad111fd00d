"""Images that differ from gateway to gateway."""

from __future__ import annotations

import itertools

import pytest

from midhaul.deploy.placement.checks import check_placement
from midhaul.deploy.plan.choices import placer_named
from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)
from midhaul.errors import DataError

PLACERS = ("mincut", "milp", "marginal-greedy", "additive-dp")


def image(name: str, **sizes: int) -> ContainerImage:
    """An image of some layers, whose names are their digests."""
    layers = (
        Layer(digest=d, compressed_bytes=n, uncompressed_bytes=2 * n)
        for d, n in sizes.items()
    )
    return ContainerImage(name=name, layers=tuple(layers))


def problem() -> PlacementProblem:
    """Two images that share a base on x86 and nothing on arm, where one is missing."""
    return PlacementProblem(
        analytics=tuple(
            Analytic(name=f"{name}{n}", image=name, saved_bps=100.0 + n)
            for name, n in itertools.product(("a", "b", "c"), (0, 1))
        ),
        images={
            "a": image("a", base=40, a=10),
            "b": image("b", base=40, b=10),
            "c": image("c", c=30),
        },
        gateways=(
            Gateway(name="x86", disk_bytes=130.0),
            Gateway(
                name="arm",
                disk_bytes=130.0,
                images={
                    "a": image("a", arm_a=60),
                    "b": image("b", arm_b=60),
                    "c": None,
                },
            ),
        ),
    )


@pytest.mark.parametrize("name", PLACERS)
def test_every_placer_counts_the_layers_of_each_platform(name: str) -> None:
    """What is shared on one platform need not be on the other, or be there at all."""
    mixed = problem()
    placement = placer_named(name, time_limit_s=10).place(mixed)
    check_placement(mixed, placement)
    where = placement.gateway_of
    assert "arm" not in {where.get("c0"), where.get("c1")}
    pulled = {(p.gateway, p.image): p.digests for p in placement.pulls}
    assert all(digest.startswith("arm_") for key, digests in pulled.items()
               if key[0] == "arm" for digest in digests)  # fmt: skip


def test_the_best_plan_of_two_platforms_is_found() -> None:
    """Two of the three images fit, however they are spread."""
    placement = placer_named("milp", time_limit_s=10).place(problem())
    # x86 has room for a and b, which share (120 of 130), or for one with c (160) not;
    # arm has room for one of a and b (120).
    assert placement.status == "optimal"
    assert placement.value == pytest.approx(2 * 201.0)


def test_a_digest_has_one_size_on_all_platforms() -> None:
    """It names one content."""
    with pytest.raises(DataError, match="two sizes"):
        PlacementProblem(
            analytics=(Analytic(name="a", image="a"),),
            images={"a": image("a", base=1)},
            gateways=(Gateway(name="g", images={"a": image("a", base=2)}),),
        )
