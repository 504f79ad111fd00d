from .overtime import (
    algorithm_times as algorithm_times,
    places as places,
    promises as promises,
    pulls as pulls,
    quality as quality,
    stacked_rates as stacked_rates,
    storage as storage,
    uplink as uplink,
)
from .overuse import fronts as fronts, replayed as replayed
