"""Selectors: which samples stay in a memory of limited size."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from jaxtyping import Bool, Float64, Int8, Int64

    from midhaul.memory.samples import Samples

    Arrays = Mapping[str, np.ndarray]


class Reason(IntEnum):
    """Why a sample was kept, or was not."""

    DROPPED = 0
    FILLING = 1
    """There was room."""
    DRAWN = 2
    """By lot, as any other."""
    NEW_REGION = 3
    """Its cell was empty."""
    RARE = 4
    """Its cell has few samples for the share of the memory that it is due."""
    HIGH_LOSS = 5
    UNSURE = 6
    RECENT = 7
    NOISE = 8
    """Not kept: what is rare about it looks like an error."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SelectorChoice:
    """What becomes of ``n`` samples in memory and of ``m`` that were offered.

    Attributes:
        keep: ``(n,)`` true for those in memory that stay.
        take: ``(m,)`` true for those of the offered that are kept.
        marks: ``(m, q)`` what the selector notes of each offered one.
        reasons: ``(m,)`` :class:`Reason` of each offered one.
    """

    keep: Bool[np.ndarray, " n"]
    take: Bool[np.ndarray, " m"]
    marks: Float64[np.ndarray, "m q"]
    reasons: Int8[np.ndarray, " m"]


class Selector(Protocol):
    """Chooses what stays in a memory of at most ``capacity`` samples.

    It may note numbers of each sample in memory, its marks, which the memory carries
    along; it may change the marks of those in memory in place. Everything else that it
    remembers is in :meth:`state`.
    """

    n_marks: int
    weighs_training: bool
    """True where weights are meant for training, and do not estimate the stream."""

    @property
    def capacity(self) -> int:
        """Samples at most.

        It may be set to less before anything is offered, as when a limit is in bytes
        and the first sample says how many that is; ConfigError where it is too little.
        """
        ...

    @capacity.setter
    def capacity(self, capacity: int) -> None: ...

    @property
    def name(self) -> str:
        """What configs and tables call it."""
        ...

    def choose(
        self,
        kept: Samples,
        marks: Float64[np.ndarray, "n q"],
        new: Samples,
        rng: np.random.Generator,
    ) -> SelectorChoice:
        """Decide on what is offered, in the order in which it came.

        DataError if it needs what the samples lack: an output, a prediction.
        """
        ...

    def weights(
        self, kept: Samples, marks: Float64[np.ndarray, "n q"]
    ) -> Float64[np.ndarray, " n"] | None:
        """How many samples of the stream each one in memory stands for.

        It is the inverse of the probability with which it was kept; None where that
        probability is not known.
        """
        ...

    def state(self) -> Arrays:
        """All that it remembers beyond marks, to go on from."""
        ...

    def restore(self, state: Arrays) -> None:
        """Go on from a state; DataError if it is of another selector or version."""
        ...


@runtime_checkable
class Joinable(Protocol):
    """A selector that can take in what another one of its kind keeps."""

    def join(
        self,
        kept: Samples,
        marks: Float64[np.ndarray, "n q"],
        theirs: Samples,
        their_marks: Float64[np.ndarray, "m q"],
        state: Arrays,
    ) -> SelectorChoice:
        """Decide on the samples of another, whose state is given."""
        ...


@runtime_checkable
class Marking(Protocol):
    """A selector that reckons with marks, so that odd ones would mislead it."""

    def check_marks(self, marks: Float64[np.ndarray, "n q"]) -> None:
        """DataError where marks are none of its own, as those of a changed state."""
        ...


@runtime_checkable
class Relabelling(Protocol):
    """A selector whose marks depend on outputs, which may come after the sample."""

    def relabel(
        self,
        kept: Samples,
        marks: Float64[np.ndarray, "n q"],
        rows: Int64[np.ndarray, " r"],
    ) -> None:
        """Hear that outputs of some rows in memory are known, or are others, now."""
        ...
