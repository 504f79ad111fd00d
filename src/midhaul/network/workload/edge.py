"""Camera uploads and pulls of container images, as flows of an edge.

What a gateway sends while analytics run in the cloud, and what it fetches before they
run on it. Values come from whoever has them: a plan, a run, or a guess.

Differences from what happens:

1. A frame is a flow of its own, as with a request for each image; on a connection that
   stays open it would have no handshake and a window that is open already.
2. A client that pulls ``n`` layers at a time begins the next when any of them has
   ended. Here it begins when that of its own lane has: layer ``i`` waits for ``i - n``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError, suggestion
from midhaul.model import Flows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from midhaul.model import Topology
    from midhaul.network.workload.sizes import SizeLaw

_MOST = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraUpload:
    """Cameras at a gateway whose frames go to one place.

    Attributes:
        source: name of the gateway.
        target: name of the node that the frames go to.
        frame_hz: frames per second of each camera.
        sizes: of frames.
        n_cameras: that send so.
        jitter_s: most by which chance delays a frame before it is sent.
        label: name of the class of flows.
    """

    source: str
    target: str
    frame_hz: float
    sizes: SizeLaw
    n_cameras: int = 1
    jitter_s: float = 0.0
    label: str = "camera"

    def __post_init__(self) -> None:
        """Refuse cameras that send nothing or without end."""
        if not (math.isfinite(self.frame_hz) and self.frame_hz > 0):
            message = f"{self.source}: frame_hz must be above 0, found {self.frame_hz}"
            raise ConfigError(message)
        if not (math.isfinite(self.jitter_s) and self.jitter_s >= 0):
            message = f"{self.source}: jitter_s is at least 0, found {self.jitter_s}"
            raise ConfigError(message)
        if self.n_cameras < 1:
            message = f"{self.source}: n_cameras is at least 1, found {self.n_cameras}"
            raise ConfigError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePull:
    """A container image that a gateway fetches.

    Attributes:
        source: name of the node with the registry.
        target: name of the gateway.
        start_s: when the pull starts.
        layers_bytes: compressed bytes of the layers that are missing, in their order.
        n_parallel: layers that are fetched at a time.
        label: name of the class of flows.
    """

    source: str
    target: str
    start_s: float
    layers_bytes: tuple[int, ...] = field(default=())
    n_parallel: int = 3
    label: str = "pull"

    def __post_init__(self) -> None:
        """Refuse pulls of nothing."""
        where = f"pull to {self.target}"
        if not (math.isfinite(self.start_s) and self.start_s >= 0):
            message = f"{where}: start_s must be at least 0, found {self.start_s}"
            raise ConfigError(message)
        if not self.layers_bytes:
            message = f"{where}: expected at least one layer, found none"
            raise ConfigError(message, "leave out pulls whose layers are all there")
        for i, size in enumerate(self.layers_bytes):
            if size < 1:
                message = f"{where}: layer {i} must have at least 1 byte, found {size}"
                raise ConfigError(message)
        if self.n_parallel < 1:
            message = f"{where}: n_parallel must be at least 1, found {self.n_parallel}"
            raise ConfigError(message)


def camera_uploads(
    topology: Topology,
    cameras: Sequence[CameraUpload],
    *,
    horizon_s: float,
    seed: int = 0,
) -> Flows:
    """Frames of cameras over a time, each as a flow.

    A camera takes a frame every ``1 / frame_hz`` from a moment of its own on, which is
    drawn; a frame is sent up to ``jitter_s`` later.

    Args:
        topology: whose nodes the cameras name.
        cameras: which send; further ones change nothing of the frames of those before.
        horizon_s: how long frames are taken.
        seed: from which phases, sizes and jitter follow.

    Returns:
        The frames in the order of their starts.

    Raises:
        ConfigError: a node is unknown, there is no camera or no frame, or there are
            more frames than can be held.
    """
    if not (math.isfinite(horizon_s) and horizon_s > 0):
        message = f"horizon_s must be above 0, found {horizon_s}"
        raise ConfigError(message)
    n_frames = sum(c.n_cameras * c.frame_hz * horizon_s for c in cameras)
    if n_frames > _MOST:
        message = f"{n_frames:,.0f} frames are more than {_MOST:,}"
        raise ConfigError(message, "lower frame_hz or horizon_s")
    parts = [
        _frames(
            camera,
            _ends(topology, camera.source, camera.target),
            horizon_s,
            np.random.SeedSequence(seed, spawn_key=(i,)),
        )
        for i, camera in enumerate(cameras)
    ]
    if not sum(map(len, parts)):
        message = f"expected frames within {horizon_s:g} s, found none"
        raise ConfigError(message, "add a camera, or raise horizon_s")
    return by_start(join_flows(parts))


def _frames(
    camera: CameraUpload,
    ends: tuple[int, int],
    horizon_s: float,
    seed: np.random.SeedSequence,
) -> Flows:
    """The frames of cameras that send alike, camera by camera."""
    phases, delays, sizes = map(np.random.default_rng, seed.spawn(3))
    period_s = 1 / camera.frame_hz
    first = phases.random(camera.n_cameras) * period_s
    counts = np.ceil((horizon_s - first) * camera.frame_hz).astype(np.int64)
    counts = np.maximum(counts, 0)
    n = int(counts.sum())
    frame = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    taken_s = np.repeat(first, counts) + frame * period_s
    sent_s = taken_s + delays.random(n) * camera.jitter_s
    return Flows(
        source=np.full(n, ends[0], np.int32),
        target=np.full(n, ends[1], np.int32),
        size_bytes=camera.sizes.draw(sizes, n),
        start_ns=np.rint(sent_s * 1e9).astype(np.int64),
        labels=(camera.label,),
    )


def image_pulls(topology: Topology, pulls: Sequence[ImagePull]) -> Flows:
    """Pulls of container images, each layer as a flow.

    Args:
        topology: whose nodes the pulls name.
        pulls: what is fetched where.

    Returns:
        The layers, pull by pull, in their order.

    Raises:
        ConfigError: a node is unknown, or there is no pull.
    """
    if not pulls:
        message = "expected at least one pull, found none"
        raise ConfigError(message)
    parts: list[Flows] = []
    for pull in pulls:
        n = len(pull.layers_bytes)
        source, target = _ends(topology, pull.source, pull.target)
        waits = np.arange(n) >= pull.n_parallel
        offsets = np.concatenate([[0], np.cumsum(waits)]).astype(np.int64)
        starts = np.where(waits, 0, round(pull.start_s * 1e9))
        parts.append(
            Flows(
                source=np.full(n, source, np.int32),
                target=np.full(n, target, np.int32),
                size_bytes=np.array(pull.layers_bytes, np.int64),
                start_ns=starts.astype(np.int64),
                labels=(pull.label,),
                after_offsets=offsets,
                after=np.flatnonzero(waits) - pull.n_parallel,
            )
        )
    return join_flows(parts)


def join_flows(parts: Iterable[Flows]) -> Flows:
    """Several sorts of flows as one, part by part; equal labels become one.

    Args:
        parts: flows on the same nodes and transports.

    Returns:
        All flows, those that wait with what they wait for.

    Raises:
        ConfigError: there is no part.
    """
    parts = list(parts)
    if not parts:
        message = "expected flows to join, found none"
        raise ConfigError(message)
    labels = tuple(dict.fromkeys(label for part in parts for label in part.labels))
    at = {label: i for i, label in enumerate(labels)}
    names: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    after: list[np.ndarray] = []
    n_before = 0
    for part in parts:
        n = len(part)
        own = np.array([at[label] for label in part.labels], np.int64)
        names.append(own[part.label] if len(part.label) else np.full(n, own[0]))
        waits = np.diff(part.after_offsets)
        counts.append(waits if len(waits) else np.zeros(n, np.int64))
        after.append(part.after + n_before)
        n_before += n
    has_transport = any(len(part.transport) for part in parts)
    waiting = np.concatenate(after)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    none = np.zeros(0, np.int64)
    return Flows(
        source=np.concatenate([part.source for part in parts]),
        target=np.concatenate([part.target for part in parts]),
        size_bytes=np.concatenate([part.size_bytes for part in parts]),
        start_ns=np.concatenate([part.start_ns for part in parts]),
        transport=np.concatenate(
            [
                part.transport if len(part.transport) else np.zeros(len(part), np.int64)
                for part in parts
            ]
        )
        if has_transport
        else none,
        label=np.concatenate(names) if len(labels) > 1 else none,
        labels=labels,
        after_offsets=offsets.astype(np.int64) if len(waiting) else none,
        after=waiting,
    )


def by_start(flows: Flows) -> Flows:
    """Flows in the order of their starts; ConfigError where some wait for others."""
    if flows.waits:
        message = "flows that wait for others have no order of starts"
        raise ConfigError(message)
    return flows.take(np.argsort(flows.start_ns, kind="stable"))


def _ends(topology: Topology, source: str, target: str) -> tuple[int, int]:
    found: list[int] = []
    known = topology.hosts or topology.nodes
    for name in (source, target):
        if name not in known:
            message = f"expected a host of the topology, found {name!r}"
            raise ConfigError(message + suggestion(name, known))
        found.append(topology.nodes.index(name))
    if found[0] == found[1]:
        message = f"flows need two ends, found {source} twice"
        raise ConfigError(message)
    return found[0], found[1]
