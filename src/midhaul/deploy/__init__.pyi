from .catalogue import builtin_images as builtin_images, read_images as read_images
from .control import Policy as Policy, State as State
from .curves.qos_curve import QosCurve as QosCurve
from .curves.readers import (
    read_awstream as read_awstream,
    read_run as read_run,
    read_table as read_table,
)
from .curves.seed_curves import seed_curve as seed_curve
from .curves.transport import MqttTransport as MqttTransport, charged as charged
from .joint.base import JointPlan as JointPlan, JointPlanner as JointPlanner
from .live.config import LiveConfig as LiveConfig
from .placement.base import Placement as Placement, Placer as Placer
from .plan.choices import (
    allocate as allocate,
    allocator_named as allocator_named,
    eviction_named as eviction_named,
    place as place,
    placer_named as placer_named,
    planner_named as planner_named,
)
from .plan.config import AllocateConfig as AllocateConfig, PlanConfig as PlanConfig
from .problem import (
    Analytic as Analytic,
    ContainerImage as ContainerImage,
    Gateway as Gateway,
    Layer as Layer,
    PlacementProblem as PlacementProblem,
)
from .rates.base import (
    Demands as Demands,
    RateAllocation as RateAllocation,
    RateAllocator as RateAllocator,
)
from .simulate.config import SimulateConfig as SimulateConfig
