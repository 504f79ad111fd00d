"""Collectives and the edge: what waits for what, frames, pulls, and joining them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.errors import ConfigError
from midhaul.network.topology import Cable, edge_to_cloud
from midhaul.network.workload import (
    CameraUpload,
    ExponentialSize,
    FixedSize,
    ImagePull,
    all_to_all,
    by_start,
    camera_uploads,
    image_pulls,
    incast,
    join_flows,
    ring_all_reduce,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.model import Flows

EDGE = edge_to_cloud(3, uplinks=[Cable(rate_bps=20e6)])
FRAMES = FixedSize(mean_bytes=9000)


def nodes(n: int) -> np.ndarray:
    """Indices of n nodes."""
    return np.arange(10, 10 + n, dtype=np.int32)


def waits(flows: Flows) -> list[list[int]]:
    """What each flow waits for."""
    if not flows.waits:
        return [[] for _ in range(len(flows))]
    offsets = flows.after_offsets
    return [flows.after[a:b].tolist() for a, b in itertools.pairwise(offsets)]


@given(st.integers(2, 7), st.integers(0, 50), st.integers(1, 3))
def test_a_ring_sums_everything_everywhere(n: int, more: int, n_rounds: int) -> None:
    """Played through, each node ends with every part of every node, each round."""
    size = n + more
    flows = ring_all_reduce(nodes(n), size, n_rounds=n_rounds, gap_ns=5, step_ns=2)
    assert len(flows) == n_rounds * 2 * n * (n - 1)
    sent: dict[int, int] = defaultdict(int)
    after = waits(flows)
    for i in range(len(flows)):
        sent[int(flows.source[i])] += int(flows.size_bytes[i])
        for j in after[i]:
            # A part is sent on by the node that it came to.
            assert flows.target[j] == flows.source[i]
            is_new_round = i % (2 * n * (n - 1)) < n
            assert is_new_round or flows.size_bytes[j] == flows.size_bytes[i]
        assert len(after[i]) == (0 if i < n else 1)
    for total in sent.values():
        least = n_rounds * 2 * (n - 1) * (size // n)
        assert least <= total <= least + n_rounds * 2 * (n - 1)
    check_parts(flows, n, size)


def check_parts(flows: Flows, n: int, size: int) -> None:
    """Follow the parts of the first round: whose sums each node has at the end."""
    sums = [[{node} for _ in range(n)] for node in range(n)]
    for step in range(2 * (n - 1)):
        moved = []
        for place in range(n):
            i = step * n + place
            part = (place - step) % n
            assert flows.size_bytes[i] == size // n + (part < size % n)
            moved.append((int(flows.target[i]) - 10, part, set(sums[place][part])))
        for node, part, found in moved:
            if step < n - 1:
                sums[node][part] |= found
            else:
                sums[node][part] = found
    assert all(
        sums[node][part] == set(range(n)) for node in range(n) for part in range(n)
    )


@given(n=st.integers(2, 6), is_stepped=st.booleans())
def test_all_to_all_has_every_pair_once(*, n: int, is_stepped: bool) -> None:
    """Every node sends to every other, and waits for its own step before."""
    flows = all_to_all(nodes(n), 100, is_stepped=is_stepped, step_ns=3, start_ns=7)
    pairs = set(zip(flows.source.tolist(), flows.target.tolist(), strict=True))
    assert len(pairs) == len(flows) == n * (n - 1)
    for i, before in enumerate(waits(flows)):
        node = flows.source[i]
        if not is_stepped or i < n:
            assert before == []
            assert flows.start_ns[i] == 7
            continue
        sent, received = before
        assert flows.source[sent] == node
        assert flows.target[received] == node
        assert sent // n == received // n == i // n - 1
        assert flows.start_ns[i] == 3


def test_incast_waits_for_all_answers() -> None:
    """Each round begins when the last answer of the one before has come."""
    flows = incast(nodes(3), 5, 1000, n_rounds=2, gap_ns=40, start_ns=9)
    assert flows.start_ns.tolist() == [9] * 3 + [40] * 3
    assert waits(flows) == [[], [], [], [0, 1, 2], [0, 1, 2], [0, 1, 2]]
    assert set(flows.target) == {5}
    assert not incast(nodes(3), 5, 1000).waits


def test_frames_come_at_their_rate() -> None:
    """Each camera sends a frame a period, from its own phase, late by its jitter."""
    camera = CameraUpload(
        source="gateway1", target="cloud", frame_hz=10, sizes=FRAMES, n_cameras=4
    )
    flows = camera_uploads(EDGE, [camera], horizon_s=3.0, seed=1)
    assert len(flows) == 120
    assert (np.diff(flows.start_ns) >= 0).all()
    period = np.sort(flows.start_ns % 100_000_000)
    assert len(np.unique(np.round(period, -1))) <= 8
    assert set(flows.source) == {EDGE.nodes.index("gateway1")}
    assert flows.start_ns.max() < 3e9
    late = CameraUpload(
        source="gateway0",
        target="cloud",
        frame_hz=10,
        sizes=ExponentialSize(mean_bytes=5000),
        jitter_s=0.02,
        label="late",
    )
    both = camera_uploads(EDGE, [camera, late], horizon_s=3.0, seed=1)
    assert both.labels == ("camera", "late")
    kept = both.start_ns[both.label == 0]
    assert (kept == flows.start_ns).all()
    starts = both.start_ns[both.label == 1]
    gaps = np.diff(starts)
    assert ((gaps >= 80_000_000) & (gaps <= 120_000_000)).all()
    assert gaps.std() > 1e6


def test_layers_are_pulled_some_at_a_time() -> None:
    """The first three start with the pull, the fourth waits for the first."""
    pull = ImagePull(
        source="cloud", target="gateway2", start_s=1.5, layers_bytes=(5, 6, 7, 8, 9)
    )
    one = ImagePull(source="cloud", target="gateway0", start_s=0, layers_bytes=(3,))
    flows = image_pulls(EDGE, [one, pull])
    assert flows.size_bytes.tolist() == [3, 5, 6, 7, 8, 9]
    assert flows.start_ns.tolist() == [
        0,
        1_500_000_000,
        1_500_000_000,
        1_500_000_000,
        0,
        0,
    ]
    assert waits(flows) == [[], [], [], [], [1], [2]]


def test_joined_flows_keep_what_they_are() -> None:
    """Classes, transports and what waits for what are the same behind the others."""
    ring = ring_all_reduce(nodes(2), 10)
    pulls = incast(nodes(2), 3, 4)
    joined = join_flows([pulls, ring, pulls])
    assert joined.labels == ("incast", "all-reduce")
    assert joined.label.tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    assert waits(joined) == [[], [], [], [], [3], [2], [], []]
    assert len(joined.transport) == 0
    assert not join_flows([pulls, pulls]).waits
    assert len(join_flows([pulls, pulls]).label) == 0
    with pytest.raises(ConfigError, match="wait for others have no order"):
        by_start(joined)
    with pytest.raises(ConfigError, match="found none"):
        join_flows([])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: incast(nodes(0), 1, 9), "expected at least 1 senders"),
        (lambda: incast(nodes(2), 10, 9), "sender and receiver"),
        (lambda: incast(nodes(2), 1, 0), "a flow has at least 1 byte, found 0"),
        (lambda: incast(nodes(2), 1, 9, n_rounds=0), "n_rounds must be at least 1"),
        (lambda: ring_all_reduce(nodes(1), 9), "at least 2 nodes of a ring"),
        (lambda: ring_all_reduce(nodes(4), 3), "a flow has at least 1 byte"),
        (lambda: ring_all_reduce(nodes(2), 9, n_rounds=0), "n_rounds must be at lea"),
        (lambda: all_to_all(nodes(9000), 3), "are more than 50,000,000"),
        (lambda: camera("gatway1"), "found 'gatway1'; did you mean 'gateway1'"),
        (lambda: camera("metro0"), "expected a host of the topology, found 'metro0'"),
        (lambda: camera("cloud"), "flows need two ends, found cloud twice"),
        (lambda: camera("gateway0", frame_hz=0), "frame_hz must be above 0"),
        (lambda: camera("gateway0", jitter_s=-1), "jitter_s is at least 0"),
        (lambda: camera("gateway0", n_cameras=0), "n_cameras is at least 1"),
        (lambda: camera("gateway0", frame_hz=1e9), "frames are more than"),
        (lambda: camera_uploads(EDGE, [], horizon_s=1), "expected frames"),
        (lambda: camera_uploads(EDGE, [], horizon_s=0), "horizon_s must be above 0"),
        (lambda: pull(()), "expected at least one layer"),
        (lambda: pull((1, 0)), "layer 1 must have at least 1 byte, found 0"),
        (lambda: pull((1,), start_s=-1), "start_s must be at least 0"),
        (lambda: pull((1,), n_parallel=0), "n_parallel must be at least 1"),
        (lambda: image_pulls(EDGE, []), "expected at least one pull"),
    ],
)
def test_what_cannot_be_sent_is_refused(
    make: Callable[[], object], message: str
) -> None:
    """Too few nodes, no bytes, unknown names: each by its name."""
    with pytest.raises(ConfigError, match=message):
        make()


def camera(source: str, **more: float) -> Flows:
    """Frames of one camera at a node."""
    values = {"frame_hz": 5.0, **more}
    one = CameraUpload(source=source, target="cloud", sizes=FRAMES, **values)
    return camera_uploads(EDGE, [one], horizon_s=1.0)


def pull(layers: tuple[int, ...], **more: float) -> ImagePull:
    """A pull to a gateway."""
    values = {"start_s": 0.0, **more}
    return ImagePull(source="cloud", target="gateway0", layers_bytes=layers, **values)
