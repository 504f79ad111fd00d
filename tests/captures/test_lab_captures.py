"""Real captures of a server whose times are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmarks.packet_lab import Case, missing, record

from midhaul.captures.key_log import read_key_log
from midhaul.captures.tracking import split

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.captures.request_times import Account

ATTEMPTS = 10
LOOPBACK = (
    Case(name="tls12", tls="1.2"),
    Case(name="tls13-pool", n_connections=3, n_requests=2),
    Case(name="tls13-new", keeps_alive=False, n_requests=2),
    Case(name="clear", tls="", upload_bytes=2_000),
    Case(name="keys", tls="1.2", has_key_log=True, n_requests=2),
)
HTTP2 = (
    Case(name="h2", http="2"),
    Case(name="h2-keys", http="2", n_streams=3, has_key_log=True, n_requests=2),
)
FAR = (
    Case(name="far", delay_s=0.02, n_requests=2),
    Case(name="narrow", delay_s=0.02, rate_bps=10e6, upload_bytes=150_000),
    Case(name="lossy", delay_s=0.02, loss=13, snaplen_bytes=128),
)


def accounts_of(case: Case, folder: Path) -> tuple[list[Account], list[float]]:
    """What the capture of a case says, and the server's own inference times."""
    recorded = record(case, folder)
    secrets = read_key_log(recorded.key_log) if recorded.key_log else None
    truths = [truth.inference_s for truth in recorded.truths]
    return split([recorded.capture], secrets=secrets), truths


def check(case: Case, folder: Path) -> list[Account]:
    """All requests are there, and within 5 % or 2 ms of the truth.

    A machine that is busy with other tests lets a server wait between its kernel and
    its clock, and tcpdump miss a packet, so a capture that is off is made anew, up to
    nine times. The benchmark holds the bar for every request.
    """
    off: list[tuple[float, float]] = []
    n_found = n_truths = 0
    for attempt in range(ATTEMPTS):
        accounts, truths = accounts_of(case, folder / str(attempt))
        found = [
            (e.inference_ns or 0) / 1e9
            for one in accounts
            for e in one.exchanges
            if e.status == "ok"
        ]
        n_found, n_truths = len(found), len(truths)
        if n_found != n_truths:
            continue
        off = [
            (mine, truth)
            for mine, truth in zip(sorted(found), sorted(truths), strict=True)
            if abs(mine - truth) > max(0.05 * truth, 0.002)
        ]
        if not off:
            return accounts
    told = f"{n_found} of {n_truths} requests found, and off at {off}"
    pytest.fail(f"{ATTEMPTS} captures are off, the last one has {told}")


@pytest.mark.skipif(bool(missing()), reason=missing() or "captures can be made")
@pytest.mark.parametrize("case", LOOPBACK, ids=lambda case: case.name)
def test_requests_over_loopback(case: Case, tmp_path: Path) -> None:
    """TLS 1.2 and 1.3, pools, new connections, in the clear, and opened with keys."""
    accounts = check(case, tmp_path)
    assert {one.tls for one in accounts} == {case.tls}
    assert {one.http for one in accounts} == {"1.1"}
    assert all(one.is_opened == case.has_key_log for one in accounts)


@pytest.mark.skipif(bool(missing()), reason=missing() or "captures can be made")
@pytest.mark.parametrize("case", HTTP2, ids=lambda case: case.name)
def test_requests_of_http2(case: Case, tmp_path: Path) -> None:
    """One at a time without keys; several at once with them."""
    pytest.importorskip("h2", reason="h2 is not installed")
    accounts = check(case, tmp_path)
    assert {one.http for one in accounts} == {"2"}


@pytest.mark.skipif(bool(missing()), reason=missing() or "captures can be made")
def test_concurrent_requests_of_http2_are_not_taken_for_one(tmp_path: Path) -> None:
    """Without keys they are ambiguous; a busy machine may send them one by one."""
    pytest.importorskip("h2", reason="h2 is not installed")
    case = Case(name="crowd", http="2", n_streams=3, n_requests=2)
    states: set[str] = set()
    for attempt in range(ATTEMPTS):
        accounts, _ = accounts_of(case, tmp_path / str(attempt))
        states = {e.status for one in accounts for e in one.exchanges}
        if states == {"ambiguous"}:
            break
    assert states == {"ambiguous"}


_WHY = missing(needs_root=True)


@pytest.mark.skipif(bool(_WHY), reason=_WHY or "tunnels can be made")
@pytest.mark.parametrize("case", FAR, ids=lambda case: case.name)
def test_requests_over_a_link_with_delay(case: Case, tmp_path: Path) -> None:
    """A delay, a bottleneck that queues, and losses, at a short snapshot length."""
    accounts = check(case, tmp_path)
    assert all(0.04 <= one.rtt_ns / 1e9 < 0.06 for one in accounts)
