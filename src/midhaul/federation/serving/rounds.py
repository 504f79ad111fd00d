"""Rounds of a request: asking until the policy is content, and fallbacks at the end.

Where nobody has answered at all in the end, others are tried in a fixed order.

A request *ends* in its answer, somebody else's answer, or none.

*Answers* of providers are parsed into the words of one label set, and what was odd
about them is counted.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.recordings.cleaning import clean_answer
from midhaul.federation.recordings.problem import Answers, members
from midhaul.federation.recordings.vocabulary import UNKNOWN
from midhaul.federation.serving.request import FederatedAnswer
from midhaul.model import Detections, Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float64

    from midhaul.federation.policies.base import Situation
    from midhaul.federation.recordings.cleaning import CleaningRules
    from midhaul.federation.recordings.findings import FindingCounter
    from midhaul.federation.recordings.problem import Task
    from midhaul.federation.recordings.vocabulary import Vocabulary
    from midhaul.federation.serving.caller import Caller
    from midhaul.federation.serving.request import (
        AnswerStatus,
        Call,
        FederationRequest,
        Reason,
    )
    from midhaul.federation.serving.trained_parts import Sheet
    from midhaul.model import Prediction

_SHORTEST_S = 1e-3
_NEARLY = 0.9
"""Share of a time-out after which it is the provider's own: timers are not exact."""
_WITHOUT_BOXES = "boxes are wanted, and the answer has none"


class Rounds:
    """Asks providers about one item.

    Callers are in the order of the policy's bits; ``sheet`` and ``request`` grow.
    """

    def __init__(
        self,
        callers: Sequence[Caller],
        reader: AnswerParser,
        sheet: Sheet,
        request: FederationRequest,
        *,
        size_px: tuple[float, float] | None,
        clock: Callable[[], float],
    ) -> None:
        self._callers = callers
        self._reader = reader
        self._sheet = sheet
        self._request = request
        self._size_px = size_px
        self._clock = clock
        self._failed: list[str] = []
        self.names: list[tuple[str, ...]] = []
        self.findings: Counter[str] = Counter()
        self.unknown: list[tuple[str, str]] = []

    async def run(self, rng: np.random.Generator, fallback: Sequence[int]) -> Reason:
        """Ask until the policy is content, or the time is over.

        A provider that failed, or could not be asked, stays marked as asked with no
        answer when the policy is asked again. Where nobody has answered in the end,
        others are tried one after another. Gives why the answer is not complete; empty
        where it is.
        """
        while chosen := self._sheet.decide(rng):
            if self._is_late:
                return "deadline"
            await self._ask(chosen)
        if self._sheet.n_answered:
            return self._why_incomplete()
        for number in fallback:
            if self._is_late:
                return "deadline"
            if not self._sheet.asked >> number & 1:
                await self._ask(1 << number)
            if self._sheet.n_answered:
                return "fallback"
        return self._why_incomplete()

    @property
    def _is_late(self) -> bool:
        return self._request.deadline_s - self._clock() < _SHORTEST_S

    async def _ask(self, mask: int) -> None:
        """One round: all of these at the same time."""
        numbers = members(mask)
        self._request.round += 1
        self._sheet.asked |= mask
        self.names.append(tuple(self._callers[n].name for n in numbers))
        if len(numbers) == 1:
            found = [await self._callers[numbers[0]].call(self._request)]
        else:
            async with asyncio.TaskGroup() as group:
                calls = [
                    group.create_task(self._callers[n].call(self._request))
                    for n in numbers
                ]
            found = [call.result() for call in calls]
        for number, prediction in zip(numbers, found, strict=True):
            self._take_in(number, prediction)

    def blameless(self, situation: Situation) -> Situation:
        """The end, as those learn from it who want to know how good providers are.

        Who was sent nothing for want of money, time or places, or had less time than
        the provider is given, counts as not asked: it did not fail.
        """
        calls = self._request.calls
        mask = 0
        for number, caller in enumerate(self._callers):
            mine = [call for call in calls if call.provider == caller.name]
            if caller.name in self._failed and not any(
                _is_its_own(call, caller.settings.timeout_s) for call in mine
            ):
                mask |= 1 << number
        return replace(situation, asked=situation.asked & ~mask)

    def _take_in(self, number: int, prediction: Prediction) -> None:
        if prediction.answer is None:
            self._failed.append(prediction.provider)
            return
        read = self._reader.read(
            prediction.answer,
            provider=prediction.provider,
            item=self._request.item,
            size_px=self._size_px,
            n_dropped=prediction.n_dropped,
        )
        if read is None:
            self.findings[f"{prediction.provider}: {_WITHOUT_BOXES}"] += 1
            self._failed.append(prediction.provider)
            return
        self.findings.update(read.findings)
        self.unknown += [(prediction.provider, word) for word in read.unknown]
        self._sheet.put(number, read.answers)

    def _why_incomplete(self) -> Reason:
        if not self._failed:
            return ""
        if self._is_late:
            return "deadline"
        calls = [c for c in self._request.calls if c.provider in self._failed]
        sent = {c.provider: c.status for c in calls if c.is_sent}
        if sent and all(status == "timeout" for status in sent.values()):
            return "timeouts"
        last = {c.provider: c.not_sent for c in calls}
        if all(why == "budget" for why in last.values()):
            return "budget"
        is_late = not sent and set(last.values()) <= {"budget", "limits", "deadline"}
        return "deadline" if is_late else "failures"


def _is_its_own(call: Call, timeout_s: float) -> bool:
    """Whether how a call ended says something about the provider."""
    if call.not_sent or call.status == "cancelled":
        return call.not_sent == "breaker"
    return call.status != "timeout" or call.latency_s >= _NEARLY * timeout_s


def fallback_order(
    providers: Sequence[str],
    said: Sequence[str] | None,
    prices_usd: Float64[np.ndarray, " p"],
) -> list[int]:
    """Whom to try where nobody has answered, as said or by rising price."""
    if said is None:
        return np.argsort(prices_usd, kind="stable").tolist()
    return [providers.index(name) for name in said]


def concluded(
    request: FederationRequest,
    rounds: Rounds,
    reason: Reason,
    answer: Detections | Tags | None,
    *,
    now_s: float,
    open_breakers: tuple[str, ...],
) -> FederatedAnswer:
    """The answer to a request whose providers were asked, perhaps in vain."""
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

    It is not cached where that request was still under way.
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


def _asked(request: FederationRequest, rounds: Rounds) -> tuple[str, ...]:
    """Who was sent something, in the order of the rounds."""
    sent = {call.provider for call in request.calls if call.is_sent}
    named = dict.fromkeys(name for names in rounds.names for name in names)
    return tuple(name for name in named if name in sent)


_NO_FINDINGS: dict[str, int] = {}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Read:
    """One provider's answer to one item, ready to be fused.

    Attributes:
        answers: of one item; missing where nothing usable was answered.
        findings: oddities by ``provider: reason``, with their numbers.
        unknown: words that the vocabulary does not know.
    """

    answers: Answers
    findings: dict[str, int]
    unknown: tuple[str, ...]


class AnswerParser:
    """Brings answers of live calls into order, and counts all oddities."""

    def __init__(
        self,
        task: Task,
        vocabulary: Vocabulary,
        rules: CleaningRules | None,
        tally: FindingCounter,
    ) -> None:
        self._task: Task = task
        self._vocabulary = vocabulary
        self._rules = rules
        self._tally = tally

    def read(
        self,
        answer: Detections | Tags,
        *,
        provider: str,
        item: str,
        size_px: tuple[float, float] | None,
        n_dropped: int = 0,
    ) -> Read | None:
        """One answer in the label set of the federation.

        None where it has no boxes that are wanted. ``n_dropped`` entries of it could
        not be read.
        """
        is_boxes = isinstance(answer, Detections)
        if self._task == "boxes" and not is_boxes:
            return None
        used = _with_used_names(answer)
        if self._task != "boxes" and isinstance(used, Detections):
            used = Tags(scores=used.scores, labels=used.labels, names=used.names)
        before = dict(self._tally.counts)
        self._tally.see(provider, entries=n_dropped)
        self._tally.add(provider, "unreadable entry", n_dropped, [item])
        cleaned = clean_answer(
            used,
            self._vocabulary,
            self._rules,
            provider=provider,
            item=item,
            tally=self._tally,
            size_px=size_px,
        )
        answers = self._as_answers(cleaned, provider, item)
        if before == self._tally.counts:
            return Read(answers=answers, findings=_NO_FINDINGS, unknown=())
        findings = {
            f"{provider}: {reason}": count - before.get((whose, reason), 0)
            for (whose, reason), count in self._tally.counts.items()
            if whose == provider and count > before.get((whose, reason), 0)
        }
        return Read(
            answers=answers, findings=findings, unknown=self._unknown(used, provider)
        )

    def _unknown(self, answer: Detections | Tags, provider: str) -> tuple[str, ...]:
        find = self._vocabulary.find
        return tuple(w for w in answer.names if find(w, provider) == UNKNOWN)

    def _as_answers(
        self, cleaned: Detections | Tags, provider: str, item: str
    ) -> Answers:
        scores, labels = cleaned.scores, cleaned.labels
        boxes = (
            cleaned.boxes
            if isinstance(cleaned, Detections)
            else np.zeros((len(labels), 4), np.float32)
        )
        is_missing = False
        if self._task == "labels":
            is_missing = not len(labels)
            if is_missing:
                self._tally.add(provider, "no label", 1, [item])
            if len(labels) > 1:
                self._tally.add(
                    provider, "one of several labels", len(labels) - 1, [item]
                )
                best = [int(np.argmax(scores))]
                scores, labels, boxes = scores[best], labels[best], boxes[best]
        return Answers(
            starts=np.array([0, len(labels)], np.int64),
            labels=labels.astype(np.int32, copy=False),
            scores=scores.astype(np.float32, copy=False),
            boxes=boxes.astype(np.float32, copy=False),
            is_missing=np.array([is_missing]),
            is_ignored=np.zeros(len(labels), bool),
        )


def _with_used_names(answer: Detections | Tags) -> Detections | Tags:
    """The same with the names that it uses alone: a vendor's label set may be long."""
    if len(answer.names) <= len(answer):
        return answer
    used, labels = np.unique(answer.labels, return_inverse=True)
    names = tuple(answer.names[i] for i in used.tolist())
    labels = labels.astype(np.int32)
    if isinstance(answer, Detections):
        return Detections(
            boxes=answer.boxes, scores=answer.scores, labels=labels, names=names
        )
    return Tags(scores=answer.scores, labels=labels, names=names)


def as_answer(fused: Answers, task: Task, names: tuple[str, ...]) -> Detections | Tags:
    """The fused answer to one item as a value that stands for itself."""
    if task == "boxes":
        return Detections(
            boxes=fused.boxes, scores=fused.scores, labels=fused.labels, names=names
        )
    return Tags(scores=fused.scores, labels=fused.labels, names=names)
