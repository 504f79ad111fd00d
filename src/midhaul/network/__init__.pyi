from .checks import check_simulator as check_simulator
from .ideal import Framing as Framing, framing as framing, ideal_fct_ns as ideal_fct_ns
from .problem import NetworkProblem as NetworkProblem, Routes as Routes
from .routing import (
    ecmp as ecmp,
    k_shortest_paths as k_shortest_paths,
    over_k_paths as over_k_paths,
)
from .simulator import (
    FlowResults as FlowResults,
    LinkResults as LinkResults,
    Simulation as Simulation,
    Simulator as Simulator,
    Timeline as Timeline,
)
from .simulators import simulate as simulate
from .transports import RdmaTransport as RdmaTransport, TcpTransport as TcpTransport
