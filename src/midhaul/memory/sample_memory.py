"""Sample memory: a bounded set of samples, which a selector fills."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.memory.late_labels import matches
from midhaul.memory.retraining.base import RetrainSituation
from midhaul.memory.samples import Samples
from midhaul.memory.selectors.base import Joinable, Marking, Relabelling
from midhaul.memory.selectors.pool import whole
from midhaul.model.display import Display, Shown, counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float64, Int8, Int64

    from midhaul.memory.predictors.base import Predictor
    from midhaul.memory.retraining.base import RetrainDecision, RetrainRule
    from midhaul.memory.samples import Bins
    from midhaul.memory.selectors.base import Selector, SelectorChoice


_FORMAT = 1
_MARK_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Offered(Shown):
    """What became of ``m`` samples that were offered.

    Attributes:
        is_kept: ``(m,)`` true for those in memory now.
        reasons: ``(m,)`` why, as :class:`midhaul.memory.selectors.base.Reason`.
    """

    is_kept: Bool[np.ndarray, " m"]
    reasons: Int8[np.ndarray, " m"]

    def _display(self) -> Display:
        n = len(self.is_kept)
        return Display(
            text=f"{int(self.is_kept.sum()):,} of {counted(n, 'sample')} kept"
        )


class SampleMemory(Shown):
    """A bounded set of samples, and whether to train on it again.

    Args:
        selector: what stays, and how many.
        bins: how outputs are discretised.
        rule: when to retrain; asked by :meth:`decide`.
        seed: of all chance.
        capacity_bytes: what samples and their marks may take at most; None for as much
            as the selector's capacity takes. The first sample has the widths of all, so
            it says how many that is: predictions count as if there were one of each
            bin. Where it is less than the selector's capacity, that is lowered.

    Raises:
        ConfigError: there is no room for a sample.

    Example:
        >>> import numpy as np
        >>> from midhaul.memory.samples import Bins
        >>> from midhaul.memory.selectors.reservoir import Reservoir
        >>> memory = SampleMemory(Reservoir(capacity=2), Bins.of_classes(3))
        >>> x = np.zeros((5, 4), np.float32)
        >>> int(memory.offer(Samples.of(x, np.arange(5.0) % 3)).is_kept.sum())
        2
    """

    __slots__ = (
        "_marks",
        "_most",
        "_n",
        "_rng",
        "_rows",
        "bins",
        "capacity_bytes",
        "n_offered",
        "rule",
        "selector",
    )

    def __init__(
        self,
        selector: Selector,
        bins: Bins,
        rule: RetrainRule | None = None,
        *,
        seed: int = 0,
        capacity_bytes: int | None = None,
    ) -> None:
        for found, what in ((selector.capacity, "sample"), (capacity_bytes, "byte")):
            if found is not None and found < 1:
                message = f"capacity: expected 1 {what} or more, found {found}"
                raise ConfigError(message, "a memory that keeps nothing is no memory")
        self.selector = selector
        self.capacity_bytes = capacity_bytes
        self._most = selector.capacity
        self.bins = bins
        self.rule = rule
        self.n_offered = 0
        self._rng = np.random.default_rng(seed)
        self._n = 0
        self._rows: Samples | None = None
        self._marks = np.zeros((0, selector.n_marks))

    def __len__(self) -> int:
        """How many samples are in memory."""
        return self._n

    def offer(self, new: Samples) -> Offered:
        """Offer samples in the order in which they came.

        Raises:
            DataError: they have other inputs or bins than those in memory, a value is
                no number, they lack what the selector needs, or the memory has fewer
                bytes than it needs for them.
        """
        new.check()
        self._fit(new)
        marks = self._marks[: self._n]
        choice = self.selector.choose(self.get(), marks, new, self._rng)
        self._apply(choice, new)
        self.n_offered += len(new)
        return Offered(is_kept=choice.take, reasons=choice.reasons)

    def get(self) -> Samples:
        """What is in memory, with the weights that samples came with.

        It is a view: valid until the next offer.
        """
        if self._rows is None:
            return Samples.of(np.zeros((0, 0), np.float32))
        return self._rows.take(slice(0, self._n))

    def weighted(self) -> Samples | None:
        """What is in memory, each with how many of the stream it stands for.

        None where the selector does not know with what probability it was kept.
        """
        kept = self.get()
        weights = self.selector.weights(kept, self._marks[: self._n])
        return None if weights is None else replace(kept, weight=weights * kept.weight)

    def label(
        self,
        time_s: Float64[np.ndarray, " m"],
        group: Int64[np.ndarray, " m"],
        y: Float64[np.ndarray, " m"],
    ) -> Bool[np.ndarray, " m"]:
        """Hear outputs of samples that were offered without, or with other ones.

        Args:
            time_s: of the samples.
            group: of the samples.
            y: their outputs.

        Returns:
            True for each label whose sample is in memory.

        Raises:
            DataError: an output is no finite number.
        """
        found = np.zeros(len(y), np.bool_)
        if not np.isfinite(y).all():
            at = int((~np.isfinite(y)).argmax())
            message = f"y of label {at}: expected a finite output, found {y[at]}"
            raise DataError(message, "label samples when their output is known")
        kept = self.get()
        rows, labels = matches(kept, time_s, group)
        kept.y[rows] = y[labels]
        if len(rows) and isinstance(self.selector, Relabelling):
            self.selector.relabel(kept, self._marks[: self._n], rows)
        found[labels] = True
        return found

    def merge(self, other: SampleMemory) -> None:
        """Take in what another memory keeps, as if this one had seen its stream too.

        Raises:
            ConfigError: a selector cannot do that, or the two differ.
            DataError: they keep other inputs, or were predicted by other models.
        """
        mine, theirs = self.selector, other.selector
        if not isinstance(mine, Joinable) or type(mine) is not type(theirs):
            message = f"memories by {mine.name} and {theirs.name} cannot be merged"
            raise ConfigError(message, "priority can: selector = 'priority' for both")
        rows = other.get()
        if not len(rows):
            return
        self._fit(rows)
        choice = mine.join(
            self.get(),
            self._marks[: self._n],
            rows,
            other._marks[: other._n],
            theirs.state(),
        )
        self._apply(choice, rows)
        self.n_offered += other.n_offered

    def state(self) -> dict[str, Any]:
        """All that it holds, to go on from: arrays, texts and numbers."""
        kept = self.get()
        return {
            "format": _FORMAT,
            "selector": self.selector.name,
            "rows": {f.name: getattr(kept, f.name) for f in fields(kept)},
            "marks": self._marks[: self._n],
            "of_selector": dict(self.selector.state()),
            "of_rule": {} if self.rule is None else dict(self.rule.state()),
            "n_offered": self.n_offered,
            "chance": self._rng.bit_generator.state,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            DataError: it is of another version or selector, or does not fit together.
        """
        found = state.get("format"), state.get("selector")
        if found != (_FORMAT, self.selector.name):
            message = (
                f"expected a memory of format {_FORMAT} by {self.selector.name}, found "
                f"{found[0]} by {found[1]}"
            )
            raise DataError(message, "start it with the settings that it was saved by")
        with whole("a state of a memory", "it was cut short or changed: use another"):
            rows = Samples(**state["rows"])
            rows.check()
            marks = np.array(state["marks"], np.float64)
            self.selector.restore(state["of_selector"])
            if self.rule is not None:
                self.rule.restore(state["of_rule"])
            self._rng.bit_generator.state = state["chance"]
            self.n_offered = int(state["n_offered"])
            is_whole = marks.shape == (len(rows), self.selector.n_marks)
            is_whole = is_whole and self.n_offered >= len(rows)
            if is_whole and isinstance(self.selector, Marking):
                self.selector.check_marks(marks)
        if len(rows):
            self._limit(rows)
        if not is_whole or len(rows) > self.selector.capacity:
            message = (
                f"a memory of {self.selector.capacity:,} samples cannot hold "
                f"{len(rows):,} with marks of shape {marks.shape}"
            )
            raise DataError(message, "start it with the settings that it was saved by")
        self._rows, self._n = None, 0
        self._marks = np.zeros((0, self.selector.n_marks))
        if len(rows):
            self._fit(rows)
            self._put(np.arange(len(rows)), rows, marks)
            self._n = len(rows)

    def predict_again(self, predictor: Predictor, version: int) -> None:
        """Let a new model say what it thinks of what is in memory.

        DataError where its bins are more than the memory's, and bytes are limited.
        """
        if self._rows is None:
            return
        kept = self.get()
        told = kept.predicted(predictor.predict(kept.x), version)
        self._limit(told)
        self._rows = None
        self._marks, marks = self._marks[:0], self._marks[: self._n]
        n, self._n = self._n, 0
        self._fit(told)
        self._put(np.arange(n), told, marks)
        self._n = n

    def decide(
        self, new: Samples, trained: Samples | None, period: int = 0
    ) -> RetrainDecision:
        """Ask the rule whether to retrain.

        Args:
            new: what came since it was last asked, as the present model sees it.
            trained: what the present model was trained on; None before the first.
            period: the number of times that it was asked.

        Returns:
            What to do and why.

        Raises:
            ConfigError: the memory has no rule.
            DataError: the rule needs what the samples lack.
        """
        if self.rule is None:
            message = "this memory has no rule that says when to retrain"
            raise ConfigError(
                message, "give it one: SampleMemory(selector, bins, rule)"
            )
        situation = RetrainSituation(
            period=period,
            new=new,
            memory=self.get(),
            trained=trained,
            bins=self.bins,
            rng=self._rng,
        )
        return self.rule.decide(situation)

    def _fit(self, new: Samples) -> None:
        """Have rows for what may be kept, of the widths of what comes."""
        if self._rows is None:
            self._limit(new)
            self._rows = new.take(slice(0, 0))
        for name in ("x", "prediction"):
            wanted = getattr(self._rows, name).shape[1]
            found = getattr(new, name).shape[1]
            if found != wanted:
                what = "inputs" if name == "x" else "bins of predictions"
                message = f"expected {wanted} {what} as in memory, found {found}"
                raise DataError(message, "one memory is for one learning problem")

    def _limit(self, new: Samples) -> None:
        """Keep no more samples of these widths than there are bytes for."""
        if self.capacity_bytes is None:
            return
        k, n_bins = new.prediction.shape[1], self.bins.n
        if k > n_bins:
            message = f"expected predictions over at most {n_bins} bins, found {k}"
            raise DataError(message, "a memory of so many bytes has room for its bins")
        numbers = (n_bins - k) * new.prediction.itemsize
        row_bytes = new.row_bytes + numbers + self.selector.n_marks * _MARK_BYTES
        n = self.capacity_bytes // row_bytes
        message = (
            f"{self.capacity_bytes:,} bytes have room for {counted(n, 'sample')} of "
            f"{row_bytes:,} bytes"
        )
        hint = "give the memory more capacity_bytes"
        if not n:
            raise DataError(message, hint)
        try:
            self.selector.capacity = min(self._most, n)
        except ConfigError as error:
            message = f"{message}: {error.message}"
            raise DataError(message, hint) from None

    def _apply(self, choice: SelectorChoice, new: Samples) -> None:
        """Put what is taken where something was dropped, then behind the rest."""
        free = np.flatnonzero(~choice.keep)
        taken = np.flatnonzero(choice.take)
        n_after = self._n - len(free) + len(taken)
        if n_after > self.selector.capacity:
            message = (
                f"selector {self.selector.name} keeps {n_after:,} samples, its "
                f"capacity is {self.selector.capacity:,}"
            )
            raise ValueError(message)
        places = np.concatenate([free, np.arange(self._n, n_after)])[: len(taken)]
        self._put(places, new.take(taken), choice.marks[taken])
        holes = free[len(taken) :]
        if len(holes):
            is_hole = np.zeros(self._n, np.bool_)
            is_hole[holes] = True
            last = n_after + np.flatnonzero(~is_hole[n_after:])
            into = holes[holes < n_after]
            rows = cast("Samples", self._rows)
            self._put(into, rows.take(last), self._marks[last])
        self._n = n_after

    def _put(self, places: np.ndarray, rows: Samples, marks: np.ndarray) -> None:
        """Write rows to places, with more room where there is too little."""
        held = cast("Samples", self._rows)
        needed = int(places.max(initial=-1)) + 1
        if needed > len(held):
            room = min(max(needed, 2 * len(held)), self.selector.capacity)
            if self.capacity_bytes is not None:
                room = self.selector.capacity  # no second copy while it grows
            held = Samples(
                **{f.name: _longer(getattr(held, f.name), room) for f in fields(held)}
            )
            self._rows = held
            self._marks = _longer(self._marks, room)
        for field in fields(held):
            getattr(held, field.name)[places] = getattr(rows, field.name)
        self._marks[places] = marks

    def _display(self) -> Display:
        text = (
            f"{self._n:,} of at most {counted(self.selector.capacity, 'sample')} by "
            f"{self.selector.name}, {self.n_offered:,} offered"
        )
        return Display(text=text)


def _longer(array: np.ndarray, n: int) -> np.ndarray:
    found = np.zeros((n, *array.shape[1:]), array.dtype)
    found[: len(array)] = array
    return found
