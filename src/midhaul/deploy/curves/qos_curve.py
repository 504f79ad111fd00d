"""QoS curves: what quality each upload rate buys, as measured steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.model.display import MOST_ROWS, Display, Shown, counted, number

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class QosCurve(Shown):
    """Quality as a function of upload rate: a table of steps, in order of their rates.

    Steps are kept as they were measured. A step that costs more than another and is not
    better is *dominated*: it stays in the table, and no allocator chooses it (see
    :attr:`on_frontier`). Below the first step nothing useful is sent: quality 0.

    Attributes:
        name: what the curve belongs to.
        knobs: ``(n,)`` the setting of each step.
        rates_bps: ``(n,)`` payload in bit/s that the setting sends, not falling.
        qualities: ``(n,)`` measured quality, 0 to 1.
        message_hz: messages per second, for what transports add; 0 where unknown.

    Raises:
        DataError: there is no step, the lengths differ, a number is NaN or negative, or
            rates fall.
    """

    name: str
    knobs: Float64[np.ndarray, " n"]
    rates_bps: Float64[np.ndarray, " n"]
    qualities: Float64[np.ndarray, " n"]
    message_hz: float = 0.0

    def __post_init__(self) -> None:
        """Check the table."""
        n = len(self.rates_bps)
        if n == 0 or len(self.knobs) != n or len(self.qualities) != n:
            message = (
                f"QoS curve {self.name}: expected as many knobs, rates and qualities, "
                f"at least one, found {len(self.knobs)}, {n}, {len(self.qualities)}"
            )
            raise DataError(message)
        for name in ("knobs", "rates_bps", "qualities"):
            values = getattr(self, name)
            bad = np.flatnonzero(~np.isfinite(values) | (values < 0))
            if len(bad):
                message = (
                    f"QoS curve {self.name}: expected {name} of at least 0, found "
                    f"{values[bad[0]]} in step {bad[0]}"
                )
                raise DataError(message)
        falls = np.flatnonzero(np.diff(self.rates_bps) < 0)
        if len(falls):
            message = (
                f"QoS curve {self.name}: expected steps in order of their rates, found "
                f"{self.rates_bps[falls[0] + 1]:g} after {self.rates_bps[falls[0]]:g} "
                "bit/s"
            )
            raise DataError(message, "QosCurve.of(...) sorts the steps")

    @classmethod
    def of(
        cls,
        name: str,
        knobs: Float64[np.ndarray, " n"],
        rates_bps: Float64[np.ndarray, " n"],
        qualities: Float64[np.ndarray, " n"],
        *,
        message_hz: float = 0.0,
    ) -> QosCurve:
        """A curve from steps in any order; of equal rates the best comes last.

        Raises:
            DataError: the steps cannot be a curve.
        """
        if not len(knobs) == len(rates_bps) == len(qualities):
            message = f"QoS curve {name}: knobs, rates and qualities differ in length"
            raise DataError(message)
        order = np.lexsort((qualities, rates_bps))
        return cls(
            name=name,
            knobs=np.asarray(knobs, np.float64)[order],
            rates_bps=np.asarray(rates_bps, np.float64)[order],
            qualities=np.asarray(qualities, np.float64)[order],
            message_hz=message_hz,
        )

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.rates_bps)

    @property
    def on_frontier(self) -> Bool[np.ndarray, " n"]:
        """True for steps that are better than every step that costs no more.

        Of steps with equal rates the best is on the frontier, once.
        """
        best_before = np.concatenate([[0.0], np.maximum.accumulate(self.qualities)])
        better = self.qualities > best_before[:-1]
        last_of_rate = np.append(np.diff(self.rates_bps) > 0, True)
        if last_of_rate.all():
            return better
        # Within one rate only the best may stay; of() sorts it to the end.
        best_of_rate = np.zeros(len(self), np.bool_)
        begin = 0
        for end in np.flatnonzero(last_of_rate):
            best_of_rate[begin + int(np.argmax(self.qualities[begin : end + 1]))] = True
            begin = end + 1
        return better & best_of_rate

    @property
    def n_dominated(self) -> int:
        """Steps that nobody would choose."""
        return len(self) - int(self.on_frontier.sum())

    def frontier(self) -> QosCurve:
        """The curve without its dominated steps; strictly rising in both."""
        keep = self.on_frontier
        if keep.all():
            return self
        if not keep.any():
            message = f"QoS curve {self.name} has no step with a quality above 0"
            raise DataError(message)
        return QosCurve(
            name=self.name,
            knobs=self.knobs[keep],
            rates_bps=self.rates_bps[keep],
            qualities=self.qualities[keep],
            message_hz=self.message_hz,
        )

    def quality_at(self, rate_bps: float) -> float:
        """Quality of the best step that a rate pays for; 0 below the first step."""
        n = int(np.searchsorted(self.rates_bps, rate_bps, side="right"))
        return float(self.qualities[:n].max()) if n else 0.0

    def _display(self) -> Display:
        """How many steps from where to where, and the first of them."""
        rates, qualities = self.rates_bps, self.qualities
        return Display(
            text=f'"{self.name}", {counted(len(self), "step")}, '
            f"{number(float(rates[0]))} to {number(float(rates[-1]))} bit/s, quality "
            f"{number(float(qualities.min()))} to {number(float(qualities.max()))}",
            columns=("knob", "rate_bps", "quality"),
            rows=list(zip(self.knobs[:MOST_ROWS], rates, qualities, strict=False)),
            n_rows=len(self),
        )
