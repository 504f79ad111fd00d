"""Published sizes of flows: WebServer, CacheFollower, Hadoop, WebSearch.

The first three are of A. Roy, H. Zeng, J. Bagga, G. Porter, A. C. Snoeren: *Inside the
Social Network's (Datacenter) Network*, SIGCOMM 2015, figure 6; WebSearch is of M.
Alizadeh et al.: *Data Center TCP (DCTCP)*, SIGCOMM 2010, figure 4. They are percentiles
of the published curves in two digits, with a straight line between any two, so that
means are within some per cent of those of the curves (91 KB, 610 KB, 569 KB, 1.7 MB).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from midhaul.errors import ConfigError, choice_hint
from midhaul.network.workload.sizes import EmpiricalSize

PublishedName = Literal["webserver", "cachefollower", "hadoop", "websearch"]

_CURVES: dict[PublishedName, tuple[tuple[float, float], ...]] = {
    "webserver": (
        (0.0, 50),
        (0.01, 110),
        (0.05, 150),
        (0.1, 220),
        (0.102, 280),
        (0.2, 300),
        (0.3, 720),
        (0.4, 1200),
        (0.5, 1500),
        (0.6, 2000),
        (0.7, 3200),
        (0.8, 9800),
        (0.85, 22e3),
        (0.9, 63e3),
        (0.95, 220e3),
        (0.97, 310e3),
        (0.99, 630e3),
        (0.994, 1.4e6),
        (1.0, 20e6),
    ),
    "cachefollower": (
        (0.0, 50),
        (0.01, 72),
        (0.05, 230),
        (0.1, 330),
        (0.2, 450),
        (0.3, 700),
        (0.4, 2700),
        (0.5, 23e3),
        (0.6, 100e3),
        (0.7, 250e3),
        (0.75, 410e3),
        (0.8, 1.4e6),
        (0.85, 1.9e6),
        (0.9, 2.3e6),
        (0.95, 2.6e6),
        (0.98, 3.0e6),
        (0.99, 4.0e6),
        (0.995, 5.1e6),
        (0.9975, 12e6),
        (1.0, 28e6),
    ),
    "hadoop": (
        (0.0, 50),
        (0.01, 180),
        (0.05, 300),
        (0.1, 320),
        (0.2, 400),
        (0.3, 540),
        (0.4, 610),
        (0.5, 680),
        (0.6, 1000),
        (0.7, 6300),
        (0.75, 42e3),
        (0.8, 48e3),
        (0.9, 130e3),
        (0.95, 300e3),
        (0.97, 1.1e6),
        (0.985, 2.2e6),
        (0.99, 7.8e6),
        (0.991, 12e6),
        (1.0, 96e6),
    ),
    "websearch": (
        (0.0, 1),
        (0.15, 10e3),
        (0.2, 20e3),
        (0.3, 30e3),
        (0.4, 50e3),
        (0.53, 80e3),
        (0.6, 200e3),
        (0.7, 1e6),
        (0.8, 2e6),
        (0.9, 5e6),
        (0.97, 10e6),
        (1.0, 30e6),
    ),
}


def published_sizes(name: PublishedName) -> EmpiricalSize:
    """Sizes of a published workload; ConfigError if there is none of that name."""
    known = get_args(PublishedName)
    if name not in known:
        message = f"expected a published workload, found {name!r}"
        raise ConfigError(message, choice_hint(name, known))
    points = np.array(_CURVES[name])
    return EmpiricalSize(size_bytes=points[:, 1].copy(), share=points[:, 0].copy())
