"""Decomposition: parts of a network, each simulated alone."""

from midhaul.network.decomposition.hybrid import HybridSimulation, HybridSimulator
from midhaul.network.decomposition.links import LinksSimulation, LinksSimulator
from midhaul.network.decomposition.paths import (
    PathCuts,
    PathProblem,
    path_problem,
    sample_paths,
)
from midhaul.network.decomposition.sampled_paths import (
    PathsSimulation,
    PathsSimulator,
)

__all__ = [
    "HybridSimulation",
    "HybridSimulator",
    "LinksSimulation",
    "LinksSimulator",
    "PathCuts",
    "PathProblem",
    "PathsSimulation",
    "PathsSimulator",
    "path_problem",
    "sample_paths",
]
