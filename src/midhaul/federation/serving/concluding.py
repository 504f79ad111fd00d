"""What a request ends in: its answer, somebody else's answer, or none."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from midhaul.federation.serving.answer import FederatedAnswer

if TYPE_CHECKING:
    from midhaul.federation.serving.answer import AnswerStatus, Reason
    from midhaul.federation.serving.request import Request
    from midhaul.federation.serving.rounds import Rounds
    from midhaul.model import Detections, Tags


def concluded(
    request: Request,
    rounds: Rounds,
    reason: Reason,
    answer: Detections | Tags | None,
    *,
    now_s: float,
    open_breakers: tuple[str, ...],
) -> FederatedAnswer:
    """The answer to a request whose providers were asked.

    Args:
        request: with all its calls.
        rounds: that were run.
        reason: why the answer is not complete; empty where it is.
        answer: fused; None where nobody has answered.
        now_s: of the clock of the request.
        open_breakers: providers whose breaker is not closed.
    """
    is_over = answer is not None or math.isinf(request.retry_after_s)
    return FederatedAnswer(
        item=request.item,
        status=_status(reason, is_answered=answer is not None),
        reason=reason,
        answer=answer,
        rounds=tuple(rounds.names),
        calls=tuple(request.calls),
        cost_usd=math.fsum(call.price_usd for call in request.calls),
        latency_s=now_s - request.begun_s,
        open_breakers=open_breakers,
        findings=dict(rounds.findings),
        unknown_labels=tuple(dict.fromkeys(rounds.unknown)),
        retry_after_s=0.0 if is_over else request.retry_after_s,
        asked=_asked(request, rounds),
    )


def passed_on(
    made: FederatedAnswer, item: str, latency_s: float, *, is_cached: bool
) -> FederatedAnswer:
    """An answer that an earlier or an equal request has paid for.

    Args:
        made: the answer.
        item: id of the item of this request.
        latency_s: of this request.
        is_cached: false where the other request was still under way.
    """
    return replace(
        made,
        item=item,
        calls=(),
        cost_usd=0.0,
        latency_s=latency_s,
        is_cached=is_cached,
        is_shared=not is_cached,
    )


def refused(item: str, latency_s: float) -> FederatedAnswer:
    """The answer of a federation that is being closed."""
    return _nobody_asked("failed", "closing", item, latency_s)


def late(item: str, latency_s: float) -> FederatedAnswer:
    """The answer to a request that waited in line until its deadline."""
    return _nobody_asked("late", "deadline", item, latency_s)


def _nobody_asked(
    status: AnswerStatus, reason: Reason, item: str, latency_s: float
) -> FederatedAnswer:
    return FederatedAnswer(
        item=item,
        status=status,
        reason=reason,
        answer=None,
        rounds=(),
        calls=(),
        cost_usd=0.0,
        latency_s=latency_s,
    )


def _status(reason: Reason, *, is_answered: bool) -> AnswerStatus:
    if is_answered:
        return "partial" if reason else "complete"
    if reason in ("deadline", "timeouts"):
        return "late"
    return "no_budget" if reason == "budget" else "failed"


def _asked(request: Request, rounds: Rounds) -> tuple[str, ...]:
    """Who was sent something, in the order of the rounds."""
    sent = {call.provider for call in request.calls if call.is_sent}
    named = dict.fromkeys(name for names in rounds.names for name in names)
    return tuple(name for name in named if name in sent)
