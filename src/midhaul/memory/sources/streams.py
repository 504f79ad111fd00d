"""Recorded streams cut into periods: Puffer's send gaps, and downloads over 4G and 5G.

Three sets on which memories and retraining rules are tried. A model is trained after
each period and tested on the next, so what is played in one viewing session stays in
one period.

- **P**: the gap to the next chunk that Puffer's server sends, of two days.
- **S-inc**: download times of chunks; the radio and how the viewer moves change.
- **S-per**: the same over 4G on foot, where every fifth period has some of 5G in cars.

Files say no more of a session than when things were sent since it began, so sessions of
a period follow each other, in an order by lot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from midhaul import documents
from midhaul.errors import ConfigError, DataError
from midhaul.memory.samples import Samples, concatenate
from midhaul.memory.sources.fugu import FUGU_BINS
from midhaul.memory.sources.history import of_past, past_rows, starts_of
from midhaul.model import Tally
from midhaul.model.display import Display, Shown, counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float64, Int64

    from midhaul.memory.samples import Bins

PUFFER_DAYS = ("puffer_211017.parquet", "puffer_220218.parquet")
"""The files of set P, in the order of its days."""

INCREMENTAL = (
    ("4G", "walking", 5),
    ("4G", "driving", 3),
    ("5G", "walking", 5),
    ("5G", "driving", 3),
)
"""What S-inc goes through: radio, mobility, and for how many periods."""

N_PERIODIC = 15
"""Periods of S-per."""
EVERY = 5
"""How often a period of S-per has sessions of the other kind."""
N_OTHER = 12
"""How many of them."""

_MAX_LEFT_OUT = 0.01
_MS = 1000.0
_HALF_MS = 0.0005
_PAUSE_S = 1.0
"""Between a session and the next one."""
_BYTES_PER_MB = 1e6
_OF_STREAM = re.compile(r"_\d+$")
_HINT = "give the files of the streams, or write yours with their columns"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class StreamSet(Shown):
    """A stream of samples in periods.

    Attributes:
        name: what tables call it.
        periods: its samples, period by period, in the order in which they came; their
            times rise from period to period.
        bins: how its outputs are discretised.
        inputs: what each column of ``x`` is.
        tallies: what was left out, mended or assumed.
    """

    name: str
    periods: tuple[Samples, ...]
    bins: Bins
    inputs: tuple[str, ...]
    tallies: tuple[Tally, ...] = ()

    def _display(self) -> Display:
        n = sum(len(period) for period in self.periods)
        text = (
            f"{self.name}: {counted(n, 'sample')} of "
            f"{counted(len(self.inputs), 'input')} in "
            f"{counted(len(self.periods), 'period')}"
        )
        return Display(text=text)


def puffer_stream(
    folder: Path,
    *,
    seed: int = 0,
    n_periods: Sequence[int] = (8, 5),
    share: float = 1.0,
) -> StreamSet:
    """Set P: when does Puffer's server send the next chunk?

    The inputs are of the last eight chunks the logarithm of TCP's delivery rate (MB/s)
    and ``log1p`` of the gap to the next (s), and the logarithm of the present rate. A
    group is a stream, a cluster is the viewer's session, which may have several; a
    session is in one period.

    Args:
        folder: with the two files of :data:`PUFFER_DAYS`.
        seed: of how sessions are dealt out to the periods of their day.
        n_periods: of each day.
        share: of the sessions that are used, in (0, 1].

    Returns:
        The periods of the first day, then those of the second.

    Raises:
        DataError: a file cannot be read, or has fewer sessions than it has periods.
        ConfigError: the share or a number of periods is not one.
    """
    if not 0 < share <= 1 or len(n_periods) != len(PUFFER_DAYS) or min(n_periods) < 1:
        message = (
            f"expected a share in (0, 1] and periods of {len(PUFFER_DAYS)} days, found "
            f"{share} and {tuple(n_periods)}"
        )
        raise ConfigError(message, "n_periods=(8, 5), share=1.0")
    periods: list[Samples] = []
    tallies: list[Tally] = []
    for day, (name, n) in enumerate(zip(PUFFER_DAYS, n_periods, strict=True)):
        rng = np.random.default_rng([seed, 41, day])
        sent = _read_puffer(folder / name)
        drawn = rng.permutation(sent.n)[: round(share * sent.n)]
        found = _cut(sent, drawn, n, folder / name)
        periods += [of_day(period, day) for period in found]
        tallies += sent.tallies
    inputs = tuple(
        f"{what} {-8 + k} chunks"
        for k in range(8)
        for what in ("log delivery_rate_MBps", "log1p gap_s")
    )
    return StreamSet(
        name="P",
        periods=_in_turn(periods),
        bins=FUGU_BINS,
        inputs=(*inputs, "log delivery_rate_MBps now"),
        tallies=(*tallies, _assumed(periods)),
    )


def cellular_stream(
    file: Path, *, shift: Literal["incremental", "periodic"], seed: int = 0
) -> StreamSet:
    """Sets S-inc and S-per: how long does the next chunk take over 4G or 5G?

    The inputs are of the last eight chunks their throughput (MB/s), download time (s),
    size (MB) and the playback buffer behind them (s), then the buffer now and the size
    of the next chunk. A group is a session, a cluster is the recorded trace that it
    was played on.

    Args:
        file: the table of downloads.
        shift: how the stream changes: from one kind of sessions to the next, or by
            what comes back every fifth period.
        seed: of how sessions are dealt out to periods.

    Returns:
        16 periods, or 15.

    Raises:
        DataError: the file cannot be read, or lacks sessions of a kind.
        ConfigError: there is no such shift.
    """
    if shift not in ("incremental", "periodic"):
        message = f"shift: expected incremental or periodic, found {shift!r}"
        raise ConfigError(message, 'shift="incremental"')
    rng = np.random.default_rng([seed, 43])
    played = read_downloads(file)

    def drawn(radio: str, mobility: str) -> Int64[np.ndarray, " m"]:
        return rng.permutation(played.of_kind(radio, mobility))

    if shift == "incremental":
        periods = [
            period
            for radio, mobility, n in INCREMENTAL
            for period in _cut(
                played, drawn(radio, mobility), n, f"{file}, {radio} {mobility}"
            )
        ]
    else:
        usual, other = drawn("4G", "walking"), drawn("5G", "driving")
        periods = _periodic(played, usual, other, file)
    what = ("throughput_MBps", "download_s", "size_MB", "buffer_s")
    inputs = [f"{name} {-8 + k} chunks" for k in range(8) for name in what]
    return StreamSet(
        name="S-inc" if shift == "incremental" else "S-per",
        periods=_in_turn(periods),
        bins=FUGU_BINS,
        inputs=(*inputs, "buffer_s now", "size_MB next"),
        tallies=(*played.tallies, _assumed(periods)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadSessions:
    """Samples of a file, session by session.

    Attributes:
        samples: those of a session are together; times begin anew in each group.
        offsets: ``(n + 1,)`` where each session begins, and the end.
        kinds: ``(n,)`` radio and mobility of each; empty where there is but one.
        tallies: what was left out.
    """

    samples: Samples
    offsets: Int64[np.ndarray, " n1"]
    kinds: tuple[tuple[str, str], ...] = ()
    tallies: tuple[Tally, ...] = ()

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self.offsets) - 1

    def of_kind(self, *kind: str) -> Int64[np.ndarray, " m"]:
        """The sessions of a kind."""
        return np.flatnonzero([one == kind for one in self.kinds])

    def take(self, sessions: Int64[np.ndarray, " m"]) -> Samples:
        """Some sessions, one behind the other."""
        begins, ends = self.offsets[sessions], self.offsets[sessions + 1]
        pairs = zip(begins.tolist(), ends.tolist(), strict=True)
        rows = np.concatenate([np.arange(a, b) for a, b in pairs])
        return self.samples.take(rows)


def _cut(
    sessions: ReadSessions, drawn: Int64[np.ndarray, " m"], n: int, where: object
) -> list[Samples]:
    """Periods that have nearly the same number of sessions."""
    if len(drawn) < n:
        message = f"{where}: expected {n} sessions, one a period, found {len(drawn)}"
        raise DataError(message, "ask for fewer periods, or give more sessions")
    return [sessions.take(part) for part in np.array_split(drawn, n)]


def _periodic(
    sessions: ReadSessions,
    usual: Int64[np.ndarray, " a"],
    other: Int64[np.ndarray, " b"],
    where: object,
) -> list[Samples]:
    """Periods of what is usual; every fifth has some of the other kind among it."""
    n_others = N_PERIODIC // EVERY * N_OTHER
    if len(usual) < N_PERIODIC or len(other) < n_others:
        message = (
            f"{where}: expected {N_PERIODIC} sessions over 4G on foot and {n_others} "
            f"over 5G in cars, found {len(usual)} and {len(other)}"
        )
        raise DataError(message, _HINT)
    found: list[Samples] = []
    for number, part in enumerate(np.array_split(usual, N_PERIODIC), start=1):
        turn, is_usual = divmod(number, EVERY)
        few = other[:0] if is_usual else other[N_OTHER * (turn - 1) : N_OTHER * turn]
        places = np.linspace(0, len(part), len(few) + 2)[1:-1].astype(np.int64)
        found.append(sessions.take(np.insert(part, places, few)))
    return found


def of_day(period: Samples, day: int) -> Samples:
    """Groups and clusters with numbers that no other day has."""
    shift = day << 32
    return replace(period, group=period.group + shift, cluster=period.cluster + shift)


def _in_turn(periods: Sequence[Samples]) -> tuple[Samples, ...]:
    """Have every group begin when the one before it has ended."""
    whole = concatenate(periods)
    starts = starts_of(whole.group)
    lasted_s = np.diff(whole.time_s, prepend=0.0)
    lasted_s[starts == np.arange(len(whole))] = _PAUSE_S
    ends = np.cumsum([len(period) for period in periods])
    whole = replace(whole, time_s=np.cumsum(lasted_s))
    pairs = zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    return tuple(whole.take(slice(a, b)) for a, b in pairs)


def _assumed(periods: Sequence[Samples]) -> Tally:
    n = sum(len(np.unique(period.group)) for period in periods)
    return Tally(
        what="sessions were put behind each other, as nothing says when they began",
        n=n,
        of=n,
        max_share=1.0,
        advice="Give recordings with times of a clock where the order matters.",
    )


def _read_puffer(file: Path) -> ReadSessions:
    """The gaps between chunks, stream by stream, those of a viewer together."""
    wanted = ["session", "sent_s", "delivery_rate_MBps"]
    table = _table(file, wanted)
    names, stream = _codes(table, "session")
    viewers = [_OF_STREAM.sub("", name) for name in names]
    viewer = np.unique(viewers, return_inverse=True)[1][stream]
    sent_s, rate = _numbers(table, "sent_s"), _numbers(table, "delivery_rate_MBps")
    is_good = np.isfinite(sent_s) & np.isfinite(rate) & (rate > 0) & (stream >= 0)
    order = np.lexsort((sent_s, stream, viewer))
    order = order[is_good[order]]
    stream, viewer = stream[order], viewer[order]
    sent_s, log_rate = sent_s[order], np.log(rate[order])
    starts = starts_of(stream)
    is_last = np.append(starts[1:] != starts[:-1], np.ones(min(len(order), 1), bool))
    gap_s = np.append(np.diff(sent_s), 0.0)[: len(order)]
    rows = np.flatnonzero((starts < np.arange(len(order))) & ~is_last)
    past = past_rows(starts, rows)
    x = of_past(np.stack([log_rate, np.log1p(np.maximum(gap_s, 0))], axis=1), past)
    samples = Samples.of(
        np.column_stack([x, log_rate[rows]]),
        gap_s[rows],
        time_s=sent_s[rows],
        group=stream[rows],
        cluster=viewer[rows],
    )
    return ReadSessions(
        samples=samples,
        offsets=_offsets(samples.cluster),
        tallies=(
            _left_out(
                file, is_good, "chunks lack a session, a rate or a time, and were"
            ),
            _no_past(file, len(order) - len(rows), len(order)),
        ),
    )


def read_downloads(file: Path) -> ReadSessions:
    """The downloads of chunks, session by session; DataError if it has none such."""
    names = ("radio", "mobility", "abr", "trace")
    numbers = ("chunk", "time_s", "buffer_s", "chunk_bytes", "download_ms")
    table = _table(file, [*names, *numbers])
    texts = [_codes(table, name) for name in names]
    shape = tuple(max(len(found), 1) for found, _ in texts)
    codes = np.stack([found for _, found in texts])
    together = np.ravel_multi_index(tuple(np.maximum(codes, 0)), shape)
    session, trace = np.unique(together, return_inverse=True)[1], texts[3][1]
    chunk, time_s, buffer_s, size_mb, took_s = (_numbers(table, n) for n in numbers)
    size_mb, took_s = size_mb / _BYTES_PER_MB, took_s / _MS
    is_good = np.isfinite(np.stack([chunk, time_s, buffer_s, size_mb, took_s])).all(0)
    is_good &= (size_mb > 0) & (took_s >= 0) & (codes >= 0).all(0)
    order = np.lexsort((chunk, session))
    order = order[is_good[order]]
    session, trace, time_s = session[order], trace[order], time_s[order]
    buffer_s, size_mb, took_s = buffer_s[order], size_mb[order], took_s[order]
    starts = starts_of(session)
    rows = np.flatnonzero(starts < np.arange(len(order)))
    rate = size_mb / np.maximum(took_s, _HALF_MS)
    past = of_past(
        np.stack([rate, took_s, size_mb, buffer_s], axis=1), past_rows(starts, rows)
    )
    samples = Samples.of(
        # The recorded buffer is the one behind a download; before it, it was that
        # behind the chunk before.
        np.column_stack([past, buffer_s[rows - 1], size_mb[rows]]),
        took_s[rows],
        time_s=(time_s - time_s[starts])[rows],
        group=session[rows],
        cluster=trace[rows],
    )
    n_quick = int((took_s < _HALF_MS).sum())
    offsets = _offsets(samples.group)
    first = order[rows[offsets[:-1]]]
    (radios, radio), (mobilities, mobility) = texts[:2]
    pairs = zip(radio[first].tolist(), mobility[first].tolist(), strict=True)
    return ReadSessions(
        samples=samples,
        offsets=offsets,
        kinds=tuple((radios[a], mobilities[b]) for a, b in pairs),
        tallies=(
            _left_out(file, is_good, "downloads lack a name or a number, and were"),
            _no_past(file, len(order) - len(rows), len(order)),
            Tally(
                what="downloads of 0 ms were given the rate of half a millisecond",
                n=n_quick,
                of=len(order),
                max_share=_MAX_LEFT_OUT,
                advice="Record times in finer steps.",
            ),
        ),
    )


def _offsets(group: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " g1"]:
    starts = np.unique(starts_of(group))
    return np.append(starts, len(group)).astype(np.int64)


def _left_out(file: Path, is_good: np.ndarray, what: str) -> Tally:
    bad = np.flatnonzero(~is_good)
    return Tally(
        what=f"{what} left out",
        n=len(bad),
        of=len(is_good),
        max_share=_MAX_LEFT_OUT,
        advice="Look for what wrote these rows.",
        places=tuple(f"{file} row {row + 1}" for row in bad[:3].tolist()),
    )


def _no_past(file: Path, n: int, of: int) -> Tally:
    return Tally(
        what=f"chunks of {file.name} begin or end a session, and are no samples",
        n=n,
        of=of,
        max_share=1.0,
        advice="Nothing: a sample needs a chunk before it, a gap one behind it.",
    )


def _table(file: Path, columns: list[str]) -> pa.Table:
    with documents.expected(f"{file}: expected a stream,", _HINT):
        table = documents.read_parquet(file, columns)
    if missing := [name for name in columns if name not in table.column_names]:
        message = f"{file}: expected the column {missing[0]}, found no such one"
        raise DataError(message, _HINT)
    return table


def _codes(table: pa.Table, name: str) -> tuple[list[str], Int64[np.ndarray, " n"]]:
    """Different texts of a column, sorted, and which each row has; -1 for null."""
    with documents.expected(
        f"column {name}: expected texts,", _HINT, also=(pa.ArrowException,)
    ):
        texts = pc.cast(table.column(name), pa.string())
    encoded: Any = pa.concat_arrays(texts.chunks or [pa.array([], pa.string())])
    encoded = encoded.dictionary_encode()
    names: list[str] = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.full(len(names) + 1, -1, np.int64)
    rank[order] = np.arange(len(names))
    return [names[i] for i in order], rank[encoded.indices.fill_null(len(names))]


def _numbers(table: pa.Table, name: str) -> Float64[np.ndarray, " n"]:
    with documents.expected(
        f"column {name}: expected numbers,", _HINT, also=(pa.ArrowException,)
    ):
        values = pc.cast(table.column(name), pa.float64(), safe=False)
    return np.asarray(values.to_numpy(), np.float64)
