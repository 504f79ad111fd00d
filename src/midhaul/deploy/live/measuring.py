"""Measuring the QoS curves of both workloads before the loop begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.live.curves import USUAL_NAME, MeasuredCurves
from midhaul.deploy.live.images import Images, best_threshold
from midhaul.deploy.live.messages import Header, encode_answer, pack
from midhaul.deploy.live.sounds import Sounds
from midhaul.deploy.live.workload import message_hz

if TYPE_CHECKING:
    from midhaul.deploy.live.config import WorkloadConfig
    from midhaul.deploy.live.workload import Workload
    from midhaul.runs.progress import Task

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
