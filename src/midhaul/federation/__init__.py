"""COMBINE: several priced inference providers behind one policy.

Problem types and what judges them stand here; whom to ask in ``policies``, how answers
become one in ``fusion``, who is asked in ``providers``, who answers in ``serving``,
and what packets tell in ``latency``. Names are imported when they are first used,
because configs must load where the libraries that learn are not installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midhaul.federation.budget import BudgetGuard
    from midhaul.federation.bundle import Bundle
    from midhaul.federation.calibration import Calibration, fit_calibration
    from midhaul.federation.config import EvaluateConfig, TrainConfig
    from midhaul.federation.evaluation import Replay, replay
    from midhaul.federation.experiment_evaluate import evaluate
    from midhaul.federation.experiment_train import train
    from midhaul.federation.fusion import fit_fuser, fuser_named
    from midhaul.federation.ledger import Ledger
    from midhaul.federation.policies.base import Examples, Situation
    from midhaul.federation.policies.budgets import calibrate
    from midhaul.federation.policies.catalogue import fit_policy
    from midhaul.federation.prices import PriceList
    from midhaul.federation.problem import Answers, Recording
    from midhaul.federation.quality import (
        item_quality,
        set_quality,
        subset_qualities,
    )
    from midhaul.federation.readers import RecordingSource, open_recording
    from midhaul.federation.splits import split_items
    from midhaul.federation.vocabulary import Vocabulary, read_vocabulary

__all__ = [
    "Answers",
    "BudgetGuard",
    "Bundle",
    "Calibration",
    "EvaluateConfig",
    "Examples",
    "Ledger",
    "PriceList",
    "Recording",
    "RecordingSource",
    "Replay",
    "Situation",
    "TrainConfig",
    "Vocabulary",
    "calibrate",
    "evaluate",
    "fit_calibration",
    "fit_fuser",
    "fit_policy",
    "fuser_named",
    "item_quality",
    "open_recording",
    "read_vocabulary",
    "replay",
    "set_quality",
    "split_items",
    "subset_qualities",
    "train",
]

_MODULES = {
    "Answers": "problem",
    "BudgetGuard": "budget",
    "Bundle": "bundle",
    "Calibration": "calibration",
    "EvaluateConfig": "config",
    "Examples": "policies.base",
    "Ledger": "ledger",
    "PriceList": "prices",
    "Recording": "problem",
    "RecordingSource": "readers",
    "Replay": "evaluation",
    "Situation": "policies.base",
    "TrainConfig": "config",
    "Vocabulary": "vocabulary",
    "calibrate": "policies.budgets",
    "evaluate": "experiment_evaluate",
    "fit_calibration": "calibration",
    "fit_fuser": "fusion",
    "fit_policy": "policies.catalogue",
    "fuser_named": "fusion",
    "item_quality": "quality",
    "open_recording": "readers",
    "read_vocabulary": "vocabulary",
    "replay": "evaluation",
    "set_quality": "quality",
    "split_items": "splits",
    "subset_qualities": "quality",
    "train": "experiment_train",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return getattr(module, name)
