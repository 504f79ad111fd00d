"""How long pulls take here: two pulls before the begin, and what is made of them.

A small image and a large one of many layers are pulled over the shaped link. Two points
give a line: ``seconds = fixed_s + 8 * bytes / pull_bps``. The same pulls say how much
of the *uplink* a pull takes: TCP acknowledges every second packet, which at 100 Mbit/s
is some 2 Mbit/s and nothing that a gateway with 5 Mbit/s may leave out.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.deploy.problem import ContainerImage, Layer
from midhaul.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Collection

    from midhaul.deploy.live.site import Site

ACK_SHARE = 66 / (2 * 1514)
"""An acknowledgement over two full packets, Ethernet headers included (RFC 9293)."""

_N_LAYERS = 20
_SMALL_BYTES = 20_000
_LEAST_LARGE_BYTES = 1_000_000
_RATIO = 1.85
_SMALL, _LARGE = "calibrate-small", "calibrate-large"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullModel:
    """What was measured.

    Attributes:
        pull_bps: rate of a pull, unpacking included.
        fixed_s: time of a pull beside its bytes.
        start_s: time from the end of a pull until the analytic's program is loaded.
        ack_share: bytes on the uplink for each byte on the downlink; a busy machine
            acknowledges more at once, so it may have more at another time.
    """

    pull_bps: float
    fixed_s: float
    start_s: float
    ack_share: float

    @property
    def most_ack_share(self) -> float:
        """What has to be reckoned with: one acknowledgement for two packets."""
        return max(self.ack_share, ACK_SHARE)


def calibration_images(
    images: Collection[ContainerImage], scale: float
) -> dict[str, ContainerImage]:
    """The two images, the larger one as large as the usual one of the others."""
    usual = sum(image.compressed_bytes for image in images) / len(images)
    large = max(usual, _LEAST_LARGE_BYTES / scale)
    return {
        _SMALL: _image(_SMALL, 1, _SMALL_BYTES / scale),
        _LARGE: _image(_LARGE, _N_LAYERS, large),
    }


async def calibrate(site: Site) -> PullModel:
    """Pull both images, load a program, and clean up.

    Raises:
        NodeError: a pull fails.
    """
    small = await _pull(site, _SMALL)
    before = await asyncio.to_thread(site.lab.traffic)
    large = await _pull(site, _LARGE)
    after = await asyncio.to_thread(site.lab.traffic)
    begin = time.monotonic()
    await site.gateway.call(do="start", analytic="calibration", workload="images")
    await site.gateway.call(do="end", analytic="calibration")
    start_s = time.monotonic() - begin
    n_bits = 8.0 * (large[1] - small[1])
    pull_bps = n_bits / max(large[0] - small[0], 1e-3)
    return PullModel(
        pull_bps=pull_bps,
        fixed_s=max(0.0, small[0] - 8 * small[1] / pull_bps),
        start_s=start_s,
        ack_share=(after.up_bytes - before.up_bytes)
        / max(1, after.down_bytes - before.down_bytes),
    )


async def _pull(site: Site, image: str) -> tuple[float, int]:
    """Seconds and bytes of a pull; its layers are deleted again."""
    found = await site.puller.call(do="pull", image=image)
    if "error" in found:
        message = f"the pull of {image} failed before the begin: {found['error']}"
        raise NodeError(message, f"see {site.registry.log}")
    state = await site.puller.call(do="state")
    digests = [layer["digest"] for layer in json.loads(state["index"])["layers"]]
    await site.puller.call(do="delete", digests=digests)
    return found["ends_s"] - found["begins_s"], int(found["pulled_bytes"])


def _image(name: str, n: int, n_bytes: float) -> ContainerImage:
    size = max(1, round(n_bytes / n))
    return ContainerImage(
        name=name,
        layers=tuple(
            Layer(
                digest=f"{name}-{number}",
                compressed_bytes=size,
                uncompressed_bytes=round(size * _RATIO),
            )
            for number in range(n)
        ),
    )
