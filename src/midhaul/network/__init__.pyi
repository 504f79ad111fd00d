from .problem import NetworkProblem as NetworkProblem, Routes as Routes
from .simulator import (
    FlowResults as FlowResults,
    LinkResults as LinkResults,
    Simulation as Simulation,
    Simulator as Simulator,
    Timeline as Timeline,
)
from .transports import RdmaTransport as RdmaTransport, TcpTransport as TcpTransport
