"""A fitted corrector: nets, their intervals, what they have seen, and their record.

Intervals are conformal (V. Vovk, A. Gammerman, G. Shafer: "Algorithmic Learning in a
Random World", 2005; of quantiles: Y. Romano, E. Patterson, E. Candès: "Conformalized
Quantile Regression", NeurIPS 2019). On scenarios that nets have not learnt from it is
noted how far the logarithm of the truth lies from that of the answer, over a scale that
grows with the answer and with how much nets differ; the 5th and the 95th of 100 such
ratios, by transport, class and percentile, bound a new one.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import DataError, PrerequisiteError
from midhaul.network.corrector.base import LEVELS, Correction
from midhaul.network.corrector.compact import NetScaling, NetWeights, rows_of_classes
from midhaul.network.corrector.features import (
    N_CLASSES,
    TRANSPORT_NAMES,
    PathFeatures,
    stacked,
)
from midhaul.network.corrector.ranges import SeenRanges, outside_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float32, Float64

FORMAT = 1
"""Of a file; features belong to it, so one of another format cannot be used."""

SHIPPED = "corrector.npz"
COVERED = 0.9
"""Share of truths that intervals are to hold."""

_LEAST, _OF_VALUE, _MOST_LOG = 0.004, 0.08, 12.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedCorrector:
    """Our corrector, fitted.

    Attributes:
        nets: that are averaged.
        scaling: of their inputs.
        ratios: ``(t, b + 1, q, 2)`` of errors over their scale, by transport, class of
            size or all of them, and percentile: the 5th and the 95th of 100.
        ranges: what training has seen.
        record: how it was trained and how far it is off, as JSON has it.
    """

    nets: tuple[NetWeights, ...]
    scaling: NetScaling
    ratios: Float32[np.ndarray, "t b1 q 2"]
    ranges: SeenRanges
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What tables call it."""
        return "compact"

    def predict(self, features: Sequence[PathFeatures]) -> Correction:
        """Percentiles of slowdowns of each path, with intervals and warnings.

        Args:
            features: of each path.

        Returns:
            What packets would say of them.
        """
        if not features:
            empty = np.ones((0, N_CLASSES, len(LEVELS)))
            counts = np.zeros((0, N_CLASSES), np.int64)
            return Correction(
                slowdown=empty, low=empty, high=empty, counts=counts, outside=()
            )
        arrays = stacked(features)
        logs, spread = self.log_slowdown(arrays)
        kinds = np.array([TRANSPORT_NAMES.index(one.transport) for one in features])
        scale = scale_of(logs, spread)
        ratios = self.ratios[kinds, :N_CLASSES]
        low = np.maximum(logs + ratios[..., 0] * scale, 0.0)
        high = np.maximum(logs + ratios[..., 1] * scale, logs)
        return Correction(
            slowdown=np.exp(logs),
            low=np.exp(np.minimum(np.maximum.accumulate(low, axis=2), logs)),
            high=np.exp(np.minimum(np.maximum.accumulate(high, axis=2), _MOST_LOG)),
            counts=arrays["counts"],
            outside=outside_of(self.ranges, features),
        )

    def log_slowdown(
        self, arrays: Mapping[str, np.ndarray]
    ) -> tuple[Float64[np.ndarray, "n b q"], Float64[np.ndarray, "n b q"]]:
        """Logarithms of percentiles of stacked features, and how much nets differ."""
        rows, hops, bases = rows_of_classes(arrays)
        of_rows, links, is_there = self.scaling.scaled(rows, hops)
        told = np.stack(
            [net.log_slowdown(of_rows, links, is_there, bases) for net in self.nets]
        )
        shape = (len(arrays["path"]), N_CLASSES, len(LEVELS))
        # Each net is monotone, and so is their mean.
        logs = np.minimum(told.mean(axis=0), _MOST_LOG).reshape(shape)
        return logs, told.std(axis=0).reshape(shape)

    def saved(self) -> bytes:
        """The file of it."""
        arrays: dict[str, np.ndarray] = {
            "format": np.array(FORMAT),
            "record": np.frombuffer(json.dumps(self.record).encode(), np.uint8),
            "ratios": self.ratios,
            "ranges.path": self.ranges.path,
            "ranges.hops": self.ranges.hops,
        }
        for name in NetScaling.__slots__:
            arrays[f"scaling.{name}"] = getattr(self.scaling, name)
        for i, net in enumerate(self.nets):
            for layer, (weight, offset) in net.layers.items():
                arrays[f"net.{i}.{layer}.weight"] = weight.astype(np.float16)
                arrays[f"net.{i}.{layer}.offset"] = offset
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **cast("Any", arrays))
        return buffer.getvalue()


def scale_of(
    logs: Float64[np.ndarray, ...], spread: Float64[np.ndarray, ...]
) -> Float64[np.ndarray, ...]:
    """By what errors of logarithms are divided before they are compared."""
    return _LEAST + spread + _OF_VALUE * logs


def read_corrector(content: bytes, name: str) -> FittedCorrector:
    """A corrector of its file.

    Args:
        content: of the file.
        name: of the file, for messages.

    Returns:
        The corrector.

    Raises:
        DataError: it is no file of a corrector, is damaged, or is of another format.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as read:
            arrays = {one: read[one] for one in read.files}
        found = int(arrays.pop("format"))
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        message = f"expected a corrector of network.train, {name} is none: {error}"
        raise DataError(message, "train one, or use the one that is shipped") from error
    if found != FORMAT:
        message = (
            f"{name} is a corrector of format {found}, this version reads {FORMAT}"
        )
        raise DataError(message, "train it again with network.train")
    try:
        return _of_arrays(arrays)
    except (KeyError, ValueError, IndexError) as error:
        message = f"the corrector {name} is damaged: {error}"
        raise DataError(message, "train it again with network.train") from error


def _of_arrays(arrays: Mapping[str, np.ndarray]) -> FittedCorrector:
    layers: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for name, values in arrays.items():
        if name.startswith("net.") and name.endswith(".weight"):
            _, i, layer, _ = name.split(".")
            offset = arrays[f"net.{i}.{layer}.offset"].astype(np.float32)
            layers.setdefault(int(i), {})[layer] = values.astype(np.float32), offset
    if not layers:
        message = "it has no net"
        raise ValueError(message)
    return FittedCorrector(
        nets=tuple(NetWeights(layers=layers[i]) for i in sorted(layers)),
        scaling=NetScaling(
            **{name: arrays[f"scaling.{name}"] for name in NetScaling.__slots__}
        ),
        ratios=arrays["ratios"],
        ranges=SeenRanges(path=arrays["ranges.path"], hops=arrays["ranges.hops"]),
        record=json.loads(arrays["record"].tobytes().decode()),
    )


def load_corrector(file: Path | None = None) -> FittedCorrector:
    """A corrector of a file, or the one that is shipped.

    Args:
        file: what ``network.train`` has written; None: the shipped one.

    Returns:
        The corrector.

    Raises:
        DataError: the file is none of a corrector, or of another format.
        PrerequisiteError: this copy of midhaul has none.
    """
    if file is not None:
        try:
            content = file.read_bytes()
        except OSError as error:
            message = f"the corrector {file} cannot be read: {error.strerror}"
            raise DataError(
                message, "give the file that network.train wrote"
            ) from error
        return read_corrector(content, str(file))
    there = resources.files("midhaul.network.corrector") / SHIPPED
    if not there.is_file():
        message = "this copy of midhaul comes without a trained corrector"
        raise PrerequisiteError(message, "train one: midhaul new network.train")
    return read_corrector(there.read_bytes(), SHIPPED)
