"""What happens next in a simulation, and in which order at one moment."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midhaul.deploy.problem import Analytic


class What(IntEnum):
    """What happens; smaller numbers first at one moment."""

    LEAVE = 0
    LAYER = 1
    START = 2
    ARRIVE = 3
    DECIDE = 4


@dataclass(order=True, slots=True, frozen=True)
class Event:
    """One thing that happens.

    Attributes:
        at_s: when.
        what: what it is.
        number: tells events of one moment and sort apart, in the order of their entry.
        analytic: whom it happens to; None where nobody in particular.
    """

    at_s: float
    what: What
    number: int
    analytic: Analytic | None = field(default=None, compare=False)


class Agenda:
    """Events to come, the next one first."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._n_entered = 0

    @property
    def next_s(self) -> float:
        """When the next event is; infinite when there is none."""
        return self._events[0].at_s if self._events else float("inf")

    def enter(self, at_s: float, what: What, analytic: Analytic | None = None) -> None:
        """Note that something will happen."""
        self._n_entered += 1
        heapq.heappush(self._events, Event(at_s, what, self._n_entered, analytic))

    def take(self) -> Event:
        """Take the next event."""
        return heapq.heappop(self._events)

    def strike(self, what: What) -> None:
        """Forget all events of one sort."""
        self._events = [event for event in self._events if event.what is not what]
        heapq.heapify(self._events)
