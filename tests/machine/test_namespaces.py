"""Namespaces: entered by one thread, with tunnels whose packets a program carries."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from midhaul.errors import NodeError, PrerequisiteError
from midhaul.machine.namespaces import (
    check_namespaces,
    inside,
    namespace_names,
    open_tunnel,
    remove_namespace,
    run_iproute,
)

if TYPE_CHECKING:
    from collections.abc import Generator

_IS_POSSIBLE = (
    sys.platform == "linux"
    and os.geteuid() == 0
    and shutil.which("ip") is not None
    and Path("/dev/net/tun").exists()
)
needs_root = pytest.mark.skipif(not _IS_POSSIBLE, reason="needs root, ip and tun")


@contextlib.contextmanager
def _namespace() -> Generator[str]:
    (name,) = namespace_names(("a",))
    run_iproute("ip", "netns", "add", name)
    try:
        yield name
    finally:
        remove_namespace(name)


def _here() -> str:
    return Path("/proc/thread-self/ns/net").readlink().name


@needs_root
def test_a_thread_is_in_a_namespace_and_comes_back() -> None:
    """Also when it fails there."""
    home = _here()
    with _namespace() as name:
        with contextlib.suppress(ZeroDivisionError), inside(name):
            assert _here() != home
            raise ZeroDivisionError
        assert _here() == home


@needs_root
def test_a_tunnel_hands_over_what_is_sent_into_it() -> None:
    """A packet with its header of IP, from a socket that stays in its namespace."""
    with _namespace() as name:
        descriptor = open_tunnel(name, "t0")
        try:
            at = ("ip", "-n", name)
            run_iproute(*at, "address", "add", "10.9.0.1/24", "dev", "t0")
            run_iproute(*at, "link", "set", "dev", "t0", "up")
            with inside(name):
                end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with end:
                end.sendto(b"midhaul", ("10.9.0.2", 9))
                packet = b""
                while not packet.endswith(b"midhaul"):  # the kernel says more than that
                    assert select.select([descriptor], [], [], 10)[0]
                    packet = os.read(descriptor, 2000)
            assert packet[0] >> 4 == 4
        finally:
            os.close(descriptor)


@needs_root
def test_a_command_that_fails_says_what_it_said() -> None:
    """The kernel's own words."""
    with pytest.raises(NodeError, match="netns add failed"):
        run_iproute("ip", "netns", "add")


@needs_root
def test_removing_a_namespace_ends_what_runs_in_it() -> None:
    """And twice is harmless."""
    with _namespace() as name:
        sleeper = subprocess.Popen(["ip", "netns", "exec", name, "sleep", "60"])
        while str(sleeper.pid) not in run_iproute("ip", "netns", "pids", name).split():
            pass
        remove_namespace(name)
        assert sleeper.wait(10) != 0


def test_names_are_of_this_process_and_never_the_same() -> None:
    """So that anybody can tell whose they are."""
    one, other = namespace_names(("a", "b")), namespace_names(("a", "b"))
    assert len({*one, *other}) == 4
    assert all(name.split("-")[1] == str(os.getpid()) for name in one)


def test_without_tc_it_is_said_what_else_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message says what is missing, the hint what to do."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PrerequisiteError, match="the judge needs ip and tc") as caught:
        check_namespaces("the judge", "simulate instead")
    assert caught.value.hint == "apt install iproute2, or simulate instead"
