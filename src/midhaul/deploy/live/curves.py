"""QoS curves of both workloads, measured before the loop begins.

For each knob, messages that are never sent afterwards are made, answered and scored.
The rate of a step is the 90th percentile of their sizes, with what the transport adds
and 5 % more, so that no lane is loaded to its last bit. On the gateway an analytic sees
whole messages and uploads its answers alone: one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.curves.transport import publish_bytes
from midhaul.deploy.live.channel import UP, Header, encode_answer, pack
from midhaul.deploy.live.workload import Images, Sounds, best_threshold, message_hz

if TYPE_CHECKING:
    from midhaul.deploy.live.config import WorkloadConfig
    from midhaul.deploy.live.workload import Workload
    from midhaul.runs.progress import Task

USUAL_NAME = "yolo-12.1000"
"""An analytic whose name is as long as most."""

_HEADROOM = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCurves:
    """The two curves of a workload.

    Attributes:
        workload: ``images`` or ``sounds``.
        threshold: score from which a detection counts; 0 for sounds.
        n: messages behind each step.
        cloud: quality by upload rate in the cloud.
        gateway: quality by upload rate on the gateway.
        cloud_bytes: payload of each step of ``cloud``.
        gateway_bytes: payload of each step of ``gateway``.
    """

    workload: str
    threshold: float
    n: int
    cloud: QosCurve
    gateway: QosCurve
    cloud_bytes: tuple[float, ...]
    gateway_bytes: tuple[float, ...]

    @property
    def saved_bps(self) -> float:
        """What the best quality in the cloud costs more than on the gateway."""
        return float(self.cloud.rates_bps[-1] - self.gateway.rates_bps[-1])

    def plain(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {
            "workload": self.workload,
            "threshold": self.threshold,
            "n": self.n,
            "hz": self.cloud.message_hz,
            "knobs": self.cloud.knobs.tolist(),
            "bytes": list(self.cloud_bytes),
            "qualities": self.cloud.qualities.tolist(),
            "result_bytes": self.gateway_bytes[0],
        }

    @classmethod
    def of(cls, plain: dict[str, Any]) -> MeasuredCurves:
        """What :meth:`plain` gave."""
        name, hz, sizes = plain["workload"], plain["hz"], plain["bytes"]
        best = plain["qualities"][-1]
        return cls(
            workload=name,
            threshold=plain["threshold"],
            n=plain["n"],
            cloud=_curve(name, "cloud", plain["knobs"], sizes, plain["qualities"], hz),
            gateway=_curve(name, "gateway", [1.0], [plain["result_bytes"]], [best], hz),
            cloud_bytes=tuple(sizes),
            gateway_bytes=(plain["result_bytes"],),
        )

    def rows(self) -> list[dict[str, object]]:
        """Rows of the table ``curves``."""
        pairs = (("cloud", self.cloud, self.cloud_bytes),)
        pairs += (("gateway", self.gateway, self.gateway_bytes),)
        return [
            {
                "curve": f"{self.workload} {place}",
                "knob": float(curve.knobs[step]),
                "message_bytes": sizes[step],
                "rate_bps": float(curve.rates_bps[step]),
                "quality": float(curve.qualities[step]),
                "n": self.n,
                "is_on_frontier": bool(curve.on_frontier[step]),
            }
            for place, curve, sizes in pairs
            for step in range(len(curve))
        ]


def link_bps(payload_bytes: float, hz: float) -> float:
    """What messages of a size are granted: MQTT, TCP, IP and Ethernet, and 5 %."""
    topic = f"{UP}/10"
    return _HEADROOM * 8 * hz * publish_bytes(round(payload_bytes), topic, qos=1)


def _curve(
    workload: str,
    place: str,
    knobs: list[float],
    sizes: list[float],
    qualities: list[float],
    hz: float,
) -> QosCurve:
    return QosCurve.of(
        f"{workload} {place}",
        np.array(knobs),
        np.array([link_bps(size, hz) for size in sizes]),
        np.array(qualities),
        message_hz=hz,
    )


_PERCENTILE = 90


def measure_curves(
    config: WorkloadConfig, seed: int, task: Task
) -> tuple[MeasuredCurves, ...]:
    """Measure both workloads.

    Args:
        config: which detector, how many messages.
        seed: of the messages; what is sent later is not among them.
        task: told of each knob.
    """
    images = Images(str(config.detector), seed=seed, split="calibration")
    threshold = best_threshold(images, config.n_curve_images)
    sounds = Sounds(seed=seed, stream=1)
    return (
        _measure(images, config.n_curve_images, threshold, config, task),
        _measure(sounds, config.n_curve_sounds, 0.0, config, task),
    )


def _measure(
    workload: Workload, n: int, threshold: float, config: WorkloadConfig, task: Task
) -> MeasuredCurves:
    sizes: list[float] = []
    qualities: list[float] = []
    results: list[int] = []
    for knob in workload.knobs:
        bodies = [workload.message(content, knob) for content in range(n)]
        answers = [workload.answer(body) for body in bodies]
        scores = [workload.score(i, answer) for i, answer in enumerate(answers)]
        header = _header(workload.name, knob)
        found = [len(pack(header, body)) for body in bodies]
        sizes.append(float(np.percentile(found, _PERCENTILE)))
        qualities.append(float(np.mean(scores)))
        results = [len(pack(header, encode_answer(answer))) for answer in answers]
        task.advance()
    return MeasuredCurves.of(
        {
            "workload": workload.name,
            "threshold": threshold,
            "n": n,
            "hz": message_hz(workload.name, config),
            "knobs": list(workload.knobs),
            "bytes": sizes,
            "qualities": qualities,
            "result_bytes": float(np.percentile(results, _PERCENTILE)),
        }
    )


def _header(workload: str, knob: float) -> Header:
    """A header of the usual length."""
    return Header(
        analytic=USUAL_NAME,
        workload=workload,
        number=10,
        content=10,
        place="gateway",
        knob=knob,
        planned_ns=10**13,
        sent_ns=10**13,
    )
