"""Quality of fused answers: against plain Python, COCO's own judge, and by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.federation.random_recordings import (
    random_recording,
    recordings,
    tiny_boxes,
    tiny_labels,
    tiny_tags,
)
from tests.support.judging import pycocotools_scores

from midhaul.errors import DataError
from midhaul.federation.fusion import fuser_named
from midhaul.federation.quality import (
    class_qualities,
    item_quality,
    matches_of,
    set_quality,
    subset_qualities,
)
from midhaul.federation.recordings.problem import Answers, Recording, all_masks
from midhaul.model import Detections, GroundTruth
from midhaul.vision.judge.matching import IOU_THRESHOLDS, match

if TYPE_CHECKING:
    from midhaul.federation.recordings.problem import Task

SEEDS = st.integers(0, 2**32 - 1)
N_NAMES = 3


def coarse(seed: int, *, ignored: float, n: int = 8) -> tuple[Recording, Answers]:
    """Boxes on a coarse grid, so that scores and overlaps are often the same."""
    rng = np.random.default_rng(seed)
    base = random_recording("boxes", rng, n_items=n, n_names=N_NAMES)
    truth = _grid(rng, n, int(rng.integers(0, 5 * n)))
    truth = replace(
        truth,
        scores=np.ones_like(truth.scores),
        is_ignored=rng.random(len(truth.labels)) < ignored,
    )
    return replace(base, truth=truth), _grid(rng, n, int(rng.integers(0, 8 * n)))


def _grid(rng: np.random.Generator, n: int, m: int) -> Answers:
    corner = rng.integers(0, 4, (m, 2)) * 10.0
    size = rng.integers(1, 5, (m, 2)) * 10.0
    return Answers.of_rows(
        rng.integers(0, n, m),
        n,
        rng.integers(0, N_NAMES, m).astype(np.int32),
        (rng.integers(1, 9, m) / 8).astype(np.float32),
        np.concatenate([corner, corner + size], axis=1).astype(np.float32),
    )


def _overlap(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return width * height / (sum(areas) - width * height)


def _ranked(fused: Answers, item: int) -> list[int]:
    """An item's boxes by falling score, the first of equals first."""
    where = fused.of(item)
    return sorted(range(where.start, where.stop), key=lambda k: -float(fused.scores[k]))


def plainly_matched(
    truth: Answers, fused: Answers, item: int, threshold: float
) -> dict[int, str]:
    """What becomes of each box of an item: true, false or ignored."""
    where = truth.of(item)
    free = list(range(where.start, where.stop))
    became: dict[int, str] = {}
    for k in _ranked(fused, item):
        reached = [
            (_overlap(fused.boxes[k].tolist(), truth.boxes[g].tolist()), g)
            for g in free
            if truth.labels[g] == fused.labels[k]
        ]
        reached = [one for one in reached if one[0] >= threshold]
        real = [one for one in reached if not truth.is_ignored[one[1]]]
        if real:
            free.remove(max(real)[1])
            became[k] = "true"
        else:
            became[k] = "ignored" if reached else "false"
    return became


def plain_item_quality(truth: Answers, fused: Answers, item: int) -> float:
    """The mean over true labels of the area under the envelope of precision."""
    became = plainly_matched(truth, fused, item, 0.5)
    where = truth.of(item)
    wanted = [
        int(truth.labels[g])
        for g in range(where.start, where.stop)
        if not truth.is_ignored[g]
    ]
    if not wanted:
        wrong = [float(fused.scores[k]) for k in became if became[k] == "false"]
        return 1 - max(wrong, default=0.0)
    found: list[float] = []
    for label in set(wanted):
        hits = [
            became[k] == "true"
            for k in _ranked(fused, item)
            if fused.labels[k] == label and became[k] != "ignored"
        ]
        precisions = [sum(hits[: k + 1]) / (k + 1) for k in range(len(hits))]
        peaks = [max(precisions[k:]) for k in range(len(hits)) if hits[k]]
        found.append(sum(peaks) / wanted.count(label))
    return sum(found) / len(found)


@given(seed=SEEDS, ignored=st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=60, deadline=None)
def test_kernels_match_boxes_as_plain_python_does(seed: int, ignored: float) -> None:
    """At every threshold, each box is true, false or ignored as a simple loop says."""
    recording, fused = coarse(seed, ignored=ignored)
    assert recording.truth is not None
    matches = matches_of(recording, fused)
    order = np.lexsort((fused.items, -fused.scores, fused.labels))
    for t, threshold in enumerate(IOU_THRESHOLDS.tolist()):
        became: dict[int, str] = {}
        for item in range(len(recording)):
            became |= plainly_matched(recording.truth, fused, item, threshold)
        is_true = [became[k] == "true" for k in order.tolist()]
        is_ignored = [became[k] == "ignored" for k in order.tolist()]
        assert matches.is_true[t].tolist() == is_true
        assert matches.is_ignored[t].tolist() == is_ignored


@given(seed=SEEDS, ignored=st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=60, deadline=None)
def test_quality_of_an_image_is_its_own_precision(seed: int, ignored: float) -> None:
    """Each image has the average precision that plain Python counts."""
    recording, fused = coarse(seed, ignored=ignored)
    truth = recording.truth
    assert truth is not None
    expected = [plain_item_quality(truth, fused, i) for i in range(len(recording))]
    np.testing.assert_allclose(item_quality(recording, fused), expected, atol=1e-6)


def _as_images(
    recording: Recording, fused: Answers
) -> tuple[list[GroundTruth], list[Detections]]:
    truth, names = recording.truth, recording.names
    assert truth is not None
    truths: list[GroundTruth] = []
    found: list[Detections] = []
    for item in range(len(recording)):
        t, f = truth.of(item), fused.of(item)
        sides = truth.boxes[t][:, 2:] - truth.boxes[t][:, :2]
        truths.append(
            GroundTruth(
                boxes=truth.boxes[t],
                labels=truth.labels[t],
                is_crowd=truth.is_ignored[t],
                areas_px=sides.prod(axis=1),
                names=names,
            )
        )
        found.append(
            Detections(
                boxes=fused.boxes[f],
                scores=fused.scores[f],
                labels=fused.labels[f],
                names=names,
            )
        )
    return truths, found


@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_pooled_precision_is_that_of_pycocotools(seed: int) -> None:
    """AP50, AP, AP75 and each label's, also where scores and overlaps are equal."""
    recording, fused = coarse(seed, ignored=0.0)
    expected, by_label = pycocotools_scores(*_as_images(recording, fused))
    quality = set_quality(recording, fused)
    assert quality.ap is not None
    assert quality.ap50 is not None
    assert quality.ap75 is not None
    ones = np.ones((1, len(recording)))
    mine = [float(one(ones)[0]) for one in (quality.ap, quality.ap50, quality.ap75)]
    np.testing.assert_allclose(mine, expected[:3], atol=1e-9)
    assert quality.value == pytest.approx(mine[1], nan_ok=True)
    values, support = class_qualities(recording, fused)
    assert np.array_equal(np.isnan(values), np.isnan(by_label))
    assert np.array_equal(support > 0, ~np.isnan(by_label))


@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_boxes_are_matched_as_for_detectors(seed: int) -> None:
    """The kernel and the matching of ``vision`` agree on every box."""
    recording, fused = coarse(seed, ignored=0.0)
    mine, other = matches_of(recording, fused), match(*_as_images(recording, fused))
    for name in ("images", "labels", "scores", "is_true", "is_ignored", "support"):
        assert np.array_equal(getattr(mine, name), getattr(other, name)), name


def test_of_equal_overlaps_the_later_box_is_found() -> None:
    """As COCO has it: what the better box leaves free, the other one can find."""
    truth_boxes = np.array([[0, 0, 30, 10], [20, 0, 50, 10]], np.float32)
    boxes = np.array([[10, 0, 40, 10], [0, 0, 30, 10]], np.float32)
    one, label = np.zeros(2, np.int64), np.zeros(2, np.int32)
    truth = Answers.of_rows(one, 1, label, np.ones(2, np.float32), truth_boxes)
    fused = Answers.of_rows(one, 1, label, np.array([0.9, 0.8], np.float32), boxes)
    base = random_recording("boxes", np.random.default_rng(0), n_items=1)
    recording = replace(base, truth=truth)
    expected, _ = pycocotools_scores(*_as_images(recording, fused))
    assert expected[1] == pytest.approx(1)
    assert set_quality(recording, fused).value == pytest.approx(expected[1])
    assert item_quality(recording, fused).tolist() == [1]


@given(recording=recordings(), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_a_weight_of_two_is_an_item_that_comes_twice(
    recording: Recording, seed: int
) -> None:
    """Statistics of whole weights are those of a set with its items repeated."""
    fused = recording.answers[-1]
    n = len(recording)
    weights = np.random.default_rng(seed).integers(0, 3, n)
    weights[seed % n] += 1
    repeated = np.repeat(np.arange(n), weights)
    assert recording.truth is not None
    again = replace(
        recording,
        items=tuple(f"copy-{k}" for k in range(len(repeated))),
        answers=tuple(one.take(repeated) for one in recording.answers),
        truth=recording.truth.take(repeated),
        sizes_px=None,
        latencies_s=None,
    )
    quality = set_quality(recording, fused)
    other = set_quality(again, fused.take(repeated))
    assert quality.statistic(weights[None].astype(float))[0] == pytest.approx(
        other.value, abs=1e-9, nan_ok=True
    )
    np.testing.assert_allclose(
        item_quality(again, fused.take(repeated)),
        item_quality(recording, fused)[repeated],
    )


@given(recording=recordings())
@settings(max_examples=40, deadline=None)
def test_quality_lies_between_none_and_all(recording: Recording) -> None:
    """Everything is in [0, 1], the truth itself has 1, and the parts add up."""
    assert recording.truth is not None
    fused = recording.answers[0]
    own = item_quality(recording, fused)
    assert own.shape == (len(recording),)
    assert own.min() >= 0
    assert own.max() <= 1
    kept = ~recording.truth.is_ignored
    real = Answers.of_rows(
        recording.truth.items[kept],
        len(recording),
        recording.truth.labels[kept],
        recording.truth.scores[kept],
        recording.truth.boxes[kept],
    )
    assert (item_quality(recording, real) == 1).all()
    has_any = recording.task != "boxes" or kept.any()
    perfect = 1.0 if has_any else float("nan")
    value = set_quality(recording, real).value
    assert value == pytest.approx(perfect, nan_ok=True)
    if recording.task != "boxes":
        assert set_quality(recording, fused).value == pytest.approx(own.mean())


@given(recording=recordings(task="tags"))
@settings(max_examples=40, deadline=None)
def test_tags_have_their_jaccard_index(recording: Recording) -> None:
    """Shared over all, as sets, and F1 of each name; two empty sets agree."""
    truth, fused = recording.truth, recording.answers[0]
    assert truth is not None
    n = len(recording)
    mine = [set(fused.labels[fused.of(i)].tolist()) for i in range(n)]
    own = [set(truth.labels[truth.of(i)].tolist()) for i in range(n)]
    expected = [
        len(a & b) / len(a | b) if a | b else 1.0
        for a, b in zip(mine, own, strict=True)
    ]
    np.testing.assert_allclose(item_quality(recording, fused), expected)
    values, support = class_qualities(recording, fused)
    for name in range(len(recording.names)):
        n_true = sum(name in one for one in own)
        n_said = sum(name in one for one in mine)
        n_both = sum(name in a and name in b for a, b in zip(mine, own, strict=True))
        assert support[name] == n_true
        f1 = 2 * n_both / (n_true + n_said) if n_true else float("nan")
        assert values[name] == pytest.approx(f1, nan_ok=True)


def test_ignored_tags_count_neither_way() -> None:
    """To say them or not makes no difference, to the item or to the label."""
    recording = tiny_tags()
    assert recording.truth is not None
    # The second tag of the first item, which only "far" says, is now ignored.
    unsure = replace(
        recording,
        truth=replace(recording.truth, is_ignored=np.array([False, True, False])),
    )
    near, far = recording.answers
    assert item_quality(unsure, near).tolist() == [1, 0, 0]
    assert item_quality(unsure, far).tolist() == [1, 1, 1]
    values, support = class_qualities(unsure, far)
    assert support.tolist() == [1, 1]
    assert values.tolist() == [1, 1]


def test_ignored_boxes_count_neither_way() -> None:
    """On an image with only such a box, finding it costs nothing; another box does."""
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    recording = random_recording("boxes", np.random.default_rng(0), n_items=1)
    truth = Answers.of_rows(
        np.array([0]),
        1,
        np.zeros(1, np.int32),
        np.ones(1, np.float32),
        boxes[:1],
        is_ignored=np.array([True]),
    )
    only = replace(recording, truth=truth)

    def quality(which: list[int], scores: list[float]) -> float:
        m = len(which)
        said = np.array(scores, np.float32)
        fused = Answers.of_rows(
            np.zeros(m, np.int64), 1, np.zeros(m, np.int32), said, boxes[which]
        )
        return float(item_quality(only, fused)[0])

    assert quality([], []) == 1
    assert quality([0], [0.75]) == 1
    assert quality([1], [0.75]) == 0.25
    assert quality([0, 1], [0.75, 0.25]) == 0.75


def test_tiny_boxes_by_hand() -> None:
    """Two found and one missed of three images, and a dog where nothing is."""
    recording = tiny_boxes()
    near, far = recording.answers
    np.testing.assert_allclose(item_quality(recording, near), [1, 0, 0.4], atol=1e-6)
    np.testing.assert_allclose(item_quality(recording, far), [1, 1, 1], atol=1e-6)
    assert set_quality(recording, far).value == 1
    assert set_quality(recording, near).value == 0.5
    values, support = class_qualities(recording, near)
    assert values.tolist() == [1, 0]
    assert support.tolist() == [1, 1]


def test_tiny_labels_by_hand() -> None:
    """Right or wrong; a missing answer is wrong; recall of each label."""
    recording = tiny_labels()
    near, far = recording.answers
    assert item_quality(recording, near).tolist() == [1, 0, 1]
    assert set_quality(recording, far).value == pytest.approx(2 / 3)
    nobody = near.hidden(np.array([True, False, False]))
    assert item_quality(recording, nobody).tolist() == [0, 0, 1]
    values, support = class_qualities(recording, far)
    assert values.tolist() == [0.5, 1]
    assert support.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("task", "name"), [("boxes", "wbf"), ("tags", "vote"), ("labels", "vote")]
)
def test_subsets_are_judged_one_by_one(task: Task, name: str) -> None:
    """A column is the quality of what a subset's providers give, alone of others."""
    recording = random_recording(task, np.random.default_rng(4), missing=0.2)
    fuser, masks = fuser_named(name), all_masks(3)
    found = subset_qualities(recording, fuser, masks)
    assert found.shape == (len(recording), len(masks))
    for k, mask in enumerate(masks.tolist()):
        asked = np.full(len(recording), mask, np.int64)
        fused = fuser.fuse(recording.shown(asked), asked)
        assert np.array_equal(found[:, k], item_quality(recording, fused))


@pytest.mark.parametrize("task", ["boxes", "tags", "labels"])
def test_no_items_have_no_quality(task: Task) -> None:
    """Of nothing there is no number, and no error."""
    nothing = np.zeros(0, np.int64)
    recording = random_recording(task, np.random.default_rng(0)).take(nothing)
    fused = recording.answers[0]
    assert item_quality(recording, fused).shape == (0,)
    assert np.isnan(set_quality(recording, fused).value)


def test_quality_needs_a_truth_of_the_same_items() -> None:
    """Without one, or with other items, the error says so."""
    recording = tiny_labels()
    with pytest.raises(DataError, match="truth"):
        item_quality(replace(recording, truth=None), recording.answers[0])
    with pytest.raises(DataError, match="2 answers to 3"):
        set_quality(recording, recording.answers[0].take(np.array([0, 1])))
