"""How well is inference told from transmission in packets, and how fast?

A server whose times are known is asked over loopback and over a link of user space with
a delay, a rate and losses; tcpdump captures at the client. Errors of inference against
the server's own account, beside two simple rules: from the acknowledgement of the last
byte (the seed's), and from the last byte plus the least round trip. Then packets per
second beside scapy's dissection in the same run, and growth over three sizes.

    python benchmarks/packet_latency.py [--quick] [--data DIR]
"""

from __future__ import annotations

import argparse
import math
import struct
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from packet_lab import Case, Recorded, missing, record

from midhaul.captures.key_log import read_key_log
from midhaul.captures.tracking import split

if TYPE_CHECKING:
    from midhaul.captures.request_times import Exchange

CASES = (
    Case(name="lo-12-h1", tls="1.2"),
    Case(name="lo-13-h1"),
    Case(name="lo-clear-h1", tls=""),
    Case(name="lo-13-h1-2kB", upload_bytes=2_000),
    Case(name="lo-13-h1-1MB", upload_bytes=1_000_000),
    Case(name="lo-13-h1-10ms", inference_s=0.01, n_requests=10),
    Case(name="lo-13-h1-500ms", inference_s=0.5),
    Case(name="lo-13-h1-new", keeps_alive=False, n_requests=5),
    Case(name="lo-13-h1-x4", n_connections=4),
    Case(name="lo-12-h2", tls="1.2", http="2"),
    Case(name="lo-13-h2", http="2"),
    Case(name="lo-13-h2-keys-x3", http="2", n_streams=3, has_key_log=True),
    Case(name="lo-12-h1-keys", tls="1.2", has_key_log=True),
)
FAR = (
    Case(name="far-12-h1", tls="1.2", delay_s=0.02),
    Case(name="far-13-h1", delay_s=0.02),
    Case(name="far-13-h1-128B", delay_s=0.02, snaplen_bytes=128),
    Case(name="far-13-h2", http="2", delay_s=0.02),
    Case(name="far-13-h1-10M", delay_s=0.02, rate_bps=10e6, upload_bytes=200_000),
    Case(name="far-12-h1-10M", tls="1.2", delay_s=0.02, rate_bps=10e6),
    Case(name="far-13-h1-2M", delay_s=0.04, rate_bps=2e6, upload_bytes=20_000),
    Case(name="far-13-h2-10M", http="2", delay_s=0.02, rate_bps=10e6),
    Case(name="far-13-h1-loss", delay_s=0.02, loss=17, n_requests=6),
    Case(name="far-13-h1-new", delay_s=0.02, keeps_alive=False),
    Case(name="far-13-h1-x4", delay_s=0.02, rate_bps=20e6, n_connections=4),
)
CROWD = Case(name="lo-13-h2-x3", http="2", n_streams=3)
QUICK = ("lo-12-h1", "lo-13-h1", "lo-13-h2", "far-13-h1", "far-13-h1-10M")
SHARE, LEAST_S = 0.05, 0.002
COPIES = (100, 200, 400)
COPIES_QUICK = (25, 50, 100)


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases and packets")
    parser.add_argument("--data", type=Path, help="not used: all data are made")
    options = parser.parse_args()
    if reason := missing(needs_root=True):
        print(f"nothing can be captured here: {reason}")
        return 1
    cases = [*CASES, *FAR]
    if options.quick:
        cases = [case for case in cases if case.name in QUICK]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = accuracy(cases, folder)
        figures += crowd(folder)
        figures += speed(folder, COPIES_QUICK if options.quick else COPIES)
    is_short = False
    for title, value, unit, sign, bar in figures:
        is_met = value >= bar if sign == ">=" else value <= bar
        is_short |= not is_met
        verdict = "ok" if is_met else "short"
        print(f"figure {title} {value:.4g} {unit} bar {sign}{bar:g} {verdict}")
    return int(is_short)


Figure = tuple[str, float, str, str, float]


def accuracy(cases: list[Case], folder: Path) -> list[Figure]:
    """Errors of inference, case by case."""
    print(
        f"{'case':20} {'requests':>8} {'split':>6} {'truth ms':>9} {'error ms':>9} "
        f"{'worst':>7} {'by ACK':>8} {'by s + r':>9} {'within':>7} {'bounds':>7}"
    )
    errors, truths, lost, n_all = [], [], 0, 0
    bounded: list[bool] = []
    for case in cases:
        recorded = record(case, folder)
        pairs = paired(recorded)
        n_all += len(recorded.truths)
        lost += len(recorded.truths) - len(pairs)
        truth = np.array([t for _, t in pairs])
        mine = np.array([(e.inference_ns or 0) / 1e9 for e, _ in pairs]) - truth
        low = np.array([(e.inference_low_ns or 0) / 1e9 for e, _ in pairs]) - truth
        high = np.array([(e.inference_high_ns or 0) / 1e9 for e, _ in pairs]) - truth
        inside = (low <= LEAST_S) & (high >= -LEAST_S)
        bounded += inside.tolist()
        good = np.abs(mine) <= np.maximum(SHARE * truth, LEAST_S)
        errors.append(mine)
        truths.append(truth)
        print(
            f"{case.name:20} {len(recorded.truths):8d} {len(pairs):6d} "
            f"{median_ms(truth):9.2f} {median_ms(np.abs(mine)):9.3f} "
            f"{np.abs(mine).max(initial=0) * 1e3:7.2f} "
            f"{median_ms(np.abs(low)):8.2f} {median_ms(np.abs(high)):9.2f} "
            f"{good.mean():7.0%} {inside.mean():7.0%}"
        )
    error, truth = np.concatenate(errors), np.concatenate(truths)
    good = np.abs(error) <= np.maximum(SHARE * truth, LEAST_S)
    return [
        ("inference_within_5pct_or_2ms", float(good.mean()), "-", ">=", 0.95),
        ("inference_median_error", median_ms(np.abs(error)), "ms", "<=", 1.0),
        ("truth_within_bounds", float(np.mean(bounded)), "-", ">=", 0.9),
        ("requests_not_split", lost / n_all, "-", "<=", 0.02),
    ]


def median_ms(values: np.ndarray) -> float:
    """The median in ms; NaN of nothing."""
    return float(np.median(values)) * 1e3 if len(values) else math.nan


def paired(recorded: Recorded) -> list[tuple[Exchange, float]]:
    """Requests that could be split, with the inference that the server wrote down."""
    secrets = read_key_log(recorded.key_log) if recorded.key_log else None
    accounts = split([recorded.capture], secrets=secrets)
    left = list(recorded.truths)
    pairs: list[tuple[Exchange, float]] = []
    for account in accounts:
        for exchange in account.exchanges:
            if exchange.status != "ok" or not left:
                continue
            at = exchange.started_ns
            truth = min(left, key=lambda t, at=at: abs(t.sent_ns - at))
            left.remove(truth)
            pairs.append((exchange, truth.inference_s))
    return pairs


def crowd(folder: Path) -> list[Figure]:
    """Concurrent streams without keys: they must not be taken for plain requests."""
    recorded = record(CROWD, folder)
    accounts = split([recorded.capture])
    states = [e.status for one in accounts for e in one.exchanges]
    print(f"\n{CROWD.name}: {len(recorded.truths)} requests are {states}")
    share = states.count("ok") / max(len(states), 1)
    return [("concurrent_streams_taken_for_one", share, "-", "<=", 0.0)]


def speed(folder: Path, copies: tuple[int, ...]) -> list[Figure]:
    """Packets per second of CPU time beside scapy's; growth over three sizes."""
    from scapy.layers.inet import TCP  # noqa: PLC0415 - slow to import
    from scapy.utils import PcapReader  # noqa: PLC0415

    case = replace(FAR[1], name="speed", n_requests=10, inference_s=0.02, gap_s=0.0)
    packets = read_packets(record(case, folder).capture)
    counts, times = [], []
    print(f"\n{'packets':>9} {'s':>7} {'packets/s':>10}")
    for n in copies:
        file = folder / f"copies-{n}.pcap"
        write_copies(file, packets, n)
        best = math.inf
        for _ in range(3):
            begin = time.process_time()
            n_found = len(split([file]))
            best = min(best, time.process_time() - begin)
        if n_found != n:
            message = f"expected {n} connections, found {n_found}"
            raise RuntimeError(message)
        counts.append(n * len(packets))
        times.append(best)
        print(f"{counts[-1]:9d} {best:7.2f} {counts[-1] / best:10.0f}")
    begin = time.process_time()
    n_read = 0
    with PcapReader(str(folder / f"copies-{copies[0]}.pcap")) as reader:
        for packet in reader:
            n_read += packet.haslayer(TCP)
            if n_read == 10_000:  # noqa: PLR2004 - enough for a rate
                break
    scapy_hz = n_read / (time.process_time() - begin)
    mine_hz = counts[-1] / times[-1]
    print(f"scapy's dissection alone: {scapy_hz:.0f} packets/s")
    growth = math.log(times[-1] / times[0]) / math.log(counts[-1] / counts[0])
    return [
        ("packets_per_s", mine_hz, "1/s", ">=", 20_000),
        ("speed_over_scapy_dissection", mine_hz / scapy_hz, "-", ">=", 4.0),
        ("growth_exponent", growth, "-", "<=", 1.2),
    ]


def read_packets(file: Path) -> list[tuple[int, int, bytes]]:
    """Seconds, microseconds and bytes of all packets of a pcap."""
    raw = file.read_bytes()
    at, found = 24, []
    while at < len(raw):
        seconds, micros, size, _ = struct.unpack_from("<IIII", raw, at)
        found.append((seconds, micros, raw[at + 16 : at + 16 + size]))
        at += 16 + size
    return found


def write_copies(file: Path, packets: list[tuple[int, int, bytes]], n: int) -> None:
    """The same connection over and over, each from another port, a second later."""
    client = packets[0][2][12:16]
    with file.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 101))
        for k in range(n):
            for seconds, micros, data in packets:
                copy = bytearray(data)
                place = 20 if copy[12:16] == client else 22
                struct.pack_into(">H", copy, place, 10_000 + k)
                size = len(copy)
                head = struct.pack("<IIII", seconds + k, micros, size, size)
                out.write(head + copy)


if __name__ == "__main__":
    sys.exit(main())
