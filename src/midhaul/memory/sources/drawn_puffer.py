"""Drawn days of Puffer: small files in its format, to see how analyses look.

They measure nobody. Viewers are drawn with a rate that wanders, their ABR schemes are
crude rules, and over the days links get slower, so that there is a shift to find.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.memory.sources.puffer import DayFiles

if TYPE_CHECKING:
    from pathlib import Path

DRAWN_SCHEMES = ("bba", "fugu", "mpc")
"""The ABR schemes of drawn days; their experiments are numbered in this order."""

_LADDER_BYTES = np.array([60e3, 150e3, 330e3, 700e3, 1.3e6])
_SSIM = np.array([0.93, 0.96, 0.975, 0.985, 0.989])
_CAUTION = {"bba": 1.0, "fugu": 0.75, "mpc": 0.95}
_CHUNK_S = 2.002
_TICKS = 180_180
_MOST_S = 15.0
_FIRST_DAY = datetime(2026, 1, 1, 11, tzinfo=UTC)
_SENT = (
    "time (ns GMT)", "session_id", "index", "expt_id", "channel", "video_ts", "format",
    "size", "ssim_index", "cwnd", "in_flight", "min_rtt", "rtt", "delivery_rate",
    "buffer", "cum_rebuf",
)  # fmt: skip
_ACKED = (
    "time (ns GMT)", "session_id", "index", "expt_id", "channel", "video_ts", "buffer",
    "cum_rebuf",
)  # fmt: skip


@dataclass(slots=True)
class _Viewer:
    """What a viewer's player and link are like at a moment."""

    rate: float
    rtt_s: float
    buffer_s: float = 0.0
    stalled_s: float = 0.0


def draw_days(
    folder: Path, *, n_days: int, n_streams: int, seed: int
) -> tuple[DayFiles, ...]:
    """Write days in Puffer's format, with the names of the schemes beside them.

    Args:
        folder: where; it is made where it is missing.
        n_days: how many.
        n_streams: on each day.
        seed: of all chance.

    Returns:
        Their files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(
        f'{number} {{"abr": "{name}", "cc": "bbr"}}\n'
        for number, name in enumerate(DRAWN_SCHEMES)
    )
    (folder / "expt_settings").write_text(lines, encoding="utf-8")
    found: list[DayFiles] = []
    for day in range(n_days):
        rng = np.random.default_rng([seed, 91, day])
        begin = _FIRST_DAY + timedelta(days=day)
        name = "_".join(
            f"{one:%Y-%m-%dT%H}" for one in (begin, begin + timedelta(days=1))
        )
        sent: list[tuple[Any, ...]] = []
        acked: list[tuple[Any, ...]] = []
        for stream in range(n_streams):
            _draw_stream(stream, day, begin.timestamp(), rng, sent, acked)
        files = [folder / f"video_{what}_{name}.csv" for what in ("sent", "acked")]
        for file, head, rows in zip(
            files, (_SENT, _ACKED), (sorted(sent), sorted(acked)), strict=True
        ):
            with file.open("w", newline="", encoding="utf-8") as target:
                csv.writer(target).writerows([head, *rows])
        found.append(DayFiles(day=name, sent=files[0], acked=files[1]))
    return tuple(found)


def _draw_stream(
    stream: int,
    day: int,
    begin_s: float,
    rng: np.random.Generator,
    sent: list[tuple[Any, ...]],
    acked: list[tuple[Any, ...]],
) -> None:
    """The chunks of one stream, appended to both files' rows."""
    scheme = stream % len(DRAWN_SCHEMES)
    caution = _CAUTION[DRAWN_SCHEMES[scheme]]
    median = 6e5 * 0.85**day
    viewer = _Viewer(rate=rng.lognormal(np.log(median), 0.9), rtt_s=rng.gamma(4, 0.02))
    mean, told = viewer.rate, viewer.rate
    now_s = begin_s + rng.uniform(0, 80_000)
    key = (f"drawn{stream // 2}=", stream % 2, scheme, "abc")
    for chunk in range(int(rng.integers(20, 90))):
        viewer.rate *= (mean / viewer.rate) ** 0.1 * rng.lognormal(0, 0.25)
        wanted = caution * told * _CHUNK_S * (0.5 + viewer.buffer_s / 10)
        rung = int((_LADDER_BYTES[1:] < wanted).sum())
        size = int(_LADDER_BYTES[rung] * rng.lognormal(0, 0.2))
        took_s = viewer.rtt_s + size / viewer.rate
        rtt_us = int(1e6 * viewer.rtt_s * rng.uniform(1, 1.6))
        ssim = float(np.clip(_SSIM[rung] + rng.normal(0, 0.003), 0.5, 0.998))
        shown = (f"{viewer.buffer_s:.3f}", f"{viewer.stalled_s:.3f}")
        where = (*key, chunk * _TICKS)
        sent.append((
            int(now_s * 1e9), *where, f"rung{rung}", size, f"{ssim:.5f}",
            int(10 + told * viewer.rtt_s / 1500), int(rng.integers(0, 4)),
            int(1e6 * viewer.rtt_s), rtt_us, int(told), *shown,
        ))  # fmt: skip
        told = 0.7 * told + 0.3 * size / took_s
        if chunk:
            viewer.stalled_s += max(took_s - viewer.buffer_s, 0)
        else:
            viewer.stalled_s += took_s
        viewer.buffer_s = max(viewer.buffer_s - took_s, 0) + _CHUNK_S
        now_s += took_s
        acked.append((int(now_s * 1e9), *where, *shown))
        wait_s = max(viewer.buffer_s - _MOST_S, 0)
        viewer.buffer_s -= wait_s
        now_s += wait_s
