"""A picture is what a person sees: orientations of files, pixels and boxes."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from midhaul.vision.data.files import stored_size_of
from midhaul.vision.images.codecs import decode, size
from midhaul.vision.images.orientation import (
    has_same_shape,
    orientation_of,
    turned,
    turned_boxes,
    turned_size,
)

if TYPE_CHECKING:
    from pathlib import Path

TAG = 0x0112
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="%d"/></x:xmpmeta>'


def noise(width: int, height: int) -> np.ndarray:
    """A picture no two of whose pixels are alike."""
    rng = np.random.default_rng(width * 1000 + height)
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


def stored(pixels: np.ndarray, kind: str, orientation: object) -> bytes:
    """A file of these pixels that asks to be turned."""
    target = io.BytesIO()
    image = Image.fromarray(pixels)
    if kind == "TIFF":
        image.save(target, kind, tiffinfo={TAG: orientation})
        return target.getvalue()
    exif = Image.Exif()
    exif[TAG] = orientation
    image.save(target, kind, exif=exif.tobytes(), **_lossless(kind))
    return target.getvalue()


def _lossless(kind: str) -> dict[str, bool]:
    return {"lossless": True} if kind == "WEBP" else {}


def seen(data: bytes) -> np.ndarray:
    """The file as Pillow shows it."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG with one more chunk, right before its end."""
    body = kind + data
    chunk = struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    return png[:-12] + chunk + png[-12:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_format_is_read_as_pillow_shows_it(
    tmp_path: Path, kind: str, orientation: int
) -> None:
    """All eight orientations in all formats that can carry one, pixel for pixel."""
    data = stored(noise(30, 20), kind, orientation)
    assert np.array_equal(decode(data), seen(data))
    shown = (20, 30) if orientation >= 5 else (30, 20)
    assert size(data) == shown
    (tmp_path / "a").write_bytes(data)
    assert stored_size_of(tmp_path / "a") == ((30, 20), orientation)


def test_exif_behind_the_pixels_of_a_png_counts() -> None:
    """The chunk may stand there, and the size must still come from a header."""
    exif = Image.Exif()
    exif[TAG] = 6
    plain = stored(noise(30, 20), "PNG", 1)
    target = io.BytesIO()
    Image.fromarray(noise(30, 20)).save(target, "PNG")
    for base in (target.getvalue(), plain):
        data = with_chunk(base, b"eXIf", exif.tobytes()[6:])
        assert size(data) == (20, 30)
        assert np.array_equal(decode(data), seen(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_xmp_counts_where_exif_says_nothing(kind: str) -> None:
    """As in Pillow; a TIFF's size is then turned as well."""
    target = io.BytesIO()
    options: dict[str, object] = {"xmp": XMP % 8} if kind != "PNG" else {}
    if kind == "PNG":
        from PIL.PngImagePlugin import PngInfo  # noqa: PLC0415 - for this format only

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", (XMP % 8).decode())
        options = {"pnginfo": info}
    if kind == "TIFF":
        options = {"tiffinfo": {700: XMP % 8}}
    Image.fromarray(noise(30, 20)).save(target, kind, **options, **_lossless(kind))
    data = target.getvalue()
    assert np.array_equal(decode(data), seen(data))
    assert size(data) == (decode(data).shape[1], decode(data).shape[0]) == (20, 30)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(value: int) -> None:
    """A viewer ignores it too."""
    data = stored(noise(30, 20), "JPEG", value)
    assert size(data) == (30, 20)
    assert np.array_equal(decode(data), seen(data))


@given(junk=st.binary(max_size=60), kind=st.sampled_from(["JPEG", "PNG", "WEBP"]))
def test_broken_exif_turns_nothing_and_breaks_nothing(junk: bytes, kind: str) -> None:
    """Whatever bytes stand in place of EXIF, the picture is there."""
    target = io.BytesIO()
    pixels = noise(12, 8)
    exif = b"Exif\0\0" + junk
    Image.fromarray(pixels).save(target, kind, exif=exif, **_lossless(kind))
    with Image.open(io.BytesIO(target.getvalue())) as image:
        assert 1 <= orientation_of(image) <= 8
    assert decode(target.getvalue()).shape[2] == 3


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    orientation=st.integers(1, 8),
    data=st.data(),
)
def test_boxes_turn_with_their_pixels(
    width: int, height: int, orientation: int, data: st.DataObject
) -> None:
    """A box around white pixels is around them after the turn."""
    x1 = data.draw(st.integers(0, width - 1))
    y1 = data.draw(st.integers(0, height - 1))
    x2 = data.draw(st.integers(x1 + 1, width))
    y2 = data.draw(st.integers(y1 + 1, height))
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y1:y2, x1:x2] = 255
    after = turned(pixels, orientation)
    assert (after.shape[1], after.shape[0]) == turned_size((width, height), orientation)
    down, across = np.nonzero(after[:, :, 0])
    box = np.array([[x1, y1, x2, y2]], np.float32)
    found = turned_boxes(box, orientation, (width, height))
    wanted = [across.min(), down.min(), across.max() + 1, down.max() + 1]
    assert found.dtype == np.float32
    assert found.tolist() == [wanted]


@given(
    width=st.integers(8, 4000), height=st.integers(8, 4000), factor=st.floats(0.1, 4)
)
def test_a_resize_keeps_the_shape_however_it_rounds(
    width: int, height: int, factor: float
) -> None:
    """Up, down or to the nearest px."""
    for rounded in (np.floor, np.ceil, np.round):
        other = (int(rounded(width * factor)), int(rounded(height * factor)))
        if min(other) > 0:
            assert has_same_shape((width, height), other)


def test_a_turn_or_a_crop_is_another_shape() -> None:
    """What no factor leads to."""
    assert not has_same_shape((640, 480), (480, 640))
    assert not has_same_shape((640, 480), (640, 470))
    assert not has_same_shape((0, 0), (640, 480))
