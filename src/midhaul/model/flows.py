"""Flows: bytes from a source to a destination, from a start time or after others."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Int32, Int64

from midhaul.model.display import MOST_ROWS, Display, Shown, counted


def _none() -> Int64[np.ndarray, " 0"]:
    return np.zeros(0, np.int64)


_WHOLE = ("source", "target", "size_bytes", "start_ns", "transport", "label", "after")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Flows(Shown):
    """``n`` flows, in any order of their starts.

    Attributes:
        source: ``(n,)`` index of the node that sends, in ``Topology.nodes``.
        target: ``(n,)`` index of the node that receives.
        size_bytes: ``(n,)`` payload, at least 1.
        start_ns: ``(n,)`` when it starts, nanoseconds; of one that waits for others,
            how long after the last of them has ended.
        transport: ``(n,)`` index of its transport among those of the simulation; all
            the first where empty.
        label: ``(n,)`` index of its class in ``labels``; all the first where empty.
        labels: names of classes of flows, as tables and charts show them.
        after_offsets: ``(n + 1,)`` where in ``after`` the flows stand that a flow waits
            for; empty where none waits.
        after: ``(k,)`` indices of flows, each below that of the one that waits.

    Raises:
        ValueError: an array is none or of other numbers, lengths differ, a size is
            below 1, a start is before 0, or a flow waits for a later one.
    """

    source: Int32[np.ndarray, " n"]
    target: Int32[np.ndarray, " n"]
    size_bytes: Int64[np.ndarray, " n"]
    start_ns: Int64[np.ndarray, " n"]
    transport: Int64[np.ndarray, " n_or_0"] = field(default_factory=_none)
    label: Int64[np.ndarray, " m_or_0"] = field(default_factory=_none)
    labels: tuple[str, ...] = ("flows",)
    after_offsets: Int64[np.ndarray, " n1_or_0"] = field(default_factory=_none)
    after: Int64[np.ndarray, " k"] = field(default_factory=_none)

    def __post_init__(self) -> None:
        """Check what every simulator relies on."""
        n = len(self.source)
        for name in _WHOLE:
            array: object = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
                said = getattr(array, "dtype", type(array).__name__)
                message = f"{name} must be an array of whole numbers, found {said}"
                raise ValueError(message)
        for name in ("target", "size_bytes", "start_ns", "transport", "label"):
            found = len(getattr(self, name))
            if found != n and (found or name in ("target", "size_bytes", "start_ns")):
                message = f"expected {n} values of {name}, found {found}"
                raise ValueError(message)
        for name, least in (("size_bytes", 1), ("start_ns", 0)):
            values = getattr(self, name)
            if n and int(values.min()) < least:
                at = int(values.argmin())
                message = f"{name} must be at least {least}, flow {at} has {values[at]}"
                raise ValueError(message)
        self._check_after(n)

    def _check_after(self, n: int) -> None:
        """What a flow waits for stands before it, so that nothing waits in a circle."""
        if not len(self.after_offsets):
            if len(self.after):
                message = "after needs after_offsets"
                raise ValueError(message)
            return
        counts = np.diff(self.after_offsets)
        is_whole = (
            len(self.after_offsets) == n + 1
            and self.after_offsets[0] == 0
            and self.after_offsets[-1] == len(self.after)
            and bool((counts >= 0).all())
        )
        if not is_whole:
            message = f"after_offsets must rise from 0 to {len(self.after)} in {n + 1}"
            raise ValueError(message)
        waiting = np.repeat(np.arange(n), counts)
        if bool(((self.after < 0) | (self.after >= waiting)).any()):
            message = "a flow can only wait for flows that stand before it"
            raise ValueError(message)

    def __len__(self) -> int:
        """Number of flows."""
        return len(self.source)

    @property
    def waits(self) -> bool:
        """True when some flow starts when others have ended."""
        return len(self.after) > 0

    def take(self, which: Int64[np.ndarray, " k"] | slice) -> Flows:
        """Some of the flows, in an order; none of them waits for others any more.

        Args:
            which: their indices, or a slice of them.

        Returns:
            These flows, with the labels of all.
        """
        names = ("source", "target", "size_bytes", "start_ns", "transport", "label")
        given = {name: getattr(self, name) for name in names}
        chosen = {name: values[which] for name, values in given.items() if len(values)}
        return replace(self, **chosen, after_offsets=_none(), after=_none())

    def _line(self) -> str:
        """How many of which classes."""
        classes = f" of {', '.join(self.labels)}" if len(self.labels) > 1 else ""
        return f"{counted(len(self), 'flow')}{classes}"

    def _display(self) -> Display:
        """The first of them."""
        shown = range(min(len(self), MOST_ROWS))
        return Display(
            text=self._line(),
            columns=("flow", "source", "target", "size_bytes", "start_ns"),
            rows=[
                (
                    i,
                    int(self.source[i]),
                    int(self.target[i]),
                    int(self.size_bytes[i]),
                    int(self.start_ns[i]),
                )
                for i in shown
            ],
            n_rows=len(self),
        )
