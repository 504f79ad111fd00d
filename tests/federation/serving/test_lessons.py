"""Online policies learn beside the requests, and their alarms are counted."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.federation.serving.scenes import (
    InTurn,
    Scripted,
    Step,
    federation_of,
)

from midhaul.federation.serving import FederationSettings
from midhaul.federation.serving.replay import run_virtual
from midhaul.services.federation_metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable


class Learner(InTurn):
    """An online policy that notes what it is taught, and where."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__([0])
        self.fails = fails
        self.may_learn = threading.Event()
        self.may_learn.set()
        self.lessons: list[tuple[str, bool, str]] = []
        self.alarms = (
            SimpleNamespace(provider="a"),
            SimpleNamespace(provider="a"),
        )

    def learn(self, situation: Any, fused: Any, quality: np.ndarray) -> None:
        """Note it."""
        assert self.may_learn.wait(30)
        self.lessons.append(
            (
                situation.recording.items[0],
                bool(np.isnan(quality).all() and not fused.is_missing[0]),
                threading.current_thread().name,
            )
        )
        if self.fails:
            message = "a bug in learning"
            raise RuntimeError(message)


def test_in_line_every_fused_request_is_a_lesson() -> None:
    """In order, with a quality that nobody can tell; failures teach nothing."""
    policy = Learner()
    a = Scripted("a", Step(), Step(status="malformed"), Step())
    settings = FederationSettings(learns_in_thread=False)

    async def main(clock: Callable[[], float]) -> None:
        async with federation_of(
            [a], clock, policy=policy, settings=settings
        ) as federation:
            for i in range(3):
                await federation.answer(b"", item=str(i))
            await federation.answer(b"", item="0")  # cached: no news

    run_virtual(main)
    assert [lesson[:2] for lesson in policy.lessons] == [("0", True), ("2", True)]


@pytest.mark.parametrize("fails", [False, True])
def test_learning_in_a_thread_delays_nobody(fails: bool) -> None:  # noqa: FBT001
    """Answers come while it learns, and also after it failed to."""
    policy = Learner(fails=fails)
    policy.may_learn.clear()
    a = Scripted("a", Step(latency_s=0.0))

    async def main() -> None:
        async with federation_of([a], time.monotonic, policy=policy) as federation:
            for i in range(8):
                await federation.answer(b"", item=str(i))
            assert not policy.lessons
            policy.may_learn.set()
            for _ in range(3000):
                if len(policy.lessons) == 8:
                    break
                await asyncio.sleep(0.01)

    asyncio.run(main())
    assert [lesson[0] for lesson in policy.lessons] == [str(i) for i in range(8)]
    assert threading.main_thread().name not in {where for *_, where in policy.lessons}


def test_alarms_breakers_and_budgets_are_read_at_every_scrape() -> None:
    """By provider, as they are now."""
    metrics = Metrics()
    a = Scripted("a", Step(labels=("cat", "unicorn")))

    async def main(clock: Callable[[], float]) -> dict[str, float]:
        settings = FederationSettings(learns_in_thread=False)
        async with federation_of(
            [a], clock, policy=Learner(), observer=metrics, settings=settings
        ) as federation:
            metrics.watch(federation)
            await federation.answer(b"x")
            await federation.answer(b"x")
            lines = metrics.text().decode().splitlines()
        return {
            name: float(value)
            for name, value in (
                line.rsplit(" ", 1) for line in lines if not line.startswith("#")
            )
        }

    found = run_virtual(main)
    prefix = "midhaul_federation"
    assert found[f'{prefix}_drift_alarms_total{{provider="a"}}'] == 2
    assert found[f'{prefix}_unknown_labels_total{{provider="a"}}'] == 1
    key = f'{prefix}_findings_total{{provider="a",reason="unknown label"}}'
    assert found[key] == 1
    assert found[f"{prefix}_cached_answers"] == 1
    assert found[f'{prefix}_breaker_openings_total{{provider="a"}}'] == 0
