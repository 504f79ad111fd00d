"""A learner that decides after one provider's answer, from its config to its bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tests.federation.evaluate.test_experiments import tagged

from midhaul.federation.bundle import Bundle
from midhaul.federation.evaluate import tables
from midhaul.federation.evaluate.config import TrainConfig
from midhaul.federation.evaluate.train import BUNDLE, train
from midhaul.federation.policies.base import replay
from midhaul.federation.recordings.parquet import write_parquet
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_learner_after_a_first_answer_asks_that_provider_about_everything(
    tmp_path: Path,
) -> None:
    """And it asks on where that one is unsure, with nothing known before the call."""
    write_parquet(tagged(), tmp_path / "recorded")
    values = {
        "data": {"kind": "parquet", "file": tmp_path / "recorded", "task": "labels"},
        "policy": "sac",
        "learner": {"first": "cheap", "n_steps": 2_000, "device": "auto"},
    }
    config = TrainConfig.model_validate(values, strict=False)
    run = Run.create(tmp_path, "federation.train", config)
    train(config, run, SilentProgress())
    bundle = Bundle.load(run.file(BUNDLE))
    assert bundle.features == ()
    assert bundle.calibration is not None
    shown = bundle.calibration.apply(tagged())
    nothing = np.zeros((len(shown), 0), np.float32)
    rng = np.random.default_rng(0)
    done = replay(bundle.policy, shown, nothing, bundle.fuser, rng)
    assert (done.rounds[0] == 0b001).all()
    is_sure = shown.answers[0].scores > np.median(shown.answers[0].scores)
    asks_on = done.asked != 0b001
    assert asks_on[is_sure].mean() < asks_on[~is_sure].mean()
    learning = run.read(tables.LEARNING).to_pylist()
    assert all(row["cost_usd"] >= 0.0001 for row in learning)
