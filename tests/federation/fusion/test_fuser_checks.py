"""The conformance suite of fusers: all of ours pass it, and faults are found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.federation.random_recordings import random_recording

from midhaul.errors import ConfigError, DataError
from midhaul.federation.fusion import fit_fuser, fuser_from_state, fuser_named
from midhaul.federation.fusion.checks import check_fuser

if TYPE_CHECKING:
    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.recordings.problem import Answers, Recording, Task

BOXES = (
    "nms",
    "soft_nms",
    "soft_nms_linear",
    "wbf",
    "nmw",
    "nms/consensus",
    "soft_nms/unanimous",
    "wbf/consensus",
    "nmw/unanimous",
    "stacked",
)
CASES = [
    *(("boxes", name) for name in BOXES),
    *((task, name) for task in ("tags", "labels") for name in ("vote", "stacked")),
]
ALONE = [("boxes", "wbf"), ("tags", "vote"), ("tags", "stacked"), ("labels", "stacked")]


@pytest.mark.parametrize(
    ("task", "name", "n_providers"),
    [*((*case, 3) for case in CASES), *((*case, 1) for case in ALONE)],
)
def test_every_fuser_passes(task: Task, name: str, n_providers: int) -> None:
    """Ours fuse items apart, blind to what was not asked for, and survive a file."""
    rng = np.random.default_rng(3)
    recording = random_recording(
        task, rng, n_items=40, n_providers=n_providers, missing=0.15
    )
    fuser = fit_fuser(name, recording, rng=rng)
    check_fuser(fuser, recording, from_state=fuser_from_state)


@pytest.mark.parametrize("task", ["tags", "labels"])
@pytest.mark.parametrize("name", ["vote", "stacked"])
def test_equal_scores_are_no_matter_of_order(task: Task, name: str) -> None:
    """Fusers of labels and tags pass where most scores are the same, too."""
    rng = np.random.default_rng(6)
    recording = random_recording(task, rng, n_items=40, missing=0.15)
    coarse = tuple(
        replace(one, scores=(np.ceil(one.scores * 3) / 3).astype(np.float32))
        for one in recording.answers
    )
    tied = replace(recording, answers=coarse)
    fuser = fit_fuser(name, tied, rng=rng)
    check_fuser(fuser, tied, from_state=fuser_from_state)


@pytest.mark.parametrize(("task", "name"), ALONE)
def test_nobody_answers_at_all(task: Task, name: str) -> None:
    """When every provider fails on every item, fusers pass and nothing is given."""
    rng = np.random.default_rng(6)
    recording = random_recording(task, rng, n_items=40)
    fuser = fit_fuser(name, recording, rng=rng)
    silent = tuple(one.hidden(np.ones(40, bool)) for one in recording.answers)
    check_fuser(fuser, replace(recording, answers=silent), from_state=fuser_from_state)


def test_fitting_twice_with_one_seed_gives_one_fuser() -> None:
    """Learned fusers depend on the generator that they are given, and only on it."""
    for task in ("boxes", "tags", "labels"):
        recording = random_recording(task, np.random.default_rng(8), missing=0.1)
        asked = np.full(len(recording), recording.everyone, np.int64)
        first, again = (
            fit_fuser("stacked", recording, rng=np.random.default_rng(1))
            .fuse(recording, asked)
            .scores
            for _ in range(2)
        )
        assert np.array_equal(first, again)


def test_names_that_do_not_fit_are_refused() -> None:
    """Unknown fusers, and votes on boxes, are errors that say what there is."""
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="wfb"):
        fuser_named("wfb")
    with pytest.raises(ConfigError, match="majority"):
        fuser_named("wbf/majority")
    with pytest.raises(ConfigError, match="vote"):
        fit_fuser("vote", random_recording("boxes", rng), rng=rng)
    with pytest.raises(ConfigError, match="wbf"):
        fit_fuser("wbf", random_recording("tags", rng), rng=rng)
    untold = replace(random_recording("labels", rng), truth=None)
    with pytest.raises(DataError, match="truth"):
        fit_fuser("stacked", untold, rng=rng)
    with pytest.raises(DataError, match="kind of saved fuser"):
        fuser_from_state({"fuser": "oracle"})


@dataclass(frozen=True)
class _Faulty:
    """A vote with one fault."""

    fault: str
    name: str = "faulty"

    def fuse(self, recording: Recording, asked: np.ndarray) -> Answers:
        fuser: Fuser = fuser_named("vote")
        if self.fault == "nosy":
            asked = np.where(asked > 0, recording.everyone, asked)
        fused = fuser.fuse(recording, asked)
        if self.fault == "loud":
            return replace(fused, scores=fused.scores * 2)
        if self.fault == "mixing" and len(fused.scores):
            top = np.float32(fused.scores.max())
            return replace(fused, scores=fused.scores / top)
        if self.fault == "partial":
            ranks = np.array([float(name[-1]) for name in recording.providers])
            first = int(ranks[0]) + 1
            return replace(fused, scores=(fused.scores / first).astype(np.float32))
        if self.fault == "silent":
            return fused.hidden(fused.counts > 0)
        return fused


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("nosy", "nobody"),
        ("loud", "scores"),
        ("mixing", "other items"),
        ("partial", "order"),
        ("silent", "an answer where"),
    ],
)
def test_each_fault_is_found(fault: str, told: str) -> None:
    """A fuser that breaks a promise is told which one."""
    recording = random_recording("tags", np.random.default_rng(5), missing=0.2)
    with pytest.raises(ValueError, match=told):
        check_fuser(_Faulty(fault), recording)
    check_fuser(_Faulty(""), recording)
