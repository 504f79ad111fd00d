"""Learned fusion of boxes: its promises on random recordings, its parts, real data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier
from tests.federation.random_recordings import random_recording, recordings, tiny_boxes
from threadpoolctl import threadpool_limits

from midhaul.errors import DataError
from midhaul.federation.fusion import fit_fuser, fuser_from_state, fuser_named
from midhaul.federation.fusion.stacked_boxes import (
    MAX_BOXES,
    SILENT,
    BoostedTrees,
    StackedBoxes,
    cluster_boxes,
    cluster_features,
    context_of,
    fit_stacked_boxes,
)
from midhaul.federation.quality import set_quality
from midhaul.federation.recordings.parquet import read_parquet
from midhaul.federation.recordings.problem import Answers, split_items
from midhaul.npz_state import read_state, write_state
from midhaul.vision.judge.matching import iou

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.federation.recordings.problem import Recording

N_PROVIDERS = 4


@pytest.fixture(scope="module")
def stacked() -> StackedBoxes:
    """Fitted to a random recording of four providers and four labels."""
    recording = random_recording(
        "boxes",
        np.random.default_rng(1),
        n_items=120,
        n_providers=N_PROVIDERS,
        missing=0.1,
    )
    return fit_stacked_boxes(recording, np.random.default_rng(2))


def fresh(seed: int, n_items: int = 30) -> Recording:
    """Other items of the same providers."""
    return random_recording(
        "boxes",
        np.random.default_rng(seed),
        n_items=n_items,
        n_providers=N_PROVIDERS,
        missing=0.2,
    )


def masks(seed: int, n: int) -> np.ndarray:
    """Any subset for each item, the empty one too."""
    return np.random.default_rng(seed).integers(0, 1 << N_PROVIDERS, n)


def same(a: Answers, b: Answers) -> bool:
    """Whether two answers are the same in every bit."""
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("starts", "labels", "scores", "boxes", "is_missing")
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_fused_boxes_are_sound(seed: int, stacked: StackedBoxes) -> None:
    """Scores are probabilities that fall, boxes lie within those given, no more."""
    recording, asked = fresh(seed), masks(seed, 30)
    fused = stacked.fuse(recording, asked)
    assert ((fused.scores >= 0) & (fused.scores <= 1)).all()
    assert fused.counts.max() <= MAX_BOXES
    for i in range(len(recording)):
        at = fused.of(i)
        assert (np.diff(fused.scores[at]) <= 0).all()
        heard = [
            answers.boxes[answers.of(i)]
            for p, answers in enumerate(recording.answers)
            if asked[i] >> p & 1 and not answers.is_missing[i]
        ]
        assert fused.is_missing[i] == (not heard)
        given_boxes = np.concatenate([np.zeros((0, 4)), *heard])
        assert fused.counts[i] <= len(given_boxes)
        if fused.counts[i]:
            low, high = given_boxes.min(axis=0) - 1e-3, given_boxes.max(axis=0) + 1e-3
            assert ((fused.boxes[at] >= low) & (fused.boxes[at] <= high)).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_an_answer_depends_on_its_item_alone(seed: int, stacked: StackedBoxes) -> None:
    """Items fused in any order, or alone, have the same answers to the bit."""
    recording, asked = fresh(seed), masks(seed, 30)
    whole = stacked.fuse(recording, asked)
    order = np.random.default_rng(seed).permutation(30)[:11]
    assert same(whole.take(order), stacked.fuse(recording.take(order), asked[order]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_answers_that_were_not_asked_for_are_never_seen(
    seed: int, stacked: StackedBoxes
) -> None:
    """Fusing is the same when nobody else answered, and without the truth."""
    recording, asked = fresh(seed), masks(seed, 30)
    assert same(
        stacked.fuse(recording, asked), stacked.fuse(recording.shown(asked), asked)
    )


def test_providers_may_come_in_another_order_or_not_at_all(
    stacked: StackedBoxes,
) -> None:
    """Columns follow the names of providers, not their places."""
    recording = fresh(5)
    some = recording.only(["provider-3", "provider-1"])
    a = stacked.fuse(recording, np.full(30, 0b1010))
    b = stacked.fuse(some, np.full(30, 0b11))
    assert np.array_equal(a.labels, b.labels)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-6)
    np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-3)


def test_strangers_are_refused(stacked: StackedBoxes) -> None:
    """A provider or a label that was not learned from is an error with a name."""
    recording = fresh(5)
    other = replace(recording, providers=("x", *recording.providers[1:]))
    with pytest.raises(DataError, match="provider x"):
        stacked.fuse(other, np.full(30, 1))
    with pytest.raises(DataError, match="labels"):
        stacked.fuse(replace(recording, names=("p", "q", "r", "s")), np.full(30, 1))


def test_it_cannot_learn_from_nothing() -> None:
    """No truth, and no box at all, are errors that say what is missing."""
    recording = random_recording("boxes", np.random.default_rng(1))
    with pytest.raises(DataError, match="truth"):
        fit_stacked_boxes(replace(recording, truth=None), np.random.default_rng(0))
    silent = Answers.of_rows(
        np.zeros(0, np.int64), 40, np.zeros(0, np.int32), np.zeros(0, np.float32)
    )
    mute = replace(recording, answers=(silent,) * 3)
    with pytest.raises(DataError, match="0 of 0"):
        fit_stacked_boxes(mute, np.random.default_rng(0))


def test_a_fit_is_repeated_by_the_same_chance_and_survives_the_disk(
    tmp_path: Path,
) -> None:
    """The same seed gives the same answers; so does what was written and read."""
    train, test = fresh(8, 80), fresh(9)
    asked = masks(3, 30)
    fits = [fit_fuser("stacked", train, rng=np.random.default_rng(4)) for _ in range(2)]
    answers = [fuser.fuse(test, asked) for fuser in fits]
    assert same(*answers)
    file = tmp_path / "fuser.npz"
    write_state(file, fits[0].state())
    read = fuser_from_state(read_state(file))
    assert read.state()["fuser"] == "stacked-boxes"
    assert read.name == "stacked"
    assert same(answers[0], read.fuse(test, asked))


def test_no_boxes_are_fused_to_none(stacked: StackedBoxes) -> None:
    """Nobody asked is a missing answer; an empty answer stays an empty one."""
    recording = fresh(3)
    nobody = stacked.fuse(recording, np.zeros(30, np.int64))
    assert nobody.is_missing.all()
    assert not len(nobody.labels)
    empty = Answers.of_rows(
        np.zeros(0, np.int64), 30, np.zeros(0, np.int32), np.zeros(0, np.float32)
    )
    mute = replace(recording, answers=(empty,) * N_PROVIDERS)
    fused = stacked.fuse(mute, np.full(30, recording.everyone))
    assert not fused.is_missing.any()
    assert not len(fused.labels)


def test_it_knows_who_is_to_be_believed() -> None:
    """Learned scores rank better than WBF's where providers differ in skill."""
    parts = [
        random_recording(
            "boxes", np.random.default_rng(seed), n_items=400, n_providers=4
        )
        for seed in (1, 2)
    ]
    train, test = parts
    stacked = fit_stacked_boxes(train, np.random.default_rng(0))
    asked = np.random.default_rng(7).integers(1, 16, len(test))
    learned = set_quality(test, stacked.fuse(test, asked)).value
    plain = set_quality(test, fuser_named("wbf").fuse(test, asked)).value
    assert learned > plain + 0.01


@settings(max_examples=20, deadline=None)
@given(recording=recordings("boxes"), seed=st.integers(0, 1000))
def test_clusters_agree_with_plain_python(recording: Recording, seed: int) -> None:
    """Members, best scores and context are what a simple loop over items finds."""
    n, p = len(recording), recording.n_providers
    asked = np.random.default_rng(seed).integers(0, 1 << p, n)
    found = cluster_boxes(recording, asked, 0.55)
    strengths = np.nansum(found.best, axis=1).astype(np.float64)
    context = context_of(found.starts, found.labels, found.boxes, strengths)
    at = 0
    for i in range(n):
        expected = plain_clusters(recording, i, int(asked[i]))
        for label, box, best in expected:
            assert (found.items[at], found.labels[at]) == (i, label)
            np.testing.assert_allclose(found.boxes[at], box, rtol=1e-4, atol=1e-3)
            np.testing.assert_allclose(found.best[at], best, rtol=1e-6)
            at += 1
        here = np.arange(found.starts[i], found.starts[i + 1])
        for a in here.tolist():
            np.testing.assert_allclose(
                context[a],
                plain_context(a, here, found.labels, found.boxes, strengths),
                atol=1e-4,
            )
    assert at == len(found)


def plain_clusters(
    recording: Recording, item: int, mask: int
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """WBF's clusters of an item: label, mean box and each provider's best score."""
    rows = [
        (int(answers.labels[e]), -float(answers.scores[e]), p, answers.boxes[e])
        for p, answers in enumerate(recording.answers)
        if mask >> p & 1
        for e in range(answers.starts[item], answers.starts[item + 1])
    ]
    rows.sort(key=lambda row: row[:2])
    clusters: list[tuple[int, list[tuple[float, int, np.ndarray]]]] = []
    for label, minus, p, box in rows:
        overlaps = [
            one_iou(mean_box(members), box) if of == label else 0.0
            for of, members in clusters
        ]
        if overlaps and max(overlaps) > 0.55:
            clusters[int(np.argmax(overlaps))][1].append((-minus, p, box))
        else:
            clusters.append((label, [(-minus, p, box)]))
    result: list[tuple[int, np.ndarray, np.ndarray]] = []
    for label, members in clusters:
        best = np.full(recording.n_providers, np.nan)
        for score, p, _ in members:
            best[p] = np.nanmax([best[p], score])
        result.append((label, mean_box(members), best))
    return result


def mean_box(members: list[tuple[float, int, np.ndarray]]) -> np.ndarray:
    """The mean of boxes, weighted by score."""
    weights = np.array([score for score, _, _ in members])
    boxes = np.array([box for _, _, box in members], np.float64)
    return (weights[:, None] * boxes).sum(axis=0) / weights.sum()


def one_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two boxes, by the judge of detectors."""
    first, second = a[None].astype(np.float64), b[None].astype(np.float64)
    return float(iou(first, second, np.zeros(1, bool))[0, 0])


def plain_context(
    a: int,
    here: np.ndarray,
    labels: np.ndarray,
    boxes: np.ndarray,
    strengths: np.ndarray,
) -> list[float]:
    """What the others of the item say about one cluster, one question at a time."""
    others = [b for b in here.tolist() if b != a]
    alike = [b for b in others if labels[b] == labels[a]]
    better = [b for b in alike if (strengths[b], -b) > (strengths[a], -a)]
    rival = [
        one_iou(boxes[a], boxes[b]) * float(strengths[b])
        for b in others
        if b not in alike
    ]
    double = [one_iou(boxes[a], boxes[b]) for b in better]
    is_crowd = np.ones(1, bool)
    covered = [
        float(
            iou(boxes[a][None].astype(float), boxes[b][None].astype(float), is_crowd)[
                0, 0
            ]
        )
        for b in better
    ]
    return [
        max(rival, default=0.0),
        max(double, default=0.0),
        max(covered, default=0.0),
        float(np.log1p(len(better))),
        float(np.log1p(len(alike))),
    ]


def test_features_tell_silence_from_not_being_asked() -> None:
    """A provider that saw nothing has one value, one that was not asked another."""
    recording = tiny_boxes()
    for asked, expected in ((0b11, [False, True]), (0b01, [False, False])):
        found = cluster_boxes(recording, np.full(3, asked), 0.55)
        rows = cluster_features(found, recording.sizes_px, np.zeros(2))
        third = rows[found.items == 2][0, :2]
        assert [bool(value == SILENT) for value in third] == expected
    assert np.isnan(third[1])


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), n_leaves=st.integers(2, 20))
def test_flat_trees_are_those_of_the_library(seed: int, n_leaves: int) -> None:
    """Log odds of rows with and without NaN agree with scikit-learn's."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    is_true = np.nansum(rows, axis=1) + rng.normal(size=300) > 0
    model = HistGradientBoostingClassifier(
        max_iter=15, max_leaf_nodes=n_leaves, min_samples_leaf=5
    )
    with threadpool_limits(1):
        model.fit(rows, is_true)
    flat = BoostedTrees.from_state(BoostedTrees.of_histogram(model).state())
    fresh_rows = rng.normal(size=(100, 4)).astype(np.float32)
    fresh_rows[rng.random(fresh_rows.shape) < 0.3] = np.nan
    for told in (rows, fresh_rows):
        np.testing.assert_allclose(
            flat.sums(told), model.decision_function(told), atol=1e-9
        )


def test_real_detectors_fused_are_better_than_suppressed(data_dir: Path) -> None:
    """On held-out images of VOC2007 it beats NMS and WBF, asked alike or not."""
    folder = data_dir / "voc2007_boxes"
    recording = read_parquet(
        folder / "predictions.parquet",
        task="boxes",
        truth_file=folder / "truth.parquet",
        price_usd=0.001,
    )
    parts = split_items(recording.items, 11, (0.25, 0.75))
    train, test = (recording.take(part) for part in parts)
    stacked = fit_stacked_boxes(train, np.random.default_rng(0))
    n, p = len(test), recording.n_providers
    mixed = np.random.default_rng(1).integers(1, 1 << p, n)
    for asked in (np.full(n, recording.everyone), mixed):
        quality = {
            fuser.name: set_quality(test, fuser.fuse(test, asked)).value
            for fuser in (stacked, fuser_named("nms"), fuser_named("wbf"))
        }
        assert quality["stacked"] > quality["nms"] + 0.015
        assert quality["stacked"] > quality["wbf"] + 0.005
