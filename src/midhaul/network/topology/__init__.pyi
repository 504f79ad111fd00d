from .fabrics import (
    clos as clos,
    dragonfly as dragonfly,
    fat_tree as fat_tree,
    leaf_spine as leaf_spine,
)
from .small import dumbbell as dumbbell, parking_lot as parking_lot, star as star
from .wide_area import edge_to_cloud as edge_to_cloud, wan_ring as wan_ring
from .wiring import Cable as Cable, Wiring as Wiring, racks as racks
