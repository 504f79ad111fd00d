"""ns-3 as a judge: run where it is installed; what is missing is said elsewhere."""

from __future__ import annotations

import gc
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support.tcp_scenarios import begin_tcp, dctcp_problem, lossy_problem

from midhaul.errors import ConfigError, PrerequisiteError, SimulationError
from midhaul.model import LinkQueue
from midhaul.network import TcpTransport
from midhaul.network.checks import SimulatorClaims, check_simulator
from midhaul.network.judges.ns3 import program as programs
from midhaul.network.judges.ns3.simulator import Ns3Simulation, Ns3Simulator

if TYPE_CHECKING:
    from pathlib import Path


def ns3() -> None:
    """Skip where ns-3 or a compiler is missing."""
    try:
        programs.program()
    except PrerequisiteError as error:
        pytest.skip(str(error))


def test_ours_equals_ns3_run_now() -> None:
    """The same flows, some of which wait for others, take the same time in both."""
    ns3()
    problem = lossy_problem(3, 60, "cubic")
    flows = replace(
        problem.flows,
        after_offsets=np.concatenate((np.zeros(51), np.arange(1, 11))).astype(np.int64),
        after=np.arange(10, 20),
    )
    problem = replace(problem, flows=flows)
    theirs = Ns3Simulator().begin(problem)
    while not theirs.advance(1):
        assert theirs.state() is None
    ours = begin_tcp(problem)
    while not ours.advance(1_000_000):
        pass
    found, expected = ours.results(), theirs.results()
    assert np.array_equal(found.fct_ns, expected.fct_ns)
    assert np.array_equal(found.start_ns, expected.start_ns)
    assert np.array_equal(found.links.n_bytes, expected.links.n_bytes)
    assert theirs.share_done == 1


def test_a_killed_ns3_is_an_error_that_says_so() -> None:
    """Killed mid-way, the signal is named."""
    ns3()
    simulation = Ns3Simulation(dctcp_problem(3, 20_000))
    simulation._start()  # pyright: ignore[reportPrivateUsage]
    process = simulation._process  # pyright: ignore[reportPrivateUsage]
    assert process is not None
    process.kill()
    with pytest.raises(SimulationError, match="killed by signal 9"):
        simulation.advance(1)
    simulation.close()


def test_an_ns3_that_nobody_waits_for_is_ended() -> None:
    """Its program is killed and its files are gone, as those of an interrupted run."""
    ns3()
    simulation = Ns3Simulation(dctcp_problem(3, 20_000))
    simulation._start()  # pyright: ignore[reportPrivateUsage]
    process, root = simulation._process, simulation._root  # pyright: ignore[reportPrivateUsage]
    assert process is not None
    assert root.is_dir()
    del simulation
    gc.collect()
    assert process.poll() == -9
    assert not root.exists()


def test_a_folder_that_cannot_keep_the_program_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As that of a user who has no home."""
    (tmp_path / "home").touch()
    monkeypatch.setattr(programs, "_version", lambda: "3.37")
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/g++")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    with pytest.raises(PrerequisiteError, match="cannot be kept") as caught:
        programs.program()
    assert "XDG_CACHE_HOME" in caught.value.hint


def test_without_ns3_the_package_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The hint is the command that installs it."""
    monkeypatch.setattr(programs, "_INCLUDES", (tmp_path,))
    with pytest.raises(PrerequisiteError, match="not installed") as caught:
        Ns3Simulator().begin(dctcp_problem(1, 2))
    assert "libns3-dev" in caught.value.hint


def test_without_a_compiler_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No compiler is needed where the program is there, and said where it is not."""
    monkeypatch.setattr(programs, "_version", lambda: "3.37")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(PrerequisiteError, match="compiler"):
        programs.program()


def test_another_version_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Other versions have another TCP."""
    (tmp_path / "ns3").mkdir()
    (tmp_path / "ns3" / "core-module.h").touch()
    tool = tmp_path / "pkg-config"
    tool.write_text("#!/bin/sh\necho 3.44\n")
    tool.chmod(0o755)
    monkeypatch.setattr(programs, "_INCLUDES", (tmp_path,))
    monkeypatch.setattr(shutil, "which", lambda _: str(tool))
    with pytest.raises(PrerequisiteError, match=r"expected ns-3 3\.37, found 3\.44"):
        programs.program()


def test_what_ns3_cannot_do_is_refused() -> None:
    """Two bounds of a queue, and flows above 1 GiB."""
    problem = dctcp_problem(1, 3)
    queue = LinkQueue(max_packets=3, max_bytes=3000)
    links = tuple(replace(link, queue=queue) for link in problem.topology.links)
    both = replace(problem, topology=replace(problem.topology, links=links))
    large = replace(
        problem, flows=replace(problem.flows, size_bytes=np.full(3, 1 << 31))
    )
    for bad in (both, large):
        with pytest.raises(ConfigError):
            Ns3Simulator().begin(bad)


def test_it_is_a_simulator() -> None:
    """The conformance suite, but for what can be repeated in slices."""
    ns3()
    claims = SimulatorClaims(
        max_lone_slowdown=1.2, has_samples=False, is_repeatable=False
    )
    check_simulator(Ns3Simulator(), TcpTransport(congestion="newreno"), claims=claims)
