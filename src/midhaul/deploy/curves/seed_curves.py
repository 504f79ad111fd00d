"""The two kinds of analytic of IoT-System-Server, with the numbers of its allocator.

The seed (github.com/rita33cool1/IoT-System-Server, commit e5b4c8c) measured an object
detector (``yolo``, knob: ratio of image area, one frame every 2 s) and an audio
classifier (``audio``, knob: ratio of the sampling rate, one clip every 3 s). It gives
rates as straight lines, accuracy as steps, and fitted QoS models that only its greedy
uses.

A step stands at the cheapest knob that reaches its accuracy. Where the seed's table
rises *above* a knob, that is the next larger floating-point number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.deploy.curves.qos_curve import QosCurve

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["audio", "yolo"]
Site = Literal["cloud", "gateway"]

MIN_KNOBS: dict[Kind, float] = {"audio": 0.4, "yolo": 0.01}
"""The smallest useful knob of each kind."""

MESSAGE_HZ: dict[Kind, float] = {"audio": 1 / 3, "yolo": 1 / 2}
"""Messages per second of each kind."""

RATES_BPS: dict[Site, dict[Kind, tuple[float, float]]] = {
    "cloud": {"audio": (687_560.4, 1_011.0), "yolo": (52_520.0, 5_449.0)},
    "gateway": {"audio": (0.0, 52.7), "yolo": (30_010.0, 4_170.0)},
}
"""Slope and intercept of the rate as a function of the knob, by site and kind."""

# Audio: from the knob on; yolo: above the knob.
_AUDIO = (
    (0.38, 0.25), (0.45, 0.27), (0.5, 0.30), (0.54, 0.31), (0.59, 0.32), (0.63, 0.34),
    (0.68, 0.36), (0.72, 0.42), (0.77, 0.57), (0.81, 0.67), (0.86, 0.74), (0.9, 0.84),
    (0.95, 0.9),
)  # fmt: skip
_YOLO = (
    (0.0, 0.525), (0.2, 0.64), (0.3, 0.685), (0.4, 0.82), (0.5, 0.88), (0.6, 0.93),
    (0.7, 0.955), (0.8, 0.99),
)  # fmt: skip


def seed_curve(kind: Kind, site: Site) -> QosCurve:
    """The measured steps of a kind, run in the cloud or on a gateway.

    On a gateway only results are uploaded; those of the audio classifier have one size,
    so that only its best step is on the frontier.
    """
    table = np.array(_AUDIO if kind == "audio" else _YOLO)
    knobs = table[:, 0] if kind == "audio" else np.nextafter(table[:, 0], 1)
    knobs = np.maximum(knobs, MIN_KNOBS[kind])
    slope, intercept = RATES_BPS[site][kind]
    return QosCurve.of(
        f"seed-{kind}-{site}",
        knobs,
        slope * knobs + intercept,
        table[:, 1],
        message_hz=MESSAGE_HZ[kind],
    )


def fitted_quality(kind: Kind, knob: float) -> float:
    """The seed's fitted QoS model; for yolo 0 where its logarithm is negative."""
    if kind == "audio":
        return 0.01465 * float(np.exp(3.992 * knob)) + 0.1575
    return max(0.0, 0.1632 * float(np.log(494 * knob))) if knob > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobModel:
    """What a greedy over continuous knobs believes of an analytic.

    Attributes:
        quality: fitted quality of a knob.
        rate_bps: the rate that the quality is held against.
        start: knob to begin with, before anything is decided.
        smallest: smallest useful knob.
        priority: added to the weight when it is decided who is dropped.
    """

    quality: Callable[[float], float]
    rate_bps: Callable[[float], float]
    start: float
    smallest: float
    priority: float


def seed_model(name: str) -> KnobModel | None:
    """What the seed's allocator believes of an analytic, by its name; None for others.

    It knows the kind by the name (``audio`` or ``yolo`` is in it), holds the quality
    against the rate of the cloud wherever the analytic runs, begins audio at knob 0,
    and drops audio before yolo.
    """
    if "audio" in name:
        kind: Kind = "audio"
    elif "yolo" in name:
        kind = "yolo"
    else:
        return None
    slope, intercept = RATES_BPS["cloud"][kind]
    return KnobModel(
        quality=partial(fitted_quality, kind),
        rate_bps=lambda knob: slope * knob + intercept,
        start=0.0 if kind == "audio" else MIN_KNOBS[kind],
        smallest=MIN_KNOBS[kind],
        priority=float(kind == "yolo"),
    )
