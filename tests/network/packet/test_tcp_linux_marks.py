"""ECN and DCTCP with the ways of Linux: shares, echoes, and windows that shrink."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from midhaul.model import Flows, Link, LinkQueue, Topology
from midhaul.network import FlowResults, NetworkProblem, Routes, TcpTransport

SEGMENT, WIRE = 1448, 1502
RATE_BPS, DELAY_S = 100e6, 0.0012
PIPE = RATE_BPS * 2 * DELAY_S / 8 / WIRE
"""Segments that the slow link and its delay hold: 20."""


def part(name: str) -> Any:
    """A module of the simulator: imported now, as that compiles its kernels."""
    return import_module(f"midhaul.network.packet.tcp.{name}")


def plain(kernel: Any) -> Any:
    """The Python of a kernel."""
    return getattr(kernel, "py_func", kernel)


def marked(
    n_flows: int, mark_from: float, mark_all: float, **transport: Any
) -> FlowResults:
    """Flows of 24 MB together over a link that marks from a length on."""
    queue = LinkQueue(
        discipline="red",
        has_ecn=True,
        mark_from=mark_from,
        mark_all_from=mark_all,
        mark_share=0.05 if mark_all > mark_from else 1.0,
        max_packets=1000,
    )
    fast, slow = {"rate_bps": 10e9}, {"rate_bps": RATE_BPS, "delay_s": DELAY_S}
    links = (
        Link(source="a", target="r", **fast),  # type: ignore[arg-type]
        Link(source="r", target="b", queue=queue, **slow),  # type: ignore[arg-type]
        Link(source="b", target="r", **slow),  # type: ignore[arg-type]
        Link(source="r", target="a", **fast),  # type: ignore[arg-type]
    )
    settings: dict[str, Any] = {"stack": "linux", **transport}
    problem = NetworkProblem(
        topology=Topology(nodes=("a", "r", "b"), links=links),
        flows=Flows(
            source=np.zeros(n_flows, np.int32),
            target=np.full(n_flows, 2, np.int32),
            size_bytes=np.full(n_flows, 24_000_000),
            start_ns=np.zeros(n_flows, np.int64),
        ),
        routes=Routes(
            offsets=np.arange(0, 2 * n_flows + 1, 2),
            links=np.tile(np.array([0, 1], np.int32), n_flows),
        ),
        transports=(TcpTransport(**settings),),
        watched=(0,),
    )
    simulation = part("simulation").begin_tcp(problem)
    while not simulation.advance(1 << 30):
        pass
    return simulation.results()


def late_windows(results: FlowResults) -> np.ndarray:
    """Windows of the first flow in its second half, in segments."""
    timeline = results.timeline
    assert timeline is not None
    is_late = timeline.time_ns > results.fct_ns[0] // 2
    return timeline.window_bytes[is_late] // SEGMENT


def turns(windows: np.ndarray) -> tuple[list[int], list[int]]:
    """Tops of a sawtooth, and the least that followed each, both a round trip long."""
    tops, floors = [], []
    i = 0
    while i < len(windows) - 1:
        if windows[i + 1] < windows[i]:
            low = int(windows[i + 1 : i + 60].min())
            tops.append(int(windows[i]))
            floors.append(low)
            i += 60
        else:
            i += 1
    return tops[:-1], floors[:-1]


# ---- single rules --------------------------------------------------------------------


def test_the_share_of_marks_follows_a_sixteenth_a_window() -> None:
    """Equation 1 of DCTCP in 1024ths: from 1 towards what is marked, and down to 0."""
    a, dctcp = part("arena"), part("linux.dctcp")
    m, c, window = [0] * 4096, 1024, 40
    m[c + a.C_SENT_I] = window
    m[c + a.C_LINUX + a.U_DELIVERED] = window // 4
    plain(dctcp.begin_marks)(m, c)
    expected = 1.0
    for share in [0.25] * 100 + [1.0] * 20 + [0.0] * 200:
        for k in range(4):
            m[c + a.C_UNA_I] += window // 4
            if k == 3:  # the ACK of all, before which more was sent
                m[c + a.C_SENT_I] += window
            plain(dctcp.follow_marks)(m, c, k < 4 * share)
        expected += (share - expected) / 16
        found = m[c + a.C_ALGORITHM + dctcp.A_ALPHA] / 1024
        assert found == pytest.approx(expected, abs=0.02)
    assert m[c + a.C_ALGORITHM + dctcp.A_ALPHA] == 0


@pytest.mark.parametrize(
    ("alpha", "window", "left"), [(1024, 100, 50), (256, 100, 88), (0, 100, 100)]
)
def test_dctcp_shrinks_by_half_of_its_share(alpha: int, window: int, left: int) -> None:
    """Equation 2: window * (1 - alpha / 2); a loss halves it; 2 segments are left."""
    a, dctcp = part("arena"), part("linux.dctcp")
    m, c = [0] * 4096, 1024
    m[c + a.C_ALGORITHM + dctcp.A_ALPHA] = alpha
    m[c + a.C_LINUX + a.U_WINDOW] = window
    assert plain(dctcp.shrunk_by_marks)(m, c) == left
    assert plain(dctcp.halved)(m, c) == window // 2
    m[c + a.C_LINUX + a.U_WINDOW] = 2
    assert plain(dctcp.shrunk_by_marks)(m, c) == 2


class Echoing:
    """A receiver that takes marks in, in plain Python; notes the ACKs that it sends."""

    def __init__(self, patch: pytest.MonkeyPatch, congestion: str) -> None:
        self.a, self.marks = part("arena"), part("linux.marks")
        self.sent: list[tuple[int, int]] = []
        self.is_waiting = False
        soon = plain(self.marks._acknowledge_soon)
        patch.setattr(self.marks, "_acknowledge_soon", soon)
        patch.setattr(self.marks, "acknowledge", self._acknowledge)
        patch.setattr(self.marks, "is_set", lambda *_: self.is_waiting)
        self.m, self.c, self.p = [0] * 4096, 1024, 2048
        self.m[self.c + self.a.C_ECT] = 1
        self.m[self.c + self.a.C_CONGESTION] = getattr(self.a, congestion)
        self.u = self.c + self.a.C_LINUX

    def _acknowledge(self, *_: object) -> None:
        a, m = self.a, self.m
        self.sent.append((m[self.c + a.C_RCV + 1], m[self.u + a.U_ECHOES]))

    def take(self, flags: int, *, is_waiting: bool = False) -> None:
        """A segment more has come in order."""
        self.is_waiting = is_waiting
        self.m[self.c + self.a.C_RCV + 1] += 1
        self.m[self.p + self.a.P_FLAGS] = flags
        self.m[self.u + self.a.U_ACK_NOW] = 0
        plain(self.marks.take_mark)(self.m, 0, 0, 0, 0, 0, self.c, self.p)

    def __getattr__(self, name: str) -> int:
        """``echoes``, ``ack_now``, ``quick``: cells of the connection."""
        return self.m[self.u + getattr(self.a, f"U_{name.upper()}")]


def test_a_change_of_marks_sends_the_ack_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RFC 8257, 3.2: it says what was before the change, and the next one goes now."""
    end = Echoing(monkeypatch, "DCTCP")
    ect, ce = end.a.ECT, end.a.ECT | end.a.CE
    end.take(ect)
    assert (end.sent, end.echoes, end.ack_now) == ([], 0, 0)
    end.take(ce, is_waiting=True)
    assert end.sent == [(1, 0)]
    assert (end.echoes, end.ack_now) == (1, 1)
    end.take(ce)
    assert (end.sent, end.echoes, end.ack_now) == ([(1, 0)], 1, 0)
    end.take(ect)  # nothing waits: the ACK of now says it all
    assert (end.sent, end.echoes, end.ack_now) == ([(1, 0)], 0, 1)
    end.take(ce)
    end.take(ect, is_waiting=True)
    assert end.sent == [(1, 0), (5, 1)]


def test_a_mark_is_echoed_until_the_sender_says_that_it_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RFC 3168, 6.1.3: every ACK has the echo, until a segment with CWR comes."""
    end = Echoing(monkeypatch, "CUBIC")
    end.take(end.a.ECT)
    assert (end.echoes, end.quick) == (0, 0)
    end.take(end.a.ECT | end.a.CE)
    assert (end.echoes, end.quick) == (1, 2)
    end.take(end.a.ECT)
    assert end.echoes == 1
    end.take(end.a.ECT | end.a.CWR)
    assert (end.echoes, end.ack_now) == (0, 1)
    end.take(end.a.ECT | end.a.CWR | end.a.CE)
    assert end.echoes == 1
    assert end.sent == []


# ---- flows ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("congestion", "share"), [("linux-reno", 1 / 2), ("cubic", 717 / 1024)]
)
def test_marks_shrink_the_window_once_a_window(congestion: str, share: float) -> None:
    """To a half, or seven tenths, where marks are rare; nothing is lost."""
    results = marked(1, 5.0, 500.0, congestion=congestion, has_ecn=True)
    assert results.n_retransmitted[0] == results.links.n_dropped.sum() == 0
    assert results.n_marked[0] > 0
    tops, floors = turns(late_windows(results))
    assert len(tops) >= 2
    for top, floor in zip(tops, floors, strict=True):
        assert top * share - 2 <= floor <= top * share


def test_a_mark_of_what_says_that_it_heard_shrinks_the_window_again() -> None:
    """Where all is marked above a length, it falls to a quarter in two round trips.

    The segment with CWR finds the queue as long as before: its ACK has an echo again.
    """
    results = marked(1, 20.0, 20.0, congestion="linux-reno", has_ecn=True)
    assert results.n_retransmitted[0] == 0
    tops, floors = turns(late_windows(results))
    for top, floor in zip(tops, floors, strict=True):
        assert PIPE + 20 <= top <= PIPE + 20 + 6
        assert floor == top // 2 // 2


def test_without_ecn_the_same_queue_drops() -> None:
    """What cannot be marked is lost."""
    results = marked(1, 20.0, 20.0, congestion="cubic")
    assert results.n_marked[0] == 0
    assert results.links.n_dropped[1] > 0


@pytest.mark.parametrize("n_flows", [1, 4])
def test_dctcp_keeps_the_queue_at_its_threshold(n_flows: int) -> None:
    """The queue's top is K and a segment for each flow; the link is never idle.

    Alizadeh et al. (2010), equations 7 and 10, with K above a seventh of the pipe. A
    mark is known a round trip later, in which a flow sends a segment more.
    """
    threshold = 15.0
    results = marked(n_flows, threshold, threshold, congestion="dctcp")
    assert results.n_retransmitted.sum() == 0
    timeline, first_ns = results.timeline, results.fct_ns.min()
    assert timeline is not None
    is_steady = (timeline.time_ns > first_ns // 2) & (timeline.time_ns < first_ns)
    mean = timeline.window_bytes[is_steady].mean() / SEGMENT
    top = (PIPE + threshold + n_flows) / n_flows
    assert 0.75 * top <= mean <= top + 1
    busy = results.links.busy_ns[1] / results.end_ns
    assert busy > 0.97


def test_dctcp_of_linux_is_as_quick_as_that_of_ns3() -> None:
    """Four flows end within 3 % of each other's time in both."""
    linux, ns3 = (
        np.sort(marked(4, 15.0, 15.0, congestion="dctcp", stack=stack).fct_ns)
        for stack in ("linux", "ns3")
    )
    assert linux[-1] == pytest.approx(ns3[-1], rel=0.03)


def test_marks_are_seen_by_either_stack_alike() -> None:
    """Both mark about as many of four flows' segments, within a half."""
    linux, ns3 = (
        int(marked(4, 15.0, 15.0, congestion="dctcp", stack=stack).n_marked.sum())
        for stack in ("linux", "ns3")
    )
    assert ns3 / 2 < linux < 2 * ns3
