from .checks import check_simulator as check_simulator
from .corrector.fitted import load_corrector as load_corrector
from .estimate.pooling import estimate as estimate
from .ideal import ideal_fct_ns as ideal_fct_ns
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
from .estimate.pooling import NetworkEstimate as NetworkEstimate
from .topology.builders import (
    clos as clos,
    dragonfly as dragonfly,
    dumbbell as dumbbell,
    edge_to_cloud as edge_to_cloud,
    fat_tree as fat_tree,
    leaf_spine as leaf_spine,
    parking_lot as parking_lot,
    star as star,
    wan_ring as wan_ring,
)
from .topology.wiring import Cable as Cable
from .transports import (
    Framing as Framing,
    RdmaTransport as RdmaTransport,
    TcpTransport as TcpTransport,
    framing as framing,
)
from .workload.arrivals import PoissonArrivals as PoissonArrivals
from .workload.drawn import FlowLaw as FlowLaw, draw_flows as draw_flows
from .workload.edge import (
    CameraUpload as CameraUpload,
    ImagePull as ImagePull,
    camera_uploads as camera_uploads,
    image_pulls as image_pulls,
)
from .workload.files import read_flows as read_flows
from .workload.sizes import (
    FixedSize as FixedSize,
    LognormalSize as LognormalSize,
    published_sizes as published_sizes,
)
