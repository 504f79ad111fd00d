"""The additive model and its three placers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.placement.instances import best_knapsack, small_problems
from tests.support.placement_reference import lightest_reference

from midhaul.deploy.catalogue import read_images
from midhaul.deploy.placement import (
    AdditiveDp,
    AdditiveGreedy,
    Fptas,
    MarginalGreedy,
    MilpPlacer,
)
from midhaul.deploy.placement.additive import (
    FULL,
    additive_model,
    knapsack_dp,
    knapsack_fptas,
    knapsack_greedy,
    lightest,
)
from midhaul.deploy.placement.building import build
from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)
from midhaul.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

KNAPSACKS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 24)), max_size=9).map(
    lambda pairs: (
        np.array([value for value, _ in pairs], np.float64),
        np.array([weight / 24 for _, weight in pairs], np.float64),
    )
)
Arrays = tuple[np.ndarray, np.ndarray]


@given(KNAPSACKS)
def test_dp_equals_brute_force(knapsack: Arrays) -> None:
    """The lists of undominated sums end with the optimum."""
    values, shares = knapsack
    answer = knapsack_dp(values, shares)
    assert answer.is_exact
    assert shares[answer.taken].sum() <= FULL
    best = best_knapsack(values, shares, FULL)
    assert values[answer.taken].sum() == pytest.approx(best)


@settings(deadline=None, max_examples=50)
@given(KNAPSACKS, st.sampled_from([0.05, 0.1, 0.3, 0.5, 0.9]))
def test_fptas_keeps_its_guarantee(knapsack: Arrays, epsilon: float) -> None:
    """At least one minus epsilon of the optimum."""
    values, shares = knapsack
    taken = knapsack_fptas(values, shares, epsilon)
    assert shares[taken].sum() <= FULL + 1e-12
    best = best_knapsack(values, shares, FULL)
    assert values[taken].sum() >= (1 - epsilon) * best - 1e-9


@given(KNAPSACKS)
def test_greedy_is_worth_half(knapsack: Arrays) -> None:
    """The better of the greedy and the best single candidate."""
    values, shares = knapsack
    taken = knapsack_greedy(values, shares)
    assert shares[taken].sum() <= FULL + 1e-12
    assert values[taken].sum() >= best_knapsack(values, shares, FULL) / 2


def test_greedy_alone_would_be_caught() -> None:
    """A tiny candidate of high ratio must not keep out the one that matters."""
    values, shares = np.array([2.0, 100.0]), np.array([0.01, 1.0])
    assert knapsack_greedy(values, shares).tolist() == [False, True]


def test_lists_that_grow_too_long_are_cut_and_say_so() -> None:
    """Values in proportion to shares defeat the lists; the answer stays feasible."""
    shares = np.random.default_rng(1).uniform(0.05, 0.3, 24)
    answer = knapsack_dp(shares * 7, shares, max_states=50)
    assert not answer.is_exact
    assert 0.9 < shares[answer.taken].sum() <= FULL


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.floats(0, 1)), max_size=7),
    st.integers(1, 25),
)
def test_the_kernel_equals_the_reference(
    candidates: list[tuple[int, float]], n_quanta: int
) -> None:
    """Smallest shares for each value, compiled and plain."""
    quanta = np.array([value for value, _ in candidates], np.int64)
    shares = np.array([share for _, share in candidates], np.float64)
    least, has_taken = lightest(quanta, shares, n_quanta, FULL)
    assert least == pytest.approx(lightest_reference(quanta, shares, n_quanta, FULL))
    assert has_taken.shape == (len(quanta), n_quanta + 1)


@settings(deadline=None, max_examples=50)
@given(small_problems(), st.data())
def test_what_fits_the_model_fits_the_gateway(
    problem: PlacementProblem, data: st.DataObject
) -> None:
    """Dominant shares that add up to one keep every capacity."""
    built = build(problem)
    model = additive_model(built)
    taken = np.zeros(built.instance.n_items, np.bool_)
    room = FULL
    for k in data.draw(st.permutations(range(len(model.values)))):
        if model.shares[k] <= room:
            room -= model.shares[k]
            taken[model.members[k]] = True
    assert built.instance.is_feasible(taken)
    assert built.instance.value(taken) == pytest.approx(
        sum(
            model.values[k]
            for k in range(len(model.values))
            if taken[model.members[k]].all()
        )
    )


def test_duplicates_that_do_not_fit_together_lose_the_least_valuable() -> None:
    """Three analytics of one image on two cores: the two that are worth most."""
    image = ContainerImage(
        name="i", layers=(Layer(digest="l", compressed_bytes=1, uncompressed_bytes=1),)
    )
    problem = PlacementProblem(
        analytics=tuple(
            Analytic(name=f"a{rate}", image="i", saved_bps=rate, n_cores=1.0)
            for rate in (2.0, 1.0, 3.0)
        ),
        images={"i": image},
        gateways=(Gateway(name="g", n_cores=2.0),),
    )
    model = additive_model(build(problem))
    assert model.values.tolist() == [5.0]
    assert model.shares.tolist() == [1.0]
    placement = AdditiveDp().place(problem)
    assert set(placement.gateway_of) == {"a2.0", "a3.0"}
    # Nobody promises anything about the problem itself.
    assert placement.bound == np.inf


@pytest.mark.parametrize("epsilon", [0.0, 1.0, -1.0, float("nan")])
def test_epsilon_has_a_range(epsilon: float) -> None:
    """Only a share of the optimum that is above none and below all."""
    with pytest.raises(DataError, match="epsilon"):
        Fptas(epsilon=epsilon)


def seed_problem(data_dir: Path, disk_bytes: float) -> PlacementProblem:
    """The seed's 24 images, one analytic each; disk in compressed bytes, as there."""
    images = {
        name: ContainerImage(
            name=name,
            layers=tuple(
                replace(layer, uncompressed_bytes=layer.compressed_bytes)
                for layer in image.layers
            ),
        )
        for name, image in read_images(data_dir / "iot_seed" / "images.parquet").items()
    }
    saved_bps = {"audio": 688_520.0, "yolo": 22_480.0}
    return PlacementProblem(
        analytics=tuple(
            Analytic(
                name=name, image=name, saved_bps=saved_bps[name.rstrip("0123456789")]
            )
            for name in images
        ),
        images=images,
        gateways=(Gateway(name="gateway", disk_bytes=disk_bytes),),
    )


@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("disk_bytes", "additive_bps", "union_bps"),
    [(3e9, 2_065_600, 2_088_000), (5e9, 3_442_600, 3_487_600)],
)
def test_the_seed_catalogue_has_its_optima(
    data_dir: Path, disk_bytes: float, additive_bps: float, union_bps: float
) -> None:
    """Paying shared layers once is worth a little more, even with its values."""
    problem = seed_problem(data_dir, disk_bytes)
    additive = AdditiveDp().place(problem)
    assert additive.value == pytest.approx(additive_bps, abs=50)
    exact = MilpPlacer().place(problem)
    assert exact.status == "optimal"
    assert exact.value == pytest.approx(union_bps, abs=50)
    for placer in (Fptas(epsilon=0.1), Fptas(epsilon=0.5), AdditiveGreedy()):
        assert placer.place(problem).value == pytest.approx(additive.value)
    assert MarginalGreedy().place(problem).value == pytest.approx(exact.value)
