"""The mode without labels: what is right by all providers, and what that costs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.baselines import fit_fixed
from midhaul.federation.policies.checks import check_examples
from midhaul.federation.policies.ensemble_labels import (
    ReferenceBill,
    as_truth,
    audited,
    with_references,
)
from midhaul.federation.quality import item_quality

if TYPE_CHECKING:
    from midhaul.federation.recordings.problem import Answers, Recording, Task

_RNG = np.random.default_rng


def _truth(recording: Recording) -> Answers:
    assert recording.truth is not None
    return recording.truth


@pytest.mark.parametrize("task", ["labels", "tags", "boxes"])
def test_everybody_is_right(task: Task) -> None:
    """By such a reference the fused answer of all is right, and everybody was paid."""
    fuser = fuser_named("wbf" if task == "boxes" else "vote")
    recording = check_examples(task, fuser, _RNG(0), n_items=80).recording
    judged, bill = with_references(recording, fuser, min_score=0.0)
    asked = np.full(80, recording.everyone)
    quality = item_quality(judged, fuser.fuse(recording.shown(asked), asked))
    # An item that nobody answered has no reference.
    answered = ~_truth(judged).is_missing & (_truth(judged).counts > 0)
    assert answered.mean() > 0.9
    assert quality[answered] == pytest.approx(1.0)
    assert (_truth(judged).scores == 1).all()
    assert bill.n_calls.tolist() == [80, 80, 80]
    assert bill.total_usd == pytest.approx(80 * recording.prices_usd.sum())


def test_truth_is_not_looked_at() -> None:
    """The references are the same whatever people said."""
    fuser = fuser_named("vote")
    recording = check_examples("labels", fuser, _RNG(0)).recording
    first, _ = with_references(recording, fuser)
    second, _ = with_references(replace(recording, truth=None), fuser)
    assert np.array_equal(_truth(first).labels, _truth(second).labels)


def test_weak_boxes_are_no_reference() -> None:
    """Boxes below the score are left out, labels never."""
    fuser = fuser_named("wbf")
    recording = check_examples("boxes", fuser, _RNG(0)).recording
    weak, _ = with_references(recording, fuser, min_score=0.0)
    strong, _ = with_references(recording, fuser, min_score=0.6)
    assert 0 < len(_truth(strong).labels) < len(_truth(weak).labels)
    labels = check_examples("labels", fuser_named("vote"), _RNG(0)).recording
    judged, _ = with_references(labels, fuser_named("vote"), min_score=2.0)
    assert (_truth(judged).counts[~_truth(judged).is_missing] == 1).all()


def test_audits_cost_their_share() -> None:
    """A share of the items is audited, and only those are paid."""
    fuser = fuser_named("vote")
    recording = check_examples("labels", fuser, _RNG(0), n_items=2000).recording
    part, chosen, bill = audited(recording, fuser, 0.2, _RNG(1))
    assert len(part) == len(chosen) == pytest.approx(400, abs=60)
    assert part.items == tuple(recording.items[i] for i in chosen)
    assert bill.total_usd == pytest.approx(len(part) * recording.prices_usd.sum())


def test_bills_add_up() -> None:
    """Bills of different providers add up by name."""
    first = ReferenceBill(
        providers=("a", "b"), n_calls=np.array([2, 3]), usd=np.array([0.2, 0.3])
    )
    second = ReferenceBill(
        providers=("b", "c"), n_calls=np.array([1, 5]), usd=np.array([0.1, 0.5])
    )
    both = first + second
    assert both.providers == ("a", "b", "c")
    assert both.n_calls.tolist() == [2, 4, 5]
    assert both.total_usd == pytest.approx(1.1)


def test_learning_from_references_keeps_most() -> None:
    """A subset chosen by references has nearly the true quality of the best one."""
    fuser = fuser_named("vote")
    examples = check_examples("labels", fuser, _RNG(3), n_items=800)
    judged, _ = with_references(examples.recording, fuser)
    taught = replace(examples, recording=judged)
    truth, taught_by = fit_fixed(examples), fit_fixed(taught)
    rate = 50.0
    worths = truth.qualities - rate * truth.costs_usd
    chosen = taught_by.at(rate).mask
    assert worths[truth.masks == chosen] > worths.max() - 0.05


def test_scores_of_a_truth_are_one() -> None:
    """Entries that are kept count fully."""
    fuser = fuser_named("vote")
    recording = check_examples("tags", fuser, _RNG(0)).recording
    truth = as_truth(recording.answers[0], 0.5)
    assert (truth.scores == 1).all()
    assert len(truth) == len(recording)
