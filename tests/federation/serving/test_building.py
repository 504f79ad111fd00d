"""What a federation's file becomes: here, the limits of its images."""

from __future__ import annotations

import asyncio
import io

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
