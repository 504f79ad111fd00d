"""What a layer takes unpacked, from a few bytes of it.

A gzip member ends in its uncompressed length modulo 2**32 (RFC 1952, ISIZE); a zstd
frame may begin with its own (RFC 8878, Frame_Content_Size). Both speak for one member
or frame only, so a size is believed where nothing contradicts that it is the layer's:

1. The first 16 KiB are read, too. A member or frame that ends in them is not the only
   one (eStargz, zstd:chunked, bgzip).
2. Deflate makes nothing larger than by 1/1000 and nothing smaller than by 1032 (M.
   Adler, zlib's technical notes). An ISIZE outside of that is of another member, or
   wants a multiple of 2**32; the least one that fits is taken.
3. Where a further multiple is possible, the size is exact only if that would be
   a ratio above 10, and neither the size taken nor the first 16 KiB have such a one.
   Else the multiple nearest to the usual ratio is taken, as an estimate.

What this cannot see: a layer of several members or frames whose first is longer than
16 KiB, and of which the one that speaks (the last of gzip, the first of zstd) unpacks
to more than all are when compressed. No builder known to us writes that.
"""

from __future__ import annotations

import asyncio
import io
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from midhaul.deploy.store.failures import verify

if TYPE_CHECKING:
    from midhaul.deploy.store.manifests import Compression, Descriptor, Reference
    from midhaul.deploy.store.resolve import ImageSource

HEAD_BYTES = 1 << 14
"""A layer up to here is fetched as a whole and counted; of others so much is read."""

_WRAP = 1 << 32
_MOST_RATIO = 1032
_USUAL_MOST_RATIO = 10
_OVERHEAD_BYTES = 1024  # a header with a long name, and the trailer
_MOST_COUNTED_BYTES = 1 << 32
_PIECE_BYTES = 1 << 20
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ID_BYTES = (0, 1, 2, 4)
_BLOCK_BYTES = 3
_RLE_BLOCK = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackedSize:
    """What the tar of a layer takes; not exact where another size is possible."""

    n_bytes: int
    is_exact: bool


async def unpacked_size(
    source: ImageSource, reference: Reference, layer: Descriptor, ratio: float
) -> UnpackedSize | None:
    """What a layer takes unpacked, as its own bytes tell; None where they do not.

    ``ratio`` is the usual one of uncompressed over compressed bytes. A DataError where
    a small layer is not what its digest says.
    """
    n_head = min(HEAD_BYTES, layer.n_bytes)
    if not n_head:
        return _exact(0)
    head = await source.blob_part(reference, layer, 0, n_head - 1)
    if head is None:
        return None
    if n_head == layer.n_bytes:
        verify(reference, "layer", layer.digest, head)
        return _exact(await asyncio.to_thread(counted, head, layer.compression))
    if layer.compression == "zstd":
        return _exact(zstd_bytes(head, layer.n_bytes))
    n_begin, last = _begin_bytes(head), layer.n_bytes - 1
    tail = n_begin and await source.blob_part(reference, layer, last - 3, last)
    if not n_begin or not tail:
        return None
    isize = int.from_bytes(tail, "little")
    return gzip_size(isize, layer.n_bytes, n_begin / n_head, ratio)


def _exact(n_bytes: int | None) -> UnpackedSize | None:
    return None if n_bytes is None else UnpackedSize(n_bytes=n_bytes, is_exact=True)


def gzip_size(
    isize: int, n_bytes: int, head_ratio: float, ratio: float
) -> UnpackedSize | None:
    """What a gzip of one member unpacks to; None where no single member ends like that.

    ``isize`` is its last four bytes; ratios are uncompressed over compressed bytes, of
    its beginning and usual.
    """
    least = (n_bytes - _OVERHEAD_BYTES) * 1000 / 1001
    first = isize + _WRAP * max(0, math.ceil((least - isize) / _WRAP))
    if first > n_bytes * _MOST_RATIO:
        return None
    further = range(first + _WRAP, int(n_bytes * _MOST_RATIO) + 1, _WRAP)
    if not further:
        return UnpackedSize(n_bytes=first, is_exact=True)
    usual = n_bytes * _USUAL_MOST_RATIO
    if max(first, head_ratio * n_bytes) <= usual < further[0]:
        return UnpackedSize(n_bytes=first, is_exact=True)
    wanted = n_bytes * ratio
    nearest = round((wanted - first) / _WRAP)
    likely = [first, *further[max(0, nearest - 2) : nearest + 1]]
    best = min(likely, key=lambda size: abs(math.log(max(size, 1) / wanted)))
    return UnpackedSize(n_bytes=best, is_exact=False)


def zstd_bytes(head: bytes, n_bytes: int) -> int | None:
    """What a zstd frame says it unpacks to; None where it is not alone, or silent."""
    if not head.startswith(_ZSTD_MAGIC) or len(head) < 18:  # noqa: PLR2004 - the longest header
        return None
    flags = head[4]
    is_single_segment = bool(flags & 0x20)
    n_size = (int(is_single_segment), 2, 4, 8)[flags >> 6]
    at = 5 + (not is_single_segment) + _ID_BYTES[flags & 3]
    if not n_size:
        return None
    said = int.from_bytes(head[at : at + n_size], "little")
    said += 256 if n_size == 2 else 0  # noqa: PLR2004 - RFC 8878, 3.1.1.1.4
    if _ends_within(head, at + n_size) or said < n_bytes * 1000 / 1001 - (
        _OVERHEAD_BYTES
    ):
        return None
    return said


def _ends_within(head: bytes, at: int) -> bool:
    """Whether the frame whose blocks begin at ``at`` ends in what is there."""
    while at + _BLOCK_BYTES <= len(head):
        block = int.from_bytes(head[at : at + _BLOCK_BYTES], "little")
        is_last, kind, size = block & 1, block >> 1 & 3, block >> 3
        at += _BLOCK_BYTES + (1 if kind == _RLE_BLOCK else size)
        if is_last:
            return True
    return False


def _begin_bytes(head: bytes) -> int | None:
    """What the beginning of a gzip unpacks to; None if it is none, or not alone."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        n_bytes = len(unpacker.decompress(head))
    except zlib.error:
        return None
    return None if unpacker.eof else n_bytes


def counted(body: bytes, compression: Compression | None) -> int | None:
    """What a whole layer unpacks to; None if it is no such compression, or a bomb."""
    if compression is None:
        return len(body)
    total = 0
    try:
        with pa.input_stream(io.BytesIO(body), compression=compression) as stream:
            while piece := stream.read(_PIECE_BYTES):
                total += len(piece)
                if total > _MOST_COUNTED_BYTES:
                    return None
    except OSError:
        return None
    return total
