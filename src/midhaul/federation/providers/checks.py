"""The conformance suite of providers, ours or a stranger's."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model import Detections, Prediction, Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midhaul.federation.providers.base import Provider

_PATIENCE_S = 10.0
_SHORT_S = 1e-4
_N_AT_ONCE = 8


async def check_provider(
    make: Callable[[], Provider],
    items: Sequence[tuple[str, bytes]],
    *,
    size_px: tuple[int, int] | None = None,
    timeout_s: float = 30.0,
) -> list[Prediction]:
    """Hold a provider to what everybody expects of it; what it answers to the items.

    ``make`` is called several times, always for the same provider. Items have an id and
    the bytes to send; all images have ``size_px``, width and height, to check boxes
    against. An AssertionError where it breaks its protocol.
    """
    async with make() as provider:
        _demand(bool(provider.name), "a provider needs a name")
        found = [
            await _asked(provider, item, data, timeout_s, size_px)
            for item, data in items
        ]
        for one in found:
            _demand(one.is_ok, f"{one.item} was not answered: {one.message}")
        await _check_at_once(provider, items, timeout_s, size_px)
        await _check_short_timeout(provider, *items[0])
        await _check_nonsense(provider, timeout_s)
        again = await _asked(provider, *items[0], timeout_s, size_px)
        _demand(again.is_ok, f"after failures it does not answer: {again.message}")
    async with make() as twin:
        one = await _asked(twin, *items[0], timeout_s, size_px)
        _demand(one.is_ok, f"a second one does not answer: {one.message}")
    return found


def check_prediction(
    provider: Provider, found: Prediction, item: str, size_px: tuple[int, int] | None
) -> None:
    """Assert that types, ranges and names are as the protocol says."""
    _demand(found.provider == provider.name, f"it calls itself {found.provider}")
    _demand(found.item == item, f"it answers {found.item} when asked {item}")
    _demand(found.price_usd == 0, "prices are the price list's business")
    _demand(found.latency_s >= 0, f"a latency of {found.latency_s} s")
    _demand(found.retry_after_s >= 0, f"retry after {found.retry_after_s} s")
    if found.answer is None:
        _demand(bool(found.message), f"a call is {found.status} and nobody says why")
        return
    _check_answer(provider, found.answer, size_px)


def _check_answer(
    provider: Provider, answer: Detections | Tags, size_px: tuple[int, int] | None
) -> None:
    kinds = (answer.scores.dtype, answer.labels.dtype)
    floats = {np.dtype(np.float32), np.dtype(np.float64)}
    fits = kinds[0] in floats and kinds[1] == np.int32
    _demand(fits, f"types of an answer are {kinds}")
    scores = answer.scores
    _demand(bool(((scores >= 0) & (scores <= 1)).all()), "scores leave 0 to 1")
    known = provider.names[: len(answer.names)]
    _demand(known == answer.names, "an answer has other names than the provider")
    _demand(len(set(answer.names)) == len(answer.names), "a name comes twice")
    if not isinstance(answer, Detections):
        return
    x1, y1, x2, y2 = answer.boxes.T
    width, height = size_px or (np.inf, np.inf)
    is_inside = (x1 >= 0) & (x1 <= x2) & (x2 <= width)
    is_inside &= (y1 >= 0) & (y1 <= y2) & (y2 <= height)
    _demand(bool(is_inside.all()), f"{answer.boxes[~is_inside][:1]} leaves the image")


async def _asked(
    provider: Provider,
    item: str,
    data: bytes,
    timeout_s: float,
    size_px: tuple[int, int] | None,
) -> Prediction:
    found = await provider.predict(data, item=item, timeout_s=timeout_s)
    check_prediction(provider, found, item, size_px)
    return found


async def _check_at_once(
    provider: Provider,
    items: Sequence[tuple[str, bytes]],
    timeout_s: float,
    size_px: tuple[int, int] | None,
) -> None:
    """Calls at the same time get the answers of their own items."""
    asked = [items[i % len(items)] for i in range(_N_AT_ONCE)]
    calls = [_asked(provider, item, data, timeout_s, size_px) for item, data in asked]
    for one in await asyncio.gather(*calls):
        _demand(one.is_ok, f"of calls at once one is {one.status}: {one.message}")


async def _check_short_timeout(provider: Provider, item: str, data: bytes) -> None:
    """A timeout is kept, and is a value."""
    begin = time.perf_counter()
    found = await provider.predict(data, item=item, timeout_s=_SHORT_S)
    took_s = time.perf_counter() - begin
    check_prediction(provider, found, item, None)
    _demand(took_s < _PATIENCE_S, f"a timeout of {_SHORT_S} s took {took_s:.1f} s")
    statuses = ("ok", "timeout", "not_sent", "unavailable")
    _demand(found.status in statuses, f"a timeout is {found.status}: {found.message}")


async def _check_nonsense(provider: Provider, timeout_s: float) -> None:
    """What is no image, of an item that nobody knows, is no reason to raise."""
    for data in (b"", b"no image at all", b"\xff\xd8\xff\xe0 cut off"):
        item = "nobody-knows-this-item"
        found = await provider.predict(data, item=item, timeout_s=timeout_s)
        check_prediction(provider, found, item, None)


def _demand(holds: bool, complaint: str) -> None:  # noqa: FBT001
    if not holds:
        raise AssertionError(complaint)
