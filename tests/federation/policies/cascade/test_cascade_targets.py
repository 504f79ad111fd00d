"""The influence of an image on pooled AP50, held against leaving it out."""

from __future__ import annotations

import numpy as np
import pytest
from tests.federation.random_recordings import random_recording

from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.cascade.cascade import influence_on_ap50
from midhaul.federation.quality import set_quality
from midhaul.federation.recordings.problem import Answers, Recording


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_images_of_high_influence_are_those_that_raise_ap50(seed: int) -> None:
    """Taking an image's boxes away changes AP50 about as its influence says."""
    rng = np.random.default_rng(seed)
    recording = random_recording("boxes", rng, n_items=80, n_names=2)
    everyone = np.full(80, recording.everyone, np.int64)
    fused = fuser_named("wbf").fuse(recording, everyone)
    worth = influence_on_ap50(recording, [fused])[:, 0] / len(recording)
    whole = set_quality(recording, fused).value
    lost = np.zeros(80)
    for item in range(80):
        without = fused.hidden(np.arange(80) == item)
        lost[item] = whole - set_quality(recording, without).value
    assert np.corrcoef(worth, lost)[0, 1] > 0.8


def test_the_better_subset_is_worth_more() -> None:
    """The best provider's answers are worth more than the worst one's."""
    rng = np.random.default_rng(4)
    recording = random_recording("boxes", rng, n_items=120, n_providers=3)
    fuser = fuser_named("wbf")
    fused = [fuser.fuse(recording, np.full(120, 1 << p, np.int64)) for p in (0, 2)]
    worst, best = influence_on_ap50(recording, fused).mean(axis=0)
    values = [set_quality(recording, one).value for one in fused]
    assert values[0] < values[1]
    assert worst < best


def test_nothing_found_is_worth_nothing() -> None:
    """Empty answers have no influence at all."""
    recording = random_recording("boxes", np.random.default_rng(5), n_items=10)
    fused = fuser_named("wbf").fuse(recording, np.zeros(10, np.int64))
    assert (influence_on_ap50(recording, [fused]) == 0).all()


def test_one_box_of_a_rare_class_does_not_outweigh_all_others() -> None:
    """In a plain mean over two classes it would be worth as much as 60 of the other."""
    labels = np.array([1] + 60 * [0])
    boxes = np.tile(np.float32([10, 10, 60, 60]), (61, 1))
    truth = Answers.of_rows(np.arange(61), 61, labels, np.ones(61, np.float32), boxes)
    recording = Recording(
        task="boxes",
        items=tuple(str(number) for number in range(61)),
        names=("car", "bus"),
        providers=("only",),
        answers=(truth,),
        truth=truth,
        prices_usd=np.ones(1),
    )
    worth = influence_on_ap50(recording, [truth])[:, 0]
    assert worth.mean() == pytest.approx(1.0)
    assert 0 < worth[0] < 0.1 * worth.sum()
