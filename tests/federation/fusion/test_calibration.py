"""Calibration of scores: rising, true on other items, saved, and told in bins."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.federation.random_recordings import (
    recordings,
    tiny_boxes,
    tiny_labels,
    tiny_tags,
)

from midhaul.errors import DataError
from midhaul.federation.fusion.calibration import (
    Calibration,
    Method,
    fit_calibration,
    reliability,
    rightness,
)
from midhaul.federation.quality import set_quality
from midhaul.federation.recordings.parquet import read_parquet
from midhaul.federation.recordings.problem import Answers, Recording, split_items
from midhaul.npz_state import read_state, write_state

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.federation.recordings.problem import Task

METHODS: tuple[Method, ...] = get_args(Method)


def boasting(n: int, seed: int) -> Recording:
    """A provider; its score s is right with chance s² for label 0, s/2 for label 1."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n).astype(np.int32)
    scores = rng.random(n).astype(np.float32)
    chance = np.where(labels == 1, scores / 2, scores**2)
    truth = np.where(rng.random(n) < chance, labels, 1 - labels).astype(np.int32)
    ones = np.ones(n, np.float32)
    return Recording(
        task="labels",
        items=tuple(f"item-{i}" for i in range(n)),
        names=("cat", "dog"),
        providers=("boaster",),
        prices_usd=np.array([0.001]),
        answers=(Answers.of_rows(np.arange(n), n, labels, scores),),
        truth=Answers.of_rows(np.arange(n), n, truth, ones),
    )


@given(recording=recordings(max_items=40), method=st.sampled_from(METHODS))
@settings(max_examples=25, deadline=None)
def test_calibration_keeps_the_order_of_scores(
    recording: Recording, method: Method
) -> None:
    """Of one provider and label, a higher score stays a higher score, in [0, 1]."""
    calibrated = fit_calibration(recording, method=method).apply(recording)
    for before, after in zip(recording.answers, calibrated.answers, strict=True):
        assert np.array_equal(before.labels, after.labels)
        assert np.array_equal(before.is_missing, after.is_missing)
        assert after.scores.min(initial=1) >= 0
        assert after.scores.max(initial=0) <= 1
        for label in np.unique(before.labels):
            mine = before.labels == label
            order = np.argsort(before.scores[mine], kind="stable")
            rising = np.diff(after.scores[mine][order])
            apart = np.diff(before.scores[mine][order]) > 1e-3
            assert (rising >= -1e-6).all()
            assert (rising[apart] > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_calibrated_scores_are_the_share_that_is_right(method: Method) -> None:
    """On other items than those learned from, each label by its own curve."""
    calibration = fit_calibration(boasting(4000, 0), method=method)
    other = boasting(4000, 1)
    found = calibration.apply(other)
    before = reliability(other, other.answers[0]).error
    after = reliability(other, found.answers[0]).error
    assert before > 0.15
    assert after < 0.03
    scores, labels = other.answers[0].scores, other.answers[0].labels
    wanted = np.where(labels == 1, scores / 2, scores**2)
    assert np.abs(found.answers[0].scores - wanted).mean() < 0.05


def test_scores_that_crowd_near_1_are_told_apart() -> None:
    """Scores of a network differ in their third digit, and mean different things."""
    rng = np.random.default_rng(0)
    n = 6000
    scores = 1 - 0.004 * rng.random(n)
    right = rng.random(n) < (scores - 0.996) / 0.004
    true = rng.integers(0, 2, n)
    said = np.where(right, true, 1 - true).astype(np.int32)
    recording = Recording(
        task="labels",
        items=tuple(str(i) for i in range(n)),
        names=("a", "b"),
        providers=("sure",),
        prices_usd=np.ones(1),
        answers=(Answers.of_rows(np.arange(n), n, said, scores.astype(np.float32)),),
        truth=Answers.of_rows(np.arange(n), n, true, np.ones(n, np.float32)),
    )
    train, test = recording.take(np.arange(3000)), recording.take(np.arange(3000, n))
    found = fit_calibration(train).apply(test)
    wanted = (scores[3000:] - 0.996) / 0.004
    assert np.abs(found.answers[0].scores - wanted).mean() < 0.05


def test_rare_labels_borrow_their_providers_curve() -> None:
    """With too few answers of a label, its curve is the one of all labels."""
    recording = boasting(600, 2)
    assert recording.truth is not None
    rare = np.flatnonzero(recording.answers[0].labels == 1)[:20]
    common = np.flatnonzero(recording.answers[0].labels == 0)
    part = recording.take(np.sort(np.concatenate([rare, common])))
    curves = fit_calibration(part).curves[0]
    whole = fit_calibration(recording.take(common)).curves[0]
    assert np.abs(curves[1] - whole[0]).mean() < 0.05
    assert not np.array_equal(curves[0], curves[1])


def test_isotonic_curves_pass_through_the_means_of_their_steps() -> None:
    """Three groups of scores, the first two out of order: pooled, then the third."""
    scores = np.repeat([0.2, 0.4, 0.9], 100).astype(np.float32)
    right = np.concatenate([np.arange(100) < k for k in (40, 20, 90)])
    n = len(scores)
    recording = replace(
        boasting(n, 3),
        answers=(Answers.of_rows(np.arange(n), n, np.zeros(n, np.int32), scores),),
        truth=Answers.of_rows(
            np.arange(n), n, (~right).astype(np.int32), np.ones(n, np.float32)
        ),
    )
    found = fit_calibration(recording)
    at = [0.2, 0.3, 0.6, 0.9]
    curve = np.interp(at, found.knots[0], found.curves[0, 0])
    np.testing.assert_allclose(curve[[0, 1, 3]], [0.3, 0.3, 0.9], atol=0.002)
    np.testing.assert_allclose(curve[2], 0.6, atol=0.002)


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_calibration_is_the_same(method: Method, tmp_path: Path) -> None:
    """Written to a file and read again, it gives every score as before."""
    recording = boasting(200, 4)
    calibration = fit_calibration(recording, method=method)
    write_state(tmp_path / "c.npz", calibration.state())
    again = Calibration.from_state(read_state(tmp_path / "c.npz"))
    assert again.providers == calibration.providers
    assert again.names == calibration.names
    first, second = (c.apply(recording).answers[0] for c in (calibration, again))
    assert np.array_equal(first.scores, second.scores)


def test_what_is_right_depends_on_the_task() -> None:
    """A box at IoU 0.5, a tag or label of the item; ignored entries do not count."""
    boxes = tiny_boxes()
    right, counts_it = rightness(boxes, boxes.answers[0])
    assert right.tolist() == [True, False]
    assert counts_it.all()
    at_cat = Answers.of_rows(
        np.array([1]),
        3,
        np.array([0], np.int32),
        np.array([0.5], np.float32),
        np.array([[100, 100, 140, 140]], np.float32),
    )
    assert [one.tolist() for one in rightness(boxes, at_cat)] == [[False], [False]]
    labels = tiny_labels()
    assert rightness(labels, labels.answers[0])[0].tolist() == [True, False, True]
    tags = tiny_tags()
    assert rightness(tags, tags.answers[1])[0].tolist() == [True, True, True]


def test_reliability_counts_by_hand() -> None:
    """Mean score, share right, entries and error of each bin that has any."""
    labels = tiny_labels()
    found = reliability(labels, labels.answers[0], n_bins=2)
    assert found.counts.tolist() == [3]
    assert found.scores == pytest.approx([2.2 / 3])
    assert found.shares == pytest.approx([2 / 3])
    assert found.error == pytest.approx(0.2 / 3)
    finer = reliability(labels, labels.answers[0], n_bins=4)
    assert finer.counts.tolist() == [2, 1]
    assert finer.shares.tolist() == [0.5, 1.0]
    assert finer.error == pytest.approx((2 * 0.15 + 0.1) / 3)


def test_intervals_of_shares_are_wilsons_and_cover() -> None:
    """They are inside [0, 1], narrower with more entries, and hold the true share."""
    by_hand = reliability(tiny_labels(), tiny_labels().answers[0], n_bins=1)
    assert by_hand.low == pytest.approx([0.2077], abs=1e-3)
    assert by_hand.high == pytest.approx([0.9385], abs=1e-3)
    n_covered, n_bins = 0, 0
    for seed in range(30):
        recording = boasting(1000, seed)
        only = recording.take(np.flatnonzero(recording.answers[0].labels == 0))
        bins = reliability(only, only.answers[0])
        share = bins.scores**2
        n_covered += int(((bins.low <= share) & (share <= bins.high)).sum())
        n_bins += len(share)
        assert (bins.low >= 0).all()
        assert (bins.high <= 1).all()
    assert n_covered >= 0.9 * n_bins


def test_calibration_needs_a_truth_and_the_same_layout() -> None:
    """No truth, other labels or unknown providers are errors that say so."""
    recording = tiny_labels()
    with pytest.raises(DataError, match="truth"):
        fit_calibration(replace(recording, truth=None))
    calibration = fit_calibration(recording.only(["near"]))
    with pytest.raises(DataError, match="far"):
        calibration.apply(recording)
    with pytest.raises(DataError, match="labels"):
        calibration.apply(replace(recording, names=("cat", "dog", "emu")))


def test_a_provider_that_never_answers_keeps_its_scores() -> None:
    """Without anything to learn from, a score stands for itself."""
    recording = boasting(50, 5)
    silent = replace(recording, answers=(Answers.none(50),))
    found = fit_calibration(silent).apply(recording)
    np.testing.assert_allclose(
        found.answers[0].scores, recording.answers[0].scores, atol=2e-3
    )


@pytest.mark.needs_data
@pytest.mark.parametrize("method", METHODS)
def test_detectors_scores_are_truer_and_rank_as_well(
    method: Method, data_dir: Path
) -> None:
    """On held-out VOC2007, calibration errors fall and AP50 of each detector stays."""
    folder = data_dir / "voc2007_boxes"
    recording = read_parquet(
        folder / "predictions.parquet",
        task="boxes",
        truth_file=folder / "truth.parquet",
        price_usd=0.001,
    )
    train, _, test = split_items(recording.items, 0)
    calibration = fit_calibration(recording.take(train), method=method)
    held_out = recording.take(test)
    calibrated = calibration.apply(held_out)
    for before, after in zip(held_out.answers, calibrated.answers, strict=True):
        error = reliability(held_out, after).error
        assert error < min(0.05, reliability(held_out, before).error)
        loss = set_quality(held_out, before).value - set_quality(held_out, after).value
        assert loss < 0.005


@pytest.mark.needs_data
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("name", "task"), [("pascal_tags", "tags"), ("ferplus", "labels")]
)
def test_scores_of_services_are_truer_on_items_held_out(
    name: str, task: Task, method: Method, data_dir: Path
) -> None:
    """Of tags and labels that were sold: no provider's error rises, the mean halves."""
    truth = data_dir / "mlaas" / "pascal_truth.parquet"
    recording = read_parquet(
        data_dir / "mlaas" / f"{name}.parquet",
        task=task,
        truth_file=truth if task == "tags" else None,
    )
    train, _, test = split_items(recording.items, 0)
    calibration = fit_calibration(recording.take(train), method=method)
    held_out = recording.take(test)
    calibrated = calibration.apply(held_out)
    before = [reliability(held_out, one).error for one in held_out.answers]
    after = [reliability(held_out, one).error for one in calibrated.answers]
    assert all(late < early for early, late in zip(before, after, strict=True))
    assert np.mean(after) < 0.5 * np.mean(before)


def test_a_label_that_is_also_ignored_is_right() -> None:
    """A second, doubtful mention of a true label does not take the first one back."""
    recording = tiny_tags()
    assert recording.truth is not None
    truth = Answers.of_rows(
        np.array([0, 0, 1]),
        3,
        np.array([0, 0, 1], np.int32),
        np.ones(3, np.float32),
        is_ignored=np.array([False, True, True]),
    )
    right, counts_it = rightness(replace(recording, truth=truth), recording.answers[1])
    assert right.tolist() == [True, False, False]
    assert counts_it.tolist() == [True, True, False]
