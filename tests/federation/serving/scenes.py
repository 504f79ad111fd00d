"""Providers with a script, and federations of them, for tests in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from midhaul.federation.money.budget import BudgetGuard, Budgets
from midhaul.federation.money.ledger import Ledger
from midhaul.federation.money.prices import PriceList
from midhaul.federation.policies.baselines import FixedPolicy
from midhaul.federation.recordings.problem import Answers, members
from midhaul.federation.recordings.vocabulary import Vocabulary
from midhaul.federation.serving import Federation, Knowledge
from midhaul.model import Detections, Prediction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from midhaul.federation.policies.base import SubsetPolicy
    from midhaul.federation.recordings.problem import Recording
    from midhaul.model import PredictionStatus

NAMES = ("cat", "dog")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one call meets."""

    status: PredictionStatus = "ok"
    latency_s: float = 0.1
    retry_after_s: float = 0.0
    labels: tuple[str, ...] = ("cat",)
    raises: Exception | None = None


class Scripted:
    """A provider that follows a script; the last step goes on for ever."""

    def __init__(self, name: str, *steps: Step) -> None:
        self.name = name
        self.names = NAMES
        self.steps = list(steps) or [Step()]
        self.times_s: list[float] = []
        self.items: Counter[str] = Counter()
        self.n_open = 0
        self.most_open = 0
        self.is_open = False

    async def __aenter__(self) -> Self:
        """Open."""
        self.is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        self.is_open = False

    @property
    def n_calls(self) -> int:
        """Calls that reached it."""
        return len(self.times_s)

    async def predict(self, data: bytes, *, item: str, timeout_s: float) -> Prediction:
        """The next step of the script."""
        del data
        assert self.is_open
        step = self.steps[min(self.n_calls, len(self.steps) - 1)]
        self.times_s.append(asyncio.get_running_loop().time())
        self.items[item] += 1
        self.n_open += 1
        self.most_open = max(self.most_open, self.n_open)
        try:
            await asyncio.sleep(min(step.latency_s, timeout_s))
        finally:
            self.n_open -= 1
        if step.raises is not None:
            raise step.raises
        status = "timeout" if step.latency_s > timeout_s else step.status
        return Prediction(
            provider=self.name,
            item=item,
            status=status,
            answer=_boxes(step.labels) if status == "ok" else None,
            latency_s=step.latency_s,
            price_usd=0.0,
            message="" if status == "ok" else f"scripted {status}",
            retry_after_s=step.retry_after_s,
        )


def _boxes(labels: tuple[str, ...]) -> Detections:
    names = tuple(dict.fromkeys(labels))
    n = len(labels)
    corners = np.arange(n, dtype=np.float32)[:, None] * 10 + np.array([0, 0, 8, 8])
    return Detections(
        boxes=corners.astype(np.float32).reshape(n, 4),
        scores=np.full(n, 0.9, np.float32),
        labels=np.array([names.index(label) for label in labels], np.int32),
        names=names,
    )


class Everything:
    """A fuser that keeps all entries of everybody."""

    name = "everything"

    def fuse(self, recording: Recording, asked: np.ndarray) -> Answers:
        """Entries of the asked providers, one provider after another."""
        (mask,) = asked.tolist()
        given = [
            recording.answers[p]
            for p in members(mask)
            if not recording.answers[p].is_missing[0]
        ]
        if not given:
            return Answers.none(1)
        labels = np.concatenate([one.labels for one in given])
        return Answers.of_rows(
            np.zeros(len(labels), np.int64),
            1,
            labels,
            np.concatenate([one.scores for one in given]),
            np.concatenate([one.boxes for one in given]),
        )


class InTurn:
    """A policy that asks one after another, in a given order, until so many answer."""

    name = "in-turn"

    def __init__(self, order: Sequence[int], n_wanted: int = 1) -> None:
        self.order = order
        self.n_wanted = n_wanted
        self.seen: list[int] = []

    def decide(self, situation: Any, rng: np.random.Generator) -> np.ndarray:
        """The next one."""
        del rng
        (asked,) = situation.asked.tolist()
        self.seen.append(asked)
        there = [not one.is_missing[0] for one in situation.recording.answers]
        following = [p for p in self.order if not asked >> p & 1]
        if sum(there) >= self.n_wanted or not following:
            return np.zeros(1, np.int64)
        return np.array([1 << following[0]], np.int64)


def everybody(n_providers: int) -> FixedPolicy:
    """The policy that asks all at once."""
    return FixedPolicy(mask=(1 << n_providers) - 1, name="all")


@contextlib.asynccontextmanager
async def federation_of(
    providers: Sequence[Scripted],
    clock: Callable[[], float],
    *,
    policy: SubsetPolicy | None = None,
    budgets: Budgets | None = None,
    prices_usd: Mapping[str, float] | None = None,
    charged: Mapping[str, tuple[PredictionStatus, ...]] | None = None,
    save: Callable[[], None] | None = None,
    measure: Callable[[bytes], Awaitable[tuple[float, float]]] | None = None,
    **more: Any,
) -> AsyncGenerator[Federation]:
    """A federation with a ledger of its own; each call costs 0.001 USD unless said."""
    prices = PriceList.flat(prices_usd or {one.name: 0.001 for one in providers})
    prices = prices.charging(charged or {})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.tsv"
        with Ledger.open(file, sync="never", clock=clock) as ledger:
            guard = BudgetGuard(ledger, budgets or Budgets(), run="test", prices=prices)
            knowledge = Knowledge(
                task="boxes",
                vocabulary=Vocabulary(NAMES),
                policy=policy or everybody(len(providers)),
                fuser=Everything(),
                save=save,
                measure=measure,
            )
            async with Federation(
                providers, knowledge, guard, prices, clock=clock, **more
            ) as federation:
                yield federation
            assert not ledger.spending.open_calls, "a call was never settled"
