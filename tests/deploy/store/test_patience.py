"""How a registry that has had enough, or fails, is asked again."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.deploy.store.stub import Stub, answers

from midhaul.deploy.store.client import RegistryClient
from midhaul.deploy.store.failures import (
    BusyRegistryError,
    Patience,
    RegistryRetries,
    told_wait_s,
)
from midhaul.deploy.store.reader import ImageRecord, read_image
from midhaul.errors import DataError, NodeError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Sleeper:
    """A patience that notes its waits and does not wait."""

    def __init__(
        self, retries: RegistryRetries | None = None, total_s: float = 120.0
    ) -> None:
        self.waits: list[float] = []
        self.patience = Patience(
            retries, total_s=total_s, rng=np.random.default_rng(0), sleep=self.sleep
        )

    async def sleep(self, wait_s: float) -> None:
        """Note a wait."""
        self.waits.append(wait_s)


def read(stub: Stub, sleeper: Sleeper) -> ImageRecord:
    """Read the image of a stub."""

    async def run() -> ImageRecord:
        async with stub, RegistryClient(environ={}) as client:
            return await read_image(client, stub.reference, patience=sleeper.patience)

    return asyncio.run(run())


def with_image() -> Stub:
    """A stub with an image."""
    stub = Stub()
    stub.add_image([b"base" * 100], "latest")
    return stub


def test_a_registry_that_limits_requests_is_asked_when_it_says() -> None:
    """Not before the time, in both forms of Retry-After, for manifests and blobs."""
    stub, sleeper = with_image(), Sleeper()
    now = time.time()
    date = {"Date": formatdate(now, usegmt=True)}
    stub.slow_downs.append(answers(429, Retry_After="3"))
    stub.slow_downs.append(
        answers(503, Retry_After=formatdate(now + 7, usegmt=True), **date)
    )
    stub.faults.append(answers(429, Retry_After="2"))
    assert read(stub, sleeper).image.layers
    for wait_s, told_s in zip(sleeper.waits, (3, 7, 2), strict=True):
        assert told_s <= wait_s <= 1.1 * told_s


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(status: int) -> None:
    """Waits without a Retry-After double, and are partly left to chance."""
    stub, sleeper = with_image(), Sleeper()
    stub.slow_downs.extend([answers(status)] * 4)
    assert read(stub, sleeper).image.layers
    for n, wait_s in enumerate(sleeper.waits):
        assert 0.1 * 2**n <= wait_s <= 0.2 * 2**n
    assert len(sleeper.waits) == 4


@pytest.mark.parametrize("status", [400, 404, 410])
def test_what_does_not_pass_is_not_tried_again(status: int) -> None:
    """What a registry has not today it has not in a second."""
    stub, sleeper = with_image(), Sleeper()
    stub.slow_downs.append(answers(status))
    with pytest.raises(DataError):
        read(stub, sleeper)
    assert sleeper.waits == []


def test_patience_has_an_end() -> None:
    """In attempts, in the wait that a registry may ask for, and in all waits of it."""
    stub, sleeper = with_image(), Sleeper(RegistryRetries(n_most=3))
    stub.slow_downs.extend([answers(503)] * 9)
    with pytest.raises(NodeError, match="answered 503"):
        read(stub, sleeper)
    assert stub.asked["GET latest"] == 4
    stub, sleeper = with_image(), Sleeper()
    stub.slow_downs.append(answers(429, Retry_After="3600"))
    with pytest.raises(BusyRegistryError, match="come again in 3600 s"):
        read(stub, sleeper)
    assert sleeper.waits == []
    stub, sleeper = with_image(), Sleeper(total_s=10.0)
    stub.slow_downs.extend([answers(429, Retry_After="4")] * 9)
    with pytest.raises(NodeError, match="answered 429"):
        read(stub, sleeper)
    assert 8 <= sum(sleeper.waits) <= 10


def test_waits_of_one_registry_are_not_those_of_another() -> None:
    """A registry that is slow does not use up what the others may take."""
    sleeper = Sleeper(total_s=5.0)

    async def busy() -> None:
        message = "busy"
        raise BusyRegistryError(message, wait_s=4.0)

    async def run(registries: Sequence[str]) -> None:
        for registry in registries:
            with pytest.raises(NodeError):
                await sleeper.patience(registry, busy)

    asyncio.run(run(["a", "b", "a"]))
    assert len(sleeper.waits) == 2


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": " 12 "}, 12.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "1000000030"}, 30.0),
        ({"Retry-After": "Sun, 09 Sep 2001 01:46:50 GMT"}, 10.0),
        ({"Retry-After": "Sun, 09 Sep 2001 01:46:30 GMT"}, 0.0),
        ({"Retry-After": "Sun, 99 Sep 2001 01:46:30 GMT"}, None),
        (
            {
                "Retry-After": "Sun, 09 Sep 2001 02:00:10 GMT",
                "Date": "Sun, 09 Sep 2001 02:00:00 GMT",
            },
            10.0,
        ),
    ],
)
def test_a_wait_is_read_in_every_form(
    headers: dict[str, Any], expected: float | None
) -> None:
    """Seconds, a date by the registry's own clock, and nonsense that is ignored."""
    assert told_wait_s(headers, clock=lambda: 1e9) == expected
