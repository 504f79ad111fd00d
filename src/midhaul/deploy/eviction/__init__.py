"""Which layers stay on a gateway's disk."""

from midhaul.deploy.eviction.base import EvictionPolicy
from midhaul.deploy.eviction.checks import check_policy
from midhaul.deploy.eviction.policies import ImageEviction, LayerLru, ValuePerByte
from midhaul.deploy.eviction.replay import (
    EvictionReplay,
    FarthestNextUse,
    Need,
    OfflineLimit,
    offline_limit,
    replay,
)

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
