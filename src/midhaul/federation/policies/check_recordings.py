"""Small random recordings that policies are checked on, one for each task."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.policies.base import Examples, Situation
from midhaul.federation.recordings.problem import Answers, Recording

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.recordings.problem import Task

_NAMES = ("ant", "bee", "cat", "dog")
_SIDE_PX = 100.0
_RIGHT = (0.9, 0.75, 0.6, 0.5)
_PRICES_USD = (0.002, 0.001, 0.0005, 0.0)


def check_examples(
    task: Task,
    fuser: Fuser,
    rng: np.random.Generator,
    *,
    n_items: int = 60,
    n_providers: int = 3,
    n_features: int = 0,
) -> Examples:
    """Items whose providers are right the less often the cheaper they are.

    Args:
        task: what an answer is.
        fuser: what fuses them.
        rng: of everything.
        n_items: how many; some answers are missing where there are any.
        n_providers: 1 to 4.
        n_features: numbers that describe each item.
    """
    draw: dict[Task, Callable[..., Answers]] = {
        "labels": _labels,
        "tags": _tags,
        "boxes": _boxes,
    }
    truth_labels = rng.integers(0, len(_NAMES), n_items)
    answers = tuple(
        draw[task](truth_labels, right, rng).hidden(rng.random(n_items) < 0.05)  # noqa: PLR2004
        for right in _RIGHT[:n_providers]
    )
    truth = draw[task](truth_labels, 1.0, rng)
    recording = Recording(
        task=task,
        items=tuple(f"item-{i}" for i in range(n_items)),
        names=_NAMES,
        providers=tuple("abcd"[:n_providers]),
        prices_usd=np.array(_PRICES_USD[:n_providers]),
        answers=answers,
        truth=Answers.of_rows(
            truth.items,
            n_items,
            truth.labels,
            np.ones(len(truth.labels), np.float32),
            truth.boxes,
        ),
        sizes_px=np.full((n_items, 2), _SIDE_PX, np.float32)
        if task == "boxes"
        else None,
    )
    features = rng.normal(size=(n_items, n_features)).astype(np.float32)
    return Examples(recording=recording, features=features, fuser=fuser)


def check_situations(examples: Examples, rng: np.random.Generator) -> list[Situation]:
    """Nobody asked, each alone, everybody, any subset; each again with failures."""
    recording, n = examples.recording, len(examples)
    everyone = recording.everyone
    asked = [np.zeros(n, np.int64)]
    asked += [np.full(n, 1 << p, np.int64) for p in range(recording.n_providers)]
    asked += [np.full(n, everyone, np.int64)]
    asked += [rng.integers(0, everyone, n, endpoint=True) for _ in range(2)]
    found: list[Situation] = []
    for masks, is_failing in itertools.product(asked, (False, True)):
        shown = recording.shown(masks)
        if is_failing:
            hidden = tuple(a.hidden(rng.random(n) < 0.5) for a in shown.answers)  # noqa: PLR2004
            shown = replace(shown, answers=hidden)
        found.append(
            Situation(recording=shown, features=examples.features, asked=masks)
        )
    return found


def _labels(truth: np.ndarray, right: float, rng: np.random.Generator) -> Answers:
    n = len(truth)
    is_right = rng.random(n) < right
    labels = np.where(is_right, truth, rng.integers(0, len(_NAMES), n))
    scores = np.where(is_right, rng.beta(5, 2, n), rng.beta(2, 3, n))
    return Answers.of_rows(
        np.arange(n), n, labels.astype(np.int32), scores.astype(np.float32)
    )


def _tags(truth: np.ndarray, right: float, rng: np.random.Generator) -> Answers:
    """The label and its successor, each left out or replaced now and then."""
    n = len(truth)
    items = np.repeat(np.arange(n), 2)
    labels = np.stack([truth, (truth + 1) % len(_NAMES)], axis=1).ravel()
    shown = rng.random(2 * n) < (1 + right) / 2
    other = rng.random(2 * n) > (1 + right) / 2
    labels = np.where(other, (labels + 2) % len(_NAMES), labels)
    scores = np.where(other, rng.beta(2, 3, 2 * n), rng.beta(5, 2, 2 * n))
    pairs = items[shown] * len(_NAMES) + labels[shown]
    _, first = np.unique(pairs, return_index=True)
    keep = np.flatnonzero(shown)[first]
    return Answers.of_rows(
        items[keep], n, labels[keep].astype(np.int32), scores[keep].astype(np.float32)
    )


def _boxes(truth: np.ndarray, right: float, rng: np.random.Generator) -> Answers:
    """Two boxes an item, in places that its number gives, one in each half."""
    n = len(truth)
    items = np.repeat(np.arange(n), 2)
    which = np.tile(np.arange(2), n)
    labels = (truth[items] + which) % len(_NAMES)
    corner = np.stack([5.0 + 45.0 * which, 5.0 + items * 7 % 40], axis=1)
    size = 20.0 + (items * 3 % 20)[:, None]
    noise = rng.normal(0, 12 * (1 - right), (2 * n, 4))
    boxes = (np.concatenate([corner, corner + size], axis=1) + noise).clip(0, _SIDE_PX)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    shown = np.flatnonzero(rng.random(2 * n) < (1 + right) / 2)
    scores = rng.beta(5, 2, 2 * n) * right
    return Answers.of_rows(
        items[shown],
        n,
        labels[shown].astype(np.int32),
        scores[shown].astype(np.float32),
        boxes[shown].astype(np.float32),
    )
