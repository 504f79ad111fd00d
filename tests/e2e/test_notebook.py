"""A real kernel: an experiment with an event loop in a cell, stopped and resumed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

CONFIG = """
import midhaul
config = midhaul.OverheadConfig(
    kind="testbed.overhead",
    data={"n_scenes": 4, "n_images": 4},
    nodes=[
        {"name": "cloud", "role": "cloud", "detector": "null"},
        {"name": "edge", "role": "edge", "cloud": "cloud", "forward": "image"},
    ],
    load={"scenario": "single stream", "n_requests": 50},
    n_blocks=3,
)
"""
CHILDREN = "import psutil; psutil.Process().children(recursive=True)"


class Cell(Protocol):
    """Runs a cell in the kernel."""

    def __call__(self, code: str, *, stop_at: str = "") -> str:
        """What it prints, shows and raises; interrupted when it prints something."""
        ...


@pytest.fixture
def cell(tmp_path: Path) -> Generator[Cell]:
    """Cells of one kernel, in an empty folder."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path))
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=120)

    def run(code: str, *, stop_at: str = "") -> str:
        request = client.execute(code)
        said: list[str] = []
        is_stopped = not stop_at
        while True:
            message = client.get_iopub_msg(timeout=240)
            if message["parent_header"].get("msg_id") != request:
                continue
            content = message["content"]
            said.append(_text(message["msg_type"], content))
            if not is_stopped and stop_at in "".join(said):
                manager.interrupt_kernel()
                is_stopped = True
            if content.get("execution_state") == "idle":
                return "".join(said)

    with contextlib.ExitStack() as stack:
        stack.callback(manager.cleanup_resources)
        stack.callback(manager.shutdown_kernel, now=True)
        stack.callback(client.stop_channels)
        yield run


def _text(kind: str, content: dict[str, Any]) -> str:
    if kind == "stream":
        return content["text"]
    if kind == "execute_result":
        return content["data"][
            "text/html" if "text/html" in content["data"] else "text/plain"
        ]
    return content["ename"] if kind == "error" else ""


def test_a_cell_is_stopped_and_its_run_resumed(cell: Cell) -> None:
    """The run ends as interrupted, leaves no process, and goes on where it was."""
    assert cell(CONFIG) == ""
    said = cell("midhaul.run(config)", stop_at="measuring cells")
    assert "resume=True continues there" in said
    assert said.endswith("KeyboardInterrupt")
    assert cell("midhaul.runs()[0].status") == "'interrupted'"
    assert cell(CHILDREN) == "[]"
    shown = cell("midhaul.run(config, resume=True)")
    assert "resuming" in shown
    assert "<b>Run</b>" in shown
    assert ", done, " in shown
    assert cell("len(midhaul.runs())") == "1"
