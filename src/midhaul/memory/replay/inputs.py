"""What an experiment is made of: the stream, and selectors and rules by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import DataError
from midhaul.memory.predictors.mlp import WAYS, MlpPredictor
from midhaul.memory.replaying import Learner
from midhaul.memory.retraining.catalogue import RULES
from midhaul.memory.retraining.worth import RetrainingCost, WorthIt
from midhaul.memory.samples import Bins
from midhaul.memory.selectors.catalogue import SELECTORS
from midhaul.memory.sources.drawn_stream import drawn_stream
from midhaul.memory.sources.puffer import puffer_days
from midhaul.memory.sources.streams import StreamSet, cellular_stream, puffer_stream
from midhaul.memory.sources.table import SampleColumns, table_stream
from midhaul.memory.sources.traffic import traffic_stream
from midhaul.runs.section import value_of

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.memory.replay.config import (
        ColumnsConfig,
        RetrainConfig,
        SampleMemoryConfig,
        SeveralMemoriesConfig,
        StreamConfig,
    )
    from midhaul.memory.retraining.base import RetrainRule
    from midhaul.memory.selectors.base import Selector

_FEWEST = 2


def stream_of(config: StreamConfig, seed: int) -> StreamSet:
    """The stream that a config describes, cut by a seed.

    DataError if its files cannot be read, or have too few periods.
    """
    found = _read(config, seed)
    if len(found.periods) < _FEWEST:
        message = f"{found.name}: a replay needs 2 periods, found {len(found.periods)}"
        raise DataError(message, "a model is trained after one and tested on the next")
    return found


def _read(config: StreamConfig, seed: int) -> StreamSet:
    folder, file = cast("Path", config.dir), cast("Path", config.file)
    shift: Any = config.shift
    if config.kind == "drawn":
        return drawn_stream(
            shift=shift,
            n_periods=config.n_periods,
            n_sessions=config.n_sessions,
            seed=seed,
        )
    if config.kind == "puffer-gaps":
        return puffer_stream(folder, seed=seed, share=config.share)
    if config.kind == "cellular":
        return cellular_stream(file, shift=shift, seed=seed)
    if config.kind == "puffer":
        return puffer_days(folder, horizon=config.horizon)
    if config.kind == "traffic":
        return traffic_stream(config.runs, pattern=shift)
    bins = Bins(edges=np.array(config.edges, float)) if config.edges else None
    columns = value_of(SampleColumns, cast("ColumnsConfig", config.columns))
    return table_stream(file, columns, n_periods=config.n_periods, bins=bins)


def selector_of(
    config: SampleMemoryConfig, bins: Bins, learner: Learner, seed: int
) -> Selector:
    """The selector that a config describes."""
    told = {
        **config.told(),
        "capacity": config.most,
        "bins": bins,
        "seed": seed,
        "slow_from": learner.slow_from,
        "predictors": (learner.predictor,) * config.members,
    }
    return cast("Selector", SELECTORS.called(config.selector, **told))


def rule_of(config: RetrainConfig, learner: Learner) -> RetrainRule:
    """The rule that a config describes."""
    rule = cast("RetrainRule", RULES.called(config.rule, **config.told()))
    if config.worth is None:
        return rule
    cost = value_of(RetrainingCost, config.worth)
    return WorthIt(rule=rule, predictor=learner.predictor, cost=cost)


def learner_of(config: SeveralMemoriesConfig, bins: Bins) -> Learner:
    """How models are trained, and what is done with what they say."""
    settings = WAYS[config.fit.way]
    if config.fit.way == "steps":
        from dataclasses import replace  # noqa: PLC0415

        settings = replace(settings, n_steps=config.fit.n_steps)
    return Learner(
        predictor=MlpPredictor(bins, settings),
        correction=config.fit.correction,
        most_worse=config.fit.most_worse,
        least_uniform=config.smooth.least_uniform,
        n_smoothing=config.smooth.n_periods,
        slow_from=config.slow_from,
    )
