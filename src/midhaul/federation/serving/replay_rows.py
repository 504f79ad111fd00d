"""Rows of a replay under faults: each request, and each policy in each phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.problem import Answers
from midhaul.model import Detections
from midhaul.stats import claimed_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64

    from midhaul.federation.problem import Recording
    from midhaul.federation.serving.answer import FederatedAnswer
    from midhaul.federation.serving.fault_plan import Phase
    from midhaul.federation.serving.replay import FaultReplay


def qualities_of(
    replay: FaultReplay, recording: Recording
) -> Float64[np.ndarray, " r"]:
    """Quality of each request's answer, 0 to 1; NaN where there is none.

    Args:
        replay: of this recording.
        recording: with a truth.
    """
    from midhaul.federation.quality import item_quality  # noqa: PLC0415 - loads numba

    n, r = len(recording), len(replay.answers)
    found = np.full(r, np.nan)
    for begin in range(0, r, n):  # an item comes once in each pass over the recording
        rows = np.arange(begin, min(begin + n, r))
        part = recording.take(replay.items[rows])
        fused = _as_answers([replay.answers[row] for row in rows.tolist()])
        found[rows] = np.where(fused.is_missing, np.nan, item_quality(part, fused))
    return found


def request_rows(
    replay: FaultReplay,
    recording: Recording,
    phases: Sequence[Phase],
    qualities: Float64[np.ndarray, " r"],
) -> list[dict[str, object]]:
    """Rows of the table ``fault_requests``.

    Args:
        replay: of this recording and these phases.
        recording: that was replayed.
        phases: what went wrong when.
        qualities: of :func:`qualities_of`.
    """
    which = _phase_of(replay, phases)
    rows: list[dict[str, object]] = []
    for number, answer in enumerate(replay.answers):
        sent = [call for call in answer.calls if not call.not_sent]
        quality = float(qualities[number])
        rows.append(
            {
                "policy": replay.policy,
                "phase": phases[which[number]].name,
                "number": number,
                "item": recording.items[replay.items[number]],
                "arrival_s": float(replay.arrivals_s[number]),
                "latency_s": answer.latency_s,
                "status": answer.status,
                "reason": answer.reason,
                "n_rounds": len(answer.rounds),
                "n_calls": len(sent),
                "n_failed": sum(call.status != "ok" for call in sent),
                "asked": "+".join(answer.asked),
                "cost_usd": answer.cost_usd,
                "quality": None if np.isnan(quality) else quality,
            }
        )
    return rows


def summary_rows(
    replay: FaultReplay,
    phases: Sequence[Phase],
    qualities: Float64[np.ndarray, " r"],
) -> list[dict[str, object]]:
    """Rows of the table ``fault_summary``; phases without a request are left out.

    Args:
        replay: of these phases.
        phases: what went wrong when.
        qualities: of :func:`qualities_of`.
    """
    which = _phase_of(replay, phases)
    rows: list[dict[str, object]] = []
    for number, phase in enumerate(phases):
        requests = np.flatnonzero(which == number)
        if len(requests):
            rows.append(
                {
                    "policy": replay.policy,
                    "phase": phase.name,
                    "begins_s": phase.begins_s,
                    "ends_s": phase.ends_s,
                    **_summary(
                        [replay.answers[row] for row in requests.tolist()],
                        qualities[requests],
                    ),
                }
            )
    return rows


def _summary(
    answers: Sequence[FederatedAnswer], qualities: Float64[np.ndarray, " k"]
) -> dict[str, Any]:
    is_answered = np.array([answer.is_answered for answer in answers])
    waits_s = np.array([answer.latency_s for answer in answers])
    # Without an answer a request waited at least as long as any that has one.
    longest_s = float(waits_s.max())
    waits_s[~is_answered] = longest_s
    calls = [call for one in answers for call in one.calls if not call.not_sent]
    n_failed = sum(call.status != "ok" for call in calls)
    good = qualities[is_answered]
    return {
        "n_requests": len(answers),
        "answered": float(is_answered.mean()),
        "complete": float(np.mean([one.status == "complete" for one in answers])),
        **{
            f"latency_p{percentile}_s": _known(
                claimed_quantile(waits_s, percentile / 100)
            )
            for percentile in (50, 95, 99)
        },
        "latency_known_below_s": None if is_answered.all() else longest_s,
        "quality": float(np.where(is_answered, qualities, 0.0).mean()),
        "quality_answered": float(good.mean()) if len(good) else None,
        "cost_usd": float(np.mean([answer.cost_usd for answer in answers])),
        "n_calls": len(calls) / len(answers),
        "failed_calls": n_failed / len(calls) if calls else 0.0,
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _phase_of(replay: FaultReplay, phases: Sequence[Phase]) -> np.ndarray:
    begins = np.array([phase.begins_s for phase in phases])
    return np.searchsorted(begins, replay.arrivals_s, side="right") - 1


def _as_answers(answers: Sequence[FederatedAnswer]) -> Answers:
    """The answers to several requests as one struct of arrays."""
    given = [(i, one.answer) for i, one in enumerate(answers) if one.answer is not None]
    boxes = [
        one.boxes
        if isinstance(one, Detections)
        else np.zeros((len(one), 4), np.float32)
        for _, one in given
    ]
    is_missing = np.ones(len(answers), bool)
    is_missing[[i for i, _ in given]] = False
    return Answers.of_rows(
        np.repeat([i for i, _ in given], [len(one) for _, one in given]).astype(
            np.int64
        ),
        len(answers),
        np.concatenate([one.labels for _, one in given] or [np.zeros(0, np.int32)]),
        np.concatenate([one.scores for _, one in given] or [np.zeros(0, np.float32)]),
        np.concatenate(boxes or [np.zeros((0, 4), np.float32)]),
        is_missing=is_missing,
    )
