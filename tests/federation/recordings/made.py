"""Random recordings of every task, and how to tell whether two are the same."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from midhaul.federation.recordings.problem import Answers, Recording

WORDS = ("car", "two-wheeler", "dining table", "10", "3", "moo-cow", "Ä b")


@st.composite
def recordings(
    draw: st.DrawFn, task: str | None = None, words: tuple[str, ...] = WORDS
) -> Recording:
    """A small recording: any task, missing and empty answers, a truth or none."""
    task = task or draw(st.sampled_from(["boxes", "tags", "labels"]))
    n, p = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    names = tuple(draw(st.permutations(words)))[: draw(st.integers(1, len(words)))]
    has_sizes = draw(st.booleans())
    sizes = np.float32(draw(hnp.arrays(np.int16, (n, 2), elements=st.integers(1, 999))))
    latencies = draw(hnp.arrays(np.float64, (p, n), elements=st.floats(0, 9)))
    return Recording(
        task=task,
        items=tuple(f"{i:03d}.x" for i in draw(st.permutations(range(n)))),
        names=names,
        providers=tuple(f"p-{i}" for i in range(p)),
        prices_usd=np.array([0.001 * i for i in range(p)]),
        answers=tuple(_answers(draw, task, n, len(names)) for _ in range(p)),
        truth=_truth(draw, task, n, len(names)) if draw(st.booleans()) else None,
        sizes_px=sizes if has_sizes else None,
        latencies_s=latencies if draw(st.booleans()) else None,
    )


def _answers(draw: st.DrawFn, task: str, n: int, n_names: int) -> Answers:
    missing = draw(hnp.arrays(np.bool_, n))
    most = 1 if task == "labels" else 3
    counts = draw(hnp.arrays(np.int64, n, elements=st.integers(0, most)))
    if task == "labels":
        counts[:] = 1
    counts[missing] = 0
    m = int(counts.sum())
    boxes = np.zeros((m, 4), np.float32)
    if task == "boxes":
        boxes = draw(
            hnp.arrays(np.float32, (m, 4), elements=st.integers(-20, 900))
        ).astype(np.float32)
    scores = hnp.arrays(np.float32, m, elements=st.floats(0, 1, width=32))
    return Answers.of_rows(
        np.repeat(np.arange(n), counts),
        n,
        draw(hnp.arrays(np.int32, m, elements=st.integers(0, n_names - 1))),
        draw(scores),
        boxes,
        is_missing=missing,
    )


def _truth(draw: st.DrawFn, task: str, n: int, n_names: int) -> Answers:
    found = _answers(draw, task, n, n_names)
    m = len(found.labels)
    return Answers(
        starts=found.starts,
        labels=found.labels,
        scores=np.ones(m, np.float32),
        boxes=found.boxes,
        is_missing=found.is_missing,
        is_ignored=draw(hnp.arrays(np.bool_, m)),
    )


def assert_same_answers(one: Answers | None, other: Answers | None) -> None:
    """Demand that two answers agree in every array."""
    assert (one is None) == (other is None)
    if one is None or other is None:
        return
    for name in ("starts", "labels", "scores", "boxes", "is_missing", "is_ignored"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def assert_same(one: Recording, other: Recording) -> None:
    """Demand that two recordings agree in everything."""
    for name in ("task", "items", "names", "providers"):
        assert getattr(one, name) == getattr(other, name), name
    assert np.array_equal(one.prices_usd, other.prices_usd)
    for name in ("sizes_px", "latencies_s"):
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None) == (right is None), name
        if left is not None:
            assert np.array_equal(left, right, equal_nan=True), name
    for left, right in zip(one.answers, other.answers, strict=True):
        assert_same_answers(left, right)
    assert_same_answers(one.truth, other.truth)
