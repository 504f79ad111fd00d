"""What is simulated: a gateway, its links, what is asked of it, and for how long."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midhaul.deploy.control import Startup
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.deploy.networks import Network
    from midhaul.deploy.problem import Analytic, ContainerImage, Gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The world that a policy acts in.

    Attributes:
        analytics: all that come, with distinct names.
        images: container images by name.
        gateway: all that it has; its links are those of the network.
        network: its links.
        duration_s: when the experiment ends.
        startup: how long images really take from the end of a pull to the first answer.
        goodput: share of the downlink that carries layers.
        deadline_s: a message that waits longer for the uplink is late.

    Raises:
        DataError: an analytic needs an unknown image, or a number cannot be.
    """

    analytics: tuple[Analytic, ...]
    images: Mapping[str, ContainerImage]
    gateway: Gateway
    network: Network
    duration_s: float
    startup: Startup = field(default_factory=Startup)
    goodput: float = 1.0
    deadline_s: float = 10.0

    def __post_init__(self) -> None:
        """Check names and numbers."""
        if not (self.duration_s > 0 and math.isfinite(self.duration_s)):
            message = f"expected a duration above 0 s, found {self.duration_s}"
            raise DataError(message)
        if not self.deadline_s > 0:
            message = f"expected a deadline above 0 s, found {self.deadline_s}"
            raise DataError(message)
        if not 0 < self.goodput <= 1:
            message = f"expected a goodput above 0, at most 1, found {self.goodput}"
            raise DataError(message)
        if len({a.name for a in self.analytics}) < len(self.analytics):
            message = "expected each analytic once"
            raise DataError(message)
        for analytic in self.analytics:
            if analytic.image not in self.images:
                message = (
                    f"analytic {analytic.name} needs the container image "
                    f"{analytic.image}, which is not among the {len(self.images)} known"
                )
                raise DataError(message)

    @property
    def pull_bps(self) -> float:
        """The rate at which layers come."""
        return self.network.downlink_bps * self.goodput
