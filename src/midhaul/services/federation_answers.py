"""What a federation answers over HTTP: JSON, and the status that goes with it."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from midhaul.model import Detections

if TYPE_CHECKING:
    from midhaul.federation.serving import FederatedAnswer
    from midhaul.model import Tags

_CODES = {"complete": 200, "partial": 200, "no_budget": 402, "failed": 502, "late": 504}
_CLOSING = 503
_DIGITS = 5
_S_DIGITS = 6


def status_of(answer: FederatedAnswer) -> int:
    """The HTTP status of an answer."""
    return _CLOSING if answer.reason == "closing" else _CODES[answer.status]


def headers_of(answer: FederatedAnswer) -> list[tuple[bytes, bytes]]:
    """``Retry-After``, where somebody knows when to ask again."""
    if answer.retry_after_s <= 0:
        return []
    return [(b"retry-after", str(math.ceil(answer.retry_after_s)).encode())]


def json_of(answer: FederatedAnswer) -> dict[str, Any]:
    """Everything that there is to say about an answer."""
    return {
        "item": answer.item,
        "status": answer.status,
        "reason": answer.reason,
        "answer": None if answer.answer is None else entries_of(answer.answer),
        "asked": list(answer.asked),
        "rounds": [list(names) for names in answer.rounds],
        "calls": [
            {
                **asdict(call),
                "wait_s": round(call.wait_s, _S_DIGITS),
                "latency_s": round(call.latency_s, _S_DIGITS),
            }
            for call in answer.calls
        ],
        "cost_usd": answer.cost_usd,
        "latency_s": round(answer.latency_s, _S_DIGITS),
        "is_cached": answer.is_cached,
        "is_shared": answer.is_shared,
        "open_breakers": list(answer.open_breakers),
        "findings": dict(answer.findings),
        "unknown_labels": [list(pair) for pair in answer.unknown_labels],
        "retry_after_s": answer.retry_after_s,
    }


def entries_of(answer: Detections | Tags) -> list[dict[str, Any]]:
    """Labels with their scores, and boxes in px where there are any."""
    names, scores = answer.names, answer.scores.tolist()
    found: list[dict[str, Any]] = [
        {"label": names[label], "score": round(score, _DIGITS)}
        for label, score in zip(answer.labels.tolist(), scores, strict=True)
    ]
    if isinstance(answer, Detections):
        for entry, box in zip(found, answer.boxes.tolist(), strict=True):
            entry["box"] = [round(corner, 2) for corner in box]
    return found
