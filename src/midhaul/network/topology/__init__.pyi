from .builders import (
    clos as clos,
    dragonfly as dragonfly,
    dumbbell as dumbbell,
    edge_to_cloud as edge_to_cloud,
    fat_tree as fat_tree,
    leaf_spine as leaf_spine,
    parking_lot as parking_lot,
    shared_backhaul as shared_backhaul,
    star as star,
    wan_ring as wan_ring,
)
from .changing import with_trace as with_trace
from .graphml import read_graphml as read_graphml
from .json_form import read_json as read_json, to_json as to_json
from .links_table import FoundTopology as FoundTopology, of_links as of_links
from .repetita import read_demands as read_demands, read_repetita as read_repetita
from .wiring import Cable as Cable, Wiring as Wiring, racks as racks
