"""The kernel's classes: a script that can be read, and shares that hold."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from midhaul.deploy.enforcement.htb import (
    HtbClass,
    HtbPlan,
    apply,
    change_rates,
    read_counts,
    remove,
    script,
)
from midhaul.deploy.enforcement.lab import DEVICE, SIDES, Lab
from midhaul.errors import DataError, MidhaulError, NodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_IS_POSSIBLE = (
    sys.platform == "linux"
    and os.geteuid() == 0
    and shutil.which("ip") is not None
    and shutil.which("tc") is not None
)
needs_lab = pytest.mark.skipif(not _IS_POSSIBLE, reason="needs root, ip and tc")
_FLOOD = (
    "import socket,sys,time\n"
    "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "end = time.monotonic() + float(sys.argv[1])\n"
    "while time.monotonic() < end:\n"
    "    for port in map(int, sys.argv[2:]):\n"
    "        s.sendto(bytes(1000), ('10.99.0.2', port))\n"
    "    time.sleep(0.002)\n"
)


def _plan(**more: Any) -> HtbPlan:
    classes = (
        HtbClass(name="camera", rate_bps=1.2e6, match=5001),
        HtbClass(name="micro\nphone; rm -rf /", rate_bps=0.3e6, match=5002),
    )
    return HtbPlan(**{"device": "eth0", "uplink_bps": 2e6, "classes": classes, **more})


@needs_lab
def test_classes_get_their_shares_of_a_real_link(
    record_property: Callable[[str, object], None],
) -> None:
    """1.2 to 0.3 Mbit/s is four to one, and new rates hold while traffic flows."""
    with Lab(uplink_bps=2e6, downlink_bps=1e7) as lab:
        inside = lab.command("gateway")
        plan = _plan(parent="1:1", handle="20")
        apply(plan, command=inside)
        apply(plan, command=inside)  # in place of itself
        first = _flood(lab, plan, 1.5)
        changed = change_rates(plan, {"camera": 0.3e6}, command=inside)
        second = _flood(lab, changed, 1.5)
        lab.set_uplink(1e6)  # the link may change below the classes
        assert read_counts(changed, command=inside)
        remove(changed, command=inside)
        remove(changed, command=inside)
        with pytest.raises(NodeError, match="not in force"):
            read_counts(changed, command=inside)
    record_property("four_to_one", first)
    record_property("one_to_one", second)
    assert 3.0 < first < 5.0
    assert 0.7 < second < 1.4


def _flood(lab: Lab, plan: HtbPlan, duration_s: float) -> float:
    """Fill both classes; how many times more the first has sent than the second."""
    inside = lab.command("gateway")
    camera, other = (one.name for one in plan.classes)
    before = read_counts(plan, command=inside)
    argv = [sys.executable, "-c", _FLOOD, str(duration_s), "5001", "5002"]
    subprocess.run(lab.command("gateway", argv), check=True)
    after = read_counts(plan, command=inside)
    assert after[other].n_dropped > before[other].n_dropped
    assert after[camera].n_packets > before[camera].n_packets
    sent = {name: after[name].n_bytes - before[name].n_bytes for name in after}
    return sent[camera] / sent[other]


@needs_lab
def test_the_script_goes_up_and_down(tmp_path: Path) -> None:
    """Twice up is once up; after down the kernel has its own queue again."""
    file = tmp_path / "shape.sh"
    file.write_text(script(_plan()), encoding="utf-8")
    with Lab(uplink_bps=2e6, downlink_bps=1e7) as lab:

        def run(verb: str) -> str:
            argv = lab.command("gateway", ["sh", str(file), verb])
            done = subprocess.run(argv, capture_output=True, text=True, check=True)
            return done.stdout

        run("up")
        run("up")
        assert run("show").count("class htb") == 4
        run("down")
        assert "htb" not in run("show")
        run("down")


_SEND = (
    "import socket,sys\n"
    "both = (socket.AF_INET, '10.99.0.2'), (socket.AF_INET6, 'fd99::2')\n"
    "for family, host in both:\n"
    "    for port, n in ((5001, 30), (5002, 20), (9, 10)):\n"
    "        with socket.socket(family, socket.SOCK_DGRAM) as s:\n"
    "            for _ in range(n):\n"
    "                s.sendto(bytes(100), (host, port))\n"
    "    with socket.socket(family, socket.SOCK_STREAM) as s:\n"
    "        s.connect_ex((host, 22))\n"
)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A fast link with addresses of both families, and no queue of its own."""
    with Lab(uplink_bps=1e7, downlink_bps=1e7) as lab:
        for n, side in enumerate(SIDES):
            at = f"fd99::{n + 1}/64"
            for argv in (
                ["ip", "address", "add", at, "dev", DEVICE, "nodad"],
                ["tc", "qdisc", "del", "dev", DEVICE, "root"],
            ):
                subprocess.run(lab.command(side, argv), check=True)
        yield lab


def _fast(**more: Any) -> HtbPlan:
    """A plan whose queues are empty by the time that they are looked at."""
    classes = tuple(
        HtbClass(name=f"a{port}", rate_bps=1e8, match=port) for port in (5001, 5002)
    )
    return HtbPlan(device=DEVICE, uplink_bps=1e9, classes=classes, **more)


def _counted(lab: Lab, text: str, folder: Path) -> Counter[str]:
    """What packets to all ports add to the classes of a script, and to no class.

    What the kernel sends on its own while the script goes up is in the classes already.
    """
    file = folder / "shape.sh"
    file.write_text(text, encoding="utf-8")

    def counts() -> Counter[str]:
        show = lab.command("gateway", ["sh", str(file), "show"])
        out = subprocess.run(show, capture_output=True, text=True, check=True).stdout
        classes = re.findall(r"class htb 1:(\w+) .*?bytes (\d+) pkt", out, re.DOTALL)
        direct = re.findall(r"(direct)_packets_stat (\d+)", out)
        assert classes, out
        assert direct, out
        return Counter({minor: int(n) for minor, n in classes + direct})

    subprocess.run(lab.command("gateway", ["sh", str(file), "up"]), check=True)
    before = counts()
    subprocess.run(lab.command("gateway", [sys.executable, "-c", _SEND]), check=True)
    return counts() - before


@needs_lab
def test_both_families_land_in_the_class_of_their_port(
    lab: Lab, tmp_path: Path
) -> None:
    """IPv4 and IPv6 to a port are one class, ssh has the floor, others the rest."""
    plan = _fast(floor_bps=64e3)
    counted = _counted(lab, script(plan), tmp_path)
    assert counted["10"] == 2 * 30
    assert counted["11"] == 2 * 20
    assert counted["13"] >= 2
    assert counted["12"] >= 2 * 10


@needs_lab
@pytest.mark.parametrize(
    "more",
    [{"lan": ("10.99.0.0/30", "fd99::/64")}, {"spares_neighbours": True}],
)
def test_what_stays_on_the_lan_is_left_alone(
    lab: Lab, tmp_path: Path, more: dict[str, Any]
) -> None:
    """But for what analytics send; named networks, and those that the device is in."""
    counted = _counted(lab, script(_fast(**more)), tmp_path)
    assert counted["10"] == 2 * 30
    assert counted["12"] == 0
    assert counted["direct"] >= 2 * 10


@needs_lab
def test_a_script_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """Half a tree would hold back what it does not know."""
    text = script(_plan()).replace("ip6 dport 5002", "ip6 dport nonsense")
    file = tmp_path / "shape.sh"
    with Lab(uplink_bps=2e6, downlink_bps=1e7) as lab:
        file.write_text(text.replace("eth0", DEVICE), encoding="utf-8")
        run = lab.command("gateway", ["sh", str(file), "up"])
        done = subprocess.run(run, capture_output=True, text=True, check=False)
        assert done.returncode
        assert "nothing is shaped" in done.stderr
        show = lab.command("gateway", ["tc", "qdisc", "show", "dev", DEVICE])
        said = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    assert "htb" not in said


def test_a_floor_is_taken_from_what_the_analytics_leave() -> None:
    """They are scaled down where they leave too little, and the script says so."""
    roomy = _plan(uplink_bps=10e6, floor_bps=64e3)
    assert (roomy.kept_bps, roomy.scale) == (64e3, 1.0)
    assert "of what was granted" not in script(roomy)
    full = _plan(uplink_bps=1.5e6, floor_bps=64e3)
    assert full.kept_bps == 30e3
    rates = [int(rate) for rate in re.findall(r"htb rate (\d+)bit", script(full))]
    link, *analytics, rest, floor = rates
    assert sum(analytics) + floor <= link == 1_500_000
    assert (rest, floor) == (8_000, 30_000)
    assert "of what was granted: the floor is 30 kbit/s" in script(full)
    with pytest.raises(DataError, match="expected a network"):
        _plan(lan=("here; reboot",))
    with pytest.raises(DataError, match="floor within the uplink"):
        _plan(floor_bps=-1.0)


def test_a_script_says_what_each_class_is() -> None:
    """One comment per analytic, and no name becomes a command."""
    text = script(_plan(device="wlan0"))
    lines = text.splitlines()
    assert "    # camera" in lines
    assert "    # micro phone; rm -rf /" in lines
    assert "    # everything else" in lines
    assert all("wlan0" in line for line in lines if line.strip().startswith("tc "))
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    assert "handle 5001 fw flowid 1:10" in script(_plan(by="mark"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"device": "eth0; reboot"}, "name of a network device"),
        ({"uplink_bps": 0.0}, "expected an uplink"),
        ({"uplink_bps": float("nan")}, "expected an uplink"),
        ({"uplink_bps": 1.3e6}, "1.5e\\+06 bit/s together"),
        ({"classes": (HtbClass(name="a", rate_bps=1.0, match=0),)}, "dport of 1"),
        ({"classes": (HtbClass(name="a", rate_bps=1.0, match=1),) * 2}, "dport once"),
    ],
)
def test_an_impossible_plan_is_refused(more: dict[str, Any], said: str) -> None:
    """Before anything is written or run."""
    with pytest.raises(DataError, match=said):
        _plan(**more)


@needs_lab
def test_a_device_that_is_not_there_is_an_error_in_words() -> None:
    """What tc said is in the message."""
    with (
        Lab(uplink_bps=1e6, downlink_bps=1e6) as lab,
        pytest.raises(MidhaulError, match="nothere"),
    ):
        apply(_plan(device="nothere"), command=lab.command("cloud"))
