"""federation.latency: what happens when a file of that kind is run."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.captures import tables
from midhaul.captures.capture import captures_in
from midhaul.captures.drawn_captures import draw_day, write_capture
from midhaul.captures.key_log import read_key_log
from midhaul.captures.metrics import (
    PERCENTILES,
    TIMES,
    counted_of,
    metric_samples,
    of_configuration,
    times_of,
)
from midhaul.captures.request_times import SplitLimits
from midhaul.captures.tables import (
    Naming,
    capture_row,
    connection_row,
    ignored_rows,
    request_row,
    zone,
)
from midhaul.captures.tracking import FileReport, Tracker, series
from midhaul.model import Estimate, Tally, Verdict
from midhaul.runs.kept import KeptTables
from midhaul.runs.metric import summary_rows
from midhaul.stats import claimed_level, known, quantile_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo
    from pathlib import Path

    from midhaul.captures.config import LatencyConfig
    from midhaul.captures.key_log import Secrets
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

_MOST_DOUBTFUL = 0.25
"""Share of requests that may be left out in doubt; conventions, as are all shares."""

_MOST_FOREIGN = 0.1
"""Share of the files that may be no captures."""

_DRAWN_BEGINS_S = 1_617_926_400  # 9 April 2021, midnight UTC
_DRAWN_NAMES = (
    "rekognition.us-east-2.amazonaws.com",
    "midhaul.cognitiveservices.azure.com",
    "vision.googleapis.com",
)


def latency(config: LatencyConfig, run: Run, progress: Progress) -> None:
    """Split every request of the captures, and write who takes how long when.

    A series of captures is written when it was read; a run that is resumed goes on
    behind the last one.
    """
    root = _captures(config, run)
    secrets = read_key_log(config.capture.key_log) if config.capture.key_log else {}
    groups = series(captures_in(root))
    kept = KeptTables(run, tables.REQUESTS, tables.CAPTURES)
    reading = _Reading(config, run, kept, root, secrets, zone(config.time_zone))
    done = kept.parts(tables.CAPTURES)
    n_files = sum(len(group) for group in groups)
    with progress.task("reading captures", total=n_files) as task:
        for number, group in enumerate(groups):
            if number not in done:
                reading.read(number, group)
            task.advance(len(group))
    _sum_up(config, kept, run)


def _captures(config: LatencyConfig, run: Run) -> Path:
    """The folder of the captures; a day is drawn where none is given."""
    folder = config.capture.folder
    if config.capture.kind == "files" and folder is not None:
        return folder
    file = run.file("captures/us2sg/drawn.pcap")
    rng = np.random.default_rng([config.seed, 71])
    n = config.capture.n_requests
    day = draw_day(_DRAWN_NAMES, n, rng, begins_s=_DRAWN_BEGINS_S)
    write_capture(file, day)
    return file.parent.parent


class _Reading:
    """Reads series of captures into the tables."""

    def __init__(
        self,
        config: LatencyConfig,
        run: Run,
        kept: KeptTables,
        root: Path,
        secrets: Secrets,
        where: tzinfo,
    ) -> None:
        capture = config.capture
        self._config, self._run, self._kept, self._root = config, run, kept, root
        self._secrets, self._zone = secrets, where
        self._shift_ns = round(capture.clock_offset_s * 1e9)
        self._naming = Naming(
            patterns={p.name: p.servers for p in config.providers},
            region_pair=capture.region_pair,
            region_pattern=capture.region_pattern,
        )

    def read(self, number: int, files: Sequence[Path]) -> None:
        """Read one series and write its rows."""
        limits = SplitLimits(
            min_upload_bytes=self._config.min_upload_bytes,
            min_answer_bytes=self._config.min_answer_bytes,
        )
        tracker = Tracker(limits, self._secrets)
        reports: list[FileReport] = []
        accounts = []
        for place, file in enumerate(files):
            reports.append(tracker.read_any(file, place))
            accounts += tracker.take_done(with_open=False)
        accounts += tracker.take_done(with_open=True)
        ends_ns = max((report.last_ns for report in reports), default=0)
        paths = [self._path(file) for file in files]
        pairs = [self._naming.regions(path) for path in paths]
        connections: list[dict[str, object]] = []
        requests: list[dict[str, object]] = []
        for i, one in enumerate(accounts):
            name = one.server_name or tracker.names.get(one.server_address, "")
            provider, is_named = self._naming.provider(name, one.server_address)
            if self._config.is_named_only and not is_named:
                continue
            common = {
                "series": number,
                "connection": i,
                "provider": provider,
                "region_pair": pairs[one.file],
            }
            row = connection_row(one, name, self._shift_ns)
            connections.append({**common, **row})
            requests += [
                common | request_row(exchange, self._shift_ns, self._zone, ends_ns)
                for exchange in one.exchanges
            ]
        files_rows = [
            {"series": number, "file": path, "region_pair": pair}
            | capture_row(report, self._shift_ns)
            for path, pair, report in zip(paths, pairs, reports, strict=True)
        ]
        ignored = [
            {"series": number, "file": path, **row}
            for path, report in zip(paths, reports, strict=True)
            for row in ignored_rows(report)
        ]
        self._run.write(tables.IGNORED, ignored, part=number)
        self._run.write(tables.CONNECTIONS, connections, part=number)
        self._kept.write(tables.REQUESTS, requests, part=number)
        self._kept.write(tables.CAPTURES, files_rows, part=number)

    def _path(self, file: Path) -> str:
        if file == self._root:
            return file.name
        return file.relative_to(self._root).as_posix()


def _sum_up(config: LatencyConfig, kept: KeptTables, run: Run) -> None:
    """Number the configurations, write summary and hours, and judge the run."""
    requests: list[dict[str, Any]] = kept.read(tables.REQUESTS).to_pylist()
    keys = sorted({(row["provider"], row["region_pair"]) for row in requests})
    rows = [
        {
            "configuration": number,
            "name": f"{provider}, {pair}" if pair else provider,
            "provider": provider,
            "region_pair": pair,
        }
        for number, (provider, pair) in enumerate(keys)
    ]
    run.write(tables.CONFIGURATIONS, rows, part=0)
    is_drawn = config.capture.kind == "builtin"
    for number, (provider, pair) in enumerate(keys):
        mine = of_configuration(requests, provider, pair)
        rng = np.random.default_rng([config.seed, 72, number])
        found = [
            replace(metric, is_model=is_drawn)
            for metric in metric_samples(mine, provider)
        ]
        summary = summary_rows(found, number, rng, config.n_resamples)
        run.write(tables.SUMMARY, summary, part=number)
        run.write(tables.HOURS, _hour_rows(number, mine), part=number)
    run.verdict = _judge(kept.read(tables.CAPTURES).to_pylist(), requests)


_NOTHING = Estimate(value=math.nan, low=math.nan, high=math.nan, n=0)


def _hour_rows(
    number: int, requests: Sequence[Mapping[str, Any]]
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    counted = counted_of(requests)
    for hour in sorted({row["hour"] for row in counted}):
        for what in TIMES:
            mine = [row for row in counted if row["hour"] == hour]
            values_s, known_below_s = times_of(mine, what)
            for percentile in PERCENTILES:
                level = claimed_level(len(values_s), percentile / 100)
                is_carried = not math.isnan(level)
                found = quantile_interval(values_s, level) if is_carried else _NOTHING
                rows.append(
                    {
                        "configuration": number,
                        "hour": hour,
                        "what": what,
                        "percentile": percentile,
                        "value_s": known(found.value),
                        "low": known(found.low),
                        "high": known(found.high),
                        "n": len(values_s),
                        "is_bound": bool(found.value >= known_below_s),
                    }
                )
    return rows


def _judge(
    files: Sequence[Mapping[str, Any]], requests: Sequence[Mapping[str, Any]]
) -> Verdict:
    """What speaks against the numbers."""
    verdict = Verdict()
    waited = [row for row in requests if row["waited_s"] is not None]
    counted = sum(row["status"] == "ok" for row in requests)
    if not counted:
        advice = "the table of connections says why; lower min_upload_bytes"
        verdict += Verdict(reasons=("no request could be split",), advice=(advice,))
    foreign = [row for row in files if not row["is_capture"]]
    damaged = [row for row in files if row["damage"] and row["is_capture"]]
    doubtful = [
        row
        for row in requests
        if row["status"] in {"ambiguous", "cut"} and row["waited_s"] is None
    ]
    why = Counter(row["reason"] for row in doubtful)
    return verdict + Verdict.of(
        Tally(
            what="requests are cut or ambiguous and left out of all times",
            n=len(doubtful),
            of=len(requests),
            max_share=_MOST_DOUBTFUL,
            advice="Capture longer, with one request at a time, or give the key log.",
            places=tuple(reason for reason, _ in why.most_common()),
        ),
        Tally(
            what="requests had no answer: they took at least as long as was waited",
            n=len(waited),
            of=len(requests),
            max_share=_MOST_DOUBTFUL,
            advice="Capture longer, and look at the table of requests for who gave up.",
            places=tuple(sorted({str(row["reason"]) for row in waited})),
        ),
        Tally(
            what="captures are damaged, and what is behind the damage is missing",
            n=len(damaged),
            of=len(files),
            max_share=0.0,
            advice="Capture again, or take the file out of the folder.",
            places=tuple(f"{row['file']} {row['damage']}" for row in damaged),
        ),
        Tally(
            what="files are no captures and were left out",
            n=len(foreign),
            of=len(files),
            max_share=_MOST_FOREIGN,
            advice="Take them out of the folder, or capture again.",
            places=tuple(str(row["damage"]) for row in foreign),
        ),
    )
