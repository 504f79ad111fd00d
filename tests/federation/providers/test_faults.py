"""Recorded providers, and any provider with faults on a schedule."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from midhaul.errors import ConfigError, DataError
from midhaul.federation.providers.checks import check_provider
from midhaul.federation.providers.faults import Fault, FaultyProvider
from midhaul.federation.providers.local import DrawnLatency, RecordedProvider
from midhaul.federation.recordings.problem import Answers, Recording
from midhaul.model import Detections, Tags

if TYPE_CHECKING:
    from midhaul.federation.providers.base import Provider
    from midhaul.federation.recordings.problem import Task
    from midhaul.model import Prediction

N = 200


def recording(task: Task = "boxes") -> Recording:
    """200 items with five boxes each; nobody answered the last one."""
    rng = np.random.default_rng(5)
    corners = rng.uniform(0, 50, (5 * N, 2)).astype(np.float32)
    sides = rng.uniform(5, 50, (5 * N, 2)).astype(np.float32)
    is_missing = np.zeros(N, bool)
    answers = Answers.of_rows(
        np.repeat(np.arange(N), 5),
        N,
        rng.integers(0, 4, 5 * N).astype(np.int32),
        rng.uniform(0.1, 1, 5 * N).astype(np.float32),
        np.hstack([corners, corners + sides]) if task == "boxes" else None,
        is_missing=is_missing,
    ).hidden(np.arange(N) == N - 1)
    return Recording(
        task=task,
        items=tuple(f"item-{i}" for i in range(N)),
        names=("car", "person", "bus", "dog"),
        providers=("alpha", "beta"),
        prices_usd=np.array([0.001, 0.002]),
        answers=(answers, Answers.none(N)),
        latencies_s=np.stack([np.linspace(0.0, 0.2, N), np.full(N, np.nan)]),
    )


class Naps:
    """A sleep that takes no time and says how long it was asked to."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Do not sleep."""
        self.seconds.append(seconds)


def ask(provider: Provider, *items: str, timeout_s: float = 1.0) -> list[Prediction]:
    """Ask about some items, one after the other."""

    async def asking() -> list[Prediction]:
        async with provider:
            return [
                await provider.predict(b"", item=item, timeout_s=timeout_s)
                for item in items
            ]

    return asyncio.run(asking())


def picture() -> bytes:
    """A small image."""
    file = io.BytesIO()
    Image.new("RGB", (100, 100)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("task", ["boxes", "tags"])
def test_recorded_answers_come_back_as_they_were(task: Task) -> None:
    """Item by item, and the suite of all providers agrees."""
    known = recording(task)
    items = [(item, picture()) for item in known.items[:3]]
    found = asyncio.run(
        check_provider(
            lambda: RecordedProvider(known, "alpha"), items, size_px=(100, 100)
        )
    )
    for i, one in enumerate(found):
        assert isinstance(one.answer, Detections if task == "boxes" else Tags)
        where = known.answers[0].of(i)
        np.testing.assert_array_equal(one.answer.labels, known.answers[0].labels[where])
        np.testing.assert_array_equal(one.answer.scores, known.answers[0].scores[where])


def test_recorded_failures_are_values() -> None:
    """Unknown items are refused, missing answers are unavailable."""
    unknown, missing = ask(RecordedProvider(recording(), "alpha"), "who", "item-199")
    assert (unknown.status, missing.status) == ("refused", "unavailable")
    with pytest.raises(DataError, match="no provider gamma"):
        RecordedProvider(recording(), "gamma")


def test_recorded_latencies_are_slept_and_told() -> None:
    """To the digit, and a call that takes too long is a time-out."""
    naps = Naps()
    provider = RecordedProvider(recording(), "alpha", latency="recorded", sleep=naps)
    first, late = ask(provider, "item-100", "item-198", timeout_s=0.15)
    expected = float(np.linspace(0.0, 0.2, N)[100])
    assert (first.status, first.latency_s) == ("ok", expected)
    assert (late.status, late.latency_s) == ("timeout", 0.15)
    assert naps.seconds == [expected, 0.15]


def test_drawn_latencies_belong_to_the_item() -> None:
    """Not to the order of calls; their median is what was asked for."""
    drawn = DrawnLatency(median_s=0.1, spread=0.5, seed=3)
    provider = RecordedProvider(recording(), "alpha", latency=drawn, sleep=Naps())
    items = [f"item-{i}" for i in range(N - 1)]
    found = ask(provider, *items, timeout_s=99)
    again = ask(provider, *reversed(items), timeout_s=99)
    latencies = [one.latency_s for one in found]
    assert latencies == [one.latency_s for one in reversed(again)]
    assert np.median(latencies) == pytest.approx(0.1, rel=0.15)
    assert np.std(np.log(latencies)) == pytest.approx(0.5, rel=0.15)


def faulty(*faults: Fault, **options: Any) -> FaultyProvider:
    """The recorded provider with faults; nothing really waits."""
    inner = RecordedProvider(
        recording(),
        "alpha",
        latency=DrawnLatency(median_s=0.1, spread=0.0),
        sleep=Naps(),
    )
    return FaultyProvider(inner, faults, sleep=Naps(), **options)


def test_a_provider_without_faults_is_as_before() -> None:
    """And passes the suite."""
    items = [("item-1", picture()), ("item-2", picture())]
    asyncio.run(check_provider(faulty, items))


@pytest.mark.parametrize("kind", ["timeout", "throttled", "unavailable", "malformed"])
def test_a_share_of_the_calls_fails(kind: Any) -> None:
    """As many as the share says, and the same ones whatever the order."""
    items = [f"item-{i}" for i in range(N - 1)]
    found = ask(faulty(Fault(kind=kind, share=0.3), seed=1), *items)
    failed = {one.item for one in found if one.status == kind}
    assert 0.2 < len(failed) / N < 0.4
    assert all(one.is_ok for one in found if one.item not in failed)
    again = ask(faulty(Fault(kind=kind, share=0.3), seed=1), *reversed(items))
    assert {one.item for one in again if one.status == kind} == failed
    other = ask(faulty(Fault(kind=kind, share=0.3), seed=2), *items)
    assert {one.item for one in other if one.status == kind} != failed
    for one in found:
        assert one.retry_after_s == (1.0 if one.status == "throttled" else 0.0)
        if one.status == "timeout":
            assert one.latency_s == 1.0


def test_a_retry_has_a_chance_of_its_own() -> None:
    """Asking again can help."""
    provider = faulty(Fault(kind="unavailable", share=0.5))
    found = ask(provider, *["item-1"] * 20)
    assert {one.status for one in found} == {"ok", "unavailable"}


def test_faults_have_their_time() -> None:
    """An outage begins and ends by the clock that is given."""
    times = iter([0.0, 9.9, 10.0, 19.9, 20.0])
    outage = Fault(kind="unavailable", begins_s=10, ends_s=20)
    provider = faulty(outage, clock=lambda: next(times))
    said = [one.status for one in ask(provider, *["item-1"] * 5)]
    assert said == ["ok", "ok", "unavailable", "unavailable", "ok"]


def test_slow_calls_are_late_by_the_factor_or_time_out() -> None:
    """The answer itself is the same."""
    (quick,) = ask(faulty(), "item-1")
    (slow,) = ask(faulty(Fault(kind="slow", factor=4)), "item-1")
    assert slow.latency_s == pytest.approx(4 * quick.latency_s)
    assert isinstance(slow.answer, Detections)
    (late,) = ask(faulty(Fault(kind="slow", factor=20)), "item-1")
    assert (late.status, late.latency_s) == ("timeout", 1.0)


def test_degraded_answers_lose_rename_and_move() -> None:
    """By the shares that the fault says, and nobody is told."""
    items = [f"item-{i}" for i in range(N - 1)]
    fault = Fault(kind="degraded", drop=0.4, swap=0.25, jitter=0.2)
    found = ask(faulty(fault), *items)
    whole = ask(faulty(), *items)
    assert all(one.is_ok and not one.message for one in found)
    kept = sum(len(one.answer) for one in found if one.answer is not None)
    assert kept / (5 * (N - 1)) == pytest.approx(0.6, abs=0.05)
    assert all(
        (one.answer.boxes[:, 2:] >= one.answer.boxes[:, :2]).all()
        for one in found
        if isinstance(one.answer, Detections)
    )
    renamed = ask(faulty(Fault(kind="degraded", drop=0, swap=0.25, jitter=0)), *items)
    pairs = [
        (a.answer, b.answer)
        for a, b in zip(renamed, whole, strict=True)
        if isinstance(a.answer, Detections) and isinstance(b.answer, Detections)
    ]
    for a, b in pairs:
        np.testing.assert_array_equal(a.boxes, b.boxes)
    swapped = np.concatenate([a.labels != b.labels for a, b in pairs])
    assert swapped.mean() == pytest.approx(0.25, abs=0.05)


def test_faults_out_of_range_are_refused() -> None:
    """Shares beyond 1, factors below 1, an end before the beginning."""
    for wrong in (
        {"share": 1.5},
        {"factor": 0.5},
        {"begins_s": 2.0, "ends_s": 1.0},
        {"jitter": -1.0},
    ):
        with pytest.raises(ConfigError):
            Fault(kind="slow", **wrong)


class _Liar(RecordedProvider):
    """Breaks the protocol in a chosen way."""

    breaks = ""

    async def predict(self, data: bytes, *, item: str, timeout_s: float) -> Prediction:
        """An answer with something wrong."""
        found = await super().predict(data, item=item, timeout_s=timeout_s)
        if self.breaks == "raises" and not data:
            message = "no image"
            raise ValueError(message)
        wrong: dict[str, dict[str, Any]] = {
            "item": {"item": "another"},
            "price": {"price_usd": 1.0},
            "provider": {"provider": "another"},
            "silent": {"message": ""},
        }
        return replace(found, **wrong.get(self.breaks, {}))


@pytest.mark.parametrize("breaks", ["item", "price", "provider", "silent", "raises"])
def test_the_suite_finds_what_is_wrong(breaks: str) -> None:
    """A suite that cannot fail holds nobody to anything."""

    def make() -> Provider:
        liar = _Liar(recording(), "alpha")
        liar.breaks = breaks
        return liar

    with pytest.raises((AssertionError, ValueError)):
        asyncio.run(check_provider(make, [("item-1", picture())]))
