"""Box fusion by rule: against its reference, ensemble_boxes, and by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import ensemble_boxes
import numpy as np
import pytest
from ensemble_boxes import ensemble_boxes_nms, ensemble_boxes_nmw
from ensemble_boxes.ensemble_boxes_nms import cpu_soft_nms_float
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.federation.random_recordings import (
    HEIGHT,
    WIDTH,
    random_recording,
    tiny_boxes,
)
from tests.support.fusion_reference import Box, fuse_boxes

from midhaul.errors import ConfigError
from midhaul.federation.fusion.boxes import METHODS, SCORINGS, VOTES, BoxFuser
from midhaul.federation.recordings.parquet import read_parquet
from midhaul.federation.recordings.problem import Answers, Recording

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = st.integers(0, 2**32 - 1)
FLOOR = 0.001  # below this Soft-NMS gives nothing

# The peer compiles these anew in each process, which takes longer than all its work.
for module, name in (
    (ensemble_boxes_nms, "nms_float_fast"),
    (ensemble_boxes_nmw, "bb_intersection_over_union"),
):
    setattr(module, name, getattr(module, name).py_func)


def crowded(seed: int, n_providers: int = 4) -> Recording:
    """Images on which providers mark the same few places again and again."""
    rng = np.random.default_rng(seed)
    n_items, answers = 6, []
    places = rng.uniform(0, 250, (n_items, 3, 2))
    for _ in range(n_providers):
        m = int(rng.integers(0, 40))
        items, which = rng.integers(0, n_items, m), rng.integers(0, 3, m)
        corner = np.maximum(places[items, which] + rng.normal(0, 8, (m, 2)), 0)
        size = 60 + 80 * (which[:, None] % 2) + rng.normal(0, 8, (m, 2))
        boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
        scores = rng.uniform(0.01, 1, m).astype(np.float32)
        labels = rng.integers(0, 2, m).astype(np.int32)
        made = Answers.of_rows(items, n_items, labels, scores, boxes)
        answers.append(made.hidden(rng.random(n_items) < 0.2))
    base = random_recording("boxes", rng, n_items=n_items, n_providers=n_providers)
    return replace(base, answers=tuple(answers))


def rows_of(answers: Answers) -> np.ndarray:
    """Item, label, score and corners of each entry, sorted."""
    rows = np.column_stack(
        [answers.items, answers.labels, answers.scores, answers.boxes]
    ).astype(np.float64)
    return rows[np.lexsort(rows[:, ::-1].T)]


def by_reference(fuser: BoxFuser, recording: Recording, asked: np.ndarray) -> Answers:
    """What the reference makes of it, item by item and label by label."""
    rows: list[tuple[int, int, float, *tuple[float, ...]]] = []
    for item, label in itertools.product(range(len(recording)), range(2)):
        boxes: list[Box] = []
        n_answered = 0
        for p, answers in enumerate(recording.answers):
            if not asked[item] >> p & 1 or answers.is_missing[item]:
                continue
            n_answered += 1
            where = answers.of(item)
            for k in range(where.start, where.stop):
                if answers.labels[k] == label:
                    x1, y1, x2, y2 = answers.boxes[k].astype(float).tolist()
                    boxes.append(Box((x1, y1, x2, y2), float(answers.scores[k]), p))
        fused = fuse_boxes(
            boxes,
            n_answered,
            method=fuser.method,
            vote=fuser.vote,
            iou=fuser.iou,
            scoring=fuser.scoring,
            sigma=fuser.sigma,
        )
        rows += [
            (item, label, box.score, *box.corners)
            for box in fused
            if not fuser.method.startswith("soft") or box.score > FLOOR
        ]
    table = np.array(rows).reshape(-1, 7)
    return Answers.of_rows(
        table[:, 0].astype(np.int64),
        len(recording),
        table[:, 1].astype(np.int32),
        table[:, 2].astype(np.float32),
        table[:, 3:].astype(np.float32),
    )


@pytest.mark.parametrize(
    "fuser",
    [
        *(
            BoxFuser(method=method, vote=vote)
            for method in METHODS
            for vote in VOTES
            if vote == "affirmative" or method in ("nms", "wbf")
        ),
        *(BoxFuser(scoring=scoring) for scoring in SCORINGS[1:]),
    ],
    ids=lambda fuser: f"{fuser.method}/{fuser.vote}/{fuser.scoring}",
)
@given(seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_kernels_do_what_the_reference_does(fuser: BoxFuser, seed: int) -> None:
    """Every method, vote and scoring gives the boxes that plain Python gives."""
    recording = crowded(seed)
    asked = np.random.default_rng(seed).integers(0, recording.everyone + 1, 6)
    found = rows_of(fuser.fuse(recording, asked))
    expected = rows_of(by_reference(fuser, recording, asked))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(found[:, 2], expected[:, 2], atol=1e-6)


def by_peer(fuser: BoxFuser, recording: Recording, item: int) -> np.ndarray:
    """Label, score and corners that ensemble_boxes gives, of who answered."""
    scale = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
    boxes, scores, labels = [], [], []
    for answers in recording.answers:
        where = answers.of(item)
        # It cannot be given empty answers of some providers by nms and soft_nms.
        is_empty = where.stop == where.start
        if answers.is_missing[item] or (
            is_empty and fuser.method not in ("wbf", "nmw")
        ):
            continue
        boxes.append((answers.boxes[where] / scale).astype(np.float64).reshape(-1, 4))
        scores.append(answers.scores[where].astype(np.float64))
        labels.append(answers.labels[where].astype(np.int64))
    if not any(len(one) for one in labels):
        return np.zeros((0, 6))
    if fuser.method == "nms":
        found, certain, which = ensemble_boxes.nms(
            boxes, scores, labels, iou_thr=fuser.iou
        )
    elif fuser.method == "nmw":
        found, certain, which = ensemble_boxes.non_maximum_weighted(
            boxes, scores, labels, iou_thr=fuser.iou
        )
    elif fuser.method == "wbf":
        found, certain, which = ensemble_boxes.weighted_boxes_fusion(
            boxes, scores, labels, iou_thr=fuser.iou, conf_type=fuser.scoring
        )
    else:
        found, certain, which = softened(boxes, scores, labels, fuser)
    return np.column_stack([which, certain, found * scale])


def softened(
    boxes: list[np.ndarray],
    scores: list[np.ndarray],
    labels: list[np.ndarray],
    fuser: BoxFuser,
) -> tuple[np.ndarray, ...]:
    """The peer's Soft-NMS; its public function returns scores as they were before."""
    flat = [np.concatenate(parts) for parts in (boxes, scores, labels)]
    parts: list[tuple[np.ndarray, ...]] = []
    for label in np.unique(flat[2]):
        mine = flat[2] == label
        lowered = flat[1][mine]
        number = 1 if fuser.method == "soft_nms_linear" else 2
        order = cpu_soft_nms_float(
            flat[0][mine], lowered, fuser.iou, fuser.sigma, FLOOR, number
        )
        lowered = lowered[lowered > FLOOR]
        parts.append((flat[0][mine][order], lowered, np.full(len(lowered), label)))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


AGREEING = [
    *(BoxFuser(method=method) for method in METHODS),
    *(BoxFuser(scoring=scoring) for scoring in SCORINGS[1:]),
]


@pytest.mark.parametrize("fuser", AGREEING, ids=lambda f: f"{f.method}-{f.scoring}")
@given(seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_boxes_are_those_of_ensemble_boxes(fuser: BoxFuser, seed: int) -> None:
    """Box by box and score by score, but for its single precision."""
    recording = crowded(seed)
    asked = np.full(len(recording), recording.everyone)
    fused = fuser.fuse(recording, asked)
    for item in range(len(recording)):
        where = fused.of(item)
        mine = np.column_stack(
            [fused.labels[where], fused.scores[where], fused.boxes[where]]
        )
        peer = by_peer(fuser, recording, item)
        assert mine.shape == peer.shape
        mine, peer = (rows[np.lexsort(rows[:, ::-1].T)] for rows in (mine, peer))
        np.testing.assert_allclose(mine[:, 2:], peer[:, 2:], atol=2e-2)
        np.testing.assert_allclose(mine[:, :2], peer[:, :2], atol=1e-5)


def inside(answers: Answers) -> Answers:
    """Corners moved to where the peer would move them, with a warning for each."""
    limits = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float32)
    return replace(answers, boxes=np.clip(answers.boxes, 0, limits))


@pytest.mark.needs_data
@pytest.mark.parametrize("fuser", AGREEING[:5], ids=lambda fuser: fuser.method)
def test_boxes_of_seven_detectors_are_those_of_ensemble_boxes(
    fuser: BoxFuser, data_dir: Path
) -> None:
    """On VOC2007, at least 99.9 % of the fused boxes are the same."""
    folder = data_dir / "voc2007_boxes"
    recording = read_parquet(
        folder / "predictions.parquet",
        task="boxes",
        truth_file=folder / "truth.parquet",
        price_usd=0.001,
    ).take(np.arange(60))
    recording = replace(recording, answers=tuple(map(inside, recording.answers)))
    fused = fuser.fuse(recording, np.full(60, recording.everyone))
    n_same, n_peer = 0, 0
    for item in range(60):
        where = fused.of(item)
        mine = np.column_stack(
            [fused.labels[where], fused.scores[where], fused.boxes[where]]
        )
        peer = by_peer(fuser, recording, item)
        near = np.abs(mine[:, None, 2:] - peer[None, :, 2:]).max(axis=2) < 0.5
        alike = np.abs(mine[:, None, :2] - peer[None, :, :2]).max(axis=2) < 1e-3
        n_same += int((near & alike).any(axis=0).sum())
        n_peer += len(peer)
    assert n_peer > 1000
    assert n_same >= 0.999 * n_peer


def test_providers_that_agree_make_one_box_between_theirs() -> None:
    """Two boxes of one cat weigh by their scores; an empty answer halves the score."""
    recording = tiny_boxes()
    fused = BoxFuser().fuse(recording, np.array([3, 3, 3]))
    assert fused.counts.tolist() == [1, 1, 1]
    np.testing.assert_allclose(fused.scores, [0.6, 0.45, 0.3], atol=1e-6)
    x1 = (0.8 * 10 + 0.4 * 14) / 1.2
    np.testing.assert_allclose(fused.boxes[0], [x1, 10, x1 + 40, 50], atol=1e-4)


def test_who_was_not_asked_or_did_not_answer_has_no_vote() -> None:
    """Scores and votes count the providers that answered, not all there are."""
    recording = tiny_boxes()
    alone = BoxFuser().fuse(recording, np.array([2, 2, 2]))
    np.testing.assert_allclose(alone.scores, [0.4, 0.9], atol=1e-6)
    assert not alone.is_missing.any()
    near, far = recording.answers
    lost = replace(recording, answers=(near.hidden(np.array([False, True, True])), far))
    strict = BoxFuser(vote="unanimous").fuse(lost, np.array([3, 3, 3]))
    assert strict.counts.tolist() == [1, 1, 0]
    asked_in_vain = BoxFuser().fuse(lost, np.array([0, 1, 1]))
    assert asked_in_vain.is_missing.all()
    assert len(asked_in_vain.labels) == 0


def test_votes_are_of_providers_and_not_of_boxes() -> None:
    """A provider that marks a thing twice is still one of two."""
    recording = tiny_boxes()
    near, far = recording.answers
    twice = Answers.of_rows(
        np.array([2, 2]),
        3,
        np.array([1, 1], np.int32),
        np.array([0.9, 0.8], np.float32),
        np.array([[5, 5, 25, 25], [5, 5, 26, 25]], np.float32),
    )
    changed = replace(recording, answers=(twice, far))
    assert len(near) == len(twice)
    for method in METHODS:
        fuser = BoxFuser(method=method, vote="consensus")
        assert not fuser.fuse(changed, np.array([3, 3, 3])).counts[2]
        assert fuser.fuse(changed, np.array([3, 3, 1])).counts[2]


def test_of_equal_scores_the_earlier_providers_box_stays() -> None:
    """Suppression has to choose; a mean of the two is the same in either order."""
    recording = tiny_boxes()
    near, far = (
        replace(a, scores=np.full_like(a.scores, 0.5)) for a in recording.answers
    )
    tied = replace(recording, answers=(near, far))
    turned = tied.only(["far", "near"])
    asked = np.array([3, 0, 0])
    for method in ("nms", "soft_nms", "nmw", "wbf"):
        fuser = BoxFuser(method=method)
        first, other = (fuser.fuse(one, asked).boxes[0] for one in (tied, turned))
        if method in ("nms", "soft_nms"):
            assert first.tolist() == near.boxes[0].tolist()
            assert other.tolist() == far.boxes[0].tolist()
        elif method == "wbf":
            np.testing.assert_allclose(first, [12, 10, 52, 50], atol=1e-4)
            np.testing.assert_allclose(other, first, atol=1e-4)
        else:  # each mean leans towards the box that came first
            assert first[0] < 12 < other[0]


def test_labels_never_meet() -> None:
    """Boxes in one place that are called differently stay apart."""
    recording = tiny_boxes()
    near, far = recording.answers
    flipped = replace(far, labels=1 - far.labels)
    changed = replace(recording, answers=(near, flipped))
    for method in METHODS:
        fused = BoxFuser(method=method).fuse(changed, np.array([3, 3, 3]))
        assert fused.counts[0] == 2


@given(seed=SEEDS, scoring=st.sampled_from(SCORINGS))
@settings(max_examples=30, deadline=None)
def test_scores_stay_below_one_and_fall(seed: int, scoring: str) -> None:
    """However many boxes agree, no fused score exceeds the best that went in."""
    recording = crowded(seed)
    fuser = BoxFuser(scoring=scoring)  # pyright: ignore[reportArgumentType]
    fused = fuser.fuse(recording, np.full(6, recording.everyone))
    most = max(a.scores.max(initial=0) for a in recording.answers)
    assert fused.scores.max(initial=0) <= most + 1e-6
    for item in range(6):
        assert (np.diff(fused.scores[fused.of(item)]) <= 0).all()


def test_zero_scores_and_boxes_without_area_are_survived() -> None:
    """A score of 0 weighs nothing without dividing by it; a flat box is nobody's."""
    answers = Answers.of_rows(
        np.array([0, 0, 0]),
        1,
        np.zeros(3, np.int32),
        np.array([0, 0, 0.5], np.float32),
        np.array([[0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 9]], np.float32),
    )
    base = random_recording("boxes", np.random.default_rng(0), n_items=1, n_providers=1)
    recording = replace(base, answers=(answers,))
    for method in ("wbf", "nmw", "nms"):
        fused = BoxFuser(method=method).fuse(recording, np.array([1]))
        assert fused.scores == pytest.approx([0.0], abs=1e-6)
        assert fused.boxes.tolist() == [[0, 0, 10, 10]]


def test_unknown_words_are_refused() -> None:
    """Methods, votes and scorings have names that are checked."""
    with pytest.raises(ConfigError, match="median"):
        BoxFuser(method="median")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="sum"):
        BoxFuser(scoring="sum")  # pyright: ignore[reportArgumentType]
