"""JPEG files, whole or not at all.

A JPEG carries no checksum. Its decoder goes on behind damage and only warns, so
whatever it warns of as corrupt is refused here. Besides, a file whose later scans are
missing decodes without any warning; whether all are there stands in the scans' heads
(ITU-T T.81, B.2.3 and G.1.1).
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field

import numpy as np
import simplejpeg

from midhaul.errors import DataError

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

    Args:
        data: the file.
        most: scans after which to stop, one more than are borne.
        where: name of the image, for messages.

    Raises:
        DataError: the file has so many segments that reading them takes long. What
            cannot be understood otherwise is left to the decoder.
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

    Args:
        data: the file.
        scans: of it.
        colours: ``RGB``, or ``CMYK`` for a file of four components.
        where: name of the image, for messages.

    Raises:
        DataError: the file is cut off or damaged, as far as can be told.
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
