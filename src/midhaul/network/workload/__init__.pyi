from .arrivals import (
    FlowArrivals as FlowArrivals,
    LognormalArrivals as LognormalArrivals,
    OnOffArrivals as OnOffArrivals,
    PoissonArrivals as PoissonArrivals,
    TraceArrivals as TraceArrivals,
)
from .collectives import (
    all_to_all as all_to_all,
    incast as incast,
    ring_all_reduce as ring_all_reduce,
)
from .drawn import (
    DrawnFlows as DrawnFlows,
    FlowLaw as FlowLaw,
    LinkLoads as LinkLoads,
    draw_flows as draw_flows,
    link_loads as link_loads,
)
from .edge import (
    CameraUpload as CameraUpload,
    ImagePull as ImagePull,
    by_start as by_start,
    camera_uploads as camera_uploads,
    image_pulls as image_pulls,
    join_flows as join_flows,
)
from .files import (
    FoundFlows as FoundFlows,
    read_flows as read_flows,
    read_matrix as read_matrix,
    read_sizes as read_sizes,
    read_starts as read_starts,
)
from .matrices import (
    TrafficMatrix as TrafficMatrix,
    by_groups as by_groups,
    by_nodes as by_nodes,
    gravity as gravity,
    host_indices as host_indices,
    uniform as uniform,
)
from .sizes import (
    EmpiricalSize as EmpiricalSize,
    ExponentialSize as ExponentialSize,
    FixedSize as FixedSize,
    GaussianSize as GaussianSize,
    LognormalSize as LognormalSize,
    ParetoSize as ParetoSize,
    SizeLaw as SizeLaw,
    published_sizes as published_sizes,
)
