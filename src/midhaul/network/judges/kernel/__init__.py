"""Kernel: the same flows as real TCP connections between network namespaces."""

from midhaul.network.judges.kernel.simulator import (
    DelayError,
    KernelSimulation,
    KernelSimulator,
)

__all__ = ["DelayError", "KernelSimulation", "KernelSimulator"]
