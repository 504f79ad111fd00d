"""From recorded answers to what policies learn from: splits, calibration, fusion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.calibration import fit_calibration
from midhaul.federation.fusion import fit_fuser, fuser_named
from midhaul.federation.policies.base import Examples
from midhaul.federation.policies.references import with_references
from midhaul.federation.splits import split_items

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32, Int64

    from midhaul.federation.calibration import Calibration
    from midhaul.federation.config import Reference
    from midhaul.federation.config_parts import FusionConfig
    from midhaul.federation.fusion import SavedFuser
    from midhaul.federation.policies.references import ReferenceBill
    from midhaul.federation.problem import Recording

_FEWEST_ITEMS = 4
_REFERENCE_FUSERS = {"boxes": "wbf", "tags": "vote", "labels": "vote"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """One split of the items, ready to learn from.

    Attributes:
        train: what policies are learned on; scores are calibrated.
        calibration: what budgets are calibrated on.
        scores: how scores were calibrated; None where they were not.
        fuser: fitted on the training items.
        bill: what the references cost; None where people said what is right.
    """

    train: Examples
    calibration: Examples
    scores: Calibration | None
    fuser: SavedFuser
    bill: ReferenceBill | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TestPart:
    """Items that nothing was learned on.

    Attributes:
        items: ``(k,)`` their numbers in the whole recording.
        raw: as the providers answered.
        recording: with calibrated scores.
        features: ``(k, d)``.
    """

    items: Int64[np.ndarray, " k"]
    raw: Recording
    recording: Recording
    features: Float32[np.ndarray, "k d"]


def prepare(
    train: Recording,
    calibration: Recording,
    features: Sequence[Float32[np.ndarray, "n d"]],
    fusion: FusionConfig,
    reference: Reference,
    rng: np.random.Generator,
) -> Prepared:
    """Fit what is fitted before any policy, on the training items alone.

    Args:
        train: items to learn from.
        calibration: items to calibrate budgets on.
        features: of both.
        fusion: how answers are fused.
        reference: what is taken for the truth.
        rng: of the fit.

    Raises:
        DataError: there is no truth, or there are too few items.
    """
    for what, part in (("training", train), ("calibration", calibration)):
        if len(part) < _FEWEST_ITEMS:
            message = f"the {what} part has {len(part)} items, {_FEWEST_ITEMS} at least"
            raise DataError(message, "take more items, or other shares")
    bill = None
    if reference == "ensemble":
        teacher = fuser_named(_REFERENCE_FUSERS[train.task], iou=fusion.iou)
        train, bill = with_references(train, teacher)
        calibration, more = with_references(calibration, teacher)
        bill += more
    elif train.truth is None:
        message = "the recording has no truth to learn from"
        raise DataError(
            message, 'name its file in data.truth, or reference = "ensemble"'
        )
    scores = None
    if fusion.calibration != "none":
        scores = fit_calibration(train, method=fusion.calibration)
        train, calibration = scores.apply(train), scores.apply(calibration)
    fuser = fit_fuser(fusion.name, train, rng=rng, iou=fusion.iou)
    return Prepared(
        train=Examples(recording=train, features=features[0], fuser=fuser),
        calibration=Examples(recording=calibration, features=features[1], fuser=fuser),
        scores=scores,
        fuser=fuser,
        bill=bill,
    )


def split_three(
    recording: Recording,
    features: Float32[np.ndarray, "n d"],
    fusion: FusionConfig,
    reference: Reference,
    shares: Sequence[float],
    seed: int,
) -> tuple[Prepared, TestPart]:
    """Training, calibration and test items by hash, and what is fitted on the first.

    Args:
        recording: all items.
        features: of all items.
        fusion: how answers are fused.
        reference: what is taken for the truth while learning.
        shares: of the three parts.
        seed: of the split and the fits.
    """
    train, calibration, test = split_items(recording.items, seed, shares)
    prepared = prepare(
        recording.take(train),
        recording.take(calibration),
        (features[train], features[calibration]),
        fusion,
        reference,
        np.random.default_rng([seed, 1]),
    )
    if len(test) < _FEWEST_ITEMS:
        message = f"the test part has {len(test)} items, {_FEWEST_ITEMS} at least"
        raise DataError(message, "take more items, or other shares")
    raw = recording.take(test)
    shown = raw if prepared.scores is None else prepared.scores.apply(raw)
    part = TestPart(
        items=test,
        raw=raw,
        recording=replace(shown, truth=raw.truth),
        features=features[test],
    )
    return prepared, part
