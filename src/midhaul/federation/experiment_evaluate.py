"""federation.evaluate: what happens when a file of that kind is run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation import result_rows, tables
from midhaul.federation.bundle import Bundle
from midhaul.federation.comparison import Outcome, judge
from midhaul.federation.evaluation import Replay, replay, replay_of
from midhaul.federation.inputs import features_of, recording_of
from midhaul.federation.line_up import Contender, line_up
from midhaul.federation.policies.budgets import calibrate
from midhaul.federation.policies.catalogue import fit_policy
from midhaul.federation.preparing import split_three
from midhaul.federation.summarising import summarise
from midhaul.federation.worked_examples import write_examples
from midhaul.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float32

    from midhaul.federation.config import EvaluateConfig
    from midhaul.federation.policies.base import SubsetPolicy
    from midhaul.federation.preparing import Prepared, TestPart
    from midhaul.federation.problem import Recording
    from midhaul.runs.progress import Progress, Task
    from midhaul.runs.run import Run

_PARTS_A_SPLIT = 10_000


def evaluate(config: EvaluateConfig, run: Run, progress: Progress) -> None:
    """Learn every policy on some items and judge it on others, over several splits.

    What a policy did to the test items of a split is written as soon as it is known; a
    run that is resumed reads it instead of learning that policy again.

    Args:
        config: the experiment.
        run: the run to fill, new or resumed.
        progress: where to tell how far it is.

    Raises:
        MidhaulError: the data are not what they should be, or a policy cannot be had.
    """
    recording = recording_of(config.data, config.seed, progress)
    features, _ = features_of(config.features, recording, progress)
    run.write(tables.PROVIDERS, result_rows.provider_rows(recording), part=0)
    trained = [Bundle.load(file) for file in config.trained]
    for bundle in trained:
        bundle.check_fits(recording)
    contenders = line_up(config, recording, trained)
    run.write(tables.CONFIGURATIONS, [one.row() for one in contenders], part=0)
    outcomes: dict[int, list[Outcome]] = {one.number: [] for one in contenders}
    total = config.n_seeds * len(contenders)
    with progress.task("learning and judging", total=total) as task:
        for split in range(config.n_seeds):
            seed = config.seed * 1000 + split
            prepared, part = split_three(
                recording,
                features,
                config.fusion,
                config.reference,
                config.shares,
                seed,
            )
            one = _Split(
                config=config,
                run=run,
                number=split,
                seed=seed,
                prepared=prepared,
                part=part,
                trained=trained,
            )
            for number, outcome in one.judge_all(contenders, task).items():
                outcomes[number].append(outcome)
            if split == 0:
                one.write_reliability()
                _write_examples(config, run, one, contenders, outcomes)
    summarise(config, run, recording, contenders, outcomes, progress)
    run.verdict = Verdict()
