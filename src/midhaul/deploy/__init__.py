"""PLACE: what runs on which gateway, and how much uplink each analytic gets.

Problem types stand here; algorithms in ``placement``, ``rates``, ``joint`` and
``eviction``; what carries a plan out in ``registry``, ``enforcement`` and ``exports``.
Names are imported when they are first used, because configs must load where the
libraries that plan are not installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midhaul.deploy.catalogue import builtin_images, read_images
    from midhaul.deploy.config import AllocateConfig, PlanConfig
    from midhaul.deploy.control import Policy, State
    from midhaul.deploy.curve_readers import read_awstream, read_run, read_table
    from midhaul.deploy.curves import QosCurve
    from midhaul.deploy.experiment_allocate import allocate
    from midhaul.deploy.experiment_plan import plan
    from midhaul.deploy.problem import (
        Analytic,
        ContainerImage,
        Gateway,
        Layer,
        PlacementProblem,
    )
    from midhaul.deploy.seed_curves import seed_curve
    from midhaul.deploy.transport import MqttTransport, charged

__all__ = [
    "AllocateConfig",
    "Analytic",
    "ContainerImage",
    "Gateway",
    "Layer",
    "MqttTransport",
    "PlacementProblem",
    "PlanConfig",
    "Policy",
    "QosCurve",
    "State",
    "allocate",
    "builtin_images",
    "charged",
    "plan",
    "read_awstream",
    "read_images",
    "read_run",
    "read_table",
    "seed_curve",
]

_MODULES = {
    "AllocateConfig": "config",
    "Analytic": "problem",
    "ContainerImage": "problem",
    "Gateway": "problem",
    "Layer": "problem",
    "MqttTransport": "transport",
    "PlacementProblem": "problem",
    "PlanConfig": "config",
    "Policy": "control",
    "QosCurve": "curves",
    "State": "control",
    "allocate": "experiment_allocate",
    "builtin_images": "catalogue",
    "charged": "transport",
    "plan": "experiment_plan",
    "read_awstream": "curve_readers",
    "read_images": "catalogue",
    "read_run": "curve_readers",
    "read_table": "curve_readers",
    "seed_curve": "seed_curves",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return getattr(module, name)
