"""The federation as a running thing: one address for all providers."""

from midhaul.federation.serving.engine import Federation
from midhaul.federation.serving.request import Call, FederatedAnswer, Observer
from midhaul.federation.serving.settings import (
    BreakerSettings,
    CacheSettings,
    FederationSettings,
    ProviderSettings,
    RetrySettings,
)
from midhaul.federation.serving.trained_parts import Knowledge

__all__ = [
    "BreakerSettings",
    "CacheSettings",
    "Call",
    "FederatedAnswer",
    "Federation",
    "FederationSettings",
    "Knowledge",
    "Observer",
    "ProviderSettings",
    "RetrySettings",
]
