from .choices import (
    allocate as allocate,
    allocator_named as allocator_named,
    eviction_named as eviction_named,
    place as place,
    placer_named as placer_named,
    planner_named as planner_named,
)
from .config import AllocateConfig as AllocateConfig, PlanConfig as PlanConfig
