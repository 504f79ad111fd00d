"""Fluid: flows share links max-min fairly, without packets, queues or windows."""

from midhaul.network.fluid.simulator import FluidSimulation, FluidSimulator

__all__ = ["FluidSimulation", "FluidSimulator"]
