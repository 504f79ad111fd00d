"""Messages of a served memory: samples and labels as Arrow streams or JSON, answers.

Arrow is read by columns: ``x`` and ``prediction`` are lists of a fixed size, the others
are numbers. Nothing is unpickled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from midhaul import documents
from midhaul.errors import DataError
from midhaul.memory.samples import Samples
from midhaul.memory.selectors.base import Reason
from midhaul.memory.serving.arrow_stream import read_stream
from midhaul.memory.serving.config import reason_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float64, Int8, Int64

ARROW_TYPE = "application/vnd.apache.arrow.stream"
JSON_TYPE = "application/json"
FATES = ("drop", "keep", "upload")
REASONS = tuple(reason_name(one) for one in Reason)
_LISTS = ("x", "prediction")
_WHOLE = ("group", "cluster", "model_version")
_REQUIRED = ("x", "time_s", "group")
_COLUMNS = tuple(field.name for field in fields(Samples))
_LABELS = ("time_s", "group", "y")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A body as it came.

    Attributes:
        data: its bytes.
        is_json: whether it is JSON; Arrow if not.
    """

    data: bytes
    is_json: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LateLabels:
    """Outputs of ``m`` samples that were offered before.

    Attributes:
        time_s: ``(m,)`` of each sample.
        group: ``(m,)`` of each sample.
        y: ``(m,)`` its output.
    """

    time_s: Float64[np.ndarray, " m"]
    group: Int64[np.ndarray, " m"]
    y: Float64[np.ndarray, " m"]


def read_samples(piece: Piece, *, most: int) -> Samples:
    """Samples of a body, checked; DataError if it is none, or has too many."""
    found = _columns(piece, _COLUMNS, _REQUIRED, most)
    version = found.pop("model_version", None)
    with np.errstate(invalid="ignore"):  # what is no number is refused in words
        return Samples.of(
            found.pop("x"),
            found.pop("y", None),
            model_version=-1 if version is None else version,
            **found,
        )


def read_labels(piece: Piece, *, most: int) -> LateLabels:
    """Labels of a body; DataError if it is none, or has too many."""
    found = _columns(piece, _LABELS, _LABELS, most)
    lengths = {name: len(column) for name, column in found.items()}
    if len(set(lengths.values())) > 1:
        message = f"expected columns of one length, found {lengths}"
        raise DataError(message)
    for name in ("time_s", "y"):
        if not np.isfinite(found[name]).all():
            at = int((~np.isfinite(found[name])).argmax())
            message = (
                f"{name} of label {at}: expected a finite number, found "
                f"{found[name][at]}"
            )
            raise DataError(message, "label samples when their output is known")
    return LateLabels(**found)


def write_samples(samples: Samples, told: Mapping[str, str]) -> bytes:
    """Samples as an Arrow stream, with what else is to be said of them."""
    columns = {
        name: _as_list(getattr(samples, name))
        if name in _LISTS
        else pa.array(getattr(samples, name))
        for name in _COLUMNS
    }
    return _stream(columns, told)


def write_fates(
    fates: Int8[np.ndarray, " m"], reasons: Int8[np.ndarray, " m"], *, is_json: bool
) -> bytes:
    """What became of each sample that was offered: see FATES and REASONS."""
    if is_json:
        counts = np.bincount(fates, minlength=len(FATES)).tolist()
        said = {
            "n": len(fates),
            "n_kept": counts[1] + counts[2],
            "n_uploads": counts[2],
            "fate": [FATES[one] for one in fates],
            "reason": [REASONS[one] for one in reasons],
        }
        return json.dumps(said).encode()
    told = {"fate": ",".join(FATES), "reason": ",".join(REASONS)}
    return _stream({"fate": pa.array(fates), "reason": pa.array(reasons)}, told)


def write_counts(counts: Mapping[str, np.ndarray], told: Mapping[str, str]) -> bytes:
    """Columns of numbers as an Arrow stream."""
    return _stream({name: pa.array(one) for name, one in counts.items()}, told)


def _stream(columns: Mapping[str, Any], told: Mapping[str, str]) -> bytes:
    batch = pa.record_batch(dict(columns), metadata=cast("Any", dict(told)))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def _as_list(array: np.ndarray) -> Any:
    n, width = array.shape
    flat = pa.array(np.ascontiguousarray(array).reshape(-1))
    if not width:
        return pa.array([[]] * n, pa.list_(pa.float32(), 0))
    return pa.FixedSizeListArray.from_arrays(flat, width)


def _columns(
    piece: Piece, known: tuple[str, ...], required: tuple[str, ...], most: int
) -> dict[str, np.ndarray]:
    """Columns by their names, each of the type that it is of."""
    try:
        found = (
            _of_json(piece.data)
            if piece.is_json
            else read_stream(piece.data, most=most)
        )
    except (ValueError, OverflowError, TypeError) as error:
        what = "a JSON object of columns" if piece.is_json else "an Arrow stream"
        message = f"the body is not {what}: {error}"
        raise DataError(message, "see docs/how-to/serve-a-memory.md") from None
    strange = sorted(set(found) - set(known))
    missing = sorted(set(required) - set(found))
    if strange or missing:
        message = (
            f"expected the columns {', '.join(known)}, found the unknown {strange} and "
            f"missed {missing}"
        )
        raise DataError(message, f"{', '.join(required)} are needed, others may be")
    n = max((len(column) for column in found.values()), default=0)
    if n > most:
        message = f"expected at most {most:,} rows in a body, found {n:,}"
        raise DataError(message, "send them in several bodies")
    return {name: _typed(name, column) for name, column in found.items()}


def _typed(name: str, column: np.ndarray) -> np.ndarray:
    """A column as its type; DataError where it is none of that."""
    wanted = np.int64 if name in _WHOLE else np.float64
    wanted = np.float32 if name in _LISTS else wanted
    n_axes = 2 if name in _LISTS else 1
    is_number = column.dtype.kind in ("iu" if name in _WHOLE else "iuf")
    if column.ndim == 1 and not len(column):
        column, is_number = np.zeros((0,) * n_axes), True
    if not is_number or column.ndim != n_axes:
        message = (
            f"{name}: expected {np.dtype(wanted).name} in {n_axes} axes, found "
            f"{column.dtype} in {column.ndim}"
        )
        raise DataError(message, "rows of a column have the same length and type")
    if column.dtype.kind == "u" and column.max(initial=0) > np.iinfo(np.int64).max:
        message = f"{name}: expected numbers of 64 bits with a sign"
        raise DataError(message)
    with np.errstate(over="ignore"):  # too large for it is infinite, and refused
        return np.ascontiguousarray(column, wanted)


def _of_json(data: bytes) -> dict[str, np.ndarray]:
    said: object = documents.parse_json(data, is_checked=False)
    if not isinstance(said, dict):
        message = "it is no object"
        raise ValueError(message)  # noqa: TRY004 - told by _columns
    found: dict[str, np.ndarray] = {}
    for name, values in cast("dict[str, Any]", said).items():
        if not isinstance(values, list):
            message = f"{name} is no list"
            raise ValueError(message)  # noqa: TRY004 - told by _columns
        rows = cast("list[Any]", values)
        if name == "y":
            rows = [np.nan if one is None else one for one in rows]
        found[name] = np.array(rows)
    return found
