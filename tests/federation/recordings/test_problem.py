"""Recordings and masks: parts of them, what is hidden, prices, and their checks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.federation.random_recordings import recordings, tiny_boxes, tiny_tags

from midhaul.errors import DataError
from midhaul.federation.recordings.problem import (
    MAX_PROVIDERS,
    Answers,
    Recording,
    all_masks,
    members,
    prices_of,
    sizes_of,
)

SEEDS = st.integers(0, 2**32 - 1)


def entries(answers: Answers, item: int) -> list[tuple[object, ...]]:
    """What an item's answer says, entry by entry."""
    where = answers.of(item)
    columns = (answers.labels, answers.scores, answers.boxes, answers.is_ignored)
    return list(zip(*(column[where].tolist() for column in columns), strict=True))


def same_item(a: Answers, i: int, b: Answers, j: int) -> bool:
    """Whether two items have the same answer."""
    return entries(a, i) == entries(b, j) and a.is_missing[i] == b.is_missing[j]


@given(recording=recordings(), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_rows_in_any_order_make_the_same_answers(
    recording: Recording, seed: int
) -> None:
    """Entries find their item, and those of one item keep their order."""
    answers = recording.answers[0]
    # Items in any order, and within an item the entries as they were.
    place = np.random.default_rng(seed).permutation(len(answers))[answers.items]
    order = np.argsort(place, kind="stable")
    again = Answers.of_rows(
        answers.items[order],
        len(answers),
        answers.labels[order],
        answers.scores[order],
        answers.boxes[order],
        is_missing=answers.is_missing,
        is_ignored=answers.is_ignored[order],
    )
    for item in range(len(answers)):
        assert same_item(answers, item, again, item)
    assert again.counts.sum() == len(again.labels)
    assert np.array_equal(again.items, answers.items)


@given(recording=recordings(), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_taken_items_are_those_items(recording: Recording, seed: int) -> None:
    """Of answers in any order and number, of a recording with all that belongs."""
    rng = np.random.default_rng(seed)
    n = len(recording)
    for answers in recording.answers:
        some = rng.integers(0, n, int(rng.integers(0, 2 * n)))
        taken = answers.take(some)
        assert len(taken) == len(some)
        for j, i in enumerate(some.tolist()):
            assert same_item(answers, i, taken, j)
    order = rng.permutation(n)[: int(rng.integers(0, n + 1))]
    part = recording.take(order)
    assert part.items == tuple(recording.items[i] for i in order.tolist())
    assert part.sizes_px is not None
    assert part.sizes_px.shape == (len(order), 2)
    assert part.latencies_s is not None
    assert recording.latencies_s is not None
    assert np.array_equal(part.latencies_s, recording.latencies_s[:, order])
    assert part.truth is not None
    assert recording.truth is not None
    for j, i in enumerate(order.tolist()):
        assert same_item(recording.truth, i, part.truth, j)


@given(recording=recordings(), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_only_what_was_asked_for_is_shown(recording: Recording, seed: int) -> None:
    """Answers of others are missing, those asked for are as they were, no truth."""
    rng = np.random.default_rng(seed)
    asked = rng.integers(0, recording.everyone, len(recording), endpoint=True)
    shown = recording.shown(asked)
    assert shown.truth is None
    assert shown.latencies_s is None
    for p, (before, after) in enumerate(
        zip(recording.answers, shown.answers, strict=True)
    ):
        for item in range(len(recording)):
            if asked[item] >> p & 1:
                assert same_item(before, item, after, item)
            else:
                assert after.is_missing[item]
                assert not entries(after, item)
    # To be shown again what one has seen changes nothing.
    again = shown.shown(asked)
    for a, b in zip(shown.answers, again.answers, strict=True):
        assert all(same_item(a, i, b, i) for i in range(len(recording)))


@given(
    prices=st.lists(st.floats(0, 0.01), min_size=1, max_size=8),
    seed=SEEDS,
)
def test_prices_and_sizes_add_up_over_members(prices: list[float], seed: int) -> None:
    """A subset costs what its members cost, and is as large as they are many."""
    everyone = (1 << len(prices)) - 1
    masks = np.random.default_rng(seed).integers(0, everyone, 20, endpoint=True)
    found = prices_of(masks, np.array(prices))
    for mask, price, size in zip(masks.tolist(), found, sizes_of(masks), strict=True):
        assert price == pytest.approx(sum(prices[p] for p in members(mask)))
        assert size == len(members(mask))
        assert sum(1 << p for p in members(mask)) == mask


def test_masks_hold_as_many_providers_as_they_promise() -> None:
    """The highest bit counts, costs and is told like the others."""
    last = np.array([1 << (MAX_PROVIDERS - 1), (1 << MAX_PROVIDERS) - 1])
    prices = np.full(MAX_PROVIDERS, 0.5)
    assert prices_of(last, prices).tolist() == [0.5, 0.5 * MAX_PROVIDERS]
    assert sizes_of(last).tolist() == [1, MAX_PROVIDERS]
    assert members(int(last[0])) == (MAX_PROVIDERS - 1,)
    assert all_masks(3).tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_some_providers_in_another_order() -> None:
    """Answers, prices and latencies go with their provider; unknown ones are told."""
    recording = replace(tiny_boxes(), latencies_s=np.array([[1.0] * 3, [2.0] * 3]))
    turned = recording.only(["far", "near"])
    assert turned.providers == ("far", "near")
    assert turned.prices_usd.tolist() == [0.002, 0.001]
    assert turned.answers == (recording.answers[1], recording.answers[0])
    assert turned.latencies_s is not None
    assert turned.latencies_s[:, 0].tolist() == [2, 1]
    assert recording.only(["far"]).everyone == 1
    with pytest.raises(DataError, match="no provider middle; there are near, far"):
        recording.only(["middle"])
    with pytest.raises(DataError, match="1 to 62"):
        recording.only([])


def test_no_answer_is_not_an_empty_one() -> None:
    """Nobody's answers are missing and have no entries; an empty answer is given."""
    none = Answers.none(2)
    assert none.is_missing.tolist() == [True, True]
    assert none.counts.tolist() == [0, 0]
    given_empty = Answers.of_rows(
        np.zeros(0, np.int64), 2, np.zeros(0, np.int32), np.zeros(0, np.float32)
    )
    assert given_empty.is_missing.tolist() == [False, False]
    assert given_empty.counts.tolist() == [0, 0]


def test_answers_whose_arrays_disagree_are_refused() -> None:
    """Scores, boxes, flags and starts must speak of the same entries and items."""
    answers = tiny_boxes().answers[0]
    for wrong in (
        {"scores": answers.scores[:1]},
        {"boxes": answers.boxes[:, :3]},
        {"is_ignored": answers.is_ignored[:1]},
        {"is_missing": answers.is_missing[:1]},
        {"starts": answers.starts + 1},
    ):
        with pytest.raises(ValueError, match=r"."):
            replace(answers, **wrong)


def test_recordings_whose_parts_disagree_are_refused() -> None:
    """Repeated names, missing prices, and answers or a truth of other items."""
    recording = tiny_tags()
    two = np.array([0, 1])
    for wrong, told in (
        ({"providers": ("near", "near")}, "unique"),
        ({"items": ("first", "first", "third")}, "unique"),
        ({"prices_usd": np.array([0.001])}, "2 providers"),
        ({"answers": recording.answers[:1]}, "2 providers, 1 answers"),
        ({"answers": (recording.answers[0].take(two),) * 2}, "near has answers to 2"),
        ({"truth": recording.answers[0].take(two)}, "truth of 2"),
    ):
        with pytest.raises(DataError, match=told):
            replace(recording, **wrong)
    with pytest.raises(DataError, match="unique"):
        recording.take(np.array([0, 0]))
