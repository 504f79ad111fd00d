"""What happens to an image on its way."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from midhaul.errors import DataError, NodeError
from midhaul.model import Detections
from midhaul.testbed.nodes.pipeline import (
    Look,
    Station,
    durations,
    look,
    parcel,
    process,
)
from midhaul.testbed.nodes.settings import Forward, NodeSettings
from midhaul.vision.images.image import Pixels, Preprocessing
from midhaul.wire.message import Item


@dataclass(frozen=True)
class Corner:
    """A detector that finds one box: the right lower quarter of the image."""

    score: float = 0.9
    name: str = "corner"
    names: tuple[str, ...] = ("quarter",)

    def detect(self, pixels: Pixels, *, image_id: str = "") -> Detections:
        """The right lower quarter; fails on an image called bad."""
        if image_id == "bad":
            message = "cannot see\nanything"
            raise RuntimeError(message)
        h, w = pixels.shape[:2]
        return Detections(
            boxes=np.array([[w / 2, h / 2, w, h]], np.float32),
            scores=np.array([self.score], np.float32),
            labels=np.zeros(1, np.int32),
            names=self.names,
        )


def _jpeg(width: int = 64, height: int = 48) -> bytes:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (height, width, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def _edge(
    forward: Forward,
    detector: Corner | None,
    preprocessing: Preprocessing | None = None,
) -> Station:
    settings = NodeSettings(
        name="edge1",
        cloud="cloud",
        forward=forward,
        detector=None if detector is None else "null",
        preprocessing=preprocessing or Preprocessing(),
    )
    return Station(settings=settings, detector=detector)


def _cloud(detector: Corner | None) -> Station:
    return Station(settings=NodeSettings(name="cloud", role="cloud"), detector=detector)


@pytest.mark.parametrize(
    ("forward", "score", "answered_by", "is_forwarded"),
    [
        ("nothing", 0.9, "edge1", False),
        ("results", 0.9, "edge1", False),
        ("image", 0.9, "cloud", True),
        ("image+results", 0.9, "cloud", True),
        ("uncertain", 0.9, "edge1", False),
        ("uncertain", 0.4, "cloud", True),
    ],
)
def test_who_answers_depends_on_what_is_forwarded(
    forward: Forward, score: float, answered_by: str, *, is_forwarded: bool
) -> None:
    """The cloud's boxes are the answer exactly where it got the image."""
    edge = _edge(forward, Corner(score=score))
    settled = process(edge, _cloud(Corner()), "a", _jpeg())
    assert settled.answered_by == answered_by
    assert settled.role == ("cloud" if answered_by == "cloud" else "edge")
    assert settled.is_forwarded == is_forwarded


@pytest.mark.parametrize("at", ["edge", "cloud"])
def test_boxes_are_in_pixels_of_the_image_received(at: str) -> None:
    """Whoever infers, and at whatever size, the box is the same quarter."""
    small = Preprocessing(resize=0.3, encode="jpeg:80")
    if at == "edge":
        settled = process(_edge("nothing", Corner(), small), None, "a", _jpeg())
    else:
        settled = process(_edge("image", None, small), _cloud(Corner()), "a", _jpeg())
    np.testing.assert_allclose(settled.detections.boxes, [[32, 24, 64, 48]], rtol=1e-5)
    assert (settled.width, settled.height) == (64, 48)


def test_an_image_as_received_is_forwarded_byte_for_byte() -> None:
    """Without preprocessing nothing is decoded and nothing changes."""
    data = _jpeg()
    edge = _edge("image", None)
    looked = look(edge, Item(image="a", data=data))
    sent = parcel(edge, looked)
    assert sent is not None
    assert sent.data == data
    assert looked.decode_ns == 0


def test_a_cloud_without_a_detector_leaves_the_answer_to_the_edge() -> None:
    """Forwarding to an archive does not lose the edge's boxes."""
    settled = process(_edge("image+results", Corner()), _cloud(None), "a", _jpeg())
    assert settled.answered_by == "edge1"
    assert len(settled.detections) == 1


def test_nobody_infers() -> None:
    """Without any detector the answer is empty and says so."""
    settled = process(_edge("image", None), _cloud(None), "a", _jpeg())
    assert not settled.is_inferred
    assert len(settled.detections) == 0


def test_an_image_without_a_box_is_uncertain() -> None:
    """No detection at all counts as a best score of zero."""
    edge = _edge("uncertain", Corner())
    nothing = Look(
        item=Item(image="a", data=b""), prepared=None, detections=Detections.empty(())
    )
    assert parcel(edge, nothing) is not None


def test_durations_are_sums_in_nanoseconds() -> None:
    """A request's stages are the sums over its images, never wrapped."""
    second = 1_700_000_000
    looks = [
        Look(item=Item(image="a"), prepared=None, detections=None, inference_ns=second)
    ] * 2
    assert durations(looks)["inference_ns"] == 2 * second


@pytest.mark.parametrize("forward", ["nothing", "image"])
@pytest.mark.parametrize("encode", ["keep", "jpeg:60"])
@pytest.mark.parametrize("resize", [1.0, 0.5])
def test_a_photo_that_exif_turns_is_turned_once_on_any_way(
    forward: Forward, encode: str, resize: float
) -> None:
    """Whoever answers, the box is in px of the picture as a person sees it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (9, 90, 30)).save(file, "JPEG", exif=exif.tobytes())
    edge = _edge(forward, Corner(), Preprocessing(encode=encode, resize=resize))
    settled = process(edge, _cloud(Corner()), "a", file.getvalue())
    assert (settled.width, settled.height) == (48, 64)
    assert settled.detections.boxes.tolist() == [[24, 32, 48, 64]]


@pytest.mark.parametrize("limit", [{"max_pixels": 3_000}, {"max_decode_s": 1e-6}])
def test_a_node_refuses_what_exceeds_its_limits(limit: dict[str, float]) -> None:
    """As bad data, whether it would decode the image or pass it on."""
    for forward in ("nothing", "image"):
        settings = NodeSettings(name="e", cloud="c", forward=forward, **limit)  # type: ignore[arg-type]
        edge = Station(settings=settings, detector=None)
        with pytest.raises(DataError, match=r"image 'a' is 64x48 px"):
            look(edge, Item(image="a", data=_jpeg()))


def test_a_truncated_image_is_bad_data() -> None:
    """A cut-off image ends in a DataError that names it."""
    with pytest.raises(DataError, match="image 'a'"):
        process(_edge("nothing", Corner()), None, "a", _jpeg()[:500])


def test_a_detector_that_fails_is_named() -> None:
    """What a detector throws becomes one line with node, detector and image."""
    with pytest.raises(NodeError, match=r"edge1.*corner.*'bad'.*cannot see$"):
        process(_edge("nothing", Corner()), None, "bad", _jpeg())


def test_forwarding_needs_a_cloud() -> None:
    """An edge that forwards but was given no cloud says so."""
    with pytest.raises(NodeError, match="no cloud"):
        process(_edge("image", None), None, "a", _jpeg())
