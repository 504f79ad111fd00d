"""Recordings for tests: drawn at random by task, tiny ones by name, and a strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from midhaul.federation.recordings.problem import Answers, Recording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.federation.recordings.problem import Task

WIDTH, HEIGHT = 640.0, 480.0
_TASKS: tuple[Task, ...] = ("boxes", "tags", "labels")


def random_recording(
    task: Task,
    rng: np.random.Generator,
    *,
    n_items: int = 40,
    n_providers: int = 3,
    n_names: int = 4,
    missing: float = 0.0,
) -> Recording:
    """A recording whose providers are of rising skill and price, and err by chance.

    Args:
        task: what an answer is.
        rng: all of its chance.
        n_items: items.
        n_providers: providers; the last is the best and the most expensive.
        n_names: labels, at least 2.
        missing: share of the answers that are missing.
    """
    truth = _truth(task, rng, n_items, n_names)
    skills = np.linspace(0.5, 0.9, n_providers)
    make = {"boxes": _boxes_of, "tags": _tags_of, "labels": _label_of}[task]
    answers: list[Answers] = []
    for skill in skills.tolist():
        made = make(truth, skill, n_names, rng)
        answers.append(made.hidden(rng.random(n_items) < missing))
    return Recording(
        task=task,
        items=tuple(f"item-{i}" for i in range(n_items)),
        names=tuple(f"name-{k}" for k in range(n_names)),
        providers=tuple(f"provider-{p}" for p in range(n_providers)),
        prices_usd=0.001 * np.arange(1.0, n_providers + 1),
        answers=tuple(answers),
        truth=truth,
        sizes_px=np.tile(np.array([WIDTH, HEIGHT], np.float32), (n_items, 1)),
        latencies_s=rng.lognormal(-1.5, 0.4, (n_providers, n_items)),
    )


@st.composite
def recordings(
    draw: st.DrawFn,
    task: Task | None = None,
    *,
    max_items: int = 12,
    max_providers: int = 4,
    max_names: int = 4,
) -> Recording:
    """Recordings with missing and empty answers, of one task or of any."""
    chosen = task or draw(st.sampled_from(_TASKS))
    return random_recording(
        chosen,
        np.random.default_rng(draw(st.integers(0, 2**32 - 1))),
        n_items=draw(st.integers(1, max_items)),
        n_providers=draw(st.integers(1, max_providers)),
        n_names=draw(st.integers(2, max_names)),
        missing=draw(st.sampled_from([0.0, 0.2, 0.8])),
    )


def tiny_boxes() -> Recording:
    """Three images: two providers agree on a cat, one alone sees a dog, none the rest.

    The first image has a cat at (10, 10)-(50, 50), found by both; the second has a dog
    that only ``far`` finds, and a difficult cat; the third has nothing, and ``near``
    sees a dog there.
    """
    near = _rows(
        [(0, 0, 0.8, (10, 10, 50, 50)), (2, 1, 0.6, (5, 5, 25, 25))], 3, boxes=True
    )
    far = _rows(
        [(0, 0, 0.4, (14, 10, 54, 50)), (1, 1, 0.9, (20, 20, 80, 80))], 3, boxes=True
    )
    truth = _rows(
        [
            (0, 0, 1.0, (10, 10, 50, 50)),
            (1, 1, 1.0, (20, 20, 80, 80)),
            (1, 0, 1.0, (100, 100, 140, 140)),
        ],
        3,
        boxes=True,
        ignored=[2],
    )
    return _tiny("boxes", (near, far), truth)


def tiny_labels() -> Recording:
    """Three items of a cat, a dog and a cat: ``near`` right twice, ``far`` twice."""
    near = _rows([(0, 0, 0.9, None), (1, 0, 0.6, None), (2, 0, 0.7, None)], 3)
    far = _rows([(0, 0, 0.8, None), (1, 1, 0.9, None), (2, 1, 0.5, None)], 3)
    truth = _rows([(0, 0, 1.0, None), (1, 1, 1.0, None), (2, 0, 1.0, None)], 3)
    return _tiny("labels", (near, far), truth)


def tiny_tags() -> Recording:
    """Three items with cat and dog, dog, and nothing; ``near`` answers the last one."""
    near = _rows([(0, 0, 0.9, None), (1, 0, 0.3, None), (2, 1, 0.6, None)], 3)
    far = _rows([(0, 0, 0.8, None), (0, 1, 0.7, None), (1, 1, 0.9, None)], 3)
    truth = _rows([(0, 0, 1.0, None), (0, 1, 1.0, None), (1, 1, 1.0, None)], 3)
    return _tiny("tags", (near, far), truth)


def reordered(recording: Recording, order: Sequence[int]) -> Recording:
    """The same recording with its providers in another order."""
    return recording.only([recording.providers[p] for p in order])


def reordered_masks(masks: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """The same subsets as bit masks of providers in another order."""
    moved = np.zeros_like(masks)
    for bit, p in enumerate(order):
        moved |= ((masks >> p) & 1) << bit
    return moved


def _tiny(task: Task, answers: tuple[Answers, ...], truth: Answers) -> Recording:
    return Recording(
        task=task,
        items=("first", "second", "third"),
        names=("cat", "dog"),
        providers=("near", "far"),
        prices_usd=np.array([0.001, 0.002]),
        answers=answers,
        truth=truth,
        sizes_px=np.tile(np.array([WIDTH, HEIGHT], np.float32), (3, 1)),
    )


def _rows(
    rows: Sequence[tuple[int, int, float, Sequence[float] | None]],
    n_items: int,
    *,
    boxes: bool = False,
    ignored: Sequence[int] = (),
) -> Answers:
    corners = np.array([row[3] or (0, 0, 0, 0) for row in rows], np.float32)
    return Answers.of_rows(
        np.array([row[0] for row in rows], np.int64),
        n_items,
        np.array([row[1] for row in rows], np.int32),
        np.array([row[2] for row in rows], np.float32),
        corners.reshape(-1, 4) if boxes else None,
        is_ignored=np.isin(np.arange(len(rows)), ignored),
    )


def _truth(task: Task, rng: np.random.Generator, n: int, n_names: int) -> Answers:
    counts = np.ones(n, np.int64) if task == "labels" else rng.integers(0, 4, n)
    items = np.repeat(np.arange(n), counts)
    labels = rng.integers(0, n_names, len(items)).astype(np.int32)
    if task == "tags":
        pairs = np.unique(np.stack([items, labels], axis=1), axis=0)
        items, labels = pairs[:, 0], pairs[:, 1].astype(np.int32)
    m = len(items)
    boxes = _corners(rng, m) if task == "boxes" else None
    ignored = rng.random(m) < 0.1 if task == "boxes" else None
    return Answers.of_rows(
        items, n, labels, np.ones(m, np.float32), boxes, is_ignored=ignored
    )


def _corners(rng: np.random.Generator, m: int) -> np.ndarray:
    sizes = rng.uniform(30, 200, (m, 2))
    first = rng.random((m, 2)) * (np.array([WIDTH, HEIGHT]) - sizes)
    return np.concatenate([first, first + sizes], axis=1).astype(np.float32)


def _boxes_of(
    truth: Answers, skill: float, n_names: int, rng: np.random.Generator
) -> Answers:
    found = np.flatnonzero(rng.random(len(truth.labels)) < skill)
    boxes = truth.boxes[found].astype(np.float64)
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    boxes += rng.normal(0, 0.1 * (1.1 - skill), boxes.shape) * sides
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 2)
    limits = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
    boxes = np.clip(boxes, 0, limits)
    n_false = int(rng.poisson(0.8 * len(truth) * (1.1 - skill)))
    items = [truth.items[found], rng.integers(0, len(truth), n_false)]
    labels = [truth.labels[found], rng.integers(0, n_names, n_false)]
    scores = [rng.beta(5, 2, len(found)), rng.beta(2, 4, n_false)]
    return Answers.of_rows(
        np.concatenate(items),
        len(truth),
        np.concatenate(labels).astype(np.int32),
        np.concatenate(scores).astype(np.float32),
        np.concatenate([boxes.astype(np.float32), _corners(rng, n_false)]),
    )


def _tags_of(
    truth: Answers, skill: float, n_names: int, rng: np.random.Generator
) -> Answers:
    n = len(truth)
    is_true = np.zeros((n, n_names), bool)
    is_true[truth.items, truth.labels] = True
    said = np.where(is_true, skill, 0.4 * (1 - skill)) > rng.random((n, n_names))
    items, labels = np.nonzero(said)
    right = is_true[items, labels]
    scores = np.where(right, rng.beta(5, 2, len(items)), rng.beta(2, 3, len(items)))
    return Answers.of_rows(items, n, labels.astype(np.int32), scores.astype(np.float32))


def _label_of(
    truth: Answers, skill: float, n_names: int, rng: np.random.Generator
) -> Answers:
    n = len(truth)
    is_right = rng.random(n) < skill
    other = (truth.labels + rng.integers(1, n_names, n)) % n_names
    labels = np.where(is_right, truth.labels, other).astype(np.int32)
    scores = np.where(is_right, rng.beta(5, 2, n), rng.beta(3, 4, n))
    return Answers.of_rows(np.arange(n), n, labels, scores.astype(np.float32))
