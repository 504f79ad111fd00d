"""Splits by hash: every item once, in its share, and in the same part for ever."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.federation.random_recordings import random_recording

from midhaul.federation.recordings.problem import SHARES, split_items
from midhaul.federation.recordings.source import draw_items

ITEMS = st.lists(st.text(max_size=6), unique=True, max_size=40)
SEEDS = st.integers(0, 1000)


@given(items=ITEMS, seed=SEEDS)
@settings(deadline=None)
def test_every_item_is_in_one_part(items: list[str], seed: int) -> None:
    """Parts are rising, do not overlap, and leave nothing out."""
    parts = split_items(items, seed)
    assert len(parts) == len(SHARES)
    assert all((np.diff(part) > 0).all() for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(items)))


@given(items=ITEMS, seed=SEEDS, chance=st.randoms(use_true_random=False))
@settings(deadline=None)
def test_an_item_stays_where_it_is(
    items: list[str], seed: int, chance: np.random.Generator
) -> None:
    """Whatever other items there are, and in whichever order they come."""
    here = [{items[i] for i in part.tolist()} for part in split_items(items, seed)]
    others = [*items, *(f"{item}+" for item in items)]
    others = list(dict.fromkeys(others))
    chance.shuffle(others)  # pyright: ignore[reportArgumentType]
    for mine, part in zip(here, split_items(others, seed), strict=True):
        assert mine <= {others[i] for i in part.tolist()}


def test_parts_have_their_shares() -> None:
    """Of many items, within four standard deviations, with every seed of ten."""
    items = [f"item-{i}" for i in range(5000)]
    for seed in range(10):
        for share, part in zip(SHARES, split_items(items, seed), strict=True):
            spread = (share * (1 - share) / len(items)) ** 0.5
            assert abs(len(part) / len(items) - share) < 4 * spread


def test_another_seed_gives_another_split() -> None:
    """Whether an item is tested with one seed says nothing about the next."""
    items = [f"item-{i}" for i in range(4000)]
    first, second = (np.zeros(4000, bool) for _ in range(2))
    first[split_items(items, 0)[2]] = True
    second[split_items(items, 1)[2]] = True
    assert abs(float((first & second).mean()) - 0.25) < 0.03


def test_a_split_is_the_same_on_every_machine() -> None:
    """The places of these items were worked out once, with BLAKE2b."""
    items = ["000001", "000002", "000003", "000004", "000005", "000006"]
    found = [part.tolist() for part in split_items(items, 0)]
    # Places 0.2178, 0.6861, 0.4453, 0.6145, 0.4679 and 0.9998.
    assert found == [[0], [2, 4], [1, 3, 5]]
    assert split_items(items, 0, (1.0,))[0].tolist() == [0, 1, 2, 3, 4, 5]


def test_drawn_items_fall_into_all_parts() -> None:
    """Which items are drawn says nothing about the part that each is in."""
    rng = np.random.default_rng(0)
    recording = random_recording("labels", rng, n_items=400)
    drawn = draw_items(recording, 100, seed=0)
    parts = split_items(drawn.items, 0)
    assert [len(part) > 0 for part in parts] == [True] * 3
    assert 20 <= len(parts[0]) <= 60
