"""A placement problem as arrays, and the timetable of its pulls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.deploy.placement.arrays import SLACK

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.arrays import Catalogue, Instance, Line, Resource
    from midhaul.deploy.problem import PlacementProblem


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Built:
    """A problem as arrays, and what its items stand for.

    Attributes:
        problem: what it was built from.
        catalogue: its images and layers.
        instance: the arrays.
        analytics: ``(n,)`` index of each item's analytic.
        gateways: ``(n,)`` index of each item's gateway.
        deadlines_s: ``(n,)`` when each item's pull must have ended, from the begin of
            the slot.
        resources: what each row of the instance limits.
        lines: by gateway index, and -1 for the backhaul: all that may be pulled.
        line_items: by line, the item of each of its needs.
    """

    problem: PlacementProblem
    catalogue: Catalogue
    instance: Instance
    analytics: Int64[np.ndarray, " n"]
    gateways: Int64[np.ndarray, " n"]
    deadlines_s: Float64[np.ndarray, " n"]
    resources: tuple[Resource, ...]
    lines: Mapping[int, Line]
    line_items: Mapping[int, Int64[np.ndarray, " k"]]

    @property
    def images(self) -> Int64[np.ndarray, " n"]:
        """Number of each item's container image, ``(n,)``."""
        return self.catalogue.image_of[self.gateways, self.analytics]

    def broken_s(
        self, chosen: Bool[np.ndarray, " n"]
    ) -> dict[int, Float64[np.ndarray, " d"]]:
        """By line, the deadlines that a choice breaks; lines that keep all are not in.

        The rows of the instance rule out most of them, see
        :mod:`midhaul.deploy.placement.arrays`.
        """
        broken = {
            number: line.broken_s(chosen[self.line_items[number]])
            for number, line in self.lines.items()
        }
        return {number: late for number, late in broken.items() if len(late)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """The layers that one pull carries.

    Attributes:
        gateway: index of the gateway.
        image: number of the image in the catalogue.
        layers: ``(k,)`` numbers of the layers.
        n_bytes: what it carries.
        due_s: when it must have ended.
    """

    gateway: int
    image: int
    layers: Int64[np.ndarray, " k"]
    n_bytes: float
    due_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """All pulls of a placement.

    Attributes:
        batches: in the order in which each gateway pulls them.
        begins_s: ``(b,)`` after the begin of the slot.
        ends_s: ``(b,)`` after the begin of the slot; infinite where a line is dead.
        ready_s: ``(n,)`` by item, when its layers are there; NaN where not chosen.
    """

    batches: tuple[Batch, ...]
    begins_s: Float64[np.ndarray, " b"]
    ends_s: Float64[np.ndarray, " b"]
    ready_s: Float64[np.ndarray, " n"]

    def is_late(self, built: Built) -> Bool[np.ndarray, " n"]:
        """Items that are chosen and whose pull does not end in time, ``(n,)``."""
        return self.ready_s > built.deadlines_s * (1 + SLACK)
