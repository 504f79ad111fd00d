"""Frames, requests and answers."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.errors import DataError
from midhaul.model import Detections
from midhaul.wire import message


def _detections(n: int) -> Detections:
    rng = np.random.default_rng(n)
    return Detections(
        boxes=rng.random((n, 4), np.float32) * 640,
        scores=rng.random(n, np.float32),
        labels=rng.integers(0, 3, n).astype(np.int32),
        names=("car", "person", "dog"),
    )


def _labels(found: Detections) -> list[str]:
    return [found.names[i] for i in found.labels]


@given(
    st.dictionaries(st.text(), st.integers() | st.text() | st.none()),
    st.lists(st.binary(max_size=50), max_size=6),
)
def test_a_frame_comes_back_as_it_was(
    meta: dict[str, object], parts: list[bytes]
) -> None:
    """Packing and unpacking any message is the identity."""
    said, got = message.unpack(message.pack(meta, parts))
    assert said == meta
    assert [bytes(part) for part in got] == parts


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    """Bytes that are no message end in a DataError and nothing else."""
    with pytest.raises(DataError):
        message.unpack(noise)


@given(st.data())
def test_a_damaged_message_never_crashes(data: st.DataObject) -> None:
    """A request with some byte changed, or cut off, is read or refused."""
    items = [message.Item(image="a", data=b"xyz", detections=_detections(2))]
    request = message.pack_request(items)
    body = bytearray(request.body)
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(body[: data.draw(st.integers(0, len(body)))])
    for damaged in (bytes(body), cut):
        try:
            message.unpack_request(damaged, content_type=message.FRAMES)
        except DataError:
            continue


@pytest.mark.parametrize("n", [0, 1, 50])
def test_detections_come_back_as_they_were(n: int) -> None:
    """Boxes, scores and labels survive the wire exactly."""
    detections = _detections(n)
    found = message.unpack_detections(*message.pack_detections(detections))
    np.testing.assert_array_equal(found.boxes, detections.boxes)
    np.testing.assert_array_equal(found.scores, detections.scores)
    assert _labels(found) == _labels(detections)


@pytest.mark.parametrize("label", [-1.0, 5.0, float("nan"), 1e30])
def test_a_label_without_a_name_is_refused(label: float) -> None:
    """A label index that points to no name is a DataError."""
    with pytest.raises(DataError):
        message.unpack_detections(struct.pack("<6f", 0, 0, 1, 1, 0.5, label), ["car"])


def test_one_image_travels_as_it_is() -> None:
    """A single image is the body itself; its id stands in a header."""
    item = message.Item(image="straße 1", data=b"jpeg")
    request = message.pack_request([item])
    assert request.body == b"jpeg"
    assert request.headers[message.IMAGE_HEADER].isascii()
    got = message.unpack_request(
        request.body,
        content_type=request.headers["content-type"],
        image=request.headers[message.IMAGE_HEADER],
    )
    assert got == [item]


def test_images_and_results_travel_in_frames() -> None:
    """Several images, with and without results, come back in their order."""
    items = [
        message.Item(image="a", data=b"1"),
        message.Item(image="b", detections=_detections(3)),
        message.Item(image="c", data=b"333", detections=_detections(0)),
    ]
    request = message.pack_request(items)
    got = message.unpack_request(request.body, content_type=message.FRAMES)
    assert [(i.image, i.data) for i in got] == [("a", b"1"), ("b", None), ("c", b"333")]
    assert [i.detections is not None for i in got] == [False, True, True]
    assert _labels(got[1].detections or _detections(0)) == _labels(_detections(3))


@pytest.mark.parametrize(
    ("meta", "parts"),
    [
        ({}, []),
        ({"images": []}, []),
        ({"images": ["a"]}, []),
        ({"images": [{"data": 0}]}, [b"x"]),
        ({"images": [{"image": "a"}]}, [b"x"]),
        ({"images": [{"image": "a", "data": 1}]}, [b"x"]),
        ({"images": [{"image": "a", "data": -1}]}, [b"x"]),
        ({"images": [{"image": "a", "detections": 0}]}, [b"x" * 24]),
        ({"images": [{"image": "a", "detections": 0, "names": []}]}, [b"x" * 23]),
    ],
)
def test_a_request_that_does_not_fit_is_refused(
    meta: dict[str, object], parts: list[bytes]
) -> None:
    """A well-framed request without sense ends in a DataError."""
    with pytest.raises(DataError):
        message.unpack_request(message.pack(meta, parts), content_type=message.FRAMES)


def test_an_answer_comes_back_as_it_was() -> None:
    """Durations and boxes of an answer survive the wire."""
    body = message.pack_answer(
        {"node_ns": 2**40},
        [{"image": "a"}, {"image": "b"}],
        [_detections(0), _detections(4)],
    )
    meta, found = message.unpack_answer(body)
    assert meta["node_ns"] == 2**40
    assert [entry["image"] for entry in meta["images"]] == ["a", "b"]
    assert [len(d) for d in found] == [0, 4]
