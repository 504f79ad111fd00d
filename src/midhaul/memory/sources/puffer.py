"""Puffer's days: chunks that were sent and acknowledged, as samples of Fugu's task.

Puffer publishes what its servers measured, a day in a file: ``video_sent_*.csv`` has a
row for each chunk with what TCP said then, ``video_acked_*.csv`` one for each that the
player acknowledged. A chunk took from the one to the other. See
https://puffer.stanford.edu/data-description/.

Differences from how Puffer prepares its own training data:

1. The past of a chunk is that of the chunks before it in its stream, in the order in
   which they were sent, and not of those whose ``video_ts`` is so many chunks back:
   they differ where a chunk was never acknowledged.
2. A later chunk, for horizons above 0, is the one whose ``video_ts`` is so many chunks
   ahead, as there; where it is missing there is no sample.
3. A chunk that begins its stream is no sample, as it has no past.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from midhaul import documents
from midhaul.errors import ConfigError, DataError
from midhaul.memory.samples import Samples
from midhaul.memory.sources.fugu import FUGU_BINS, FUGU_INPUTS, PACKET_BYTES
from midhaul.memory.sources.history import of_past, past_rows, starts_of
from midhaul.memory.sources.streams import StreamSet, of_day
from midhaul.model import Tally
from midhaul.model.display import Display, Shown, counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float64, Int64

CHUNK_S = 2.002
"""How long a chunk of Puffer plays."""

_CHUNK_TICKS = 180_180
_N_HORIZONS = 5
_NS = 1e9
_US = 1e6
_MAX_LEFT_OUT = 0.05
_MAX_MALFORMED = 0.01
_MOST_ROWS = 100_000_000
_TIMES = ("time (ns GMT)", "time")
_KEY = ("session_id", "index", "video_ts")
_TCP = ("delivery_rate", "cwnd", "in_flight", "min_rtt", "rtt")
_SENT = ("expt_id", "size", "ssim_index", *_TCP, "buffer", "cum_rebuf")
_OPTIONAL = ("buffer", "cum_rebuf")
_NAME = re.compile(r"video_sent_(.+?)\.csv(\.gz)?")
_HINT = "give video_sent_*.csv and video_acked_*.csv as Puffer publishes them"


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFiles:
    """The two files of a day.

    Attributes:
        day: what stands in their names: ``2021-10-17T11_2021-10-18T11``.
        sent: ``video_sent_*``.
        acked: ``video_acked_*``.
    """

    day: str
    sent: Path
    acked: Path


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Chunks(Shown):
    """The chunks of a day, stream by stream, in the order in which they were sent.

    Attributes:
        stream: ``(n,)`` number of the stream: what is played until a viewer closes it.
        viewer: ``(n,)`` number of the session, which has a stream for each channel.
        expt: ``(n,)`` which experiment, and so which ABR scheme, it was part of.
        sent_s: ``(n,)`` when it was sent, seconds since 1970.
        video_ts: ``(n,)`` its place in the video, in ticks of 1/90,000 s.
        tcp: ``(n, 5)`` what TCP said then, see
            :data:`~midhaul.memory.sources.fugu.TCP_COLUMNS`.
        size_packets: ``(n,)`` of 1,500 bytes.
        trans_s: ``(n,)`` from sent to acknowledged; NaN where that was never.
        ssim: ``(n,)`` its SSIM index; NaN where it is none.
        buffer_s: ``(n,)`` what the player had when it was sent; NaN if nobody says.
        stalled_s: ``(n,)`` how long it had stalled by then, start-up included.
        tallies: what was left out or mended.
    """

    stream: Int64[np.ndarray, " n"]
    viewer: Int64[np.ndarray, " n"]
    expt: Int64[np.ndarray, " n"]
    sent_s: Float64[np.ndarray, " n"]
    video_ts: Int64[np.ndarray, " n"]
    tcp: Float64[np.ndarray, "n 5"]
    size_packets: Float64[np.ndarray, " n"]
    trans_s: Float64[np.ndarray, " n"]
    ssim: Float64[np.ndarray, " n"]
    buffer_s: Float64[np.ndarray, " n"]
    stalled_s: Float64[np.ndarray, " n"]
    tallies: tuple[Tally, ...] = ()

    def __len__(self) -> int:
        """How many chunks were sent."""
        return len(self.stream)

    def _display(self) -> Display:
        n_acked = int(np.isfinite(self.trans_s).sum())
        text = (
            f"{counted(len(self), 'chunk')} in "
            f"{counted(len(np.unique(self.stream)), 'stream')}, {n_acked:,} of them "
            "acknowledged"
        )
        return Display(text=text)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundSamples:
    """Samples that were read.

    Attributes:
        samples: in the order in which they came.
        tallies: what was left out, mended or assumed.
    """

    samples: Samples
    tallies: tuple[Tally, ...] = ()


def days_in(folder: Path) -> tuple[DayFiles, ...]:
    """The days of a folder, in their order.

    Args:
        folder: with ``video_sent_*.csv`` and ``video_acked_*.csv``, or ``.csv.gz``.

    Returns:
        One for each file of chunks that were sent.

    Raises:
        DataError: there is none, or the other file of one is missing.
    """
    with documents.expected(f"{folder}: expected a folder of Puffer's days,", _HINT):
        files = sorted(folder.iterdir())
    found: dict[str, DayFiles] = {}
    for file in files:
        if match := _NAME.fullmatch(file.name):
            stem = f"video_acked_{match[1]}.csv"
            acked = next((f for f in files if f.name in (stem, f"{stem}.gz")), None)
            if acked is None:
                message = f"{file}: expected {stem} beside it, found none"
                raise DataError(message, _HINT)
            found[match[1]] = DayFiles(day=match[1], sent=file, acked=acked)
    if not found:
        message = f"{folder}: expected video_sent_*.csv, found none"
        raise DataError(message, _HINT)
    return tuple(found[day] for day in sorted(found))


def read_day(sent: Path, acked: Path) -> Chunks:
    """Read what was sent on a day, and when it was acknowledged.

    Args:
        sent: ``video_sent_*.csv``, or compressed by gzip.
        acked: ``video_acked_*.csv`` of the same day.

    Returns:
        The chunks, with tallies of lines that are malformed, chunks that were sent
        twice, lack a number, or were never acknowledged.

    Raises:
        DataError: a file cannot be read, lacks a column, or a column holds no numbers.
    """
    tables = (_table(sent, (*_KEY, *_SENT)), _table(acked, _KEY))
    rows = _joined(*(table.rows for table in tables))
    is_first = rows["nth"] == 1
    tcp = np.stack([rows[name] for name in _TCP], axis=1)
    tcp[:, 0] /= PACKET_BYTES
    tcp[:, 3:] /= _US
    size = rows["size"] / PACKET_BYTES
    is_good = np.isfinite(tcp).all(axis=1) & (tcp >= 0).all(axis=1)
    is_good &= np.isfinite(size) & (size > 0)
    took_s = (rows["acked_ns"] - rows["sent_ns"]) / _NS
    # A time of zero or less is of clocks, not of a chunk.
    is_acked = np.isfinite(took_s) & (took_s > 0)
    ssim = rows["ssim_index"]
    is_ssim = (ssim > 0) & (ssim < 1)
    keep = is_good & is_first
    counts = (
        ("were sent twice, and counted once", ~is_first, _MAX_MALFORMED),
        ("lack what TCP said or a size, and were left out", ~is_good, _MAX_LEFT_OUT),
        ("were never acknowledged", keep & ~is_acked, _MAX_LEFT_OUT),
        ("have no SSIM between 0 and 1", keep & ~is_ssim, 1.0),
    )
    return Chunks(
        stream=rows["stream"][keep].astype(np.int64),
        viewer=rows["viewer"][keep].astype(np.int64),
        expt=np.nan_to_num(rows["expt_id"][keep], nan=-1.0).astype(np.int64),
        sent_s=rows["sent_ns"][keep] / _NS,
        video_ts=rows["video_ts"][keep].astype(np.int64),
        tcp=tcp[keep],
        size_packets=size[keep],
        trans_s=np.where(is_acked, took_s, np.nan)[keep],
        ssim=np.where(is_ssim, ssim, np.nan)[keep],
        buffer_s=rows["buffer"][keep],
        stalled_s=rows["cum_rebuf"][keep],
        tallies=(
            *(table.malformed for table in tables),
            *(table.nameless for table in tables),
            *(
                Tally(
                    what=f"chunks of {sent.name} {what}",
                    n=int(is_it.sum()),
                    of=len(keep),
                    max_share=most,
                    advice="Compare the file with what Puffer published.",
                )
                for what, is_it, most in counts
            ),
        ),
    )


def fugu_samples(chunks: Chunks, *, horizon: int = 0) -> FoundSamples:
    """The samples of Fugu's transmission-time predictor in the chunks of a day.

    Args:
        chunks: of a day.
        horizon: which chunk is predicted: the next one, or up to four further on. What
            TCP says is of the next one; the size is that of the one predicted.

    Returns:
        A sample for each chunk with a past, in the order of sending. Their group is
        the stream, their cluster the viewer's session.

    Raises:
        ConfigError: there is no such horizon.
    """
    if not 0 <= horizon < _N_HORIZONS:
        message = f"horizon: expected 0 to {_N_HORIZONS - 1}, found {horizon}"
        raise ConfigError(message, "a predictor of its own stands for each horizon")
    rows = np.flatnonzero(np.isfinite(chunks.trans_s))
    stream, ticks = chunks.stream[rows], chunks.video_ts[rows]
    size, took_s = chunks.size_packets[rows], chunks.trans_s[rows]
    starts = starts_of(stream)
    n_of_stream = np.unique(stream, return_counts=True)[1]
    n_streams = len(np.unique(chunks.stream))
    n_short = n_streams - int((n_of_stream >= 2).sum())  # noqa: PLR2004  of two
    nows = np.flatnonzero(starts < np.arange(len(rows)))
    wanted = np.minimum(nows + horizon, len(rows) - 1)
    ahead = ticks[wanted] - ticks[nows]
    is_there = (stream[wanted] == stream[nows]) & (ahead == horizon * _CHUNK_TICKS)
    nows, later = nows[is_there], wanted[is_there]
    known = np.column_stack([chunks.tcp[rows], size, took_s])
    x = of_past(known, past_rows(starts, nows))
    order = np.argsort(chunks.sent_s[rows][nows], kind="stable")
    samples = Samples.of(
        np.column_stack([x, chunks.tcp[rows][nows], size[later]])[order],
        took_s[later][order],
        time_s=chunks.sent_s[rows][nows][order],
        group=stream[nows][order],
        cluster=chunks.viewer[rows][nows][order],
    )
    short = Tally(
        what="streams have fewer than two acknowledged chunks, and were left out",
        n=n_short,
        of=n_streams,
        max_share=1.0,
        advice="Nothing: a sample needs a chunk before it.",
    )
    ends = Tally(
        what=f"chunks have none {horizon} further on that was acknowledged",
        n=int((~is_there).sum()),
        of=len(is_there),
        max_share=1.0,
        advice="Nothing: streams end, and chunks are skipped.",
    )
    return FoundSamples(samples=samples, tallies=(*chunks.tallies, short, ends))


def puffer_days(
    folder: Path, *, days: Sequence[str] = (), horizon: int = 0
) -> StreamSet:
    """Days of Puffer as a stream of samples, a day a period.

    Args:
        folder: with the files of the days.
        days: those that are used, by how their names begin; all when empty.
        horizon: see :func:`fugu_samples`.

    Returns:
        The days in their order. Streams and viewers have numbers of their own in each.

    Raises:
        DataError: as for :func:`days_in` and :func:`read_day`, or none is of that name.
        ConfigError: there is no such horizon.
    """
    files = [
        one
        for one in days_in(folder)
        if not days or any(one.day.startswith(day) for day in days)
    ]
    if not files:
        message = f"{folder}: expected a day that begins with {', '.join(days)}"
        raise DataError(message, "days are named 2021-10-17T11_2021-10-18T11")
    periods: list[Samples] = []
    tallies: list[Tally] = []
    for number, day in enumerate(files):
        found = fugu_samples(read_day(day.sent, day.acked), horizon=horizon)
        periods.append(of_day(found.samples, number))
        tallies += found.tallies
    return StreamSet(
        name="Puffer",
        periods=tuple(periods),
        bins=FUGU_BINS,
        inputs=FUGU_INPUTS,
        tallies=tuple(tallies),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Table:
    """The rows of a file whose chunk and time are named, and how many are not so."""

    rows: pa.Table
    malformed: Tally
    nameless: Tally


def _table(file: Path, columns: Sequence[str]) -> _Table:
    malformed: list[int] = []

    def skip(row: pa_csv.InvalidRow) -> Literal["skip"]:
        malformed.append(row.number or 0)
        return "skip"

    with documents.expected(
        f"{file}: expected a day of Puffer,",
        _HINT,
        also=(pa.ArrowException, gzip.BadGzipFile, EOFError, KeyError),
    ):
        names = _header(file)
        time = next((name for name in _TIMES if name in names), _TIMES[0])
        wanted = [time, *columns]
        lacking = [c for c in wanted if c not in names and c not in _OPTIONAL]
        if lacking:
            message = f"the column {lacking[0]!r} is missing"
            raise ValueError(message)
        wanted = [c for c in wanted if c in names]
        types = {c: pa.float64() for c in wanted} | {"session_id": pa.string()}
        types |= {time: pa.int64(), "video_ts": pa.int64(), "index": pa.int64()}
        table = _batches(
            file,
            pa_csv.ParseOptions(invalid_row_handler=skip),
            pa_csv.ConvertOptions(column_types=types, include_columns=wanted),
        )
        for name in _OPTIONAL:
            if name in columns and name not in wanted:
                empty = pa.nulls(len(table), pa.float64())
                table = table.append_column(name, empty)
        table = table.rename_columns(["time_ns", *table.column_names[1:]])
        whole = _named(table)
    n, n_bad = len(table), len(malformed)
    return _Table(
        rows=whole,
        malformed=Tally(
            what=f"lines of {file.name} have another number of columns",
            n=n_bad,
            of=n + n_bad,
            max_share=_MAX_MALFORMED,
            advice="Look for where the file was cut, or download it again.",
            places=tuple(f"{file}:{number}" for number in malformed[:3]),
        ),
        nameless=Tally(
            what=f"lines of {file.name} name no chunk or no time, and were left out",
            n=n - len(whole),
            of=n,
            max_share=_MAX_MALFORMED,
            advice="Download the file again.",
        ),
    )


def _named(table: pa.Table) -> pa.Table:
    is_named: Any = pc.is_valid(table.column("time_ns"))
    for name in _KEY:
        is_named = pc.and_(is_named, pc.is_valid(table.column(name)))
    return table.filter(is_named)


def _header(file: Path) -> list[str]:
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rb") as stream:
        line = stream.readline(1 << 16)
    return [name.strip().strip('"') for name in line.decode("utf-8-sig").split(",")]


def _batches(
    file: Path, parse: pa_csv.ParseOptions, convert: pa_csv.ConvertOptions
) -> pa.Table:
    """The rows of a CSV, as many as a day can have."""
    how: Any = "gzip" if file.suffix == ".gz" else None
    batches: list[pa.RecordBatch] = []
    n = 0
    with (
        pa.input_stream(str(file), compression=how) as stream,
        pa_csv.open_csv(
            cast("Any", stream),
            read_options=pa_csv.ReadOptions(block_size=1 << 24),
            parse_options=parse,
            convert_options=convert,
        ) as reader,
    ):
        for batch in reader:
            n += len(batch)
            if n > _MOST_ROWS:
                message = f"it has more than {_MOST_ROWS:,} lines"
                raise ValueError(message)
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema)


_JOIN = """
WITH one AS (
    SELECT session_id, "index", video_ts, min(time_ns) AS acked_ns
    FROM acked GROUP BY ALL
)
SELECT
    dense_rank() OVER (ORDER BY session_id, "index") - 1 AS stream,
    dense_rank() OVER (ORDER BY session_id) - 1 AS viewer,
    row_number() OVER (
        PARTITION BY session_id, "index", video_ts ORDER BY time_ns
    ) AS nth,
    sent.time_ns AS sent_ns, one.acked_ns, sent.* EXCLUDE (session_id, time_ns)
FROM sent LEFT JOIN one USING (session_id, "index", video_ts)
ORDER BY stream, sent_ns, video_ts
"""


def _joined(sent: pa.Table, acked: pa.Table) -> dict[str, Any]:
    """Each chunk that was sent with when it was first acknowledged; NaN for null."""
    import duckdb  # noqa: PLC0415  slow to import, and only days of Puffer need it

    with duckdb.connect() as database:
        database.register("sent", sent)
        database.register("acked", acked)
        found = cast("pa.Table", database.sql(_JOIN).to_arrow_table())
    columns: dict[str, Any] = {}
    for name in found.column_names:
        column = found.column(name)
        is_whole = pa.types.is_integer(column.type) and not column.null_count
        values = np.asarray(column.to_numpy(zero_copy_only=False))
        columns[name] = values if is_whole else values.astype(np.float64)
    return columns
