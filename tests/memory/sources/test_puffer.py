"""Puffer's days: what is joined, counted, padded, refused, and downloaded."""

from __future__ import annotations

import csv
import gzip
import http.server
import threading
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from midhaul.errors import ConfigError, DataError, NodeError
from midhaul.memory.sources.drawn_puffer import draw_days
from midhaul.memory.sources.fugu import FUGU_INPUTS
from midhaul.memory.sources.puffer import (
    days_in,
    fugu_samples,
    puffer_days,
    read_day,
)
from midhaul.memory.sources.puffer_download import DownloadLimits, download_day

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from midhaul.memory.sources.puffer import DayFiles

DAY = "2021-10-17"
NAME = "2021-10-17T11_2021-10-18T11"


@pytest.fixture
def day(tmp_path: Path) -> DayFiles:
    """A drawn day of six streams."""
    return draw_days(tmp_path / "days", n_days=1, n_streams=6, seed=0)[0]


def rows_of(file: Path) -> list[dict[str, str]]:
    """A CSV, line by line."""
    with file.open(encoding="utf-8") as source:
        return list(csv.DictReader(source))


def write(file: Path, rows: list[dict[str, str]]) -> None:
    """Lines as a CSV."""
    with file.open("w", newline="", encoding="utf-8") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_every_input_is_that_of_a_plain_loop(day: DayFiles) -> None:
    """All 62 inputs and the output agree with dictionaries and a loop."""
    found = fugu_samples(read_day(day.sent, day.acked)).samples
    acked = {
        (r["session_id"], r["index"], r["video_ts"]): int(r["time (ns GMT)"])
        for r in rows_of(day.acked)
    }
    streams: dict[tuple[str, str], list[list[float]]] = {}
    wanted: dict[float, tuple[list[float], float]] = {}
    for row in sorted(rows_of(day.sent), key=lambda r: int(r["time (ns GMT)"])):
        sent_ns = int(row["time (ns GMT)"])
        key = (row["session_id"], row["index"])
        now = [
            float(row["delivery_rate"]) / 1500,
            float(row["cwnd"]),
            float(row["in_flight"]),
            float(row["min_rtt"]) / 1e6,
            float(row["rtt"]) / 1e6,
            float(row["size"]) / 1500,
        ]
        took_s = (acked[*key, row["video_ts"]] - sent_ns) / 1e9
        past = streams.setdefault(key, [])
        if past:
            padded = ([past[0]] * 8 + past)[-8:] if len(past) < 8 else past[-8:]
            wanted[sent_ns / 1e9] = ([v for one in padded for v in one] + now, took_s)
        past.append([*now, took_s])
    assert len(found) == len(wanted)
    for x, y, time_s in zip(found.x, found.y, found.time_s.tolist(), strict=True):
        inputs, output = wanted[time_s]
        assert x == pytest.approx(inputs, rel=1e-5)
        assert y == pytest.approx(output)
    assert found.x.shape[1] == len(FUGU_INPUTS) == 62
    assert (np.diff(found.time_s) >= 0).all()


def test_a_later_chunk_has_its_own_size_and_time(day: DayFiles) -> None:
    """With horizon 2, size and output are of two chunks on, TCP's words of now."""
    chunks = read_day(day.sent, day.acked)
    now, later = fugu_samples(chunks).samples, fugu_samples(chunks, horizon=2).samples
    stream = now.group == now.group[0]
    of_now, of_later = now.take(stream), later.take(later.group == now.group[0])
    assert len(of_later) == len(of_now) - 2
    assert of_later.y.tolist() == of_now.y[2:].tolist()
    assert (of_later.x[:, -1] == of_now.x[2:, -1]).all()
    assert (of_later.x[:, :-1] == of_now.x[:-2, :-1]).all()
    with pytest.raises(ConfigError, match="horizon"):
        fugu_samples(chunks, horizon=5)


def test_what_is_lost_is_counted(day: DayFiles) -> None:
    """Chunks without an answer, twice, without a number, and streams of one chunk."""
    sent, acked = rows_of(day.sent), rows_of(day.acked)
    lonely = {**sent[0], "session_id": "lonely=", "index": "0"}
    sent[3] = {**sent[3], "cwnd": ""}
    write(day.sent, [*sent, sent[5], lonely])
    write(day.acked, acked[:-4])
    with day.sent.open("a", encoding="utf-8") as target:
        target.write("1,2,3\n")
    chunks = read_day(day.sent, day.acked)
    found = fugu_samples(chunks)
    counted = {t.what.partition(".csv ")[2] or t.what: t.n for t in found.tallies}
    assert counted["were sent twice, and counted once"] == 1
    assert counted["lack what TCP said or a size, and were left out"] == 1
    assert counted["were never acknowledged"] == 5
    assert sum(t.n for t in found.tallies if "number of columns" in t.what) == 1
    assert next(t.n for t in found.tallies if "fewer than two" in t.what) == 1
    # Those that begin a stream, the lost, the one without a number.
    assert len(found.samples) == len(sent) - 6 - 1 - 4


def test_gzip_and_plain_files_are_the_same(day: DayFiles) -> None:
    """A compressed day has the same samples."""
    plain = puffer_days(day.sent.parent)
    for file in (day.sent, day.acked):
        packed = file.with_name(f"{file.name}.gz")
        packed.write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    again = puffer_days(day.sent.parent)
    assert (plain.periods[0].x == again.periods[0].x).all()
    with pytest.raises(DataError, match="begins with 1999"):
        puffer_days(day.sent.parent, days=["1999"])


def test_what_is_no_day_is_refused(tmp_path: Path, day: DayFiles) -> None:
    """A missing half, a missing column, a word for a number: each is said."""
    with pytest.raises(DataError, match="video_sent"):
        days_in(tmp_path)
    rows = rows_of(day.sent)
    write(day.sent, [{k: v for k, v in row.items() if k != "rtt"} for row in rows])
    with pytest.raises(DataError, match="'rtt' is missing"):
        read_day(day.sent, day.acked)
    write(day.sent, [{**rows[0], "rtt": "long"}, *rows[1:]])
    with pytest.raises(DataError, match="expected a day of Puffer"):
        read_day(day.sent, day.acked)
    cut = day.sent.with_suffix(".csv.gz")
    cut.write_bytes(gzip.compress(b"a,b\n" * 9999)[:-20])
    with pytest.raises(DataError, match="expected a day of Puffer"):
        read_day(cut, day.acked)
    day.acked.unlink()
    with pytest.raises(DataError, match="video_acked"):
        days_in(day.sent.parent)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves bytes by path; breaks off the first answers where it is told to."""

    contents: ClassVar[dict[str, bytes]]
    breaks_at: ClassVar[list[int]]
    asked: ClassVar[list[str]]
    tag = '"one"'

    def do_GET(self) -> None:
        """Answer with a file or the rest of it."""
        self.asked.append(self.headers.get("Range", ""))
        content = self.contents.get(self.path)
        if content is None:
            self.send_error(404)
            return
        begin = 0
        span = self.headers.get("Range", "")
        if span and self.headers.get("If-Range") == self.tag:
            begin = int(span.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            last = len(content) - 1
            self.send_header("Content-Range", f"bytes {begin}-{last}/{len(content)}")
        else:
            self.send_response(200)
        body = content[begin:]
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", self.tag)
        self.end_headers()
        self.wfile.write(body[: self.breaks_at.pop(0)] if self.breaks_at else body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(
    day: DayFiles, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, type[Handler]]]:
    """A server on loopback with a day."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    class Mine(Handler):
        contents: ClassVar[dict[str, bytes]] = {
            f"/{NAME}/video_{what}_{NAME}.csv": file.read_bytes()
            for what, file in (("sent", day.sent), ("acked", day.acked))
        }
        breaks_at: ClassVar[list[int]] = []
        asked: ClassVar[list[str]] = []

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mine) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}", Mine
        served.shutdown()
        thread.join()


def test_a_day_is_downloaded_once(
    tmp_path: Path, server: tuple[str, type[Handler]]
) -> None:
    """Both files come whole, and are not asked for again."""
    url, handler = server
    files = download_day(DAY, tmp_path / "new", base_url=url)
    assert files.sent.read_bytes() == handler.contents[f"/{NAME}/{files.sent.name}"]
    assert puffer_days(tmp_path / "new").periods[0].x.shape[1] == 62
    download_day(DAY, tmp_path / "new", base_url=url)
    assert len(handler.asked) == 2
    assert {file.suffix for file in (tmp_path / "new").iterdir()} == {".csv"}


def test_a_download_goes_on_where_it_broke_off(
    tmp_path: Path, server: tuple[str, type[Handler]]
) -> None:
    """The rest is asked for, and the file is whole; another file is begun anew."""
    url, handler = server
    handler.breaks_at = [1000]
    with pytest.raises(NodeError, match="broke off"):
        download_day(DAY, tmp_path / "new", base_url=url)
    handler.breaks_at = [500]
    with pytest.raises(NodeError, match="broke off"):
        download_day(DAY, tmp_path / "new", base_url=url)
    handler.tag = '"two"'
    handler.breaks_at = [700]
    with pytest.raises(NodeError, match="broke off"):
        download_day(DAY, tmp_path / "new", base_url=url)
    files = download_day(DAY, tmp_path / "new", base_url=url)
    assert handler.asked[:4] == ["", "bytes=1000-", "bytes=1500-", "bytes=700-"]
    assert files.sent.read_bytes() == handler.contents[f"/{NAME}/{files.sent.name}"]


def test_downloads_have_limits(
    tmp_path: Path, server: tuple[str, type[Handler]]
) -> None:
    """Too large, no such day, no date, nobody there: each is said, nothing is left."""
    url, _ = server
    small = DownloadLimits(max_bytes=100)
    with pytest.raises(DataError, match="allowed are 100"):
        download_day(DAY, tmp_path / "new", base_url=url, limits=small)
    with pytest.raises(DataError, match="no such day"):
        download_day("2021-10-18", tmp_path / "new", base_url=url)
    with pytest.raises(ConfigError, match="yesterday"):
        download_day("yesterday", tmp_path / "new", base_url=url)
    with pytest.raises(NodeError, match="broke off"):
        download_day(DAY, tmp_path / "new", base_url="http://127.0.0.1:1")
    assert not list((tmp_path / "new").iterdir())
