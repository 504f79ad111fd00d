from .engine import Federation as Federation
from .request import (
    Call as Call,
    FederatedAnswer as FederatedAnswer,
    Observer as Observer,
)
from .settings import (
    BreakerSettings as BreakerSettings,
    CacheSettings as CacheSettings,
    FederationSettings as FederationSettings,
    ProviderSettings as ProviderSettings,
    RetrySettings as RetrySettings,
)
from .trained_parts import Knowledge as Knowledge
