"""Which layers stay on a gateway's disk."""

from midhaul.deploy.eviction.base import EvictionPolicy
from midhaul.deploy.eviction.checks import check_policy
from midhaul.deploy.eviction.images import ImageEviction
from midhaul.deploy.eviction.layers import LayerLru, ValuePerByte
from midhaul.deploy.eviction.offline import (
    FarthestNextUse,
    OfflineLimit,
    offline_limit,
)
from midhaul.deploy.eviction.replay import EvictionReplay, Need, replay

__all__ = [
    "EvictionPolicy",
    "EvictionReplay",
    "FarthestNextUse",
    "ImageEviction",
    "LayerLru",
    "Need",
    "OfflineLimit",
    "ValuePerByte",
    "check_policy",
    "offline_limit",
    "replay",
]
