"""Request on its way through a federation: its time, its money, its calls.

Its answer is the fused one, and everything that was done for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from midhaul.federation.money.ledger_file import budget_nusd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.model import Detections, PredictionStatus, Tags

AnswerStatus = Literal["complete", "partial", "failed", "no_budget", "late"]
"""``complete``: everybody that the policy wanted has answered; ``partial``: some of
them. Nobody has answered: ``late`` where time ran out, ``no_budget`` where nobody was
asked for want of money, and ``failed`` everywhere else."""

NotSent = Literal["", "breaker", "limits", "budget", "deadline", "ledger", "cancelled"]
"""Why a call was not made: its breaker is open, a place or a time to begin would come
too late, a budget would be exceeded, the deadline is there, the ledger cannot be
written, or nobody waited for it any more before it was sent."""

Reason = Literal[
    "", "failures", "fallback", "budget", "deadline", "timeouts", "closing"
]
"""What kept an answer from being complete: ``budget`` where nothing but money was
missing, ``timeouts`` where all who were sent the item have let their time pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One attempt to ask a provider.

    Attributes:
        provider: who was asked.
        round: number of the round, from 1.
        attempt: number of the attempt at this provider, from 1.
        is_hedge: true for a second call beside a slow one.
        status: how it went; ``cancelled`` where nobody waited for it any more.
        not_sent: why it was not made; empty where it was.
        message: what went wrong, in a sentence; empty when nothing did.
        wait_s: from the wish to ask to the send: limits, and the ledger.
        latency_s: from the send to the answer or the failure; 0 where not sent.
        price_usd: what it was charged.
        is_sent: whether anything has reached the provider.
    """

    provider: str
    round: int
    attempt: int
    is_hedge: bool
    status: PredictionStatus | Literal["cancelled"]
    not_sent: NotSent
    message: str
    wait_s: float
    latency_s: float
    price_usd: float
    is_sent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FederatedAnswer:
    """The answer to one item.

    Attributes:
        item: its id.
        status: how it went.
        reason: why it is not complete; the first of several.
        answer: fused, in the label set of the federation; None where nobody answered.
        rounds: names of the providers that were to be asked in each round, also by
            whoever made a cached or shared answer.
        asked: those of them that were sent something.
        calls: every attempt made for this request, in the order of their ends; none
            where the answer is cached or shared.
        cost_usd: what they were charged together.
        latency_s: of this request.
        is_cached: true for an answer made before.
        is_shared: true for the answer of an equal request that was under way.
        open_breakers: providers whose breaker was not closed at the end.
        findings: oddities of the providers' answers by ``provider: reason``, with
            their numbers; see ``federation.findings``.
        unknown_labels: words that the vocabulary does not know, as
            ``(provider, word)``.
        retry_after_s: when to ask again, where there is no answer and somebody knows;
            0 otherwise.
        answer_id: by which people may say what is right; empty where nobody learns.
        is_audit: true where everybody was asked in order to learn.
    """

    item: str
    status: AnswerStatus
    reason: Reason
    answer: Detections | Tags | None
    rounds: tuple[tuple[str, ...], ...]
    calls: tuple[Call, ...]
    cost_usd: float
    latency_s: float
    is_cached: bool = False
    is_shared: bool = False
    open_breakers: tuple[str, ...] = ()
    findings: Mapping[str, int] = field(default_factory=dict[str, int])
    unknown_labels: tuple[tuple[str, str], ...] = ()
    retry_after_s: float = 0.0
    asked: tuple[str, ...] = ()
    answer_id: str = ""
    is_audit: bool = False

    @property
    def is_answered(self) -> bool:
        """True where somebody has answered."""
        return self.answer is not None


class Observer(Protocol):
    """Sees everything that a federation does, as metrics do."""

    def called(self, call: Call) -> None:
        """One attempt has ended."""
        ...

    def answered(self, answer: FederatedAnswer) -> None:
        """One request has ended."""
        ...


class NoObserver:
    """Looks away."""

    def called(self, call: Call) -> None:
        """Nothing."""

    def answered(self, answer: FederatedAnswer) -> None:
        """Nothing."""


class Purse:
    """What one request may still spend; reserved money counts as spent.

    It is infinite where only the budgets limit.
    """

    def __init__(self, limit_usd: float) -> None:
        self._left_nusd: float = (
            math.inf if math.isinf(limit_usd) else budget_nusd(limit_usd)
        )

    def take(self, price_nusd: int) -> bool:
        """Reserve money; false, and nothing is taken, where there is too little."""
        if price_nusd > self._left_nusd:
            return False
        self._left_nusd -= price_nusd
        return True

    def give_back(self, price_nusd: int) -> None:
        """Take back what was reserved and not charged."""
        self._left_nusd += price_nusd


@dataclass(slots=True, kw_only=True)
class FederationRequest:
    """One request.

    Attributes:
        data: the encoded image, as it is sent.
        begun_s: when it came, of the federation's clock.
        deadline_s: when all calls must have ended, of the same clock.
        round: number of the present round, from 1.
        retry_after_s: the longest time that a refused budget or an open breaker asks
            to wait.
    """

    data: bytes
    item: str
    begun_s: float
    deadline_s: float
    purse: Purse
    calls: list[Call] = field(default_factory=list["Call"])
    round: int = 0
    retry_after_s: float = 0.0
