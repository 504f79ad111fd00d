"""Nodes that run until told to stop: ``midhaul testbed up``, ``status``, ``down``.

What runs is written to ``testbed.json`` in a folder, beside the logs. A process is
known by its number and the time of its start, so that a number given to another process
since is never taken for a node, and a state that a reboot left behind is harmless.
"""

from __future__ import annotations

import contextlib
import json
import signal
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import psutil

from midhaul import documents
from midhaul.errors import DataError, NodeError
from midhaul.machine.limits import release_left
from midhaul.testbed.links.links import Links
from midhaul.testbed.measure.from_config import links_of, settings_of
from midhaul.testbed.nodes.launcher import LocalLauncher, is_ready, launch
from midhaul.testbed.nodes.usage import WORKLOAD

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.runs.progress import Progress
    from midhaul.testbed.measure.config import TestbedConfig

_STATE = "testbed.json"
_LINKS = "links"
_ASK_S = 2.0
_END_S = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """What is known of a node that was started.

    Attributes:
        name: of the node.
        role: edge or cloud.
        status: ``ready``, ``not answering`` or ``dead``.
        url: where the workload reaches it; through its link where it has one.
        pid: its process.
        log: the file that it writes to.
    """

    name: str
    role: str
    status: str
    url: str
    pid: int
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """A process that was started, and what is said of it."""

    name: str
    role: str
    url: str
    own_url: str
    pid: int
    started_s: float
    log: str

    def found(self) -> psutil.Process | None:
        """The process; None when it has ended."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.started_s) < 1
            is_over = process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if is_same and not is_over else None


def up(config: TestbedConfig, state: Path, progress: Progress) -> None:
    """Start the nodes and links of an experiment and leave them running.

    ``state`` is the folder of what is running and of its logs. NodeError if nodes are
    running there already, or one does not start (those that did are stopped again);
    DataError if the folder cannot be written.
    """
    if any(process.found() for process in _read(state)):
        message = f"the nodes of {state} are running already"
        raise NodeError(message, "midhaul testbed down")
    settings = [settings_of(node, config.seed) for node in config.nodes]
    _write(state, [])
    launcher = LocalLauncher(state.resolve(), is_attached=False)
    links = Links(links_of(config.links), is_attached=False)
    try:
        with progress.task("starting nodes", len(settings)) as task:
            running = launch(launcher, settings, links.connect)
            task.advance(len(settings))
        started: list[_Process] = []
        for node in settings:
            own = running[node.name].url
            asked = links.connect(WORKLOAD, node.name, own)
            folder = state if node.workdir is None else node.workdir
            pid = cast("int", running[node.name].pid)
            started.append(_process(node.name, node.role, asked, own, pid, str(folder)))
        if links.pid is not None:
            started.append(_process(_LINKS, _LINKS, "", "", links.pid, ""))
        _write(state, started)
    except BaseException:
        launcher.stop()
        links.stop(with_detached=True)
        raise
    links.stop()


def status(state: Path) -> list[NodeStatus]:
    """Ask every node that was started how it is; empty when none was.

    DataError if what was written there cannot be read.
    """
    return [_status(process) for process in _read(state) if process.role != _LINKS]


def down(state: Path) -> list[str]:
    """Stop the nodes and links that were started; names of those that still ran.

    DataError if what was written there cannot be read.
    """
    processes = _read(state)
    found = [(process, process.found()) for process in processes]
    running = [(process, alive) for process, alive in found if alive is not None]
    for _, alive in running:
        with contextlib.suppress(psutil.Error):
            alive.send_signal(signal.SIGCONT)
            alive.terminate()
    _, left = psutil.wait_procs([alive for _, alive in running], timeout=_END_S)
    for alive in left:
        with contextlib.suppress(psutil.Error):
            alive.kill()
    for process in processes:
        release_left(process.pid, process.name)
    (state / _STATE).unlink(missing_ok=True)
    return [process.name for process, _ in running if process.role != _LINKS]


def _process(
    name: str, role: str, url: str, own_url: str, pid: int, folder: str
) -> _Process:
    log = f"{folder}/{name}.log" if folder else ""
    try:
        started_s = psutil.Process(pid).create_time()
    except psutil.Error as error:
        message = f"{name} ended as soon as it had started"
        raise NodeError(message, f"its log: {log}" if log else "") from error
    return _Process(
        name=name, role=role, url=url, own_url=own_url, pid=pid,
        started_s=started_s, log=log,
    )  # fmt: skip


def _status(process: _Process) -> NodeStatus:
    word = "dead"
    if process.found() is not None:
        answers = is_ready(process.own_url, timeout_s=_ASK_S)
        word = "ready" if answers else "not answering"
    return NodeStatus(
        name=process.name, role=process.role, status=word, url=process.url,
        pid=process.pid, log=process.log,
    )  # fmt: skip


def _write(state: Path, processes: list[_Process]) -> None:
    file = state / _STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
        text = json.dumps([asdict(process) for process in processes], indent=2)
        file.write_text(text + "\n")
    except OSError as error:
        message = f"{file} cannot be written: {error.strerror}"
        raise DataError(message, "choose another folder with --state") from error


def _read(state: Path) -> list[_Process]:
    file = state / _STATE
    try:
        found = cast("list[dict[str, Any]]", documents.parse_json(file.read_text()))
        return [_Process(**values) for values in found]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        message = f"{file} does not say what is running: {error}"
        raise DataError(message, f"remove {file}") from error
