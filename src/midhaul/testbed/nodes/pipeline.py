"""What happens to an image on its way: look, forward, settle.

The edge *looks* at an image (prepares it, and shows it to its detector if it has one),
decides which *parcel* of it goes to the cloud, and *settles* whose boxes are the
answer: those of the cloud where it looked, else its own, always in px of the image
received. Nodes do the forwarding by HTTP between these steps; :func:`process` does all
of it in one process, which is how accuracy is judged without nodes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.errors import DataError, MidhaulError, NodeError
from midhaul.model import Detections
from midhaul.vision.images.image import prepare
from midhaul.wire.message import Item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.testbed.nodes.settings import NodeSettings
    from midhaul.vision.detectors.detector import Detector
    from midhaul.vision.images.image import PreparedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A node with its detector loaded."""

    settings: NodeSettings
    detector: Detector | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a node made of one image by itself.

    Attributes:
        item: the image as received.
        prepared: the image after preprocessing; None where only results came.
        detections: its own, in px of the prepared image; None where it did not infer.
        decode_ns: time to decode, before preprocessing and for the detector.
        inference_ns: time of the detector, its own pre- and post-processing included.
    """

    item: Item
    prepared: PreparedImage | None
    detections: Detections | None
    decode_ns: int = 0
    inference_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineReply:
    """What the cloud answered for one image.

    Attributes:
        node: name of the cloud.
        detections: its boxes, in px of the image it was sent; None where it had no
            detector or got no image.
    """

    node: str
    detections: Detections | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The answer for one image.

    Attributes:
        image: id of the image.
        detections: boxes in px of the image received.
        answered_by: name of the node whose boxes these are.
        role: role of that node.
        is_inferred: true when some detector looked at the image.
        is_forwarded: true when the image itself went to the cloud.
        received_bytes: size of the image as received; 0 where only results came.
        prepared_bytes: size of the image after preprocessing.
        width: of the image received, px; 0 where only results came.
        height: of the image received, px.
    """

    image: str
    detections: Detections
    answered_by: str
    role: str
    is_inferred: bool
    is_forwarded: bool
    received_bytes: int
    prepared_bytes: int
    width: int
    height: int

    def entry(self) -> dict[str, Any]:
        """What an answer says of the image, beside its boxes."""
        return {
            "image": self.image,
            "answered_by": self.answered_by,
            "role": self.role,
            "inferred": self.is_inferred,
            "forwarded": self.is_forwarded,
            "received_bytes": self.received_bytes,
            "prepared_bytes": self.prepared_bytes,
            "width": self.width,
            "height": self.height,
        }


def look(station: Station, item: Item) -> Look:
    """Prepare an image and show it to the node's detector.

    DataError if the bytes hold no whole image; NodeError if the detector failed on it.
    """
    if item.data is None:
        return Look(item=item, prepared=None, detections=None)
    where = f"image {item.image!r}"
    settings = station.settings
    prepared = prepare(
        item.data, settings.preprocessing, where=where, limits=settings.decoding
    )
    if station.detector is None:
        return Look(
            item=item, prepared=prepared, detections=None, decode_ns=prepared.decode_ns
        )
    pixels, see_ns = prepared.see()
    begin = time.perf_counter_ns()
    try:
        detections = station.detector.detect(pixels, image_id=item.image)
    except MidhaulError:
        raise
    except Exception as error:
        text = str(error).split("\n")[0]
        message = (
            f"node {station.settings.name}: detector {station.detector.name} failed on "
            f"{where}: {type(error).__name__}: {text}"
        )
        raise NodeError(message) from error
    return Look(
        item=item,
        prepared=prepared,
        detections=detections,
        decode_ns=prepared.decode_ns + see_ns,
        inference_ns=time.perf_counter_ns() - begin,
    )


def parcel(station: Station, looked: Look) -> Item | None:
    """What of an image goes to the cloud; None for nothing."""
    settings = station.settings
    image = looked.item.image
    data = None if looked.prepared is None else looked.prepared.data
    match settings.forward:
        case "nothing":
            return None
        case "results":
            return Item(image=image, detections=looked.detections)
        case "image":
            return Item(image=image, data=data)
        case "image+results":
            return Item(image=image, data=data, detections=looked.detections)
        case "uncertain":
            found = looked.detections
            best = 0.0 if found is None or not len(found) else float(found.scores.max())
            is_uncertain = best < settings.forward_below
            return Item(image=image, data=data) if is_uncertain else None


def settle(
    station: Station, looked: Look, sent: Item | None, reply: PipelineReply | None
) -> Settled:
    """Whose boxes are the answer, scaled back to the image received.

    ``sent`` went to its cloud and ``reply`` came back; None for nothing.
    """
    settings = station.settings
    own = looked.detections
    found, name, role = own, settings.name, settings.role
    if reply is not None and reply.detections is not None:
        found, name, role = reply.detections, reply.node, "cloud"
    prepared = looked.prepared
    if found is None:
        found = Detections.empty(())
        is_inferred = False
    else:
        is_inferred = True
        if prepared is not None and (prepared.scale_x, prepared.scale_y) != (1.0, 1.0):
            found = found.scaled(1 / prepared.scale_x, 1 / prepared.scale_y)
    return Settled(
        image=looked.item.image,
        detections=found,
        answered_by=name,
        role=role,
        is_inferred=is_inferred,
        is_forwarded=sent is not None and sent.data is not None,
        received_bytes=len(looked.item.data or b""),
        prepared_bytes=0 if prepared is None else len(prepared.data),
        width=0 if prepared is None else prepared.width,
        height=0 if prepared is None else prepared.height,
    )


def durations(looks: Sequence[Look]) -> dict[str, int]:
    """Time of each stage, summed over the images of a request, in ns."""
    prepared = [looked.prepared for looked in looks if looked.prepared is not None]
    return {
        "decode_ns": sum(looked.decode_ns for looked in looks),
        "preprocess_ns": sum(p.preprocess_ns for p in prepared),
        "encode_ns": sum(p.encode_ns for p in prepared),
        "inference_ns": sum(looked.inference_ns for looked in looks),
    }


def process(edge: Station, cloud: Station | None, image: str, data: bytes) -> Settled:
    """Take one image through an edge and its cloud, all in this process.

    It gives the answer that running nodes give. DataError if the bytes hold no whole
    image; NodeError if a detector failed on it, or the edge forwards but has no cloud.
    """
    looked = look(edge, Item(image=image, data=data))
    sent = parcel(edge, looked)
    if sent is None:
        return settle(edge, looked, None, None)
    if cloud is None:
        message = f"node {edge.settings.name} forwards, but was given no cloud"
        raise NodeError(message)
    there = settle(cloud, look(cloud, sent), None, None)
    reply = PipelineReply(
        node=there.answered_by,
        detections=there.detections if there.is_inferred else None,
    )
    return settle(edge, looked, sent, reply)


def replies(
    images: Sequence[dict[str, Any]], detections: Sequence[Detections]
) -> list[PipelineReply]:
    """What the cloud's answer says of each image.

    DataError if an entry is not what :meth:`Settled.entry` writes.
    """
    try:
        return [
            PipelineReply(
                node=str(entry["answered_by"]),
                detections=found if entry["inferred"] else None,
            )
            for entry, found in zip(images, detections, strict=True)
        ]
    except (KeyError, ValueError) as error:
        message = f"the cloud's answer does not say who answered: {error}"
        raise DataError(message) from error
