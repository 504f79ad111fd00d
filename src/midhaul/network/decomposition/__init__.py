"""Decomposition: parts of a network, each simulated alone."""

from midhaul.network.decomposition.links import LinksSimulation, LinksSimulator
from midhaul.network.decomposition.paths import PathProblem, path_problem, sample_paths

__all__ = [
    "LinksSimulation",
    "LinksSimulator",
    "PathProblem",
    "path_problem",
    "sample_paths",
]
