"""The conformance suite of policies, ours or a stranger's.

They are checked on small random recordings, one for each task.
"""

from __future__ import annotations

import copy
import itertools
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.fusion.checks import garbage
from midhaul.federation.policies.base import Examples, Situation, part_of, replay
from midhaul.federation.recordings.problem import Answers, Recording
from midhaul.npz_state import read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float32, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import (
        OnlinePolicy,
        PolicyFamily,
        SubsetPolicy,
    )
    from midhaul.federation.recordings.problem import Task
    from midhaul.npz_state import State

    FromState = Callable[[State], SubsetPolicy]

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


_SLACK = 1e-9


def check_policy(
    policy: SubsetPolicy,
    examples: Examples,
    *,
    from_state: FromState | None = None,
    is_random: bool = False,
    seed: int = 0,
) -> None:
    """Hold a policy to what replays, services and experiments expect of it.

    Args:
        policy: the policy.
        examples: items that it can decide about, with the features it was learned with.
        from_state: makes it again from its state; not tried when None.
        is_random: whether it draws, so that an item's decision is another one in
            another batch.
        seed: of the situations.

    Raises:
        ValueError: it says what does not hold.
    """
    rng = np.random.default_rng(seed)
    for number, situation in enumerate(check_situations(examples, rng)):
        where = f"{policy.name}, situation {number}"
        decided = _decide(policy, situation, seed, where)
        _check(
            np.array_equal(decided, _decide(policy, situation, seed, where)),
            f"{where}: the same situation and chance must give the same decision",
        )
        if not is_random:
            _check_items_apart(policy, situation, decided, seed, where)
        if from_state is not None:
            again = from_state(_stored(policy))
            _check(again.name == policy.name, f"{where}: read back as {again.name}")
            _check(
                np.array_equal(decided, _decide(again, situation, seed, where)),
                f"{where}: its state decides otherwise",
            )
    _check_nobody(policy, examples, seed)
    _check_replay(policy, examples, seed, is_random=is_random)


def check_family(
    family: PolicyFamily,
    examples: Examples,
    *,
    multipliers: Sequence[float] | None = None,
    tolerance: float = 0.0,
    from_state: FromState | None = None,
    seed: int = 0,
) -> None:
    """Hold a family to what budgets expect of it; a ValueError says what does not hold.

    Prices are measured on the examples. ``multipliers`` rise, from 0 to infinity when
    None. The mean price may rise with them by a ``tolerance``, a share of the price of
    everybody, which families that predict need. ``from_state`` makes a policy again.
    """
    everybody_usd = float(examples.recording.prices_usd.sum())
    if multipliers is None:
        scale = 1 / everybody_usd if everybody_usd > 0 else 1.0
        multipliers = (0.0, *(scale * 2.0 ** np.arange(-6, 7, 2)), math.inf)
    before = math.inf
    for multiplier in multipliers:
        policy = family.at(multiplier)
        check_policy(policy, examples, from_state=from_state, seed=seed)
        _check(policy.name == family.name, f"{family.name} has a {policy.name}")
        recording = examples.recording
        asked = _asked(policy, examples, recording, seed)
        cost = float(recording.prices_of(asked).mean())
        _check(
            cost <= before + tolerance * everybody_usd + _SLACK * everybody_usd,
            f"{family.name}: {cost:g} USD at {multiplier:g} after {before:g}",
        )
        before = min(before, cost)


def check_online(
    policy: OnlinePolicy,
    examples: Examples,
    *,
    from_state: FromState | None = None,
    seed: int = 0,
) -> None:
    """Hold a policy that learns to the same, before and after it learned.

    It is changed. ``from_state`` makes it again from its state; ``seed`` is of chance,
    and of which qualities are told. A ValueError says what does not hold.
    """
    check_policy(policy, examples, from_state=from_state, seed=seed)
    twin: Any = copy.deepcopy(policy)
    again: Any = None if from_state is None else from_state(_stored(policy))
    rng = np.random.default_rng(seed)
    n = len(examples)
    for start in range(0, n, 7):
        rows = np.arange(start, min(n, start + 7))
        done = replay(
            policy,
            examples.recording.take(rows),
            examples.features[rows],
            examples.fuser,
            np.random.default_rng(seed),
        )
        quality = np.where(rng.random(len(rows)) < 0.5, rng.random(len(rows)), np.nan)  # noqa: PLR2004
        for learner in (policy, twin, *([] if again is None else [again])):
            learner.learn(done.situation, done.fused, quality)
    nobody = check_situations(examples, rng)[0]
    nothing = part_of(nobody, np.zeros(0, np.int64))
    fused = examples.fuser.fuse(nothing.recording, nothing.asked)
    policy.learn(nothing, fused, np.zeros(0))
    check_policy(policy, examples, from_state=from_state, seed=seed)
    for other in (twin, *([] if again is None else [again])):
        for situation in check_situations(examples, np.random.default_rng(seed)):
            _check(
                np.array_equal(
                    _decide(policy, situation, seed, policy.name),
                    _decide(other, situation, seed, policy.name),
                ),
                f"{policy.name}: what was learned depends on more than what was told",
            )


def _decide(
    policy: SubsetPolicy, situation: Situation, seed: int, where: str
) -> Int64[np.ndarray, " n"]:
    """A decision, held to what every decision has to be."""
    before = copy.deepcopy(situation)
    new = policy.decide(situation, np.random.default_rng(seed))
    n = len(situation)
    _check(
        new.shape == (n,) and new.dtype == np.int64,
        f"{where}: expected ({n},) int64, found {new.shape} {new.dtype}",
    )
    _check(
        bool((new & situation.asked == 0).all()),
        f"{where}: somebody is asked a second time",
    )
    everyone = situation.recording.everyone
    _check(
        bool((new & ~everyone == 0).all()),
        f"{where}: somebody is asked who does not exist",
    )
    _check(
        np.array_equal(before.asked, situation.asked)
        and np.array_equal(before.features, situation.features)
        and all(
            np.array_equal(a.scores, b.scores) and np.array_equal(a.labels, b.labels)
            for a, b in zip(
                before.recording.answers, situation.recording.answers, strict=True
            )
        ),
        f"{where}: what it was shown is changed",
    )
    return new


def _check_items_apart(
    policy: SubsetPolicy,
    situation: Situation,
    decided: Int64[np.ndarray, " n"],
    seed: int,
    where: str,
) -> None:
    """An item's decision is the same alone, and among others in another order."""
    n = len(situation)
    order = np.random.default_rng(seed).permutation(n)
    mixed = _decide(policy, part_of(situation, order), seed, where)
    _check(
        np.array_equal(mixed, decided[order]),
        f"{where}: decisions depend on the order of the items",
    )
    for i in order[:5].tolist():
        alone = _decide(policy, part_of(situation, np.array([i])), seed, where)
        _check(
            bool(alone[0] == decided[i]),
            f"{where}: item {i} alone gets {alone[0]}, among others {decided[i]}",
        )


def _check_nobody(policy: SubsetPolicy, examples: Examples, seed: int) -> None:
    """No item, no decision."""
    recording = examples.recording.take(np.zeros(0, np.int64))
    nothing = Situation(
        recording=recording.shown(np.zeros(0, np.int64)),
        features=examples.features[:0],
        asked=np.zeros(0, np.int64),
    )
    _decide(policy, nothing, seed, f"{policy.name}, no item")


def _check_replay(
    policy: SubsetPolicy, examples: Examples, seed: int, *, is_random: bool
) -> None:
    """It comes to an end, and not by answers that it did not ask for."""
    recording = examples.recording
    done = replay(
        policy,
        recording,
        examples.features,
        examples.fuser,
        np.random.default_rng(seed),
    )
    _check(
        len(done.rounds) <= recording.n_providers,
        f"{policy.name}: {len(done.rounds)} rounds for {recording.n_providers}",
    )
    end = _decide(policy, done.situation, seed, f"{policy.name}, at the end")
    _check(is_random or not end.any(), f"{policy.name}: asks on after it wanted nobody")
    other = garbage(recording, done.asked, np.random.default_rng(seed + 1))
    other_asked = _asked(policy, examples, other, seed)
    _check(
        np.array_equal(other_asked, done.asked),
        f"{policy.name}: decisions depend on answers that nobody asked for",
    )


def _asked(
    policy: SubsetPolicy, examples: Examples, recording: Recording, seed: int
) -> Int64[np.ndarray, " n"]:
    rng = np.random.default_rng(seed)
    features: Float32[np.ndarray, "n d"] = examples.features
    return replay(policy, recording, features, examples.fuser, rng).asked


def _stored(policy: SubsetPolicy) -> State:
    """A policy's state as it comes back from the disk."""
    state: State = policy.state()  # pyright: ignore[reportAttributeAccessIssue]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "policy.npz"
        write_state(file, state)
        return read_state(file)


def _check(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as an assert
    if not holds:
        raise ValueError(message)
