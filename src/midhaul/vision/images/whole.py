"""Truncated images: PNG, TIFF and JPEG files are whole or refused.

*PNG and TIFF*: Pillow leaves rows black that a file has no data for when its compressed
stream ends properly but early, and it does not hear what libtiff only warns of.

*JPEG* carries no checksum. Its decoder goes on behind damage and only warns, so
whatever it warns of as corrupt is refused here. Besides, a file whose later scans are
missing decodes without any warning; whether all are there stands in the scans' heads
(ITU-T T.81, B.2.3 and G.1.1).
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import simplejpeg

from midhaul.errors import DataError
from midhaul.vision.images.orientation import png_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_BASELINE = frozenset({0xC0, 0xC1, 0xC9})
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_FILL = 0xFF
_N_COEFFICIENTS = 64
_UNSENT = 99
_MAX_SEGMENTS = 20_000
# In coded data FF is followed by 00, and restart markers are part of it.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_STRAYS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_JFIF_AT = 32
"""Bytes within which the name stands: JFIF is the first segment."""
_HARMLESS = ("JFIF revision", "Adobe color", "ICC marker")
_END = b"\xff\xd9"
_MAX_FILL_BITS = 7
_READ_AHEAD_BYTES = 17


@dataclass(slots=True)
class Scans:
    """What the heads of a JPEG's scans say.

    Attributes:
        n: scans in the file, as far as they were looked at.
        coded: where the coded data of the last scan begin.
        is_complete: true when every coefficient of every component is sent to its last
            bit.
    """

    n: int = 0
    coded: int = 0
    is_complete: bool = False


@dataclass(slots=True)
class _Walk:
    """A walk through markers: low bits that each coefficient lacks, by component."""

    scans: Scans = field(default_factory=Scans)
    lacks: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    is_baseline: bool = False

    def frame(self, marker: int, body: bytes) -> None:
        self.is_baseline = marker in _BASELINE
        ids = [body[6 + 3 * i] for i in range(body[5])]
        self.lacks = {one: [_UNSENT] * _N_COEFFICIENTS for one in ids}

    def scan(self, body: bytes) -> None:
        n = body[0]
        first, last, bits = body[2 * n + 1 : 2 * n + 4]
        if self.is_baseline:
            first, last, bits = 0, _N_COEFFICIENTS - 1, 0
        for i in range(n):
            lacks = self.lacks.get(body[1 + 2 * i], [])
            lacks[first : last + 1] = [bits & 15] * len(lacks[first : last + 1])
        self.scans.n += 1
        self.scans.is_complete = not any(map(any, self.lacks.values()))


def read_scans(data: bytes, *, most: int, where: str) -> Scans:
    """Walk through the markers of a JPEG; no pixel is decoded.

    It stops after ``most`` scans, one more than are borne. DataError if the file has so
    many segments that reading them takes long; what cannot be understood otherwise is
    left to the decoder.
    """
    walk = _Walk()
    # Of a marker that is not whole the decoder speaks in its own words.
    with contextlib.suppress(IndexError, ValueError):
        _walk(walk, data, most, where)
    return walk.scans


def _walk(walk: _Walk, data: bytes, most: int, where: str) -> None:
    place, n_segments = 2, 0
    while data[place] == _FILL:
        marker = data[place + 1]
        n_segments += 1
        if n_segments > _MAX_SEGMENTS:
            message = f"{where} has more than {_MAX_SEGMENTS:,} segments"
            raise DataError(message, "save the image again")
        if marker == _EOI:
            return
        if marker == _FILL or marker in _ALONE:
            place += 1 if marker == _FILL else 2
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        body = data[place + 4 : place + 2 + length]
        place += 2 + length
        if marker in _BASELINE | _PROGRESSIVE:
            walk.frame(marker, body)
        elif marker == _SOS:
            walk.scan(body)
            walk.scans.coded = place
            if walk.scans.n >= most or (walk.is_baseline and walk.scans.is_complete):
                return
            found = _NEXT_MARKER.search(data, place)
            if found is None:
                return
            place = found.start()


def decode_jpeg(data: bytes, scans: Scans, colours: str, where: str) -> np.ndarray:
    """Decode a JPEG as libjpeg-turbo stores it, if it is whole.

    ``colours`` is ``RGB``, or ``CMYK`` for a file of four components. DataError if the
    file is cut off or damaged, as far as can be told.
    """
    try:
        pixels = simplejpeg.decode_jpeg(data, colours)
    except ValueError as error:
        said = str(error)
        strays = _STRAYS.search(said)
        if strays is not None and not _ends_cleanly(
            data, scans, int(strays[1]), colours
        ):
            said = "its coded data do not end where the picture does"
        elif strays is not None or any(word in said for word in _HARMLESS):
            return _leniently(data, colours, where)
        raise damaged(where, said) from error
    if not scans.is_complete:
        raise damaged(where, "scans are missing")
    return pixels


def _leniently(data: bytes, colours: str, where: str) -> np.ndarray:
    """Decode a JPEG although there were warnings.

    That its JFIF has an unknown revision remains an error of the decoder, so it is
    given one that is known; no pixel depends on it.
    """
    revision = data.find(b"JFIF\0", 0, _JFIF_AT) + len(b"JFIF\0")
    if revision >= len(b"JFIF\0"):
        data = data[:revision] + b"\1\1" + data[revision + 2 :]
    try:
        return simplejpeg.decode_jpeg(data, colours, strict=False)
    except ValueError as error:
        raise damaged(where, error) from error


def damaged(where: str, reason: object) -> DataError:
    """The error of a file that is not whole."""
    message = f"{where} is cut off or damaged: {reason}"
    return DataError(message, "fetch or save the file again")


def _ends_cleanly(data: bytes, scans: Scans, n_strays: int, colours: str) -> bool:
    """Whether bytes before the end marker are strays behind a whole picture.

    Cameras leave some there. So does damage, when the decoder has lost its place and is
    done too early. Then the bits that follow the last code are those of a code, while a
    whole picture ends in bits of 1 up to the next byte (T.81, F.1.2.3).
    """
    end = _NEXT_MARKER.search(data, scans.coded)
    if end is None or not scans.is_complete:
        return False
    place = end.start() - n_strays
    if not _is_enough(data[:place], colours):
        return False
    # The decoder reads ahead, and does not count what it has read as strays.
    for _ in range(_READ_AHEAD_BYTES):
        if place - 1 <= scans.coded or not _is_enough(data[: place - 1], colours):
            break
        place -= 1
    return _has_fill_bits(data[:place], colours)


def _is_enough(body: bytes, colours: str) -> bool:
    """Whether a picture that an end marker is added to decodes without a warning."""
    try:
        simplejpeg.decode_jpeg(body + _END, colours, min_factor=8)
    except ValueError:
        return False
    return True


def _has_fill_bits(body: bytes, colours: str) -> bool:
    """Whether the bits of the last byte that no pixel depends on are all 1."""
    if body.endswith(b"\xff\x00"):
        return True
    seen = simplejpeg.decode_jpeg(body + _END, colours)
    last, n_fill = body[-1], 0
    for n in range(1, _MAX_FILL_BITS + 1):
        other = bytes([last ^ (1 << (n - 1))])
        try:
            pixels = simplejpeg.decode_jpeg(body[:-1] + other + _END, colours)
        except ValueError:
            break
        if not np.array_equal(pixels, seen):
            break
        n_fill = n
    ones = (1 << n_fill) - 1
    return last & ones == ones


_MAX_PIECES = 20_000
"""Chunks of a PNG and blocks of a GIF before its image; reading more takes long."""
_PNG = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
    (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
_STEP_BYTES = 1 << 20
# TIFF 6.0: width, length, bits, compression, strips, samples, rows, counts, planes,
# tiles; TTN2: the tables that JPEG strips share.
_WIDTH, _LENGTH, _COMPRESSION, _PLANES = 256, 257, 259, 284
_SAMPLES, _ROWS = 277, 278
_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 279, 324, 325
_TILE_WIDTH, _TILE_LENGTH, _TABLES = 322, 323, 347
_JPEG = 7
_CHECKED = {1, 5, _JPEG, 8, 32773, 32946, 34925, 50000}
"""None, LZW, JPEG, deflate (two numbers), PackBits, LZMA and Zstandard: those with
which a missing part is an error. With CCITT's it is but a warning."""


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that the head of a PNG or WebP declares; None for other files.

    Opening a WebP takes memory for all of its pixels, so its head comes first.
    """
    kind, body = data[12:16], data[20:30]
    if data.startswith(_PNG) and kind == b"IHDR" and len(body) >= 4:  # noqa: PLR2004
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    if data[8:12] != b"WEBP":
        return None
    if kind == b"VP8X" and len(body) == 10:  # noqa: PLR2004 - of the container's format
        return (
            int.from_bytes(body[4:7], "little") + 1,
            int.from_bytes(body[7:10], "little") + 1,
        )
    if kind == b"VP8L" and len(body) >= 5:  # noqa: PLR2004
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", body[6:10].ljust(4, b"\0"))
        return width & 0x3FFF, height & 0x3FFF
    return None


def check_pieces(data: bytes, where: str) -> None:
    """Refuse a PNG or GIF of so many small parts that reading its head takes long.

    DataError if it has more than 20,000.
    """
    if data[:4] == b"GIF8":
        pieces: Iterator[object] = _gif_blocks(data)
    else:
        pieces = png_chunks(io.BytesIO(data))
    for n, _ in enumerate(pieces, 1):
        if n > _MAX_PIECES:
            message = f"{where} has more than {_MAX_PIECES:,} chunks"
            raise DataError(message, "save the image again")


def check_png(image: Image.Image, data: bytes, where: str) -> None:
    """Refuse a PNG whose data do not fill its picture; it is decoded already.

    DataError if rows are missing, or the file ends before its end chunk.
    """
    chunks = list(png_chunks(io.BytesIO(data)))
    kind, place, length = chunks[-1]
    if kind != b"IEND" or len(data) < place + length + 4:
        raise damaged(where, "it has no end")
    is_interlaced = data[28] != 0
    for kind, place, length in chunks:
        said = data[place + length : place + length + 4]
        if kind == b"IDAT" and said != _checksum(kind, data[place : place + length]):
            raise damaged(where, "the checksum of its pixels is another one")
    # Pixels without data are 0, so a row that is not proves all before it. Only where
    # that says nothing, the stream is inflated a second time.
    last = image.crop((0, image.height - 1, image.width, image.height))
    if not is_interlaced and np.asarray(last).any():
        return
    missing = _png_bytes(data) - _inflated(data, chunks, _png_bytes(data))
    if missing > 0:
        raise damaged(where, f"{missing:,} bytes of its pixels are missing")


def check_tiff(image: Any, data: bytes, where: str) -> None:
    """Refuse a TIFF of which strips or tiles are missing, or cannot be checked."""
    tags = image.tag_v2
    compression = tags.get(_COMPRESSION, 1)
    if compression not in _CHECKED:
        message = (
            f"{where} is a TIFF of compression {compression}, in which missing parts "
            "cannot be told from white ones"
        )
        raise DataError(message, "save it as PNG, or as TIFF with LZW or deflate")
    width, length = int(tags[_WIDTH]), int(tags[_LENGTH])
    is_tiled = _TILES in tags
    if is_tiled:
        across = -(-width // int(tags[_TILE_WIDTH]))
        n_wanted = across * -(-length // int(tags[_TILE_LENGTH]))
    else:
        n_wanted = -(-length // max(1, min(int(tags.get(_ROWS, length)), length)))
    if tags.get(_PLANES, 1) == 2:  # noqa: PLR2004 - one after the other
        n_wanted *= int(tags.get(_SAMPLES, 1))
    places = tags.get(_TILES if is_tiled else _STRIPS, ())
    if len(places) < n_wanted:
        what = "tiles" if is_tiled else "strips"
        raise damaged(where, f"{n_wanted - len(places)} of {n_wanted} {what} missing")
    if compression == _JPEG:
        counts = tags.get(_TILE_BYTES if is_tiled else _STRIP_BYTES, ())
        for place, count in zip(places, counts, strict=False):
            _check_jpeg_part(data[place : place + count], tags.get(_TABLES), where)


def _check_jpeg_part(part: bytes, tables: bytes | None, where: str) -> None:
    """A strip or tile is a JPEG of its own, but for the tables that all share."""
    shared = b"" if tables is None else bytes(tables)[2:-2]
    try:
        simplejpeg.decode_jpeg(part[:2] + shared + part[2:], "GRAY", min_factor=8)
    except ValueError as error:
        raise damaged(where, error) from error


def _checksum(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _png_bytes(data: bytes) -> int:
    """Bytes of a PNG's picture once inflated: a filter byte and the pixels, by row."""
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    bits = depth * _CHANNELS[colour]
    passes = _ADAM7 if data[28] else ((0, 0, 1, 1),)
    total = 0
    for x, y, dx, dy in passes:
        across, down = -(-(width - x) // dx), -(-(height - y) // dy)
        if across > 0 and down > 0:
            total += down * (1 + -(-across * bits // 8))
    return total


def _inflated(data: bytes, chunks: list[tuple[bytes, int, int]], most: int) -> int:
    """Bytes that the image data of a PNG inflate to, counted up to ``most``."""
    stream = zlib.decompressobj()
    total = 0
    for kind, place, length in chunks:
        if kind != b"IDAT":
            continue
        left = data[place : place + length]
        while left and total < most and not stream.eof:
            total += len(stream.decompress(left, _STEP_BYTES))
            left = stream.unconsumed_tail
    return total + len(stream.flush()) if total < most else total


def _gif_blocks(data: bytes) -> Iterator[int]:
    """Places of the blocks before the first image of a GIF."""
    flags = data[10] if len(data) > 10 else 0  # noqa: PLR2004 - of the screen
    place = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    while data[place : place + 1] == b"\x21":
        place += 2
        while place < len(data) and data[place]:
            yield place
            place += 1 + data[place]
        yield place
        place += 1
