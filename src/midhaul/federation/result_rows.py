"""Rows of tables from what policies did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from midhaul.federation import tables
from midhaul.federation.calibration import reliability
from midhaul.federation.problem import members, sizes_of
from midhaul.federation.quality import class_qualities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.federation.comparison import Outcome
    from midhaul.federation.preparing import TestPart
    from midhaul.federation.problem import Recording
    from midhaul.model import Estimate

_MOST_SUBSETS = 16


def provider_rows(recording: Recording) -> list[dict[str, object]]:
    """One row for each provider."""
    rows: list[dict[str, object]] = []
    for p, provider in enumerate(recording.providers):
        answers = recording.answers[p]
        is_empty = (answers.counts == 0) & ~answers.is_missing
        rows.append(
            {
                "provider": provider,
                "price_usd": float(recording.prices_usd[p]),
                "n_missing": int(answers.is_missing.sum()),
                "n_empty": int(is_empty.sum()),
            }
        )
    return rows


def decision_table(
    configuration: int, split: int, items: Sequence[str], outcome: Outcome
) -> pa.Table:
    """What a policy did to each test item of a split, these being their ids."""
    n = len(outcome.items)
    columns: dict[str, Any] = {
        "configuration": np.full(n, configuration, np.int32),
        "split": np.full(n, split, np.int32),
        "item": list(items),
        "asked": outcome.asked,
        "first": outcome.first,
        "n_rounds": outcome.n_rounds.astype(np.int32),
        "cost_usd": outcome.cost_usd,
        "quality": outcome.item_quality,
    }
    return pa.table(columns, schema=tables.DECISIONS.schema)


def metric_rows(
    configuration: int, metrics: Sequence[tuple[str, Estimate]]
) -> list[dict[str, object]]:
    """Rows of the summary, from estimates."""
    return [
        {
            "configuration": configuration,
            "metric": metric,
            "value": _known(one.value),
            "low": _known(one.low),
            "high": _known(one.high),
            "n": one.n,
            "unit": one.unit,
            "is_model": False,
        }
        for metric, one in metrics
    ]


def plain_row(
    configuration: int, metric: str, value: float, unit: str = "", n: int = 1
) -> dict[str, object]:
    """A row of the summary without an interval."""
    return {
        "configuration": configuration,
        "metric": metric,
        "value": _known(value),
        "low": None,
        "high": None,
        "n": n,
        "unit": unit,
        "is_model": False,
    }


def call_rows(
    configuration: int, recording: Recording, outcomes: Sequence[Outcome]
) -> list[dict[str, object]]:
    """How often each provider was asked."""
    asked = np.concatenate([one.asked for one in outcomes])
    first = np.concatenate([one.first for one in outcomes])
    rows: list[dict[str, object]] = []
    for p, provider in enumerate(recording.providers):
        n_calls = int((asked >> p & 1).sum())
        rows.append(
            {
                "configuration": configuration,
                "provider": provider,
                "n_calls": n_calls,
                "n_first": int((first >> p & 1).sum()),
                "share": n_calls / len(asked),
            }
        )
    return rows


def subset_rows(
    configuration: int, recording: Recording, outcomes: Sequence[Outcome]
) -> list[dict[str, object]]:
    """The subsets that were asked most."""
    asked = np.concatenate([one.asked for one in outcomes])
    quality = np.concatenate([one.item_quality for one in outcomes])
    masks, which, counts = np.unique(asked, return_inverse=True, return_counts=True)
    means = np.bincount(which, quality) / counts
    sizes = sizes_of(masks)
    rows: list[dict[str, object]] = []
    for i in np.argsort(-counts, kind="stable")[:_MOST_SUBSETS].tolist():
        names = [recording.providers[p] for p in members(int(masks[i]))]
        rows.append(
            {
                "configuration": configuration,
                "subset": "+".join(names) or "nobody",
                "n_asked": int(sizes[i]),
                "share": float(counts[i] / len(asked)),
                "quality": float(means[i]),
            }
        )
    return rows


def class_rows(
    configuration: int, recording: Recording, outcome: Outcome
) -> list[dict[str, object]]:
    """Quality by label, over the test items of one split."""
    part = recording.take(outcome.items)
    values, support = class_qualities(part, outcome.fused)
    return [
        {
            "configuration": configuration,
            "label": recording.names[i],
            "support": int(support[i]),
            "quality": _known(float(values[i])),
        }
        for i in np.flatnonzero(support).tolist()
    ]


def reliability_rows(part: TestPart) -> list[dict[str, object]]:
    """What every provider's scores are worth, before and after calibration."""
    rows: list[dict[str, object]] = []
    for is_calibrated, recording in ((False, part.raw), (True, part.recording)):
        for p, provider in enumerate(recording.providers):
            found = reliability(recording, recording.answers[p])
            rows.extend(
                {
                    "provider": provider,
                    "is_calibrated": is_calibrated,
                    "bin": number,
                    "score": float(found.scores[number]),
                    "share_right": float(found.shares[number]),
                    "low": float(found.low[number]),
                    "high": float(found.high[number]),
                    "n": int(found.counts[number]),
                    "error": found.error,
                }
                for number in range(len(found.counts))
            )
    return rows


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
