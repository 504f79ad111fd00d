"""What a federation's file becomes: here, the limits of its images."""

from __future__ import annotations

import asyncio
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from midhaul.errors import DataError
from midhaul.federation.serving.config import FederationFile, ProviderConfig
from midhaul.federation.serving.from_config import knowledge_of
from midhaul.runs.spec import Spec


def photo() -> bytes:
    """A photo of 64 by 48 px that a person sees as one of 48 by 64."""
    exif = Image.Exif()
    exif[0x0112] = 8
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "JPEG", exif=exif.tobytes())
    return file.getvalue()


def test_images_are_measured_within_the_limits_of_the_file() -> None:
    """As a person sees them; what exceeds a limit is refused by its head."""
    one = ProviderConfig(spec=Spec("local:null"), name="a", price_usd=0.0)
    measure = knowledge_of(FederationFile(providers=(one,))).measure
    assert measure is not None
    assert asyncio.run(measure(photo())) == (48, 64)  # type: ignore[arg-type]
    small = knowledge_of(FederationFile(providers=(one,), max_pixels=3_000)).measure
    assert small is not None
    with pytest.raises(DataError, match="64x48 px, more than 3,000 px"):
        asyncio.run(small(photo()))  # type: ignore[arg-type]


class _Held(ThreadPoolExecutor):
    """Threads that begin nothing before they may."""

    def __init__(self) -> None:
        super().__init__()
        self.n_given = 0
        self.may_begin = threading.Event()

    def submit(self, fn: Any, /, *args: Any, **named: Any) -> Any:
        """As it does, but held."""

        def held() -> Any:
            self.may_begin.wait(60)
            return fn(*args, **named)

        self.n_given += 1
        return super().submit(held)


def test_a_large_image_that_nobody_waits_for_is_still_the_only_one() -> None:
    """A thread goes on decoding when its client has left."""
    one = ProviderConfig(spec=Spec("local:null"), name="a", price_usd=0.0)
    measure: Any = knowledge_of(FederationFile(providers=(one,))).measure
    file = io.BytesIO()
    Image.new("RGB", (2_500, 2_000)).save(file, "PNG")

    async def ask() -> tuple[float, float]:
        held = _Held()
        asyncio.get_running_loop().set_default_executor(held)
        left = asyncio.create_task(measure(file.getvalue()))
        await asyncio.sleep(0)
        assert held.n_given == 1
        left.cancel()
        await asyncio.wait([left])
        waiting = [asyncio.create_task(measure(file.getvalue())) for _ in range(2)]
        waiting[0].cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert held.n_given == 1
        held.may_begin.set()
        return await waiting[1]

    assert asyncio.run(ask()) == (2_500, 2_000)
