"""What every placer offers, and what it answers."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from midhaul.model.display import MOST_ROWS, Display, Shown, counted, number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.deploy.problem import PlacementProblem

Status = Literal["optimal", "feasible", "infeasible", "timed_out"]
"""optimal: value equals bound, to the solver's tolerance; feasible: a plan that can be
carried out; infeasible: nothing can be; timed_out: the plan is what was found in time.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """The pull of one container image's missing layers to one gateway.

    Attributes:
        gateway: where to.
        image: name of the container image.
        digests: layers that it carries, in order; those of earlier pulls are not in it.
        compressed_bytes: what it carries.
        begins_s: after the begin of the slot.
        ends_s: after the begin of the slot; the image can start from then on.
    """

    gateway: str
    image: str
    digests: tuple[str, ...]
    compressed_bytes: int
    begins_s: float
    ends_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayUse:
    """What a placement takes of one gateway.

    Attributes:
        gateway: its name.
        disk_bytes: uncompressed bytes of the layers that the plan needs there and that
            are not held anyway.
        pulled_bytes: compressed bytes that are pulled.
        n_cores: CPU cores.
        memory_bytes: memory.
        deleted_bytes: uncompressed bytes of present layers that must go to make room,
            at least; a layer store decides which.
    """

    gateway: str
    disk_bytes: int
    pulled_bytes: int
    n_cores: float
    memory_bytes: float
    deleted_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Placement(Shown):
    """Which analytics run on which gateway, and how good that is.

    Attributes:
        status: how the search went.
        value: weighted saved upload rate of all that are placed, bit/s.
        bound: no placement of the problem has a higher value; infinite when the placer
            gives no guarantee.
        gateway_of: by analytic name, its gateway; whoever is missing stays in the
            cloud.
        pulls: in the order in which each gateway does them.
        uses: what is taken of each gateway.
        prices: shadow prices by resource, ``GATEWAY.disk_bytes`` and so on: value per
            unit that one more unit would bring; empty when the placer knows none.
        solve_s: time that the search took.
    """

    status: Status
    value: float
    bound: float
    gateway_of: Mapping[str, str]
    pulls: tuple[Pull, ...] = ()
    uses: tuple[GatewayUse, ...] = ()
    prices: Mapping[str, float] = field(default_factory=dict[str, float])
    solve_s: float = 0.0

    @property
    def gap(self) -> float:
        """How far the value may be below the best one, as a share of the bound."""
        if self.bound <= 0:
            return 0.0
        return 1.0 if self.bound == float("inf") else 1 - self.value / self.bound

    def _display(self) -> Display:
        """How good it is, and what runs where."""
        return Display(
            text=f"{self.status}, {_value_text(self.value, self.bound)} bit/s saved, "
            f"{counted(len(self.gateway_of), 'analytic')} on gateways, "
            f"{counted(len(self.pulls), 'pull')}",
            columns=("analytic", "gateway"),
            rows=list(itertools.islice(self.gateway_of.items(), MOST_ROWS)),
            n_rows=len(self.gateway_of),
        )


def _value_text(value: float, bound: float) -> str:
    """A value, and the bound where there is one."""
    text = f"value {number(value)}"
    return text if math.isinf(bound) else f"{text} of at most {number(bound)}"


class Placer(Protocol):
    """An algorithm that decides what runs where."""

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        ...

    def place(self, problem: PlacementProblem) -> Placement:
        """A placement that keeps every limit of the problem.

        An analytic whose pull would not end before it leaves is not placed.
        """
        ...
