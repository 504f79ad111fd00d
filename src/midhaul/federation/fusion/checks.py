"""The conformance suite of fusers, ours or a stranger's."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.recordings.problem import Answers, Recording
from midhaul.npz_state import read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.npz_state import State

    FromState = Callable[[State], Fuser]

_CLOSE = 1e-5
_CLOSE_PX = 0.05


def check_fuser(
    fuser: Fuser,
    recording: Recording,
    *,
    from_state: FromState | None = None,
    seed: int = 0,
) -> None:
    """Hold a fuser to what is expected of it; a ValueError says what does not hold.

    The recording has a few dozen items that it can fuse, some answers of them missing
    or empty. ``from_state`` makes it again from its state; that is not tried when None.
    """
    _check(bool(fuser.name), "a fuser needs a name")
    rng = np.random.default_rng(seed)
    for number, asked in enumerate(_subsets(recording, rng)):
        where = f"{fuser.name}, subsets {number}"
        fused = fuser.fuse(recording, asked)
        _check_values(recording, asked, fused, where)
        _same(fused, fuser.fuse(recording, asked), f"{where}: asked twice")
        _check_blind(fuser, recording, asked, fused, rng, where)
        _check_items_apart(fuser, recording, asked, fused, rng, where)
        _check_order(fuser, recording, asked, fused, rng, where)
        if from_state is not None:
            again = from_state(_stored(fuser))
            _check(again.name == fuser.name, f"{where}: read back as {again.name}")
            _same(fused, again.fuse(recording, asked), f"{where}: read back")
    nothing = np.zeros(0, np.int64)
    none = fuser.fuse(recording.take(nothing), nothing)
    _check(len(none) == 0, f"{fuser.name}: no items must have no answers")


def _subsets(
    recording: Recording, rng: np.random.Generator
) -> list[Int64[np.ndarray, " n"]]:
    """Nobody, each alone, everybody, and other subsets for every item."""
    n, everyone = len(recording), recording.everyone
    same = [0, *(1 << p for p in range(recording.n_providers)), everyone]
    mixed = [rng.integers(0, everyone, n, endpoint=True) for _ in range(2)]
    return [np.full(n, mask, np.int64) for mask in same] + mixed


def _check_values(
    recording: Recording, asked: Int64[np.ndarray, " n"], fused: Answers, where: str
) -> None:
    _check(len(fused) == len(recording), f"{where}: {len(fused)} answers")
    labels, scores = fused.labels, fused.scores
    _check(bool(((scores >= 0) & (scores <= 1)).all()), f"{where}: scores in [0, 1]")
    known = (labels >= 0) & (labels < len(recording.names))
    _check(bool(known.all()), f"{where}: labels must have names")
    _check(bool(np.isfinite(fused.boxes).all()), f"{where}: boxes must be finite")
    has_said = np.zeros(len(recording), bool)
    has_answered = np.zeros(len(recording), bool)
    for p, answers in enumerate(recording.answers):
        is_given = ((asked >> p) & 1 == 1) & ~answers.is_missing
        has_answered |= is_given
        has_said |= is_given & (answers.counts > 0)
    missing = fused.is_missing
    _check(bool(missing[~has_answered].all()), f"{where}: missing where nobody answers")
    given = has_said if recording.task == "labels" else has_answered
    _check(not missing[given].any(), f"{where}: an answer where somebody answered")
    _check(not fused.counts[missing].any(), f"{where}: missing answers are empty")
    if recording.task == "labels":
        _check(bool((fused.counts[~missing] == 1).all()), f"{where}: one label each")
    if recording.task == "tags":
        pairs = fused.items * len(recording.names) + labels
        _check(len(np.unique(pairs)) == len(pairs), f"{where}: each tag once")


def _check_blind(
    fuser: Fuser,
    recording: Recording,
    asked: Int64[np.ndarray, " n"],
    fused: Answers,
    rng: np.random.Generator,
    where: str,
) -> None:
    """Neither the truth nor what nobody asked for may change an answer."""
    told = f"{where}: what nobody asked for, or the truth, was looked at"
    _same(fused, fuser.fuse(garbage(recording, asked, rng), asked), told)
    _same(fused, fuser.fuse(recording.shown(asked), asked), told)
    answered = asked.copy()
    for p, answers in enumerate(recording.answers):
        answered &= ~(answers.is_missing.astype(np.int64) << p)
    told = f"{where}: a missing answer must count as not asked for"
    _same(fused, fuser.fuse(recording, answered), told)


def _check_items_apart(
    fuser: Fuser,
    recording: Recording,
    asked: Int64[np.ndarray, " n"],
    fused: Answers,
    rng: np.random.Generator,
    where: str,
) -> None:
    some = rng.permutation(len(recording))[: (len(recording) + 1) // 2]
    told = f"{where}: an answer depends on other items"
    _same(fused.take(some), fuser.fuse(recording.take(some), asked[some]), told)


def _check_order(
    fuser: Fuser,
    recording: Recording,
    asked: Int64[np.ndarray, " n"],
    fused: Answers,
    rng: np.random.Generator,
    where: str,
) -> None:
    order = rng.permutation(recording.n_providers).tolist()
    turned = recording.only([recording.providers[p] for p in order])
    masks = np.zeros_like(asked)
    for bit, p in enumerate(order):
        masks |= ((asked >> p) & 1) << bit
    again = fuser.fuse(turned, masks)
    told = f"{where}: the order of providers matters"
    a, b = _sorted(fused), _sorted(again)
    _check(a.labels.shape == b.labels.shape, told)
    _check(np.array_equal(a.labels, b.labels) and _is_close(a, b), told)


def _is_close(a: Answers, b: Answers) -> bool:
    return np.allclose(a.scores, b.scores, atol=_CLOSE, rtol=0) and np.allclose(
        a.boxes, b.boxes, atol=_CLOSE_PX, rtol=0
    )


def _sorted(answers: Answers) -> Answers:
    """The entries of each item by label and place, whatever their scores."""
    order = np.lexsort((*answers.boxes.T, answers.labels, answers.items))
    return replace(
        answers,
        labels=answers.labels[order],
        scores=answers.scores[order],
        boxes=answers.boxes[order],
        is_ignored=answers.is_ignored[order],
    )


def _same(a: Answers, b: Answers, message: str) -> None:
    pairs = (
        (a.starts, b.starts),
        (a.labels, b.labels),
        (a.scores, b.scores),
        (a.boxes, b.boxes),
        (a.is_missing, b.is_missing),
    )
    _check(all(np.array_equal(x, y) for x, y in pairs), message)


def _stored(fuser: Any) -> State:
    """The state of a fuser, written to a file and read again."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fuser.npz"
        write_state(file, fuser.state())
        return read_state(file)


def _check(is_met: object, message: str) -> None:
    if not is_met:
        raise ValueError(message)


def garbage(
    recording: Recording, keep: np.ndarray, rng: np.random.Generator
) -> Recording:
    """The same recording with answers of all but those to ``keep`` replaced."""
    n = len(recording)
    changed: list[Answers] = []
    for p, answers in enumerate(recording.answers):
        source = np.where(keep >> p & 1 == 1, np.arange(n), rng.integers(0, n, n))
        lost = (keep >> p & 1 == 0) & (rng.random(n) < 0.3)  # noqa: PLR2004
        changed.append(answers.take(source).hidden(lost))
    truth = (
        None if recording.truth is None else recording.truth.take(rng.permutation(n))
    )
    return Recording(
        task=recording.task,
        items=recording.items,
        names=recording.names,
        providers=recording.providers,
        prices_usd=recording.prices_usd,
        answers=tuple(changed),
        truth=truth,
        sizes_px=recording.sizes_px,
    )
