from .arrivals import (
    FlowArrivals as FlowArrivals,
    LognormalArrivals as LognormalArrivals,
    OnOffArrivals as OnOffArrivals,
    PoissonArrivals as PoissonArrivals,
    TraceArrivals as TraceArrivals,
)
from .drawn import (
    DrawnFlows as DrawnFlows,
    FlowLaw as FlowLaw,
    LinkLoads as LinkLoads,
    draw_flows as draw_flows,
    link_loads as link_loads,
)
from .matrices import (
    TrafficMatrix as TrafficMatrix,
    by_groups as by_groups,
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
)
