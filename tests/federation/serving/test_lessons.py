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

from midhaul.errors import DataError
from midhaul.federation.money.budget import Budgets
from midhaul.federation.recordings.vocabulary import Vocabulary
from midhaul.federation.serving import (
    FederationSettings,
    ProviderSettings,
    RetrySettings,
)
from midhaul.federation.serving.online_feedback import truth_of
from midhaul.federation.serving.replay import run_virtual
from midhaul.federation.serving.settings import LearningSettings
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
        self.asked: list[int] = []
        self.quality: list[float] = []
        self.alarms = (
            SimpleNamespace(provider="a"),
            SimpleNamespace(provider="a"),
        )

    def learn(self, situation: Any, fused: Any, quality: np.ndarray) -> None:
        """Note it."""
        assert self.may_learn.wait(30)
        self.asked += situation.asked.tolist()
        self.quality += quality.tolist()
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


class Changing(Learner):
    """Raises an alarm at every lesson."""

    def learn(self, situation: Any, fused: Any, quality: np.ndarray) -> None:
        """Note it, and raise one."""
        super().learn(situation, fused, quality)
        self.alarms = (*self.alarms, SimpleNamespace(provider="a"))


def test_after_an_alarm_answers_from_before_are_not_given_out() -> None:
    """The same item is asked about anew; without an alarm it comes from the cache."""

    async def main(clock: Callable[[], float], policy: Learner) -> list[bool]:
        settings = FederationSettings(learns_in_thread=False)
        async with federation_of(
            [Scripted("a", Step())], clock, policy=policy, settings=settings
        ) as federation:
            answers = [await federation.answer(b"x") for _ in range(2)]
            return [answer.is_cached for answer in answers]

    assert run_virtual(lambda clock: main(clock, Learner())) == [False, True]
    assert run_virtual(lambda clock: main(clock, Changing())) == [False, False]


_ONCE = ProviderSettings(retry=RetrySettings(attempts=1), timeout_s=5.0)


@pytest.mark.parametrize(
    ("budget_usd", "deadline_s", "b", "is_asked"),
    [
        (1.0, 60.0, Step(status="unavailable"), True),
        (1.0, 60.0, Step(latency_s=9.0), True),  # its own time-out
        (1.0, 1.0, Step(latency_s=9.0), False),  # the deadline of the request
        (0.001, 60.0, Step(), False),  # the budget
    ],
)
def test_nobody_is_blamed_for_what_was_not_its_own(
    budget_usd: float, deadline_s: float, b: Step, *, is_asked: bool
) -> None:
    """Who was sent nothing, or had less time than it is given, counts as not asked."""
    policy = Learner()
    policy.order, policy.n_wanted = [0, 1], 2

    async def main(clock: Callable[[], float]) -> None:
        async with federation_of(
            [Scripted("a", Step()), Scripted("b", b)],
            clock,
            policy=policy,
            budgets=Budgets(run_usd=budget_usd),
            settings=FederationSettings(learns_in_thread=False),
            limits={"b": _ONCE},
        ) as federation:
            answer = await federation.answer(b"", item="1", deadline_s=deadline_s)
            assert answer.status == "partial"

    run_virtual(main)
    assert policy.asked == [0b11 if is_asked else 0b01]


def until(holds: Callable[[], bool]) -> Any:
    """Wait until something holds."""

    async def wait() -> None:
        async with asyncio.timeout(30):
            while not holds():  # noqa: ASYNC110 - what holds tells nobody
                await asyncio.sleep(0.01)

    return wait()


TRUTH = [{"label": "cat", "box": [0, 0, 8, 8]}]


def test_answers_wait_for_feedback_until_others_wait_or_time_is_over() -> None:
    """Told ones are learned from with their quality, the others without, none twice."""
    policy = Learner()
    learning = LearningSettings(wait_s=1000.0, n_waiting=2, save_s=0.0)
    settings = FederationSettings(learning=learning)
    truth = truth_of(TRUTH, "boxes", Vocabulary(("cat", "dog")))
    now_s = 0.0

    async def main() -> None:
        nonlocal now_s
        a = Scripted("a", Step(latency_s=0.0))
        async with federation_of(
            [a], lambda: now_s, policy=policy, settings=settings
        ) as federation:
            lessons = federation.lessons
            ids = [
                (await federation.answer(b"", item=str(i))).answer_id for i in range(3)
            ]
            await until(lambda: len(policy.quality) == 1)  # three are too many
            assert len(set(ids)) == 3
            assert np.isnan(policy.quality[0])
            assert lessons.tell(ids[0], truth) == "unknown"
            assert lessons.tell(ids[1], truth) == "taken"
            assert lessons.tell(ids[1], truth) == "unknown"
            await until(lambda: len(policy.quality) == 2)
            assert policy.quality[1] == pytest.approx(1.0)
            now_s = 2000.0
            await federation.answer(b"", item="3")
            await until(lambda: len(policy.quality) == 3)
            assert [name for name, *_ in policy.lessons] == ["0", "1", "2"]
            assert lessons.counts["with_feedback"] == 1
        assert len(policy.quality) == 4  # the last one, at the end

    asyncio.run(main())


def test_more_lessons_than_can_be_learned_are_dropped_and_counted() -> None:
    """Feedback that finds no room is told so, and may come again."""
    policy = Learner()
    policy.may_learn.clear()
    learning = LearningSettings(wait_s=1000.0, n_waiting=1, n_queued=1)
    settings = FederationSettings(learning=learning)
    truth = truth_of(TRUTH, "boxes", Vocabulary(("cat", "dog")))

    async def main() -> None:
        a = Scripted("a", Step(latency_s=0.0))
        async with federation_of(
            [a], lambda: 0.0, policy=policy, settings=settings
        ) as federation:
            lessons = federation.lessons
            last = ""
            for i in range(9):
                last = (await federation.answer(b"", item=str(i))).answer_id
                assert lessons.n_waiting <= 1
                assert lessons.n_queued <= 1
            await until(lambda: lessons.n_queued == 1)
            assert lessons.tell(last, truth) == "busy"
            policy.may_learn.set()
            await until(lambda: lessons.n_queued == 0)
            assert lessons.tell(last, truth) == "taken"
        counts = lessons.counts
        assert counts["dropped"] == 6  # one is learned, one is queued, one waits
        assert counts["learned"] == 3
        assert counts["with_feedback"] == 1

    asyncio.run(main())


@pytest.mark.parametrize("fails", [False, True])
def test_a_state_that_cannot_be_saved_is_counted(fails: bool) -> None:  # noqa: FBT001
    """Requests and lessons go on; what was learned is saved before it ends."""
    policy, saved = Learner(), []

    def save() -> None:
        saved.append(len(policy.lessons))
        if fails:
            raise OSError(28, "No space left on device")

    async def main() -> None:
        learning = LearningSettings(save_s=0.0)
        async with federation_of(
            [Scripted("a", Step(latency_s=0.0))],
            time.monotonic,
            policy=policy,
            save=save,
            settings=FederationSettings(learning=learning),
        ) as federation:
            for i in range(3):
                await federation.answer(b"", item=str(i))
            await until(lambda: federation.lessons.counts["learned"] == 3)
        counts = federation.lessons.counts
        assert counts["unsaved" if fails else "saved"] >= 3
        assert not counts["saved" if fails else "unsaved"]

    asyncio.run(main())
    assert saved[-1] == 3


@pytest.mark.parametrize(
    "said",
    [
        {"label": "cat"},
        [{"label": "cat"}],
        [{"label": "cat", "box": [0, 0, 8]}],
        [{"label": "cat", "box": [0, 0, 8, True]}],
        [{"label": "cat", "box": [8, 0, 0, 8]}],
        [{"label": "cat", "box": [0, 0, 8, float("nan")]}],
        [{"label": "cat", "box": [0, 0, 8, 1e300]}],
        [{"label": "cat", "box": [-1, 0, 8, 8]}],
        [{"label": "cat", "box": [0, 0, 8, 8], "is_ignored": 1}],
    ],
)
def test_a_truth_that_is_none_is_refused(said: object) -> None:
    """Whatever JSON may hold."""
    with pytest.raises(DataError):
        truth_of(said, "boxes", Vocabulary(("cat", "dog")))


def test_nothing_and_what_does_not_count_are_truths() -> None:
    """An item without any box, a box that counts neither way, tags by any word."""
    vocabulary = Vocabulary(("cat", "dog"), synonyms={"dog": ("hound",)})
    nothing = truth_of([], "boxes", vocabulary)
    assert (len(nothing), len(nothing.labels), nothing.is_missing[0]) == (1, 0, False)
    crowd = truth_of([{**TRUTH[0], "is_ignored": True}], "boxes", vocabulary)
    assert crowd.is_ignored.tolist() == [True]
    assert truth_of([{"label": "Hound"}], "tags", vocabulary).labels.tolist() == [1]
    with pytest.raises(DataError, match="twice"):
        truth_of([{"label": "dog"}, {"label": "hound"}], "tags", vocabulary)
