"""What travels between workload, edge and cloud: frames, requests, answers.

A *framed message* is one JSON part and any number of binary parts::

    "MHF1" · uint32 n · n × uint64 length · JSON · part 1 · … · part n - 1

All integers are little-endian. Detections travel as float32 rows of x1, y1, x2, y2,
score and label index; the labels that occur stand in the JSON part. Nothing is ever
unpickled, and a message that is not whole is refused before anything is allocated.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

import numpy as np

from midhaul import documents
from midhaul.errors import DataError
from midhaul.model import Detections

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float32

FRAMES = "application/x-midhaul-frames"
"""Content type of a framed message."""

IMAGE_HEADER = "x-midhaul-image"
"""Header with the percent-encoded id of an image that is the whole body."""

MAX_PARTS = 65_536
"""Parts that a message may have."""

_MAGIC = b"MHF1"
_HEAD = struct.Struct("<4sI")
_ROW = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One image of a request, or what an edge found on it, or both.

    Attributes:
        image: id of the image.
        data: its encoded bytes; None where only results are forwarded.
        detections: what the sender found on it; None where it did not look.
    """

    image: str
    data: bytes | None = None
    detections: Detections | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as HTTP carries it."""

    body: bytes
    headers: dict[str, str]


def pack(meta: Mapping[str, Any], parts: Sequence[bytes] = ()) -> bytes:
    """A framed message of a JSON part and binary parts."""
    head = json.dumps(meta, separators=(",", ":")).encode()
    lengths = [len(head), *(len(part) for part in parts)]
    return b"".join(
        (
            _HEAD.pack(_MAGIC, len(lengths)),
            struct.pack(f"<{len(lengths)}Q", *lengths),
            head,
            *parts,
        )
    )


def unpack(
    data: bytes | bytearray | memoryview,
) -> tuple[dict[str, Any], list[memoryview]]:
    """The JSON part and the binary parts of a framed message, without copying.

    DataError if the bytes are no whole framed message.
    """
    view = memoryview(data)
    if len(view) < _HEAD.size:
        message = f"a framed message has at least {_HEAD.size} bytes, got {len(view)}"
        raise DataError(message)
    magic, n = _HEAD.unpack_from(view)
    if magic != _MAGIC or not 1 <= n <= MAX_PARTS:
        message = f"not a framed message: it begins with {bytes(view[:8])!r}"
        raise DataError(message)
    begin = _HEAD.size + 8 * n
    if len(view) < begin:
        message = f"a framed message of {n} parts was cut off in its table of lengths"
        raise DataError(message)
    lengths = struct.unpack_from(f"<{n}Q", view, _HEAD.size)
    if begin + sum(lengths) != len(view):
        message = (
            f"a framed message of {begin + sum(lengths)} bytes was announced, "
            f"got {len(view)}"
        )
        raise DataError(message)
    parts: list[memoryview] = []
    for length in lengths:
        parts.append(view[begin : begin + length])
        begin += length
    return _json(parts[0]), parts[1:]


def pack_detections(detections: Detections) -> tuple[bytes, list[str]]:
    """Float32 rows, and the labels that occur, to which their last column points."""
    used, labels = np.unique(detections.labels, return_inverse=True)
    rows = np.empty((len(detections), _ROW), "<f4")
    rows[:, :4] = detections.boxes
    rows[:, 4] = detections.scores
    rows[:, 5] = labels
    return rows.tobytes(), [detections.names[i] for i in used]


def unpack_detections(part: bytes | memoryview, names: Sequence[str]) -> Detections:
    """The detections that :func:`pack_detections` packed.

    DataError if the bytes are no whole rows, or a label has no name.
    """
    rows = unpack_rows(part)
    if not np.isfinite(rows).all():
        message = "packed detections hold a number that is not finite"
        raise DataError(message)
    labels = rows[:, 5]
    if len(rows) and not (labels.min() >= 0 and labels.max() < len(names)):
        message = f"packed detections point beyond the {len(names)} labels they name"
        raise DataError(message)
    return Detections(
        boxes=rows[:, :4].astype(np.float32),
        scores=rows[:, 4].astype(np.float32),
        labels=labels.astype(np.int32),
        names=tuple(names),
    )


def unpack_rows(part: bytes | memoryview) -> Float32[np.ndarray, "n 6"]:
    """Corners, score and label of packed detections, whatever these are.

    DataError if the bytes are no whole rows.
    """
    if len(part) % (4 * _ROW):
        message = f"packed detections are rows of {4 * _ROW} bytes, got {len(part)}"
        raise DataError(message)
    return np.frombuffer(part, "<f4").reshape(-1, _ROW)


def pack_request(items: Sequence[Item]) -> Request:
    """Items as HTTP carries them: one image as it is, anything else framed."""
    first = items[0]
    if len(items) == 1 and first.data is not None and first.detections is None:
        headers = {
            "content-type": "application/octet-stream",
            IMAGE_HEADER: quote(first.image),
        }
        return Request(body=first.data, headers=headers)
    entries: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for item in items:
        entry: dict[str, Any] = {"image": item.image}
        if item.data is not None:
            entry["data"] = len(parts)
            parts.append(item.data)
        if item.detections is not None:
            rows, names = pack_detections(item.detections)
            entry |= {"detections": len(parts), "names": names}
            parts.append(rows)
        entries.append(entry)
    body = pack({"images": entries}, parts)
    return Request(body=body, headers={"content-type": FRAMES})


def unpack_request(
    body: bytes, *, content_type: str = "", image: str = ""
) -> list[Item]:
    """The items of a request.

    Any content type but :data:`FRAMES` is one image, called as :data:`IMAGE_HEADER`
    says. DataError if the body is empty, or a framed message that does not fit.
    """
    if not body:
        message = "a request carries an image, got an empty body"
        raise DataError(message)
    if content_type.split(";", 1)[0].strip() != FRAMES:
        return [Item(image=unquote(image), data=body)]
    meta, parts = unpack(body)
    items = [_item(entry, parts) for entry in _entries(meta)]
    if not items:
        message = "a request carries at least one image, got none"
        raise DataError(message)
    return items


def pack_answer(
    meta: Mapping[str, Any],
    images: Sequence[Mapping[str, Any]],
    detections: Sequence[Detections],
) -> bytes:
    """An answer: what is said of the request, of each image, and the boxes.

    Images and detections are in the order asked.
    """
    packed = [pack_detections(found) for found in detections]
    entries = [
        {**image, "names": names}
        for image, (_, names) in zip(images, packed, strict=True)
    ]
    return pack({**meta, "images": entries}, [rows for rows, _ in packed])


def unpack_answer(body: bytes) -> tuple[dict[str, Any], tuple[Detections, ...]]:
    """What was said of the request, with the boxes of each image.

    DataError if the body is no answer.
    """
    meta, parts = unpack_parts(body)
    return meta, tuple(unpack_detections(part, names) for part, names in parts)


def unpack_parts(
    body: bytes,
) -> tuple[dict[str, Any], list[tuple[memoryview, list[str]]]]:
    """What was said of the request, with packed detections and labels of each image.

    DataError if the body is no answer.
    """
    meta, parts = unpack(body)
    entries = _entries(meta)
    if len(entries) != len(parts):
        message = f"an answer for {len(entries)} images has {len(parts)} parts"
        raise DataError(message)
    return meta, [(p, _names(entry)) for p, entry in zip(parts, entries, strict=True)]


def _json(part: memoryview) -> dict[str, Any]:
    try:
        value: object = documents.parse_json(bytes(part))
    except ValueError as error:
        message = f"the first part of a framed message is JSON: {error}"
        raise DataError(message) from error
    if not isinstance(value, dict):
        message = "the first part of a framed message is a JSON object"
        raise DataError(message)
    return cast("dict[str, Any]", value)


def _entries(meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    images: object = meta.get("images")
    if isinstance(images, list):
        entries = cast("list[object]", images)
        if all(isinstance(entry, dict) for entry in entries):
            return cast("list[dict[str, Any]]", entries)
    message = "a message about images has a list of objects under 'images'"
    raise DataError(message)


def _item(entry: Mapping[str, Any], parts: Sequence[memoryview]) -> Item:
    image: object = entry.get("image")
    if not isinstance(image, str):
        message = "an entry of 'images' has the id of its image under 'image'"
        raise DataError(message)
    data = _part(entry, "data", parts)
    rows = _part(entry, "detections", parts)
    if data is None and rows is None:
        message = f"image {image!r} comes with neither data nor detections"
        raise DataError(message)
    return Item(
        image=image,
        data=None if data is None else bytes(data),
        detections=None if rows is None else unpack_detections(rows, _names(entry)),
    )


def _part(
    entry: Mapping[str, Any], key: str, parts: Sequence[memoryview]
) -> memoryview | None:
    index: object = entry.get(key)
    if index is None:
        return None
    if not isinstance(index, int) or not 0 <= index < len(parts):
        message = f"{key!r} points to part {index!r}, there are {len(parts)}"
        raise DataError(message)
    return parts[index]


def _names(entry: Mapping[str, Any]) -> list[str]:
    names: object = entry.get("names")
    if isinstance(names, list):
        labels = cast("list[object]", names)
        if all(isinstance(label, str) for label in labels):
            return cast("list[str]", labels)
    message = "detections come with a list of labels under 'names'"
    raise DataError(message)
