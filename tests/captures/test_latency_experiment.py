"""federation.latency as a run: tables, summary, report, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from tests.captures.packets import (
    BEGIN_NS,
    NAME,
    conversation,
    day,
    drawn,
    frames,
    write_pcap,
)

from midhaul.captures import tables
from midhaul.captures.config import CaptureConfig, LatencyConfig, ServersConfig
from midhaul.captures.experiment import latency
from midhaul.captures.metrics import samples
from midhaul.captures.report import build
from midhaul.captures.tables import Naming, hour_of, zone
from midhaul.errors import ConfigError, DataError
from midhaul.report import DataTable, Figure, render
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scapy.packet import Packet


N_REQUESTS = 12
"""To each server in each hour: enough for a median, for no other percentile."""


def run_of(folder: Path, config: LatencyConfig) -> Run:
    """A finished run."""
    run = Run.create(folder / "runs", "federation.latency", config)
    latency(config, run, SilentProgress())
    run.finish()
    return run


def of_files(folder: Path, **keys: Any) -> LatencyConfig:
    """A config that reads a folder."""
    capture = CaptureConfig(kind="files", folder=folder, **keys)
    return LatencyConfig(capture=capture, n_resamples=100)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run over a day that was drawn."""
    folder = tmp_path_factory.mktemp("day")
    captures = folder / "captures" / "us2sg"
    captures.mkdir(parents=True)
    day(captures / "20210409_000000.cap", n_requests=N_REQUESTS)
    return run_of(folder, of_files(folder / "captures"))


def test_all_requests_are_counted(finished: Run) -> None:
    """By provider and region pair, each hour with its own."""
    names = [row["name"] for row in finished.read(tables.CONFIGURATIONS).to_pylist()]
    assert names == ["aws, us2sg", "azure, us2sg", "google, us2sg"]
    rows = finished.read(tables.REQUESTS).to_pylist()
    assert len(rows) == 3 * 24 * N_REQUESTS
    assert {row["status"] for row in rows} == {"ok"}
    assert sorted({row["hour"] for row in rows}) == list(range(24))
    assert finished.verdict is not None
    assert finished.verdict.is_valid


def test_times_add_up(finished: Run) -> None:
    """Transmission and inference are the whole, and lie within their bounds."""
    for row in finished.read(tables.REQUESTS).to_pylist():
        parts = row["upload_s"] + row["rtt_s"] + row["download_s"]
        assert row["transmission_s"] == pytest.approx(parts)
        assert row["total_s"] == pytest.approx(parts + row["inference_s"])
        low, high = row["inference_low_s"], row["inference_high_s"]
        assert low <= row["inference_s"] <= high


def test_percentiles_have_intervals(finished: Run) -> None:
    """In the summary by batches, in the hours where an hour has enough requests."""
    summary = {
        (row["configuration"], row["metric"]): row
        for row in finished.read(tables.SUMMARY).to_pylist()
    }
    for percentile in (50, 90, 95):
        row = summary[0, f"inference_p{percentile}_s"]
        assert row["low"] <= row["value"] <= row["high"]
        assert row["n"] == 20
    p99 = summary[0, "inference_p99_s"]
    needed = f"p99 needs 662 values, found {24 * N_REQUESTS}"
    assert (p99["value"], p99["remark"]) == (None, needed)
    medians = [summary[k, "inference_p50_s"]["value"] for k in range(3)]
    assert medians == sorted(medians)
    assert medians[0] == pytest.approx(0.18, rel=0.2)
    hours = finished.read(tables.HOURS).to_pylist()
    assert len(hours) == 3 * 24 * 3 * 4
    assert all(row["n"] == N_REQUESTS for row in hours)
    carried = {row["percentile"] for row in hours if row["value_s"] is not None}
    assert carried == {50}


def test_the_report_draws_everything(finished: Run) -> None:
    """Hourly curves, stacked bars, distributions, request by request."""
    page = build(finished)
    assert len(render(page)) > 100_000
    items = [item for section in page.sections for item in section.items]
    figures = [item.title for item in items if isinstance(item, Figure)]
    assert figures == [
        "Median inference",
        "Transmission and inference",
        "Distribution of inference",
        "Distribution of the whole time",
        "Hour by hour",
    ]
    listed = [item.title for item in items if isinstance(item, DataTable)]
    assert {"Request by request", "Opening a connection", "Captures"} <= set(listed)


def test_distributions_say_which_requests_they_lack(tmp_path: Path) -> None:
    """A curve of times cannot hold those whose time could not be told."""
    folder = tmp_path / "captures" / "us2sg"
    folder.mkdir(parents=True)
    day(folder / "20210409_000000.cap", n_requests=1)
    whole = (folder / "20210409_000000.cap").read_bytes()
    (folder / "20210409_000000.cap").write_bytes(whole[: len(whole) // 2])
    run = run_of(tmp_path, of_files(tmp_path / "captures"))
    status = [row["status"] for row in run.read(tables.REQUESTS).to_pylist()]
    n_out = len(status) - status.count("ok")
    assert 0 < n_out < len(status)
    said = f"{n_out} of {len(status)} requests are in no curve"
    items = [item for section in build(run).sections for item in section.items]
    shown = [item for item in items if isinstance(item, Figure)]
    assert sum(said in item.caption for item in shown) == 2


def test_samples_are_paired_by_their_time(finished: Run) -> None:
    """Two analyses of the same captures have the same batches."""
    found = {(s.configuration, s.metric): s for s in samples(finished)}
    one = found["aws, us2sg", "inference_p95_s"]
    assert len(one.units) == 20
    assert one.units == found["aws, us2sg", "total_mean_s"].units
    assert one.better == "lower"


@pytest.mark.parametrize("is_given_up", [False, True])
def test_requests_without_an_answer_stay_in_the_times(
    tmp_path: Path,
    is_given_up: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """They took at least as long as they were waited for, so percentiles are bounds."""
    second_ns = 10**9
    kept: list[tuple[int, bytes | Packet]] = []
    for i in range(14):
        begin_ns = BEGIN_NS + i * second_ns
        file = tmp_path / "one.pcap"
        mine = frames(drawn(file, conversation(1, port=40_000 + i, begin_ns=begin_ns)))
        if 5 <= i < 13:
            mine = [one for one in mine if one[0] < begin_ns + 150 * 10**6]
            if is_given_up:
                mine.append((begin_ns + 3 * second_ns, reset_of(mine)))
        kept += mine
    folder = tmp_path / "captures"
    folder.mkdir()
    write_pcap(folder / "a.pcap", sorted(kept, key=lambda one: one[0]))
    run = run_of(tmp_path, of_files(folder))
    rows = run.read(tables.REQUESTS).to_pylist()
    waited = [row["waited_s"] for row in rows if row["status"] != "ok"]
    if is_given_up:
        assert waited == pytest.approx([2.99] * 8, abs=0.05)
    else:
        assert waited == pytest.approx([8 - i + 0.3 for i in range(8)], abs=0.1)
    found = {row["metric"]: row for row in run.read(tables.SUMMARY).to_pylist()}
    median = found["inference_p50_s"]
    assert median["bound"] == ">="
    assert median["value"] > 1.0
    assert found["total_p50_s"]["value"] > median["value"]
    assert found["inference_mean_s"]["bound"] == ">="
    assert found["upload_mean_s"]["bound"] is None
    assert found["transmission_share"]["value"] is None
    assert found["ok_share"]["value"] == pytest.approx(6 / 14 if is_given_up else 1)
    assert run.verdict is not None
    assert not run.verdict.is_valid
    assert any("had no answer" in one.what for one in run.verdict.tallies)
    assert render(build(run))


def reset_of(packets: Sequence[tuple[int, bytes]]) -> Packet:
    """The client's RST behind its last packet."""
    last = next(
        one
        for one in (Ether(data) for _, data in reversed(packets))
        if one[IP].src == "192.0.2.1"
    )
    end = last.copy()
    end[TCP].remove_payload()
    end[TCP].seq += len(last[TCP].payload)
    end[TCP].flags = "R"
    for field in ("len", "chksum"):
        delattr(end[IP], field)
    return end


def test_a_run_goes_on_behind_the_last_series(tmp_path: Path) -> None:
    """What was read is not read again, and the result is the same."""
    captures = tmp_path / "captures"
    for k in range(3):
        folder = captures / f"us{k}"
        folder.mkdir(parents=True)
        drawn(folder / "a.pcap", conversation(2, begin_ns=BEGIN_NS + k * 10**9))
    config = of_files(captures)
    run = run_of(tmp_path, config)
    rows = run.read(tables.REQUESTS).to_pylist()
    for name in (tables.CAPTURES.name, tables.REQUESTS.name):
        run.drop(name, [2])
    run.drop(tables.CONFIGURATIONS.name, [0])
    (captures / "us0" / "a.pcap").write_bytes(
        (captures / "us1" / "a.pcap").read_bytes()
    )
    latency(config, run, SilentProgress())
    assert run.read(tables.REQUESTS).to_pylist() == rows


def test_hours_are_those_of_the_time_zone(tmp_path: Path) -> None:
    """Midnight in UTC is eight in the morning in Singapore."""
    drawn(tmp_path / "a.pcap", conversation(1))
    capture = CaptureConfig(kind="files", folder=tmp_path, clock_offset_s=3600.0)
    config = LatencyConfig(capture=capture, time_zone="Asia/Singapore", n_resamples=100)
    (row,) = run_of(tmp_path, config).read(tables.REQUESTS).to_pylist()
    assert row["hour"] == 9
    assert row["started_s"] == pytest.approx(BEGIN_NS / 1e9 + 3600)
    assert hour_of(BEGIN_NS, zone("UTC")) == 0
    with pytest.raises(ConfigError, match="time zone"):
        zone("Atlantis/Capital")


@pytest.mark.parametrize(
    "foreign", [b"", b"GIF89a and so on", b"\xa1\xb2", b"\x1f\x8bnot really"]
)
def test_a_file_that_is_no_capture_is_a_row(tmp_path: Path, foreign: bytes) -> None:
    """Its problem stands in the table and beside the verdict; the others are read."""
    folder = tmp_path / "captures" / "us2sg"
    folder.mkdir(parents=True)
    day(folder / "20210409_000000.cap", n_requests=1)
    bad = folder / "20210410_000000.cap"
    bad.write_bytes(foreign)
    run = run_of(tmp_path, of_files(tmp_path / "captures"))
    files = {row["file"]: row for row in run.read(tables.CAPTURES).to_pylist()}
    assert len(files) == 2
    odd = files["us2sg/20210410_000000.cap"]
    assert (odd["is_capture"], odd["n_packets"], odd["begins_s"]) == (False, 0, None)
    assert "is no packet capture: " in odd["damage"]
    assert run.count(tables.REQUESTS.name) == 3 * 24
    assert run.verdict is not None
    assert "1 of 2 files are no captures" in run.verdict.reasons[0]
    (folder / "20210409_000000.cap").unlink()
    with pytest.raises(DataError, match="no packet capture"):
        run_of(tmp_path / "again", of_files(tmp_path / "captures"))


def test_captures_without_a_request_are_told(tmp_path: Path) -> None:
    """The verdict says so, and the report is drawn."""
    drawn(tmp_path / "a.pcap", conversation(1, name="example.org"))
    capture = CaptureConfig(kind="files", folder=tmp_path)
    config = LatencyConfig(capture=capture, is_named_only=True, n_resamples=100)
    run = run_of(tmp_path, config)
    assert run.verdict is not None
    assert run.verdict.reasons == ("no request could be split",)
    assert "No request was found" in render(build(run))
    with pytest.raises(DataError, match="found none"):
        run_of(tmp_path, of_files(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("path", "pair"),
    [
        ("us2sg/20210409_000000.cap", "us2sg"),
        ("captures/us2sg-20210409.pcap", "us2sg"),
        ("20210409_000000.cap", ""),
        ("bus2sgx.pcap", "bus2sgx"),
        ("us2sg/sg2sg_1.cap", "sg2sg"),
    ],
)
def test_region_pairs_stand_in_paths(path: str, pair: str) -> None:
    """The one nearest to the end of the path counts; the config comes before it."""
    pattern = CaptureConfig().region_pattern
    naming = Naming(patterns={}, region_pattern=pattern)
    assert naming.regions(path) == pair
    fixed = Naming(patterns={}, region_pair="hk2sg", region_pattern=pattern)
    assert fixed.regions(path) == "hk2sg"


def test_providers_are_known_by_their_servers() -> None:
    """By name or address; others are called like their server."""
    servers = {p.name: p.servers for p in LatencyConfig().providers}
    naming = Naming(patterns={**servers, "mine": ("10.0.*",)})
    address = bytes((10, 0, 0, 9))
    other = bytes((192, 0, 2, 9))
    assert naming.provider(NAME, other) == ("aws", True)
    assert naming.provider("EU-VISION.googleapis.com.", other) == ("google", True)
    assert naming.provider("", address) == ("mine", True)
    assert naming.provider("example.org", other) == ("example.org", False)
    assert naming.provider("", other) == ("192.0.2.9", False)


@pytest.mark.parametrize(
    "keys",
    [
        {"kind": "files"},
        {"region_pattern": "("},
        {"region_pattern": "us2sg"},
    ],
)
def test_a_capture_that_cannot_be_is_refused(keys: dict[str, str]) -> None:
    """Before anything is read."""
    with pytest.raises(ValidationError):
        CaptureConfig.model_validate(keys)


def test_names_of_providers_are_unique() -> None:
    """Two of one name would be one configuration."""
    twice = ServersConfig(name="aws", servers=("x",))
    with pytest.raises(ConfigError, match="unique"):
        LatencyConfig(providers=(twice, twice))
