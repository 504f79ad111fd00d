"""Viewings: how long each stream played and stalled, and how good it looked.

Out of Puffer's chunks, or of a table of one's own. Names of ABR schemes stand in the
file ``expt_settings`` beside Puffer's days.

Differences from Puffer's own statistics:

1. Stalls are those that the player had told when its last chunk was sent
   (``cum_rebuf``), not those of the file ``client_buffer``; what it told when its
   buffer first held something is start-up, and no stall.
2. Time played is that of the chunks that were sent, less what was in the buffer then.
3. SSIM is the mean of decibels, chunk by chunk.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from midhaul import documents
from midhaul.errors import DataError
from midhaul.memory.sources.history import starts_of
from midhaul.memory.sources.puffer import CHUNK_S
from midhaul.model import Tally

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Bool, Float64

    from midhaul.memory.sources.puffer import Chunks

_MAX_LEFT_OUT = 0.05
_NUMBERS = ("ssim_db", "variation_db", "stall_s", "play_s")
_WORDS = ("abr", "day", "viewer")
_HINT = "columns: abr, day, ssim_db, variation_db, stall_s, play_s, and perhaps viewer"
_SETTINGS_HINT = 'a line of expt_settings is a number and JSON: 7 {"abr": "fugu"}'
_MOST_S = 1e8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Viewings:
    """``n`` streams that were watched.

    Attributes:
        abr: ``(n,)`` name of the scheme.
        day: ``(n,)`` name of the day.
        viewer: ``(n,)`` who watched; streams of a viewer are not independent.
        ssim_db: ``(n,)`` mean SSIM; NaN where no chunk has one.
        variation_db: ``(n,)`` mean change from chunk to chunk; NaN where there is none.
        stall_s: ``(n,)`` without a picture, start-up left out.
        play_s: ``(n,)`` with one.
        tallies: what was left out.
    """

    abr: tuple[str, ...]
    day: tuple[str, ...]
    viewer: tuple[str, ...]
    ssim_db: Float64[np.ndarray, " n"]
    variation_db: Float64[np.ndarray, " n"]
    stall_s: Float64[np.ndarray, " n"]
    play_s: Float64[np.ndarray, " n"]
    tallies: tuple[Tally, ...] = ()

    def __len__(self) -> int:
        """How many streams there are."""
        return len(self.abr)


def viewings_of(
    chunks: Chunks, day: str, schemes: Mapping[int, str], least_s: float = 4.0
) -> Viewings:
    """The streams of a day that were watched.

    Args:
        chunks: of the day.
        day: its name.
        schemes: names of ABR schemes by experiment; others are called by its number.
        least_s: streams that played for a shorter time are left out, as Puffer does.

    Returns:
        The streams, with tallies of those that played for too short a time, and of
        those whose player told nothing.
    """
    n = len(chunks)
    firsts = np.unique(starts_of(chunks.stream)) if n else np.zeros(0, np.int64)
    lasts = np.append(firsts[1:], n)[: len(firsts)] - 1
    n_streams = len(firsts)
    stream = np.repeat(np.arange(n_streams), lasts - firsts + 1)
    # Start-up lasts until the buffer first held something.
    has = np.flatnonzero(chunks.buffer_s > 0)
    began = lasts.copy()
    np.minimum.at(began, stream[has], has)
    stall_s = chunks.stalled_s[lasts] - chunks.stalled_s[began]
    play_s = (lasts - firsts) * CHUNK_S - chunks.buffer_s[lasts]
    decibels = -10 * np.log10(1 - chunks.ssim)
    step = np.abs(np.diff(decibels, prepend=np.nan))
    step[firsts] = np.nan
    is_told = np.isfinite(stall_s) & np.isfinite(play_s) & (stall_s >= 0)
    is_long = is_told & (play_s >= least_s)
    rows = np.flatnonzero(is_long)
    names = [schemes.get(int(e), f"experiment {e}") for e in chunks.expt[firsts[rows]]]
    return Viewings(
        abr=tuple(names),
        day=(day,) * len(rows),
        viewer=tuple(f"{day}/{viewer}" for viewer in chunks.viewer[firsts[rows]]),
        ssim_db=_means(decibels, stream, n_streams)[rows],
        variation_db=_means(step, stream, n_streams)[rows],
        stall_s=stall_s[rows],
        play_s=play_s[rows],
        tallies=(
            _tally(f"streams of {day} do not say how long they stalled", ~is_told),
            _tally(
                f"streams of {day} played for less than {least_s:g} s",
                is_told & ~is_long,
                max_share=1.0,
            ),
        ),
    )


def _means(
    values: Float64[np.ndarray, " n"], owner: np.ndarray, n: int
) -> Float64[np.ndarray, " g"]:
    is_known = np.isfinite(values)
    sums = np.bincount(owner[is_known], values[is_known], n)
    counts = np.bincount(owner[is_known], minlength=n)
    return np.where(counts, sums / np.maximum(counts, 1), np.nan)


def _tally(
    what: str, is_it: Bool[np.ndarray, " n"], max_share: float = _MAX_LEFT_OUT
) -> Tally:
    return Tally(
        what=f"{what}, and were left out",
        n=int(is_it.sum()),
        of=len(is_it),
        max_share=max_share,
        advice="Give days whose chunks have buffer and cum_rebuf.",
    )


def read_schemes(file: Path) -> dict[int, str]:
    """Names of ABR schemes by experiment, as Puffer's ``expt_settings`` has them.

    DataError if a line is not a number and a JSON object.
    """
    with documents.expected(f"{file}: expected settings of experiments,"):
        lines = documents.read_text(file, max_bytes=documents.MAX_TEXT_BYTES)
    found: dict[int, str] = {}
    for number, line in enumerate(lines.splitlines(), start=1):
        if not line.strip():
            continue
        head, _, rest = line.partition(" ")
        with documents.expected(
            f"{file}:{number}: expected an experiment,", _SETTINGS_HINT
        ):
            value: object = documents.parse_json(rest)
            if not isinstance(value, dict) or not (head.isascii() and head.isdigit()):
                message = f"found {line[:40]!r}"
                raise ValueError(message)
            settings = cast("dict[str, Any]", value)
            name = settings.get("abr_name") or settings.get("abr") or ""
            cc = settings.get("cc") or ""
            found[int(head[:18])] = f"{name}/{cc}".strip("/") or f"experiment {head}"
    return found


def read_viewings(file: Path, least_s: float = 4.0) -> Viewings:
    """A table of streams, as Parquet or CSV.

    Args:
        file: with the columns ``abr``, ``day``, ``ssim_db``, ``variation_db``,
            ``stall_s``, ``play_s``, and ``viewer`` where viewers had several.
        least_s: streams that played for a shorter time are left out.

    Returns:
        The streams.

    Raises:
        DataError: the file cannot be read, or lacks a column.
    """
    with documents.expected(
        f"{file}: expected streams that were watched,",
        _HINT,
        also=(pa.ArrowException, KeyError),
    ):
        if file.suffix.lower() == ".parquet":
            table = documents.read_parquet(file)
        else:
            table = pa_csv.read_csv(io.BytesIO(documents.read_bytes(file)))
        names = list(table.column_names)
        lacking = [n for n in (*_WORDS[:2], *_NUMBERS) if n not in names]
        if lacking:
            message = f"the column {lacking[0]!r} is missing"
            raise ValueError(message)
        words = {
            name: _words(table.column(name))
            for name in _WORDS
            if name in table.column_names
        }
        numbers = {
            name: np.asarray(
                pc.cast(table.column(name), pa.float64(), safe=False).to_numpy(),
                np.float64,
            )
            for name in _NUMBERS
        }
    words.setdefault("viewer", [str(i) for i in range(len(table))])
    stall_s, play_s = numbers["stall_s"], numbers["play_s"]
    is_told = (stall_s >= 0) & (stall_s < _MOST_S) & (play_s >= 0) & (play_s < _MOST_S)
    pairs = zip(words["abr"], words["day"], strict=True)
    is_told &= np.array([abr != "" and day != "" for abr, day in pairs], np.bool_)
    is_long = is_told & (play_s >= least_s)
    rows = np.flatnonzero(is_long)
    known = {
        name: np.where(np.isfinite(values[rows]), values[rows], np.nan)
        for name, values in numbers.items()
    }
    if not len(rows):
        message = f"{file}: expected streams that played, found none"
        raise DataError(message, _HINT)
    return Viewings(
        abr=tuple(words["abr"][i] for i in rows),
        day=tuple(words["day"][i] for i in rows),
        viewer=tuple(words["viewer"][i] for i in rows),
        **known,
        tallies=(
            _tally(f"streams of {file.name} lack a scheme, a day or a time", ~is_told),
            _tally(
                f"streams of {file.name} played for less than {least_s:g} s",
                is_told & ~is_long,
                max_share=1.0,
            ),
        ),
    )


def _words(column: Any) -> list[str]:
    texts = pc.cast(column, pa.string()).to_pylist()
    return ["" if text is None else str(text) for text in texts]


def joined(parts: Sequence[Viewings]) -> Viewings:
    """Streams of several days together; there is one or more."""
    return Viewings(
        abr=tuple(one for part in parts for one in part.abr),
        day=tuple(one for part in parts for one in part.day),
        viewer=tuple(one for part in parts for one in part.viewer),
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in _NUMBERS
        },
        tallies=tuple(tally for part in parts for tally in part.tallies),
    )
