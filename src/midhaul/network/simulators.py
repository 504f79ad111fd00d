"""Simulators and transports by the names that experiment files use; simulate itself.

They are imported when they are chosen, so that a config can be read with the core only.
"""

from __future__ import annotations

import importlib.util
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from midhaul.errors import ConfigError, require
from midhaul.network.problem import NetworkProblem
from midhaul.network.transports import RdmaTransport, TcpTransport, Transport
from midhaul.network.work import work_off
from midhaul.registry import Entry, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midhaul.model import Flows, Topology
    from midhaul.network.decomposition import HybridSimulator
    from midhaul.network.problem import Routes
    from midhaul.network.simulator import FlowResults, Simulator

_NUMBA = (("numba", "network"),)

SIMULATORS: Registry[Callable[..., Simulator]] = Registry(
    "simulator",
    {
        "packet": Entry(
            place="midhaul.network.packet.simulator:PacketSimulator", needs=_NUMBA
        ),
        "fluid": Entry(place="midhaul.network.fluid:FluidSimulator", needs=_NUMBA),
        "links": Entry(place=f"{__name__}:links_simulator", needs=_NUMBA),
        "estimate": Entry(
            place="midhaul.network.estimate.simulator:EstimateSimulator",
            needs=_NUMBA,
            options=("n_paths",),
        ),
        "paths": Entry(
            place=f"{__name__}:paths_simulator", needs=_NUMBA, options=("n_paths",)
        ),
        "hybrid": Entry(
            place=f"{__name__}:hybrid_simulator", needs=_NUMBA, options=("share",)
        ),
        "ns3": "midhaul.network.judges.ns3.simulator:Ns3Simulator",
        "kernel": "midhaul.network.judges.kernel:KernelSimulator",
    },
)
"""What tells what becomes of flows; the last two are judges from outside."""

JUDGES = ("ns3", "kernel")
"""Those that are programs of their own, whose work nobody can predict by a probe."""

WITHOUT_TIMELINES = ("links", "paths", "hybrid", "ns3")
"""Simulators that follow no flow over time: a flow is at each link by itself, or ns-3
is not asked."""

WITH_SAMPLES = ("packet",)
"""Simulators that look at queues over time."""

_KERNELS = {
    "fluid": ("midhaul.network.fluid",),
    "packet": ("midhaul.network.packet",),
    "links": ("midhaul.network.packet", "midhaul.network.decomposition"),
    "estimate": ("midhaul.network.fluid", "midhaul.network.corrector"),
    "paths": ("midhaul.network.packet", "midhaul.network.decomposition"),
    "hybrid": ("midhaul.network.fluid", "midhaul.network.packet"),
}
"""The packages whose kernels a simulator compiles."""

TRANSPORTS: dict[str, Transport] = {
    "newreno": TcpTransport(congestion="newreno"),
    "linux-reno": TcpTransport(congestion="linux-reno"),
    "cubic": TcpTransport(congestion="cubic"),
    "bbr": TcpTransport(congestion="bbr", is_paced=True),
    "tcp-dctcp": TcpTransport(congestion="dctcp"),
    "dctcp": RdmaTransport(congestion="dctcp"),
    "dcqcn": RdmaTransport(congestion="dcqcn"),
    "hpcc": RdmaTransport(congestion="hpcc"),
    "timely": RdmaTransport(congestion="timely"),
}
"""Transports by name; ``dctcp`` is the one of RDMA cards, ``tcp-dctcp`` that of TCP."""

AUTO = "auto"
"""Stands for the most exact simulator that fits a time."""

if TYPE_CHECKING:
    SimulatorName = TransportName = str
else:  # a Literal in a config, so that its mistakes and its reference list the names
    SimulatorName = Literal[(*SIMULATORS.names, AUTO)]
    TransportName = Literal[tuple(TRANSPORTS)]


def links_simulator() -> Simulator:
    """Link decomposition, each link packet by packet."""
    from midhaul.network.decomposition.links import LinksSimulator  # noqa: PLC0415

    return LinksSimulator(inner=simulator_named("packet"))


def paths_simulator(**told: int) -> Simulator:
    """Sampled paths, each packet by packet."""
    from midhaul.network.decomposition import PathsSimulator  # noqa: PLC0415

    return PathsSimulator(inner=simulator_named("packet"), **told)


def hybrid_simulator(**told: Any) -> HybridSimulator:
    """Windows packet by packet in a fluid."""
    from midhaul.network.decomposition import HybridSimulator  # noqa: PLC0415

    inner, fluid = simulator_named("packet"), simulator_named("fluid")
    return HybridSimulator(inner=inner, fluid=fluid, **told)


def simulator_named(name: str, **told: float) -> Simulator:
    """The simulator of that name, told those options that it has.

    ConfigError if there is none; PrerequisiteError if a library is missing.
    """
    return SIMULATORS.called(name, **told)


def transport_named(name: str) -> Transport:
    """The transport of that name, as it usually is; ConfigError if there is none."""
    if name in TRANSPORTS:
        return TRANSPORTS[name]
    message = f"unknown transport {name!r}"
    raise ConfigError(message, f"choose one of: {', '.join(TRANSPORTS)}")


def simulate(  # noqa: PLR0913  most of it has a default
    topology: Topology,
    flows: Flows,
    transport: str | Transport | Sequence[str | Transport] = "dctcp",
    *,
    with_: str | Simulator = "packet",
    routes: Routes | None = None,
    seed: int = 0,
    until_s: float | None = None,
    watched: Sequence[int] = (),
    sample_s: float = 0.0,
) -> FlowResults:
    """Tell what becomes of flows in a network.

    Args:
        topology: the nodes and links.
        flows: what is sent.
        transport: how senders decide, by a key of :data:`TRANSPORTS` or as a value; of
            several, those that ``Flows.transport`` counts through.
        with_: what simulates: a key of :data:`SIMULATORS`, or one of your own.
        routes: the way of each flow; ECMP over the fewest links by default.
        seed: of all that is drawn.
        until_s: when to stop; when every flow has ended by default.
        watched: numbers of flows whose window and rate are kept over time.
        sample_s: how often queues are looked at; 0: never.

    Returns:
        Completion times, slowdowns, and what the links did; ``df()``, ``links_df()``
        and ``figure()`` show them.

    Raises:
        ConfigError: there is no simulator or transport of that name, a flow has no way,
            a time or a flow that is watched cannot be, or the simulator cannot simulate
            what is asked for.
        PrerequisiteError: a library or a program that it needs is missing.
    """
    problem = replace(
        problem_of(topology, flows, transport, routes=routes, seed=seed),
        until_ns=None if until_s is None else _ns("until_s", until_s),
        watched=tuple(watched),
        sample_ns=_ns("sample_s", sample_s),
    )
    simulator = simulator_named(with_) if isinstance(with_, str) else with_
    simulation = simulator.begin(problem)
    work_off(simulation)
    return replace(simulation.results(), problem=problem)


def _ns(name: str, seconds: float) -> int:
    """Seconds in nanoseconds; ConfigError where they are none."""
    if not math.isfinite(seconds):
        message = f"{name} must be a number of seconds, found {seconds:g}"
        raise ConfigError(message, "leave it out to simulate until all has ended")
    return round(seconds * 1e9)


def problem_of(
    topology: Topology,
    flows: Flows,
    transport: str | Transport | Sequence[str | Transport],
    *,
    routes: Routes | None,
    seed: int,
) -> NetworkProblem:
    """What a simulator is given; arguments and errors are those of :func:`simulate`."""
    require("numba", "network")
    named = (transport,) if isinstance(transport, str | Transport) else transport
    known = tuple(transport_named(t) if isinstance(t, str) else t for t in named)
    if routes is None:
        from midhaul.network.routing import ecmp  # noqa: PLC0415  needs numba

        routes = ecmp(topology, flows, seed=seed)
    return NetworkProblem(
        topology=topology,
        flows=flows,
        routes=routes,
        transports=known,
        seed=seed,
    )


KERNELS = tuple(_KERNELS)
"""The simulators that have kernels to compile."""

OF_EACH_FAMILY = ("cubic", "dctcp")
"""A transport of each family, whose kernel all others of it share."""


def is_compiled(name: str) -> bool:
    """Whether the kernels of a simulator have been compiled on this machine before.

    Of one that has none it is true. It is a guess from what lies in Numba's caches.
    """
    for package in _KERNELS.get(name, ()):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            files = sorted(Path(folder).glob("*.py"))
            kernels = [f for f in files if "njit(" in f.read_text(encoding="utf-8")]
            caches = list(Path(folder).glob("__pycache__/*.nbi"))
            newest = max((f.stat().st_mtime for f in kernels), default=0.0)
            if kernels and not any(c.stat().st_mtime >= newest for c in caches):
                return False
    return True


def warm(
    name: str, transports: Sequence[Transport], *, say: Callable[[str], None]
) -> float:
    """Compile a simulator's kernels for some transports, or load them; seconds it took.

    What is compiled stays on the disk, so that the next time takes a second or two;
    ``say`` is told when that has to be done first.
    """
    from midhaul.network.checks import check_problems  # noqa: PLC0415  seldom needed

    if name not in _KERNELS:
        return 0.0
    if not is_compiled(name):
        say(
            f"compiling the kernels of {name}, which is done once and may take "
            "minutes; midhaul network warm does it beforehand"
        )
    begin_s = time.monotonic()
    simulator = simulator_named(name)
    families = {type(transport): transport for transport in transports}
    for transport in families.values():
        for case, problem in check_problems(transport):
            if case in _WARMING:
                work_off(simulator.begin(problem))
    return time.monotonic() - begin_s


_WARMING = {"many flows", "one flow", "with queues looked at", "with flows watched"}
