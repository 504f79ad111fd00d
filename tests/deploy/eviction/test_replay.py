"""Replays of needs, and the limit of what any policy can do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.deploy.eviction.replay import FarthestNextUse, Need, offline_limit, replay
from midhaul.deploy.plan.choices import EVICTIONS, eviction_named
from midhaul.deploy.problem import ContainerImage, Layer
from midhaul.errors import DataError

ONE = {
    name: ContainerImage(
        name=name,
        layers=(Layer(digest=name, compressed_bytes=1, uncompressed_bytes=1),),
    )
    for name in "abcde"
}


def moments(text: str) -> list[Need]:
    """One need for each letter, at its place, over at once."""
    return [Need(image=c, begin_s=float(t), end_s=float(t)) for t, c in enumerate(text)]


@st.composite
def sequences(draw: st.DrawFn) -> tuple[list[Need], dict[str, ContainerImage], int]:
    """A few images that share layers, needs with durations, and a disk."""
    sizes = draw(st.lists(st.integers(0, 9), min_size=2, max_size=6))
    layers = [
        Layer(digest=str(i), compressed_bytes=size, uncompressed_bytes=size + i % 3)
        for i, size in enumerate(sizes)
    ]
    images = {}
    for number in range(draw(st.integers(1, 4))):
        chosen = draw(st.sets(st.integers(0, len(layers) - 1), min_size=1, max_size=4))
        name = f"image-{number}"
        stack = tuple(layers[place] for place in sorted(chosen))
        images[name] = ContainerImage(name=name, layers=stack)
    needs = []
    for _ in range(draw(st.integers(0, 8))):
        begin = draw(st.integers(0, 10))
        end = begin + draw(st.integers(0, 4))
        name = draw(st.sampled_from(sorted(images)))
        needs.append(Need(image=name, begin_s=float(begin), end_s=float(end)))
    return needs, images, draw(st.integers(0, 30))


@settings(max_examples=60, deadline=None)
@given(sequences(), st.sampled_from(sorted(EVICTIONS)), st.sampled_from([1.0, 0.8]))
def test_no_policy_pulls_less_than_the_bound(
    case: tuple[list[Need], dict[str, ContainerImage], int], name: str, high: float
) -> None:
    """The limit is below every policy, nobody overfills the disk, all refuse alike."""
    needs, images, disk_bytes = case
    limit = offline_limit(needs, images, disk_bytes)
    assert limit.bound_bytes <= limit.pulled_bytes + 1e-6
    for policy in (eviction_named(name), FarthestNextUse(needs, images)):
        done = replay(needs, images, disk_bytes, policy, high_water=high, low_water=0.6)
        assert sum(done.pulled_bytes) >= limit.bound_bytes - 1e-6
        assert done.peak_bytes <= disk_bytes
        assert done.asked_bytes == limit.asked_bytes
        assert 0 <= done.hit_rate <= 1


@pytest.mark.parametrize("disk_bytes", [1, 2, 3])
def test_the_limit_is_beladys_for_pages_of_one_size(disk_bytes: int) -> None:
    """With equal sizes the exact limit is what farthest-next-use pulls."""
    rng = np.random.default_rng(3)
    for _ in range(10):
        needs = moments("".join(rng.choice(list("abcde"), 12)))
        limit = offline_limit(needs, ONE, disk_bytes)
        policy = FarthestNextUse(needs, ONE)
        done = replay(needs, ONE, disk_bytes, policy, high_water=1.0, low_water=1.0)
        assert sum(done.pulled_bytes) == pytest.approx(limit.pulled_bytes)
        assert limit.bound_bytes == pytest.approx(limit.pulled_bytes)


def test_the_limit_is_what_trying_everything_finds() -> None:
    """With layers of several sizes, the search equals brute force over what is kept."""
    sizes = {"a": 5, "b": 3, "c": 4}
    images = {
        name: ContainerImage(
            name=name,
            layers=(Layer(digest=name, compressed_bytes=n, uncompressed_bytes=n),),
        )
        for name, n in sizes.items()
    }
    text = "abcabacbca"
    limit = offline_limit(moments(text), images, 8)

    def best(place: int, kept: frozenset[str]) -> int:
        if place == len(text):
            return 0
        now = text[place]
        cost = 0 if now in kept else sizes[now]
        there = kept | {now}
        options = [
            frozenset(keep)
            for n in range(len(there) + 1)
            for keep in itertools.combinations(sorted(there), n)
            if sum(sizes[x] for x in {*keep, now}) <= 8
        ]
        # What is kept until the next need must fit beside it.
        after = text[place + 1] if place + 1 < len(text) else ""
        fit = [
            keep
            for keep in options
            if not after or sum(sizes[x] for x in keep | {after}) <= 8
        ]
        return cost + min(best(place + 1, keep) for keep in fit)

    assert limit.pulled_bytes == pytest.approx(best(0, frozenset()))


def test_layers_in_use_need_no_pull_and_no_decision() -> None:
    """While an image is held, another need of it costs nothing."""
    needs = [
        Need(image="a", begin_s=0.0, end_s=10.0),
        Need(image="a", begin_s=5.0, end_s=6.0),
        Need(image="b", begin_s=7.0, end_s=8.0),
    ]
    done = replay(needs, ONE, 1, eviction_named("lru"))
    assert done.pulled_bytes == (1, 0, 0)
    assert done.is_refused == (False, False, True)
    limit = offline_limit(needs, ONE, 1)
    assert (limit.pulled_bytes, limit.n_gaps) == (1, 0)


def test_nothing_asked_is_nothing_pulled() -> None:
    """An empty sequence has a hit rate of 1 and a limit of 0."""
    assert replay([], ONE, 1, eviction_named("lru")).hit_rate == 1
    assert offline_limit([], ONE, 1).pulled_bytes == 0


def test_needs_that_cannot_be_are_refused() -> None:
    """An unknown image and an end before its begin are named."""
    with pytest.raises(DataError, match="need of z"):
        replay(moments("z"), ONE, 1, eviction_named("lru"))
    with pytest.raises(DataError, match="end after its begin"):
        Need(image="a", begin_s=2.0, end_s=1.0)
