"""The packet simulator: each packet, queue and acknowledgement, as events.

One loop for each family of transports; both stand on ``events``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.errors import ConfigError, require
from midhaul.network.transports import RdmaTransport, TcpTransport

if TYPE_CHECKING:
    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import Arrays, Simulation


class PacketSimulator:
    """Simulates every packet; all transports of a problem are of one family."""

    @property
    def name(self) -> str:
        """What configs and tables call it."""
        return "packet"

    def begin(self, problem: NetworkProblem, state: Arrays | None = None) -> Simulation:
        """Begin, or go on from a state.

        PrerequisiteError without Numba; ConfigError if the problem has what it cannot
        simulate; DataError if the state is of another problem or version.
        """
        require("numba", "network")
        families = {type(transport) for transport in problem.transports}
        if families == {RdmaTransport}:
            from midhaul.network.packet.rdma.simulation import (  # noqa: PLC0415
                begin_rdma,
            )

            return begin_rdma(problem, state)
        if families == {TcpTransport}:
            from midhaul.network.packet.tcp.simulation import (  # noqa: PLC0415
                begin_tcp,
            )

            return begin_tcp(problem, state)
        names = ", ".join(
            f"{one.congestion} ({'RDMA' if isinstance(one, RdmaTransport) else 'TCP'})"
            for one in problem.transports
        )
        message = f"one network has flows of one family, found {names or 'none'}"
        raise ConfigError(
            message,
            "give all flows a transport of TCP or all one of RDMA, or simulate them "
            "apart, each with its share of the rates; fluid takes both",
        )
