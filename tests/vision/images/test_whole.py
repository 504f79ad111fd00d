"""An image is whole or an error: cut files, damaged streams, samples without range."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from midhaul.errors import DataError
from midhaul.vision.images.codecs import decode, size
from midhaul.vision.images.limits import DecodingLimits

# What Pillow says of some damaged files on its own, beside what is raised.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

WIDTH, HEIGHT = 60, 44
SHORT, LONG = 3, 4


def picture() -> np.ndarray:
    """Colours that go on to the last row, which is black at no place."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = [x * 4 + 9, y * 5 + 9, (x * y) % 230 + 9]
    return np.stack(planes, axis=2).astype(np.uint8)


def saved(pixels: np.ndarray, kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """The pixels as a file."""
    target = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(target, kind, **options)
    return target.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG with its right checksum."""
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(
    stream: bytes, *, depth: int = 8, colour: int = 2, interlace: int = 0,
    size: tuple[int, int] = (WIDTH, HEIGHT), more: bytes = b"",
) -> bytes:  # fmt: skip
    """A PNG around a compressed stream, everything about it right."""
    head = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlace)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + more
        + chunk(b"IDAT", stream)
        + chunk(b"IEND", b"")
    )


def rows(pixels: np.ndarray) -> bytes:
    """Rows of a PNG without filters."""
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def tiff(parts: list[bytes], tags: dict[int, list[int]]) -> bytes:
    """A TIFF of parts that are strips unless the tags say otherwise."""
    out = io.BytesIO(b"II*\0\0\0\0\0")
    out.seek(8)
    places: list[int] = []
    for part in parts:
        places.append(out.tell())
        out.write(part)
    is_tiled = 322 in tags
    known = {
        256: [WIDTH], 257: [HEIGHT], 258: [8, 8, 8], 259: [1], 262: [2], 277: [3],
        324 if is_tiled else 273: places,
        325 if is_tiled else 279: [len(part) for part in parts],
    }  # fmt: skip
    known |= tags
    fields: list[bytes] = []
    for tag, values in sorted(known.items()):
        kind = LONG if tag in {273, 279, 324, 325} else SHORT
        body = struct.pack(f"<{len(values)}{'I' if kind == LONG else 'H'}", *values)
        if len(body) > 4:
            place = out.tell()
            out.write(body)
            body = struct.pack("<I", place)
        fields.append(
            struct.pack("<HHI", tag, kind, len(values)) + body.ljust(4, b"\0")
        )
    place = out.tell()
    out.write(struct.pack("<H", len(fields)) + b"".join(fields) + b"\0\0\0\0")
    data = bytearray(out.getvalue())
    data[4:8] = struct.pack("<I", place)
    return bytes(data)


FILES = {
    "JPEG": saved(picture(), "JPEG"),
    "progressive JPEG": saved(picture(), "JPEG", progressive=True),
    "gray JPEG": saved(picture(), "JPEG", "L"),
    "CMYK JPEG": saved(picture(), "JPEG", "CMYK"),
    "PNG": saved(picture(), "PNG"),
    "palette PNG": saved(picture(), "PNG", "P"),
    "alpha PNG": saved(picture(), "PNG", "RGBA"),
    "bilevel PNG": saved(picture(), "PNG", "1"),
    "WebP": saved(picture(), "WEBP"),
    "lossless WebP": saved(picture(), "WEBP", lossless=True),
    "BMP": saved(picture(), "BMP"),
    "palette BMP": saved(picture(), "BMP", "P"),
    "GIF": saved(picture(), "GIF", "P"),
    "TIFF": saved(picture(), "TIFF"),
    "LZW TIFF": saved(picture(), "TIFF", compression="tiff_lzw"),
    "deflate TIFF": saved(picture(), "TIFF", compression="tiff_adobe_deflate"),
    "PackBits TIFF": saved(picture(), "TIFF", compression="packbits"),
    "JPEG TIFF": saved(picture(), "TIFF", compression="jpeg"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_anywhere_is_whole_or_an_error(name: str) -> None:
    """At 60 places and in the last bytes: never a picture with something missing.

    What may be missing is what comes after the last pixel, such as a GIF's trailer.
    """
    data = FILES[name]
    whole = decode(data)
    cuts = {*np.linspace(0, len(data) - 1, 60).astype(int).tolist()}
    for length in sorted(cuts | set(range(len(data) - 14, len(data)))):
        try:
            found = decode(data[:length])
        except DataError:
            continue
        assert np.array_equal(found, whole), length
        assert len(data) - length <= 2, length


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_pillow(name: str) -> None:
    """Palettes, alpha, inks and single bits become RGB as Pillow has it."""
    with Image.open(io.BytesIO(FILES[name])) as image:
        wanted = np.asarray(image.convert("RGBA").convert("RGB"))
        if image.mode in {"CMYK", "L", "1"}:
            wanted = np.asarray(image.convert("RGB"))
    assert np.array_equal(decode(FILES[name]), wanted)


@given(rest=st.integers(0, HEIGHT - 1), is_black=st.booleans(), level=st.integers(0, 9))
@settings(max_examples=20)
def test_a_png_whose_stream_ends_early_is_refused(
    rest: int,
    is_black: bool,  # noqa: FBT001 - a parameter of the property
    level: int,
) -> None:
    """All checksums are right and the end is there, but rows are missing."""
    pixels = picture()
    if is_black:
        pixels[HEIGHT // 2 :] = 0
    whole = rows(pixels)
    assert np.array_equal(decode(png(zlib.compress(whole, level))), pixels)
    short = whole[: rest * (1 + 3 * WIDTH)]
    with pytest.raises(DataError, match="cut off or damaged"):
        decode(png(zlib.compress(short, level)))


def test_an_interlaced_png_whose_stream_ends_early_is_refused() -> None:
    """Then every row has some pixels, and none has all."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
              (1, 0, 2, 2), (0, 1, 1, 2))  # fmt: skip
    parts = [rows(picture()[y::dy, x::dx]) for x, y, dx, dy in passes]
    whole = png(zlib.compress(b"".join(parts)), interlace=1)
    assert np.array_equal(decode(whole), picture())
    for n in range(1, 7):
        with pytest.raises(DataError, match="cut off or damaged"):
            decode(png(zlib.compress(b"".join(parts[:n])), interlace=1))


def test_a_png_of_another_checksum_is_refused() -> None:
    """A flipped bit of its stream is not a pixel of another colour."""
    whole = FILES["PNG"]
    begin = whole.index(b"IDAT") + 4
    for place in np.linspace(begin, len(whole) - 20, 25).astype(int):
        data = bytearray(whole)
        data[place] ^= 16
        with pytest.raises(DataError):
            decode(bytes(data))


@pytest.mark.parametrize("name", ["JPEG", "progressive JPEG", "CMYK JPEG"])
def test_whatever_a_jpeg_decoder_calls_corrupt_is_refused(name: str) -> None:
    """It warns and goes on; a picture of another place in the file is none."""
    whole = FILES[name]
    colours = "CMYK" if "CMYK" in name else "RGB"
    begin = whole.rindex(b"\xff\xda") + 14
    n_warned = n_read = 0
    for place in range(begin, len(whole) - 2, 3):
        data = bytearray(whole)
        data[place] ^= 1 << (place % 8)
        try:
            simplejpeg.decode_jpeg(bytes(data), colours)
        except ValueError as error:
            n_warned += 1
            # Bits that happen to be 1 look like the end of a whole picture.
            n_read += _reads(bytes(data)) and "before marker 0xd9" not in str(error)
    assert n_warned > 5
    assert not n_read


def _reads(data: bytes) -> bool:
    try:
        decode(data)
    except DataError:
        return False
    return True


@pytest.mark.parametrize("strays", [b"\0", b"stray", b"\0" * 60, b"\xff\xff\xff"])
@pytest.mark.parametrize("name", ["JPEG", "gray JPEG", "CMYK JPEG"])
def test_strays_behind_the_last_pixel_of_a_jpeg_are_borne(
    name: str, strays: bytes
) -> None:
    """Cameras leave some before the end marker; the picture is whole."""
    whole = FILES[name]
    data = whole[:-2] + strays + whole[-2:]
    assert np.array_equal(decode(data), decode(whole))


def test_a_progressive_jpeg_without_its_last_scans_is_refused() -> None:
    """With an end marker put on, no decoder warns of what is missing."""
    whole = FILES["progressive JPEG"]
    heads = [i for i in range(len(whole)) if whole.startswith(b"\xff\xda", i)]
    assert len(heads) > 5
    for head in heads[1:]:
        table = whole.rfind(b"\xff\xc4", 0, head)
        data = whole[: table if table > heads[0] else head] + b"\xff\xd9"
        with pytest.raises(DataError, match="cut off or damaged"):
            decode(data)


@pytest.mark.parametrize(
    ("compression", "pack"), [(1, bytes), (8, zlib.compress)], ids=["plain", "deflate"]
)
def test_a_tiff_without_all_of_its_strips_or_tiles_is_refused(
    compression: int, pack: Any
) -> None:
    """Their rows would be black."""
    strips = [pack(picture()[y : y + 11].tobytes()) for y in range(0, HEIGHT, 11)]
    tags = {259: [compression], 278: [11]}
    assert np.array_equal(decode(tiff(strips, tags)), picture())
    with pytest.raises(DataError, match="1 of 4 strips"):
        decode(tiff(strips[:3], tags))
    square = np.zeros((48, 64, 3), np.uint8)
    square[:HEIGHT, :WIDTH] = picture()
    tiles = [
        pack(square[y : y + 16, x : x + 16].tobytes())
        for y in range(0, 48, 16)
        for x in range(0, 64, 16)
    ]
    tags = {259: [compression], 322: [16], 323: [16]}
    assert np.array_equal(decode(tiff(tiles, tags)), picture())
    with pytest.raises(DataError, match="3 of 12 tiles"):
        decode(tiff(tiles[:9], tags))


def test_a_tiff_whose_decoder_only_warns_is_refused() -> None:
    """CCITT's codes go on in white, and a JPEG inside is as any JPEG."""
    gray = picture()[:, :, 1]
    for compression in ("group3", "group4"):
        with pytest.raises(DataError, match="cannot be told"):
            decode(saved(gray, "TIFF", "1", compression=compression))
    data = bytearray(FILES["JPEG TIFF"])
    with Image.open(io.BytesIO(data)) as image:
        tags: Any = image
        place, length = tags.tag_v2[273][0], tags.tag_v2[279][0]
    data[place + length // 2 : place + length // 2 + 2] = b"\xff\xd9"
    with pytest.raises(DataError, match="cut off or damaged"):
        decode(bytes(data))


def deep_png(samples: np.ndarray) -> bytes:
    """A PNG of 16 bits a sample, gray or RGB."""
    raw = samples.astype(">u2")
    colour = 2 if samples.ndim == 3 else 0
    return png(zlib.compress(rows(raw)), depth=16, colour=colour)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_scaled_where_they_are_used(channels: int) -> None:
    """The upper byte of a full range; a range that is not used is refused."""
    eight = picture()[:, :, 0] if channels == 1 else picture()
    full = eight.astype(np.uint16) * 257
    wanted = np.stack([eight] * 3, axis=2) if channels == 1 else eight
    assert np.array_equal(decode(deep_png(full)), wanted)
    for bits in (8, 10, 12, 14):
        with pytest.raises(DataError, match="states 16 bits"):
            decode(deep_png(full >> (16 - bits)))


def test_a_black_picture_of_16_bits_is_black() -> None:
    """Whatever its range."""
    assert not decode(deep_png(np.zeros((HEIGHT, WIDTH)))).any()


def test_a_tiff_of_16_bits_follows_its_tags() -> None:
    """The bits it states, and which end of them is white."""
    eight = picture()[:, :, 0]
    gray = {258: [16], 277: [1], 262: [1]}
    full = (eight.astype(np.uint16) * 257).astype("<u2")
    assert np.array_equal(decode(tiff([full.tobytes()], gray))[:, :, 0], eight)
    negative = tiff([(65535 - full).astype("<u2").tobytes()], gray | {262: [0]})
    assert np.array_equal(decode(negative)[:, :, 0], eight)
    with pytest.raises(DataError, match="states 16 bits"):
        decode(tiff([(full >> 4).astype("<u2").tobytes()], gray))
    with pytest.raises(DataError, match="signed or floating"):
        decode(tiff([full.tobytes()], gray | {339: [2]}))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_samples_without_a_range_are_refused(kind: Any) -> None:
    """Nobody says what is white in floating point, or in 32 bits."""
    target = io.BytesIO()
    Image.fromarray(picture()[:, :, 0].astype(kind)).save(target, "TIFF")
    with pytest.raises(DataError, match="what is white"):
        decode(target.getvalue())


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that declares so many pixels."""
    return png(zlib.compress(b"\0"), colour=0, size=(width, height))


def webp_head(width: int, height: int, kind: bytes) -> bytes:
    """A WebP that declares a size and has little else."""
    extended = b"\0" * 4 + (width - 1).to_bytes(3, "little")
    lossless = (width - 1) | (height - 1) << 14
    body = {
        b"VP8X": extended + (height - 1).to_bytes(3, "little"),
        b"VP8L": b"\x2f" + lossless.to_bytes(4, "little"),
        b"VP8 ": b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height),
    }[kind]
    part = kind + struct.pack("<I", len(body)) + body.ljust(10, b"\0")
    return b"RIFF" + struct.pack("<I", 4 + len(part)) + b"WEBP" + part


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bomb(1, 100_000_000), "more than 67,108,864 px"),
        (bomb(100_000, 10), "side of more than 65,535 px"),
        (webp_head(9_999, 9_999, b"VP8X"), "9999x9999 px, more than"),
        (webp_head(9_999, 9_999, b"VP8L"), "9999x9999 px, more than"),
        (webp_head(9_999, 9_999, b"VP8 "), "9999x9999 px, more than"),
    ],
)
def test_a_head_that_declares_too_much_is_refused(data: bytes, words: str) -> None:
    """Before memory is taken for a single pixel."""
    assert len(data) < 100
    for read in (decode, size):
        with pytest.raises(DataError) as error:
            read(data, where="photo 7")
        assert words in error.value.message
        assert "photo 7" in error.value.message


def test_scans_without_end_are_refused() -> None:
    """Each costs a walk over the whole picture."""
    whole = FILES["progressive JPEG"]
    last = whole.rindex(b"\xff\xda")
    data = whole[:-2] + whole[last:-2] * 3_000 + b"\xff\xd9"
    with pytest.raises(DataError, match="scans, more than 100"):
        decode(data)
    with pytest.raises(DataError, match="scans, more than 4"):
        decode(whole, limits=DecodingLimits(max_scans=4))
    with pytest.raises(DataError, match="s to decode"):
        decode(whole, limits=DecodingLimits(max_s=1e-5))


def test_heads_of_endless_small_parts_are_refused() -> None:
    """Reading them would take longer than any picture."""
    gif = saved(picture(), "GIF", "P")
    place = 13 + (3 << (gif[10] & 7) + 1)
    comment = b"\x21\xfe" + b"\x01x" * 30_000 + b"\0"
    many = chunk(b"teSt", b"") * 30_000
    segments = b"\xff\xe5\0\x02" * 30_000
    jpeg = FILES["JPEG"]
    for data in (
        gif[:place] + comment + gif[place:],
        png(zlib.compress(rows(picture())), more=many),
        jpeg[:2] + segments + jpeg[2:],
    ):
        with pytest.raises(DataError, match="more than 20,000"):
            size(data)


@given(noise=st.binary(max_size=300), name=st.sampled_from(sorted(FILES)))
@settings(max_examples=150)
def test_any_bytes_are_an_image_or_a_data_error(noise: bytes, name: str) -> None:
    """Heads of real files with anything behind them, and with anything in them."""
    data = FILES[name]
    for wrong in (
        noise,
        data[: len(noise)] + noise,
        noise[:9] + data[9:],
        data[:40] + noise + data[40 + len(noise) :],
    ):
        try:
            found = decode(wrong)
        except DataError:
            continue
        assert found.dtype == np.uint8


def test_a_jpeg_of_an_unknown_revision_is_the_same_picture() -> None:
    """The decoder calls it an error even where warnings are allowed."""
    file = io.BytesIO()
    pixels = np.random.default_rng(3).integers(0, 255, (16, 24, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    known = file.getvalue()
    place = known.index(b"JFIF\0") + 5
    odd = known[:place] + b"\x05\x09" + known[place + 2 :]
    assert np.array_equal(decode(odd), decode(known))
    with pytest.raises(DataError):
        decode(odd[: len(odd) // 2])
