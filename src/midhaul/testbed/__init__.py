"""MEASURE: nodes, links, load and accuracy of edge-to-cloud inference.

The experiments are functions of a config and a run; everything below them can be used
alone. Names are imported when they are first used, because configs must load where the
libraries that measure are not installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midhaul.testbed.config import AccuracyConfig, MeasureConfig, OverheadConfig
    from midhaul.testbed.experiments import accuracy, measure, overhead
    from midhaul.testbed.grid import Configuration, expand
    from midhaul.testbed.launcher import Launcher, LocalLauncher, launch
    from midhaul.testbed.links import Links
    from midhaul.testbed.load import generate
    from midhaul.testbed.nodes import NodeSettings
    from midhaul.testbed.workload import run_load

__all__ = [
    "AccuracyConfig",
    "Configuration",
    "Launcher",
    "Links",
    "LocalLauncher",
    "MeasureConfig",
    "NodeSettings",
    "OverheadConfig",
    "accuracy",
    "expand",
    "generate",
    "launch",
    "measure",
    "overhead",
    "run_load",
]

_MODULES = {
    "AccuracyConfig": "config",
    "Configuration": "grid",
    "Launcher": "launcher",
    "Links": "links",
    "LocalLauncher": "launcher",
    "MeasureConfig": "config",
    "NodeSettings": "nodes",
    "OverheadConfig": "config",
    "accuracy": "experiments",
    "expand": "grid",
    "generate": "load",
    "launch": "launcher",
    "measure": "experiments",
    "overhead": "experiments",
    "run_load": "workload",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return getattr(module, name)
